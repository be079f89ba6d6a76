"""The outbox: records for Kafka, their bytes fixed in the transaction that changed the state they tell of.

A lane is a slice of the batches. One relay at a time drains a lane in order, under a fenced lease, so the records of a
batch, and with them the receipts of a payout, leave in the order in which they became true.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.store.engine import Connection, Engine, Row, sql, touched

LANES = 16
RECEIPTS_PER_RECORD = 500


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record to be: topic (without prefix), key, value."""

    topic: str
    key: str
    value: bytes
    happened_at: dt.datetime
    due_at: dt.datetime


def lane_of(key: str) -> int:
    return zlib.crc32(key.encode()) % LANES


def batch_key(issuer: str, batch_id: str) -> str:
    return f"{issuer}/{batch_id}"


async def stage(connection: Connection, records: Sequence[Record]) -> None:
    """Write records; they leave when the transaction commits, and never when it does not."""
    if records:
        rows = [(lane_of(r.key), r.topic, r.key, r.value, r.happened_at, r.due_at) for r in records]
        await connection.execute(sql("insert_outbox"), *(list(column) for column in zip(*rows, strict=True)))


class Outbox:
    """What the relay needs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def lanes(self) -> list[int]:
        return [row["lane"] for row in await self._engine.fetch("waiting_lanes")]

    async def waiting(self, lane: int, limit: int) -> list[Row]:
        return await self._engine.fetch("waiting_records", lane, limit)

    async def published(self, lane: int, owner: str, fence: int, ids: Sequence[int], at: dt.datetime) -> bool:
        """Mark records that the broker acknowledged; False when the lane belongs to somebody else by now."""
        async with self._engine.transaction() as connection:
            if await connection.fetchval(sql("lease_is_held"), f"lane-{lane}", owner, fence) is None:
                return False
            return touched(await connection.execute(sql("mark_published"), list(ids), at)) == len(ids)

    async def state(self) -> dict[str, Any]:
        row = await self._engine.fetchrow("outbox_state")
        return dict(row) if row is not None else {"pending": 0, "oldest_at": None, "due_at": None}
