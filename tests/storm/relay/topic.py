"""A topic read from its beginning to its end, and relay processes for a test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.conftest import Kafka
from tests.world.broker import PARTITIONS
from tests.world.processes import Child, python_module

PATIENCE = 120
_serial = itertools.count(1)


async def whole_topic(kafka: Kafka, name: str = "receipts") -> list[tuple[bytes, bytes]]:
    """(key, value) of every record that is there now, in the order of each partition, partition by partition."""
    partitions = [TopicPartition(kafka.topic(name), n) for n in range(PARTITIONS)]
    return [(record.key, record.value) for record in await whole_topics(kafka.bootstrap, partitions)]


async def whole_topics(bootstrap: str, partitions: Sequence[TopicPartition] | None = None) -> list[Any]:
    """Every record that is there now, partition by partition; of all topics where none are named."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    found: dict[TopicPartition, list[Any]] = {}
    async with asyncio.timeout(PATIENCE):
        while True:  # a broker that has just come back refuses for a moment
            with contextlib.suppress(KafkaError, OSError):
                await consumer.start()
                break
            await asyncio.sleep(0.2)
        try:
            if partitions is None:
                partitions = await _all_partitions(bootstrap)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                for at, records in (await consumer.getmany(timeout_ms=200)).items():
                    found.setdefault(at, []).extend(records)
        finally:
            await consumer.stop()
    return [record for partition in sorted(found) for record in found[partition]]


async def _all_partitions(bootstrap: str) -> list[TopicPartition]:
    """Of every topic that the broker has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        described = await admin.describe_topics()
    finally:
        await admin.close()
    return [
        TopicPartition(one["topic"], each["partition"])
        for one in sorted(described, key=lambda one: str(one["topic"]))
        for each in one["partitions"]
    ]


class RelayProcess:
    """One relay process, one life at a time; ``kill`` and ``begin`` as often as a test likes."""

    def __init__(self, directory: Path, dsn: str, kafka: Kafka, *options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        secret = directory / "dsn"
        secret.write_text(dsn)
        self._arguments: list[str | Path] = [
            "--dsn-file",
            secret,
            "--bootstrap",
            kafka.bootstrap,
            "--prefix",
            kafka.prefix,
            *options,
        ]
        self._directory = directory
        self.child: Child | None = None
        self._lives: list[Child] = []

    async def begin(self, *options: str) -> Child:
        """Start a fresh process and wait until it says that it is at work."""
        command = python_module("tests.storm.relay.process", *self._arguments, *options)
        self.child = Child(f"relay-{next(_serial)}", command, self._directory)
        self._lives.append(self.child)
        self.child.start()
        await self.child.ready(60)
        return self.child

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def stop(self) -> float:
        """SIGTERM; the real seconds it took to end, never money."""
        assert self.child is not None
        begun = time.monotonic()
        assert self.child.stop(grace=60) == 0
        return time.monotonic() - begun

    def send(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT: it stands still, and goes on without knowing."""
        assert self.child is not None
        self.child.send(number)

    def said(self, word: str) -> int:
        """How often this life has told of something."""
        assert self.child is not None
        return self.child.output.read_text().count(f'"{word}"')

    def told(self, word: str) -> list[dict[str, Any]]:
        """What all lives have told of something, with what they said about it."""
        lines = [json.loads(line) for life in self._lives for line in life.output.read_text().splitlines()]
        return [line for line in lines if word in line]

    async def until_it_says(self, word: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.said(word) < times:
                await asyncio.sleep(0.02)


@contextmanager
def relay_process(directory: Path, dsn: str, kafka: Kafka, *options: str) -> Iterator[RelayProcess]:
    relay = RelayProcess(directory, dsn, kafka, *options)
    try:
        yield relay
    finally:
        relay.kill()
