"""Under which circumstances evidence was heard, and what recording it did."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field

from adapters.contract import Evidence
from gateway import metrics
from gateway.store import ids


@dataclass(frozen=True, slots=True)
class Heard:
    """The circumstances of evidence. ``settling_seconds`` is None where the bank's "not found" proves nothing.

    ``asked_at`` is when the question was put (for an answer to a transmission: its SENDING). ``submission_id`` is given
    where the evidence answers a call about that submission; ``deferred_until`` is when a submission of which the bank
    took nothing may travel again. ``ends_call`` says that this answers a transmission: its call is over.
    """

    bank: str
    at: dt.datetime
    asked_at: dt.datetime
    settling_seconds: int | None = None
    submission_id: int | None = None
    deferred_until: dt.datetime | None = None
    ends_call: bool = False
    reference_length: int = 26
    reference_alphabet: str = ids.CROCKFORD


@dataclass(slots=True)
class Recorded:
    """What a call to ``record`` did, for the log line and the metrics."""

    effects: Counter[tuple[str, str]] = field(default_factory=Counter)  # (proof, effect)
    settled: int = 0
    conflicts: int = 0
    fees: int = 0
    late: int = 0
    paused: bool = False
    unmatched: list[Evidence] = field(default_factory=list)
    credit_seconds: list[int] = field(default_factory=list)  # from transmission to proven credit, business clock


def note(bank: str, recorded: Recorded) -> None:
    for (proof, effect), count in recorded.effects.items():
        metrics.EVIDENCE.labels(bank=bank, proof=proof, effect=effect).inc(count)
    metrics.CONFLICTS.labels(bank=bank).inc(recorded.conflicts)
    metrics.FEES.labels(bank=bank).inc(recorded.fees)
    metrics.LATE_CREDITS.inc(recorded.late)
    settle_seconds = metrics.SETTLE_SECONDS.labels(bank=bank)
    for seconds in recorded.credit_seconds:
        settle_seconds.observe(seconds)
