"""The books of one example, read by a witness of its own, and what must hold in them at every moment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.states import OPEN, State, effective
from gateway.store.engine import sql
from gateway.store.history import verify_chain
from gateway.store.reads import Count
from tests.storm.model.bank import TruthBank

ATTEMPTS = """
SELECT a.payout_id & 1048575 AS line, a.attempt_no, a.reference, a.live, a.state, a.amount_fen, a.host_reference,
       s.state AS submission_state
FROM attempts a JOIN submissions s USING (submission_id) WHERE a.payout_id >> 20 = $1 ORDER BY 1, 2
"""
SUBMISSIONS = """
SELECT submission_id, reference, state, fence, lease_until IS NULL OR lease_until < clock_timestamp() AS lost
FROM submissions WHERE batch_no = $1
"""
PAYOUTS = """
SELECT payout_id & 1048575 AS line, conflict_at, cancelled_at,
       payout_id IN (SELECT payout_id FROM frozen_payouts) AS waits_for_people
FROM payouts WHERE payout_id >> 20 = $1 ORDER BY 1
"""
RECEIPTS = "SELECT value FROM outbox WHERE topic = 'receipts' ORDER BY outbox_id"
HISTORY = "SELECT seq, at, event, body, hash FROM history WHERE batch_no = $1 ORDER BY seq"
BATCH = "SELECT * FROM batches WHERE batch_no = $1"
ORDERS = "SELECT kind, line, attempt_no, outcome FROM orders WHERE batch_id = $1 ORDER BY order_no"

FINAL = {
    State.CREDITED: "credited",
    State.RETURNED: "credited",
    State.REJECTED: "failed",
    State.NOT_EXECUTED: "failed",
    State.VOID: "cancelled",
}
MADE_ANEW = (State.REJECTED, State.RETURNED, State.NOT_EXECUTED)  # what a further attempt may follow
KNOWN_AFTER = {State.CREDITED: {State.CREDITED, State.RETURNED}}  # the others stay what they are


@dataclass
class Books:
    """One reading."""

    attempts: dict[tuple[int, int], Any] = field(default_factory=dict)
    states: dict[tuple[int, int], State] = field(default_factory=dict)
    submissions: dict[int, Any] = field(default_factory=dict)
    payouts: dict[int, Any] = field(default_factory=dict)
    receipts: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    history: list[Any] = field(default_factory=list)
    orders: list[Any] = field(default_factory=list)
    batch: Any = None
    count: Count = field(default_factory=Count)

    @classmethod
    async def read(cls, connection: asyncpg.Connection, batch_no: int) -> Books:
        books = cls()
        # No transaction: whoever could write stands still while the witness reads.
        for row in await connection.fetch(ATTEMPTS, batch_no):
            key = row["line"], row["attempt_no"]
            books.attempts[key] = row
            own = State(row["state"]) if row["state"] else None
            shared = State.__members__.get(row["submission_state"], State.VOID)
            books.states[key] = effective(own, shared)
        books.submissions = {row["submission_id"]: row for row in await connection.fetch(SUBMISSIONS, batch_no)}
        books.payouts = {row["line"]: row for row in await connection.fetch(PAYOUTS, batch_no)}
        books.batch = await connection.fetchrow(BATCH, batch_no)
        batch_id = books.batch["batch_id"]
        for row in await connection.fetch(RECEIPTS):
            chunk = json.loads(row["value"])
            for receipt in chunk["receipts"] if chunk["batch_id"] == batch_id else ():
                books.receipts[receipt["line"], receipt["attempt"], receipt["outcome"]] += 1
        books.orders = await connection.fetch(ORDERS, batch_id)
        books.history = await connection.fetch(HISTORY, batch_no)
        books.count = Count.of_rows([dict(row) for row in await connection.fetch(sql("count_batch"), batch_no)])
        return books

    @property
    def frozen(self) -> set[int]:
        return {line for line, row in self.payouts.items() if row["conflict_at"] is not None}

    def latest(self, line: int) -> int:
        """The number of a payout's latest attempt; 1 where there is none yet."""
        return max((number for owner, number in self.attempts if owner == line), default=1)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is left that could move by itself."""
        return (
            not any(
                state in OPEN and state is not State.HELD and self.attempts[key]["live"] and key[0] not in self.frozen
                for key, state in self.states.items()
            )
            and not self.count.payouts["queued"]
        )


def faults_of(before: Books, now: Books, bank: TruthBank) -> Iterator[str]:
    """What is wrong with the books, or with what they led the bank to do; nothing for a sound gateway."""
    yield from bank.violations
    yield from _bank_faults(now, bank)
    yield from _identity_faults(now)
    yield from _receipt_faults(now)
    yield from _order_faults(now)
    yield from _change_faults(before, now)


def _bank_faults(now: Books, bank: TruthBank) -> Iterator[str]:
    for line in sorted({item.line for item in bank.items} - bank.broken):
        if bank.net(line) > 1:
            yield f"DP: line {line} was credited {bank.net(line)} times"
    live = Counter(line for (line, _), row in now.attempts.items() if row["live"])
    yield from (f"line {line} has {count} live attempts" for line, count in live.items() if count > 1)


def _identity_faults(now: Books) -> Iterator[str]:
    count = now.count
    if count.stray or count.gap(now.batch["approved_lines"]) or count.gap_fen(now.batch["approved_fen"]):
        yield f"the identity does not close: {count.payouts}, stray {count.stray}"
    head = (now.batch["history_seq"], bytes(now.batch["history_hash"]))
    broken = verify_chain([dict(row) for row in now.history], head)
    if broken is not None:
        yield f"the history breaks at event {broken}"


def _receipt_faults(now: Books) -> Iterator[str]:
    """RX: every attempt that ended has exactly one final receipt, every return one more, and nothing else has any."""
    due: Counter[tuple[int, int, str]] = Counter()
    for (line, number), state in now.states.items():
        if now.attempts[line, number]["state"] is None:
            continue
        if state in FINAL:
            due[line, number, FINAL[state]] += 1
        if state is State.RETURNED:
            due[line, number, "returned"] += 1
    for line, row in now.payouts.items():
        numbers = [number for owner, number in now.attempts if owner == line]
        voided = bool(numbers) and now.states[line, max(numbers)] is State.VOID
        if row["cancelled_at"] is not None and not voided:
            due[line, max(numbers, default=0) + 1, "cancelled"] += 1
    for key in sorted(set(due) | set(now.receipts)):
        if due[key] != now.receipts[key]:
            yield f"RX: {now.receipts[key]} receipts {key}, due {due[key]}"


def _order_faults(now: Books) -> Iterator[str]:
    """An attempt follows a closed one only, and by one order; the core alone may follow a line that never arrived."""
    applied = Counter(
        (order["line"], order["attempt_no"])
        for order in now.orders
        if order["kind"] == "REISSUE" and order["outcome"] == "APPLIED"
    )
    for (line, number), state in now.states.items():
        followed = (line, number + 1) in now.attempts
        orders = applied.pop((line, number), 0)
        if followed and state not in MADE_ANEW:
            yield f"attempt {(line, number)} is {state} and has a successor"
        if orders > 1 or orders > followed or (followed and not orders and state is not State.NOT_EXECUTED):
            yield f"{orders} orders made the successor of attempt {(line, number)}"
    yield from (f"an order was applied to attempt {key}, which is not there" for key in applied)


def _change_faults(before: Books, now: Books) -> Iterator[str]:
    for key, state in before.states.items():
        if before.attempts[key]["state"] is None or state not in FINAL:
            continue
        after = now.states.get(key)
        if after not in KNOWN_AFTER.get(state, {state}):
            yield f"attempt {key} was known to be {state} and is {after}"
    yield from (f"line {line} thawed by itself" for line in before.frozen - now.frozen)
    for row in now.history[len(before.history) :]:
        if row["event"] != "SENDING":
            continue
        body = json.loads(row["body"])
        claim = before.submissions.get(body["submission"])
        if claim is None or claim["fence"] < body["fence"]:
            continue  # claimed in this very step
        if claim["fence"] > body["fence"] or claim["lost"]:
            yield f"a fenced process recorded SENDING of submission {body['submission']}"


def faults_at_rest(books: Books, bank: TruthBank) -> Iterator[str]:
    """MP: when all is quiet every payout has an end, and the bank's ledger agrees with it."""
    if not books.at_rest:
        yield f"no rest: {dict(Counter(str(s) for s in books.states.values()))}"
    for line, row in books.payouts.items():
        number = books.latest(line)
        state = books.states.get((line, number))
        if line in bank.broken:
            if row["conflict_at"] is None and bank.has_told(line):
                yield f"line {line} contradicts itself at the bank and is not frozen"
        elif row["conflict_at"] is not None:
            yield f"line {line} is frozen although the bank kept its word"
        elif state is State.CREDITED and bank.net(line) != 1:
            yield f"MP: line {line} is credited in the books, {bank.net(line)} at the bank"
        elif state not in (State.CREDITED, State.HELD) and bank.net(line) != 0:
            yield f"line {line} is {state} in the books, credited at the bank"
