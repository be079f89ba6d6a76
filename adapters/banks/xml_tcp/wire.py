"""The XML of ``xml_tcp``: the envelope with its MAC, and what we write into it. Pure, and strict in both ways.

A document is read in three steps, none of which trusts the next. The *bytes* come first: size, declared encoding, no
markup but elements, exactly one BODY, and the MAC over it. Then they are decoded, strictly. Only then does a parser
see them, as UTF-8, with entities, DTDs and the network switched off; and what it returns has to have the one shape of
this bank: HEAD and BODY with plain fields, a LIST of plain ITEMs, no field twice.
"""

from __future__ import annotations

import datetime as dt
import hmac as constant_time
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes, hmac
from lxml import etree

from adapters.contract import Line, Reason, Submission, Unreadable
from schemas.money import yuan_text_from_fen

GREATEST_AMOUNT_FEN: Final = 10**13 - 1
NAME_BYTES: Final = 100
DEBIT_NAME_BYTES: Final = 60
PURPOSE_BYTES: Final = 20
PART: Final = "1/1"  # a submission has at most 500 lines, so it is never in parts

_REFERENCE: Final = re.compile(r"[0-9A-Z]{1,26}").fullmatch
_BATCH: Final = re.compile(r"DF([0-9]{1,18})").fullmatch
_ACCOUNT: Final = re.compile(r"[0-9A-Za-z]{1,32}").fullmatch
_ID_TYPE: Final = re.compile(r"[0-9]{2}").fullmatch
_ID_NO: Final = re.compile(r"[0-9A-Z]{1,18}").fullmatch
_BANK_NUMBER: Final = re.compile(r"[0-9]{12}").fullmatch
_REQUEST_NUMBER: Final = re.compile(r"[0-9]{1,20}").fullmatch

# What cannot travel: control characters and line separators, surrogates, private use (Python decodes some characters of
# the 2022 edition to it), what is no character at all; and the characters to which the editions of GB18030 (2000, 2005,
# 2022) give different bytes, each of which another edition reads as something else: nobody can say what would arrive.
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\U000f0000-\U0010ffff"
    r"\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U0003fffe\U0003ffff\U000efffe\U000effff"
    r"\u1e3f\u9fb4-\u9fbb\ufe10-\ufe19\U00020087\U00020089\U000200cc\U000215d7\U0002298f\U000241fe]"
).search

_DECLARATION: Final = re.compile(rb'<\?xml version="1\.0" encoding="([0-9A-Za-z-]{1,20})"\?>').match
_MAC: Final = re.compile(rb"<MAC>([0-9a-f]{64})</MAC>").findall
_NO_RESEND: Final = b"<RESEND>N</RESEND>"
_RESEND: Final = b"<RESEND>Y</RESEND>"
_EMPTY_BODY: Final = b"<BODY/>"
_BODY: Final = b"<BODY"
_BODY_END: Final = b"</BODY>"


@dataclass(frozen=True, slots=True)
class Document:
    """A readable document, its MAC verified. ``items`` is None where there is no LIST."""

    head: dict[str, str]
    body: dict[str, str]
    items: list[dict[str, str]] | None

    @property
    def trade(self) -> str:
        return self.head.get("TRCODE", "")

    @property
    def number(self) -> str:
        return self.head.get("REQSEQ", "")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every document to and from one bank shares: encoding, who we are, and the key of the MAC."""

    encoding: str
    version: str
    channel: str
    corporation: str
    key: bytes

    def __repr__(self) -> str:
        return f"Envelope({self.encoding}, {self.channel}, {self.corporation})"

    def mac(self, body: bytes) -> str:
        """HMAC-SM3 over the bytes of the BODY element, tags included, in lower-case hexadecimal."""
        made = hmac.HMAC(self.key, hashes.SM3())
        made.update(body)
        return made.finalize().hex()

    def document(self, trade: str, number: str, at: dt.datetime, body: str, *, resend: bool = False) -> bytes:
        """A request. ``body`` is the escaped content of BODY, ``at`` is in the bank's time, ``number`` is REQSEQ."""
        if _REQUEST_NUMBER(number) is None:
            raise ValueError("a request number is 1 to 20 digits")
        inner = f"<BODY>{body}</BODY>".encode(self.encoding) if body else _EMPTY_BODY
        head = (
            field("TRCODE", trade)
            + field("VERSION", self.version)
            + field("CHANNEL", self.channel)
            + field("CORPNO", self.corporation)
            + field("REQSEQ", number)
            + field("REQDATE", f"{at:%Y%m%d}")
            + field("REQTIME", f"{at:%H%M%S}")
            + field("RESEND", "Y" if resend else "N")
            + field("MAC", self.mac(inner))
        )
        start = f'<?xml version="1.0" encoding="{self.encoding.upper()}"?><BANK><HEAD>{head}</HEAD>'
        return start.encode("ascii") + inner + b"</BANK>"

    def read(self, content: bytes, limit_bytes: int) -> Document:
        """Raises Unreadable, which never quotes the content."""
        if len(content) > limit_bytes:
            raise Unreadable("larger than the bound")
        declared = _DECLARATION(content)
        if declared is None or declared[1].decode("ascii").lower() != self.encoding:
            raise Unreadable("not XML in the agreed encoding")
        rest = content[declared.end() :]
        if b"<!" in rest or b"<?" in rest:
            raise Unreadable("markup that is no element: a DTD, a comment, CDATA or an instruction")
        self._check_mac(rest)
        return _shaped(_parsed(self._decoded(rest)))

    def _check_mac(self, rest: bytes) -> None:
        start = rest.find(_BODY)
        end = start + len(_EMPTY_BODY) if rest.startswith(_EMPTY_BODY, start) else rest.find(_BODY_END) + len(_BODY_END)
        if start < 0 or rest.count(_BODY) != 1 or rest.count(_BODY_END) > 1 or end <= start:
            raise Unreadable("not exactly one BODY")
        # Every one counts, also one inside BODY: which of two a parser would take is nothing to depend on.
        macs = _MAC(rest)
        if len(macs) != 1 or rest.count(b"<MAC") != 1 or rest.find(b"<MAC") > start:
            raise Unreadable("not exactly one MAC before BODY")
        if not constant_time.compare_digest(macs[0], self.mac(rest[start:end]).encode("ascii")):
            raise Unreadable("the MAC is not that of the BODY")

    def _decoded(self, content: bytes) -> str:
        text: str | None
        try:
            text = content.decode(self.encoding)
        except UnicodeDecodeError:
            text = None  # raised below: that error carries the bytes, and personal data with them
        if text is None:
            raise Unreadable("not in the encoding that it declares")
        return text


def _parsed(text: str) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        recover=False,
    )
    root: etree._Element | None
    try:
        root = etree.fromstring(text.encode("utf-8"), parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None  # raised below: lxml's error quotes what it could not read
    if root is None:
        raise Unreadable("not well-formed XML")
    return root


def _shaped(root: etree._Element) -> Document:
    """The one shape of this bank, or Unreadable."""
    parts = list(root)
    if root.tag != "BANK" or root.attrib or [part.tag for part in parts] != ["HEAD", "BODY"]:
        raise Unreadable("not BANK with one HEAD and one BODY")
    head, _ = _fields(parts[0])
    body, listed = _fields(parts[1], may_list=True)
    if listed is None:
        return Document(head, body, None)
    if listed.attrib or _is_text(listed.text) or any(_is_text(item.tail) for item in listed):
        raise Unreadable("text or attributes in a LIST")
    if any(item.tag != "ITEM" for item in listed):
        raise Unreadable("a LIST holds something else than ITEMs")
    return Document(head, body, [_fields(item)[0] for item in listed])


def _fields(parent: etree._Element, *, may_list: bool = False) -> tuple[dict[str, str], etree._Element | None]:
    """The plain fields of an element, and its LIST where it may have one."""
    found: dict[str, str] = {}
    listed: etree._Element | None = None
    if parent.attrib or _is_text(parent.text):
        raise Unreadable("text or attributes where fields should be")
    for child in parent:
        if not isinstance(child.tag, str) or child.attrib or _is_text(child.tail):
            raise Unreadable("text, attributes or an entity beside the fields")
        if child.tag == "LIST" and may_list and listed is None:
            listed = child
        elif len(child) or child.tag in found or child.tag == "LIST":
            raise Unreadable("a field stands twice, or holds others")
        else:
            found[child.tag] = child.text or ""
    return found, listed


def _is_text(text: str | None) -> bool:
    return text is not None and text.strip(" \t\r\n") != ""


# --- writing ---------------------------------------------------------------------------------------------------------


def field(name: str, value: str) -> str:
    return f"<{name}>{html.escape(value, quote=False)}</{name}>"


def request_number(batch: str) -> str:
    """The REQSEQ of a submission: the digits of its number. ValueError for a reference that has none."""
    match = _BATCH(batch)
    if match is None:
        raise ValueError("a submission reference is DF and 1 to 18 digits")
    return match[1]


def fits(text: str, greatest_bytes: int, encoding: str) -> bool:
    """True when the text arrives as it is: not empty, nothing in it that cannot travel, not too long.

    Never ``errors="replace"`` and never a cut: a name that does not fit is refused as a line.
    """
    if _UNSAFE(text) is not None:
        return False
    try:
        encoded = text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return 0 < len(encoded) <= greatest_bytes


def refusal(line: Line, encoding: str) -> Reason | None:
    """Why this line cannot be written: the name is the department's to solve, every other field is ours."""
    if not fits(line.name.reveal(), NAME_BYTES, encoding):
        return Reason.NAME_NOT_ENCODABLE
    if not 0 < line.amount_fen <= GREATEST_AMOUNT_FEN:
        return Reason.AMOUNT
    good = (
        _REFERENCE(line.reference)
        and _ACCOUNT(line.account.reveal())
        and _ID_TYPE(line.id_type)
        and _ID_NO(line.id_no.reveal())
        and _BANK_NUMBER(line.bank_no)
    )
    return None if good else Reason.FORMAT


def batch_body(
    submission: Submission, lines: Sequence[Line], encoding: str, own_bank_numbers: Sequence[str] = ()
) -> str:
    """The content of the BODY of a submission. ValueError, without any value in it, where a field does not fit."""
    request_number(submission.reference)
    if not _ACCOUNT(submission.debit_account.reveal()):
        raise ValueError("the debit account does not fit")
    if not fits(submission.debit_name, DEBIT_NAME_BYTES, encoding):
        raise ValueError("the debit name does not fit, or its encoding cannot hold it")
    if not fits(submission.purpose, PURPOSE_BYTES, encoding):
        raise ValueError("the purpose does not fit, or its encoding cannot hold it")
    if not lines or len({line.reference for line in lines}) != len(lines):
        raise ValueError("no lines, or a reference twice")
    items = (_item(number, line, encoding, own_bank_numbers) for number, line in enumerate(lines, start=1))
    return (
        field("BATCHNO", submission.reference)
        + field("PAYACC", submission.debit_account.reveal())
        + field("PAYNAME", submission.debit_name)
        + field("SUMMARY", submission.purpose)
        + field("TOTALNUM", str(len(lines)))
        + field("TOTALAMT", yuan_text_from_fen(sum(line.amount_fen for line in lines)))
        + field("PART", PART)
        + f"<LIST>{''.join(items)}</LIST>"
    )


def _item(number: int, line: Line, encoding: str, own_bank_numbers: Sequence[str]) -> str:
    reason = refusal(line, encoding)
    if reason is not None:
        raise ValueError(f"line {number} cannot be written: {reason}")
    fields = (
        field("SEQ", str(number))
        + field("REF", line.reference)
        + field("ACCNO", line.account.reveal())
        + field("ACCNAME", line.name.reveal())
        + field("IDTYPE", line.id_type)
        + field("IDNO", line.id_no.reveal())
        + field("AMT", yuan_text_from_fen(line.amount_fen))
    )
    if own_bank_numbers and line.bank_no not in own_bank_numbers:
        fields += field("BANKNO", line.bank_no)
    return f"<ITEM>{fields}</ITEM>"


def resent(payload: bytes) -> bytes:
    """The same submission marked as one that may have come before: RESEND Y, and not another byte."""
    head, body, rest = payload.partition(_BODY)
    if head.count(_NO_RESEND) != 1 or not body:
        raise ValueError("these bytes are no submission of ours")
    return head.replace(_NO_RESEND, _RESEND) + body + rest
