"""The append-only history: one hash chain a batch, so that no event can be changed, dropped or slipped in unseen."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.store.engine import Connection, sql

GENESIS = bytes(32)


def canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def link(previous: bytes, seq: int, at: dt.datetime, event: str, body: bytes) -> bytes:
    """SHA-256 over the previous hash, the number, the time (UTC, microseconds), the event's name and its body."""
    stamp = at.astimezone(dt.UTC).isoformat(timespec="microseconds")
    head = f"{seq}\n{stamp}\n{event}\n".encode()
    return hashlib.sha256(previous + head + body).digest()


class Ledger:
    """The batches locked by one transaction, and the events it adds to them."""

    def __init__(self, batches: Mapping[int, Mapping[str, Any]]) -> None:
        self.batches = batches
        self._heads = {no: (row["history_seq"], bytes(row["history_hash"])) for no, row in batches.items()}
        self._events: list[tuple[int, int, dt.datetime, str, bytes, bytes]] = []

    @classmethod
    async def lock(cls, connection: Connection, batch_nos: Iterable[int]) -> Ledger:
        rows = await connection.fetch(sql("lock_batches"), sorted(set(batch_nos)))
        return cls({row["batch_no"]: dict(row) for row in rows})

    def add(self, batch_no: int, at: dt.datetime, event: str, body: Mapping[str, Any]) -> None:
        seq, previous = self._heads[batch_no]
        seq += 1
        data = canonical(body)
        digest = link(previous, seq, at, event, data)
        self._heads[batch_no] = (seq, digest)
        self._events.append((batch_no, seq, at, event, data, digest))

    async def write(self, connection: Connection) -> None:
        """Append what was added; nothing when nothing was."""
        if not self._events:
            return
        await connection.execute(sql("append_history"), *(list(column) for column in zip(*self._events, strict=True)))
        changed = {event[0]: event[2] for event in self._events}
        heads = [(no, *self._heads[no], at) for no, at in changed.items()]
        await connection.execute(sql("advance_history"), *(list(column) for column in zip(*heads, strict=True)))


def verify_chain(rows: Iterable[Mapping[str, Any]], head: tuple[int, bytes]) -> int | None:
    """The number of the first event that does not fit its chain, or None when every link and the head fit."""
    previous, seq = GENESIS, 0
    for row in rows:
        seq += 1
        if row["seq"] != seq or link(previous, seq, row["at"], row["event"], bytes(row["body"])) != bytes(row["hash"]):
            return seq
        previous = bytes(row["hash"])
    return None if (seq, previous) == (head[0], bytes(head[1])) else seq + 1
