"""The clocks that run for a batch and for a re-issue, counted by the calendar to the configured close of business."""

from __future__ import annotations

import datetime as dt
from typing import Any

from gateway import metrics
from gateway.calendar import WorkCalendar, close_of_business
from gateway.config import Config


class Deadlines:
    """Limit (three working days), target (three calendar days, rolled), feedback (two days after the limit's day)."""

    def __init__(self, calendar: WorkCalendar, config: Config) -> None:
        self._calendar = calendar
        self._close = close_of_business(config.gateway.close_of_business)
        self._hold_span = dt.timedelta(hours=config.gateway.hold_before_limit_working_hours)

    def of_batch(self, clock_started_at: dt.datetime) -> dict[str, Any]:
        """The columns of a batch's deadlines, by its clock's start."""
        limit = self._calendar.limit(clock_started_at, self._close)
        target = self._calendar.target(clock_started_at, self._close)
        if limit.beyond_horizon:
            metrics.DEADLINE_FALLBACK.inc()
        return {
            "limit_at": limit.at,
            "target_at": target.at,
            "feedback_due_at": self._calendar.feedback_due(limit.at - dt.timedelta(microseconds=1), self._close),
            "exact": not limit.beyond_horizon,
        }

    def limit(self, start: dt.datetime) -> dt.datetime:
        """The limit of a re-issue that was ordered at ``start``."""
        deadline = self._calendar.limit(start, self._close)
        if deadline.beyond_horizon:
            metrics.DEADLINE_FALLBACK.inc()
        return deadline.at

    def hold_before(self, limit_at: dt.datetime) -> dt.datetime:
        """From when on doubt is a person's business: some working hours before the limit."""
        return self._calendar.working_time_before(limit_at, self._hold_span)
