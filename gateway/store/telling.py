"""What a recording writes down once everything is decided: outcomes, kept evidence, receipts, notices, next attempts.

A line that alone was not taken, or never arrived, is closed and gets a new attempt by itself, after a wait that grows
with each. A bank that goes on like this is not fed for ever: after ``pacing.AUTOMATIC_ATTEMPTS`` attempts under one
order the last of them fails with a reason for which somebody has to act, and the payout waits for that person's order.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from adapters.contract import Evidence
from gateway.pacing import next_attempt
from gateway.states import State
from gateway.store import ids
from gateway.store.consequences import Moving, consequences, never_made, outcome_row
from gateway.store.engine import Connection, sql, touched
from gateway.store.foreign import foreign_name
from gateway.store.hearing import Heard, Recorded
from gateway.store.history import Ledger
from gateway.store.recall import binds
from gateway.store.replan import replan_lines
from gateway.store.staging import Notice, Receipt, stage_notices, stage_receipts


async def give_up(connection: Connection, changed: Sequence[Moving], ledger: Ledger) -> list[int]:
    """Count the attempts of lines that were not executed, and mark those that get no further one by themselves.

    Returns their payouts. Only such lines cost this question; what is called back makes no next attempt anyway.
    """
    closed = [
        attempt for attempt in changed if attempt.known.state is State.NOT_EXECUTED and not _recalled(attempt, ledger)
    ]
    if not closed:
        return []
    rows = await connection.fetch(sql("tries_so_far"), [attempt.row["payout_id"] for attempt in closed])
    tries = {(row["payout_id"], row["order_no"]): row["tries"] for row in rows}
    for attempt in closed:
        last = attempt.moved_by[-1]
        number = tries.get((attempt.row["payout_id"], attempt.row["order_no"]), 0) + 1
        attempt.again_after = next_attempt(last.proof, last.reason, number)
        attempt.given_up = attempt.again_after is None
    return [attempt.row["payout_id"] for attempt in closed if attempt.given_up]


def _recalled(attempt: Moving, ledger: Ledger) -> bool:
    return binds(ledger.batches[attempt.row["batch_no"]]["recalled_by"], attempt.row["order_no"])


async def write_attempts(connection: Connection, changed: Sequence[Moving], at: dt.datetime) -> None:
    """Outcomes, once, conditional on the states they were decided on."""
    if not changed:
        return
    rows = [outcome_row(attempt, at) for attempt in changed]
    columns = [list(column) for column in zip(*rows, strict=True)]
    status = await connection.execute(sql("settle_attempts"), *columns)
    if touched(status) != len(rows):
        raise RuntimeError("an attempt changed under its submission's lock")


async def write_affirmed(connection: Connection, bank: str, attempts: Sequence[Moving]) -> None:
    """Remember which lines the bank said it has, where no move to ACCEPTED says so already."""
    fresh = [
        a.row["reference"]
        for a in attempts
        if a.known.affirmed and not a.row["affirmed"] and not (a.changed and a.known.state is State.ACCEPTED)
    ]
    if fresh:
        await connection.execute(sql("affirm_attempts"), bank, sorted(fresh))


async def write_kept(
    connection: Connection, heard: Heard, kept: Sequence[tuple[Evidence, str, int | None]]
) -> set[str]:
    """Evidence that is kept beside the state, each with its effect and the payout it speaks of.

    Returns the names under which something was new; the same again is not.
    """
    if not kept:
        return set()
    rows = [
        (
            (foreign_name(item.reference) if effect == "UNMATCHED" and payout is None else item.reference) or "",
            item.proof.value,
            effect,
            payout,
            item.reason.value if item.reason else None,
            item.code or None,
            item.amount_fen,
            item.host_reference,
            item.post_date,
            bytes.fromhex(item.artefact) if item.artefact else None,
        )
        for item, effect, payout in kept
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    fresh = await connection.fetch(sql("keep_evidence"), heard.bank, *columns[:9], heard.at, columns[9])
    return {row["reference"] for row in fresh}


class Telling:
    """Receipts and notices of what moved, and new attempts for lines that alone never reached the bank."""

    def __init__(self, connection: Connection, heard: Heard, result: Recorded) -> None:
        self._connection = connection
        self._heard = heard
        self._result = result

    async def tell(self, ledger: Ledger, changed: Sequence[Moving]) -> None:
        at = self._heard.at
        receipts: dict[int, list[Receipt]] = defaultdict(list)
        notices: dict[tuple[int, str], list[Notice]] = defaultdict(list)
        again: dict[tuple[int, dt.datetime], list[str]] = defaultdict(list)
        recalled: list[Moving] = []
        for attempt in changed:
            row = attempt.row
            told, person = consequences(attempt, at)
            receipts[row["batch_no"]] += told
            notices[row["batch_no"], row["sms_signature"]] += person
            self._count(attempt, told)
            if attempt.known.state is not State.NOT_EXECUTED or attempt.given_up:
                continue
            if _recalled(attempt, ledger):
                recalled.append(attempt)
            elif attempt.again_after is not None:
                again[row["submission_id"], at + attempt.again_after].append(row["reference"])
        over = await self._call_back(recalled, ledger)
        for attempt in recalled:
            if attempt.row["payout_id"] in over:
                receipts[attempt.row["batch_no"]].append(never_made(attempt.row, at))
            else:  # frozen: its next attempt waits, and is called back when it thaws
                again[attempt.row["submission_id"], at].append(attempt.row["reference"])
        for batch_no, made in sorted(receipts.items()):
            await stage_receipts(self._connection, ledger.batches[batch_no], made, at)
        for (batch_no, signature), people in sorted(notices.items()):
            await stage_notices(self._connection, batch_no, signature, people, at)
        for (submission_id, due_at), burned in sorted(again.items()):
            await self._plan_again(submission_id, burned, due_at)

    async def _call_back(self, recalled: Sequence[Moving], ledger: Ledger) -> set[int]:
        """Cancel those that are not frozen: finance has called them back, and no attempt follows. Their payouts."""
        if not recalled:
            return set()
        payouts = [attempt.row["payout_id"] for attempt in recalled]
        frozen = {row["payout_id"] for row in await self._connection.fetch(sql("frozen_among"), payouts)}
        by_batch: dict[int, dict[int, int]] = defaultdict(dict)  # fen by payout
        for attempt in recalled:
            if attempt.row["payout_id"] not in frozen:
                by_batch[attempt.row["batch_no"]][attempt.row["payout_id"]] = attempt.row["amount_fen"]
        for batch_no, lines in sorted(by_batch.items()):
            await self._connection.execute(sql("cancel_payouts"), list(lines), self._heard.at)
            await self._connection.execute(sql("note_cancelled"), batch_no, sum(lines.values()))
            ledger.add(batch_no, self._heard.at, "RECALLED", {"lines": len(lines)})
        return set(payouts) - frozen

    def _count(self, attempt: Moving, told: Sequence[Receipt]) -> None:
        self._result.settled += sum(1 for receipt in told if receipt.outcome in ("credited", "failed"))
        self._result.late += sum(1 for receipt in told if receipt.outcome == "credited" and receipt.late)
        if attempt.known.state is State.CREDITED and attempt.row["sent_at"] is not None:
            self._result.credit_seconds.append(int((self._heard.at - attempt.row["sent_at"]).total_seconds()))

    async def _plan_again(self, submission_id: int, burned: Sequence[str], due_at: dt.datetime) -> None:
        heard = self._heard
        fresh = ids.mint_references(len(burned), heard.at, heard.reference_alphabet, heard.reference_length)
        await replan_lines(self._connection, submission_id, burned, fresh, due_at)
