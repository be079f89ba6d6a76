"""The case that one recording decides: attempts and submissions as they were read under lock, and as they become.

Nothing here asks the database. ``concerning`` fills a case, ``judging`` applies evidence to it piece by piece, and
``evidence`` writes down what became of it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import asyncpg

from adapters.contract import Evidence, Proof, Reason
from gateway.states import OPEN, SETTLED, State, believable
from gateway.store.consequences import Moving
from gateway.store.hearing import Heard, Recorded

HAS_IT = frozenset({Proof.RECEIVED, Proof.IN_PROCESS, Proof.CREDITED, Proof.RETURNED})


@dataclass(slots=True)
class Concerned:
    """One locked submission."""

    row: asyncpg.Record
    state: str
    open_lines: int
    acknowledged: bool = False  # somebody, if only we, saw that the bank has it
    affirmed: bool = False  # the bank itself said so, of this transmission
    spoken: bool = False  # and says so now for the first time
    due_at: dt.datetime | None = None
    retire: Reason | None = None
    unsent: int = 0  # 1: of this transmission no byte had left


@dataclass(slots=True)
class Case:
    """What one transaction knows and decides."""

    heard: Heard
    attempts: dict[str, Moving] = field(default_factory=dict)
    submissions: dict[int, Concerned] = field(default_factory=dict)
    kept: list[tuple[Evidence, str, int | None]] = field(default_factory=list)
    frozen: set[int] = field(default_factory=set)
    ours: set[str] = field(default_factory=set)  # submissions named by the evidence that are ours at this bank
    left: dict[int, list[str]] = field(default_factory=dict)  # by retired submission, the lines that were in it
    debited: set[str] = field(default_factory=set)  # lines among those that came back, whose debit a statement shows
    unexplained: set[str] = field(default_factory=set)  # names under which money moved that no line's state tells of
    suspects: set[int] = field(default_factory=set)  # submissions none of whose unspoken lines may travel
    stop_for: Reason | None = None
    answered: set[tuple[int, str | None]] = field(default_factory=set)  # submissions of which a file settles some line
    first_read: dict[str, dt.datetime] = field(default_factory=dict)  # by digest of what says that the bank has nothing
    result: Recorded = field(default_factory=Recorded)

    def submission_of(self, attempt: Moving) -> Concerned:
        return self.submissions[attempt.row["submission_id"]]

    def listen(self, item: Evidence, submission: Concerned) -> None:
        """The bank's own word ends the wait for its acknowledgement, also where it moves nothing."""
        if self.heard.acknowledges(item):
            submission.spoken = submission.spoken or not submission.affirmed
            submission.affirmed = True

    def believed(self, item: Evidence, row: asyncpg.Record) -> bool:
        """``row`` carries when the transmission began and when its call ended."""
        return believable(
            item.proof,
            sent_at=row["sent_at"],
            ended_at=row["ended_at"],
            asked_at=min(self.heard.asked_at, self.first_read.get(item.artefact or "", self.heard.asked_at)),
            settling_seconds=self.heard.settling_seconds,
            steady_since=self.heard.steady_since,
        )

    @staticmethod
    def spoken_of(submission: Concerned) -> None:
        """The bank spoke of one line of what was about to travel again: it has the bytes, and nobody knows the rest."""
        if submission.state == State.DEFERRED:
            submission.state, submission.retire = State.IN_DOUBT.value, None

    def conflict(self, attempt: Moving, item: Evidence) -> None:
        self.spoken_of(self.submission_of(attempt))
        self.keep(item, "CONFLICT", attempt.row["payout_id"])
        self.frozen.add(attempt.row["payout_id"])
        if item.amount_fen is not None and item.amount_fen != attempt.known.amount_fen:
            self.result.fees += 1

    def move(self, attempt: Moving, item: Evidence, state: State) -> None:
        self.result.effects[item.proof, "move"] += 1
        submission = self.submission_of(attempt)
        self.spoken_of(submission)
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

    def keep_money(self, item: Evidence, payout: int | None, *, settled: bool) -> None:
        """A word that proves nothing but speaks of an amount is kept, whatever it moves: money may have come back.

        Where the line is settled, nothing else would ever ask about it, so it pages.
        """
        if item.proof is not Proof.IN_DOUBT or item.amount_fen is None:
            return
        self.keep(item, "LATE", payout, counted=False)
        if settled and item.reference is not None:
            self.unexplained.add(item.reference)

    def keep(self, item: Evidence, effect: str, payout: int | None, *, counted: bool = True) -> None:
        self.kept.append((item, effect, payout))
        if effect == "UNMATCHED":
            self.result.unmatched.append(item)
        if counted:
            self.result.effects[item.proof, effect.lower() if effect != "LATE" else "kept"] += 1
