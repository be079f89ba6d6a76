"""The closed vocabularies of version 1: message kinds, topics, refusal and failure reasons, outcomes.

A value outside its list is refused on the way in and cannot be built on the way out. ``PayoutReason`` repeats the list
of ``adapters.contract.Reason``, because layers only look down; a test keeps the two equal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The six messages; the first three come in signed, the others go out."""

    BATCH = "batch"
    FUNDING = "funding"
    ORDER = "order"
    RECEIPTS = "receipts"
    REPORT = "report"
    REFUSAL = "refusal"


class InboundTopic(StrEnum):
    BATCHES = "payout.batches"
    FUNDING = "payout.funding"
    ORDERS = "payout.orders"


class OutboundTopic(StrEnum):
    RECEIPTS = "payout.receipts"
    BATCH_REPORTS = "payout.batch-reports"
    REFUSALS = "payout.refusals"


INBOUND_TOPICS: Final = {
    Kind.BATCH: InboundTopic.BATCHES,
    Kind.FUNDING: InboundTopic.FUNDING,
    Kind.ORDER: InboundTopic.ORDERS,
}
OUTBOUND_TOPICS: Final = {
    Kind.RECEIPTS: OutboundTopic.RECEIPTS,
    Kind.REPORT: OutboundTopic.BATCH_REPORTS,
    Kind.REFUSAL: OutboundTopic.REFUSALS,
}


class RefusalReason(StrEnum):
    """Why a whole inbound message was refused."""

    UNREADABLE = "UNREADABLE"
    OVERSIZE = "OVERSIZE"
    UNSIGNED = "UNSIGNED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    KEY_NOT_VALID = "KEY_NOT_VALID"
    KEY_REVOKED = "KEY_REVOKED"
    WRONG_AUDIENCE = "WRONG_AUDIENCE"
    WRONG_TYPE = "WRONG_TYPE"
    STALE = "STALE"
    FROM_THE_FUTURE = "FROM_THE_FUTURE"
    WRONG_VERSION = "WRONG_VERSION"
    WRONG_ISSUER = "WRONG_ISSUER"
    SCHEMA = "SCHEMA"
    CONFLICTING_CONTENT = "CONFLICTING_CONTENT"
    CONFLICTING_HEADER = "CONFLICTING_HEADER"
    WRONG_TOTALS = "WRONG_TOTALS"
    PART_MISSING = "PART_MISSING"
    DUPLICATE_LINE = "DUPLICATE_LINE"
    UNKNOWN_PROGRAMME = "UNKNOWN_PROGRAMME"
    UNKNOWN_BATCH = "UNKNOWN_BATCH"
    UNKNOWN_PAYOUT = "UNKNOWN_PAYOUT"
    NOT_FAILED = "NOT_FAILED"
    IN_DOUBT = "IN_DOUBT"
    ALREADY_CREDITED = "ALREADY_CREDITED"
    STALE_ATTEMPT = "STALE_ATTEMPT"
    ALREADY_CANCELLED = "ALREADY_CANCELLED"
    DETAILS_INVALID = "DETAILS_INVALID"
    BENEFICIARY_COLLISION = "BENEFICIARY_COLLISION"
    CONFLICT = "CONFLICT"
    FUNDS_MISMATCH = "FUNDS_MISMATCH"
    ALREADY_SENT = "ALREADY_SENT"


class LineReason(StrEnum):
    """Why one line of an accepted batch is not paid, in the order in which it is judged."""

    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    NAME_INVALID = "NAME_INVALID"
    ID_INVALID = "ID_INVALID"
    AMOUNT_INVALID = "AMOUNT_INVALID"
    ACCOUNT_MISSING = "ACCOUNT_MISSING"
    NO_AGREEMENT = "NO_AGREEMENT"
    DUPLICATE_BENEFICIARY = "DUPLICATE_BENEFICIARY"


class PayoutReason(StrEnum):
    """Why money did not arrive, or came back."""

    ACCOUNT_NOT_FOUND = "ACCOUNT_NOT_FOUND"
    NAME_MISMATCH = "NAME_MISMATCH"
    ID_MISMATCH = "ID_MISMATCH"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    ACCOUNT_FROZEN = "ACCOUNT_FROZEN"
    ACCOUNT_DORMANT = "ACCOUNT_DORMANT"
    CARD_LOST_OR_EXPIRED = "CARD_LOST_OR_EXPIRED"
    SSCARD_NOT_ACTIVATED = "SSCARD_NOT_ACTIVATED"
    ACCOUNT_CLASS_LIMIT = "ACCOUNT_CLASS_LIMIT"
    ACCOUNT_TYPE = "ACCOUNT_TYPE"
    BANK_CODE_INVALID = "BANK_CODE_INVALID"
    AMOUNT = "AMOUNT"
    DUPLICATE = "DUPLICATE"
    RETURNED_AFTER_CREDIT = "RETURNED_AFTER_CREDIT"
    FUNDS_SHORT = "FUNDS_SHORT"
    FORMAT = "FORMAT"
    SIGNATURE = "SIGNATURE"
    NAME_NOT_ENCODABLE = "NAME_NOT_ENCODABLE"
    NOT_EXECUTED = "NOT_EXECUTED"
    BENEFICIARY_DECEASED = "BENEFICIARY_DECEASED"
    BANK_BUSY = "BANK_BUSY"
    UNKNOWN = "UNKNOWN"


class IssuingKind(StrEnum):
    """Who approved a batch: the finance bureau or a line department."""

    FINANCE = "FINANCE"
    DEPARTMENT = "DEPARTMENT"


class OrderKind(StrEnum):
    REISSUE = "REISSUE"
    CANCEL = "CANCEL"
    RECALL = "RECALL"


class ReceiptOutcome(StrEnum):
    CREDITED = "credited"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class WhoActs(StrEnum):
    """Whose move it is after a failure (DOMAIN section 3)."""

    DEPARTMENT = "department"
    PAYEE = "payee"
    OPERATIONS = "operations"
    FINANCE = "finance"
    NOBODY = "nobody"


class ReportKind(StrEnum):
    INTERIM = "INTERIM"
    FINAL = "FINAL"
