"""A world whose gateway dies at its points; the run to rest, the checker's verdict, and what the diary says."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.storm.caught import Caught, Watch
from tests.storm.points.__main__ import ARMED, read_diary
from tests.world.demo import keep_metrics
from tests.world.plan import Plan
from tests.world.processes import Child
from tests.world.report import conclude
from tests.world.run import Run
from tests.world.world import World

QUIET_SECONDS = 15  # real: longer than a group needs to let a dead member go


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
    def recovery_seconds(self) -> list[float]:
        """Real seconds from the last death until the next life was ready, Kafka and database: what has the bound. A
        life that we end in its recovery was given no time to end it."""
        return [ready - deaths[-1] for deaths, ready in self._returns()]

    @property
    def outage_seconds(self) -> list[float]:
        """The same from the first death since anybody was ready: with a second one, both recoveries together."""
        return [ready - deaths[0] for deaths, ready in self._returns()]

    def _returns(self) -> Iterator[tuple[list[float], float]]:  # real seconds, never money
        """When lives ended without one that was ready in between, and when one was."""
        deaths: list[float] = []  # never money
        for line in self.diary:
            if "died" in line:
                deaths.append(line["at"])
            elif "ready" in line and deaths:
                yield deaths, line["at"]
                deaths = []


@dataclass(frozen=True, slots=True)
class Control:
    """Where a broken build has to end for its mistake to show, and the counters of which one has to rise."""

    mode: str
    counters: tuple[str, ...]
    at_rest: bool  # what is lost can be told from what is late at rest only; what was paid twice was paid twice


def sweep(plan: Plan, mode: str, limit_seconds: int = 600) -> Swept:
    """Run a world until it is at rest although its gateway dies and dies."""
    world = MortalWorld(plan, mode)
    with world:
        (world.points / ARMED).touch()
        run = Run(world, limit_seconds=limit_seconds, lift_pauses=False)
        rested = asyncio.run(run.to_rest())
        keep_metrics(world)
        world.stop()
        outcome = conclude(world, 0, rested=rested)
        return Swept(rested, outcome.faults, outcome.summary["counters"], read_diary(world.points))


def sweep_broken(plan: Plan, build: str, control: Control, limit_seconds: int = 600) -> tuple[Swept, bool]:
    """Run a broken build until it is caught, or its time is over; and whether a counter that it is about is red."""
    world = MortalWorld(plan, control.mode, build)
    with world:
        (world.points / ARMED).touch()
        watch = Watch(
            world,
            control.counters,
            control.at_rest,
            quiet_seconds=QUIET_SECONDS,
            busy=lambda: not any("died" in line for line in read_diary(world.points)),
        )
        with contextlib.suppress(Caught):
            asyncio.run(Run(world, limit_seconds=limit_seconds, await_notices=False).to_rest(watch))
        world.stop()
        return Swept(watch.quiet, (), watch.counters, read_diary(world.points)), watch.red
