"""Overdue: a list is given up by who has really watched it wait, or when it is overdue beyond any wrong clock."""

from __future__ import annotations

import datetime as dt

import pytest

from gateway.clock import SHANGHAI
from gateway.overdue import Overdue

START = dt.datetime(2026, 11, 24, 10, 0, tzinfo=SHANGHAI)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
DUE = START + DAY


def watched(lists: Overdue, begin: dt.datetime, end: dt.datetime, steady: dt.datetime | None = None) -> list[int]:
    """What is given up at ``end``, after a look every half hour from ``begin`` on that gave nothing up."""
    moment = begin
    while moment < end:
        assert lists.look({1: DUE}, moment, steady) == []
        moment += HOUR / 2
    return lists.look({1: DUE}, end, steady)


@pytest.mark.parametrize(("off", "over"), [(-MINUTE, []), (dt.timedelta(0), [1])])
def test_a_list_is_given_up_after_the_whole_wait_and_not_a_minute_earlier(off: dt.timedelta, over: list[int]) -> None:
    """Watched from its first part on, a list has its wait exactly."""
    assert watched(Overdue(DAY), START, START + DAY + off) == over


@pytest.mark.parametrize("step", [HOUR, -HOUR, DAY, -DAY, -30 * DAY], ids=str)
def test_a_step_of_the_clock_begins_the_watch_anew(step: dt.timedelta) -> None:
    """However late it seems after a step, the whole wait is watched again; and after that it is over, not later."""
    lists = Overdue(DAY)
    assert watched(lists, START, START + 20 * HOUR, START) == []
    stepped = START + 20 * HOUR + step
    assert watched(lists, stepped, stepped + DAY - MINUTE, stepped) == []
    assert lists.look({1: DUE}, stepped + DAY, stepped) == [1]


@pytest.mark.parametrize(("blink", "over"), [(HOUR, [1]), (HOUR + MINUTE, [])])
def test_who_did_not_look_for_more_than_an_hour_did_not_watch(blink: dt.timedelta, over: list[int]) -> None:
    """Without its database a process sees no list wait: parts may lie in Kafka, published in time."""
    lists = Overdue(DAY)
    assert watched(lists, START, START + 11.5 * HOUR) == []
    again = START + 11.5 * HOUR + blink
    assert watched(lists, again, START + DAY - HOUR / 2) == []
    assert lists.look({1: DUE}, START + DAY, None) == over


@pytest.mark.parametrize("behind", [dt.timedelta(0), HOUR, DAY], ids=str)
@pytest.mark.parametrize("ahead", [HOUR, DAY], ids=str)
def test_clocks_of_a_day_either_way_end_no_wait_early_whoever_restarts(
    behind: dt.timedelta, ahead: dt.timedelta
) -> None:
    """The first part dated by a clock that was behind, and looks by one ahead, in a new process every two hours."""
    waiting = {1: DUE - behind}
    for age in range(0, 24, 2):
        begin = START + age * HOUR + ahead
        lists = Overdue(DAY)
        for minutes in range(0, 120, 30):
            assert lists.look(waiting, begin + minutes * MINUTE, begin) == []


@pytest.mark.parametrize(
    ("overdue", "watch", "over"),
    [(2 * DAY, HOUR, [1]), (2 * DAY - MINUTE, HOUR, []), (30 * DAY, HOUR - MINUTE, []), (30 * DAY, HOUR, [1])],
)
def test_two_days_overdue_and_watched_for_an_hour_is_enough(
    overdue: dt.timedelta, watch: dt.timedelta, over: list[int]
) -> None:
    """A gateway that restarts every few hours gives lists up, too."""
    lists = Overdue(DAY)
    end = DUE + overdue
    assert lists.look({1: DUE}, end - watch, None) == []
    assert lists.look({1: DUE}, end, None) == over


def test_each_list_has_its_own_watch_and_none_is_remembered() -> None:
    """A list that came later waits longer; one that was whole meanwhile and is not any more begins anew."""
    lists = Overdue(2 * HOUR)
    assert lists.look({1: DUE, 2: DUE}, START, None) == []
    assert lists.look({1: DUE}, START + HOUR, None) == []
    assert lists.look({1: DUE, 2: DUE}, START + 2 * HOUR, None) == [1]
    assert lists.look({1: DUE, 2: DUE}, START + 3 * HOUR, None) == [1]
