"""Kafka in and out: explicit offsets after the database commit, and a producer that never pretends.

aiokafka's defaults lose messages: ``latest``, auto-commit, ``acks=1``, no idempotence, ``read_uncommitted``. Each is
set against its default here. Measured traps closed here as well: ``commit()`` without arguments commits what was
fetched, not what was processed; an idempotent producer never times out by itself, and ``stop()`` can hang, so every
call has a time limit and a client that missed one is dropped (crash safety makes that legal).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, ProducerClosed

from gateway import metrics
from gateway.approval import signature_header
from gateway.config import KafkaSection
from gateway.kafka_security import KafkaRefused, client_arguments, look_where_it_leads, why_refused
from gateway.log import get_logger
from gateway.patience import Patience
from gateway.receipts import PublishInDoubt
from schemas.codec import Refused
from schemas.v1 import Kind, RefusalReason

log = get_logger("kafka")

Take = Callable[[bytes, bytes | None], Awaitable[Any]]
Refuse = Callable[[Kind, bytes, RefusalReason, str], Awaitable[None]]
TOPICS: Final = {"batches": Kind.BATCH, "funding": Kind.FUNDING, "orders": Kind.ORDER}
_STOP_SECONDS: Final = 3
# What a process that is about to end waits for Kafka, all calls together; since when farewells are brief as well. Of
# those three can follow on each other, which leaves some of the ten seconds that are promised to everything else.
_HASTY_SECONDS: Final = 4
_FAREWELL_SECONDS: Final = 5
_BRIEFLY_SECONDS: Final = 1  # enough for a broker that answers
_POLL_MILLISECONDS: Final = 200
_RECORDS_AT_ONCE: Final = 100
_FETCH_FACTOR: Final = 4  # room for a few of the largest records in one fetch


class Inbox:
    """The consumer: one record at a time to its handler, its offset committed after the database."""

    def __init__(self, section: KafkaSection, handlers: Mapping[Kind, Take], refuse: Refuse) -> None:
        self._section = section
        self._handlers = handlers
        self._refuse = refuse
        self._topics = {section.topic_prefix + name: kind for name, kind in TOPICS.items()}
        self._consumer: AIOKafkaConsumer | None = None
        self._progress_at = time.monotonic()
        self._busy = False
        self.fault = "not connected"  # why there is no consumer
        self._renew = False
        self._calls, self._farewells = Patience(), Patience()

    @property
    def ready(self) -> bool:
        return self._consumer is not None

    async def step(self) -> bool:
        """Fetch and handle what is there; whether anything was. Raises when Kafka or a handler fails: tried again."""
        if self._renew:
            await self._drop()  # between two turns: everything handled is committed
            self._renew = False
        consumer = await self._connected()
        try:
            fetched = await consumer.getmany(timeout_ms=_POLL_MILLISECONDS, max_records=_RECORDS_AT_ONCE)
        except KafkaError:
            await self._drop()
            raise
        if not fetched:
            return False
        self._busy = True
        failures: list[Exception] = []
        try:
            # Each partition by itself: what was fetched of the others stands behind their positions already, and a
            # turn that ended here would never come back to it.
            for partition, records in fetched.items():
                try:
                    await self._handle(consumer, partition, records)
                except Exception as error:
                    failures.append(error)
        finally:
            self._busy = False
            self._progress_at = time.monotonic()
        if failures:
            raise failures[0]
        return True

    async def _handle(self, consumer: AIOKafkaConsumer, partition: TopicPartition, records: Sequence[Any]) -> None:
        """Handle a partition's records in order. A failure commits those before it and comes back to this one."""
        done = 0
        try:
            for record in records:
                await self._one(self._topics[partition.topic], record)
                done += 1
        except BaseException:
            with contextlib.suppress(IllegalStateError):  # the partition is somebody else's by now
                consumer.seek(partition, records[done].offset)
            raise
        finally:
            if done:
                await self._commit(consumer, partition, records[done - 1].offset + 1)

    async def _one(self, kind: Kind, record: Any) -> None:
        raw: bytes = record.value or b""
        topic = kind.value
        try:
            self._demand_size(raw)
            stored = await self._handlers[kind](raw, signature_header(record.headers))
        except Refused as refused:
            await self._refuse(kind, raw, refused.reason, refused.detail)
            self._note_refusal(kind, raw, refused.reason)
            return
        if stored.refused is not None:
            if not stored.answered:
                await self._refuse(kind, raw, stored.refused, stored.detail)
            self._note_refusal(kind, raw, stored.refused)
            return
        metrics.MESSAGES.labels(topic=_METRIC_TOPIC[kind], outcome="repeated" if stored.repeated else "accepted").inc()
        log.info("message taken", topic=topic, outcome="repeated" if stored.repeated else "accepted", bytes=len(raw))

    def _demand_size(self, raw: bytes) -> None:
        if len(raw) > self._section.max_record_bytes:
            raise Refused(RefusalReason.OVERSIZE, "the record is larger than records may be")

    @staticmethod
    def _note_refusal(kind: Kind, raw: bytes, reason: RefusalReason) -> None:
        metrics.MESSAGES.labels(topic=_METRIC_TOPIC[kind], outcome="refused").inc()
        metrics.REFUSALS.labels(reason=reason.value).inc()
        # Twelve, as of an artefact: sixteen can all be decimal, and the log would mask them as somebody's card.
        digest = hashlib.sha256(raw).hexdigest()[:12]
        log.warning("message refused", topic=kind.value, reason=reason.value, digest=digest)

    async def _commit(self, consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        """Always with explicit offsets. After a rebalance the commit fails; the next owner repeats, a no-op."""
        try:
            async with self._calls.within(self._section.publish_timeout_seconds):
                await consumer.commit({partition: offset})
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            log.warning("offset not committed", topic=partition.topic, exc_info=error)

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        session = self._section.session_timeout_seconds * 1000
        consumer = AIOKafkaConsumer(
            *self._topics,
            **client_arguments(self._section),
            group_id=self._section.group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=session,
            heartbeat_interval_ms=max(session // 3, 500),
            max_poll_records=_RECORDS_AT_ONCE,
            max_partition_fetch_bytes=self._section.max_record_bytes * _FETCH_FACTOR,
            fetch_max_bytes=self._section.max_record_bytes * _FETCH_FACTOR * len(self._topics),
            fetch_max_wait_ms=_POLL_MILLISECONDS,
            retry_backoff_ms=250,
        )
        try:
            async with self._calls.within(2 * self._section.session_timeout_seconds):
                await consumer.start()
            _tell_where_it_leads(self._section, consumer._client.cluster)
        except KafkaError:
            await _stop(consumer.stop, self._farewells)
            await self._say_why()
            raise
        except KafkaRefused as refused:
            await _stop(consumer.stop, self._farewells)
            self.fault = str(refused)
            raise
        except BaseException:
            await _stop(consumer.stop, self._farewells)
            raise
        self._consumer, self.fault = consumer, ""
        self._progress_at = time.monotonic()
        return consumer

    async def _say_why(self) -> None:
        """KafkaRefused with the reason, where one is to be had."""
        if self._calls.over:
            return
        refused = await why_refused(self._section)
        if refused is not None:
            self.fault = str(refused)
            raise refused from None

    def renew(self) -> None:
        """Connect anew before the next turn, with the secrets as they stand in their files then."""
        self._renew = True

    async def lag(self) -> int:
        """Records between our positions and the ends of the topics, asked from outside the fetcher; sets the gauge."""
        consumer = self._consumer
        if consumer is None:
            return 0
        try:
            async with self._calls.within(self._section.publish_timeout_seconds):
                assigned = list(consumer.assignment())
                ends = await consumer.end_offsets(assigned) if assigned else {}
                positions = {partition: await consumer.position(partition) for partition in assigned}
        except Exception:
            self._progress_at = time.monotonic()  # counted from the return of Kafka
            raise
        by_topic = dict.fromkeys(self._topics, 0)
        for partition, end in ends.items():
            by_topic[partition.topic] += max(0, end - positions[partition])
        for topic, behind in by_topic.items():
            metrics.KAFKA_LAG.labels(topic=_METRIC_TOPIC[self._topics[topic]]).set(behind)
        total = sum(by_topic.values())
        if not total:
            self._progress_at = time.monotonic()
        return total

    @property
    def stalled(self) -> bool:
        """Records wait, and the fetcher has brought none for too long while no handler was at work."""
        idle = time.monotonic() - self._progress_at
        return self._consumer is not None and not self._busy and idle > self._section.stall_seconds

    async def _drop(self) -> None:
        consumer, self._consumer = self._consumer, None
        self.fault = "not connected"
        if consumer is not None:
            await _stop(consumer.stop, self._farewells)

    def hasten(self) -> None:
        """The process is about to end: what is not answered in a few seconds more is left. An offset that was not
        committed is read again, and what comes twice is a no-op."""
        _hasten(self._calls, self._farewells)

    async def stop(self) -> None:
        await self._drop()


class Outlet:
    """The producer: idempotent, acknowledged by all replicas, in doubt when it takes too long."""

    def __init__(self, section: KafkaSection) -> None:
        self._section = section
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._renew = False
        self._calls, self._farewells = Patience(), Patience()

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        """Publish (topic, key, value) in order and wait for every acknowledgement; PublishInDoubt otherwise."""
        async with self._lock:
            if self._calls.over:  # nothing is begun that could not be waited for
                raise PublishInDoubt(f"lane {lane}: the process ends")
            if self._renew:
                self._renew = False
                await self._drop()
            try:
                async with self._calls.within(self._section.publish_timeout_seconds):
                    producer = await self._connected()
                    futures = [
                        await producer.send(self._section.topic_prefix + topic, value=value, key=key.encode())
                        for topic, key, value in records
                    ]
                    await asyncio.gather(*futures)
            except (KafkaError, KafkaRefused, OSError, TimeoutError) as error:
                await self._abandon()
                raise PublishInDoubt(f"lane {lane}: {type(error).__name__}") from None

    def hasten(self) -> None:
        """The process is about to end: what is not acknowledged in a few seconds more, of all lanes, is in doubt."""
        _hasten(self._calls, self._farewells)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_arguments(self._section),
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                max_request_size=2 * self._section.max_record_bytes,
                request_timeout_ms=self._section.publish_timeout_seconds * 1000,
            )
            try:
                await producer.start()
                _tell_where_it_leads(self._section, producer.client.cluster)
            except BaseException:
                await _stop(producer.stop, self._farewells)
                raise
            self._producer = producer
        return self._producer

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer.stop, self._farewells)

    async def _abandon(self) -> None:
        """Leave a producer whose records are in doubt, without its last words.

        ``stop()`` first sends what is still buffered. With the broker away that never ends, and whoever gives up
        waiting leaves the sender running: one more for each attempt of an outage, all of them publishing when it is
        over. And where one record was refused for good, flushing sends those behind it, ahead of it.
        """
        producer, self._producer = self._producer, None
        if producer is None:
            return
        sender = producer._sender.sender_task
        if sender is not None:
            sender.cancel()
        producer._message_accumulator.fail_all(ProducerClosed())
        # Closing fails its requests, so that nobody waits for an answer.
        await _stop(producer.client.close, self._farewells)
        await _stop(producer.stop, self._farewells)

    def renew(self) -> None:
        """Connect anew for the next publish, with the secrets as they stand in their files then."""
        self._renew = True

    async def stop(self) -> None:
        async with self._lock:
            await self._drop()


def _tell_where_it_leads(section: KafkaSection, cluster: Any) -> None:
    for host in look_where_it_leads(section, cluster.brokers()):
        log.warning("channel not protected", reason=f"kafka: lists and receipts travel unencrypted to {host}")


def _hasten(calls: Patience, farewells: Patience) -> None:
    calls.hasten(_HASTY_SECONDS)
    farewells.hasten(_FAREWELL_SECONDS)


async def _stop(stop: Callable[[], Awaitable[None]], farewells: Patience) -> None:
    """Stop a client, or leave it: what it had is in the database."""
    try:
        async with asyncio.timeout(max(_BRIEFLY_SECONDS, farewells.left(_STOP_SECONDS))):
            await stop()
    except asyncio.CancelledError:
        # With the broker away the client raises the cancellation of its own inner tasks; only ours is obeyed.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    except Exception as error:
        log.warning("kafka client left", exc_info=error)


_METRIC_TOPIC: Final = {Kind.BATCH: "batches", Kind.FUNDING: "funding", Kind.ORDER: "orders"}
