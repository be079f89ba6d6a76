"""A world whose gateway dies at its points; the run to rest, the checker's verdict, and what the diary says."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.storm.points.__main__ import ARMED, read_diary
from tests.world.demo import keep_metrics
from tests.world.plan import Plan
from tests.world.processes import Child
from tests.world.report import check, conclude
from tests.world.run import Run
from tests.world.world import World


class MortalWorld(World):
    """The world with a gateway under the supervisor of this package."""

    def __init__(self, plan: Plan, mode: str, control: str = "none") -> None:
        super().__init__(plan)
        self.points = plan.directory / "points"
        self.points.mkdir(parents=True)
        self._words = [str(self.points), mode, control]

    def _child(self, name: str, argv: list[str]) -> Child:
        if name == "gateway":
            argv = [sys.executable, "-m", "tests.storm.points", *self._words, str(self.config)]
        return super()._child(name, argv)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep came to."""

    rested: bool
    faults: Sequence[str]  # what is wrong at the end; empty when everything is right
    counters: dict[str, int]
    diary: list[dict[str, Any]]

    def cells(self, order: str) -> set[tuple[str, str]]:
        """Where lives ended, by point and bank."""
        return {(line["died"], line["bank"]) for line in self.diary if line.get("order") == order}

    @property
    def passed(self) -> set[str]:
        """Every point that anybody reached, to die there or not."""
        return {line.get("died") or line["passed"] for line in self.diary if "died" in line or "passed" in line}

    @property
    def recovery_seconds(self) -> list[float]:
        """Real seconds from a death until the next life that got so far was ready, Kafka and database."""
        found: list[float] = []  # never money
        died = None
        for line in self.diary:
            if "died" in line:
                died = line["at"]
            elif "ready" in line and died is not None:
                found.append(line["at"] - died)
                died = None
        return found


def sweep(plan: Plan, mode: str, control: str = "none", limit_seconds: int = 600) -> Swept:
    """Run a world until it is at rest although its gateway dies and dies."""
    world = MortalWorld(plan, mode, control)
    with world:
        (world.points / ARMED).touch()
        run = Run(world, limit_seconds=limit_seconds, lift_pauses=False)
        rested = asyncio.run(run.to_rest())
        keep_metrics(world)
        world.stop()
        diary = read_diary(world.points)
        if control != "none":
            verdict, _ = check(world)
            return Swept(rested, verdict["problems"], verdict["counters"], diary)
        outcome = conclude(world, 0, rested=rested)
        return Swept(rested, outcome.faults, outcome.summary["counters"], diary)
