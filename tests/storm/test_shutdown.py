"""R19, first half: SIGTERM in the middle of the work; the process ends by itself, in time, and nothing goes wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.loop import Loop
from tests.storm.scale import FULL, SEED, figure, size
from tests.world.demo import EXPECTED, keep_metrics
from tests.world.faults import HONEST
from tests.world.plan import LIST, Plan
from tests.world.report import conclude
from tests.world.run import Run, random_moments
from tests.world.world import World

WORLDS = size(1, 9)
STOPS_OF_A_WORLD = size(3, 12)
LINES = size(60, 250)
FIRST_STOP, LAST_STOP = 0.5, 20.0  # while the list is read, paid, answered, returned and paid again
EXIT_WITHIN_SECONDS = 20
LIMIT_SECONDS = 400


@dataclass
class GentleRun(Run):
    """A run in which the gateway is asked to end, and begun again when it has."""

    ends: list[tuple[int, float]] = field(default_factory=list)  # status and real seconds, never money

    async def _start_again(self) -> None:
        while await self.world.get("/ready") is None:  # before it listens to signals there is no work to finish
            await asyncio.sleep(0.05)
        begun = time.monotonic()
        status = await asyncio.to_thread(self.world.children["gateway"].stop, 120)
        self.ends.append((status, time.monotonic() - begun))
        self.kills += 1
        await asyncio.sleep(self.restart_after)
        self.world.start_gateway()


def test_a_gateway_that_is_asked_to_end_under_load_ends_in_time(tmp_path: Path) -> None:
    """SIGTERM again and again while money moves: status 0 each time, in time, and the checker counts zero of seven."""
    ends: list[tuple[int, float]] = []
    for number in range(WORLDS):
        county = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": LINES}
        plan = Plan(directory=tmp_path / f"world-{number}", lists=(county,), seed=SEED + number, faults=HONEST)
        with World(plan) as world:
            moments = random_moments(SEED + number, STOPS_OF_A_WORLD, FIRST_STOP, LAST_STOP)
            run = GentleRun(world, kill_at=moments, limit_seconds=LIMIT_SECONDS)
            rested = asyncio.run(run.to_rest())
            keep_metrics(world)
            world.stop()
            outcome = conclude(world, 0, rested=rested, expected=EXPECTED)
        assert outcome.faults == []
        assert not any(outcome.summary["counters"].values())
        ends += run.ends
    longest = max(seconds for _, seconds in ends)
    figure("R19", sigterms=len(ends), status_0=sum(status == 0 for status, _ in ends), longest_ms=round(longest * 1000))
    assert [status for status, _ in ends] == [0] * (WORLDS * STOPS_OF_A_WORLD)
    assert not FULL or longest <= EXIT_WITHIN_SECONDS


async def stops(loop: Loop) -> bool:
    """Whether a loop with a step that never ends can be stopped."""
    begun = asyncio.Event()

    async def never_ends() -> bool:
        begun.set()
        await asyncio.Event().wait()
        return True

    loop.add("bank call", never_ends, 0)
    await begun.wait()
    try:
        async with asyncio.timeout(5):
            await loop.stop(1)
    except TimeoutError:
        return False
    return True


class WaitsForEveryStep(Loop):
    """The build that is too polite: it ends when every step has, however long a bank takes to answer."""

    async def stop(self, seconds: float) -> list[str]:
        self._stopping.set()
        await asyncio.gather(*self._tasks.values())
        return []


@pytest.mark.parametrize(("build", "ends"), [(Loop, True), (WaitsForEveryStep, False)])
async def test_a_build_that_waits_for_a_bank_without_limit_is_caught(build: type[Loop], ends: bool) -> None:
    """The control: a step that never ends holds the polite build up for ever, and the real one for its time."""
    assert await stops(build(lambda name, error: None)) is ends
