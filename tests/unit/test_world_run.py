"""When a run is over, what a watcher is shown, and that a plan's settings are settings the gateway knows."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway import config as configuration
from tests.bank.programme import LINE_OUTCOMES, QUERY_FAULTS, RESULT_FAULTS, SUBMISSION_FAULTS
from tests.world import layout
from tests.world.demo_screen import Screen, progress_of
from tests.world.faults import BREACHES, BREAKS_WORD, HONEST, PARTS, broken_word, every_fault
from tests.world.layout_banks import BANKS
from tests.world.plan import Plan, fresh_directory, point_to_latest
from tests.world.processes import Child, birth
from tests.world.run import Run, Snapshot, random_moments
from tests.world.world import World, merged, parse_metrics

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.timezone(dt.timedelta(hours=8)))
RESTED = Snapshot(
    seconds=50,
    now=NOON,
    lines=100,
    receipts={"credited": 93, "returned": 3, "failed": 2, "refused": 10},
    refusals={},
    orders={"REISSUE": 5},
    waiting=0,
    unanswered=0,
    open=0,
    to_come={"credits": 0, "rejections": 0, "returns": 0, "callbacks": 0},
    undecided=0,
    returned=3,
    notices=90,
    notices_due=96,
    lives=1,
    lists_waiting=0,
    conflict=0,
    reports_open=0,
    paused=0,
)


def test_a_run_is_over_when_nothing_is_owed() -> None:
    """The example that all others differ from in one thing."""
    assert RESTED.settled


@pytest.mark.parametrize(
    "change",
    [
        {"lines": 0},
        {"waiting": 1},
        {"unanswered": 1},
        {"open": 1},
        {"open": None},
        {"to_come": {"returns": 1}},
        {"to_come": {"callbacks": 1}},
        {"returned": 4},
        {"lists_waiting": 1},
        {"reports_open": 1},
    ],
)
def test_a_run_goes_on_while_anything_is_owed(change: dict[str, Any]) -> None:
    """A planned return, an undecided case, an unread receipt, a gateway that is away: none may be cut off."""
    assert not dataclasses.replace(RESTED, **change).settled


def test_a_frozen_payout_does_not_keep_a_run_from_ending() -> None:
    """Its batch has no final report until people decide, and there are no people here."""
    assert dataclasses.replace(RESTED, reports_open=1, conflict=1).settled


def test_kills_fall_at_the_seeds_moments() -> None:
    """The same seed kills at the same moments, in order and within the bounds."""
    moments = random_moments(3, 20, 1.0, 30.0)
    assert moments == random_moments(3, 20, 1.0, 30.0) == sorted(moments)
    assert moments != random_moments(4, 20, 1.0, 30.0)
    assert 1.0 <= moments[0] < moments[-1] <= 30.0


class Mortal(World):
    """A world of one gateway that says whether it lives."""

    def __init__(self) -> None:
        self.living = True
        self.children = {"gateway": Child("gateway", [], Path())}

    def everybody(self) -> dict[str, Child]:
        return {}

    def kill_gateway(self) -> None:
        self.living = False

    def start_gateway(self) -> None:
        assert not self.living
        self.living = True


async def test_a_limit_never_leaves_a_gateway_that_was_killed_dead() -> None:
    """The time is over between a kill and its restart: the restart is made up for at once, and the run ends."""
    world = Mortal()

    class Open(Run):
        async def look(self) -> Snapshot:
            return dataclasses.replace(RESTED, open=None)

    run = Open(world, kill_at=[0.0], limit_seconds=0.1, restart_after=60)
    async with asyncio.timeout(30):
        assert not await run.to_rest()
    assert (run.kills, world.living) == (1, True)


class Living(Child):
    running = True


@pytest.mark.parametrize(("asked", "looks"), [(True, 4), (False, 1)])
async def test_a_run_that_waits_for_statements_ends_when_each_was_read(asked: bool, looks: int) -> None:
    """At rest in all else: a run that waits looks again until no word is unread, any other one is over at once."""

    class Unread(Mortal):
        left = 3

        def unread(self) -> int:
            self.left -= 1
            return self.left + 1

    seen: list[Snapshot] = []

    class Rested(Run):
        async def look(self) -> Snapshot:
            seen.append(RESTED)
            return RESTED

    world = Unread()
    world.children = {"gateway": Living("gateway", [], Path())}
    run = Rested(world, limit_seconds=60, steady_seconds=0, await_statements=asked, await_notices=False)
    assert await run.to_rest()
    assert len(seen) - looks in (0, 1)  # the first look may come before the killer has seen that it has nothing to do


def test_progress_counts_what_happened() -> None:
    """A return takes a credit back on the bars as it does in the world."""
    bars = progress_of(RESTED)
    assert bars["credited"] == (90, 90)
    assert bars["decided"] == (5, 5)
    assert bars["notices"] == (90, 96)


def test_without_a_terminal_there_are_plain_lines() -> None:
    """A log file gets a line every few seconds and no cursor movements."""
    printed = io.StringIO()
    with Screen(Console(file=printed, width=200)) as screen:
        for seconds in (0, 1, 2, 5, 6):
            screen.show(dataclasses.replace(RESTED, seconds=seconds))
    assert printed.getvalue().count("\n") == 2
    assert "\x1b" not in printed.getvalue()


def test_a_terminal_gets_five_bars_and_a_clock_without_one() -> None:
    """Time has no end to fill a bar towards: it is told in words below the bars."""
    printed = io.StringIO()
    with Screen(Console(file=printed, width=120, force_terminal=True, color_system=None)) as screen:
        screen.show(RESTED)
    last_frame = printed.getvalue().split("lines judged")[-1].splitlines()
    assert sum("━" in line for line in last_frame) == 5
    (clock,) = (line for line in last_frame if "kills" in line)
    assert "━" not in clock
    assert "Tue 11-24 12:00" in clock


def test_the_plans_settings_load_in_the_gateway(tmp_path: Path) -> None:
    """The configuration of a run has no setting that the gateway refuses, down to the banks' own sections."""
    from gateway.banks import open_banks

    file = layout.lay_out(tmp_path, layout.Addresses(kafka="127.0.0.1:9", gateway_host="127.0.0.1"))
    plan = Plan(tmp_path, gateway={"log": {"level": "DEBUG"}})
    file.write_text(merged(file.read_text(), plan.sections()))
    config = configuration.load(file)
    assert config.timing.lease_seconds == 4
    assert config.log.level == "DEBUG"
    banks = open_banks(config)
    assert all(bank.capabilities.settling_seconds == plan.settling_seconds for bank in banks.values())


def test_the_plans_programmes_are_known_to_the_banks(tmp_path: Path) -> None:
    """Every fault that a plan asks for exists, and the rates of no class exceed certainty."""
    from tests.bank.config import ProgrammeConfig
    from tests.bank.programme import Programme

    for faults in (HONEST, BREACHES, broken_word(), *map(every_fault, range(PARTS))):
        for profile in BANKS:
            given = Plan(tmp_path, faults=faults).programme(profile)
            Programme(1, ProgrammeConfig(**given), profile)


def test_an_honest_plan_breaks_no_word() -> None:
    """What the demonstration asks for by default is an ordinary week."""
    breaking = {"wrong_amount", "credit_after_reject", "contradiction", "hidden"}
    for bank in BANKS:
        assert not breaking & HONEST.banks[bank].keys()
        assert breaking & BREACHES.banks[bank].keys()


def test_lines_that_a_bank_never_decides_end_no_run_and_hold_up_none() -> None:
    """Two open payouts are rest when a bank will never decide two, and work when it will never decide one."""
    open_two = dataclasses.replace(RESTED, open=2, reports_open=1)
    assert dataclasses.replace(open_two, undecided=2).settled
    assert not dataclasses.replace(open_two, undecided=1).settled
    assert not dataclasses.replace(RESTED, open=None, undecided=2).settled


def test_every_fault_of_every_bank_is_in_one_part() -> None:
    """The parts together ask for all that the banks can do wrong, each once and at one in ten."""
    asked = [every_fault(part).banks for part in range(PARTS)] + [broken_word().banks]
    tables = (LINE_OUTCOMES, SUBMISSION_FAULTS, RESULT_FAULTS, QUERY_FAULTS)
    for bank in BANKS:
        names = [name for part in asked for name in part[bank]]
        assert sorted(names) == sorted(name for table in tables for name, banks in table.items() if bank in banks)
        assert {rate for part in asked for rate in part[bank].values()} == {1_000}
        assert not BREAKS_WORD & {name for part in asked[:-1] for name in part[bank]}


def test_metrics_are_read_with_their_labels() -> None:
    """Counters, gauges and infinities of Prometheus' text format; comments are left out."""
    page = '# HELP x y\nx_total 3.0\npayout_payouts{bucket="queued"} 2\nd{clock="limit"} +Inf\n'
    assert parse_metrics(page)["payout_payouts"] == {'bucket="queued"': 2}
    assert parse_metrics(page)["d"]['clock="limit"'] == float("inf")  # a sample, never money


def test_a_reused_process_id_is_not_the_same_process(tmp_path: Path) -> None:
    """`--stop` ends only what was started: a process is named by its id and the moment of its birth."""
    assert birth(os.getpid()) == birth(os.getpid()) != ""
    child = Child("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    child.start()
    born = birth(child.pid)
    child.kill()
    assert birth(child.pid) != born


def test_runs_get_directories_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two demonstrations at once do not share a directory."""
    monkeypatch.setattr("tests.world.plan.PROJECT", tmp_path)
    assert fresh_directory() != fresh_directory()


def test_latest_leads_to_the_newest_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command written down in the README finds the run that was started last, also when there was one before."""
    monkeypatch.setattr("tests.world.plan.PROJECT", tmp_path)
    for _ in range(2):
        newest = fresh_directory()
        point_to_latest(newest)
        assert (tmp_path / ".demo" / "latest").resolve() == newest.resolve()
