"""The base of every message and the small field types they share: identifiers, instants, amounts, bounded text.

Patterns are explicit ASCII classes: ``\\d`` takes Persian digits, and a pydantic ``Decimal`` takes ``1_000`` and
``1E+2``. A message carries every member, ``null`` where it has nothing to say: an absent one is a mistake.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from schemas.money import AS_WRITTEN_PATTERN, SUM_PATTERN, YUAN_PATTERN

CHINA: Final = dt.timezone(dt.timedelta(hours=8))

MOST_LINES_IN_BATCH: Final = 1_000_000  # below 2**20, the room an internal payout id keeps for the line
MOST_LINES_IN_PART: Final = 1_000
MOST_PARTS: Final = 10_000
MOST_ATTEMPTS: Final = 1_000
MOST_RECEIPTS_IN_CHUNK: Final = 1_000


class Message(BaseModel):
    """Frozen, strict, closed; errors never quote the input, even when somebody prints the exception itself."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


_INSTANT = re.compile(
    r"2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def _instant(value: object) -> dt.datetime:
    """ISO 8601 with an offset, as text, or an aware datetime; pydantic alone would also take ``"1700000000"``."""
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return dt.datetime.fromisoformat(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value
    raise ValueError("an instant is ISO 8601 with seconds and an offset")


def instant_text(value: dt.datetime) -> str:
    """One spelling for one instant: Beijing time, fractions of a second only where there are any."""
    return value.astimezone(CHINA).isoformat()


Instant = Annotated[
    dt.datetime,
    BeforeValidator(_instant),
    PlainSerializer(instant_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{_INSTANT.pattern}$"}),
]

# Identifiers travel into file names, metrics' exemplars and URLs of other people's systems: a small alphabet.
ExternalId = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$")]
MessageId = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._:/-]{0,99}$")]
CountyCode = Annotated[str, Field(pattern=r"^[0-9]{6}$")]
ProgrammeCode = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,12}$")]
Period = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,7}$")]
PayoutId = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,12}-[1-9][0-9]{0,6}$")]
RailReference = Annotated[str, Field(pattern=r"^[0-9A-Z]{1,30}$")]
BankNumber = Annotated[str, Field(pattern=r"^[0-9]{12}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Text for people. No control characters and no line separators: it is shown, filed and kept in text columns.
PlainText = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,100}$")]
Detail = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,500}$")]
CodeText = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]

Yuan = Annotated[str, Field(pattern=YUAN_PATTERN)]
YuanTotal = Annotated[str, Field(pattern=r"^[0-9]{1,17}\.[0-9]{2}$")]
AsWritten = Annotated[str, Field(pattern=AS_WRITTEN_PATTERN)]
SumAsWritten = Annotated[str, Field(pattern=SUM_PATTERN)]

LineNumber = Annotated[int, Field(ge=1, le=MOST_LINES_IN_BATCH)]
Attempt = Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)]
Count = Annotated[int, Field(ge=0, le=MOST_LINES_IN_BATCH)]
PartNumber = Annotated[int, Field(ge=1, le=MOST_PARTS)]

_CODE_TEXT = re.compile(r"[!-~]{1,64}").fullmatch


def code_text(text: str | None) -> str | None:
    """A bank's code or reference where it is fit to be published; a bank's odd answer must not stop a receipt."""
    return text if text is not None and _CODE_TEXT(text) else None
