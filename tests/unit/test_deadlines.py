"""A batch's three clocks and a re-issue's one, as the books keep them."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import pytest

from gateway import metrics, reference
from gateway.clock import SHANGHAI
from gateway.config import Config
from gateway.deadlines import Deadlines
from tests.store.kit import DATA, config_of

CALENDAR = Path(reference.__file__).parents[1] / "deploy" / "reference" / "calendar.csv"


def deadlines(**gateway: object) -> Deadlines:
    tables = reference.load(DATA / "programmes.csv", DATA / "agreements.csv", CALENDAR, "adapter_issue_main_job")
    body = config_of("postgresql://nobody").model_dump()
    return Deadlines(tables.calendar, Config.model_validate({**body, "gateway": gateway}))


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def test_the_columns_of_a_batch_are_the_vectors() -> None:
    """Every vector of DOMAIN: limit and target at midnight of their day's end, feedback two days after the limit's."""
    with (DATA / "calendar_vectors.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 5
    clocks, day = deadlines(), dt.timedelta(days=1)
    for row in rows:
        for hour in ("T00:00", "T23:59"):
            found = clocks.of_batch(at(row["received"] + hour))
            limit = at(row["limit_3_working_days"] + "T00:00") + day
            assert found["limit_at"] == clocks.limit(at(row["received"] + hour)) == limit, row
            assert found["target_at"] == at(row["target_3_calendar_days_rolled"] + "T00:00") + day, row
            assert found["feedback_due_at"] == limit + 2 * day, row


def test_feedback_is_counted_from_the_day_of_the_limit_not_from_its_midnight() -> None:
    """The limit "24:00 of Friday" is Friday: feedback is due on Sunday, not on Monday."""
    found = deadlines().of_batch(at("2026-11-24T10:00"))
    assert found["limit_at"] == at("2026-11-28T00:00")
    assert found["feedback_due_at"] == at("2026-11-30T00:00")
    assert found["target_at"] == at("2026-11-28T00:00")
    assert found["exact"] is True


def test_a_close_of_business_before_midnight_ends_the_day_earlier() -> None:
    """The configured close holds for all three, on the same days."""
    found = deadlines(close_of_business="17:30").of_batch(at("2026-11-24T10:00"))
    assert found["limit_at"] == at("2026-11-27T17:30")
    assert found["feedback_due_at"] == at("2026-11-29T17:30")


def test_beyond_the_calendar_the_earlier_date_is_taken_and_counted() -> None:
    """Where the table ends three calendar days are the limit, the batch is marked, and a metric says so each time."""
    before = metrics.DEADLINE_FALLBACK._value.get()
    found = deadlines().of_batch(at("2049-03-05T10:00"))
    assert (found["limit_at"], found["exact"]) == (at("2049-03-09T00:00"), False)
    assert deadlines().limit(at("2049-03-05T10:00")) == found["limit_at"]
    assert metrics.DEADLINE_FALLBACK._value.get() == before + 2


@pytest.mark.parametrize(
    ("hours", "limit", "hold"),
    [
        (4, "2026-11-28T00:00", "2026-11-27T14:00"),
        (0, "2026-11-28T00:00", "2026-11-27T18:00"),
        (9, "2026-11-28T00:00", "2026-11-27T09:00"),
        (10, "2026-11-28T00:00", "2026-11-26T17:00"),
        (4, "2026-12-01T11:00", "2026-11-30T16:00"),
    ],
)
def test_doubt_is_held_while_people_still_work(hours: int, limit: str, hold: str) -> None:
    """Working hours before the limit are hours in which somebody can be called: nights and weekends do not count."""
    assert deadlines(hold_before_limit_working_hours=hours).hold_before(at(limit)) == at(hold)
