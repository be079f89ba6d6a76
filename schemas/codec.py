"""Between bytes and messages: strict reading that never guesses, and one canonical way of writing.

Reading is pydantic's, straight from the signed bytes. JSON lets a member appear twice, and most readers silently keep
the last one: what a person approved and what a machine pays could then differ. So the bytes are read a second time only
to look at the members' names. That costs 2 microseconds a line beside the 3 of the first reading. (Counting colons
against the known number of members is a proof too, and nearly free; it was measured and left out, because the whole
reading is a small part of a payout's cost and this check should be understood at sight.)
"""

from __future__ import annotations

import json
from typing import Final, Literal, overload

from pydantic import ValidationError

from schemas.masked import ON_THE_WIRE
from schemas.strict_json import AmbiguousJson, demand_unique_members
from schemas.v1 import (
    BatchPart,
    BatchReport,
    Funding,
    Kind,
    Message,
    Order,
    ReceiptBatch,
    Refusal,
    RefusalReason,
)

MODELS: Final[dict[Kind, type[Message]]] = {
    Kind.BATCH: BatchPart,
    Kind.FUNDING: Funding,
    Kind.ORDER: Order,
    Kind.RECEIPTS: ReceiptBatch,
    Kind.REPORT: BatchReport,
    Kind.REFUSAL: Refusal,
}
# Below the million bytes that a Kafka broker takes by default; 1,000 lines are about 350,000 bytes.
MOST_BYTES: Final[dict[Kind, int]] = {
    Kind.BATCH: 1_000_000,
    Kind.FUNDING: 16_384,
    Kind.ORDER: 16_384,
    Kind.RECEIPTS: 1_000_000,
    Kind.REPORT: 65_536,
    Kind.REFUSAL: 16_384,
}


class Refused(Exception):
    """An inbound message that is answered with a refusal. ``detail`` says what and where, never what was written."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@overload
def parse_message(kind: Literal[Kind.BATCH], raw: bytes) -> BatchPart: ...
@overload
def parse_message(kind: Literal[Kind.FUNDING], raw: bytes) -> Funding: ...
@overload
def parse_message(kind: Literal[Kind.ORDER], raw: bytes) -> Order: ...
@overload
def parse_message(kind: Literal[Kind.RECEIPTS], raw: bytes) -> ReceiptBatch: ...
@overload
def parse_message(kind: Literal[Kind.REPORT], raw: bytes) -> BatchReport: ...
@overload
def parse_message(kind: Literal[Kind.REFUSAL], raw: bytes) -> Refusal: ...
@overload
def parse_message(kind: Kind, raw: bytes) -> Message: ...


def parse_message(kind: Kind, raw: bytes) -> Message:
    """Read one message from its signed bytes, or raise ``Refused``: OVERSIZE, UNREADABLE, WRONG_VERSION or SCHEMA."""
    if len(raw) > MOST_BYTES[kind]:
        raise Refused(RefusalReason.OVERSIZE, f"more than {MOST_BYTES[kind]} bytes")
    fault: Refused | None = None
    try:
        message = MODELS[kind].model_validate_json(raw)
    except ValidationError as error:
        fault = _refused(error)
    if fault is not None:
        # Raised out here, because pydantic's error holds the whole input and would stay attached as the context.
        raise fault
    try:
        demand_unique_members(raw)
    except AmbiguousJson as error:
        raise Refused(RefusalReason.UNREADABLE, str(error)) from None
    return message


def parse_accepted(raw: bytes) -> BatchPart:
    """Read a part again that ``parse_message`` accepted, from under its seal: without the second look."""
    return BatchPart.model_validate_json(raw)


def encode(message: Message) -> bytes:
    """The canonical bytes of a message: UTF-8, members sorted, no spaces, and the real text of masked values.

    This is the only place that serialises personal data. Equal messages give equal bytes.
    """
    tree = message.model_dump(mode="json", by_alias=True, context=ON_THE_WIRE)
    return json.dumps(tree, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _member_names() -> frozenset[str]:
    from_schema: set[str] = set()
    for model in MODELS.values():
        document = model.model_json_schema()
        for part in (document, *document.get("$defs", {}).values()):
            from_schema.update(part.get("properties", {}))
    return frozenset(from_schema)


_NAMES: Final = _member_names()
_ERRORS_TOLD: Final = 5


def _refused(error: ValidationError) -> Refused:
    faults = error.errors(include_input=False, include_context=False, include_url=False)
    if any(fault["type"] == "json_invalid" for fault in faults):
        return Refused(RefusalReason.UNREADABLE, "not one JSON text in UTF-8")
    if any(fault["loc"] == ("schema",) and fault["type"] == "literal_error" for fault in faults):
        return Refused(RefusalReason.WRONG_VERSION, "the schema member names no version that is read here")
    # Of our own validators the sentence is told; none of them quotes a value.
    told = [
        f"{_place(fault['loc'])}: {fault['msg'] if fault['type'] == 'value_error' else fault['type']}"
        for fault in faults[:_ERRORS_TOLD]
    ]
    if len(faults) > _ERRORS_TOLD:
        told.append(f"and {len(faults) - _ERRORS_TOLD} more")
    return Refused(RefusalReason.SCHEMA, "; ".join(told))


def _place(location: tuple[int | str, ...]) -> str:
    """Where the fault is. A member that we do not know is the sender's own text, so it is not repeated."""
    return ".".join(str(part) if isinstance(part, int) or part in _NAMES else "?" for part in location) or "message"
