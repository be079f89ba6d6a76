"""The front-end machine's reading of requests: every field by its form, counts and totals by addition."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import NamedTuple

from tests.bank.model import Item, Upload
from tests.bank.xml_format import Element, Unreadable

MOST_LINES = 500
SUBMIT, BATCH, LINE, RETURNS, STATEMENT, HEARTBEAT = "DF1001", "DF1002", "DF1003", "DF1004", "DF1005", "DF9999"
_HEAD = ("TRCODE", "VERSION", "CHANNEL", "CORPNO", "REQSEQ", "REQDATE", "REQTIME", "RESEND", "MAC")
_BATCH_FIELDS = ("BATCHNO", "PAYACC", "PAYNAME", "SUMMARY", "TOTALNUM", "TOTALAMT", "PART", "LIST")
_LINE_FIELDS = ("SEQ", "REF", "ACCNO", "ACCNAME", "IDTYPE", "IDNO", "AMT")
QUESTIONS = {
    BATCH: ("BATCHNO",),
    LINE: ("BATCHNO", "REF"),
    RETURNS: ("PAYACC", "STARTDATE", "ENDDATE", "START", "COUNT"),
    STATEMENT: ("PAYACC", "DATE", "START", "COUNT"),
    HEARTBEAT: (),
}
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,12})\.([0-9]{2})")
_FORMS = {
    name: re.compile(form)
    for name, form in {
        "REQSEQ": r"[0-9]{1,20}",
        "REQDATE": r"[0-9]{8}",
        "REQTIME": r"([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]",
        "RESEND": r"[YN]",
        "MAC": r"[0-9a-f]{64}",
        "BATCHNO": r"[0-9A-Z]{1,20}",
        "PAYACC": r"[0-9A-Za-z]{1,32}",
        "TOTALNUM": r"[1-9][0-9]{0,2}",
        "PART": r"1/1",
        "REF": r"[0-9A-Z]{1,30}",
        "ACCNO": r"[0-9A-Za-z]{1,32}",
        "IDTYPE": r"[0-9]{2}",
        "IDNO": r"[0-9A-Z]{1,18}",
        "BANKNO": r"[0-9]{12}",
        "STARTDATE": r"[0-9]{8}",
        "ENDDATE": r"[0-9]{8}",
        "DATE": r"[0-9]{8}",
        "START": r"[1-9][0-9]{0,8}",
        "COUNT": r"[1-9][0-9]{0,2}",
    }.items()
}
_MOST_BYTES = {"PAYNAME": 60, "SUMMARY": 20, "ACCNAME": 100}
_UNSPEAKABLE = ("Cc", "Cs", "Co", "Zl", "Zp")


class Head(NamedTuple):
    """The HEAD of a request."""

    trade: str
    version: str
    channel: str
    corporation: str
    number: str
    date: str
    time: str
    resend: str
    mac: str


class Request(NamedTuple):
    """A document that has the shape of a request; its fields are not yet looked at."""

    head: Head
    body: Element


def request(root: Element) -> Request:
    """Raises Unreadable when HEAD or BODY are not there, or not as the manual says."""
    if root.tag != "BANK" or root.tags() != ["HEAD", "BODY"]:
        raise Unreadable("BANK")
    head, body = root.children
    return Request(Head(*head.texts(*_HEAD)), body)


def check(name: str, value: str, encoding: str) -> str:
    """A field of the right form. Raises Unreadable."""
    form, most = _FORMS.get(name), _MOST_BYTES.get(name)
    if form is not None and form.fullmatch(value) is None:
        raise Unreadable(name)
    if most is not None:
        strange = any(unicodedata.category(character) in _UNSPEAKABLE for character in value)
        if strange or not 0 < len(value.encode(encoding)) <= most:
            raise Unreadable(name)
    return value


def fen(text: str) -> int:
    """Yuan with two decimals, as fen. Raises Unreadable."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise Unreadable("amount")
    return int(match[1]) * 100 + int(match[2])


def yuan(fen_: int) -> str:
    return f"{'-' if fen_ < 0 else ''}{abs(fen_) // 100}.{abs(fen_) % 100:02d}"


def question(trade: str, body: Element, encoding: str) -> list[str]:
    """The fields of a question, in the manual's order. Raises Unreadable."""
    names = QUESTIONS[trade]
    values = body.texts(*names)
    for name, value in zip(names, values, strict=True):
        check(name, value, encoding)
    if body.text or ("COUNT" in names and int(values[-1]) > MOST_LINES):
        raise Unreadable("COUNT")
    return values


def batch(head: Head, body: Element, document: bytes, encoding: str) -> Upload:
    """A submission with its lines. Raises Unreadable."""
    if body.tags() != list(_BATCH_FIELDS):
        raise Unreadable("fields of BODY")
    *fields, listed = body.children
    if any(field.children for field in fields) or listed.text or set(listed.tags()) != {"ITEM"}:
        raise Unreadable("fields of BODY")
    texts = [check(field.tag, field.text, encoding) for field in fields]
    number, account, _, summary, count, total, _ = texts
    items = [_item(item, place, summary, encoding) for place, item in enumerate(listed.children, 1)]
    total_fen = sum(item.amount_fen for item in items)
    if int(count) != len(items) or fen(total) != total_fen or len(items) > MOST_LINES:
        raise Unreadable("totals")
    if len({item.reference for item in items}) != len(items):
        raise Unreadable("references")
    return Upload(number, f"{SUBMIT} {head.number}", document, digest(document), account, summary, total_fen, items)


def _item(item: Element, place: int, summary: str, encoding: str) -> Item:
    fields = (*_LINE_FIELDS, "BANKNO") if item.tags()[-1:] == ["BANKNO"] else _LINE_FIELDS
    texts = [check(name, text, encoding) for name, text in zip(fields, item.texts(*fields), strict=True)]
    sequence, reference, account, name, _, id_no, amount, *_ = texts
    amount_fen = fen(amount)
    if sequence != str(place) or amount_fen <= 0:
        raise Unreadable("SEQ" if amount_fen else "amount")
    return Item(place, reference, account, name, id_no, amount_fen, summary, "")


def digest(document: bytes) -> str:
    """SHA-256 of a document, with RESEND read as N: a second transmission has the digest of the first."""
    return hashlib.sha256(document.replace(b"<RESEND>Y</RESEND>", b"<RESEND>N</RESEND>", 1)).hexdigest()
