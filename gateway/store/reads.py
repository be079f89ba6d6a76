"""Reading the books: the identity of a batch, what the console and the metrics show, what waits for an order."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.store import ids
from gateway.store.engine import Connection, Engine, Row, sql
from gateway.store.history import verify_chain
from gateway.store.outbox import Record, stage

BUCKETS: Final = ("awaiting_funds", "queued", "in_flight", "in_doubt", "conflict", "credited", "failed", "cancelled")
STILL_OPEN: Final = BUCKETS[:5]


@dataclass(slots=True)
class Count:
    """A batch counted: payouts and fen by bucket; doubt and held lines by bank."""

    payouts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0))
    amount_fen: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0))
    late: int = 0
    late_fen: int = 0
    held: dict[str, int] = field(default_factory=dict)
    doubt_since: dict[str, dt.datetime] = field(default_factory=dict)
    stray: int = 0  # payouts that fit no bucket: the identity does not close

    @property
    def is_complete(self) -> bool:
        return self.stray == 0 and not any(self.payouts[bucket] for bucket in STILL_OPEN)

    def gap(self, approved: int) -> int:
        return approved - sum(self.payouts.values())

    def gap_fen(self, approved_fen: int) -> int:
        return approved_fen - sum(self.amount_fen.values())

    def as_json(self) -> str:
        since = {bank: at.isoformat() for bank, at in self.doubt_since.items()}
        body = {"payouts": self.payouts, "amount_fen": self.amount_fen, "late": self.late, "late_fen": self.late_fen}
        return json.dumps({**body, "held": self.held, "doubt_since": since, "stray": self.stray})

    @classmethod
    def of_json(cls, text: str) -> Count:
        body = json.loads(text)
        if not body:
            return cls()
        since = {bank: dt.datetime.fromisoformat(at) for bank, at in body.pop("doubt_since").items()}
        return cls(**body, doubt_since=since)

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Count:
        count = cls()
        for row in rows:
            if row["bucket"] is None:
                count.stray += row["payouts"]
                continue
            count.payouts[row["bucket"]] += row["payouts"]
            count.amount_fen[row["bucket"]] += row["amount_fen"]
            count.late += row["late"]
            count.late_fen += row["late_fen"] or 0
            if row["bucket"] != "in_doubt":
                continue
            bank = row["bank"]
            if row["held"]:
                count.held[bank] = count.held.get(bank, 0) + row["payouts"]
            if row["since"] is not None:
                count.doubt_since[bank] = min(row["since"], count.doubt_since.get(bank, row["since"]))
        return count


# What a report is made of, and the record it becomes: (batch, count, reasons, revision, kind) -> outbox record.
MakeReport = Callable[[Mapping[str, Any], Count, Mapping[str, int], int, str], Record]


class Reads:
    """The store's room for reading, and for the reports that reading makes due."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def to_count(self) -> list[int]:
        return [row["batch_no"] for row in await self._engine.fetch("batches_to_count")]

    async def past_limit(self, at: dt.datetime) -> list[int]:
        return [row["batch_no"] for row in await self._engine.fetch("batches_past_limit", at)]

    async def count(self, batch_no: int) -> Count:
        async with self._engine.connection() as connection:
            return await _count(connection, batch_no)

    async def count_and_report(self, batch_no: int, at: dt.datetime, make: MakeReport) -> str | None:
        """Count a batch; when it has become complete, or changed after that, or passed its limit open, report it.

        One transaction under the batch's lock: the report says what the books said at that moment. Returns the kind of
        the report that was staged, None when none was due.
        """
        async with self._engine.transaction() as connection:
            found = await connection.fetchrow(sql("lock_batch"), batch_no)
            if found is None:
                return None
            batch = dict(found)
            count = await _count(connection, batch_no)
            changed = batch["counted_at"] is None or batch["changed_at"] > batch["counted_at"]
            kind = _due_report(batch, count, at, changed=changed)
            state, revision = batch["state"], batch["revision"]
            if count.is_complete:
                state = "COMPLETE"
            elif state == "COMPLETE":  # a return was re-issued
                state = "PAYING"
            if kind is not None:
                revision += 1
                reasons = {r["reason"]: r["count"] for r in await connection.fetch(sql("reasons_of_batch"), batch_no)}
                await stage(connection, [make(batch, count, reasons, revision, kind)])
            interim = at if kind == "INTERIM" else None
            completed = at if count.is_complete else None
            await connection.execute(sql("keep_count"), batch_no, count.as_json(), state, revision, interim, completed)
            return kind

    async def all_counts(self) -> list[Row]:
        return await self._engine.fetch("all_counts")

    async def batches_by_state(self) -> dict[str, int]:
        return {row["state"]: row["batches"] for row in await self._engine.fetch("batches_by_state")}

    async def nearest_deadlines(self) -> dict[str, dt.datetime | None]:
        row = await self._engine.fetchrow("nearest_deadlines")
        return {} if row is None else {name.removesuffix("_at"): row[name] for name in row}

    async def find_batches(self, name: str) -> list[Row]:
        """Batches by number or by their issuer's name; the newest twenty for an empty name."""
        if not name:
            return await self._engine.fetch("recent_batches", 20)
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 16 else -1
        return await self._engine.fetch("find_batches", number, name)

    async def submissions(self, batch_no: int) -> list[Row]:
        return await self._engine.fetch("submissions_of_batch", batch_no)

    async def fundings(self, batch_no: int) -> list[Row]:
        return await self._engine.fetch("fundings_of_batch", batch_no)

    async def payout(self, payout: int) -> Row | None:
        return await self._engine.fetchrow("payout_by_id", payout)

    async def refused_line(self, payout: int) -> Row | None:
        return await self._engine.fetchrow("refused_line", *ids.batch_and_line(payout))

    async def attempts(self, payout: int) -> list[Row]:
        return await self._engine.fetch("attempts_of_payout", payout)

    async def evidence(self, payout: int) -> list[Row]:
        return await self._engine.fetch("evidence_of_payout", payout)

    async def failures(self, batch_no: int | None = None, limit: int = 1000) -> list[Row]:
        """Payouts that wait for an order, of one batch or of all, oldest batch first."""
        if batch_no is not None:
            return await self._engine.fetch("failed_payouts", *ids.payout_range(batch_no), limit)
        found: list[Row] = []
        for batch in await self._engine.fetch("failed_everywhere"):
            if len(found) >= limit:
                break
            found += await self.failures(batch["batch_no"], limit - len(found))
        return found

    async def verify_history(self, batch_no: int) -> int | None:
        """The first event of a batch whose chain does not fit, or None when all do."""
        async with self._engine.connection() as connection:
            batch = await connection.fetchrow(sql("lock_batch"), batch_no)
            if batch is None:
                return None
            rows = await connection.fetch(sql("read_history"), batch_no)
        return verify_chain([dict(row) for row in rows], (batch["history_seq"], bytes(batch["history_hash"])))


async def _count(connection: Connection, batch_no: int) -> Count:
    return Count.of_rows([dict(row) for row in await connection.fetch(sql("count_batch"), batch_no)])


def _due_report(batch: Mapping[str, Any], count: Count, at: dt.datetime, *, changed: bool) -> str | None:
    """FINAL at completion and at each later change that leaves nothing open; INTERIM once, at the limit."""
    if count.is_complete:
        return "FINAL" if changed or batch["revision"] == 0 else None
    past = batch["limit_at"] is not None and batch["limit_at"] <= at
    first_time = batch["interim_sent_at"] is None and batch["completed_at"] is None
    return "INTERIM" if past and first_time else None
