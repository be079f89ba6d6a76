"""Submissions in the store: claims with a lease and a fence, bytes before sending, SENDING before the wire, doubt.

Theory of operation
-------------------

A *claim* sets ``lease_until`` on the database's own clock and raises ``fence``. Whoever holds the highest fence and an
unexpired lease may take the next step; everybody else is told so by a row count of zero. The one step that matters,
RENDERED or DEFERRED to SENDING, is a single conditional UPDATE committed before a byte leaves: a process that was
stopped, paused or partitioned beyond its lease cannot send any more, and what it had in SENDING is put in doubt and
asked about by whoever finds it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway import metrics
from gateway.log import get_logger
from gateway.store.claims import Claim, Fenced, claim_of
from gateway.store.engine import Engine, Row, sql, touched
from gateway.store.history import Ledger
from gateway.store.limits import Pace, take_submit_turn
from gateway.store.recall import call_back
from gateway.store.replan import fresh_submission, retire_unsent

log = get_logger("submissions")


@dataclass(frozen=True, slots=True)
class Rendering:
    """What ``write_rendering`` persists. ``payload`` is sealed; ``digest`` is of the clear bytes."""

    payload: bytes
    digest: bytes
    remote_name: str
    at: dt.datetime
    lines: int
    amount_fen: int
    expected_lines: int  # how many lines the submission had when they were read: it may have grown meanwhile


__all__ = ["Claim", "Fenced", "Rendering", "Submissions", "claim_of"]


class Submissions:
    """The store's room for submissions."""

    def __init__(self, engine: Engine, owner: str, lease_seconds: int) -> None:
        self._engine = engine
        self._owner = owner
        self._lease_seconds = lease_seconds

    async def claim_to_render(self, bank: str, at: dt.datetime, limit: int) -> list[Row]:
        return await self._engine.fetch("claim_to_render", bank, self._owner, self._lease_seconds, at, limit)

    async def claim_to_send(self, bank: str, at: dt.datetime, limit: int) -> list[Row]:
        return await self._engine.fetch("claim_to_send", bank, self._owner, self._lease_seconds, at, limit)

    async def claim_to_probe(self, bank: str, at: dt.datetime, limit: int) -> list[Row]:
        return await self._engine.fetch("claim_to_probe", bank, self._owner, self._lease_seconds, at, limit)

    async def renew(self, claim: Claim) -> bool:
        """Keep a claim while its work goes on; False when it is lost."""
        count = await self._engine.execute(
            "renew_leases", claim.submission_id, self._lease_seconds, claim.fence, self._owner
        )
        return count == 1

    @asynccontextmanager
    async def kept(self, claim: Claim) -> AsyncIterator[None]:
        """Renew a claim while a call lasts. A lost claim does not stop the call: its answer is evidence too."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._lease_seconds / 3)
                try:
                    if not await self.renew(claim):
                        return
                except Exception as error:
                    log.warning("lease not renewed", submission=claim.submission_id, exc_info=error)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def release(self, claim: Claim) -> None:
        await self._engine.execute("release_submission", claim.submission_id, claim.fence)

    async def lines_to_render(self, submission_id: int) -> Sequence[Mapping[str, Any]]:
        async with self._engine.connection() as connection:  # records as they are: there are thousands of them
            return await connection.fetch(sql("lines_to_render"), submission_id)  # type: ignore[return-value]

    async def sent_references(self, submission_id: int) -> tuple[str, ...]:
        """The references in a submission's bytes, in order."""
        async with self._engine.connection() as connection:
            return tuple(row[0] for row in await connection.fetch(sql("sent_references"), submission_id))

    async def set_held_aside(self, claim: Claim, at: dt.datetime, unapproved: Sequence[int] = ()) -> int:
        """Retire a claimed, unsent submission with lines that are held: the others get new bytes, these wait.

        ``unapproved`` are payouts to freeze first: lines in it pay what nobody approved. Returns how many lines wait.
        Their submission is due in a year: what settles the difference, or a person's decision, brings them back.
        """
        async with self._engine.transaction() as connection:
            ledger = await Ledger.lock(connection, [claim.batch_no])
            await connection.execute(sql("share_statements_of"), claim.submission_id)  # nothing thaws unseen meanwhile
            row = await connection.fetchrow(sql("lock_claimed"), claim.submission_id, claim.fence)
            if row is None:
                raise Fenced
            if unapproved:
                await connection.fetch(sql("freeze_payouts"), list(unapproved), at)
            held = [r["payout_id"] for r in await connection.fetch(sql("held_lines"), claim.submission_id)]
            if not held:
                return 0
            lines = await connection.fetch(sql("lines_of_payouts"), claim.submission_id, held)
            total = sum(line["amount_fen"] for line in lines)
            in_a_year = at + dt.timedelta(days=365)
            aside = await fresh_submission(
                connection, claim.submission_id, len(lines), total, in_a_year, set_aside_at=at
            )
            await connection.execute(
                sql("rebind_attempts"), claim.submission_id, aside, [line["reference"] for line in lines]
            )
            await retire_unsent(connection, claim.submission_id, at)
            body: dict[str, object] = {"submission": claim.submission_id, "lines": len(lines)}
            if unapproved:  # by their whole numbers: they may be of any batch
                body["unapproved"] = sorted(unapproved)
            ledger.add(claim.batch_no, at, "SET_ASIDE", body)
            await ledger.write(connection)
            return len(lines)

    async def call_back(self, claim: Claim, at: dt.datetime) -> None:
        """Cancel what a recall binds of a claimed, unsent submission: it was held when its list was recalled."""
        async with self._engine.transaction() as connection:
            ledger = await Ledger.lock(connection, [claim.batch_no])
            if await connection.fetchrow(sql("lock_claimed"), claim.submission_id, claim.fence) is None:
                raise Fenced
            await call_back(connection, ledger, claim.batch_no, claim.submission_id, at)
            await ledger.write(connection)

    async def write_rendering(self, claim: Claim, rendering: Rendering) -> None:
        """Persist the bytes of a claimed submission, once. Fenced when the claim is lost."""
        async with self._engine.transaction() as connection:
            ledger = await Ledger.lock(connection, [claim.batch_no])
            status = await connection.execute(
                sql("write_rendering"),
                claim.submission_id,
                claim.fence,
                rendering.payload,
                rendering.digest,
                rendering.remote_name,
                rendering.at,
                rendering.lines,
                rendering.amount_fen,
                rendering.expected_lines,
            )
            if touched(status) != 1:
                raise Fenced
            body = {
                "submission": claim.submission_id,
                "digest": rendering.digest.hex(),
                "name": rendering.remote_name,
                "lines": rendering.lines,
            }
            ledger.add(claim.batch_no, rendering.at, "RENDERED", body)
            await ledger.write(connection)

    async def write_sending(
        self,
        claim: Claim,
        at: dt.datetime,
        silent_at: dt.datetime,
        watch_until: dt.datetime,
        *,
        acknowledgement_due_at: dt.datetime | None = None,
        pace: Pace | None = None,
    ) -> dt.datetime:
        """Commit SENDING; the time it carries. After this returns, and only then, the wire may be touched.

        Until ``acknowledgement_due_at`` the bank should have said that it has it, until ``silent_at`` something final.
        ``pace`` is what the bank takes, None for no limit. Raises Fenced, or NoTurn, and then nothing has changed.
        """
        async with self._engine.transaction() as connection:
            ledger = await Ledger.lock(connection, [claim.batch_no])
            # A statement that is compared meanwhile holds lines back before this look, or waits until it is SENDING.
            await connection.execute(sql("share_statements_of"), claim.submission_id)
            if await connection.fetch(sql("held_lines"), claim.submission_id):
                raise Fenced
            row = await connection.fetchrow(
                sql("write_sending"),
                claim.submission_id,
                claim.fence,
                at,
                silent_at,
                watch_until,
                acknowledgement_due_at or silent_at,  # never null here: null says that the bank has spoken
            )
            if row is None:
                raise Fenced
            ledger.add(claim.batch_no, at, "SENDING", {"submission": claim.submission_id, "fence": claim.fence})
            await ledger.write(connection)
            if pace is not None:
                await take_submit_turn(connection, row["bank"], pace)
        moment: dt.datetime = row["sent_at"]
        return moment.astimezone(at.tzinfo)

    async def doubt_abandoned(self, at: dt.datetime, call_over_at: dt.datetime | None = None) -> int:
        """Put every SENDING whose lease has passed in doubt, fencing its process off; how many.

        A process that is only cut off from the books calls on until ``call_over_at`` (None: it is known to be gone):
        settling counts from then.
        """
        async with self._engine.transaction() as connection:
            rows = await connection.fetch(sql("abandoned_sendings"))
            if not rows:
                return 0
            ledger = await Ledger.lock(connection, [row["batch_no"] for row in rows])
            moved = await connection.fetch(
                sql("doubt_abandoned"), [row["submission_id"] for row in rows], at, call_over_at or at
            )
            for row in moved:
                ledger.add(row["batch_no"], at, "ABANDONED", {"submission": row["submission_id"]})
            await ledger.write(connection)
        for bank, count in Counter(row["bank"] for row in moved).items():
            metrics.CRASHED_SENDINGS.labels(bank=bank).inc(count)
        return len(moved)

    async def doubt_silent(self, bank: str, at: dt.datetime) -> int:
        """Turn silence past the bank's due time into doubt; how many submissions."""
        moved = await self._move_all(bank, at, "silent_submissions", "SILENT")
        return moved + await self._move_all(bank, at, "silent_lines", "SILENT_LINES")

    async def hold_doubts(self, bank: str, at: dt.datetime) -> int:
        """Turn doubt close to the limit into HELD; how many submissions."""
        return await self._move_all(bank, at, "doubts_to_hold", "HELD")

    async def _move_all(self, bank: str, at: dt.datetime, select: str, event: str) -> int:
        async with self._engine.transaction() as connection:
            rows = await connection.fetch(sql(select), bank, at)
            if not rows:
                return 0
            ledger = await Ledger.lock(connection, [row["batch_no"] for row in rows])
            keys = sorted(row["submission_id"] for row in rows)
            await connection.fetch(sql("lock_submissions"), keys)
            if event == "SILENT":
                moved = await connection.fetch(sql("doubt_silent"), keys, at, at)
                await connection.execute(sql("doubt_silent_lines"), [row["submission_id"] for row in moved])
            elif event == "SILENT_LINES":  # the submission is in doubt already; these lines were not
                await connection.execute(sql("doubt_silent_lines"), keys)
                await connection.execute(sql("extend_silence"), keys, at)
                moved = rows
            else:
                await connection.execute(sql("hold_submissions"), keys, at)
                await connection.execute(sql("hold_lines"), keys)
                moved = rows
            for row in moved:
                ledger.add(row["batch_no"], at, event, {"submission": row["submission_id"]})
            await ledger.write(connection)
        return len(moved)

    async def schedule(self, claim: Claim, probe_at: dt.datetime | None) -> None:
        """When to ask next (None: never again by ourselves), and give the claim back."""
        await self._engine.execute("schedule_probe", claim.submission_id, claim.fence, probe_at)

    async def schedule_first(self, claim: Claim, probe_at: dt.datetime) -> None:
        await self._engine.execute("schedule_first_probe", claim.submission_id, claim.fence, probe_at)

    async def ask_now(self, bank: str, references: Sequence[str], at: dt.datetime) -> int:
        """Move the next question about these submissions forward; how many."""
        return await self._engine.execute("ask_now", bank, list(references), at)

    async def ensure_banks(self, banks: Sequence[str]) -> None:
        """Rows for the configured banks."""
        await self._engine.execute("ensure_banks", list(banks))

    async def cursor(self, bank: str) -> str:
        row = await self._engine.fetchrow("bank_cursor", bank)
        return "" if row is None else str(row["collected_to"])

    async def move_cursor(self, bank: str, cursor: str) -> None:
        await self._engine.execute("move_cursor", bank, cursor)

    async def lease(self, name: str) -> int | None:
        """Take or renew a named lease; its fence, or None while another process holds it."""
        row = await self._engine.fetchrow("acquire_lease", name, self._owner, self._lease_seconds)
        return None if row is None else int(row["fence"])

    async def give_back(self, name: str) -> None:
        await self._engine.execute("release_lease", name, self._owner)
