"""Time limits that are shortened together: a process that is about to end waits once, not once for each call."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.patience import Patience

LONG = 60


async def wait(patience: Patience, seconds: float = LONG) -> None:  # never money
    async with patience.within(seconds):
        await asyncio.sleep(LONG)


async def test_each_call_has_its_own_time_until_the_process_is_about_to_end() -> None:
    """A limit that is not hastened is the call's own, and one that is shorter than the rest stays as it is."""
    patience = Patience()
    with pytest.raises(TimeoutError):
        await wait(patience, 0.05)
    assert not patience.over
    assert patience.left(LONG) == LONG
    patience.hasten(LONG)
    with pytest.raises(TimeoutError):
        await wait(patience, 0.05)
    async with patience.within(LONG):
        pass


async def test_open_calls_and_later_ones_have_one_limit_together() -> None:
    """Two that are open and three that follow end after the same moments, not one after the other."""
    patience, begun = Patience(), time.monotonic()
    open_calls = [asyncio.create_task(wait(patience)) for _ in range(2)]
    await asyncio.sleep(0)
    patience.hasten(0.2)
    for ended in await asyncio.gather(*open_calls, return_exceptions=True):
        assert isinstance(ended, TimeoutError)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await wait(patience)
    assert patience.over
    assert patience.left(LONG) == 0
    assert time.monotonic() - begun < LONG / 2


async def test_a_call_that_is_over_is_not_disturbed() -> None:
    """Hastening meets only what is open; somebody else's cancellation stays one."""
    patience = Patience()
    async with patience.within(LONG):
        pass
    patience.hasten(0)
    await asyncio.sleep(0.01)
    cancelled = asyncio.create_task(wait(Patience()))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
