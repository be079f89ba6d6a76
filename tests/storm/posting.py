"""Publishes messages that the desk does not know of: lists of a proof's own, and records that nobody may believe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from gateway.approval import AUDIENCE, SigningKey, sign
from schemas.v1 import Kind
from tests.world import desk_list, layout
from tests.world.broker import PREFIX
from tests.world.desk import TOPIC_OF
from tests.world.processes import run_apart
from tests.world.world import World


class Record(NamedTuple):
    """What goes into one Kafka record; ``jws`` is the signature's header, None where there is none."""

    kind: Kind
    raw: bytes
    jws: bytes | None
    key: str = "659999"


class Posting:
    """The finance platform's key, and a producer, in somebody else's hands."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._key = SigningKey.load(world.directory / "finance.pem")

    def signed(self, kind: Kind, raw: bytes) -> Record:
        return Record(kind, raw, sign(raw, kind, self._key, layout.KID, AUDIENCE, self._world.now()).encode())

    def list(self, batch_id: str, items: Sequence[Mapping[str, Any]], lines_per_part: int = 1000) -> list[Record]:
        """A list in parts, and its money."""
        header, lines = header_of(batch_id), [dict(item) for item in items]
        parts = [raw for _, raw in desk_list.parts(header, lines, lines_per_part)]
        _, funding = desk_list.funding(header, lines)
        return [*(self.signed(Kind.BATCH, raw) for raw in parts), self.signed(Kind.FUNDING, funding)]

    def send(self, records: Sequence[Record]) -> None:
        """Returns when Kafka has acknowledged all of them."""
        run_apart(self._send(records))

    async def _send(self, records: Sequence[Record]) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._world.broker.bootstrap, acks="all", max_request_size=4_000_000
        )
        await producer.start()
        try:
            for record in records:
                headers = [] if record.jws is None else [("jws", record.jws)]
                topic = PREFIX + TOPIC_OF[record.kind]
                await producer.send_and_wait(topic, record.raw, key=record.key.encode(), headers=headers)
        finally:
            await producer.stop()


def header_of(batch_id: str) -> dict[str, Any]:
    """The head of a county's list under another name."""
    return {**json.loads(layout.HEADER.read_text(encoding="utf-8")), "batch_id": batch_id}


def write_list(directory: Path, batch_id: str, items: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """A county's list as finance keeps it: the table and its header, written to ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    listed, header = directory / f"{batch_id}.csv", directory / f"{batch_id}.json"
    listed.write_bytes(desk_list.written(items))
    header.write_text(json.dumps(header_of(batch_id)))
    return listed, header
