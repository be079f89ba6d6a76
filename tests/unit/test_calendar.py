"""Deadlines and opening hours against the vectors, and against an independent count over two years."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import chinese_calendar
import pytest

from gateway.calendar import WorkCalendar, close_of_business, next_window
from gateway.clock import SHANGHAI
from gateway.reference import load_calendar

ROOT = Path(__file__).resolve().parents[2]
CALENDAR = load_calendar(ROOT / "deploy/reference/calendar.csv")
VECTORS = list(csv.DictReader((ROOT / "tests/data/calendar_vectors.csv").read_text(encoding="utf-8").splitlines()))
TWO_YEARS = [dt.date(2025, 1, 1) + dt.timedelta(days=n) for n in range(730)]
DAY = dt.timedelta(days=1)


def at(day: str, time: str = "10:00") -> dt.datetime:
    return dt.datetime.fromisoformat(f"{day}T{time}:00+08:00")


def end_of(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day + DAY, dt.time(0), SHANGHAI)


def third_working_day_after(day: dt.date) -> dt.date:
    """Counted straight on the package, which shares nothing with the table under test but its source."""
    counted = 0
    while counted < 3:
        day += DAY
        counted += chinese_calendar.is_workday(day)
    return day


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["received"] for vector in VECTORS])
def test_the_vectors(vector: dict[str, str]) -> None:
    """The published vectors come out, and without the table's days the naive Monday-to-Friday count comes out."""
    start = at(vector["received"])
    assert CALENDAR.limit(start) == (end_of(dt.date.fromisoformat(vector["limit_3_working_days"])), False)
    assert CALENDAR.target(start) == (end_of(dt.date.fromisoformat(vector["target_3_calendar_days_rolled"])), False)
    naive = WorkCalendar(frozenset({2026})).limit(start)
    assert naive == (end_of(dt.date.fromisoformat(vector["naive_monday_to_friday"])), False)


def test_every_day_of_two_years() -> None:
    """On each of 730 days a day is worked, and limit and target fall, as an independent count says."""
    for day in TWO_YEARS:
        assert CALENDAR.is_working_day(day) == chinese_calendar.is_workday(day), day
        if day > dt.date(2026, 12, 28):
            continue
        start = dt.datetime.combine(day, dt.time(12), SHANGHAI)
        limit, target = CALENDAR.limit(start), CALENDAR.target(start)
        assert limit == (end_of(third_working_day_after(day)), False), day
        rolled = day + 3 * DAY
        while not chinese_calendar.is_workday(rolled):
            rolled += DAY
        assert target == (end_of(rolled), False), day
        assert target.at <= limit.at, day


@pytest.mark.parametrize("time", ["00:00", "23:59"])
def test_day_zero_is_not_counted(time: str) -> None:
    """Received in the first or the last minute of a day, the limit is the same."""
    assert CALENDAR.limit(at("2026-11-23", time)).at == end_of(dt.date(2026, 11, 26))


def test_the_day_is_the_one_in_shanghai() -> None:
    """An evening hour in UTC already belongs to the next day in Shanghai, and a time without an offset is refused."""
    assert CALENDAR.limit(dt.datetime(2026, 11, 22, 16, 30, tzinfo=dt.UTC)) == CALENDAR.limit(at("2026-11-23", "00:30"))
    with pytest.raises(ValueError, match="offset"):
        CALENDAR.limit(dt.datetime(2026, 11, 23, 10))  # noqa: DTZ001


def test_close_of_business_ends_the_day() -> None:
    """A bank that closes at 17:30 has its deadlines at 17:30; 24:00 is midnight; nonsense is refused."""
    close = close_of_business("17:30")
    assert CALENDAR.limit(at("2026-11-23"), close).at == at("2026-11-26", "17:30")
    assert CALENDAR.target(at("2026-11-27"), close).at == at("2026-11-30", "17:30")
    assert CALENDAR.feedback_due(at("2026-11-27"), close) == at("2026-11-29", "17:30")
    assert close_of_business("24:00") == DAY
    for wrong in ("24:01", "7:30", "17:60", "", "17:30:00"):
        with pytest.raises(ValueError):
            close_of_business(wrong)


def test_feedback_is_due_two_calendar_days_after_payment() -> None:
    """Days off do not extend the feedback, and the day of payment does not count."""
    assert CALENDAR.feedback_due(at("2026-09-30", "23:59")) == end_of(dt.date(2026, 10, 2))


@pytest.mark.parametrize(("received", "due"), [("2026-12-29", "2027-01-01"), ("2026-12-31", "2027-01-03")])
def test_beyond_the_horizon_the_earlier_date_is_taken(received: str, due: str) -> None:
    """Where a day of an unloaded year would have to be counted, both deadlines are three calendar days, and say so."""
    expected = (end_of(dt.date.fromisoformat(due)), True)
    assert CALENDAR.limit(at(received)) == expected
    assert CALENDAR.target(at(received)) == expected


def test_the_last_days_inside_the_horizon_are_exact() -> None:
    """A count that ends on the last loaded day needs no fallback."""
    assert CALENDAR.limit(at("2026-12-28")) == (end_of(dt.date(2026, 12, 31)), False)


def test_the_fallback_is_never_later_than_the_truth() -> None:
    """With one year or none loaded, no deadline of two years is later than with both."""
    for known in (WorkCalendar(frozenset()), WorkCalendar(frozenset({2025}), CALENDAR.off, CALENDAR.working)):
        for day in TWO_YEARS[:-3]:
            start = dt.datetime.combine(day, dt.time(12), SHANGHAI)
            assert known.limit(start).at <= CALENDAR.limit(start).at, day
            assert known.target(start).at <= CALENDAR.target(start).at, day


def test_the_horizon_ends_at_the_first_gap() -> None:
    """A year that is missing in between ends the horizon, however many are loaded after it."""
    assert CALENDAR.horizon() == dt.date(2026, 12, 31)
    assert WorkCalendar(frozenset({2025, 2027})).horizon() == dt.date(2025, 12, 31)
    assert WorkCalendar(frozenset()).horizon() is None
    assert CALENDAR.known(dt.date(2026, 12, 31))
    assert not CALENDAR.known(dt.date(2027, 1, 1))


def test_four_working_hours_before_the_limit() -> None:
    """Only working hours of working days count back from a limit, so that somebody is there when it is reached."""
    opens, closes = dt.timedelta(hours=9), dt.timedelta(hours=18)

    def before(moment: dt.datetime, hours: int) -> dt.datetime:
        return CALENDAR.working_time_before(moment, dt.timedelta(hours=hours), opens, closes)

    assert before(end_of(dt.date(2026, 11, 26)), 4) == at("2026-11-26", "14:00")
    assert before(at("2026-11-26", "11:00"), 4) == at("2026-11-25", "16:00")
    assert before(at("2026-11-26", "08:00"), 4) == at("2026-11-25", "14:00")
    assert before(at("2026-11-30", "10:00"), 4) == at("2026-11-27", "15:00")
    assert before(end_of(dt.date(2026, 10, 10)), 10) == at("2026-10-09", "17:00")  # a Saturday that is worked
    assert before(at("2026-10-08", "09:00"), 1) == at("2026-09-30", "17:00")
    assert before(end_of(dt.date(2026, 11, 26)), 0) == at("2026-11-26", "18:00")
    assert CALENDAR.working_time_before(at("2026-11-26", "23:00"), dt.timedelta(hours=4)) == at("2026-11-26", "14:00")
    with pytest.raises(ValueError, match="working hours"):
        CALENDAR.working_time_before(at("2026-11-26"), DAY, closes, opens)


def window(now: dt.datetime, opens: str, cut_off: str, working_days_only: bool) -> tuple[dt.datetime, dt.datetime]:
    return next_window(now, dt.time.fromisoformat(opens), dt.time.fromisoformat(cut_off), working_days_only, CALENDAR)


def test_opening_hours() -> None:
    """Before, during and after hours: the window that contains now, or the next one."""
    today = (at("2026-11-24", "08:30"), at("2026-11-24", "17:00"))
    assert window(at("2026-11-24", "07:00"), "08:30", "17:00", True) == today
    assert window(at("2026-11-24", "08:30"), "08:30", "17:00", True) == today
    assert window(at("2026-11-24", "16:59"), "08:30", "17:00", True) == today
    tomorrow = window(at("2026-11-24", "17:00"), "08:30", "17:00", True)
    assert tomorrow == (at("2026-11-25", "08:30"), at("2026-11-25", "17:00"))


def test_opening_hours_over_days_off() -> None:
    """A bank of working days opens after the holiday, and on the make-up Sunday; others open every day."""
    assert window(at("2026-09-30", "18:00"), "09:00", "17:00", True)[0] == at("2026-10-08", "09:00")
    assert window(at("2026-09-18", "18:00"), "09:00", "17:00", True)[0] == at("2026-09-20", "09:00")
    assert window(at("2026-09-30", "18:00"), "09:00", "17:00", False)[0] == at("2026-10-01", "09:00")


def test_hours_over_midnight_and_all_day() -> None:
    """A cut-off not later than the opening belongs to the next day; 00:00 to 00:00 is the whole day."""
    night = (at("2026-11-24", "22:00"), at("2026-11-25", "06:00"))
    assert window(at("2026-11-25", "03:00"), "22:00", "06:00", True) == night
    assert window(at("2026-11-24", "12:00"), "22:00", "06:00", True) == night
    assert window(at("2026-11-24", "23:59"), "00:00", "00:00", True) == (
        at("2026-11-24", "00:00"),
        at("2026-11-25", "00:00"),
    )
    assert window(at("2026-11-28", "12:00"), "00:00", "00:00", True)[0] == at("2026-11-30", "00:00")


def test_a_window_is_open_until_its_cut_off() -> None:
    """The opening minute is inside, the cut-off is outside."""
    hours = next_window(at("2026-11-24", "07:00"), dt.time(8, 30), dt.time(17), True, CALENDAR)
    assert [hours.is_open(at("2026-11-24", time)) for time in ("08:29", "08:30", "16:59", "17:00")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_regional_holiday_closes_the_bank_but_never_moves_the_limit() -> None:
    """Regional days off are data for opening hours; the legal clock runs through them."""
    regional = WorkCalendar(CALENDAR.years, CALENDAR.off, CALENDAR.working, frozenset({dt.date(2026, 11, 25)}))
    start = at("2026-11-23")
    assert regional.limit(start) == CALENDAR.limit(start)
    opens_at = next_window(at("2026-11-24", "18:00"), dt.time(9), dt.time(17), True, regional).opens_at
    assert opens_at == at("2026-11-26", "09:00")


def test_each_cut_off_comes_once_per_working_day() -> None:
    """Walking 730 days hour by hour, with jumps back, meets each working day's window exactly once and in order."""
    met: list[dt.datetime] = []
    now = dt.datetime.combine(TWO_YEARS[0], dt.time(0), SHANGHAI)
    end = end_of(dt.date(2026, 12, 31))
    step = 0
    while now < end:
        closes_at = window(now, "09:00", "17:00", True)[1]
        if closes_at not in met and closes_at < end:
            met.append(closes_at)
        step += 1
        now += dt.timedelta(hours=-1 if step % 7 == 0 else 3)
    expected = [
        dt.datetime.combine(day, dt.time(17), SHANGHAI) for day in TWO_YEARS if chinese_calendar.is_workday(day)
    ]
    assert met == expected


def test_a_calendar_without_working_days_is_refused() -> None:
    """A table that closes the country for months ends in an error, never in an endless search."""
    closed = WorkCalendar(frozenset({2026}), off=frozenset(dt.date(2026, 1, 1) + n * DAY for n in range(365)))
    with pytest.raises(ValueError, match="too few"):
        closed.limit(at("2026-03-02"))
    with pytest.raises(ValueError, match="too few"):
        next_window(at("2026-03-02"), dt.time(9), dt.time(17), True, closed)
    with pytest.raises(ValueError, match="too few"):
        closed.working_time_before(
            at("2026-08-02"), dt.timedelta(hours=1), dt.timedelta(hours=9), dt.timedelta(hours=18)
        )
