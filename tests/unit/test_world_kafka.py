"""What a real Kafka must do beyond the embedded one; skipped, with the reason, where only the embedded one is there."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.conftest import Kafka
from tests.world.kafka_jvm import JvmBroker


def member(kafka: Kafka) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        kafka.topic("batches"),
        bootstrap_servers=kafka.bootstrap,
        group_id=kafka.prefix,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


async def test_records_come_back_on_whatever_kafka_there_is(kafka: Kafka) -> None:
    """The session's broker takes a record under a test's own prefix and gives it back byte for byte."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait(kafka.topic("batches"), b"value", key=b"k", headers=[("jws", b"a..b")])
    consumer = member(kafka)
    await consumer.start()
    record = await asyncio.wait_for(consumer.getone(), 20)
    assert (record.value, record.key, list(record.headers)) == (b"value", b"k", [("jws", b"a..b")])
    await consumer.stop()
    await producer.stop()


async def test_two_members_share_a_group(kafka: Kafka) -> None:
    """Partitions are divided between two gateway processes."""
    if not kafka.limits.several_consumers:
        pytest.skip(kafka.limits.reason)
    first, second = member(kafka), member(kafka)
    await first.start()
    await second.start()
    async with asyncio.timeout(60):
        while not (first.assignment() and second.assignment() and first.assignment().isdisjoint(second.assignment())):
            await asyncio.gather(first.getmany(timeout_ms=200), second.getmany(timeout_ms=200))
    assert len(first.assignment() | second.assignment()) > 1
    await second.stop()
    await first.stop()


async def test_records_survive_the_brokers_crash(kafka: Kafka) -> None:
    """SIGKILL of the broker and a new start: the record is still there, under the same address."""
    if not (kafka.limits.survives_restart and isinstance(kafka.broker, JvmBroker)):
        pytest.skip(kafka.limits.reason or "this broker is not ours to kill")
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True, acks="all")
    await producer.start()
    await producer.send_and_wait(kafka.topic("batches"), b"kept")
    await producer.stop()
    kafka.broker.kill()
    kafka.broker.start()
    consumer = member(kafka)
    await consumer.start()
    assert (await asyncio.wait_for(consumer.getone(), 60)).value == b"kept"
    await consumer.stop()
