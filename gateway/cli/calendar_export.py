"""Seeds the calendar table from the ``chinesecalendar`` package: whole years, exactly as the State Council decreed.

The package is consulted here and nowhere else. It raises for a year it does not know; a gateway that pays people must
keep running then, so it reads a table that can be extended by hand in November.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable

from chinese_calendar import constants

from gateway.reference import OFF, WORK

_COLUMNS = ("date", "kind", "name")


def decreed_years() -> tuple[int, ...]:
    """The years the installed package knows."""
    return tuple(sorted({day.year for day in constants.holidays}))


def calendar_csv(years: Iterable[int]) -> str:
    """The table of these years; ValueError names a year the package does not know."""
    wanted, known = set(years), set(decreed_years())
    if unknown := sorted(wanted - known):
        raise ValueError(f"chinesecalendar knows {min(known)} to {max(known)}, not {', '.join(map(str, unknown))}")
    rows: list[tuple[dt.date, str, str]] = [
        (day, kind, name)
        for kind, days in ((OFF, constants.holidays), (WORK, constants.workdays))
        for day, name in days.items()
        if day.year in wanted
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((day.isoformat(), kind, name) for day, kind, name in sorted(rows))
    return text.getvalue()
