"""Whatever octets a customer sends, the centre's codecs read them or refuse them with a word of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import cmpp_kit, smpp_kit
from tests.unit.centre_kit import SIGNATURE, udh
from tests.world.sms import cmpp_codec, segments, smpp_codec
from tests.world.sms.segments import Part, Wrong

READERS: list[tuple[Callable[[bytes], object], bytes]] = [
    (cmpp_codec.read_connect, cmpp_kit.connect(0x30)[12:]),
    (lambda body: cmpp_codec.read_submit(body, 0x30), cmpp_kit.submit(1)[12:]),
    (lambda body: cmpp_codec.read_submit(body, 0x20), cmpp_kit.submit(1, v3=False)[12:]),
    (lambda body: cmpp_codec.read_deliver_answer(body, 0x30), bytes(12)),
    (smpp_codec.read_bind, smpp_kit.bind()[16:]),
    (smpp_codec.read_submit, smpp_kit.submit_sm(1)[16:]),
    (smpp_codec.read_query, b"0000000001\0\0\0" + b"1069\0"),
]
CODES = {"OK", "FORMAT", "SIZE", "LENGTH", "UDH", "TEXT", "SIGNATURE"}


def word(call: Callable[[], object]) -> str:
    """OK, or the word of the refusal; any other exception is the test's."""
    try:
        call()
    except Wrong as wrong:
        return wrong.code
    return "OK"


@pytest.mark.parametrize(("read", "sound"), READERS)
@given(st.data())
def test_broken_octets_are_refused_with_a_word(
    read: Callable[[bytes], object], sound: bytes, data: st.DataObject
) -> None:
    """A body with octets changed, cut off or added is read or refused as FORMAT or SIZE, and never anything else."""
    read(sound)
    body = bytearray(sound)
    for at in data.draw(st.lists(st.integers(0, len(sound) - 1), max_size=6)):
        body[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(sound)))
    broken = bytes(body[:end]) + data.draw(st.binary(max_size=4))
    assert word(lambda: read(broken)) in ("OK", "FORMAT", "SIZE")


@pytest.mark.parametrize(("read", "sound"), READERS[:4])
def test_a_body_of_another_length_is_refused(read: Callable[[bytes], object], sound: bytes) -> None:
    """CMPP's bodies have exactly the length that their fields add up to: one octet more or less is another PDU."""
    for broken in (sound[:-1], sound + b"\0"):
        with pytest.raises(Wrong, match=r"SIZE|FORMAT"):
            read(broken)


@given(st.booleans(), st.binary(max_size=160))
def test_a_part_is_whole_characters(has_header: bool, octets: bytes) -> None:
    """Whatever is taken as a part is text that a handset can show alone, of a number within its total."""
    said = word(lambda: segments.check_signature(segments.read(has_header, octets), [SIGNATURE]))
    assert said in CODES
    if said == "OK":
        part = segments.read(has_header, octets)
        assert part.text.encode("utf-16-be") == part.content
        assert 1 <= part.number <= part.total
        assert (part.total > 1) == bool(part.reference) == has_header


def test_both_references_are_read() -> None:
    """A reference may have eight or sixteen bits; the longer header leaves one unit less for words."""
    words = "补贴".encode("utf-16-be")
    assert segments.read(True, udh(2, 3) + words) == Part("07", 2, 3, words)
    assert segments.read(True, b"\6\x08\4\1\2" + bytes([3, 2]) + words) == Part("0102", 2, 3, words)
    segments.read(True, udh(1, 2) + "长".encode("utf-16-be") * 67)
    with pytest.raises(Wrong, match="LENGTH"):
        segments.read(True, b"\6\x08\4\1\2\2\1" + "长".encode("utf-16-be") * 67)
