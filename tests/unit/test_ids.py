"""Identities: payouts are named the same everywhere, and no two references are ever equal."""

from __future__ import annotations

import datetime as dt
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SHANGHAI
from gateway.store import ids

AT = dt.datetime(2026, 11, 24, 10, 0, tzinfo=SHANGHAI)


@given(batch=st.integers(1, 2**42), line=st.integers(1, ids.MAX_LINES))
def test_a_payout_s_name_and_key_are_one(batch: int, line: int) -> None:
    """Batch and line make the key, the key makes the name, and both lead back; the key lies in its batch's range."""
    key = ids.payout_id(batch, line)
    assert ids.batch_and_line(key) == (batch, line)
    assert ids.payout_name(key) == f"{batch}-{line}"
    assert ids.payout_from_name(ids.payout_name(key)) == key
    first, last = ids.payout_range(batch)
    assert first < key <= last < ids.payout_range(batch + 1)[0] + 1


@pytest.mark.parametrize(("batch", "line"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, ids.MAX_LINES + 1)])
def test_what_is_no_payout_has_no_key(batch: int, line: int) -> None:
    """A line beyond its room would be another batch's payout."""
    with pytest.raises(ValueError, match="positive"):
        ids.payout_id(batch, line)


@pytest.mark.parametrize("name", ["", "1042", "1042-", "-17", "1042-17-1", "a-1", "1042 -17", "٣-١", "1042-0", "+1-1"])
def test_what_is_no_name_is_refused(name: str) -> None:
    """Only digits, one dash, digits; other people's digits are none."""
    with pytest.raises(ValueError):
        ids.payout_from_name(name)


def test_a_submission_s_reference_has_twenty_characters_for_ever() -> None:
    """Date and number, both fixed in width: equal numbers differ by day, equal days by number."""
    assert ids.submission_reference(17, AT) == "DF202611240000000017"
    assert len(ids.submission_reference(10**10 - 1, AT)) == 20
    with pytest.raises(ValueError, match="ten digits"):
        ids.submission_reference(10**10, AT)


@pytest.mark.parametrize(
    ("alphabet", "length"),
    [
        (ids.CROCKFORD, 20),
        (ids.CROCKFORD, 26),
        (string.digits + string.ascii_uppercase, 30),
        (string.digits, 30),
        (string.hexdigits[:16], 24),
    ],
)
def test_references_fit_the_bank_and_never_repeat(alphabet: str, length: int) -> None:
    """Exactly the bank's length, only its characters, all different, and later ones sort behind earlier ones."""
    now = ids.mint_references(2_000, AT, alphabet, length)
    later = ids.mint_references(2_000, AT + dt.timedelta(milliseconds=1), alphabet, length)
    assert len(set(now) | set(later)) == 4_000
    assert all(len(reference) == length and set(reference) <= set(alphabet) for reference in now + later)
    assert max(now) < min(later)


def test_references_are_random_and_not_counted() -> None:
    """A database restored from a backup mints other references at the same moment."""
    assert not set(ids.mint_references(100, AT, ids.CROCKFORD, 20)) & set(
        ids.mint_references(100, AT, ids.CROCKFORD, 20)
    )
    tails = {reference[-1] for reference in ids.mint_references(2_000, AT, ids.CROCKFORD, 20)}
    assert tails == set(ids.CROCKFORD)


@pytest.mark.parametrize(("alphabet", "length"), [(ids.CROCKFORD, 12), (string.digits, 20), ("01", 60)])
def test_too_little_room_for_chance_is_refused(alphabet: str, length: int) -> None:
    """A bank whose references are too short to be unique is a fault of configuration, not a collision later."""
    with pytest.raises(ValueError, match="too short"):
        ids.mint_references(1, AT, alphabet, length)


@pytest.mark.parametrize("alphabet", [ids.CROCKFORD, "01"])
def test_a_reference_begins_with_its_millisecond(alphabet: str) -> None:
    """In the bank's own characters and at a fixed width, so that references sort as they were minted."""
    width = {32: 9, 2: 44}[len(alphabet)]
    (reference,) = ids.mint_references(1, AT, alphabet, 100)
    number = 0
    for character in reference[:width]:
        number = number * len(alphabet) + alphabet.index(character)
    assert number == int(AT.timestamp() * 1000)


def test_chance_uses_every_character_at_every_place() -> None:
    """No place behind the time is narrower than the others: there chance would be less than it is said to be."""
    minted = ids.mint_references(2_000, AT, ids.CROCKFORD, 20)
    for place in range(9, 20):
        assert {reference[place] for reference in minted} == set(ids.CROCKFORD)


def test_fifty_bits_of_chance_are_enough_and_one_less_is_not() -> None:
    """With two characters each place is a bit: 44 for the time, and fifty."""
    assert len(ids.mint_references(1, AT, "01", 94)[0]) == 94
    with pytest.raises(ValueError, match="too short"):
        ids.mint_references(1, AT, "01", 93)


def test_nothing_to_mint_is_nothing() -> None:
    """An empty chunk asks for no reference."""
    assert ids.mint_references(0, AT, ids.CROCKFORD, 26) == []
