"""The one clock: real time, or a scaled virtual time that every process of a demonstration shares.

``GATEWAY_CLOCK=<virtual start>@<scale>@<unix time of the start>`` (for instance
``2026-11-24T10:00:00+08:00@1800@1795485600.0``) makes one real second last ``scale`` virtual seconds. Business time
(calendar, bank hours, probes, settling, deadlines) is read from ``now()``; the health of sockets, leases and
signatures is real time and read from ``wall()`` or the event loop.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from dataclasses import dataclass
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")
ENVIRONMENT_NAME = "GATEWAY_CLOCK"


@dataclass(frozen=True, slots=True)
class Clock:
    """``scale`` virtual seconds pass per real second since ``epoch`` (unix seconds), which was ``start``."""

    start: dt.datetime | None = None
    scale: int = 1
    epoch: float = 0.0  # real unix seconds, never money

    @classmethod
    def parse(cls, text: str) -> Clock:
        """Read ``start@scale@epoch``; an empty text is the real clock. Raises ValueError with what is wrong."""
        if not text:
            return cls()
        fields = text.split("@")
        if len(fields) != 3:
            raise ValueError("a clock is <ISO time with offset>@<scale>@<unix seconds>")
        start = dt.datetime.fromisoformat(fields[0])
        if start.tzinfo is None:
            raise ValueError("the clock's start needs an offset, such as +08:00")
        scale = int(fields[1])
        if scale < 1:
            raise ValueError("the clock's scale is a whole number of at least 1")
        return cls(start.astimezone(SHANGHAI), scale, float(fields[2]))

    @classmethod
    def from_environment(cls) -> Clock:
        return cls.parse(os.environ.get(ENVIRONMENT_NAME, ""))

    def now(self) -> dt.datetime:
        """Business time, aware, Asia/Shanghai."""
        if self.start is None:
            return dt.datetime.now(SHANGHAI)
        return self.start + dt.timedelta(seconds=(time.time() - self.epoch) * self.scale)

    def wall(self) -> dt.datetime:
        """Real time, aware, UTC: for signatures' freshness and leases only."""
        return dt.datetime.now(dt.UTC)

    def real_seconds(self, virtual_seconds: int) -> float:
        """How long ``virtual_seconds`` of business time last in real seconds."""
        return virtual_seconds / self.scale

    async def sleep(self, virtual_seconds: int) -> None:
        await asyncio.sleep(self.real_seconds(virtual_seconds))
