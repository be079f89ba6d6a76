"""A bank's limits in the store: turns at its login, places on its wire, and submissions that are larger than it takes.

Theory of operation
-------------------

*Turns and places.* All processes together may have so many submissions SENDING at a bank, and may begin so many calls a
second. Both are decided inside the transaction that commits SENDING, under the lock of the bank's row, which is taken
last (after batch and submission) and held for the moment until the commit: whoever waits for it counts afterwards,
and so counts the one it waited for. A submission that gets no turn stays as it was. Nobody sleeps in a transaction;
``NoTurn`` says how long to wait outside. Questions need no lock: their turn is one conditional UPDATE.

*Splitting.* A submission whose bytes do not exist yet can be halved in line order, its lines keeping their references.
Each halving is one transaction under the claim, and depends on nothing but the lines and the bank's limits: a process
that dies between two halvings leaves two smaller submissions, which the next one halves as this one would have.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from gateway.store.claims import Claim, Fenced
from gateway.store.engine import Connection, Engine, sql
from gateway.store.history import Ledger
from gateway.store.replan import fresh_submission, retire_unsent

MOST_AT_ONCE = 1_000_000


class NoTurn(Exception):
    """The bank takes no further submission now. ``wait_milliseconds`` is None while its wire is full."""

    def __init__(self, wait_milliseconds: int | None) -> None:
        super().__init__("no turn yet" if wait_milliseconds else "as many on the wire as the bank allows")
        self.wait_milliseconds = wait_milliseconds


@dataclass(frozen=True, slots=True)
class Pace:
    """How many submissions of one bank may be SENDING, and how many real milliseconds lie between two of them."""

    in_flight: int = MOST_AT_ONCE
    submit_interval_milliseconds: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What a bank would take now: places on its wire, and the wait until the next submission may begin."""

    places: int
    wait_milliseconds: int


async def take_submit_turn(connection: Connection, bank: str, pace: Pace) -> None:
    """Inside the transaction that has just written SENDING: keep the turn until its commit. Raises NoTurn."""
    row = await connection.fetchrow(sql("lock_bank"), bank)
    # A statement of its own, so that it sees what was committed while the lock was waited for.
    if row is None or await connection.fetchval(sql("sending_count"), bank) > pace.in_flight:
        raise NoTurn(None)
    if pace.submit_interval_milliseconds == 0:
        return
    if row["wait_milliseconds"] > 0:
        raise NoTurn(row["wait_milliseconds"])
    await connection.execute(sql("use_submit_turn"), bank, pace.submit_interval_milliseconds)


class Limits:
    """The store's room for limits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def room(self, bank: str, pace: Pace) -> Room:
        """A look at what a bank would take now, so that nothing is claimed in vain. It promises nothing."""
        sending = await self._engine.fetchrow("sending_count", bank)
        wait = await self._engine.fetchrow("submit_wait", bank) if pace.submit_interval_milliseconds else None
        places = pace.in_flight - (0 if sending is None else int(sending["count"]))
        return Room(max(places, 0), 0 if wait is None else int(wait["wait_milliseconds"]))

    async def take_probe_turn(self, bank: str, interval_milliseconds: int) -> int:
        """Take the turn for one question: 0, or how many real milliseconds to wait before trying again."""
        if interval_milliseconds == 0:
            return 0
        if await self._engine.fetchrow("take_probe_turn", bank, interval_milliseconds) is not None:
            return 0
        row = await self._engine.fetchrow("probe_wait", bank)
        return interval_milliseconds if row is None else int(row["wait_milliseconds"])

    async def split(self, claim: Claim, at: dt.datetime) -> int:
        """Halve a claimed submission that has no bytes yet: the first half keeps it, the second gets one of its own.

        Returns the new submission and gives the claim back. Fenced when the claim is lost; ValueError for a single
        line, which nothing can make smaller.
        """
        async with self._engine.transaction() as connection:
            ledger = await Ledger.lock(connection, [claim.batch_no])
            row = await connection.fetchrow(sql("lock_claimed"), claim.submission_id, claim.fence)
            if row is None or row["state"] != "PLANNED":
                raise Fenced
            lines = await connection.fetch(sql("unspoken_lines"), claim.submission_id)
            if len(lines) < 2:
                raise ValueError("a single line cannot be split")
            moved = lines[(len(lines) + 1) // 2 :]
            amount_fen = sum(line["amount_fen"] for line in moved)
            fresh = await fresh_submission(connection, claim.submission_id, len(moved), amount_fen, row["due_at"])
            await connection.execute(
                sql("rebind_attempts"), claim.submission_id, fresh, [line["reference"] for line in moved]
            )
            await connection.execute(sql("shrink_submission"), claim.submission_id, len(moved), amount_fen)
            body = {"submission": claim.submission_id, "lines": len(lines) - len(moved), "into": [fresh, len(moved)]}
            ledger.add(claim.batch_no, at, "SPLIT", body)
            await ledger.write(connection)
            return fresh

    async def take_back(self, claim: Claim, at: dt.datetime) -> None:
        """Retire rendered bytes of which none ever left and that the bank would not take any more.

        Its lines keep their references and are rendered, and then split, anew. Fenced when the claim is lost or a
        byte may have left: those bytes travel again as they are, or not at all.
        """
        async with self._engine.transaction() as connection:
            ledger = await Ledger.lock(connection, [claim.batch_no])
            row = await connection.fetchrow(sql("lock_claimed"), claim.submission_id, claim.fence)
            if row is None or row["state"] not in ("RENDERED", "DEFERRED") or row["transmissions"] > row["unsent"]:
                raise Fenced
            fresh = await retire_unsent(connection, claim.submission_id, at)
            ledger.add(claim.batch_no, at, "TAKEN_BACK", {"submission": claim.submission_id, "into": fresh})
            await ledger.write(connection)
