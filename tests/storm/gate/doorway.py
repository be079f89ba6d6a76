"""The gateway's door: its own consumer, wired as the app wires it, with real steps and the real books behind it.

A record either comes over a real broker, or is handed to the consumer as if it had been fetched: the same code from
there on, for builds that are played often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from aiokafka import AIOKafkaProducer

from gateway import metrics
from gateway.config import KafkaSection
from gateway.kafka import TOPICS, Inbox
from gateway.store.refusing import refusal_of
from schemas.v1 import Kind, RefusalReason
from tests.conftest import Kafka
from tests.store.kit import Gateway
from tests.storm.relay.topic import PATIENCE

_NAMES: Final = {kind: name for name, kind in TOPICS.items()}
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """A Kafka record before it is published: ``value`` None is a tombstone."""

    topic: Kind
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @classmethod
    def signed(cls, topic: Kind, value: bytes, signature: str | bytes | None) -> Letter:
        """As an honest producer writes it: one header, or none where there is no signature at all."""
        if signature is None:
            return cls(topic, value)
        return cls(topic, value, (("jws", signature.encode() if isinstance(signature, str) else signature),))


class Doorway:
    """``async with Doorway(gateway, section) as door``."""

    def __init__(self, gateway: Gateway, section: KafkaSection) -> None:
        self._gateway = gateway
        handlers = {
            Kind.BATCH: gateway.intake.take_batch,
            Kind.FUNDING: gateway.intake.take_funding,
            Kind.ORDER: gateway.failures.take_order,
        }
        self.inbox = Inbox(section, handlers, self._refuse)

    async def _refuse(self, kind: Kind, raw: bytes, reason: RefusalReason, detail: str) -> None:
        now = self._gateway.clock.now()
        await self._gateway.store.batches.refuse(refusal_of(kind, raw, reason, detail, now))

    async def __aenter__(self) -> Doorway:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.inbox.stop()

    async def publish(
        self, kafka: Kafka, letters: Sequence[Letter], partition: Callable[[], int | None] = lambda: None
    ) -> None:
        """Publish in this order, each where ``partition`` says, and read until everything is handled."""
        before = sum(counted().values())
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=5_000_000)
        await producer.start()
        try:
            for start in range(0, len(letters), _AT_ONCE):
                sent = [
                    await producer.send(
                        kafka.topic(_NAMES[one.topic]),
                        one.value,
                        key=b"gone" if one.value is None else None,
                        partition=partition(),
                        headers=list(one.headers),
                    )
                    for one in letters[start : start + _AT_ONCE]
                ]
                await asyncio.gather(*sent)
        finally:
            await producer.stop()
        async with asyncio.timeout(PATIENCE + len(letters)):  # a second each, on a crowded machine
            while sum(counted().values()) - before < len(letters):
                await self.inbox.step()

    async def hand(self, letters: Sequence[Letter]) -> None:
        """To the consumer, as if just fetched."""
        for one in letters:
            await self.inbox._one(one.topic, one)  # a letter has a fetched record's value and headers


def counted() -> dict[str, int]:
    """Messages by what became of them, over all topics, since this process began."""
    return {
        outcome: sum(int(metrics.MESSAGES.labels(topic=topic, outcome=outcome)._value.get()) for topic in TOPICS)
        for outcome in ("accepted", "repeated", "refused")
    }
