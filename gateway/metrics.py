"""Every metric of the gateway, in this one file: what is counted, in which unit, and under which closed label sets.

A variable is named after its metric: ``payout_messages_total`` is ``MESSAGES``, ``payout_identity_gap`` is
``IDENTITY_GAP``. Labels come from closed sets only (bank, department, state, reason, kind and the like), never an id:
the number of series must not depend on how many people are paid.

Counters are per process and are added up by Prometheus. Gauges marked *(store)* are read from the database by
``watch`` and are the same in every process: rules take their maximum, never their sum.

Every series exists before its first event: ``gateway/series.py`` has the values that each label may take.
"""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = ("awaiting_funds", "queued", "in_flight", "in_doubt", "conflict", "credited", "failed", "cancelled")
CLOCKS = ("limit", "target", "feedback", "receipt")
TOPICS_IN = ("batches", "funding", "orders")
DIFFERENCES = ("UNKNOWN", "AMOUNT", "NOT_PAID", "NOT_RETURNED", "ACCOUNT", "MISSING")
NO_DEADLINE = math.inf  # what OLDEST_DUE_SECONDS is set to while nothing is open
NO_REASON = "none"  # the reason label of something that was not refused

# --- What came in over Kafka -----------------------------------------------------------------------------------------

MESSAGES = Counter(
    "payout_messages_total",
    "Signed messages read, by topic (batches, funding, orders) and outcome (accepted, repeated, refused).",
    ("topic", "outcome"),
    registry=REGISTRY,
)
REFUSALS = Counter(
    "payout_refusals_total",
    "Refusals answered on payout.refusals, by reason.",
    ("reason",),
    registry=REGISTRY,
)
LINES = Counter(
    "payout_lines_total",
    "Lines judged by intake, by outcome (approved, refused) and refusal reason ('none' when approved).",
    ("outcome", "reason"),
    registry=REGISTRY,
)
ORDERS = Counter(
    "payout_orders_total",
    "Orders, by kind (REISSUE, CANCEL, RECALL) and outcome (applied, repeated, refused).",
    ("kind", "outcome"),
    registry=REGISTRY,
)
KAFKA_LAG = Gauge(
    "payout_kafka_lag",
    "Records between this consumer's committed position and the end of the topic.",
    ("topic",),
    registry=REGISTRY,
)

# --- What was sent to the banks and what they proved -----------------------------------------------------------------

SUBMISSIONS = Counter(
    "payout_submissions_total",
    "Transmissions of a submission, by bank and by what the answer proved.",
    ("bank", "proof"),
    registry=REGISTRY,
)
EVIDENCE = Counter(
    "payout_evidence_total",
    "Evidence recorded, by bank, proof and effect: it moved a state, was a no-op, made a conflict, was kept beside the "
    "state, told of money that no state tells of, or matched no attempt of that bank.",
    ("bank", "proof", "effect"),
    registry=REGISTRY,
)
UNKNOWN_CODES = Counter(
    "payout_unknown_codes_total",
    "Bank codes that no table lists; each stays in doubt until a person extends the table.",
    ("bank",),
    registry=REGISTRY,
)
QUARANTINED = Counter(
    "payout_quarantined_total",
    "Artefacts of a bank set aside whole because they cannot be trusted, by reason.",
    ("bank", "reason"),
    registry=REGISTRY,
)
PROBES = Counter(
    "payout_probes_total",
    "Questions asked about a submission, by bank and outcome (answered, unanswered).",
    ("bank", "outcome"),
    registry=REGISTRY,
)
CALLBACKS = Counter(
    "payout_callbacks_total",
    "Callbacks received, by bank and outcome (accepted, repeated, refused).",
    ("bank", "outcome"),
    registry=REGISTRY,
)
CRASHED_SENDINGS = Counter(
    "payout_crashed_sendings_total",
    "Submissions found SENDING under an expired lease and fenced into in doubt.",
    ("bank",),
    registry=REGISTRY,
)
BANK_CALL_SECONDS = Histogram(
    "payout_bank_call_seconds",
    "Real seconds of one call to a bank, by call (submit, probe, collect).",
    ("bank", "call"),
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120),
    registry=REGISTRY,
)
SETTLE_SECONDS = Histogram(
    "payout_settle_seconds",
    "Business-clock seconds from the first transmission of an attempt to its proven credit.",
    ("bank",),
    buckets=(60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 2 * 86400, 3 * 86400, 5 * 86400, 10 * 86400),
    registry=REGISTRY,
)

# --- What must never happen ------------------------------------------------------------------------------------------

CONFLICTS = Counter(
    "payout_conflicts_total",
    "Payouts frozen: a bank contradicted itself or credited another amount, or a line was to pay what nobody approved.",
    ("bank",),
    registry=REGISTRY,
)
FEES = Counter(
    "payout_fees_total",
    "Credits whose amount differs from the approved amount, to the fen.",
    ("bank",),
    registry=REGISTRY,
)
GIVEN_UP = Counter(
    "payout_given_up_total",
    "Payouts that a bank did not take so often that the core makes no further attempt: they wait for an order.",
    ("bank",),
    registry=REGISTRY,
)
LATE_CREDITS = Counter(
    "payout_late_credits_total",
    "Attempts credited after the working-day limit of their clock.",
    registry=REGISTRY,
)
SMS_BILLED_RECEIVER = Counter(
    "payout_sms_billed_receiver_total",
    "Delivery reports that say the person, not the bank, was charged for a notice.",
    registry=REGISTRY,
)
IDENTITY_GAP = Gauge(
    "payout_identity_gap",
    "Approved payouts minus the sum of the eight buckets, over all batches; anything but 0 is a fault. (store)",
    registry=REGISTRY,
)
IDENTITY_GAP_FEN = Gauge(
    "payout_identity_gap_fen",
    "The same gap in fen. (store)",
    registry=REGISTRY,
)

# --- Where everything stands (store) ---------------------------------------------------------------------------------

PAYOUTS = Gauge(
    "payout_payouts",
    "Approved payouts by bucket of the batch identity. (store)",
    ("bucket",),
    registry=REGISTRY,
)
AMOUNT_FEN = Gauge(
    "payout_amount_fen",
    "Approved amount in fen by bucket of the batch identity. (store)",
    ("bucket",),
    registry=REGISTRY,
)
BATCHES = Gauge(
    "payout_batches",
    "Batches by state. (store)",
    ("state",),
    registry=REGISTRY,
)
OLDEST_DUE_SECONDS = Gauge(
    "payout_oldest_due_seconds",
    "Business-clock seconds until the nearest open deadline of a clock (limit, target, feedback, receipt); negative "
    "when it has passed, +Inf while nothing is open. (store)",
    ("clock",),
    registry=REGISTRY,
)
IN_DOUBT_OLDEST_SECONDS = Gauge(
    "payout_in_doubt_oldest_seconds",
    "Business-clock seconds since the oldest attempt in doubt at a bank became so; 0 when there is none. (store)",
    ("bank",),
    registry=REGISTRY,
)
HELD = Gauge(
    "payout_held",
    "Attempts in doubt that have come within four working hours of their limit and wait for people. (store)",
    ("bank",),
    registry=REGISTRY,
)
WATCHED_AT_SECONDS = Gauge(
    "payout_watched_at_seconds",
    "Unix time at which watch last read the gauges marked (store); while it stands still they are old news.",
    registry=REGISTRY,
)
STATEMENT_DIFFERENCES = Gauge(
    "payout_statement_differences",
    "Open differences between a bank's statements and the books, by kind (UNKNOWN, AMOUNT, NOT_PAID, NOT_RETURNED, "
    "ACCOUNT, MISSING). (store)",
    ("bank", "kind"),
    registry=REGISTRY,
)
STATEMENT_WAIT_BANKDAYS = Gauge(
    "payout_statement_wait_bankdays",
    "Bank days since the oldest day on which something was sent that no statement covers yet; banks that give "
    "statements. (store)",
    ("bank",),
    registry=REGISTRY,
)
BANK_PAUSED = Gauge(
    "payout_bank_paused",
    "1 while nothing is sent to a bank until somebody looks. (store)",
    ("bank",),
    registry=REGISTRY,
)

# --- The calendar ----------------------------------------------------------------------------------------------------

DEADLINE_FALLBACK = Counter(
    "payout_deadline_fallback_total",
    "Deadlines computed beyond the calendar's horizon, where the earlier calendar-day date was taken.",
    registry=REGISTRY,
)
CALENDAR_HORIZON_DAYS = Gauge(
    "payout_calendar_horizon_days",
    "Days from today to the last day of the loaded calendar.",
    registry=REGISTRY,
)

# --- What went out ---------------------------------------------------------------------------------------------------

RECEIPTS = Counter(
    "payout_receipts_total",
    "Receipts staged, by outcome (credited, failed, cancelled, returned).",
    ("outcome",),
    registry=REGISTRY,
)
RECORDS_PUBLISHED = Counter(
    "payout_records_published_total",
    "Outbox records handed to Kafka, by topic and outcome (acknowledged, in_doubt: the same bytes go again).",
    ("topic", "outcome"),
    registry=REGISTRY,
)
RECEIPT_SLACK_SECONDS = Histogram(
    "payout_receipt_slack_seconds",
    "Business-clock seconds left until the feedback deadline when a receipt was acknowledged by Kafka; le=0 is late.",
    buckets=(0, 3600, 6 * 3600, 12 * 3600, 86400, 36 * 3600, 42 * 3600, 47 * 3600, 2 * 86400, 3 * 86400),
    registry=REGISTRY,
)
OUTBOX_PENDING = Gauge(
    "payout_outbox_pending",
    "Outbox records not yet acknowledged by Kafka. (store)",
    registry=REGISTRY,
)
OUTBOX_OLDEST_SECONDS = Gauge(
    "payout_outbox_oldest_seconds",
    "Real seconds since the oldest unacknowledged outbox record was written; 0 when there is none. (store)",
    registry=REGISTRY,
)
NOTICES = Counter(
    "payout_notices_total",
    "SMS notices, by provider and outcome (sent, delivered, undelivered, refused, in_doubt, no_phone, unreported).",
    ("provider", "outcome"),
    registry=REGISTRY,
)

SMS_CONNECTED = Gauge(
    "payout_sms_connected",
    "1 while this process's connection to an SMS centre stands; only for providers that keep one (cmpp, smpp).",
    ("provider",),
    registry=REGISTRY,
)
SMS_REPORTS_UNMATCHED = Counter(
    "payout_sms_reports_unmatched_total",
    "Pushed delivery reports that found no message of ours within an hour.",
    ("provider",),
    registry=REGISTRY,
)
SMS_REPORTS_UNREADABLE = Counter(
    "payout_sms_reports_unreadable_total",
    "Pushed deliveries that claim to be reports and cannot be read, and were refused for good.",
    ("provider",),
    registry=REGISTRY,
)

# --- The process itself ----------------------------------------------------------------------------------------------

READY = Gauge(
    "payout_ready",
    "1 while a component (database, kafka, ...) can do its work, else 0.",
    ("component",),
    registry=REGISTRY,
)

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)


def exposition() -> bytes:
    """The page that Prometheus reads, in its text format (``CONTENT_TYPE``)."""
    return generate_latest(REGISTRY)
