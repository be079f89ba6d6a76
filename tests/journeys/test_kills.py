"""The gateway is killed at random moments of the main job, and nobody is paid twice, missed or told wrongly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.world.demo import EXPECTED, keep_metrics
from tests.world.faults import HONEST
from tests.world.plan import LIST, Plan
from tests.world.report import conclude
from tests.world.run import Run, random_moments
from tests.world.world import World

LINES = 250
KILLS = 6
FIRST_KILL, LAST_KILL = 0.5, 24.0  # while the list is read, paid, answered, returned and paid again
LIMIT_SECONDS = 240


@pytest.mark.parametrize("seed", [11, 12])
def test_kill_minus_nine_in_the_middle_of_the_main_job_changes_no_outcome(tmp_path: Path, seed: int) -> None:
    """Six times kill -9 at random points and a restart: all comes to rest, and the checker counts zero of seven."""
    county = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": LINES}
    plan = Plan(directory=tmp_path / "world", lists=(county,), seed=seed, faults=HONEST)
    with World(plan) as world:
        run = Run(world, kill_at=random_moments(seed, KILLS, FIRST_KILL, LAST_KILL), limit_seconds=LIMIT_SECONDS)
        rested = asyncio.run(run.to_rest())
        lives = world.children["gateway"].lives
        keep_metrics(world)
        world.stop()
        outcome = conclude(world, 0, rested=rested, expected=EXPECTED)
    assert (run.kills, lives) == (KILLS, KILLS + 1)
    assert outcome.faults == []
    assert not any(outcome.summary["counters"].values())
    assert outcome.summary["returned"] > 0
    assert outcome.summary["reissued"] > 0
