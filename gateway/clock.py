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
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")
ENVIRONMENT_NAME = "GATEWAY_CLOCK"
STEP_SECONDS = 1  # real time that is this far off what has passed since the machine started was set, not slewed


@dataclass(slots=True)
class _Steadiness:
    """Since when real time has only passed. Compared with a clock that nobody can set; slewing moves both alike."""

    since: dt.datetime | None = None
    ahead_seconds: float = 0.0  # real time less the time since the machine started, never money

    def look(self, now: dt.datetime) -> None:
        ahead_seconds = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        if self.since is None or abs(ahead_seconds - self.ahead_seconds) > STEP_SECONDS:
            self.since, self.ahead_seconds = now, ahead_seconds


@dataclass(frozen=True, slots=True)
class Clock:
    """``scale`` virtual seconds pass per real second since ``epoch`` (unix seconds), which was ``start``."""

    start: dt.datetime | None = None
    scale: int = 1
    epoch: float = 0.0  # real unix seconds, never money
    _steadiness: _Steadiness = field(default_factory=_Steadiness, repr=False, compare=False)

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
            moment = dt.datetime.now(SHANGHAI)
        else:
            moment = self.start + dt.timedelta(seconds=(time.time() - self.epoch) * self.scale)
        self._steadiness.look(moment)
        return moment

    @property
    def steady_since(self) -> dt.datetime | None:
        """Since when ``now`` has only passed: its first reading, or the last time that somebody set the clock.

        What has to have *lasted* (a bank's settling time) cannot be read off two times of day with a step between
        them. None before the first reading.
        """
        return self._steadiness.since

    def wall(self) -> dt.datetime:
        """Real time, aware, UTC: for signatures' freshness and leases only."""
        return dt.datetime.now(dt.UTC)

    def real_seconds(self, virtual_seconds: int) -> float:
        """How long ``virtual_seconds`` of business time last in real seconds."""
        return virtual_seconds / self.scale

    async def sleep(self, virtual_seconds: int) -> None:
        await asyncio.sleep(self.real_seconds(virtual_seconds))
