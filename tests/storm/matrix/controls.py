"""Negative controls: builds that are broken on purpose, in a cell that must turn red for the reason that they give it.

Each control plays a short cell whose sound build passes, and looks at the checker's counters while it runs. One whose
counter cannot be judged before all is at rest waits until the gateway itself says that nothing is open any more.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.storm.caught import Caught, Watch
from tests.storm.matrix.cells import Cell, named
from tests.storm.matrix.play import lists_for, plan_of, street_of
from tests.storm.matrix.storm import Storm
from tests.storm.matrix.street import Street
from tests.world.layout_banks import BANKS
from tests.world.plan import fresh_directory

KILLS = 8
RARE_KILLS = 24  # where not every kill, or every trouble, meets the moment that the build is broken for
LIMIT_SECONDS = 420  # real


@dataclass(frozen=True, slots=True)
class Control:
    """A bug of `bugs.py`, the cell that must find it, and the counters of which at least one has to rise."""

    bug: str
    cell: str
    counters: tuple[str, ...]
    at_rest: bool = False
    quick: bool = False
    slow: bool = False  # as the cells that are: about a second before SENDING, in which a kill finds what it is about
    kills: int = KILLS


CONTROLS = (
    Control("resend_on_timeout", "accept_then_hang", ("BR", "DP"), quick=True),
    Control("commit_after_the_call", "accept_then_hang", ("BR", "DP"), slow=True, kills=RARE_KILLS),
    Control("published_before_sent", "kafka_restart", ("RX",), at_rest=True),
    Control("no_fence_asked", "zombie", ("BR", "DP"), kills=RARE_KILLS),
    Control("sends_anyway", "disk_full", ("BR", "DP"), kills=RARE_KILLS),
)


@dataclass(slots=True)
class Verdict:
    """``red``: caught, by these counters."""

    bug: str
    cell: str
    red: bool = False
    counters: dict[str, int] = field(default_factory=dict)
    seconds: int = 0
    kills: int = 0
    why_not: str = ""


def run(control: Control, seed: int) -> Verdict:
    """Play a control until it is red, or its time is over."""
    cell = named(control.cell)
    cell = replace(cell, slow=cell.slow or control.slow)
    directory = fresh_directory(f"storm-{control.bug.replace('_', '-')}")
    began = time.monotonic()
    verdict = Verdict(control.bug, control.cell)
    world = street_of(cell, plan_of(cell, directory, seed, lists_for(cell, control.kills)), control.bug)
    try:
        with world:
            _follow(control, world, cell, seed, verdict)
    except Exception as error:  # a control that could not be played has caught nothing
        verdict.why_not = f"{type(error).__name__}: {error}"
    finally:
        world.leave()
    verdict.seconds = round(time.monotonic() - began)
    _remove(directory, verdict)
    return verdict


def _follow(control: Control, world: Street, cell: Cell, seed: int, verdict: Verdict) -> None:
    storm = Storm(world, cell=cell, seed=seed, wanted=control.kills, limit_seconds=LIMIT_SECONDS, await_notices=False)

    def busy() -> bool:
        return storm.kills < control.kills or bool(storm.away)

    watch = Watch(world, control.counters, control.at_rest, busy=busy)
    try:
        asyncio.run(storm.to_rest(watch))
        verdict.why_not = "nothing that it must count rose in its time"
    except Caught:
        verdict.why_not = ""
    finally:
        storm.observer.close()
        verdict.kills = storm.kills
    verdict.counters, verdict.red = watch.counters, watch.red


def _remove(directory: Path, verdict: Verdict) -> None:
    if verdict.red:
        shutil.rmtree(directory)
        return
    size = sum(path.stat().st_size for bank in BANKS for path in (directory / bank).glob("ledger*"))
    verdict.why_not = f"{verdict.why_not or 'the counters stayed zero'}; see {directory} ({size} bytes of ledgers)"
