"""When what is tried again: timetables that a person can read, and that never run out."""

from __future__ import annotations

import datetime as dt

import pytest

from adapters.contract import Proof, Reason
from gateway.pacing import GATHERING, RETURN_WATCH, deferral, probe_delay, turns_within


def minutes(span: dt.timedelta) -> int:
    return span // dt.timedelta(minutes=1)


def test_questions_are_front_loaded_and_then_hourly_for_ever() -> None:
    """A minute, five, fifteen, an hour, and on by the hour: never faster again, never silence."""
    assert [minutes(probe_delay(n)) for n in (0, 1, 2, 3, 4, 5, 1000)] == [1, 5, 15, 60, 60, 60, 60]


@pytest.mark.parametrize(
    ("proof", "reason", "expected"),
    [
        (Proof.NOT_SENT, None, [1, 2, 5, 15, 15]),
        (Proof.NOT_SENT, Reason.FUNDS_SHORT, [1, 2, 5, 15, 15]),
        (Proof.NOT_TAKEN, Reason.BANK_BUSY, [1, 5, 15, 15, 15]),
        (Proof.NOT_TAKEN, None, [1, 5, 15, 15, 15]),
        (Proof.NOT_TAKEN, Reason.FUNDS_SHORT, [30, 30, 30, 30, 30]),
        (Proof.NOT_TAKEN, Reason.FORMAT, [1, 2, 5, 15, 15]),
        (Proof.IN_DOUBT, None, [1, 5, 15, 15, 15]),
    ],
)
def test_the_same_bytes_wait_longer_each_time(proof: Proof, reason: Reason | None, expected: list[int]) -> None:
    """By what the bank said and how often they travelled; never at once."""
    assert [minutes(deferral(proof, reason, n)) for n in (1, 2, 3, 4, 100)] == expected


def test_no_count_makes_a_pause_of_nothing() -> None:
    """A first transmission counted as none still waits."""
    for proof in Proof:
        for reason in (None, *Reason):
            assert deferral(proof, reason, 0) == deferral(proof, reason, 1) >= dt.timedelta(minutes=1)


def test_reissues_gather_shortly_and_returns_are_asked_for_daily() -> None:
    """Gathering costs minutes of a clock of three days; a return is noticed within one."""
    assert minutes(GATHERING) == 10
    assert dt.timedelta(days=1) == RETURN_WATCH


@pytest.mark.parametrize(
    ("interval_milliseconds", "turns"), [(0, 4), (1, 4), (1_000, 4), (3_000, 3), (7_000, 2), (7_001, 1), (600_000, 1)]
)
def test_no_more_is_taken_on_than_has_its_turn_in_time(interval_milliseconds: int, turns: int) -> None:
    """Within seven seconds the first turn is at once, each further one an interval later, and never more than four."""
    assert turns_within(7, interval_milliseconds, 4) == turns
