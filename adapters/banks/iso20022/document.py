"""Reads one ISO 20022 document from a bank: hardened against hostile XML, strict about what stands once.

Before the parser sees a byte the size is bounded and a document type declaration refused, so there are no entities of
anybody's making; the parser is told to resolve none, to fetch nothing and to keep its own limits. Then everything is
read through ``Node``, which knows no "first of several": what the schema allows once and stands twice, a text broken
up by a comment, a date or an amount that is not one, makes the whole document ``Unreadable``.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final
from zoneinfo import ZoneInfo

from lxml import etree

from adapters.contract import Unreadable

BANK_TIME: Final = ZoneInfo("Asia/Shanghai")
CURRENCY: Final = "CNY"
_DEPTH: Final = 32  # the deepest path that the schemas of these messages allow is below it
_BLOCK_BYTES: Final = 65_536

_DECLARED: Final = re.compile(r"\ufeff?<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']*)").match
_WORD: Final = re.compile(r"[0-9A-Za-z_./-]{1,35}").fullmatch
# Only [0-9]: "\d" and int() take Persian and full-width digits too. The schema allows five decimals.
_AMOUNT: Final = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,5}))?").fullmatch
_COUNT: Final = re.compile(r"[0-9]{1,15}").fullmatch
_DATE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:Z|[+-][0-9]{2}:[0-9]{2})?").fullmatch
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
).fullmatch


def read(content: bytes, namespace: str, message: str, limit_bytes: int) -> Node:
    """The one message (``BkToCstmrStmt``...) in a document of this namespace."""
    if len(content) > limit_bytes:
        raise Unreadable("the document is larger than the bound")
    text = _decoded(content)
    declared = _DECLARED(text)
    if declared is not None and declared[1].upper() != "UTF-8":
        raise Unreadable("the document declares another encoding than UTF-8")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Unreadable("the document has a document type declaration")
    root = _tree(content)
    if root is None:
        raise Unreadable("not well-formed XML within the bounds")
    if root.tag != f"{{{namespace}}}Document" or [child.tag for child in root] != [f"{{{namespace}}}{message}"]:
        raise Unreadable("not a document of this kind")
    return Node(root[0], f"{{{namespace}}}")


def _decoded(content: bytes) -> str:
    text: str | None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = None  # raised below: that error carries the bytes, and personal data with them
    if text is None:
        raise Unreadable("not UTF-8")
    return text


def _tree(content: bytes) -> etree._Element | None:
    """The document's root, or None when it is not well-formed, or deeper than any message of ours."""
    parser = etree.XMLPullParser(
        events=("start", "end"),
        encoding="UTF-8",  # whatever the document says of itself: what was looked through is what is parsed
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
    )
    depth = 0
    try:
        for start in range(0, len(content), _BLOCK_BYTES):
            parser.feed(content[start : start + _BLOCK_BYTES])
            for event, _ in parser.read_events():
                depth += 1 if event == "start" else -1
                if depth > _DEPTH:
                    return None
        root: etree._Element = parser.close()
    except etree.XMLSyntaxError:
        return None  # its message may quote the document
    return root


class Node:
    """An element. Every path (``Refs/EndToEndId``) is a step at a time, each step at most once."""

    __slots__ = ("_element", "_namespace")

    def __init__(self, element: etree._Element, namespace: str) -> None:
        self._element = element
        self._namespace = namespace

    def all(self, name: str) -> list[Node]:
        """Every child of that name, in order."""
        return [Node(child, self._namespace) for child in self._element.iterchildren(self._namespace + name)]

    def find(self, path: str) -> Node | None:
        """The element at that path, or None; Unreadable where a step stands twice."""
        element = self._element
        for name in path.split("/"):
            found = element.iterchildren(self._namespace + name)
            first = next(found, None)
            if first is None:
                return None
            if next(found, None) is not None:
                raise Unreadable(f"{name} stands more than once")
            element = first
        return Node(element, self._namespace)

    def one(self, path: str) -> Node:
        node = self.find(path)
        if node is None:
            raise Unreadable(f"{path} is missing")
        return node

    @property
    def text(self) -> str:
        """What stands in an element that holds nothing else."""
        if len(self._element):
            raise Unreadable("an element holds more than text")
        return (self._element.text or "").strip(" \t\r\n")

    def text_at(self, path: str) -> str:
        """The text at that path, or "" where there is none."""
        node = self.find(path)
        return "" if node is None else node.text

    def word_at(self, path: str) -> str:
        """A reference or a code: plain characters only, or ""."""
        text = self.text_at(path)
        if text and not _WORD(text):
            raise Unreadable(f"{path} is no reference or code")
        return text

    def count_at(self, path: str) -> int | None:
        text = self.text_at(path)
        if text and not _COUNT(text):
            raise Unreadable(f"{path} is no number")
        return int(text) if text else None

    def fen_at(self, path: str) -> int | None:
        """An amount, always of yuan where a currency is named. Fractions of a fen are nobody's money: Unreadable."""
        node = self.find(path)
        if node is None:
            return None
        if node._element.get("Ccy", CURRENCY) != CURRENCY:
            raise Unreadable(f"{path} is in another currency")
        amount = _AMOUNT(node.text)
        fraction = "" if amount is None else (amount[2] or "").rstrip("0")
        if amount is None or len(fraction) > 2:
            raise Unreadable(f"{path} is no amount in yuan and fen")
        return int(amount[1]) * 100 + int(fraction.ljust(2, "0"))

    def date_at(self, path: str) -> dt.date | None:
        """The day in a choice of ``Dt`` and ``DtTm`` at that path; a time with an offset counts in the bank's time."""
        choice = self.find(path)
        if choice is None:
            return None
        date, time = _DATE(choice.text_at("Dt")), _TIME(choice.text_at("DtTm"))
        try:
            if date is not None:
                return dt.date.fromisoformat(date[1])
            if time is not None:
                moment = dt.datetime.fromisoformat(time[0])
                return (moment.astimezone(BANK_TIME) if moment.tzinfo else moment).date()
        except (ValueError, OverflowError):
            pass
        raise Unreadable(f"{path} is no date")
