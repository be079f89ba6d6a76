"""Recording evidence: the only way in which what a bank says becomes what the books say.

Theory of operation
-------------------

One call, one transaction. Locks are taken in one order everywhere: batches, then submissions, then (by those) their
attempts; so two processes that hear about the same payout wait for each other instead of deadlocking, and the history
of a batch has one order. Inside:

1. every piece of evidence is matched by bank **and** reference (what matches nothing is kept, counted and alarmed);
2. ``states.decide`` says what it does, piece by piece in the order given, each on the result of the one before;
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
from dataclasses import dataclass, replace

import asyncpg

from adapters.contract import Evidence, Proof, Reason
from gateway import metrics
from gateway.states import OPEN, SETTLED, Known, State, Verdict, believable, decide
from gateway.store.chronicle import chronicle
from gateway.store.consequences import Moving
from gateway.store.engine import Connection, Engine, lost_race, sql
from gateway.store.hearing import OUTCOMES, Heard, Recorded, note, repeats
from gateway.store.history import Ledger
from gateway.store.recall import cancel_unsent
from gateway.store.replan import retire_unsent
from gateway.store.staging import stage_receipts
from gateway.store.telling import Telling, give_up, write_affirmed, write_attempts, write_kept

PAUSING = frozenset({Reason.FORMAT, Reason.SIGNATURE})  # the bank will refuse the next one for the same reason
HAS_IT = frozenset({Proof.RECEIVED, Proof.IN_PROCESS, Proof.CREDITED, Proof.RETURNED})
_RACES_ALLOWED = 5


@dataclass(slots=True)
class _Submission:
    row: asyncpg.Record
    state: str
    open_lines: int
    acknowledged: bool = False  # somebody, if only we, saw that the bank has it
    affirmed: bool = False  # the bank itself said so, of this transmission
    spoken: bool = False  # and says so now for the first time
    due_at: dt.datetime | None = None
    retire: Reason | None = None


__all__ = ["EvidenceBook", "Heard", "Recorded"]


class EvidenceBook:
    """The store's room for evidence."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def record(self, heard: Heard, evidence: Sequence[Evidence]) -> Recorded:
        """Apply evidence of one bank in one transaction; see the theory of operation above."""
        for tries in range(_RACES_ALLOWED):
            try:
                async with self._engine.transaction() as connection:
                    recorded = await _Recording(connection, heard).run(evidence)
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

    async def first_seen(self, bank: str, event_id: str, digest: bytes, at: dt.datetime) -> bool:
        """Remember a callback's event; False for a repeat. ValueError when the event came with other bytes before."""
        if await self._engine.fetchrow("insert_callback_event", bank, event_id, digest, at) is not None:
            return True
        row = await self._engine.fetchrow("callback_event", bank, event_id)
        if row is not None and bytes(row["digest"]) != digest:
            raise ValueError("an event came again with other content")
        return False


class _Recording:
    """One transaction's worth of work."""

    def __init__(self, connection: Connection, heard: Heard) -> None:
        self._connection = connection
        self._heard = heard
        self._attempts: dict[str, Moving] = {}
        self._submissions: dict[int, _Submission] = {}
        self._kept: list[tuple[Evidence, str, int | None]] = []
        self._frozen: set[int] = set()
        self._ours: set[str] = set()  # which of the submissions that the evidence names are this bank's and ours
        self._left: dict[int, list[str]] = {}  # by retired submission, the lines that were in it
        self._suspects: set[int] = set()  # submissions none of whose unspoken lines may travel
        self._stop_for: Reason | None = None
        self._answered: set[tuple[int, str | None]] = set()  # submissions of which a file settles some line
        self._first_read: dict[str, dt.datetime] = {}  # by digest of what says that the bank has nothing
        self._result = Recorded()

    async def run(self, evidence: Sequence[Evidence]) -> Recorded:
        ledger, evidence, whole = await self._lock(evidence)
        await self._date([*evidence, *(item for item, _ in whole)])
        for item, submission_id in whole:
            evidence += await self._apply_whole(item, self._submissions[submission_id])
        await self._load(evidence)
        for item in evidence:
            self._apply(item)
        await self._write(ledger)
        return self._result

    async def _lock(self, evidence: Sequence[Evidence]) -> tuple[Ledger, list[Evidence], list[tuple[Evidence, int]]]:
        """Find what is concerned, lock it in order, and tell lines' evidence from whole submissions'."""
        references = sorted({e.reference for e in evidence if e.reference is not None})
        named = sorted({e.submission for e in evidence if e.reference is None and e.submission is not None})
        given = [] if self._heard.submission_id is None else [self._heard.submission_id]
        located = await self._connection.fetch(sql("locate_evidence"), self._heard.bank, references)
        by_name = await self._connection.fetch(sql("locate_submissions"), self._heard.bank, named, given)
        moved = []
        if any(e.reference is None and e.proof in HAS_IT for e in evidence):
            moved = await self._connection.fetch(sql("lines_of_retired"), self._heard.bank, named, given)
        for row in moved:
            self._left.setdefault(row["retired"], []).append(row["reference"])
        found = [*located, *by_name, *moved]
        keys = {row["submission_id"] for row in found}
        ledger = await Ledger.lock(self._connection, [row["batch_no"] for row in found])
        for row in await self._connection.fetch(sql("lock_submissions"), sorted(keys)):
            affirmed = row["sent_at"] is not None and row["acknowledgement_due_at"] is None
            self._submissions[row["submission_id"]] = _Submission(
                row, row["state"], row["open_lines"], affirmed=affirmed
            )
        numbers = {row["reference"]: row["submission_id"] for row in by_name}
        lines: list[Evidence] = []
        whole: list[tuple[Evidence, int]] = []
        for item in evidence:
            if item.reference is not None:
                lines.append(item)
                continue
            key = self._heard.submission_id if item.submission is None else numbers.get(item.submission)
            if key in self._submissions:
                whole.append((item, key))
            else:
                self._keep(replace(item, reference=item.submission or ""), "UNMATCHED", None)
        return ledger, lines, whole

    async def _date(self, evidence: Sequence[Evidence]) -> None:
        """When the files that say "the bank has nothing" were first read: a bank may publish an old refusal again."""
        digests = {
            e.artefact for e in evidence if e.artefact is not None and e.proof in (Proof.NOT_TAKEN, Proof.ABSENT)
        }
        if self._heard.ends_call or not digests:
            return  # what answers a call is no file, and may well say the same as the call before
        rows = await self._connection.fetch(
            sql("artefacts_first_read"), self._heard.bank, [bytes.fromhex(digest) for digest in sorted(digests)]
        )
        self._first_read = {bytes(row["digest"]).hex(): row["first_read_at"] for row in rows}

    async def _apply_whole(self, item: Evidence, submission: _Submission) -> list[Evidence]:
        """Move a submission, or spread a fact over the lines that have no state of their own."""
        if submission.state == "RETIRED" and item.proof in HAS_IT and self._heard.acknowledges(item):
            # The bank had said that it took nothing. Its lines meet this under the old name, as a contradiction.
            name = submission.row["reference"]
            left = self._left.get(submission.row["submission_id"], [])
            return [replace(item, reference=reference, submission=name) for reference in left]
        if item.proof in (Proof.CREDITED, Proof.REJECTED, Proof.RETURNED):
            rows = await self._connection.fetch(sql("inheriting_attempts"), submission.row["submission_id"])
            return [replace(item, reference=row["reference"]) for row in rows]
        self._listen(item, submission)
        if submission.state in ("CLOSED", "RETIRED"):
            self._result.effects[item.proof, "noop"] += 1
            return []
        if not self._believed(item, submission.row):
            self._result.effects[item.proof, "noop"] += 1
            return []
        known = Known(State(submission.state), submission.row["amount_fen"], affirmed=submission.affirmed)
        verdict = decide(known, item, whole=True)
        if verdict is State.DEFERRED and not await self._may_travel_again(item, submission):
            verdict = State.IN_DOUBT if submission.state == State.SENDING else Verdict.NOOP
        if verdict is Verdict.CONFLICT:  # the bank has what we never sent: nothing of it may travel now
            rows = await self._connection.fetch(sql("inheriting_attempts"), submission.row["submission_id"])
            return [replace(item, reference=row["reference"]) for row in rows]
        if verdict is Verdict.NOOP:
            self._result.effects[item.proof, "noop"] += 1
            return []
        self._result.effects[item.proof, "move"] += 1
        if verdict is State.IN_DOUBT and item.reason is Reason.DUPLICATE:
            self._stop_for = item.reason  # the bank holds other bytes under our reference: stop, and a person looks
        submission.state = verdict.value
        submission.acknowledged = submission.acknowledged or item.proof in (Proof.RECEIVED, Proof.IN_PROCESS)
        if verdict is State.DEFERRED:
            submission.due_at = self._heard.deferred_until
            if item.reason in PAUSING:
                submission.retire = item.reason
        return []

    def _listen(self, item: Evidence, submission: _Submission) -> None:
        """The bank's own word ends the wait for its acknowledgement, also where it moves nothing."""
        if self._heard.acknowledges(item):
            submission.spoken, submission.affirmed = not submission.affirmed, True

    async def _nothing_known_of_lines(self, submission: _Submission) -> bool:
        """Only a submission of which the bank has not spoken line by line may ever travel again."""
        count = await self._connection.fetchval(sql("attempts_with_own_state"), submission.row["submission_id"])
        return int(count) == 0

    async def _may_travel_again(self, item: Evidence, submission: _Submission) -> bool:
        """ "Never had it" does not undo "received": one of the two is wrong, and only people can say which."""
        if item.proof is Proof.ABSENT and submission.row["acknowledged_at"] is not None:
            return False
        return await self._nothing_known_of_lines(submission)

    def _believed(self, item: Evidence, row: asyncpg.Record) -> bool:
        """``row`` carries when the transmission began and when its call ended."""
        return believable(
            item.proof,
            sent_at=row["sent_at"],
            ended_at=row["ended_at"],
            asked_at=min(self._heard.asked_at, self._first_read.get(item.artefact or "", self._heard.asked_at)),
            settling_seconds=self._heard.settling_seconds,
            steady_since=self._heard.steady_since,
        )

    async def _load(self, evidence: Sequence[Evidence]) -> None:
        references = sorted({e.reference for e in evidence if e.reference is not None})
        if not references:
            return
        # A closed or retired submission has no line without a state; the fallback is the strictest reading.
        shared = {key: State.__members__.get(s.state, State.PLANNED) for key, s in self._submissions.items()}
        for row in await self._connection.fetch(sql("known_attempts"), self._heard.bank, references):
            own = row["state"]
            state = shared[row["submission_id"]] if own is None else State.__members__[own]
            told = (row["host_reference"], row["return_host_reference"], row["affirmed"])
            known = Known(state, row["amount_fen"], *told)
            self._attempts[row["reference"]] = Moving(row, known)
        self._answered = {
            (self._attempts[e.reference].row["submission_id"], e.artefact)
            for e in evidence
            if e.proof in OUTCOMES and e.artefact is not None and e.reference in self._attempts
        }
        ours = {submission.row["reference"] for submission in self._submissions.values()}
        others = sorted({e.submission for e in evidence if e.submission is not None} - ours)
        if others:
            rows = await self._connection.fetch(sql("locate_submissions"), self._heard.bank, others, [])
            ours |= {row["reference"] for row in rows}
        self._ours = ours

    def _apply(self, item: Evidence) -> None:
        """One piece of evidence about one line, decided on the outcome of those before it."""
        attempt = self._attempts.get(item.reference or "")
        if attempt is None:
            self._keep(item, "UNMATCHED", None)
            return
        named = item.submission is None or item.submission == self._submission_of(attempt).row["reference"]
        if not named:
            self._misnamed(attempt, item)
            return
        self._listen(item, self._submission_of(attempt))
        if self._published_absence(attempt, item):
            self._move(attempt, item, State.NOT_EXECUTED)
            return
        if not self._believed(item, attempt.row):
            self._result.effects[item.proof, "noop"] += 1
            return
        verdict = decide(attempt.known, item, whole=False)
        if item.proof in (Proof.RECEIVED, Proof.IN_PROCESS) and attempt.known.state in OPEN:
            attempt.known.affirmed = attempt.known.affirmed or self._heard.acknowledges(item)
        if verdict is Verdict.CONFLICT:
            self._conflict(attempt, item)
        elif verdict is Verdict.NOOP:
            self._result.effects[item.proof, "noop"] += 1
            on_record = (None, attempt.known.credit_host_reference, attempt.known.return_host_reference)
            if attempt.known.state is State.RETURNED and item.host_reference not in on_record:
                self._keep(item, "LATE", attempt.row["payout_id"], counted=False)
        elif verdict is State.SUBMITTED:
            self._move(attempt, item, State.ACCEPTED)  # "received" of one line: a line has no state of its own below
        elif verdict is State.DEFERRED:
            # "Took nothing" of one line alone cannot send the file again: the line is over, the others are not.
            self._move(attempt, item, State.NOT_EXECUTED)
            if item.reason in PAUSING:
                self._stop_for = item.reason  # the next attempt would be refused for the same reason
        else:
            self._move(attempt, item, verdict)

    def _published_absence(self, attempt: Moving, item: Evidence) -> bool:
        """A result file that answers for the other lines and says of this one "never received" has said its last word:
        it is no answer to a question that came too early, and it will not be read again."""
        if item.proof is not Proof.ABSENT or not self._heard.published or self._heard.settling_seconds is None:
            return False
        at_the_bank = attempt.known.state in (State.SUBMITTED, State.ACCEPTED, State.IN_DOUBT, State.HELD)
        submission = self._submission_of(attempt).row
        answers = (submission["submission_id"], item.artefact) in self._answered
        # With one transmission, a file that settles lines of it can only speak of that one; with more, time must tell.
        of_this_transmission = submission["transmissions"] == 1 or self._believed(item, attempt.row)
        return at_the_bank and answers and of_this_transmission and not attempt.known.affirmed

    def _misnamed(self, attempt: Moving, item: Evidence) -> None:
        """The right line under another submission's name. Where it says that the bank has it, it may be a file that was
        retired because the bank had said it took nothing: then none of its lines may travel in the new one."""
        has_it = item.proof in HAS_IT and self._heard.acknowledges(item)
        if not (has_it and item.submission in self._ours):
            self._keep(item, "UNMATCHED", attempt.row["payout_id"])
            return
        self._conflict(attempt, item)
        self._suspects.add(attempt.row["submission_id"])

    def _submission_of(self, attempt: Moving) -> _Submission:
        return self._submissions[attempt.row["submission_id"]]

    @staticmethod
    def _spoken_of(submission: _Submission) -> None:
        """The bank spoke of one line of what was about to travel again: it has the bytes, and nobody knows the rest."""
        if submission.state == State.DEFERRED:
            submission.state, submission.retire = State.IN_DOUBT.value, None

    def _conflict(self, attempt: Moving, item: Evidence) -> None:
        self._spoken_of(self._submission_of(attempt))
        self._keep(item, "CONFLICT", attempt.row["payout_id"])
        self._frozen.add(attempt.row["payout_id"])
        if item.amount_fen is not None and item.amount_fen != attempt.known.amount_fen:
            self._result.fees += 1

    def _move(self, attempt: Moving, item: Evidence, state: State) -> None:
        self._result.effects[item.proof, "move"] += 1
        submission = self._submission_of(attempt)
        self._spoken_of(submission)
        if attempt.known.state in OPEN and state in SETTLED:
            submission.open_lines -= 1
            if submission.open_lines == 0:
                submission.state = "CLOSED"
        attempt.known.state = state
        if state is State.CREDITED:
            attempt.known.credit_host_reference = item.host_reference
        elif state is State.RETURNED:
            attempt.known.return_host_reference = item.host_reference
        attempt.moved_by.append(item)
        attempt.states.append(state)

    def _keep(self, item: Evidence, effect: str, payout: int | None, *, counted: bool = True) -> None:
        self._kept.append((item, effect, payout))
        if effect == "UNMATCHED":
            self._result.unmatched.append(item)
        if counted:
            self._result.effects[item.proof, effect.lower() if effect != "LATE" else "kept"] += 1

    async def _write(self, ledger: Ledger) -> None:
        changed = sorted(
            (a for a in self._attempts.values() if a.changed), key=lambda a: (a.row["submission_id"], a.row["seq"])
        )
        given_up = await give_up(self._connection, changed, ledger)
        await write_attempts(self._connection, changed, self._heard.at)
        await write_affirmed(self._connection, self._heard.bank, list(self._attempts.values()))
        await write_kept(self._connection, self._heard, self._kept)
        for submission_id in sorted(self._suspects):
            unspoken = await self._connection.fetch(sql("unsent_attempts"), submission_id)
            self._frozen |= {row["payout_id"] for row in unspoken}
        if self._frozen:
            rows = await self._connection.fetch(sql("freeze_payouts"), sorted(self._frozen), self._heard.at)
            self._result.conflicts = len(rows)
            self._frozen = {row["payout_id"] for row in rows}  # a contradiction read again is nothing new
        await self._write_submissions()
        self._result.given_up = len(given_up)
        await Telling(self._connection, self._heard, self._result).tell(ledger, changed)
        for submission in self._submissions.values():
            batch = ledger.batches[submission.row["batch_no"]]
            if submission.state == State.DEFERRED and batch["recalled_at"] is not None:
                receipts = await cancel_unsent(self._connection, submission.row["submission_id"], self._heard.at)
                await stage_receipts(self._connection, batch, receipts, self._heard.at)
            elif submission.retire is not None:
                await retire_unsent(self._connection, submission.row["submission_id"], self._heard.at)
                self._stop_for = submission.retire
        if self._stop_for is not None:
            await self._connection.execute(sql("pause_bank"), self._heard.bank, self._heard.at, self._stop_for.value)
            self._result.paused = True
        moves = {
            (s.row["batch_no"], key): (s.row["state"], s.state)
            for key, s in sorted(self._submissions.items())
            if s.state != s.row["state"]
        }
        chronicle(ledger, self._heard, changed, moves, self._frozen, given_up)
        await ledger.write(self._connection)

    async def _write_submissions(self) -> None:
        moved = [
            (key, s.state, s.open_lines, s.acknowledged, s.due_at, s.spoken)
            for key, s in sorted(self._submissions.items())
            if s.state != s.row["state"] or s.open_lines != s.row["open_lines"] or s.spoken or self._heard.ends_call
        ]
        if moved:
            columns = [list(column) for column in zip(*moved, strict=True)]
            await self._connection.execute(
                sql("update_submissions"),
                *columns[:5],
                self._heard.at,
                self._heard.ends_call,
                self._heard.return_horizon_days,
                columns[5],
                self._heard.ask_at,
            )
