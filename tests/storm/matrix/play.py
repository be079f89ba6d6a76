"""Plays a cell: lays out its world, lets the storm pass, asks the independent checker, and says what came of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.lists import write_lists
from tests.storm.matrix.cells import Cell
from tests.storm.matrix.recovery import BOUND_SECONDS, p99
from tests.storm.matrix.storm import Storm, faults_fired
from tests.storm.matrix.street import Street
from tests.world.demo import keep_metrics
from tests.world.plan import SCALE, START, Plan, fresh_directory
from tests.world.report import conclude

LINES = 24  # of a list
LIST_EVERY_SECONDS = 5  # real: small and often, so that a process that comes back finds something to do
REST_SECONDS = 240  # real, after the kills; a bound for what is broken, not a promise
SECONDS_PER_KILL = 20  # likewise
TIMING = {"lease_seconds": 4, "bank_call_seconds": 8}


@dataclass(slots=True)
class Result:
    """What a cell came to. ``faults`` says why it failed."""

    cell: str
    what: str
    kills: int = 0
    fired: int = 0
    proof: dict[str, int] = field(default_factory=dict)  # by fault of the banks' ledgers, or by kind of the trouble
    payouts: int = 0
    recoveries: list[float] = field(default_factory=list)  # to the first work; real seconds, never money
    counters: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: int = 0
    directory: Path | None = None  # kept, because it failed
    timeline: str = ""

    @property
    def recovery_p99(self) -> float:  # real seconds, never money
        return p99(self.recoveries)


def lists_in_turn(directory: Path, lists: int, lines: int, every_seconds: int) -> tuple[dict[str, Any], ...]:
    """Lists for all four banks, each come in so many real seconds after the one before it."""
    wanted = write_lists(directory, lists * lines, lines)
    for number, one in enumerate(wanted):
        after = number * every_seconds * SCALE
        header = Path(one["header"])
        about = json.loads(header.read_text())
        arrives = dt.datetime.fromisoformat(START) + dt.timedelta(seconds=after)
        header.write_text(json.dumps({**about, "list_received_at": arrives.isoformat()}, ensure_ascii=False))
        one["after_seconds"] = after
    return tuple(wanted)


def plan_of(cell: Cell, directory: Path, seed: int, lists: int) -> Plan:
    """The lists come one after another, so that there is work at every kill."""
    return Plan(
        directory=directory,
        lists=lists_in_turn(directory / "lists", lists, LINES, LIST_EVERY_SECONDS),
        seed=seed,
        faults=cell.faults,
        broker="best",
        hostile=cell.trouble == "poison",
        gateway={"timing": TIMING},
    )


def lists_for(cell: Cell, kills: int) -> int:
    """So many that the last one comes near the last kill, which where claims are waited for comes later."""
    return 2 + kills * (2 if cell.slow else 1)


def street_of(cell: Cell, plan: Plan, bug: str = "") -> Street:
    """The world that a cell asks for, its gateways the shipped program or a build that is broken by ``bug``."""
    return Street(
        plan,
        instances=cell.instances,
        bends=cell.trouble == "clock",
        disk=cell.trouble == "disk",
        slow=cell.slow,
        bug=bug,
    )


def play(cell: Cell, *, seed: int, kills: int) -> Result:
    """One cell from the empty directory to the verdict. What fails keeps its directory."""
    directory = fresh_directory(f"storm-{cell.name.replace('_', '-')}")
    result = Result(cell.name, cell.what)
    began = time.monotonic()
    world = street_of(cell, plan_of(cell, directory, seed, lists_for(cell, kills)))
    storm: Storm | None = None
    try:
        with world:
            limit = REST_SECONDS + kills * SECONDS_PER_KILL
            storm = Storm(world, cell=cell, seed=seed, wanted=kills, limit_seconds=limit, await_notices=False)
            rested = asyncio.run(storm.to_rest())
            storm.observer.close()
            keep_metrics(world)
            world.stop()
            judge(result, storm, rested)
    except Exception as error:  # whatever broke the storm breaks this cell, and no other
        result.faults.append(f"{type(error).__name__}: {error}")
        result.timeline = traceback.format_exc()
    finally:
        if storm is not None:
            result.kills, result.fired = storm.kills, storm.fired
            result.notes += storm.notes
        if result.faults:
            result.directory = directory
        world.leave()
    result.seconds = round(time.monotonic() - began)
    if not result.faults:
        shutil.rmtree(directory)
    return result


def judge(result: Result, storm: Storm, rested: bool) -> None:
    """The checker's counters, the identity of the counts, whether the fault was there at all, and the recoveries."""
    outcome = conclude(storm.world, 0, rested=rested)
    result.payouts = int(outcome.summary["approved"])
    result.counters = dict(outcome.summary["counters"])
    result.faults += outcome.faults
    if outcome.faults:
        result.timeline = outcome.checker
    result.recoveries, ready = storm.observer.recoveries(), storm.observer.readiness()
    result.faults += idle(outcome.summary["credited"], storm.kills, len(ready), len(result.recoveries))
    result.faults += slow(result.recoveries, ready, storm.observer.overdue)
    result.notes.append(f"{len(result.recoveries)} recoveries timed, {len(ready)} seen, {storm.observer.idle} idle")
    result.proof = {
        **faults_fired(storm.world, storm.cell.proof),
        **{kind: storm.kinds[kind] for kind in storm.cell.kinds},
    }
    if storm.ended_alone:
        result.notes.append(f"{storm.ended_alone} ended by itself (75) and was started again")
    result.faults += missing(storm.cell, storm.fired, result.proof)


def idle(credited: int, kills: int, ready: int, timed: int) -> list[str]:
    """Why nothing is proved: counters of nothing are zero as well, and so is the slowest of no recoveries."""
    faults = [] if credited else ["nobody was credited"]
    if ready * 2 < kills:
        faults.append(f"{ready} recoveries were seen after {kills} kills")
    if timed * 4 < kills:
        faults.append(f"{timed} recoveries were timed to their first work after {kills} kills")
    return faults


def slow(recoveries: Sequence[float], ready: Sequence[float], overdue: int) -> list[str]:  # real seconds, never money
    """What took longer than the bound: to the first work, to readiness alone, or for good."""
    faults = [f"{overdue} lives did nothing of what they owed within {BOUND_SECONDS} s"] if overdue else []
    for what, seconds in (("recovery", recoveries), ("readiness", ready)):
        if p99(seconds) > BOUND_SECONDS:
            slowest = ", ".join(f"{one:.1f}" for one in sorted(seconds)[-5:])
            faults.append(f"{what} p99 is {p99(seconds):.1f} s, not within {BOUND_SECONDS} s; the slowest: {slowest} s")
    return faults


def missing(cell: Cell, fired: int, proof: dict[str, int]) -> list[str]:
    """Why nothing is proved: a fault that did not fire, or not often enough."""
    faults = [f"{name} did not fire" for name, count in proof.items() if not count]
    if cell.trouble and fired < cell.least:
        faults.append(f"{cell.trouble} struck {fired} times, not {cell.least}")
    for kind in cell.kinds:
        if 0 < proof[kind] < cell.least:
            faults.append(f"{cell.trouble} struck {proof[kind]} times {kind}, not {cell.least}")
    fired_by_banks = sum(proof[name] for name in cell.proof)
    if cell.proof and fired_by_banks < cell.least:
        faults.append(f"{', '.join(cell.proof)} fired {fired_by_banks} times, not {cell.least}")
    return faults


def total(results: Sequence[Result]) -> dict[str, Any]:
    """The figures of all cells together."""
    counters: dict[str, int] = {}
    for result in results:
        for name, count in result.counters.items():
            counters[name] = counters.get(name, 0) + count
    return {
        "kills": sum(result.kills for result in results),
        "cells": len(results),
        "payouts": sum(result.payouts for result in results),
        "recovery_p99_seconds": round(p99([one for result in results for one in result.recoveries]), 1),
        "counters": counters,
    }
