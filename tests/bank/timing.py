"""When a simulated bank works, and how it writes times."""

from __future__ import annotations

import datetime as dt

from tests.bank.config import Hours
from tests.world import clock

DAY_MS = 86_400_000


def opening(at_ms: int, hours: Hours | None) -> int:
    """The first moment from `at_ms` on at which the bank works."""
    if hours is None:
        return at_ms
    return _from(at_ms, hours, hours.closes)


def taking(at_ms: int, hours: Hours | None) -> int:
    """The first moment from `at_ms` on at which the bank takes submissions: until its cut-off, where it refuses any."""
    if hours is None or not hours.refuses:
        return at_ms
    return _from(at_ms, hours, hours.cut_off or hours.closes)


def _from(at_ms: int, hours: Hours, until: str) -> int:
    opens, closes = dt.time.fromisoformat(hours.opens), dt.time.fromisoformat(until)
    at = clock.moment(at_ms)
    if at.weekday() in hours.days and opens <= at.time() < closes:
        return at_ms
    day = at.date()
    if at.time() >= opens:
        day += dt.timedelta(days=1)
    while day.weekday() not in hours.days:
        day += dt.timedelta(days=1)
    return round(dt.datetime.combine(day, opens, clock.SHANGHAI).timestamp() * 1000)


def compact(ms: int) -> str:
    """The Shanghai date of a moment, yyyymmdd."""
    return clock.moment(ms).strftime("%Y%m%d")


def dashed(compact_date: str) -> str:
    """yyyymmdd as yyyy-mm-dd."""
    return f"{compact_date[:4]}-{compact_date[4:6]}-{compact_date[6:]}"
