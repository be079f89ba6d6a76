"""Calling lines back of which the bank certainly has nothing: void, cancelled, answered; the caller holds the locks."""

from __future__ import annotations

import datetime as dt

from gateway.store import ids
from gateway.store.engine import Connection, sql
from gateway.store.replan import retire_unsent
from gateway.store.staging import Receipt


async def cancel_unsent(connection: Connection, submission_id: int, at: dt.datetime) -> list[Receipt]:
    """Cancel every unspoken, unfrozen line of a submission; their receipts. Frozen lines move on and wait."""
    unsent = await connection.fetch(sql("unsent_attempts"), submission_id)
    lines = [line for line in unsent if not line["frozen"]]
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
