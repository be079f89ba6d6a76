"""Kafka in and out on a real broker: offsets after the work, nothing skipped, nothing said to be sent that may not be.

Each test has topics and a consumer group of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from gateway.config import KafkaSection
from gateway.kafka import Inbox, Outlet
from gateway.receipts import PublishInDoubt
from gateway.store.batches import Stored
from schemas.codec import Refused
from schemas.v1 import Kind, RefusalReason
from tests.conftest import Kafka

PATIENCE = 60


def section(kafka: Kafka, **more: Any) -> KafkaSection:
    facts: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "group": kafka.prefix + "gateway",
        "topic_prefix": kafka.prefix,
        "max_record_bytes": 10_000,
        "publish_timeout_seconds": 5,
        "session_timeout_seconds": 6,
    }
    return KafkaSection(**{**facts, **more})


@dataclass
class Desk:
    """The steps behind the inbox: keeps what it was given, answers by script."""

    taken: list[tuple[Kind, bytes, bytes | None]] = field(default_factory=list)
    refusals: list[tuple[Kind, bytes, RefusalReason]] = field(default_factory=list)
    answer: Callable[[bytes], Stored] = lambda raw: Stored()

    def handlers(self) -> dict[Kind, Any]:
        def handler(kind: Kind) -> Any:
            async def take(raw: bytes, signature: bytes | None) -> Stored:
                stored = self.answer(raw)
                self.taken.append((kind, raw, signature))
                return stored

            return take

        return {kind: handler(kind) for kind in (Kind.BATCH, Kind.FUNDING, Kind.ORDER)}

    async def refuse(self, kind: Kind, raw: bytes, reason: RefusalReason, detail: str) -> None:
        self.refusals.append((kind, raw, reason))

    def values(self) -> list[bytes]:
        return [raw for _, raw, _ in self.taken]


@asynccontextmanager
async def opened(kafka: Kafka, desk: Desk, **more: Any) -> AsyncIterator[Inbox]:
    inbox = Inbox(section(kafka, **more), desk.handlers(), desk.refuse)
    try:
        yield inbox
    finally:
        await inbox.stop()


async def put(kafka: Kafka, topic: str, *values: bytes, partition: int = 0, headers: Any = ()) -> None:
    """Publish together, so that a consumer fetches them together."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=5_000_000, linger_ms=50)
    await producer.start()
    sent = [
        await producer.send(kafka.topic(topic), value, partition=partition, headers=list(headers)) for value in values
    ]
    await asyncio.gather(*sent)
    await producer.stop()


async def until(step: Callable[[], Any], done: Callable[[], bool], *, failures: bool = False) -> None:
    """Turns of a step, as the loop makes them, until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not done():
            try:
                await step()
            except Exception:
                if not failures:
                    raise
                await asyncio.sleep(0.05)


async def committed(inbox: Inbox, kafka: Kafka, topic: str, partition: int = 0) -> int | None:
    consumer: AIOKafkaConsumer = await inbox._connected()
    offset: int | None = await consumer.committed(TopicPartition(kafka.topic(topic), partition))
    return offset


async def published(kafka: Kafka, topic: str, count: int) -> list[tuple[bytes, bytes]]:
    reader = AIOKafkaConsumer(kafka.topic(topic), bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await reader.start()
    found: list[tuple[bytes, bytes]] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            for records in (await reader.getmany(timeout_ms=200)).values():
                found += [(record.key, record.value) for record in records]
    await reader.stop()
    return found


async def test_what_waits_before_the_first_start_is_read_with_its_signature(kafka: Kafka) -> None:
    """A new group begins at the beginning; each topic has its handler; the signature comes along byte for byte."""
    await put(kafka, "batches", b"part", headers=[("jws", b"a..b"), ("other", b"x")])
    await put(kafka, "funding", b"money", partition=1)
    await put(kafka, "orders", b"order", partition=2, headers=[("jws", b"c..d")])
    desk = Desk()
    async with opened(kafka, desk) as inbox:
        await until(inbox.step, lambda: len(desk.taken) == 3)
        assert sorted(desk.taken, key=str) == sorted(
            [(Kind.BATCH, b"part", b"a..b"), (Kind.FUNDING, b"money", None), (Kind.ORDER, b"order", b"c..d")], key=str
        )
        assert await inbox.lag() == 0


async def test_the_offset_is_committed_after_the_handler_and_not_before(kafka: Kafka) -> None:
    """While a handler works its record is not committed; afterwards it is, and a restarted process goes on there."""
    await put(kafka, "batches", b"one", b"two")
    desk = Desk()
    seen: list[int | None] = []
    async with opened(kafka, desk) as inbox:
        handle = inbox._one

        async def watched(kind: Kind, record: Any) -> None:
            seen.append(await committed(inbox, kafka, "batches"))
            await handle(kind, record)

        inbox._one = watched  # type: ignore[method-assign]
        await until(inbox.step, lambda: len(desk.taken) == 2)
        assert set(seen) <= {None, 0, 1}
        assert await committed(inbox, kafka, "batches") == 2
    await put(kafka, "batches", b"three")
    again = Desk()
    async with opened(kafka, again) as inbox:
        await until(inbox.step, lambda: bool(again.taken))
    assert again.values() == [b"three"]


async def test_a_failing_handler_gets_its_record_again_and_none_is_skipped(kafka: Kafka) -> None:
    """The database is away at the third record: what went before is committed, the third comes again, all in order."""
    await put(kafka, "batches", *(b"%d" % n for n in range(6)))
    desk = Desk()
    failing = [OSError, TimeoutError]

    def answer(raw: bytes) -> Stored:
        if raw == b"2" and failing:
            raise failing.pop()
        return Stored()

    desk.answer = answer
    async with opened(kafka, desk) as inbox:
        with pytest.raises((OSError, TimeoutError)):
            await until(inbox.step, lambda: len(desk.taken) == 6)
        assert await committed(inbox, kafka, "batches") == 2
        await until(inbox.step, lambda: len(desk.taken) == 6, failures=True)
        assert desk.values() == [b"%d" % n for n in range(6)]
        assert await committed(inbox, kafka, "batches") == 6


async def test_a_failure_on_one_partition_loses_nothing_of_the_others(kafka: Kafka) -> None:
    """Fetched together with a record that fails: the records of the other partitions are handled, each once."""
    for partition in range(4):
        await put(kafka, "batches", b"a%d" % partition, b"b%d" % partition, partition=partition)
    desk = Desk()
    failing = [OSError] * 6

    def answer(raw: bytes) -> Stored:
        if raw.startswith(b"a") and failing:
            raise failing.pop()
        return Stored()

    desk.answer = answer
    async with opened(kafka, desk) as inbox:
        await until(inbox.step, lambda: len(desk.taken) == 8, failures=True)
        assert sorted(desk.values()) == sorted(b"%s%d" % (name, p) for name in (b"a", b"b") for p in range(4))
        for partition in range(4):
            assert await committed(inbox, kafka, "batches", partition) == 2


async def test_a_cancelled_handler_s_record_is_not_committed(kafka: Kafka) -> None:
    """SIGTERM in the middle: the record was not done, and the next process gets it."""
    await put(kafka, "batches", b"one", b"two")
    begun = asyncio.Event()
    desk = Desk()

    async def stuck(raw: bytes, signature: bytes | None) -> Stored:
        if raw == b"two":
            begun.set()
            await asyncio.Event().wait()
        return Stored()

    inbox = Inbox(section(kafka), {**desk.handlers(), Kind.BATCH: stuck}, desk.refuse)
    turn = asyncio.create_task(until(inbox.step, lambda: False))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert await committed(inbox, kafka, "batches") == 1
    await inbox.stop()
    async with opened(kafka, desk) as successor:
        await until(successor.step, lambda: bool(desk.taken))
    assert desk.values() == [b"two"]


async def test_what_is_not_believed_is_answered_and_passed(kafka: Kafka) -> None:
    """Refused by raising or by the books: one answer each, committed, and the next record is taken."""
    await put(kafka, "batches", b"raises", b"stored", b"good")
    await put(kafka, "batches", b"twice", headers=[("jws", b"a"), ("jws", b"b")])
    desk = Desk()

    def answer(raw: bytes) -> Stored:
        if raw == b"raises":
            raise Refused(RefusalReason.UNSIGNED, "no signature header")
        return Stored(refused=RefusalReason.CONFLICTING_CONTENT) if raw == b"stored" else Stored()

    desk.answer = answer
    async with opened(kafka, desk) as inbox:
        await until(inbox.step, lambda: len(desk.refusals) == 3)
        assert desk.refusals == [
            (Kind.BATCH, b"raises", RefusalReason.UNSIGNED),
            (Kind.BATCH, b"stored", RefusalReason.CONFLICTING_CONTENT),
            (Kind.BATCH, b"twice", RefusalReason.BAD_SIGNATURE),
        ]
        assert b"good" in desk.values()
        assert await committed(inbox, kafka, "batches") == 4


async def test_a_refusal_that_could_not_be_kept_is_not_passed(kafka: Kafka) -> None:
    """If the answer cannot be written down, the record is not done: it comes again until its answer is kept."""
    await put(kafka, "orders", b"bad", b"next")
    desk = Desk()
    broken = [OSError]
    desk.answer = lambda raw: Stored(refused=RefusalReason.NOT_FAILED) if raw == b"bad" else Stored()
    refuse = desk.refuse

    async def unreliable(kind: Kind, raw: bytes, reason: RefusalReason, detail: str) -> None:
        if broken:
            raise broken.pop()
        await refuse(kind, raw, reason, detail)

    inbox = Inbox(section(kafka), desk.handlers(), unreliable)
    await until(inbox.step, lambda: len(desk.taken) == 3, failures=True)
    await inbox.stop()
    assert (desk.values(), len(desk.refusals)) == ([b"bad", b"bad", b"next"], 1)


async def test_an_oversize_record_is_answered_without_being_read(kafka: Kafka) -> None:
    """Larger than records may be, by a byte or by far: OVERSIZE, never handed to a step, and the next one is taken."""
    await put(kafka, "batches", b"x" * 10_001, b"y" * 300_000, b"z" * 10_000)
    desk = Desk()
    async with opened(kafka, desk) as inbox:
        await until(inbox.step, lambda: bool(desk.taken))
    assert [(raw[:1], reason) for _, raw, reason in desk.refusals] == [
        (b"x", RefusalReason.OVERSIZE),
        (b"y", RefusalReason.OVERSIZE),
    ]
    assert desk.values() == [b"z" * 10_000]


async def test_a_tombstone_is_an_unreadable_message_and_no_fault(kafka: Kafka) -> None:
    """A record without a value reaches its handler as nothing, which is refused like any other."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    await producer.send_and_wait(kafka.topic("batches"), None, key=b"k", partition=0)
    await producer.stop()
    desk = Desk()
    async with opened(kafka, desk) as inbox:
        await until(inbox.step, lambda: bool(desk.taken))
    assert desk.values() == [b""]


async def test_a_broker_that_goes_away_comes_back_to_the_same_place(kafka: Kafka) -> None:
    """Down and up again: nothing is lost, nothing is handled before it is there, and work goes on by itself."""
    if kafka.broker.kind == "external":
        pytest.skip("an external broker cannot be taken down by a test")
    await put(kafka, "batches", b"before")
    desk = Desk()
    async with opened(kafka, desk) as inbox:
        await until(inbox.step, lambda: bool(desk.taken))
        kafka.broker.down()
        try:
            for _ in range(3):
                try:
                    await inbox.step()
                except (KafkaError, OSError, TimeoutError):
                    break
        finally:
            kafka.broker.up()
        sending: list[bytes] = []

        async def send() -> None:
            await put(kafka, "batches", b"after")
            sending.append(b"after")

        await until(send, lambda: bool(sending), failures=True)
        await until(inbox.step, lambda: b"after" in desk.values(), failures=True)
        assert set(desk.values()) == {b"before", b"after"}


async def test_a_consumer_that_stands_still_although_records_wait_says_so(kafka: Kafka) -> None:
    """Stalled: records wait, none comes, no handler is at work. Idle or busy is not stalled."""
    desk = Desk()
    async with opened(kafka, desk, stall_seconds=5) as inbox:
        before = (inbox.stalled, inbox.ready)
        await inbox.step()
        assert (before, inbox.ready) == ((False, False), True)
        await put(kafka, "batches", b"one", b"two")
        async with asyncio.timeout(PATIENCE):
            while await inbox.lag() < 2:
                await asyncio.sleep(0.05)
        assert not inbox.stalled
        inbox._progress_at -= 6
        verdicts = [inbox.stalled]
        for busy in (True, False):
            inbox._busy = busy
            verdicts.append(inbox.stalled)
        assert verdicts == [True, False, True]
        await until(inbox.step, lambda: len(desk.taken) == 2)
        assert not inbox.stalled
        inbox._progress_at -= 6
        assert await inbox.lag() == 0
        assert not inbox.stalled


async def test_time_without_kafka_is_not_time_stood_still(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage longer than the limit does not end a sound process at Kafka's first answer: it counts from then."""
    async with opened(kafka, Desk(), stall_seconds=5) as inbox:
        await inbox.step()
        consumer = await inbox._connected()
        inbox._progress_at -= 6
        assert inbox.stalled

        async def unanswered(partitions: Any) -> None:
            raise KafkaConnectionError

        with monkeypatch.context() as away:
            away.setattr(consumer, "end_offsets", unanswered)
            with pytest.raises(KafkaConnectionError):
                await inbox.lag()
        assert not inbox.stalled


# -- out


async def test_records_are_published_in_order_with_key_and_bytes(kafka: Kafka) -> None:
    """What publish returned for is there: in order, byte for byte, under its key and topic."""
    outlet = Outlet(section(kafka))
    records = [("receipts", "issuer/batch", b"\x00\xff%d" % n) for n in range(20)]
    await outlet.publish(3, records)
    await outlet.publish(3, [("refusals", "other", b"no")])
    await outlet.stop()
    assert await published(kafka, "receipts", 20) == [(b"issuer/batch", value) for _, _, value in records]
    assert await published(kafka, "refusals", 1) == [(b"other", b"no")]


async def test_a_publish_without_acknowledgement_is_in_doubt_and_works_again_later(kafka: Kafka) -> None:
    """With the broker away a publish ends in its time as in doubt; with the broker back the same records go."""
    if kafka.broker.kind == "external":
        pytest.skip("an external broker cannot be taken down by a test")
    outlet = Outlet(section(kafka, publish_timeout_seconds=2))
    await outlet.publish(0, [("receipts", "k", b"one")])
    kafka.broker.down()
    try:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(PublishInDoubt, match="lane 7"):
                await outlet.publish(7, [("receipts", "k", b"two")])
    finally:
        kafka.broker.up()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await outlet.publish(7, [("receipts", "k", b"two")])
                break
            except PublishInDoubt:
                continue
    await outlet.stop()
    values = [value for _, value in await published(kafka, "receipts", 2)]
    assert (values[0], set(values[1:])) == (b"one", {b"two"})


async def test_nobody_there_at_all_is_in_doubt_and_not_a_hang() -> None:
    """A wrong address: in doubt within its time, and stopping such a producer ends as well."""
    nowhere = KafkaSection(bootstrap_servers="127.0.0.1:1", publish_timeout_seconds=1)
    outlet = Outlet(nowhere)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(PublishInDoubt):
            await outlet.publish(0, [("receipts", "k", b"v")])
        await outlet.stop()
        inbox = Inbox(nowhere, {}, Desk().refuse)
        with pytest.raises((KafkaError, OSError, TimeoutError)):
            await inbox.step()
        assert not inbox.ready
        assert await inbox.lag() == 0
        await inbox.stop()


async def test_a_process_that_ends_waits_seconds_for_kafka_and_not_minutes() -> None:
    """Somebody accepts connections and says nothing: hastened, a publish and a start of minutes' patience end soon,
    and what follows is not begun."""

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.release()
        await ended.wait()
        writer.close()

    connected, ended = asyncio.Semaphore(0), asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    patient = KafkaSection(bootstrap_servers=address, publish_timeout_seconds=120, session_timeout_seconds=300)
    outlet, inbox = Outlet(patient), Inbox(patient, {}, Desk().refuse)
    publishing = asyncio.create_task(outlet.publish(0, [("receipts", "k", b"v")]))
    reading = asyncio.create_task(inbox.step())
    for _ in range(2):
        await connected.acquire()
    outlet.hasten()
    inbox.hasten()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(PublishInDoubt):
            await publishing
        with pytest.raises(PublishInDoubt, match="the process ends"):
            await outlet.publish(1, [("receipts", "k", b"v")])
        with pytest.raises((KafkaError, TimeoutError)):
            await reading
        await outlet.stop()
        await inbox.stop()
    ended.set()
    server.close()
