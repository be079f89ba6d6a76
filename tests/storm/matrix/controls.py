"""Negative controls: builds that are broken on purpose, in a cell that must turn red for the reason that they give it.

Each control plays a short cell whose sound build passes, and looks at the checker's counters while it runs. One whose
counter cannot be judged before all is at rest waits until the gateway itself says that nothing is open any more.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.storm.matrix.cells import Cell, named
from tests.storm.matrix.play import lists_for, plan_of
from tests.storm.matrix.storm import Storm
from tests.storm.matrix.street import Street
from tests.world.layout_banks import BANKS
from tests.world.plan import fresh_directory
from tests.world.report import check
from tests.world.run import Snapshot

KILLS = 8
FIRST_LOOK_SECONDS, LOOK_EVERY_SECONDS = 8, 4  # real
LIMIT_SECONDS = 420  # real
QUIET_SECONDS = 6  # real: nothing is open, and nothing more is told


@dataclass(frozen=True, slots=True)
class Control:
    """A bug of `bugs.py`, the cell that must find it, and the counters of which at least one has to rise."""

    bug: str
    cell: str
    counters: tuple[str, ...]
    at_rest: bool = False
    quick: bool = False


CONTROLS = (
    Control("resend_on_timeout", "accept_then_hang", ("BR", "DP"), quick=True),
    Control("commit_after_the_call", "accept_then_hang", ("BR", "DP")),
    Control("published_before_sent", "kafka_restart", ("RX",), at_rest=True),
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


class Caught(Exception):
    """The checker counts what it has to: no need to wait for the end."""


def run(control: Control, seed: int) -> Verdict:
    """Play a control until it is red, or its time is over."""
    cell = named(control.cell)
    directory = fresh_directory(f"storm-{control.bug.replace('_', '-')}")
    began = time.monotonic()
    verdict = Verdict(control.bug, control.cell)
    world = Street(plan_of(cell, directory, seed, lists_for(KILLS)), bug=control.bug)
    try:
        with world:
            _follow(control, world, cell, seed, verdict)
    except Exception as error:  # a control that could not be played has caught nothing
        verdict.why_not = f"{type(error).__name__}: {error}"
    verdict.seconds = round(time.monotonic() - began)
    _remove(directory, verdict)
    return verdict


def _follow(control: Control, world: Street, cell: Cell, seed: int, verdict: Verdict) -> None:
    storm = Storm(world, cell=cell, seed=seed, wanted=KILLS, limit_seconds=LIMIT_SECONDS, await_notices=False)
    looked = time.monotonic() + FIRST_LOOK_SECONDS - LOOK_EVERY_SECONDS
    quiet_since: float | None = None
    told = -1

    def look(seen: Snapshot) -> None:
        nonlocal looked, quiet_since, told
        now = time.monotonic()
        busy = seen.open != 0 or any(seen.to_come.values()) or seen.lists_waiting or storm.kills < KILLS
        heard = sum(seen.receipts.values())
        if busy or heard != told or storm.away:
            quiet_since, told = None, heard
        elif quiet_since is None:
            quiet_since = now
        due = quiet_since is not None and now - quiet_since > QUIET_SECONDS if control.at_rest else now > looked
        if due:
            verdict.counters = dict(check(world, at_rest=control.at_rest, scan=False)[0]["counters"])
            if control.at_rest or any(verdict.counters[name] for name in control.counters):
                raise Caught
            looked = time.monotonic() + LOOK_EVERY_SECONDS

    try:
        asyncio.run(storm.to_rest(look))
        verdict.why_not = "nothing that it must count rose in its time"
    except Caught:
        verdict.why_not = ""
    finally:
        storm.observer.close()
        verdict.kills = storm.kills
    verdict.red = any(verdict.counters.get(name) for name in control.counters)


def _remove(directory: Path, verdict: Verdict) -> None:
    if verdict.red:
        shutil.rmtree(directory)
        return
    size = sum(path.stat().st_size for bank in BANKS for path in (directory / bank).glob("ledger*"))
    verdict.why_not = f"{verdict.why_not or 'the counters stayed zero'}; see {directory} ({size} bytes of ledgers)"
