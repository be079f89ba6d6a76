"""Kafka in memory: what finance published in order, with one committed offset, and what the relay published.

It keeps what Kafka promises and no more: a record is delivered again until its offset is committed, a publish that was
not acknowledged may be in the log all the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.receipts import PublishInDoubt
from schemas.codec import Refused
from schemas.v1 import Kind


@dataclass(frozen=True, slots=True)
class Message:
    """One inbound record, and when it was published (virtual milliseconds since the epoch)."""

    kind: Kind
    raw: bytes
    signature: bytes
    at_ms: int


@dataclass
class Broker:
    luck: random.Random
    away: bool = False
    inbound: list[Message] = field(default_factory=list)
    committed: int = 0
    read: dict[int, float] = field(default_factory=dict)  # offset -> virtual seconds at which it was committed first
    published: list[tuple[str, str, bytes]] = field(default_factory=list)
    repeats: int = 0

    @property
    def waits(self) -> bool:
        return not self.away and self.committed < len(self.inbound)

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        """As the outlet: in order, and in doubt where the acknowledgement does not come."""
        await asyncio.sleep(self.luck.random() / 50)
        known = len(records) if not self.away else self.luck.randrange(len(records) + 1)
        self.published += records[:known]
        await asyncio.sleep(self.luck.random() / 50)
        if self.away:
            self.repeats += known
            await asyncio.sleep(10)
            raise PublishInDoubt


class SimulatedInbox:
    """The consumer, as `gateway.kafka.Inbox` treats one record after the other."""

    broker: Broker
    ready = True
    stalled = False
    fault = ""

    def __init__(self, section: object, handlers: Any, refuse: Any) -> None:
        self._handlers = handlers
        self._refuse = refuse

    async def step(self) -> bool:
        broker = self.broker
        if broker.away:
            raise ConnectionRefusedError
        offset = broker.committed  # two consumers may be at one record while the group is rebalanced
        if offset >= len(broker.inbound):
            return False
        message = broker.inbound[offset]
        await asyncio.sleep(broker.luck.random() / 50)
        try:
            stored = await self._handlers[message.kind](message.raw, message.signature)
        except Refused as refused:
            await self._refuse(message.kind, message.raw, refused.reason, refused.detail)
        else:
            if stored.refused is not None and not stored.answered:
                await self._refuse(message.kind, message.raw, stored.refused, stored.detail)
        await asyncio.sleep(broker.luck.random() / 50)
        if not broker.away:
            broker.committed = max(broker.committed, offset + 1)
            broker.read.setdefault(offset, asyncio.get_running_loop().time())
        return True

    async def lag(self) -> int:
        return 0
