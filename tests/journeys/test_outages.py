"""What the gateway stands on goes away, at its start and in the middle: it says so, waits, and goes on by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.world.demo import EXPECTED, keep_metrics
from tests.world.faults import NO_FAULTS
from tests.world.plan import LIST, Plan
from tests.world.processes import run_apart
from tests.world.report import conclude
from tests.world.run import Run
from tests.world.world import World

LINES = 120
PATIENCE_SECONDS = 60
RUN_SECONDS = 150


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A small list on its way, without any fault but the one the test brings."""
    county = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": LINES}
    plan = Plan(directory=tmp_path / "world", lists=(county,), faults=NO_FAULTS, hostile=False, repeat_rate=0)
    with World(plan) as started:
        yield started


def readiness(world: World) -> tuple[int, dict[str, object]]:
    """The status and body of `/ready`; 0 while nobody answers."""

    async def ask() -> tuple[int, dict[str, object]]:
        url = f"http://127.0.0.1:{world.ports.gateway}/ready"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status, json.loads(await answer.text())
        except (aiohttp.ClientError, OSError):
            return 0, {}

    return run_apart(ask())


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for a state that must come; how long it takes is not what is tested."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def is_unready_for(world: World, component: str) -> Callable[[], bool]:
    def holds() -> bool:
        status, body = readiness(world)
        return status == 503 and component in json.dumps(body)

    return holds


def comes_to_rest(world: World) -> None:
    """Everybody is paid, by a login that can do nothing else, and the independent checker finds nothing."""
    rested = asyncio.run(Run(world, limit_seconds=RUN_SECONDS).to_rest())
    keep_metrics(world)
    world.stop()
    outcome = conclude(world, 0, rested=rested, expected=EXPECTED)
    assert outcome.faults == []
    assert outcome.summary["credited"] == outcome.summary["approved"]
    assert "may do more than paying needs" not in world.children["gateway"].output.read_text()


def test_postgresql_away_in_the_middle_and_at_the_start(world: World) -> None:
    """Readiness says 503 and names the database; after its return the work goes on by itself, twice."""
    world.postgres.kill()
    wait_until("503 for the database", is_unready_for(world, "database"))
    world.postgres.start()
    wait_until("ready again", lambda: readiness(world)[0] == 200)
    world.kill_gateway()
    world.postgres.kill()
    world.start_gateway()
    wait_until("503 for the database at the start", is_unready_for(world, "database"))
    world.postgres.start()
    wait_until("ready after a late start", lambda: readiness(world)[0] == 200)
    comes_to_rest(world)


def test_kafka_away_in_the_middle_and_at_the_start(world: World) -> None:
    """Readiness says 503 and names Kafka; what was staged meanwhile is published when it is back."""
    world.broker.down()
    wait_until("503 for Kafka", is_unready_for(world, "kafka"))
    world.kill_gateway()
    world.start_gateway()
    wait_until("503 for Kafka at the start", is_unready_for(world, "kafka"))
    world.broker.up()
    wait_until("ready again", lambda: readiness(world)[0] == 200)
    comes_to_rest(world)


def test_a_bank_away_holds_nobody_else_up(world: World) -> None:
    """One bank is gone while the list is paid: the other bank's people are paid, and these when it is back."""
    world.children["rcc_file"].kill()

    def others_are_paid() -> bool:
        return bool(world.desk_status().get("receipts", {}).get("credited", 0))

    wait_until("credits of the other bank", others_are_paid)
    assert not world.children["rcc_file"].running
    world.children["rcc_file"].start()
    comes_to_rest(world)


def test_sigterm_ends_cleanly_in_the_middle_and_nothing_is_half_done(world: World) -> None:
    """Told to end, the gateway finishes what is on the wire and exits with status 0; a restart goes on where it was."""
    for _ in range(3):
        wait_until("ready", lambda: readiness(world)[0] == 200)
        time.sleep(0.7)
        assert world.children["gateway"].stop(grace=20) == 0
        world.start_gateway()
    comes_to_rest(world)
