"""What goes back upstream: receipts, batch reports, refusals. None of it carries personal data."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.money import fen_from_yuan_text
from schemas.v1.fields import (
    MOST_ATTEMPTS,
    MOST_RECEIPTS_IN_CHUNK,
    AsWritten,
    BankNumber,
    CodeText,
    Count,
    CountyCode,
    Detail,
    ExternalId,
    Instant,
    LineNumber,
    Message,
    MessageId,
    PartNumber,
    PayoutId,
    Period,
    PlainText,
    ProgrammeCode,
    RailReference,
    Sha256,
    SumAsWritten,
    YuanTotal,
)
from schemas.v1.words import InboundTopic, LineReason, PayoutReason, ReceiptOutcome, RefusalReason, ReportKind, WhoActs


class Receipt(Message):
    """What became of one attempt. A refused line is attempt 0: it never became a payout."""

    receipt_id: MessageId
    line: LineNumber
    payout_id: PayoutId | None
    attempt: Annotated[int, Field(ge=0, le=MOST_ATTEMPTS)]
    outcome: ReceiptOutcome
    reason: LineReason | PayoutReason | None
    who_acts: WhoActs | None
    amount: AsWritten
    reference: RailReference | None
    bank_no: BankNumber | None
    bank_code: CodeText | None
    host_reference: CodeText | None
    post_date: dt.date | None
    final_at: Instant
    limit_at: Instant | None
    late: bool

    @model_validator(mode="after")
    def _refused_line_or_payout(self) -> Self:
        if self.attempt == 0:
            if self.outcome is not ReceiptOutcome.FAILED or not isinstance(self.reason, LineReason):
                raise ValueError("a refused line fails for a line's reason")
            if self.payout_id is not None or self.reference is not None:
                raise ValueError("a refused line has neither payout nor reference")
        else:
            if self.payout_id is None:
                raise ValueError("an attempt belongs to a payout")
            if isinstance(self.reason, LineReason):
                raise ValueError("an attempt does not fail for a line's reason")
            fen_from_yuan_text(self.amount)
        return self


class ReceiptBatch(Message):
    """One Kafka record: a chunk of receipts of one batch."""

    schema_: Literal["payout.receipts/v1"] = Field(alias="schema")
    message_id: MessageId
    issuer: ExternalId
    batch_id: ExternalId
    county: CountyCode
    programme: ProgrammeCode
    period: Period
    finance_bureau: PlainText
    line_department: PlainText
    issued_at: Instant
    receipts: Annotated[tuple[Receipt, ...], Field(min_length=1, max_length=MOST_RECEIPTS_IN_CHUNK)]


class Tally(Message):
    """How many payouts, and how much money."""

    count: Count
    amount: YuanTotal


class RefusedTally(Message):
    """Refused lines: their sum is over the amounts as written, a text that is no plain decimal counting as zero."""

    count: Count
    amount: SumAsWritten


class BatchReport(Message):
    """The control totals of one batch at one moment; ``revision`` grows with every change after completion."""

    schema_: Literal["payout.batch-report/v1"] = Field(alias="schema")
    report_id: MessageId
    issuer: ExternalId
    batch_id: ExternalId
    county: CountyCode
    programme: ProgrammeCode
    period: Period
    finance_bureau: PlainText
    line_department: PlainText
    revision: Annotated[int, Field(ge=1, le=1_000_000)]
    kind: ReportKind
    issued_at: Instant
    list_received_at: Instant
    funds_received_at: Instant | None
    clock_started_at: Instant | None
    limit_at: Instant | None
    target_at: Instant | None
    feedback_due_at: Instant | None
    lines: LineNumber
    refused: RefusedTally
    approved: Tally
    awaiting_funds: Tally
    queued: Tally
    in_flight: Tally
    in_doubt: Tally
    conflict: Tally
    credited: Tally
    failed: Tally
    cancelled: Tally
    late: Tally
    reasons: dict[LineReason | PayoutReason, Count]


class Refusal(Message):
    """A message that was not accepted, named by what could be read of it and by the digest of its bytes."""

    schema_: Literal["payout.refusal/v1"] = Field(alias="schema")
    refusal_id: MessageId
    topic: InboundTopic
    issuer: ExternalId | None
    batch_id: ExternalId | None
    part: PartNumber | None
    order_id: ExternalId | None
    funding_id: ExternalId | None
    reason: RefusalReason
    detail: Detail
    digest: Sha256 | None
    refused_at: Instant
