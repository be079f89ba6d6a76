"""R10: a receipt whose acknowledgement was not heard goes again, byte for byte; nobody waits long for a lost broker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from gateway.config import KafkaSection
from gateway.kafka import Outlet
from gateway.receipts import PublishInDoubt
from gateway.store.engine import Engine
from gateway.store.outbox import Record, batch_key, stage
from tests.conftest import Kafka
from tests.store import kit
from tests.storm.relay.topic import PATIENCE, RelayProcess, relay_process, whole_topic
from tests.storm.scale import FULL, figure, size

ROUNDS = size(1, 20)
RECEIPTS_OF_A_ROUND = 8
DOWN_SECONDS = size(3, 10)
STOP_WITHIN_SECONDS = 10
MARKS_FIRST = "marked_before_sent"


@dataclass(frozen=True, slots=True)
class Heard:
    """What a reader of the topic finds of the attempts that ended."""

    attempts: int
    missing: int
    repeats: int
    altered: int


async def end_attempts(dsn: str, first: int) -> None:
    """Attempts that ended, their receipts staged as the store stages them."""
    engine = await Engine.open(dsn, max_connections=1)
    for number in range(first, first + RECEIPTS_OF_A_ROUND):
        value = json.dumps({"receipt_id": str(number), "issued_at": secrets.token_hex(8)}).encode()
        key = batch_key(kit.ISSUER, f"batch-{number % 3}")
        async with engine.transaction() as connection:
            await stage(connection, [Record("receipts", key, value, kit.START, kit.START)])
    await engine.close()


async def until_nothing_waits(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"):
            await asyncio.sleep(0.05)
    await connection.close()


async def until_it_died(relay: RelayProcess, build: str) -> None:
    """Until the relay ended by the kill after its acknowledgement.

    A broker that has just come back may leave the publish in doubt. What is marked first then waits no more, and
    nothing is left to be acknowledged: that build is killed from outside, with its receipts lost.
    """
    assert relay.child is not None
    async with asyncio.timeout(PATIENCE):
        while relay.child.running:
            if build == MARKS_FIRST and relay.said("in_doubt"):
                relay.kill()
                return
            await asyncio.sleep(0.02)
    assert relay.child.returncode == -signal.SIGKILL


async def judge(dsn: str, kafka: Kafka) -> Heard:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT value FROM outbox")
    await connection.close()
    staged = {json.loads(row["value"])["receipt_id"]: bytes(row["value"]) for row in rows}
    heard: Counter[str] = Counter()
    altered = 0
    for _, value in await whole_topic(kafka):
        name = json.loads(value)["receipt_id"]
        heard[name] += 1
        altered += hashlib.sha256(value).digest() != hashlib.sha256(staged[name]).digest()
    return Heard(len(staged), len(staged.keys() - heard.keys()), heard.total() - len(heard), altered)


async def storm(database: str, kafka: Kafka, directory: Path, build: str = "") -> tuple[Heard, int, list[float]]:
    """Kills after the acknowledgement, the broker away in the middle of a publish; who ended how fast."""
    doubts, stops = 0, []
    options = ("--build", build) if build else ()
    with relay_process(directory, database, kafka, *options) as relay:
        for number in range(ROUNDS):
            await end_attempts(database, 2 * number * RECEIPTS_OF_A_ROUND)
            await relay.begin("--die-after-ack")
            await until_it_died(relay, build)
            await relay.begin()
            await end_attempts(database, (2 * number + 1) * RECEIPTS_OF_A_ROUND)
            await until_nothing_waits(database)
            kafka.broker.down()
            try:
                await end_attempts(database, 10_000 + number * RECEIPTS_OF_A_ROUND)
                await relay.until_it_says("in_doubt")
                doubts += relay.said("in_doubt")
                await asyncio.sleep(DOWN_SECONDS)
                if number % 2 == 0:
                    stops.append(relay.stop())
            finally:
                kafka.broker.up()
            relay.kill()
        await relay.begin()
        await until_nothing_waits(database)
        relay.stop()
    return await judge(database, kafka), doubts, stops


def demand_a_broker_of_ours(kafka: Kafka) -> None:
    if kafka.broker.kind == "external":
        pytest.skip("an external broker cannot be taken down by a test")


async def test_each_attempt_is_told_at_least_once_and_repeats_are_the_same_bytes(
    database: str, kafka: Kafka, tmp_path: Path
) -> None:
    """Killed after the acknowledgement, and the broker away: nothing is lost, whatever comes twice is the same."""
    demand_a_broker_of_ours(kafka)
    heard, doubts, stops = await storm(database, kafka, tmp_path)
    longest = max(stops)
    figure(
        "R10",
        broker=kafka.broker.kind,
        rounds=ROUNDS,
        attempts=heard.attempts,
        missing=heard.missing,
        repeats=heard.repeats,
        altered=heard.altered,
        in_doubt=doubts,
        longest_stop_milliseconds=round(longest * 1000),
    )
    assert (heard.missing, heard.altered) == (0, 0)
    assert (heard.repeats > 0, doubts > 0) == (True, True)  # the faults fired
    assert not FULL or longest <= STOP_WITHIN_SECONDS


@pytest.mark.parametrize("build", [MARKS_FIRST, *(["rendered_anew"] if FULL else [])])
async def test_a_relay_that_marks_or_renders_at_the_wrong_time_is_caught(
    database: str, kafka: Kafka, tmp_path: Path, build: str
) -> None:
    """Controls: marked before it was sent, a receipt is lost with the broker; rendered anew, a repeat differs."""
    demand_a_broker_of_ours(kafka)
    heard, _, _ = await storm(database, kafka, tmp_path, build)
    figure("R10", control=build, missing=heard.missing, altered=heard.altered)
    assert (heard.missing if build == MARKS_FIRST else heard.altered) > 0


async def left_behind(kafka: Kafka) -> int:
    """Tasks that publishes in doubt leave at work while the broker is away."""
    quiet = len(asyncio.all_tasks())
    section = KafkaSection(bootstrap_servers=kafka.bootstrap, topic_prefix=kafka.prefix, publish_timeout_seconds=1)
    outlet = Outlet(section)
    async with asyncio.timeout(PATIENCE):  # a broker that has just come back takes its time
        while True:
            with contextlib.suppress(PublishInDoubt):
                await outlet.publish(0, [("receipts", "k", b"before")])
                break
    kafka.broker.down()
    try:
        for _ in range(size(3, 10)):
            with pytest.raises(PublishInDoubt):
                await outlet.publish(0, [("receipts", "k", b"during")])
        for _ in range(50):
            if len(asyncio.all_tasks()) <= quiet:
                break
            await asyncio.sleep(0.1)
        left = len(asyncio.all_tasks()) - quiet
    finally:
        kafka.broker.up()
    await outlet.stop()
    return left


async def test_an_outage_leaves_no_producer_behind(kafka: Kafka) -> None:
    """After each publish in doubt nothing of its client is left at work, neither its sender nor its connections."""
    demand_a_broker_of_ours(kafka)
    assert await left_behind(kafka) <= 0


async def test_an_outlet_that_flushes_what_is_in_doubt_is_caught(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a producer that is only asked to stop goes on for as long as the broker is away."""
    demand_a_broker_of_ours(kafka)
    monkeypatch.setattr(Outlet, "_abandon", Outlet._drop)
    assert await left_behind(kafka) > 0
