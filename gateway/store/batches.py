"""Batches in the store: parts and funds as they arrive, lines as they are judged, the clock when it starts."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from gateway.log import get_logger
from gateway.store import ids
from gateway.store.engine import Connection, Engine, sql
from gateway.store.history import Ledger
from gateway.store.outbox import Record, stage
from gateway.store.refusing import refusal
from gateway.store.staging import Receipt, stage_receipts
from schemas.money import billionths_of_sum
from schemas.v1 import Kind, RefusalReason

log = get_logger("store")


@dataclass(frozen=True, slots=True)
class Signed:
    """What is kept of a verified message beside its meaning."""

    digest: bytes
    key_id: str
    signature: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class PartHead:
    """A batch part without its lines. ``amount_here`` is the sum as written of this part alone."""

    issuer: str
    batch_id: str
    county: str
    programme: str
    period: str
    document_no: str
    finance_bureau: str
    line_department: str
    list_received_at: dt.datetime
    parts: int
    lines: int
    amount: str
    head_digest: bytes
    part: int
    first_line: int
    lines_here: int
    amount_here: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a message: stored, repeated (identical bytes), or refused with a reason.

    ``answered``: the refusal is staged already, in the transaction that remembers the message. Staged later it could be
    lost: the message would come again as a repeat, which is not answered.
    """

    repeated: bool = False
    refused: RefusalReason | None = None
    detail: str = ""
    answered: bool = False


@dataclass(slots=True)
class ApprovedLine:
    line: int
    beneficiary: UUID
    bank: str
    bank_no: str
    amount_fen: int
    has_phone: bool
    sealed: bytes


@dataclass(slots=True)
class RefusedLine:
    line: int
    reason: str
    detail: str
    amount_text: str
    sealed: bytes


class Judging:
    """One part of one batch, locked for judging; ``finish`` writes the judgement of all its lines."""

    def __init__(self, connection: Connection, batch: asyncpg.Record, sealed: bytes) -> None:
        self._connection = connection
        self.batch = batch
        self.part: int = batch["judged_parts"] + 1
        self.sealed = sealed

    async def already_approved(self, beneficiaries: Sequence[UUID]) -> set[UUID]:
        """Who of these people has an approved payout of this programme and period."""
        rows = await self._connection.fetch(
            sql("approved_beneficiaries"), list(beneficiaries), self.batch["programme"], self.batch["period"]
        )
        return {row["beneficiary"] for row in rows}

    async def bindings(self, beneficiaries: Sequence[UUID]) -> dict[UUID, bytes]:
        rows = await self._connection.fetch(sql("bindings_of"), list(beneficiaries))
        return {row["beneficiary"]: bytes(row["sealed"]) for row in rows}

    async def finish(self, approved: Sequence[ApprovedLine], refused: Sequence[RefusedLine], at: dt.datetime) -> str:
        """Write the part's payouts and refusals, with a receipt for each refused line; the batch's state after it."""
        batch_no = self.batch["batch_no"]
        ledger = await Ledger.lock(self._connection, [batch_no])
        await self._copy_payouts(approved)
        await self._connection.copy_records_to_table(
            "refused_lines",
            records=[(batch_no, r.line, r.reason, r.detail, r.sealed) for r in refused],
            columns=["batch_no", "line", "reason", "detail", "sealed"],
        )
        receipts = [
            Receipt(
                line=r.line,
                attempt=0,
                outcome="failed",
                amount_fen=0,
                at=at,
                reason=r.reason,
                amount_text=r.amount_text,
            )
            for r in refused
        ]
        await stage_receipts(self._connection, ledger.batches[batch_no], receipts, at)
        approved_fen = sum(line.amount_fen for line in approved)
        state = await self._connection.fetchval(
            sql("advance_judging"), batch_no, len(approved), approved_fen, len(refused)
        )
        body = {
            "part": self.part,
            "approved": len(approved),
            "approved_fen": approved_fen,
            "refused": [[r.line, r.reason] for r in refused],
        }
        ledger.add(batch_no, at, "JUDGED", body)
        await ledger.write(self._connection)
        return str(state)

    async def _copy_payouts(self, approved: Sequence[ApprovedLine]) -> None:
        batch = self.batch
        await self._connection.copy_records_to_table(
            "payouts",
            records=[
                (
                    ids.payout_id(batch["batch_no"], line.line),
                    line.beneficiary,
                    batch["programme"],
                    batch["period"],
                    line.bank,
                    line.bank_no,
                    line.amount_fen,
                    line.has_phone,
                    line.sealed,
                )
                for line in approved
            ],
            columns=[
                "payout_id",
                "beneficiary",
                "programme",
                "period",
                "bank",
                "bank_no",
                "amount_fen",
                "has_phone",
                "sealed",
            ],
        )


class Batches:
    """The store's room for batches and their money."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def keep_part(
        self, head: PartHead, signed: Signed, parts_due_at: dt.datetime, seal: Callable[[int], bytes]
    ) -> Stored:
        """Store a verified part once. When it is the last one, the totals decide whether the batch may be judged.

        ``seal`` gives the sealed bytes for a batch number: the seal is bound to the row.
        """
        async with self._engine.transaction() as connection:
            await connection.execute(sql("lock_batch_name"), head.issuer, head.batch_id)
            await connection.execute(
                sql("open_batch"),
                head.issuer,
                head.batch_id,
                head.county,
                head.programme,
                head.period,
                head.document_no,
                head.finance_bureau,
                head.line_department,
                head.head_digest,
                head.parts,
                head.lines,
                head.amount,
                signed.at,
                parts_due_at,
                head.list_received_at,
            )
            batch = (await connection.fetch(sql("lock_batch_by_id"), head.issuer, head.batch_id))[0]
            known = await connection.fetchval(sql("part_digest"), batch["batch_no"], head.part)
            if known is not None:
                if bytes(known) == signed.digest:
                    return Stored(repeated=True)
                return Stored(refused=RefusalReason.CONFLICTING_CONTENT, detail="this part is known with other bytes")
            if bytes(batch["head_digest"]) != head.head_digest:
                return Stored(refused=RefusalReason.CONFLICTING_HEADER, detail="the parts of a batch share one head")
            if batch["state"] != "COLLECTING":
                return Stored(refused=RefusalReason.CONFLICTING_CONTENT, detail="the batch is closed to further parts")
            await connection.execute(
                sql("insert_part"),
                batch["batch_no"],
                head.part,
                signed.digest,
                signed.key_id,
                signed.signature,
                seal(batch["batch_no"]),
                head.first_line,
                head.lines_here,
                head.amount_here,
                signed.at,
            )
            return await self._after_part(connection, batch, head, signed)

    async def _after_part(
        self, connection: Connection, batch: asyncpg.Record, head: PartHead, signed: Signed
    ) -> Stored:
        batch_no = batch["batch_no"]
        ledger = await Ledger.lock(connection, [batch_no])
        ledger.add(
            batch_no, signed.at, "PART", {"part": head.part, "digest": signed.digest.hex(), "key": signed.key_id}
        )
        stored = Stored()
        if await connection.fetchval(sql("count_parts"), batch_no) == head.parts:
            fault = _totals_fault(head, [dict(row) for row in await connection.fetch(sql("parts_of_batch"), batch_no)])
            if fault is None:
                await connection.execute(sql("batch_to_judge"), batch_no, signed.at)
                await connection.fetchval(sql("match_fundings"), head.issuer, head.batch_id, batch_no)
                ledger.add(batch_no, signed.at, "LIST_COMPLETE", {"parts": head.parts, "lines": head.lines})
            else:
                reason, detail = fault
                await connection.execute(sql("refuse_batch"), batch_no)
                ledger.add(batch_no, signed.at, "REFUSED", {"reason": reason.value})
                record = refusal(
                    Kind.BATCH,
                    reason,
                    detail,
                    signed.at,
                    digest=signed.digest,
                    issuer=head.issuer,
                    batch_id=head.batch_id,
                    part=head.part,
                )
                await stage(connection, [record])
                stored = Stored(refused=reason, detail=detail, answered=True)
        await ledger.write(connection)
        return stored

    async def keep_funding(
        self,
        issuer: str,
        funding_id: str,
        batch_id: str,
        amount_fen: int,
        received_at: dt.datetime,
        signed: Signed,
        raw: bytes,
    ) -> Stored:
        """Store a funding confirmation once; it may come before its batch."""
        async with self._engine.transaction() as connection:
            await connection.execute(sql("lock_batch_name"), issuer, batch_id)
            known = await connection.fetchval(sql("funding_digest"), issuer, funding_id)
            if known is not None:
                if bytes(known) == signed.digest:
                    return Stored(repeated=True)
                return Stored(
                    refused=RefusalReason.CONFLICTING_CONTENT, detail="this funding is known with other bytes"
                )
            batch = await connection.fetchrow(sql("lock_batch_by_id"), issuer, batch_id)
            if batch is not None and batch["state"] in ("PAYING", "COMPLETE", "REFUSED"):
                return Stored(
                    refused=RefusalReason.FUNDS_MISMATCH, detail="the batch has its money already, or will not be paid"
                )
            await connection.execute(
                sql("insert_funding"),
                issuer,
                funding_id,
                batch_id,
                amount_fen,
                received_at,
                signed.digest,
                signed.key_id,
                signed.signature,
                raw,
                signed.at,
            )
            if batch is not None:
                total = await connection.fetchval(sql("match_fundings"), issuer, batch_id, batch["batch_no"])
                missing = batch["approved_fen"] - batch["cancelled_fen"] - (total or 0)
                if batch["state"] == "AWAITING_FUNDS" and missing > 0:
                    log.warning("funds do not cover", batch=batch["batch_no"], amount_fen=missing)
                ledger = await Ledger.lock(connection, [batch["batch_no"]])
                body = {"funding": funding_id, "amount_fen": amount_fen, "digest": signed.digest.hex()}
                ledger.add(batch["batch_no"], signed.at, "FUNDING", body)
                await ledger.write(connection)
        return Stored()

    async def is_known(self, issuer: str, name: str, part: int | None, digest: bytes) -> bool:
        """Whether exactly these bytes were accepted before: then they stay a no-op, whatever became of their key."""
        row = await self._engine.fetchrow("known_message", issuer, name, part, digest)
        return row is not None and bool(next(iter(row.values())))

    async def refuse(self, record: Record) -> None:
        """Answer a message that was refused."""
        async with self._engine.transaction() as connection:
            await stage(connection, [record])

    @asynccontextmanager
    async def judging(self, skip: Sequence[int] = ()) -> AsyncIterator[Judging | None]:
        """The next part to judge of a batch not in ``skip``, locked; None when there is none. Local work: no call."""
        async with self._engine.transaction() as connection:
            batch = await connection.fetchrow(sql("next_to_judge"), list(skip))
            if batch is None:
                yield None
                return
            sealed = await connection.fetchval(sql("sealed_part"), batch["batch_no"], batch["judged_parts"] + 1)
            yield Judging(connection, batch, bytes(sealed))

    async def start_clocks(self, at: dt.datetime, deadlines: Callable[[dt.datetime], Mapping[str, Any]]) -> list[int]:
        """Let batches pay whose money covers their approved lines; ``deadlines`` counts from the clock's start (D2)."""
        started = []
        async with self._engine.transaction() as connection:
            rows = await connection.fetch(sql("funded_batches"))
            ledger = await Ledger.lock(connection, [row["batch_no"] for row in rows])
            for row in rows:
                clock = max(row["list_received_at"], row["funds_received_at"])
                due = deadlines(clock)
                await connection.execute(
                    sql("start_clock"),
                    row["batch_no"],
                    clock,
                    due["limit_at"],
                    due["target_at"],
                    due["feedback_due_at"],
                    due["exact"],
                )
                ledger.add(
                    row["batch_no"], at, "FUNDED", {"clock": clock.isoformat(), "limit": due["limit_at"].isoformat()}
                )
                started.append(row["batch_no"])
            await ledger.write(connection)
        return started

    async def waiting_for_parts(self) -> dict[int, dt.datetime]:
        """The batches that are not whole, and until when each was to wait, by the clock that dated its first part."""
        return {row["batch_no"]: row["parts_due_at"] for row in await self._engine.fetch("waiting_for_parts")}

    async def refuse_overdue(
        self, batches: Sequence[int], at: dt.datetime, answer: Callable[[asyncpg.Record], Record]
    ) -> int:
        """Refuse those of these batches that are still not whole; one PART_MISSING answer each."""
        async with self._engine.transaction() as connection:
            rows = await connection.fetch(sql("overdue_batches"), batches)
            ledger = await Ledger.lock(connection, [row["batch_no"] for row in rows])
            for row in rows:
                await connection.execute(sql("refuse_batch"), row["batch_no"])
                ledger.add(row["batch_no"], at, "REFUSED", {"reason": RefusalReason.PART_MISSING.value})
            await stage(connection, [answer(row) for row in rows])
            await ledger.write(connection)
        return len(rows)

    async def load_bindings(self, rows: Sequence[tuple[UUID, bytes]], at: dt.datetime) -> None:
        """Keep accounts by person, sealed; rows are (blind index of the ID, sealed binding)."""
        await self._engine.execute("upsert_bindings", [row[0] for row in rows], [row[1] for row in rows], at)


def _totals_fault(head: PartHead, parts: Sequence[Mapping[str, Any]]) -> tuple[RefusalReason, str] | None:
    """Why a complete set of parts is not the batch its head promises, or None."""
    if sum(part["lines"] for part in parts) != head.lines:
        return RefusalReason.WRONG_TOTALS, "the parts do not hold as many lines as the head says"
    expected = 1
    for part in parts:
        if part["first_line"] != expected:
            return RefusalReason.DUPLICATE_LINE, "line numbers do not run from 1 without gap or repetition"
        expected += part["lines"]
    if sum(billionths_of_sum(part["amount_written"]) for part in parts) != billionths_of_sum(head.amount):
        return RefusalReason.WRONG_TOTALS, "the amounts as written do not add up to the head's sum"
    return None
