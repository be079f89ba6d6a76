"""Under which circumstances evidence was heard, and what recording it did."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.contract import Evidence, Proof
from gateway import metrics
from gateway.store import ids

OUTCOMES = {Proof.CREDITED: "CREDITED", Proof.REJECTED: "REJECTED", Proof.RETURNED: "RETURNED"}


@dataclass(frozen=True, slots=True)
class Heard:
    """The circumstances of evidence. ``settling_seconds`` is None where the bank's "not found" proves nothing.

    ``asked_at`` is when the question was put (for an answer to a transmission: its SENDING). ``submission_id`` is given
    where the evidence answers a call about that submission; ``deferred_until`` is when a submission of which the bank
    took nothing may travel again. ``ends_call`` says that this answers a transmission: its call is over.
    ``published`` says that the bank published this as a file, unasked. Returns are expected for ``return_horizon_days``
    from now on. ``files_alone`` says that this bank answers no call, see ``acknowledges``.
    ``configuration`` is the digest of the bank's, under which a pause comes about (None: not known).
    ``debited`` are the lines and submissions that the statement at hand shows as debited.
    ``ask_at`` is when to ask about what is not final, unless a question is planned already; None: at once.
    ``steady_since`` is since when the clock that says all this has run without being set; None: always.
    """

    bank: str
    at: dt.datetime
    asked_at: dt.datetime
    settling_seconds: int | None = None
    submission_id: int | None = None
    deferred_until: dt.datetime | None = None
    ends_call: bool = False
    published: bool = False
    return_horizon_days: int = 0
    reference_length: int = 26
    reference_alphabet: str = ids.CROCKFORD
    files_alone: bool = False
    ask_at: dt.datetime | None = None
    configuration: bytes | None = None
    debited: frozenset[str] = frozenset()
    steady_since: dt.datetime | None = None

    def acknowledges(self, item: Evidence) -> bool:
        """Whether this is the bank's own word that it has what was sent.

        A bank that answers by files alone says nothing to a call: "received" that was read from no file of its is our
        own upload, seen where we put it.
        """
        if item.proof is Proof.RECEIVED:
            return not self.files_alone or item.artefact is not None
        return item.proof in (Proof.IN_PROCESS, *OUTCOMES)


@dataclass(slots=True)
class Recorded:
    """What a call to ``record`` did, for the log line and the metrics."""

    effects: Counter[tuple[str, str]] = field(default_factory=Counter)  # (proof, effect)
    settled: int = 0
    conflicts: int = 0
    fees: int = 0
    late: int = 0
    paused: bool = False
    given_up: int = 0  # lines that were not taken so often that people decide
    unmatched: list[Evidence] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)  # names under which money moved that no state tells of
    credit_seconds: list[int] = field(default_factory=list)  # from transmission to proven credit, business clock

    @property
    def may_resolve(self) -> bool:
        """Whether a line was credited, failed or returned: a difference that a statement left open may be settled."""
        return self.settled > 0 or self.effects[Proof.RETURNED, "move"] > 0


def repeats(item: Evidence, known: Mapping[str, Any] | None) -> bool:
    """Whether ``item`` says, to the letter, what is on record."""
    if known is None or known["state"] != OUTCOMES.get(item.proof):
        return False
    if item.amount_fen is not None and item.amount_fen != known["amount_fen"]:
        return False
    if item.proof is Proof.REJECTED:
        return True
    column = "host_reference" if item.proof is Proof.CREDITED else "return_host_reference"
    return bool(item.host_reference == known[column])


def note(bank: str, recorded: Recorded) -> None:
    for (proof, effect), count in recorded.effects.items():
        metrics.EVIDENCE.labels(bank=bank, proof=proof, effect=effect).inc(count)
    metrics.CONFLICTS.labels(bank=bank).inc(recorded.conflicts)
    metrics.FEES.labels(bank=bank).inc(recorded.fees)
    metrics.GIVEN_UP.labels(bank=bank).inc(recorded.given_up)
    metrics.LATE_CREDITS.inc(recorded.late)
    settle_seconds = metrics.SETTLE_SECONDS.labels(bank=bank)
    for seconds in recorded.credit_seconds:
        settle_seconds.observe(seconds)
