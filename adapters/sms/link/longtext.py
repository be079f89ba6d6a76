"""Long messages: a text cut into parts of UTF-16BE, each with the header that joins them again on the phone.

The header (3GPP TS 23.040, 9.2.3.24) is ``05 00 03 ref total number`` or, with a reference of 16 bits,
``06 08 04 ref ref total number``. A part has 140 octets, so that leaves 67 or 66 units. A character that takes two
units is never torn: a phone that shows one part alone would show a broken character.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PART_OCTETS = 140
ONE_PART_UNITS = PART_OCTETS // 2
MAX_PARTS = 255


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it travels. ``header`` is empty for a message of a single part."""

    number: int
    total: int
    header: bytes
    body: bytes = field(repr=False)  # UTF-16BE

    @property
    def content(self) -> bytes:
        return self.header + self.body


def units_per_part(reference_bits: int) -> int:
    """UTF-16 units that a part of a long message has room for."""
    return (PART_OCTETS - len(_header(0, 1, 1, reference_bits))) // 2


def pieces(text: str, reference_bits: int = 8) -> list[bytes]:
    """``text`` in UTF-16BE, cut at the last whole character that fits. ValueError for half a surrogate pair."""
    try:
        octets = text.encode("utf-16-be")
    except UnicodeEncodeError:  # its ``object`` is the whole text
        raise ValueError("a text holds half a surrogate pair") from None
    if len(octets) <= PART_OCTETS:
        return [octets]
    room = units_per_part(reference_bits) * 2
    found: list[bytes] = []
    begin = 0
    while begin < len(octets):
        end = min(begin + room, len(octets))
        if end < len(octets) and 0xD8 <= octets[end - 2] <= 0xDB:  # the last unit is the first half of a pair
            end -= 2
        found.append(octets[begin:end])
        begin = end
    if len(found) > MAX_PARTS:
        raise ValueError(f"a text has more than {MAX_PARTS} parts")
    return found


def cut(text: str, reference: int, reference_bits: int = 8) -> list[Part]:
    """The parts of ``text``; ``reference`` (taken modulo its bits) is what the phone joins them by."""
    found = pieces(text, reference_bits)
    total = len(found)
    return [
        Part(number, total, _header(reference, total, number, reference_bits) if total > 1 else b"", body)
        for number, body in enumerate(found, 1)
    ]


def _header(reference: int, total: int, number: int, reference_bits: int) -> bytes:
    if reference_bits == 8:
        return bytes((5, 0, 3, reference % 256, total, number))
    return bytes((6, 8, 4, *(reference % 65536).to_bytes(2, "big"), total, number))
