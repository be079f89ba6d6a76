"""What finance and the departments send, signed: batch parts, funding confirmations, orders."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from schemas.masked import AccountNumber, Address, IdNumber, PersonName, Phone
from schemas.v1.fields import (
    MOST_LINES_IN_PART,
    Attempt,
    CountyCode,
    ExternalId,
    Instant,
    LineNumber,
    Message,
    PartNumber,
    Period,
    PlainText,
    ProgrammeCode,
    SumAsWritten,
    Yuan,
)
from schemas.v1.words import IssuingKind, OrderKind

Short = Annotated[str, Field(max_length=64)]
Long = Annotated[str, Field(max_length=400)]


class ListLine(Message):
    """One row of the real-name list, as written ("" = absent). The schema only bounds it: intake judges each line."""

    line: LineNumber
    name: PersonName
    id_no: IdNumber
    phone: Phone
    address: Address
    bank_name: Short
    bank_no: Short
    account: AccountNumber
    account_kind: Short
    quantity: Short
    unit: Short
    rate: Short
    amount: Short
    remark: Long

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        # Any column may hold what belongs into another one, so the number is all that is ever printed.
        return [("line", self.line)]


class BatchPart(Message):
    """A slice of an approved list. Every part repeats the whole batch's header, counts and exact sum."""

    schema_: Literal["payout.batch-part/v1"] = Field(alias="schema")
    issuer: ExternalId
    batch_id: ExternalId
    county: CountyCode
    programme: ProgrammeCode
    period: Period
    document_no: PlainText
    issuing_kind: IssuingKind
    finance_bureau: PlainText
    line_department: PlainText
    list_received_at: Instant
    part: PartNumber
    parts: PartNumber
    lines: LineNumber
    amount: SumAsWritten
    items: Annotated[tuple[ListLine, ...], Field(min_length=1, max_length=MOST_LINES_IN_PART)]

    @model_validator(mode="after")
    def _part_of_parts(self) -> Self:
        if self.part > self.parts:
            raise ValueError("part is greater than parts")
        return self

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [("issuer", self.issuer), ("batch_id", self.batch_id), ("part", self.part), ("lines", len(self.items))]


class Funding(Message):
    """The money for one batch has reached the paying account."""

    schema_: Literal["payout.funding/v1"] = Field(alias="schema")
    issuer: ExternalId
    funding_id: ExternalId
    batch_id: ExternalId
    amount: Yuan
    received_at: Instant


class CorrectedDetails(Message):
    """What changed after re-verification; an absent or null member stays as it was."""

    name: PersonName | None = None
    id_no: IdNumber | None = None
    phone: Phone | None = None
    account: AccountNumber | None = None
    account_kind: Short | None = None
    bank_no: Short | None = None

    @model_validator(mode="after")
    def _something_changed(self) -> Self:
        if all(value is None for _, value in self):
            raise ValueError("nothing is corrected: null details mean the same details again")
        return self


class Order(Message):
    """Pay a failed payout again, cancel one, or recall all of a batch that has not been sent."""

    schema_: Literal["payout.order/v1"] = Field(alias="schema")
    issuer: ExternalId
    order_id: ExternalId
    kind: OrderKind
    batch_id: ExternalId
    line: LineNumber | None
    attempt: Attempt | None
    document_no: PlainText
    details: CorrectedDetails | None

    @model_validator(mode="after")
    def _names_what_it_is_about(self) -> Self:
        names_payout = self.line is not None and self.attempt is not None
        if self.kind is OrderKind.RECALL:
            if self.line is not None or self.attempt is not None:
                raise ValueError("a recall is about a whole batch")
        elif not names_payout:
            raise ValueError("a re-issue and a cancellation name a line and an attempt")
        if self.details is not None and self.kind is not OrderKind.REISSUE:
            raise ValueError("only a re-issue corrects details")
        return self
