"""GB 11643 numbers: what holds, what does not, and why."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import resident_id

TODAY = dt.date(2026, 11, 24)
BORN = st.dates(dt.date(1900, 1, 1), TODAY)


def number(born: dt.date | str, sequence: int = 1) -> str:
    """A number of the prefix that is assigned to nobody."""
    day = born if isinstance(born, str) else f"{born:%Y%m%d}"
    digits = f"659999{day}{sequence:03d}"
    return digits + checked(digits)


def checked(digits: str) -> str:
    """The standard's own wording of MOD 11-2, digit by digit: shares nothing with the code under test."""
    remainder = 0
    for digit in digits:
        remainder = (remainder + int(digit)) * 2 % 11
    check = (12 - remainder) % 11
    return "X" if check == 10 else str(check)


@given(BORN, st.integers(0, 999))
def test_every_right_number_holds(born: dt.date, sequence: int) -> None:
    """A number with a real birth date and its check character holds, with X in either case."""
    right = number(born, sequence)
    assert resident_id.fault(right, TODAY) is None
    assert resident_id.fault(right.lower(), TODAY) is None
    assert resident_id.canonical(right.lower()) == right


@given(BORN, st.integers(0, 999), st.integers(0, 16), st.integers(1, 9))
def test_one_wrong_digit_never_holds(born: dt.date, sequence: int, place: int, shift: int) -> None:
    """A slip in any one digit is found."""
    right = number(born, sequence)
    wrong = right[:place] + str((int(right[place]) + shift) % 10) + right[place + 1 :]
    assert resident_id.fault(wrong, TODAY) is not None


@given(BORN, st.integers(0, 999), st.integers(0, 15))
def test_swapped_neighbours_never_hold(born: dt.date, sequence: int, place: int) -> None:
    """Two neighbouring digits changing places are found, unless they are equal."""
    right = number(born, sequence)
    swapped = right[:place] + right[place + 1] + right[place] + right[place + 2 :]
    assert (resident_id.fault(swapped, TODAY) is None) == (swapped == right)


@pytest.mark.parametrize("born", ["18991231", "19000229", "20230229", "20261125", "20261301", "20260001", "20260532"])
def test_an_unreal_birth_date_does_not_hold(born: str) -> None:
    """Birth dates run from 1900 to today, on days that exist."""
    assert resident_id.fault(number(born), TODAY) == resident_id.WRONG_BIRTH_DATE


@pytest.mark.parametrize("born", ["19000101", "20240229", "20261124"])
def test_the_edges_of_real_birth_dates_hold(born: str) -> None:
    """The first day of 1900, a leap day and today are real."""
    assert resident_id.fault(number(born), TODAY) is None


RIGHT = number("19700101")
PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (RIGHT.translate(PERSIAN), resident_id.NOT_ASCII_DIGITS),
        (RIGHT.translate(FULL_WIDTH), resident_id.NOT_ASCII_DIGITS),
        (RIGHT[:3] + "９" + RIGHT[4:], resident_id.NOT_ASCII_DIGITS),
        ("", resident_id.WRONG_LENGTH),
        (RIGHT[:15], resident_id.WRONG_LENGTH),
        (RIGHT + " ", resident_id.WRONG_LENGTH),
        (RIGHT + "\n", resident_id.WRONG_LENGTH),
        (" " + RIGHT[1:], resident_id.WRONG_FORM),
        (RIGHT[:17] + "Y", resident_id.WRONG_FORM),
        (RIGHT[:17] + "Ｘ", resident_id.WRONG_FORM),
        (RIGHT[:9] + "X" + RIGHT[10:], resident_id.WRONG_FORM),
    ],
)
def test_what_is_no_number(wrong: str, fault: str) -> None:
    """Foreign digits, other lengths, spaces, line ends and stray letters are named for what they are."""
    assert resident_id.fault(wrong, TODAY) == fault


def test_districts_are_not_judged() -> None:
    """A district code that no table knows is no fault: codes outlive and outrun tables."""
    for district in ("659999", "110000", "999999"):
        digits = f"{district}19700101001"
        assert resident_id.fault(digits + checked(digits), TODAY) is None
