"""The simulators' own reading of the one scaled clock that all processes of a run share (`GATEWAY_CLOCK`)."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time

SHANGHAI = dt.timezone(dt.timedelta(hours=8), "Asia/Shanghai")
"""China has kept one offset without summer time since 1991; a fixed one is exact and needs no table."""


def _read(text: str) -> tuple[int, int, int]:
    """Virtual start (unix ms), scale, real unix ms of the start; the real clock is (0, 1, 0)."""
    if not text:
        return 0, 1, 0
    start, scale, epoch = text.split("@")
    moment = dt.datetime.fromisoformat(start)
    if moment.tzinfo is None:
        raise ValueError("the start of GATEWAY_CLOCK needs an offset, such as +08:00")
    return round(moment.timestamp() * 1000), int(scale), round(float(epoch) * 1000)


_START_MS, SCALE, _EPOCH_MS = _read(os.environ.get("GATEWAY_CLOCK", ""))


def wall_ms() -> int:
    """Real time in unix milliseconds: signatures' freshness, nonces, order between processes."""
    return time.time_ns() // 1_000_000


def now_ms() -> int:
    """Business time in unix milliseconds."""
    return _START_MS + (wall_ms() - _EPOCH_MS) * SCALE


def moment(ms: int) -> dt.datetime:
    """A unix time in milliseconds as an aware Shanghai time."""
    return dt.datetime.fromtimestamp(ms / 1000, SHANGHAI)


def now() -> dt.datetime:
    """Business time, aware, Asia/Shanghai."""
    return moment(now_ms())


def real_seconds(virtual_seconds: float) -> float:
    """How long so many seconds of business time last in real seconds."""
    return virtual_seconds / SCALE


async def sleep(virtual_seconds: float) -> None:
    """Sleep so many seconds of business time."""
    await asyncio.sleep(real_seconds(virtual_seconds))
