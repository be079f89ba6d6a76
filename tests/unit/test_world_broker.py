"""The embedded broker does what the gateway needs of it, and its limits are the measured ones."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.world import broker, kafka_jvm
from tests.world.broker import EMBEDDED_LIMITS, KAFKA_IMAGE, EmbeddedBroker, ExternalBroker, select_broker
from tests.world.kafka_jvm import POM, class_path
from tests.world.processes import PROJECT, ChildError

BATCHES = TopicPartition("payout.batches", 0)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def consumer(broker: EmbeddedBroker) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        BATCHES.topic,
        bootstrap_servers=broker.bootstrap,
        group_id="gateway",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=2_000,  # this broker lets a group rebalance only one second short of it
        heartbeat_interval_ms=500,
    )


async def read(reader: AIOKafkaConsumer, count: int) -> list[tuple[int, bytes, tuple[tuple[str, bytes], ...]]]:
    found: list[tuple[int, bytes, tuple[tuple[str, bytes], ...]]] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for records in (await reader.getmany(timeout_ms=200)).values():
                found += [(record.offset, record.value, tuple(record.headers)) for record in records]
    return found


async def test_idempotent_producer_headers_and_explicit_offsets_work(embedded: EmbeddedBroker) -> None:
    """A restarted consumer goes on at the committed offset; values and headers arrive byte for byte."""
    producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap, enable_idempotence=True, acks="all")
    await producer.start()
    for n in range(4):
        await producer.send_and_wait(BATCHES.topic, b"part %d" % n, partition=0, headers=[("jws", b"\x00\xff")])
    first = consumer(embedded)
    await first.start()
    assert (await read(first, 4))[2] == (2, b"part 2", (("jws", b"\x00\xff"),))
    await first.commit({BATCHES: 2})
    await first.stop()
    second = consumer(embedded)
    await second.start()
    assert [offset for offset, _, _ in await read(second, 2)] == [2, 3]
    await second.stop()
    await producer.stop()


async def test_down_refuses_and_up_brings_everything_back(embedded: EmbeddedBroker) -> None:
    """While the broker is down nothing is acknowledged; afterwards the old records are still there."""
    producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap, enable_idempotence=True, retry_backoff_ms=50)
    await producer.start()
    await producer.send_and_wait(BATCHES.topic, b"before", partition=0)
    embedded.down()
    pending = asyncio.ensure_future(await producer.send(BATCHES.topic, b"during", partition=0))
    await asyncio.sleep(0.5)
    assert not pending.done()
    embedded.up()
    await asyncio.wait_for(pending, 20)
    reader = consumer(embedded)
    await reader.start()
    assert [value for _, value, _ in await read(reader, 2)] == [b"before", b"during"]
    await reader.stop()
    await producer.stop()


async def test_older_records_vanish_beyond_the_bound_that_the_limits_state(embedded: EmbeddedBroker) -> None:
    """More than 5 MiB in one partition silently loses the oldest: the guard of the demo rests on this figure."""
    producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap, enable_idempotence=True)
    await producer.start()
    record = b"x" * 500_000
    for _ in range(EMBEDDED_LIMITS.bytes_kept // len(record) + 2):
        await producer.send_and_wait(BATCHES.topic, record, partition=0)
    reader = AIOKafkaConsumer(bootstrap_servers=embedded.bootstrap)
    await reader.start()
    kept = (await reader.end_offsets([BATCHES]))[BATCHES] - (await reader.beginning_offsets([BATCHES]))[BATCHES]
    assert 1 <= kept * len(record) <= EMBEDDED_LIMITS.bytes_kept
    await reader.stop()
    await producer.stop()


def test_the_environment_chooses_the_broker(tmp_path: Path) -> None:
    """A named cluster wins; a named kind is taken; nonsense is refused."""
    given = select_broker(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"})
    assert isinstance(given, ExternalBroker)
    assert given.bootstrap == "kafka:9092"
    assert select_broker(tmp_path, {"KAFKA": "embedded", "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}).kind == "embedded"
    with pytest.raises(ChildError, match="KAFKA_BOOTSTRAP_SERVERS"):
        select_broker(tmp_path, {"KAFKA": "external"})
    with pytest.raises(ChildError, match="external, docker, jvm or embedded"):
        select_broker(tmp_path, {"KAFKA": "redis"})


def test_a_maven_that_does_not_end_is_a_kafka_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever chooses a broker then takes another one, as where Maven says by itself that it cannot."""

    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ChildError, match="within 600 s"):
        class_path(tmp_path / "none" / "class-path.txt")
    monkeypatch.setattr(kafka_jvm, "jvm_is_there", lambda: True)
    monkeypatch.setattr(kafka_jvm, "class_path", lambda: class_path(tmp_path / "none" / "class-path.txt"))
    monkeypatch.setattr(broker, "engine_answers", lambda: False)
    assert select_broker(tmp_path, {}).kind == "embedded"


def test_every_way_to_apache_kafka_leads_to_one_version() -> None:
    """The jars of the pom, the container of the tests and the one of docker-compose.yml are the same release."""
    namespace = {"m": "http://maven.apache.org/POM/4.0.0"}
    (version,) = (
        one.findtext("m:version", None, namespace)
        for one in ElementTree.parse(POM).getroot().iterfind(".//m:dependency", namespace)
        if one.findtext("m:artifactId", None, namespace) == "kafka_2.13"
    )
    images = {
        line.split("image:")[1].strip()
        for line in (PROJECT / "docker-compose.yml").read_text().splitlines()
        if "apache/kafka" in line
    }
    assert f"apache/kafka:{version}" == KAFKA_IMAGE
    assert images == {KAFKA_IMAGE}
