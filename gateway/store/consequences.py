"""What a move of an attempt writes and owes: its outcome row, finance's receipts, the person's notice."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from adapters.contract import Evidence, Reason
from gateway.states import CLOSED_NEGATIVE, SETTLED, Known, State
from gateway.store import ids
from gateway.store.staging import Notice, Receipt

LOCAL_CODE = "LOCAL:"  # in front of the reason of a line that we refused before sending: no bank's code


@dataclass(slots=True)
class Moving:
    """One locked attempt, as it was read and as it becomes."""

    row: asyncpg.Record
    known: Known
    moved_by: list[Evidence] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    again_after: dt.timedelta | None = None  # of a line that was not executed: the wait for its next attempt
    given_up: bool = False  # or there is none, and people decide

    @property
    def changed(self) -> bool:
        return bool(self.states)


def outcome_row(attempt: Moving, at: dt.datetime) -> tuple[Any, ...]:
    """The row that ``settle_attempts`` writes. A return read before its credit implies the credit."""
    row, state, last = attempt.row, attempt.known.state, attempt.moved_by[-1]
    credit = next((e for e, s in zip(attempt.moved_by, attempt.states, strict=True) if s is State.CREDITED), None)
    credited = state in (State.CREDITED, State.RETURNED)
    returned = state is State.RETURNED
    reason = last.reason or (Reason.UNKNOWN if state in CLOSED_NEGATIVE else None)
    if returned and reason is Reason.UNKNOWN:
        reason = Reason.RETURNED_AFTER_CREDIT
    if state is State.NOT_EXECUTED:
        reason = not_executed(attempt)
    return (
        row["submission_id"],
        row["seq"],
        row["state"],
        state.value,
        state not in CLOSED_NEGATIVE,
        reason.value if reason and state is not State.CREDITED else None,
        last.code or None,
        credit.host_reference if credit else None,
        credit.post_date if credit else None,  # a return does not change the day of its credit
        bytes.fromhex(last.artefact) if last.artefact else None,
        at if state in SETTLED else None,
        at if credited else None,
        last.host_reference if returned else None,
        at if returned else None,
    )


def consequences(attempt: Moving, at: dt.datetime) -> tuple[list[Receipt], list[Notice]]:
    """What finance and the person must hear about the moves of one attempt."""
    row = attempt.row
    _, line = ids.batch_and_line(row["payout_id"])
    receipts: list[Receipt] = []
    notices: list[Notice] = []
    credited = row["credited_at"] is not None

    def receipt(outcome: str, item: Evidence, reason: Reason | None = None, *, late: bool = False) -> None:
        receipts.append(
            Receipt(
                line=line,
                attempt=row["attempt_no"],
                outcome=outcome,
                amount_fen=row["amount_fen"],
                at=at,
                payout=row["payout_id"],
                reason=reason.value if reason else None,
                reference=row["reference"],
                bank_no=row["bank_no"],
                bank_code=None if item.code.startswith(LOCAL_CODE) else item.code or None,
                host_reference=item.host_reference,
                post_date=item.post_date,
                limit_at=row["limit_at"],
                late=late,
            )
        )

    def notice(kind: str) -> None:
        if row["has_phone"]:
            notices.append(Notice(row["payout_id"], row["attempt_no"], row["submission_id"], row["seq"], kind))

    for item, state in zip(attempt.moved_by, attempt.states, strict=True):
        if state is State.CREDITED or (state is State.RETURNED and not credited):
            receipt("credited", item, late=is_late(item if state is State.CREDITED else None, row["limit_at"], at))
            if state is State.CREDITED:
                notice("REISSUE_ARRIVAL" if row["order_no"] is not None else "ARRIVAL")
        if state is State.RETURNED:
            receipt("returned", item, item.reason or Reason.RETURNED_AFTER_CREDIT)
            if credited:
                notice("CORRECTION")
        elif state is State.REJECTED:
            receipt("failed", item, item.reason or Reason.UNKNOWN)
        elif state is State.NOT_EXECUTED:
            receipt("failed", item, not_executed(attempt))
        credited = credited or state in (State.CREDITED, State.RETURNED)
    return receipts, notices


def not_executed(attempt: Moving) -> Reason:
    """Why a line that the bank did not take is closed: the core plans the next attempt, or somebody has to act.

    Where nothing is left to do by ourselves, the reason names whose move it is: finance's, ours, or, where the bank
    gave none that says so, people's who ask the bank.
    """
    if not attempt.given_up:
        return Reason.NOT_EXECUTED
    reason = attempt.moved_by[-1].reason
    return reason if reason in (Reason.FUNDS_SHORT, Reason.FORMAT, Reason.SIGNATURE) else Reason.UNKNOWN


def never_made(row: asyncpg.Record, at: dt.datetime) -> Receipt:
    """The receipt that says, under the next attempt's number, that there will be none: the batch was recalled."""
    return Receipt(
        line=ids.batch_and_line(row["payout_id"])[1],
        attempt=row["attempt_no"] + 1,
        outcome="cancelled",
        amount_fen=row["amount_fen"],
        at=at,
        payout=row["payout_id"],
        bank_no=row["bank_no"],
    )


def is_late(credit: Evidence | None, limit_at: dt.datetime | None, at: dt.datetime) -> bool:
    """Late is judged by the day the bank booked the credit; where it names none, by when we learned of it."""
    if limit_at is None:
        return False
    limit = limit_at.astimezone(at.tzinfo)
    if credit is not None and credit.post_date is not None:
        # A deadline "24:00" is midnight of the next day: the last instant that is still in time names the day.
        return credit.post_date > (limit - dt.timedelta(microseconds=1)).date()
    return at > limit
