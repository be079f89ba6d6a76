"""Sends signed messages, and where the broker forgets what is too much, no faster than the gateway reads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from schemas.v1 import Kind
from tests.world.desk_disk import Signed

PUBLISH_SECONDS = 30
LOOK_SECONDS = 0.1


class Flow:
    """A producer with a guard on what is unread in each partition."""

    def __init__(
        self, producer: AIOKafkaProducer, bootstrap: str, prefix: str, group: str, bytes_in_flight: int
    ) -> None:
        self._producer = producer
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._group = group
        self._most = bytes_in_flight
        self._unread: dict[TopicPartition, dict[int, int]] = {}
        self._admin: AIOKafkaAdminClient | None = None

    async def send(self, topic_of: Mapping[Kind, str], messages: list[Signed]) -> None:
        """Returns when Kafka has acknowledged all of them; a timed-out one is sent again, the same bytes."""
        for message in messages:
            topic = self._prefix + topic_of[message.kind]
            headers = [("jws", message.jws.encode())] if message.jws is not None else []
            while True:
                try:
                    async with asyncio.timeout(PUBLISH_SECONDS):
                        if self._most:
                            await self._room(topic, len(message.raw))
                        where = await self._producer.send_and_wait(
                            topic, message.raw, key=message.key.encode(), headers=headers
                        )
                except (TimeoutError, UnknownTopicOrPartitionError):
                    continue  # a broker that has just come back knows its topics a little later than its port
                break
            if self._most:
                self._unread.setdefault(TopicPartition(topic, where.partition), {})[where.offset] = len(message.raw)

    async def _room(self, topic: str, size: int) -> None:
        """Wait until the gateway has read enough for ``size`` more bytes in any partition of the topic."""
        while True:
            fullest = max(
                (sum(held.values()) for partition, held in self._unread.items() if partition.topic == topic),
                default=0,
            )
            if fullest + size <= self._most:
                return
            if self._admin is None:
                self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
                await self._admin.start()
            offsets = await self._admin.list_consumer_group_offsets(self._group)
            for partition, held in self._unread.items():
                if partition in offsets:
                    for offset in [offset for offset in held if offset < offsets[partition].offset]:
                        del held[offset]
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        if self._admin is not None:
            await self._admin.close()
