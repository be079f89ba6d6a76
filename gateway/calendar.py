"""Working days, the three deadlines of a payment, and the hours in which a bank or an SMS provider may be spoken to.

The State Council fixes days off *and* make-up working days for one year at a time, usually in November of the year
before. So a calendar holds whole years or it holds nothing of them. Where a deadline would have to count days of a year
that is not loaded, it falls back to calendar days: three calendar days can never end later than three working days, so
the answer may be early but is never a breach. The caller counts every fallback (``beyond_horizon``).

Regional holidays close banks; they never move the legal clock.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.clock import SHANGHAI

END_OF_DAY: Final = dt.timedelta(hours=24)
OFFICE_OPENS: Final = dt.timedelta(hours=9)
OFFICE_CLOSES: Final = dt.timedelta(hours=18)
LIMIT_DAYS: Final = 3
FEEDBACK_DAYS: Final = 2

_DAY = dt.timedelta(days=1)
_SATURDAY = 5
# The longest closure ever decreed was ten days; a calendar that closes for longer is a mistake, not a holiday.
_LONGEST_SEARCH_DAYS = 60
_CLOSE = re.compile(r"([01][0-9]|2[0-3]|24(?=:00)):([0-5][0-9])").fullmatch


class Deadline(NamedTuple):
    """A moment until which, inclusively, something is in time; ``beyond_horizon``: counted in calendar days."""

    at: dt.datetime
    beyond_horizon: bool


class Window(NamedTuple):
    """Opening hours from ``opens_at`` up to, and without, ``closes_at``."""

    opens_at: dt.datetime
    closes_at: dt.datetime

    def is_open(self, now: dt.datetime) -> bool:
        return self.opens_at <= now < self.closes_at


@dataclass(frozen=True, slots=True)
class WorkCalendar:
    """The loaded years with their days off that fall on weekdays, their make-up working days, and regional holidays."""

    years: frozenset[int]
    off: frozenset[dt.date] = frozenset()
    working: frozenset[dt.date] = frozenset()
    regional: frozenset[dt.date] = frozenset()

    def known(self, day: dt.date) -> bool:
        return day.year in self.years

    def is_working_day(self, day: dt.date) -> bool:
        """By the State Council's table; Monday to Friday in a year that is not loaded (no deadline relies on that)."""
        if day in self.working:
            return True
        return day.weekday() < _SATURDAY and day not in self.off

    def is_bank_day(self, day: dt.date) -> bool:
        """A working day on which no regional holiday closes the bank."""
        return self.is_working_day(day) and day not in self.regional

    def horizon(self) -> dt.date | None:
        """The last day up to which every day from the first loaded year on is known; None when nothing is loaded."""
        if not self.years:
            return None
        year = min(self.years)
        while year + 1 in self.years:
            year += 1
        return dt.date(year, 12, 31)

    def limit(self, start: dt.datetime, close: dt.timedelta = END_OF_DAY) -> Deadline:
        """Close of business three working days after ``start``; day 0 is not counted."""
        day, beyond_horizon = self._limit_day(_local_day(start))
        return Deadline(_close_of(day, close), beyond_horizon)

    def target(self, start: dt.datetime, close: dt.timedelta = END_OF_DAY) -> Deadline:
        """Close of business three calendar days after ``start``, rolled forward off days off, never past the limit."""
        limit_day, beyond_horizon = self._limit_day(_local_day(start))
        day = _local_day(start) + LIMIT_DAYS * _DAY
        while day < limit_day and not self.is_working_day(day):
            day += _DAY
        return Deadline(_close_of(min(day, limit_day), close), beyond_horizon)

    def feedback_due(self, paid_at: dt.datetime, close: dt.timedelta = END_OF_DAY) -> dt.datetime:
        """Close of business two calendar days after payment: the day after it is the first."""
        return _close_of(_local_day(paid_at) + FEEDBACK_DAYS * _DAY, close)

    def working_time_before(
        self,
        moment: dt.datetime,
        span: dt.timedelta,
        opens: dt.timedelta = OFFICE_OPENS,
        closes: dt.timedelta = OFFICE_CLOSES,
    ) -> dt.datetime:
        """The moment from which ``span`` of working time remains; each working day works from ``opens`` to ``closes``.

        People are called then, so hours in which nobody works do not count.
        """
        if not dt.timedelta(0) <= opens < closes <= END_OF_DAY:
            raise ValueError("working hours open before they close, within one day")
        day = _local_day(moment)
        for _ in range(_LONGEST_SEARCH_DAYS):
            if self.is_working_day(day):
                start, end = _close_of(day, opens), min(_close_of(day, closes), moment.astimezone(SHANGHAI))
                if span <= end - start:
                    return end - span
                span -= max(end - start, dt.timedelta(0))
            day -= _DAY
        raise ValueError("the calendar holds too few working days")

    def _limit_day(self, received: dt.date) -> tuple[dt.date, bool]:
        day, counted = received, 0
        while counted < LIMIT_DAYS:
            day += _DAY
            if not self.known(day):
                return received + LIMIT_DAYS * _DAY, True
            if self.is_working_day(day):
                counted += 1
            elif (day - received).days > _LONGEST_SEARCH_DAYS:
                raise ValueError("the calendar holds too few working days")
        return day, False


def close_of_business(text: str) -> dt.timedelta:
    """``"17:30"`` or ``"24:00"`` as the time since midnight."""
    match = _CLOSE(text)
    if match is None:
        raise ValueError("close of business is HH:MM, at most 24:00")
    return dt.timedelta(hours=int(match[1]), minutes=int(match[2]))


def next_window(
    now: dt.datetime, opens: dt.time, cut_off: dt.time, working_days_only: bool, calendar: WorkCalendar
) -> Window:
    """The opening hours that contain ``now``, or else the next ones.

    Hours belong to the day they open on. A cut-off that is not later than the opening (00:00, or 06:00 after 22:00)
    falls on the following day; so 00:00 to 00:00 is the whole day.
    """
    day = _local_day(now) - _DAY
    for _ in range(_LONGEST_SEARCH_DAYS):
        if not working_days_only or calendar.is_bank_day(day):
            closing_day = day if cut_off > opens else day + _DAY
            window = Window(
                dt.datetime.combine(day, opens, SHANGHAI), dt.datetime.combine(closing_day, cut_off, SHANGHAI)
            )
            if now < window.closes_at:
                return window
        day += _DAY
    raise ValueError("the calendar holds too few working days")


def _local_day(moment: dt.datetime) -> dt.date:
    if moment.tzinfo is None:
        raise ValueError("a deadline is counted from a time with an offset")
    return moment.astimezone(SHANGHAI).date()


def _close_of(day: dt.date, close: dt.timedelta) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(0), SHANGHAI) + close
