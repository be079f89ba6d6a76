"""Reads a county's real-name list (CSV, Chinese headers) and its header file, and builds the parts of the batch.

The list is taken as it is written: nothing is trimmed or mended here, because what is signed has to be what the county
wrote, and intake answers each wrong line by its number. Only what would make the message itself impossible is a fault,
named by line and column and never by value. The file is read twice (every part repeats the whole batch's totals), a
line at a time, so that a million lines need no more memory than a thousand.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gateway.policy import amount_in_fen
from gateway.sheets import FIELDS, MOST_FAULTS, Row, Sheet, title
from gateway.tables import TableFault
from schemas.money import billionths_as_written, sum_text, yuan_text_from_fen
from schemas.strict_json import loads
from schemas.v1 import MOST_LINES_IN_BATCH, MOST_LINES_IN_PART, BatchPart, Funding, IssuingKind, ListLine
from schemas.v1.fields import (
    CountyCode,
    ExternalId,
    Instant,
    Message,
    Period,
    PlainText,
    ProgrammeCode,
    Yuan,
)

MOST_HEADER_BYTES: Final = 64 * 1024

_REQUIRED: Final = ("name", "id_no", "amount")
# What the gateway would refuse as DUPLICATE_LINE is told here, before anything is signed.
_RUN_ON: Final = "does not follow the line above: numbers run from 1 without gap or repetition"
_LINE_NUMBER = re.compile(r"[1-9][0-9]{0,6}").fullmatch


class ListHeader(Message):
    """What the county sends beside the list. ``finance_bureau`` may be absent where finance itself is the issuer."""

    batch_id: ExternalId
    issuer: ExternalId
    issuing_kind: IssuingKind
    county: CountyCode
    programme: ProgrammeCode
    period: Period
    document_no: PlainText
    line_department: PlainText
    finance_bureau: PlainText | None = None
    list_received_at: Instant
    funds_received_at: Instant | None = None
    funding_id: ExternalId | None = None
    funds_amount: Yuan | None = None

    def funding(self, payable_fen: int) -> Funding:
        """The confirmation that the money is there: the amount of the header, or all lines that can be paid at all."""
        if self.funds_received_at is None:
            raise TableFault(["header: funds_received_at is missing, so no funding can be confirmed"])
        return Funding(
            schema="payout.funding/v1",
            issuer=self.issuer,
            funding_id=self.funding_id or f"{self.batch_id}-F1",
            batch_id=self.batch_id,
            amount=self.funds_amount or yuan_text_from_fen(payable_fen),
            received_at=self.funds_received_at,
        )


def read_header(path: Path) -> ListHeader:
    """The header file; TableFault names every member that is wrong."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_HEADER_BYTES + 1).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise TableFault([f"{path.name}: cannot be read ({type(error).__name__})"]) from None
    if len(raw) > MOST_HEADER_BYTES:
        raise TableFault([f"{path.name}: is larger than {MOST_HEADER_BYTES} bytes"])
    try:
        loads(raw)
        header = ListHeader.model_validate_json(raw)
    except ValidationError as error:
        raise TableFault(_findings(path.name, error)) from None
    except ValueError:
        raise TableFault([f"{path.name}: is not JSON without repeated members"]) from None
    if header.finance_bureau is None and header.issuing_kind is not IssuingKind.FINANCE:
        raise TableFault([f"{path.name}: finance_bureau is missing"])
    return header


@dataclass(frozen=True, slots=True)
class CountyList:
    """A list that was read once, from end to end, and its totals."""

    sheet: Sheet
    lines: int
    billionths: int  # the exact sum of the amounts as written
    payable_fen: int  # the sum of the amounts that are amounts: never less than the approved lines

    def build(self, header: ListHeader, lines_per_part: int = MOST_LINES_IN_PART) -> Iterator[BatchPart]:
        """The parts, in order. Equal files cut equally give equal messages, so publishing twice is publishing once."""
        parts = -(-self.lines // lines_per_part)
        rows = self.sheet.rows()
        for part in range(1, parts + 1):
            items = tuple(itertools.islice((_line(self.sheet, row) for row in rows), lines_per_part))
            if not items:
                raise TableFault([f"{self.sheet.path.name}: the file was changed while it was read"])
            yield BatchPart(
                schema="payout.batch-part/v1",
                issuer=header.issuer,
                batch_id=header.batch_id,
                county=header.county,
                programme=header.programme,
                period=header.period,
                document_no=header.document_no,
                issuing_kind=header.issuing_kind,
                finance_bureau=header.finance_bureau or header.issuer,
                line_department=header.line_department,
                list_received_at=header.list_received_at,
                part=part,
                parts=parts,
                lines=self.lines,
                amount=sum_text(self.billionths),
                items=items,
            )


def read_list(path: Path) -> CountyList:
    """Read the whole list once and judge whether it can become messages; TableFault with what is in the way."""
    sheet = Sheet.open(path, _REQUIRED)
    faults: list[str] = []
    lines = billionths = payable_fen = 0
    before: int | None = 0  # the line above; None after one that could not be read
    for row in sheet.rows():
        try:
            line = _line(sheet, row)
        except TableFault as fault:
            faults.extend(fault.faults)
            before = None
        else:
            if before is not None and line.line != before + 1:
                faults.append(f"{path.name}: row {row.row}, {title('line')}: {_RUN_ON}")
            before = line.line
            lines += 1
            billionths += billionths_as_written(line.amount)
            fen = amount_in_fen(line.amount)
            payable_fen += fen if isinstance(fen, int) else 0
            if lines > MOST_LINES_IN_BATCH:
                faults.append(f"{path.name}: holds more than {MOST_LINES_IN_BATCH} lines")
        if len(faults) >= MOST_FAULTS or lines > MOST_LINES_IN_BATCH:
            break
    if not faults and not lines:
        faults.append(f"{path.name}: holds no lines")
    if faults:
        raise TableFault(faults[:MOST_FAULTS])
    return CountyList(sheet, lines, billionths, payable_fen)


def _line(sheet: Sheet, row: Row) -> ListLine:
    """One line of the message; the column 序号 numbers it where there is one, else its place in the list."""
    number, written = row.number, row.cells.get("line")
    place = f"{sheet.path.name}: row {row.row}"
    if written is not None:
        if not _LINE_NUMBER(written):
            raise TableFault([f"{place}, {title('line')}: is not a line number"])
        number = int(written)
    values: dict[str, object] = {field: row.cells.get(field, "") for field in FIELDS}
    try:
        return ListLine.model_validate(values | {"line": number})
    except ValidationError as error:
        raise TableFault(_findings(place, error)) from None


def _findings(place: str, error: ValidationError) -> list[str]:
    """pydantic's findings without what caused them. A member that is not ours is the writer's text: not repeated."""
    told = error.errors(include_input=False, include_url=False, include_context=False)
    names = set(FIELDS) | ListHeader.model_fields.keys()
    places = [str(one["loc"][0]) if one["loc"] else "" for one in told]
    return [
        f"{place}, {title(name) if name in names else '?'}: {one['msg']}"
        for name, one in zip(places, told, strict=True)
    ]
