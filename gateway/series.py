"""Every counter and histogram series that a process can ever show, opened before its first event.

A counter that begins to exist at one is invisible to ``increase()``, and a page that grows while something goes wrong
grows in the worst hour. ``VALUES`` says what each label may be, and ``declare`` opens all of it: how many series there
are follows from the configuration, never from what happens. Gauges that are read from the books are written whole by
each look of ``watch``; those that rules compare have a value here until the first.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from prometheus_client import Counter, Histogram

from adapters.contract import Proof
from gateway import metrics
from schemas.v1 import LineReason, OrderKind, OutboundTopic, ReceiptOutcome, RefusalReason

_CONFIGURED: Final = ()  # in place of values: the banks, or the SMS provider, of the configuration
_BANK: Final = MappingProxyType({"bank": _CONFIGURED})
_READ: Final = ("accepted", "repeated", "refused")
_EFFECTS: Final = ("move", "noop", "conflict", "kept", "unexplained", "unmatched")
_NOTICES: Final = ("sent", "delivered", "undelivered", "refused", "in_doubt", "no_phone", "unreported")
_TOPICS_OUT: Final = tuple(topic.value.removeprefix("payout.") for topic in OutboundTopic)

VALUES: Final[Mapping[Counter | Histogram, Mapping[str, Sequence[str]]]] = MappingProxyType(
    {
        metrics.MESSAGES: {"topic": metrics.TOPICS_IN, "outcome": _READ},
        metrics.REFUSALS: {"reason": tuple(RefusalReason)},
        metrics.LINES: {"outcome": ("refused",), "reason": tuple(LineReason)},
        metrics.ORDERS: {"kind": tuple(OrderKind), "outcome": ("applied", "repeated", "refused")},
        metrics.SUBMISSIONS: {**_BANK, "proof": tuple(Proof)},
        metrics.EVIDENCE: {**_BANK, "proof": tuple(Proof), "effect": _EFFECTS},
        metrics.UNKNOWN_CODES: _BANK,
        metrics.QUARANTINED: {**_BANK, "reason": ("unreadable",)},
        metrics.PROBES: {**_BANK, "outcome": ("answered", "unanswered")},
        metrics.CALLBACKS: {**_BANK, "outcome": _READ},
        metrics.CRASHED_SENDINGS: _BANK,
        metrics.BANK_CALL_SECONDS: {**_BANK, "call": ("submit", "probe", "collect")},
        metrics.SETTLE_SECONDS: _BANK,
        metrics.CONFLICTS: _BANK,
        metrics.FEES: _BANK,
        metrics.GIVEN_UP: _BANK,
        metrics.RECEIPTS: {"outcome": tuple(ReceiptOutcome)},
        metrics.RECORDS_PUBLISHED: {"topic": _TOPICS_OUT, "outcome": ("acknowledged", "in_doubt")},
        metrics.NOTICES: {"provider": _CONFIGURED, "outcome": _NOTICES},
        metrics.SMS_REPORTS_UNMATCHED: {"provider": _CONFIGURED},
        metrics.SMS_REPORTS_UNREADABLE: {"provider": _CONFIGURED},
    }
)


def declare(banks: Iterable[str], providers: Iterable[str]) -> None:
    """Open every series for these banks and SMS providers. What was counted already stays counted."""
    configured = {"bank": tuple(banks), "provider": tuple(providers)}
    for metric, values in VALUES.items():
        for chosen in itertools.product(*(known or configured[label] for label, known in values.items())):
            metric.labels(**dict(zip(values, chosen, strict=True)))
    metrics.LINES.labels(outcome="approved", reason=metrics.NO_REASON)
    for bank in configured["bank"]:
        for gauge in (metrics.IN_DOUBT_OLDEST_SECONDS, metrics.HELD, metrics.BANK_PAUSED):
            gauge.labels(bank=bank).set(0)
        for kind in metrics.DIFFERENCES:
            metrics.STATEMENT_DIFFERENCES.labels(bank=bank, kind=kind).set(0)
    for bucket in metrics.BUCKETS:
        metrics.PAYOUTS.labels(bucket=bucket).set(0)
        metrics.AMOUNT_FEN.labels(bucket=bucket).set(0)
    for clock in metrics.CLOCKS:
        metrics.OLDEST_DUE_SECONDS.labels(clock=clock).set(metrics.NO_DEADLINE)
