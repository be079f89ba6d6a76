"""One SUBMIT's share of a text: UCS-2 content with or without a concatenation header, read without any goodwill.

3GPP TS 23.040 section 9.2.3.24: a user data header is its length, then elements of identifier, length and value. Only
the two concatenation elements may stand in it (00 with an 8-bit reference, 08 with a 16-bit one), and exactly one. The
signalling channel carries 140 octets, header included; what is left of them is whole UTF-16 code units, and no half of
a surrogate pair may begin or end a part, because a handset shows a part that came alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_OCTETS = 140
_SIGNATURE = re.compile(r"【([^【】]{2,12})】")


class Wrong(Exception):
    """A SUBMIT that is refused for what it says; ``code`` is the ledger's word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Part:
    """``content`` is UTF-16 big-endian without the header; ``reference`` is hexadecimal, empty for a whole text."""

    reference: str
    number: int
    total: int
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-16-be")


def read(has_header: bool, octets: bytes) -> Part:
    """Raises Wrong: LENGTH, UDH (header, or half a character) or FORMAT (nothing in it)."""
    if len(octets) > MOST_OCTETS:
        raise Wrong("LENGTH")
    reference, number, total, content = "", 1, 1, octets
    if has_header:
        match octets[:3]:
            case b"\x05\x00\x03" if len(octets) >= 6:
                reference, total, number, content = octets[3:4].hex(), octets[4], octets[5], octets[6:]
            case b"\x06\x08\x04" if len(octets) >= 7:
                reference, total, number, content = octets[3:5].hex(), octets[5], octets[6], octets[7:]
            case _:
                raise Wrong("UDH")
        if not 1 <= number <= total or total < 2:
            raise Wrong("UDH")
    if not content:
        raise Wrong("FORMAT")
    try:
        content.decode("utf-16-be")
    except UnicodeDecodeError:
        raise Wrong("UDH" if has_header else "FORMAT") from None
    return Part(reference, number, total, content)


def check_signature(part: Part, registered: Sequence[str]) -> None:
    """The text begins with a registered 【signature】; it stands in the first part. Raises Wrong TEXT or SIGNATURE."""
    if part.number != 1:
        return
    signature = _SIGNATURE.match(part.text)
    if signature is None:
        raise Wrong("TEXT")
    if registered and signature.group(1) not in registered:
        raise Wrong("SIGNATURE")
