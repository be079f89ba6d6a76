"""Orders in the store: each is decided once, under its batch's lock, and applied in the same transaction.

An order names the latest attempt of a payout. A re-issue makes the next one; a cancellation burns one that was not
sent, or says that no further one will be made (its receipt then carries the number of the attempt that never was, so
that every attempt has exactly one final receipt).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from gateway.states import AT_THE_BANK, CANCELLABLE, DOUBTFUL, State, effective
from gateway.store import ids
from gateway.store.batches import Signed, Stored
from gateway.store.engine import Connection, Engine, Row, sql
from gateway.store.history import Ledger
from gateway.store.outbox import stage
from gateway.store.planning import Route, insert_submission
from gateway.store.recall import cancel_unsent, cancelled
from gateway.store.refusing import refusal
from gateway.store.replan import retire_unsent
from gateway.store.staging import Receipt, stage_receipts
from schemas.v1 import Kind, OrderKind, RefusalReason


class StillJudging(Exception):
    """The batch's lines are being judged at this moment; ask again shortly."""


class OrderRefused(Exception):
    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class OrderHead:
    """An order as it was signed. ``seal`` of its bytes is done by the caller."""

    issuer: str
    order_id: str
    kind: OrderKind
    batch_id: str
    line: int | None
    attempt: int | None
    signed: Signed
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Reissue:
    """How the next attempt is made: where it goes, and details that differ from the payout's own."""

    bank: str
    bank_no: str
    county: str
    route: Route
    has_phone: bool
    person: UUID | None  # a corrected ID's blind index
    seal: Callable[[int], bytes | None]  # the details sealed for an order number; None: the payout's own
    limit_at: dt.datetime
    hold_at: dt.datetime
    gather_until: dt.datetime


# Given the batch, the payout and its latest attempt (all locked): how to re-issue, or OrderRefused.
Prepare = Callable[[Row, Row, Row], Reissue]


class Orders:
    """The store's room for orders."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def decide(self, head: OrderHead, prepare: Prepare) -> Stored:
        """Apply an order once. Identical bytes again are a no-op; a refusal is remembered like an application."""
        known = await self._engine.fetchrow("known_order", head.issuer, head.order_id)
        if known is not None:
            if bytes(known["digest"]) == head.signed.digest:
                return Stored(repeated=True)
            return Stored(refused=RefusalReason.CONFLICTING_CONTENT, detail="this order is known with other bytes")
        try:
            async with self._engine.transaction() as connection:
                await _Deciding(connection, head, prepare).apply()
        except OrderRefused as refused:
            return await self._refuse(head, refused.reason, refused.detail)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "payouts_once_per_person":
                raise
            detail = "the corrected person has a payout of this programme and period already"
            return await self._refuse(head, RefusalReason.BENEFICIARY_COLLISION, detail)
        return Stored()

    async def _refuse(self, head: OrderHead, reason: RefusalReason, detail: str) -> Stored:
        """Remember a refused order and stage its answer, in one transaction."""
        record = refusal(
            Kind.ORDER,
            reason,
            detail,
            head.signed.at,
            digest=head.signed.digest,
            issuer=head.issuer,
            batch_id=head.batch_id,
            order_id=head.order_id,
        )
        async with self._engine.transaction() as connection:
            await _keep(connection, head, reason.value)
            await stage(connection, [record])
        return Stored(refused=reason, detail=detail, answered=True)


async def _keep(connection: Connection, head: OrderHead, outcome: str) -> int:
    return int(
        await connection.fetchval(
            sql("insert_order"),
            head.issuer,
            head.order_id,
            head.kind.value,
            head.batch_id,
            head.line,
            head.attempt,
            head.signed.digest,
            head.signed.key_id,
            head.signed.signature,
            head.sealed,
            outcome,
            head.signed.at,
        )
    )


class _Deciding:
    """One order, one transaction."""

    def __init__(self, connection: Connection, head: OrderHead, prepare: Prepare) -> None:
        self._connection = connection
        self._head = head
        self._prepare = prepare
        self._at = head.signed.at

    async def apply(self) -> None:
        rows = await self._connection.fetch(sql("lock_batch_by_id"), self._head.issuer, self._head.batch_id)
        if not rows:
            raise OrderRefused(RefusalReason.UNKNOWN_BATCH, "no such batch of this issuer")
        batch = rows[0]
        if batch["state"] == "JUDGING":
            raise StillJudging
        ledger = await Ledger.lock(self._connection, [batch["batch_no"]])
        order_no = await _keep(self._connection, self._head, "APPLIED")
        if self._head.kind is OrderKind.RECALL:
            await self._recall(batch, ledger, order_no)
        else:
            await self._one(batch, ledger, order_no)
        await ledger.write(self._connection)

    async def _one(self, batch: asyncpg.Record, ledger: Ledger, order_no: int) -> None:
        line, attempt = self._head.line, self._head.attempt
        if line is None or attempt is None:
            raise OrderRefused(RefusalReason.SCHEMA, "this kind of order names a line and an attempt")
        key = ids.payout_id(batch["batch_no"], line)
        payout = await self._connection.fetchrow(sql("payout_for_order"), key)
        if payout is None:
            raise OrderRefused(RefusalReason.UNKNOWN_PAYOUT, "no approved line of that number")
        if payout["cancelled_at"] is not None:
            raise OrderRefused(RefusalReason.ALREADY_CANCELLED, "the payout is cancelled")
        if payout["frozen"]:
            raise OrderRefused(RefusalReason.CONFLICT, "the payout is frozen by a contradiction of its bank")
        latest = await self._connection.fetchrow(sql("latest_attempt"), key)
        state = None if latest is None else _state_of(latest)
        if attempt != (1 if latest is None else latest["attempt_no"]):
            raise OrderRefused(RefusalReason.STALE_ATTEMPT, "the order does not name the latest attempt")
        _demand_open_to(self._head.kind, state)
        if self._head.kind is OrderKind.CANCEL:
            await self._cancel(batch, ledger, payout, latest)
        elif latest is not None:
            await self._reissue(batch, ledger, payout, latest, order_no)

    async def _cancel(
        self, batch: asyncpg.Record, ledger: Ledger, payout: asyncpg.Record, latest: asyncpg.Record | None
    ) -> None:
        """Burn an unsent attempt, or say that there will be no further one."""
        number, reference = 1, None
        if latest is not None:
            number = latest["attempt_no"] + 1
            if latest["live"]:
                number, reference = latest["attempt_no"], latest["reference"]
                await self._void(latest["submission_id"], [latest["reference"]])
        await self._connection.execute(sql("cancel_payouts"), [payout["payout_id"]], self._at)
        await self._free_money(batch["batch_no"], payout["amount_fen"])
        receipt = cancelled(payout["payout_id"], number, payout["amount_fen"], payout["bank_no"], reference, self._at)
        await stage_receipts(self._connection, ledger.batches[batch["batch_no"]], [receipt], self._at)
        body = {"order": self._head.order_id, "line": self._head.line, "attempt": number}
        ledger.add(batch["batch_no"], self._at, "CANCELLED", body)

    async def _void(self, submission_id: int, references: list[str]) -> None:
        """Close unsent lines. The submission is retired: what is left of it gets new bytes and keeps its references."""
        await self._connection.execute(sql("void_attempts"), submission_id, references, self._at)
        await retire_unsent(self._connection, submission_id, self._at)

    async def _reissue(
        self, batch: asyncpg.Record, ledger: Ledger, payout: asyncpg.Record, latest: asyncpg.Record, order_no: int
    ) -> None:
        plan = self._prepare(dict(batch), dict(payout), dict(latest))
        if plan.person is not None:
            await self._connection.execute(sql("change_person"), payout["payout_id"], plan.person)
        amount_fen = payout["amount_fen"]
        submission_id = await self._gathering(batch["batch_no"], plan, amount_fen)
        seq = int(await self._connection.fetchval(sql("highest_seq"), submission_id)) + 1
        reference = ids.mint_references(1, self._at, plan.route.reference_alphabet, plan.route.reference_length)[0]
        attempt = latest["attempt_no"] + 1
        await self._connection.execute(
            sql("insert_attempt"),
            submission_id,
            seq,
            payout["payout_id"],
            attempt,
            plan.bank,
            reference,
            amount_fen,
            plan.limit_at,
            order_no,
            plan.seal(order_no),
            plan.has_phone,
        )
        body = {"order": self._head.order_id, "line": self._head.line, "attempt": attempt, "reference": reference}
        ledger.add(batch["batch_no"], self._at, "REISSUED", body)

    async def _gathering(self, batch_no: int, plan: Reissue, amount_fen: int) -> int:
        """A submission in which re-issues of this batch for one bank gather, with room for one line more."""
        found = await self._connection.fetchval(
            sql("gathering_submission"),
            batch_no,
            plan.bank,
            plan.bank_no,
            self._at,
            plan.gather_until,
            plan.route.max_lines,
            amount_fen,
            plan.route.max_total_fen,
        )
        if found is not None:
            await self._connection.execute(sql("grow_submission"), found, amount_fen, plan.limit_at, plan.hold_at)
            return int(found)
        head = {
            "batch_no": batch_no,
            "bank": plan.bank,
            "bank_no": plan.bank_no,
            "county": plan.county,
            "limit_at": plan.limit_at,
            "hold_at": plan.hold_at,
        }
        line = {"amount_fen": amount_fen}
        return await insert_submission(self._connection, head, plan.route, [line], plan.gather_until)

    async def _recall(self, batch: asyncpg.Record, ledger: Ledger, order_no: int) -> None:
        """Cancel every line of which the bank certainly has nothing; a list that is not whole will never be paid."""
        batch_no = batch["batch_no"]
        receipts: list[Receipt] = []
        if batch["state"] == "COLLECTING":
            await self._connection.execute(sql("refuse_batch"), batch_no)
        if batch["state"] in ("AWAITING_FUNDS", "PAYING", "COMPLETE"):  # a complete batch may hold a re-issue
            base = batch_no << ids.LINE_BITS
            unplanned = await self._connection.fetch(
                sql("unplanned_payouts"), base | batch["planned_line"], base | batch["lines"]
            )
            receipts += [cancelled(r["payout_id"], 1, r["amount_fen"], r["bank_no"], None, self._at) for r in unplanned]
            for submission in await self._connection.fetch(sql("recallable_submissions"), batch_no):
                key = submission["submission_id"]
                receipts += await cancel_unsent(self._connection, key, order_no, self._at)
        await self._connection.execute(sql("recall_batch"), batch_no, self._at, order_no)
        await self._connection.execute(sql("cancel_payouts"), [receipt.payout for receipt in receipts], self._at)
        await self._free_money(batch_no, sum(receipt.amount_fen for receipt in receipts))
        await stage_receipts(self._connection, ledger.batches[batch_no], receipts, self._at)
        ledger.add(batch_no, self._at, "RECALLED", {"order": self._head.order_id, "lines": len(receipts)})

    async def _free_money(self, batch_no: int, amount_fen: int) -> None:
        """A cancelled line needs no money: the funds have to cover the others only."""
        await self._connection.execute(sql("note_cancelled"), batch_no, amount_fen)


def _state_of(latest: asyncpg.Record) -> State:
    """Stable: every change of a batch's attempts happens under the lock that is held here."""
    own = None if latest["state"] is None else State(latest["state"])
    return effective(own, State.PLANNED if own is not None else State(latest["submission_state"]))


def _demand_open_to(kind: OrderKind, state: State | None) -> None:
    """OrderRefused unless an order of this kind may be applied to a latest attempt in ``state`` (None: not planned)."""
    if state is State.CREDITED:
        raise OrderRefused(RefusalReason.ALREADY_CREDITED, "the latest attempt is credited")
    if state in DOUBTFUL:
        raise OrderRefused(RefusalReason.IN_DOUBT, "nobody knows yet whether the latest attempt was paid")
    if state in (State.REJECTED, State.RETURNED, State.NOT_EXECUTED):
        return  # the latest attempt is not executed only where the core makes no next one by itself
    if kind is OrderKind.REISSUE:
        raise OrderRefused(RefusalReason.NOT_FAILED, "the latest attempt has not failed")
    if state is not None and state not in CANCELLABLE:
        detail = "the bank has it" if state in AT_THE_BANK else "the latest attempt is closed"
        raise OrderRefused(RefusalReason.ALREADY_SENT, detail)
