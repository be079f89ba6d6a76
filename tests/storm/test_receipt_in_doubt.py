"""R10: a receipt whose acknowledgement was not heard goes again, byte for byte; nobody waits long for a lost broker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
from tests.storm.relay.gateway import configured, until_ready
from tests.storm.relay.topic import PATIENCE, RelayProcess, relay_process, whole_topic
from tests.storm.scale import FULL, figure, size
from tests.world.kafka_jvm import JvmBroker
from tests.world.processes import Child, python_module

ROUNDS = size(1, 20)
RECEIPTS_OF_A_ROUND = 8
DOWN_SECONDS = size(3, 10)
STOP_WITHIN_SECONDS = 10
MARKS_FIRST = "marked_before_sent"
# How long the broker is away, or hangs, before the gateway is asked to end: in the first publish, between two of them,
# in a look at the lag, when the client has given the broker up.
MOMENTS = {"hangs": size((1.0,), (0.3, 1.0, 3.0, 9.0, 17.0, 25.0)), "goes away": size((1.0,), (0.3, 3.0, 9.0, 17.0))}
GIVES_EACH_CALL_ITS_TIME = "tests.storm.broken.gives_each_call_its_time"


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
    async with asyncio.timeout(PATIENCE):
        while await waiting(dsn):
            await asyncio.sleep(0.05)


async def waiting(dsn: str) -> int:
    """How many receipts have not been acknowledged, by the books."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))
    finally:
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


def demand_that_it_can_be_struck(kafka: Kafka, fault: str) -> None:
    demand_a_broker_of_ours(kafka)
    if fault == "hangs" and not isinstance(kafka.broker, JvmBroker):
        pytest.skip("only a process of ours can be made to stand still")
    if fault == "goes away" and not FULL and isinstance(kafka.broker, JvmBroker):
        pytest.skip("half a minute until it is back: make storm-row ROW=receipt_in_doubt")


@asynccontextmanager
async def struck(kafka: Kafka, fault: str) -> AsyncIterator[None]:
    """The broker hangs with all its connections, or is away."""
    stop, go_on = kafka.broker.down, kafka.broker.up
    if fault == "hangs":
        assert isinstance(kafka.broker, JvmBroker)
        stop, go_on = kafka.broker.suspend, kafka.broker.resume
    stop()
    try:
        yield
    finally:
        go_on()


async def stops_with_receipts_waiting(
    database: str, kafka: Kafka, directory: Path, fault: str, moments: Sequence[float], module: str = "gateway"
) -> list[tuple[int, float]]:
    """SIGTERM to whole gateways so long after the fault began; their status and the real seconds each needed."""
    config, port = configured(kafka, database, directory)
    child = Child("gateway", python_module(module, "run", "--config", config), directory)
    stops = []
    try:
        for number, moment in enumerate(moments):
            child.start()
            await until_ready(child, port)
            await end_attempts(database, 2 * number * RECEIPTS_OF_A_ROUND)
            await until_nothing_waits(database)  # so that it has a producer, as in any hour of its life
            async with struck(kafka, fault):
                await end_attempts(database, (2 * number + 1) * RECEIPTS_OF_A_ROUND)
                await asyncio.sleep(moment)
                begun = time.monotonic()
                stops.append((await asyncio.to_thread(child.stop, 60), time.monotonic() - begun))
                assert await waiting(database) == RECEIPTS_OF_A_ROUND, "it did not wait for Kafka: nothing is proved"
        child.start()
        await until_nothing_waits(database)
    finally:
        child.kill()
    return stops


@pytest.mark.parametrize("fault", MOMENTS)
async def test_a_gateway_that_is_asked_to_end_without_kafka_ends_in_time(
    database: str, kafka: Kafka, tmp_path: Path, fault: str
) -> None:
    """The whole program with its defaults, receipts of several lanes waiting: status 0 within 10 s, nothing is lost."""
    demand_that_it_can_be_struck(kafka, fault)
    stops = await stops_with_receipts_waiting(database, kafka, tmp_path, fault, MOMENTS[fault])
    heard = await judge(database, kafka)
    stop_milliseconds = [round(seconds * 1000) for _, seconds in stops]
    figure(
        "R10", whole_gateway=fault, stop_milliseconds=stop_milliseconds, missing=heard.missing, altered=heard.altered
    )
    assert [status for status, _ in stops] == [0] * len(stops)
    assert (heard.missing, heard.altered) == (0, 0)
    assert max(seconds for _, seconds in stops) <= STOP_WITHIN_SECONDS


@pytest.mark.skipif(not FULL, reason="half a minute more: make storm-row ROW=receipt_in_doubt")
async def test_a_gateway_that_gives_each_call_its_own_time_is_caught(
    database: str, kafka: Kafka, tmp_path: Path
) -> None:
    """The control: the same program, in which one call after another has its whole patience, ends too late."""
    demand_that_it_can_be_struck(kafka, "hangs")
    stops = await stops_with_receipts_waiting(database, kafka, tmp_path, "hangs", (1.0,), GIVES_EACH_CALL_ITS_TIME)
    figure("R10", control="gives each call its time", stop_milliseconds=round(stops[0][1] * 1000))
    assert stops[0][1] > STOP_WITHIN_SECONDS


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
