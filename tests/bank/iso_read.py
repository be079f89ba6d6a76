"""The ISO 20022 bank's own reading of a pain.001.001.09, strict: what its manual does not show is refused.

The manual is the sample file: its elements, in its order, and nothing else. A few may be left out (`_maybe`); whatever
is there is checked. Entities cannot hide anything, for a document type declaration ends the reading.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple
from xml.parsers import expat

from tests.bank.file_desk import Refused
from tests.bank.model import Item

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
FORMAT = "FF01"
DEPTH = 20
_MESSAGE = re.compile(r"[0-9A-Z]{1,35}")
_REFERENCE = re.compile(r"[0-9A-Z]{1,35}")
_ACCOUNT = re.compile(r"[0-9A-Za-z]{1,34}")
_ID = re.compile(r"[0-9A-Z]{1,18}")
_MEMBER = re.compile(r"[0-9]{12}")
_COUNT = re.compile(r"[0-9]{1,15}")
_YUAN = re.compile(r"(0|[1-9][0-9]{0,14})\.([0-9]{2})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAME_CHARACTERS, _REMITTANCE_CHARACTERS = 140, 140


class BatchFile(NamedTuple):
    """A readable payment initiation."""

    message: str
    debit_account: str
    member: str  # of the debtor's agent
    day: dt.date  # requested execution
    total_fen: int
    items: list[Item]


class Element:
    """One element as it stands: children in order, or text."""

    __slots__ = ("attributes", "children", "next", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""
        self.next = 0  # the first child that was not read yet


class _Builder:
    """Builds elements from expat's events, without their namespace, which must be the manual's."""

    def __init__(self) -> None:
        self.root = Element("", {})
        self._open = [self.root]
        parser = expat.ParserCreate("UTF-8", " ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser

    def read(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError:
            raise Refused(FORMAT) from None
        return self.root

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise Refused(FORMAT)

    def _refuse(self, *what: object) -> None:
        raise Refused(FORMAT)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, tag = name.rpartition(" ")
        if namespace != NAMESPACE or len(self._open) > DEPTH or set(attributes) - {"Ccy"}:
            raise Refused(FORMAT)
        element = Element(tag, attributes)
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        if element.children:
            if element.text.strip():
                raise Refused(FORMAT)
            element.text = ""

    def _text(self, text: str) -> None:
        self._open[-1].text += text


# -- reading children in their order


def _maybe(parent: Element, tag: str) -> Element | None:
    """The next child, if it is a `tag`."""
    if parent.next < len(parent.children) and parent.children[parent.next].tag == tag:
        parent.next += 1
        return parent.children[parent.next - 1]
    return None


def _one(parent: Element, *tags: str) -> Element:
    """The next child, which must be a `tags[0]`; of further tags each is the only child of the one before."""
    element = parent
    for depth, tag in enumerate(tags):
        child = _maybe(element, tag)
        if child is None or (depth and len(element.children) != 1):
            raise Refused(FORMAT)
        element = child
    return element


def _end(parent: Element) -> None:
    if parent.next != len(parent.children):
        raise Refused(FORMAT)


def _must(good: object) -> None:
    if not good:
        raise Refused(FORMAT)


def _text(parent: Element, *tags: str, form: re.Pattern[str]) -> str:
    element = _one(parent, *tags)
    _must(not element.children and not element.attributes and form.fullmatch(element.text))
    return element.text


def _words(parent: Element, *tags: str, most: int) -> str:
    """Free text of at most so many characters, without blanks around it."""
    element = _one(parent, *tags)
    text = element.text
    _must(not element.children and 0 < len(text) <= most and text == text.strip() and not _UNSAFE.search(text))
    return text


def _constant(parent: Element, *tags: str, value: str) -> None:
    _must(_one(parent, *tags).text == value)


def _fen(element: Element) -> int:
    yuan = _YUAN.fullmatch(element.text)
    if yuan is None or element.children:
        raise Refused(FORMAT)
    return int(yuan[1]) * 100 + int(yuan[2])


def _totals(parent: Element) -> tuple[int, int]:
    count = _text(parent, "NbOfTxs", form=_COUNT)
    return int(count), _fen(_one(parent, "CtrlSum"))


# -- the message


def parse_batch(data: bytes) -> BatchFile:
    """Read a payment initiation. Raises Refused (FF01)."""
    root = _Builder().read(data)
    initiation = _one(root, "Document", "CstmrCdtTrfInitn")
    head = _one(initiation, "GrpHdr")
    message = _text(head, "MsgId", form=_MESSAGE)
    _text(head, "CreDtTm", form=_MOMENT)
    group_totals = _totals(head)
    _party(_one(head, "InitgPty"))
    _end(head)
    payment = _one(initiation, "PmtInf")
    _end(initiation)
    _must(_one(payment, "PmtInfId").text == f"{message}-1")
    _constant(payment, "PmtMtd", value="TRF")
    _constant(payment, "BtchBookg", value="true")
    payment_totals = _totals(payment)
    kind = _one(payment, "PmtTpInf")
    _maybe(kind, "SvcLvl")
    _constant(kind, "CtgyPurp", "Cd", value="GOVT")
    _end(kind)
    day = _day(_text(payment, "ReqdExctnDt", "Dt", form=_DAY))
    _party(_one(payment, "Dbtr"))
    account = _one(payment, "DbtrAcct")
    debit = _text(account, "Id", "Othr", "Id", form=_ACCOUNT)
    currency = _maybe(account, "Ccy")
    _must(currency is None or currency.text == "CNY")
    _end(account)
    member = _member(_one(payment, "DbtrAgt"))
    _constant(payment, "ChrgBr", value="DEBT")
    items: list[Item] = []
    while (line := _maybe(payment, "CdtTrfTxInf")) is not None:
        items.append(_item(line, message, len(items) + 1))
    _end(payment)
    total = sum(item.amount_fen for item in items)
    _must(items and group_totals == payment_totals == (len(items), total))
    _must(len({item.reference for item in items}) == len(items))
    return BatchFile(message, debit, member, day, total, items)


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise Refused(FORMAT) from None


def _party(party: Element) -> None:
    """Somebody by name; by which numbers else, this bank does not care."""
    _words(party, "Nm", most=_NAME_CHARACTERS)
    _maybe(party, "Id")
    _end(party)


def _member(agent: Element) -> str:
    """The 12-digit number of a member of the national clearing system."""
    clearing = _one(agent, "FinInstnId", "ClrSysMmbId")
    _constant(clearing, "ClrSysId", "Cd", value="CNAPS")
    number = _text(clearing, "MmbId", form=_MEMBER)
    _end(clearing)
    return number


def _item(line: Element, message: str, number: int) -> Item:
    ids = _one(line, "PmtId")
    instruction = _maybe(ids, "InstrId")
    _must(instruction is None or instruction.text == f"{message}-{number:06d}")
    reference = _text(ids, "EndToEndId", form=_REFERENCE)
    _end(ids)
    amount = _one(line, "Amt", "InstdAmt")
    fen = _fen(amount)
    _must(fen > 0 and amount.attributes == {"Ccy": "CNY"})
    _member(_one(line, "CdtrAgt"))
    payee = _one(line, "Cdtr")
    name = _words(payee, "Nm", most=_NAME_CHARACTERS)
    identity = _one(payee, "Id", "PrvtId", "Othr")
    id_no = _text(identity, "Id", form=_ID)
    _constant(identity, "SchmeNm", "Cd", value="NIDN")
    _end(identity)
    _end(payee)
    account = _text(line, "CdtrAcct", "Id", "Othr", "Id", form=_ACCOUNT)
    purpose = _maybe(line, "Purp")
    if purpose is not None:
        _constant(purpose, "Cd", value="GOVT")
    remittance = _words(line, "RmtInf", "Ustrd", most=_REMITTANCE_CHARACTERS).split(" ")
    _end(line)
    _must(len(remittance) >= 3 and 0 < len(remittance[0]) <= 12 and 0 < len(remittance[-1]) <= 7)
    return Item(number, reference, account, name, id_no, fen, remittance[0], remittance[-1])
