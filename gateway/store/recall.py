"""Calling lines back of which the bank certainly has nothing: void, cancelled, answered; the caller holds the locks.

A recall binds the attempts that were made before it. Who is ordered again afterwards is paid: the later of two signed
orders counts. Lines that are held may have been paid, whatever the bank says: they move on and wait, and are called
back when nothing holds them any more.
"""

from __future__ import annotations

import datetime as dt

from gateway.store import ids
from gateway.store.engine import Connection, sql
from gateway.store.history import Ledger
from gateway.store.replan import retire_unsent
from gateway.store.staging import Receipt, stage_receipts


def binds(recalled_by: int | None, order_no: int | None) -> bool:
    """Whether a batch's last recall (its order's number) came after the order that an attempt is from (None: none)."""
    return recalled_by is not None and (order_no or 0) < recalled_by


async def call_back(connection: Connection, ledger: Ledger, batch_no: int, submission_id: int, at: dt.datetime) -> None:
    """Cancel what a recall binds of a submission of which the bank has nothing, and tell."""
    batch = ledger.batches[batch_no]
    receipts = await cancel_unsent(connection, submission_id, batch["recalled_by"], at)
    if receipts:
        await connection.execute(sql("note_cancelled"), batch_no, sum(receipt.amount_fen for receipt in receipts))
        await stage_receipts(connection, batch, receipts, at)
        ledger.add(batch_no, at, "RECALLED", {"submission": submission_id, "lines": len(receipts)})


async def cancel_unsent(
    connection: Connection, submission_id: int, recalled_by: int | None, at: dt.datetime
) -> list[Receipt]:
    """Cancel every unspoken line of a submission that the recall binds and nothing holds; their receipts.

    The submission is retired, and its other lines await new bytes. Nothing is done where no line is bound.
    """
    unsent = await connection.fetch(sql("unsent_attempts"), submission_id)
    bound = [line for line in unsent if binds(recalled_by, line["order_no"])]
    if not bound:
        return []
    lines = [line for line in bound if not line["held"]]
    await connection.execute(sql("void_attempts"), submission_id, [line["reference"] for line in lines], at)
    await connection.execute(sql("cancel_payouts"), [line["payout_id"] for line in lines], at)
    await retire_unsent(connection, submission_id, at)
    return [
        cancelled(line["payout_id"], line["attempt_no"], line["amount_fen"], line["bank_no"], line["reference"], at)
        for line in lines
    ]


def cancelled(
    payout: int, attempt: int, amount_fen: int, bank_no: str, reference: str | None, at: dt.datetime
) -> Receipt:
    """The receipt of a cancellation; without a reference the attempt was never made and never will be."""
    return Receipt(
        line=ids.batch_and_line(payout)[1],
        attempt=attempt,
        outcome="cancelled",
        amount_fen=amount_fen,
        at=at,
        payout=payout,
        reference=reference,
        bank_no=bank_no,
    )
