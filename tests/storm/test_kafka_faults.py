"""R9: Kafka goes away, hangs, forgets members and refuses commits; consumption goes on, or the process ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, KafkaError

from gateway.app import EXIT_STALLED
from gateway.kafka import Inbox
from gateway.loop import Loop
from tests.conftest import Kafka
from tests.storm.relay.gateway import configured
from tests.storm.relay.topic import PATIENCE
from tests.storm.scale import FULL, SEED, figure, size
from tests.unit.test_kafka import Desk, opened, put, section
from tests.world.broker import PARTITIONS, listens
from tests.world.kafka_jvm import JvmBroker
from tests.world.processes import Child, ChildError, python_module

ROUNDS = size(1, 4)
SHORTEST_DOWN, LONGEST_DOWN = size(2, 3), size(3, 60)
RESUME_WITHIN_SECONDS = 30
EXIT_WITHIN_SECONDS = 60
COMMITS_REFUSED_ONE_IN = 3  # of each consumer, its second first


async def put_however_long_it_takes(kafka: Kafka, value: bytes, partition: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(Exception):  # the broker has only just come back
                async with asyncio.timeout(10):
                    await put(kafka, "batches", value, partition=partition)
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def at_work(kafka: Kafka, desk: Desk) -> AsyncIterator[None]:
    """One gateway's consumer in its loop, as the application runs it."""
    async with opened(kafka, desk) as inbox:
        loop = Loop(lambda name, error: None)
        loop.add("kafka", inbox.step, 0)
        try:
            yield
        finally:
            await loop.stop(5)


class NobodysToCatchError(Exception):
    """A commit that Kafka refused, as it leaves the broken build."""


class EndsWithItsCommit(Inbox):
    """The build in which a refused commit is nobody's to catch."""

    async def _commit(self, consumer: AIOKafkaConsumer, partition: Any, offset: int) -> None:
        try:
            await consumer.commit({partition: offset})
        except KafkaError as refused:
            raise NobodysToCatchError from refused


@asynccontextmanager
async def at_work_once(kafka: Kafka, desk: Desk) -> AsyncIterator[asyncio.Task[None]]:
    """That build in a group of its own, in a task that goes on after every failure but that one; the task."""
    inbox = EndsWithItsCommit(section(kafka, group=f"{kafka.prefix}once"), desk.handlers(), desk.refuse)

    async def read() -> None:
        while True:
            try:
                await inbox.step()
            except NobodysToCatchError:
                raise
            except Exception:  # a broker that takes its time must not be what ends the control
                await asyncio.sleep(0.1)

    task = asyncio.create_task(read())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await inbox.stop()


async def goes_away(kafka: Kafka, seconds: float) -> None:
    """It is back when it listens: how long a broker takes to start is not our doing."""
    kafka.broker.down()
    try:
        await asyncio.sleep(seconds)
    finally:
        kafka.broker.up()
    async with asyncio.timeout(PATIENCE):
        while not await listens(kafka.bootstrap):
            await asyncio.sleep(0.02)


async def hangs(kafka: Kafka, seconds: float) -> None:
    """Connections stay and nothing answers: heartbeats and commits run out of time."""
    assert isinstance(kafka.broker, JvmBroker)
    kafka.broker.suspend()
    try:
        await asyncio.sleep(seconds)
    finally:
        kafka.broker.resume()


async def members_come_and_go(kafka: Kafka, seconds: float, desk: Desk) -> None:
    """Two more gateways join, work, and leave again."""
    for _ in range(2):
        async with at_work(kafka, desk):
            await asyncio.sleep(seconds / 2)


def faults(kafka: Kafka, desk: Desk) -> dict[str, Callable[[float], Any]]:
    known: dict[str, Callable[[float], Any]] = {}
    if kafka.broker.kind != "external":
        known["goes away"] = lambda seconds: goes_away(kafka, seconds)
    if isinstance(kafka.broker, JvmBroker):
        known["hangs"] = lambda seconds: hangs(kafka, seconds)
    if kafka.limits.several_consumers:
        known["members come and go"] = lambda seconds: members_come_and_go(kafka, seconds, desk)
    return known


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Counter[AIOKafkaConsumer]:
    """Every third commit of each consumer is refused; how often, by consumer."""
    asked: Counter[AIOKafkaConsumer] = Counter()
    found: Counter[AIOKafkaConsumer] = Counter()
    commit = AIOKafkaConsumer.commit

    async def unreliable(self: AIOKafkaConsumer, offsets: Any = None) -> None:
        asked[self] += 1
        if asked[self] % COMMITS_REFUSED_ONE_IN == 2:
            found[self] += 1
            raise CommitFailedError
        await commit(self, offsets)

    monkeypatch.setattr(AIOKafkaConsumer, "commit", unreliable)
    return found


async def until_read(desk: Desk, sent: set[bytes]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not sent <= set(desk.values()):
            await asyncio.sleep(0.05)


async def weather(kafka: Kafka, desk: Desk, rounds: int, *names: str) -> tuple[set[bytes], dict[str, float]]:
    """Every fault (or those named) in turn; what was sent meanwhile, and how many seconds after the end of the fault
    ``desk`` had it. They hold the reader's way back to the broker, and the writer's, who can only make them more."""
    chance = random.Random(SEED)
    resumed: dict[str, float] = {}
    sent: set[bytes] = set()
    for number in range(rounds):
        for name, fault in faults(kafka, desk).items():
            if names and name not in names:
                continue
            before = b"before %d %s" % (number, name.encode())
            await put_however_long_it_takes(kafka, before, number % PARTITIONS)
            await fault(chance.uniform(SHORTEST_DOWN, LONGEST_DOWN))
            begun = time.monotonic()
            sent.add(before)
            for partition in range(PARTITIONS):
                value = b"after %d %s %d" % (number, name.encode(), partition)
                await put_however_long_it_takes(kafka, value, partition)
                sent.add(value)
            await until_read(desk, sent)
            resumed[name] = max(resumed.get(name, 0), time.monotonic() - begun)
    return sent, resumed


async def test_consumption_goes_on_after_whatever_kafka_does(kafka: Kafka, refused: Counter[AIOKafkaConsumer]) -> None:
    """Away, hanging, members joining and leaving, commits refused: each record is handled, and work goes on."""
    desk = Desk()
    async with at_work(kafka, desk):
        sent, resumed = await weather(kafka, desk, ROUNDS)
    figure(
        "R9",
        broker=kafka.broker.kind,
        rounds=ROUNDS,
        records=len(sent),
        commits_refused=refused.total(),
        resumed_milliseconds={name: round(seconds * 1000) for name, seconds in resumed.items()},
    )
    assert set(desk.values()) == sent
    assert refused.total() > 0
    assert not FULL or max(resumed.values()) <= RESUME_WITHIN_SECONDS


async def test_a_consumer_that_ends_with_its_commit_is_caught(kafka: Kafka, refused: Counter[AIOKafkaConsumer]) -> None:
    """The control: beside a sound reader that goes on, the broken one ends, and what comes later it never has."""
    sound, broken = Desk(), Desk()
    async with at_work(kafka, sound), at_work_once(kafka, broken) as task:
        await weather(kafka, sound, 1, *(["goes away"] if kafka.broker.kind != "external" else []))
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done()
        assert isinstance(task.exception(), NobodysToCatchError)
        await put_however_long_it_takes(kafka, b"the last one", 0)
        await until_read(sound, {b"the last one"})
        figure("R9", control="ends with its commit", read=len(set(broken.values())), of=len(set(sound.values())))
    assert b"the last one" not in broken.values()


async def stalled_gateway(kafka: Kafka, database: str, directory: Path, *options: str) -> tuple[Child, float]:
    """A gateway that has taken one record, stands still and has others waiting; and since when (real, never money)."""
    # The whole row leaves stall_seconds at its default: it is the default's promise.
    sections = {"kafka": {} if FULL else {"stall_seconds": 5}, "timing": {"watch_milliseconds": 300}}
    config, _ = configured(kafka, database, directory, sections)
    child = Child("gateway", python_module("tests.storm.relay.stalled", config, *options), directory)
    child.start()
    await put_however_long_it_takes(kafka, b"first", 0)
    async with asyncio.timeout(PATIENCE):
        while b"message refused" not in child.output.read_bytes() + child.errors.read_bytes():
            if not child.running:
                raise ChildError(child.last_words())
            await asyncio.sleep(0.05)
    await put_however_long_it_takes(kafka, b"second", 0)
    return child, time.monotonic()


async def test_a_process_whose_consumer_stands_still_ends(kafka: Kafka, database: str, tmp_path: Path) -> None:
    """Records wait and the consumer brings none: the look from outside ends the process, to be started again."""
    child, since = await stalled_gateway(kafka, database, tmp_path)
    try:
        async with asyncio.timeout(PATIENCE):
            while child.running:
                await asyncio.sleep(0.05)
        took = time.monotonic() - since
        figure("R9", what="stalled", default=FULL, exit_milliseconds=round(took * 1000))
        assert child.returncode == EXIT_STALLED
        assert not FULL or took <= EXIT_WITHIN_SECONDS
    finally:
        child.kill()


async def test_without_the_look_from_outside_it_stands_still_for_ever(
    kafka: Kafka, database: str, tmp_path: Path
) -> None:
    """The control: the same process without the watchdog is still there long after, and nothing is read."""
    child, _ = await stalled_gateway(kafka, database, tmp_path, "--no-watchdog")
    try:
        await asyncio.sleep(size(10, EXIT_WITHIN_SECONDS + 10))
        assert child.running
        figure("R9", control="no watchdog", ended=False)
    finally:
        child.kill()
