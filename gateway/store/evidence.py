"""Recording evidence: the only way in which what a bank says becomes what the books say.

Theory of operation
-------------------

One call, one transaction, one ``case``. Locks are taken in one order everywhere: batches, then submissions, then (by
those) their attempts; so two processes that hear about the same payout wait for each other instead of deadlocking, and
the history of a batch has one order. Inside:

1. every piece of evidence is matched by bank **and** reference (``concerning``; what matches nothing is kept, counted
   and alarmed);
2. ``states.decide`` says what it does, piece by piece in the order given, each on the result of the one before
   (``judging``);
3. outcomes are written once, by one UPDATE for the whole chunk, conditional on the state they were decided on;
4. in the same transaction: receipts, notices, the freeze of contradicted payouts, new attempts for lines that alone
   never reached the bank, and one event of the batch's history.

A process that was fenced may still record: evidence is true whoever delivers it. What it may not do is claim that
nothing was sent; ``states.believable`` compares its question with the current transmission.

What a bank said is remembered where it can contradict itself: of a transmission by ``acknowledgement_due_at`` (null
once the bank itself has spoken of it; our own upload does not count), of a line by ``affirmed``. ``states.decide``
makes a refusal after that a doubt, once, and nothing more. A file that the bank publishes again is known by its
digest: it speaks of what was on its way when it was first read.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence

from adapters.contract import Evidence, Proof
from gateway import metrics
from gateway.states import State
from gateway.store import concerning
from gateway.store.case import Case
from gateway.store.chronicle import chronicle
from gateway.store.consequences import LOCAL_CODE, Moving
from gateway.store.engine import Connection, Engine, lost_race, sql
from gateway.store.foreign import harmless
from gateway.store.hearing import OUTCOMES, Heard, Recorded, note, repeats
from gateway.store.history import Ledger
from gateway.store.judging import apply_line, apply_whole
from gateway.store.recall import call_back
from gateway.store.replan import retire_unsent
from gateway.store.statements import showing, unpaid_as_stated
from gateway.store.telling import Telling, give_up, write_affirmed, write_attempts, write_kept

_RACES_ALLOWED = 5
_UNPAID = (State.REJECTED, State.NOT_EXECUTED)


__all__ = ["EvidenceBook", "Heard", "Recorded"]


class EvidenceBook:
    """The store's room for evidence."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def record(self, heard: Heard, evidence: Sequence[Evidence]) -> Recorded:
        """Apply evidence of one bank in one transaction; see the theory of operation above."""
        evidence = [harmless(item) for item in evidence]
        for tries in range(_RACES_ALLOWED):
            try:
                async with self._engine.transaction() as connection:
                    recorded = await _record(connection, heard, evidence)
                break
            except Exception as error:
                if not lost_race(error) or tries == _RACES_ALLOWED - 1:
                    raise
        note(heard.bank, recorded)
        return recorded

    async def news(self, bank: str, evidence: Sequence[Evidence]) -> list[Evidence]:
        """Evidence without exact repeats of outcomes on record: banks answer about whole submissions, again and again.

        Only spares work: what is left out here would be a no-op in ``record``.
        """
        evidence = [harmless(item) for item in evidence]
        references = [e.reference for e in evidence if e.reference is not None and e.proof in OUTCOMES]
        rows = await self._engine.fetch("facts_on_record", bank, references) if references else []
        known = {row["reference"]: row for row in rows}
        fresh = [e for e in evidence if not repeats(e, known.get(e.reference or ""))]
        repeated = Counter(e.proof for e in evidence)
        repeated.subtract(e.proof for e in fresh)
        for proof, count in repeated.items():
            metrics.EVIDENCE.labels(bank=bank, proof=proof, effect="noop").inc(count)
        return fresh

    async def keep_artefact(
        self, bank: str, digest: bytes, name: str, sealed: bytes, at: dt.datetime, quarantined: str | None
    ) -> bool:
        """Archive what a bank gave us; False when the same bytes are there under that name already."""
        row = await self._engine.fetchrow("insert_artefact", bank, digest, name, sealed, at, quarantined)
        return row is not None

    async def seen_otherwise(self, bank: str, event_id: str, digest: bytes) -> bool:
        """Whether a callback's event came with other bytes before."""
        row = await self._engine.fetchrow("callback_event", bank, event_id)
        return row is not None and bytes(row["digest"]) != digest

    async def first_seen(self, bank: str, event_id: str, digest: bytes, at: dt.datetime) -> bool:
        """Remember a callback's event; False for a repeat. ValueError when the event came with other bytes before."""
        if await self._engine.fetchrow("insert_callback_event", bank, event_id, digest, at) is not None:
            return True
        if await self.seen_otherwise(bank, event_id, digest):
            raise ValueError("an event came again with other content")
        return False


async def _record(connection: Connection, heard: Heard, evidence: Sequence[Evidence]) -> Recorded:
    """One transaction's worth of work."""
    case = Case(heard)
    ledger, evidence, whole = await concerning.lock(connection, case, evidence)
    await concerning.date(connection, case, [*evidence, *(item for item, _ in whole)])
    for item, submission_id in whole:
        evidence += await apply_whole(connection, case, item, case.submissions[submission_id])
    await concerning.load(connection, case, evidence)
    for item in evidence:
        apply_line(case, item)
    await _write(connection, case, ledger)
    return case.result


async def _write(connection: Connection, case: Case, ledger: Ledger) -> None:
    changed = sorted(
        (a for a in case.attempts.values() if a.changed), key=lambda a: (a.row["submission_id"], a.row["seq"])
    )
    given_up = await give_up(connection, changed, ledger)
    await write_attempts(connection, changed, case.heard.at)
    await write_affirmed(connection, case.heard.bank, list(case.attempts.values()))
    fresh = await write_kept(connection, case.heard, case.kept)
    case.result.unexplained = sorted(fresh & case.unexplained)
    if case.result.unexplained:
        case.result.effects[Proof.IN_DOUBT, "unexplained"] += len(case.result.unexplained)
    for submission_id in sorted(case.suspects):
        unspoken = await connection.fetch(sql("unsent_attempts"), submission_id)
        case.frozen |= {row["payout_id"] for row in unspoken}
    if case.frozen:
        rows = await connection.fetch(sql("freeze_payouts"), sorted(case.frozen), case.heard.at)
        case.result.conflicts = len(rows)
        case.frozen = {row["payout_id"] for row in rows}  # a contradiction read again is nothing new
    await _write_submissions(connection, case)
    # Before anything is called back or moves on: of what stands on a statement nobody is told that it was cancelled.
    await unpaid_as_stated(connection, await _stated(connection, case, changed), case.heard.at)
    case.result.given_up = len(given_up)
    await Telling(connection, case.heard, case.result).tell(ledger, changed)
    await _move_on(connection, case, ledger)
    if case.stop_for is not None:
        await connection.execute(
            sql("pause_bank"), case.heard.bank, case.heard.at, case.stop_for.value, case.heard.configuration
        )
        case.result.paused = True
    moves = {
        (s.row["batch_no"], key): (s.row["state"], s.state)
        for key, s in sorted(case.submissions.items())
        if s.state != s.row["state"]
    }
    chronicle(ledger, case.heard, changed, moves, case.frozen, given_up)
    await ledger.write(connection)


async def _move_on(connection: Connection, case: Case, ledger: Ledger) -> None:
    """What the bank certainly has nothing of: called back where its list is, in new bytes where these were refused."""
    for key, submission in sorted(case.submissions.items()):
        if submission.state == State.DEFERRED:
            await call_back(connection, ledger, submission.row["batch_no"], key, case.heard.at)
            if submission.retire is not None:  # where it was called back, no line is left to move
                await retire_unsent(connection, key, case.heard.at)
        case.stop_for = submission.retire or case.stop_for


async def _stated(connection: Connection, case: Case, changed: Sequence[Moving]) -> list[int]:
    """Statements on which stands what was not paid by what was just heard: whatever they were compared with then."""
    unpaid = [a for a in changed if a.known.state in _UNPAID and not a.moved_by[-1].code.startswith(LOCAL_CODE)]
    whole = sorted(key for key, s in case.submissions.items() if s.state == State.DEFERRED)
    if not unpaid and not whole:
        return []
    return await showing(connection, case.heard.bank, [a.row["reference"] for a in unpaid], whole)


async def _write_submissions(connection: Connection, case: Case) -> None:
    moved = [
        (key, s.state, s.open_lines, s.acknowledged, s.due_at, s.spoken, s.unsent if s.state == State.DEFERRED else 0)
        for key, s in sorted(case.submissions.items())
        if s.state != s.row["state"] or s.open_lines != s.row["open_lines"] or s.spoken or case.heard.ends_call
    ]
    if moved:
        columns = [list(column) for column in zip(*moved, strict=True)]
        await connection.execute(
            sql("update_submissions"),
            *columns[:5],
            case.heard.at,
            case.heard.ends_call,
            case.heard.return_horizon_days,
            columns[5],
            case.heard.ask_at,
            columns[6],
        )
