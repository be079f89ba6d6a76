"""The front-end machine's own frames and documents: length headers, strict reading of XML, MAC, and writing.

A document is looked at as bytes first (who asks, which bytes the MAC covers), then decoded, then parsed. The parser
sees UTF-8 and builds nothing but elements with either text or children; whatever else XML can do is refused as it
appears, so that no entity is ever expanded.
"""

from __future__ import annotations

import hmac as constant_time
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from cryptography.hazmat.primitives import hashes, hmac

MEBIBYTE = 1024 * 1024
_DECLARATION = re.compile(rb'<\?xml version="1\.0" encoding="([0-9A-Za-z-]{1,20})"\?>')
_BODY = re.compile(rb"<BODY/>|<BODY>.*</BODY>", re.DOTALL)
_ASKED = {
    name: re.compile(rb"<%s>([0-9A-Za-z]{1,20})</%s>" % (name, name)) for name in (b"TRCODE", b"REQSEQ", b"BATCHNO")
}


class Unreadable(Exception):
    """The bytes are no document of this manual."""


class Framing(NamedTuple):
    """One way of saying how long a document is."""

    header: re.Pattern[bytes]
    size: int  # of the header, bytes
    template: bytes
    most: int  # of the document, bytes

    def length(self, header: bytes) -> int:
        """How many bytes follow. Raises Unreadable."""
        found = self.header.fullmatch(header)
        length = int(found[1]) if found else 0
        if not 0 < length <= self.most:
            raise Unreadable("length")
        return length

    def frame(self, document: bytes) -> bytes:
        return self.template % len(document) + document

    def longest(self) -> bytes:
        """A header that announces as much as it can."""
        return self.template % int("9" * (6 if self.template.startswith(b"0%-") else 8))


FRAMINGS = {
    "digits8": Framing(re.compile(rb"([0-9]{8})"), 8, b"%08d", MEBIBYTE),
    "spaces8": Framing(re.compile(rb"([1-9][0-9]{0,7}) *"), 8, b"%-8d", MEBIBYTE),
    "flag1_6": Framing(re.compile(rb"0([1-9][0-9]{0,5}) *"), 7, b"0%-6d", 999_999),
}


@dataclass(slots=True)
class Element:
    """A tag with text or with children, never both."""

    tag: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def tags(self) -> list[str]:
        return [child.tag for child in self.children]

    def texts(self, *tags: str) -> list[str]:
        """The texts of the children, which must be exactly these, in this order, and hold no others."""
        if self.tags() != list(tags) or any(child.children for child in self.children):
            raise Unreadable(f"fields of {self.tag}")
        return [child.text for child in self.children]


class Asked(NamedTuple):
    """What the bytes say of themselves, whether or not they can be read; "" for what they do not say."""

    trade: str
    number: str
    batch: str


def glance(document: bytes) -> Asked:
    found = [pattern.search(document) for pattern in _ASKED.values()]
    return Asked(*(match[1].decode("ascii") if match else "" for match in found))


class Code:
    """Encoding and MAC key, shared by both sides of one line."""

    def __init__(self, encoding: str, key: bytes) -> None:
        self.encoding = encoding
        self._key = key

    def mac(self, body: bytes) -> str:
        """HMAC-SM3 of a BODY element with its tags."""
        made = hmac.HMAC(self._key, hashes.SM3())
        made.update(body)
        return made.finalize().hex()

    def genuine(self, document: bytes, mac: str) -> bool:
        """Whether this is the MAC of the one BODY in the document. Raises Unreadable when there is none, or another."""
        body = _BODY.search(document)
        if body is None or document.count(b"<BODY") != 1 or document.count(b"</BODY>") > 1:
            raise Unreadable("BODY")
        return constant_time.compare_digest(self.mac(body[0]).encode(), mac.encode())

    def read(self, document: bytes) -> Element:
        """The root of a document in the agreed encoding. Raises Unreadable."""
        declared = _DECLARATION.match(document)
        if declared is None or declared[1].decode("ascii").upper() != self.encoding:
            raise Unreadable("declaration")
        try:
            text = document[declared.end() :].decode(self.encoding)
        except UnicodeDecodeError:
            raise Unreadable("encoding") from None
        return _parse(text)

    def document(self, head: Sequence[tuple[str, str]], body: str, mac: str | None = None) -> bytes:
        """A whole document; `body` is the content of BODY, escaped; `mac` replaces the right one."""
        inner = (f"<BODY>{body}</BODY>" if body else "<BODY/>").encode(self.encoding)
        fields = "".join(tag(name, value) for name, value in (*head, ("MAC", mac or self.mac(inner))))
        start = f'<?xml version="1.0" encoding="{self.encoding}"?><BANK><HEAD>{fields}</HEAD>'
        return start.encode(self.encoding) + inner + b"</BANK>"


def tag(name: str, value: str) -> str:
    escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{escaped}</{name}>"


def _refuse(*_: object) -> None:
    raise Unreadable("markup")


def _parse(text: str) -> Element:
    parser = expat.ParserCreate("UTF-8")
    root = Element("")
    open_elements = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        parent = open_elements[-1]
        if attributes or parent.text:
            raise Unreadable("markup")
        element = Element(name)
        parent.children.append(element)
        open_elements.append(element)

    def characters(data: str) -> None:
        element = open_elements[-1]
        if element.children:
            raise Unreadable("text between elements")
        element.text += data

    def end(_: str) -> None:
        open_elements.pop()

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = _refuse
    parser.ProcessingInstructionHandler = parser.CommentHandler = parser.StartCdataSectionHandler = _refuse
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError):
        raise Unreadable("markup") from None
    return root.children[0]
