"""R19, first half: SIGTERM in the middle of the work; the process ends by itself, in time, and nothing goes wrong.

Two worlds. In the main job's money moves all the time, and every call ends by itself within seconds. In the other one a
bank takes whatever it is sent and never says anything, and everybody is as patient with it as in production: at every
stop a call is open that would last three times as long as the process may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.config import TimingSection
from gateway.loop import Loop
from tests.bank.ledger import read_only
from tests.storm.broken.waits_for_every_step import wait_for_every_step
from tests.storm.neighbours import CALL_SECONDS, PATIENT, Load, Neighbours
from tests.storm.scale import FULL, SEED, figure, size
from tests.world.demo import EXPECTED, keep_metrics
from tests.world.faults import HONEST
from tests.world.plan import LIST, Plan
from tests.world.processes import run_apart
from tests.world.report import conclude
from tests.world.run import Run, random_moments
from tests.world.world import World

WORLDS = size(1, 9)
STOPS_OF_A_WORLD = size(3, 12)
LINES = size(60, 250)
FIRST_STOP, LAST_STOP = 0.5, 20.0  # while the list is read, paid, answered, returned and paid again
EXIT_WITHIN_SECONDS = 20
LIMIT_SECONDS = 400
SILENT = "json_https"
SILENT_WORLDS = size(1, 10)
STOPS_OF_A_SILENT_WORLD = size(1, 10)
AT_ONCE = size(1, 3)  # silent worlds, which wait nearly all the time
PATIENCE_SECONDS = 120
ASKED_SECONDS = PATIENCE_SECONDS + STOPS_OF_A_SILENT_WORLD * CALL_SECONDS  # were it one question after another
# How long the gateway lets its steps finish: in the whole as in production. In the slice a third of that, so that what
# a crowded machine takes to end a process besides does not decide.
TIME_TO_FINISH = {"shutdown_seconds": size(5, TimingSection().shutdown_seconds)}
IN_STATE = "SELECT reference FROM submissions WHERE bank = $1 AND state = $2"


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


@dataclass(frozen=True, slots=True)
class Stop:
    """One SIGTERM, and how it ended."""

    open: frozenset[str]  # the submissions in whose call the silent bank kept the gateway waiting
    status: int  # -9: killed, because the time was over
    seconds: float  # real, never money
    cut_off: bool  # whether a step had to be cut off: its call was open to the end


@dataclass
class SilentStreet(Neighbours):
    """A street whose HTTPS bank never answers, and what the gateway has open there."""

    black: str = SILENT
    patience: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {**PATIENT, "timing": {**PATIENT["timing"], **TIME_TO_FINISH}}
    )

    def in_state(self, state: str) -> frozenset[str]:
        """References of the silent bank's submissions, by the gateway's books."""
        return run_apart(self._in_state(state))

    async def _in_state(self, state: str) -> frozenset[str]:
        connection = await asyncpg.connect(self.postgres.dsn("payout"))
        try:
            return frozenset(row["reference"] for row in await connection.fetch(IN_STATE, SILENT, state))
        finally:
            await connection.close()

    def asked_about(self) -> set[str]:
        """References that the silent bank was asked about, by its own ledger: it gave no answer."""
        with closing(read_only(self.directory / SILENT)) as ledger:
            asked = ledger.execute("SELECT DISTINCT detail FROM faults WHERE fault = 'query_timeout'").fetchall()
        return {part for (path,) in asked for part in path.partition("?")[0].split("/")}

    def hanging(self) -> frozenset[str]:
        """Submissions that are at the silent bank, and whose call is still open."""
        return self.in_state("SENDING") & self.transmissions_of_black().keys()

    def stop_in_a_call(self) -> Stop:
        """Send the silent bank one more submission, and ask the gateway to end while that call is open."""
        known = self.transmissions_of_black().keys()
        self.publish_load(Load(lists=1, lines=2, every_seconds=0))
        self.wait_until("a call to the silent bank is open", lambda: self.hanging() - known != set(), PATIENCE_SECONDS)
        gateway, hanging, said = self.children["gateway"], self.hanging(), self._cut_off()
        begun = time.monotonic()
        status = gateway.stop(EXIT_WITHIN_SECONDS)
        return Stop(hanging, status, time.monotonic() - begun, self._cut_off() > said)

    def stop_and_go_on(self) -> Stop:
        stop = self.stop_in_a_call()
        self.start_gateway()
        self.wait_for_gateway()
        return stop

    def demand_questions_alone(self, cut: frozenset[str]) -> None:
        """What was on the wire at a stop is in doubt: it is asked about and not sent again, and nobody else waits."""
        self.wait_until("all of it is asked about", lambda: self.asked_about() >= cut, ASKED_SECONDS)
        self.wait_until("the others have their money", self.paid_by_others, PATIENCE_SECONDS)
        assert self.in_state("IN_DOUBT") == cut
        assert self.transmissions_of_black() == dict.fromkeys(cut, 1)

    def _cut_off(self) -> int:
        return self.children["gateway"].output.read_bytes().count(b'"steps cut off"')


def stops_of_a_silent_world(directory: Path) -> list[Stop]:
    with SilentStreet(directory) as street:
        stops = [street.stop_and_go_on() for _ in range(STOPS_OF_A_SILENT_WORLD)]
        street.demand_questions_alone(frozenset().union(*(stop.open for stop in stops)))
    return stops


def test_a_gateway_that_is_asked_to_end_while_a_bank_is_silent_ends_in_time(tmp_path: Path) -> None:
    """A call is open that would last a minute: status 0 within 20 s; it is asked about afterwards, not sent again."""
    worlds = [tmp_path / f"world-{number}" for number in range(SILENT_WORLDS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        stops = [stop for found in pool.map(stops_of_a_silent_world, worlds) for stop in found]
    figure(
        "R19 silent bank",
        sigterms=len(stops),
        status_0=sum(stop.status == 0 for stop in stops),
        open_calls=sum(len(stop.open) for stop in stops),
        longest_ms=round(max(stop.seconds for stop in stops) * 1000),
    )
    assert [stop.status for stop in stops] == [0] * (SILENT_WORLDS * STOPS_OF_A_SILENT_WORLD)
    assert all(stop.open and stop.cut_off for stop in stops), "nothing was open to the end: nothing is proved"
    assert max(stop.seconds for stop in stops) <= EXIT_WITHIN_SECONDS < CALL_SECONDS


def test_a_build_that_waits_for_every_step_does_not_end_in_time(tmp_path: Path) -> None:
    """The control: the same world, and the polite build has to be killed when its time is over."""
    with SilentStreet(tmp_path / "world", build="tests.storm.broken.waits_for_every_step") as street:
        stop = street.stop_in_a_call()
    figure("R19 control", open_calls=len(stop.open), status=stop.status, waited_ms=round(stop.seconds * 1000))
    assert stop.open
    assert (stop.status, stop.cut_off) == (-9, False)
    assert stop.seconds > EXIT_WITHIN_SECONDS


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
    """The loop of the build that is too polite."""

    stop = wait_for_every_step


@pytest.mark.parametrize(("build", "ends"), [(Loop, True), (WaitsForEveryStep, False)])
async def test_a_loop_is_stopped_although_a_step_never_ends(build: type[Loop], ends: bool) -> None:
    """The loop alone, with the polite one as its control: it gives a step its time, and then goes without it."""
    assert await stops(build(lambda name, error: None)) is ends
