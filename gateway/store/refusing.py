"""Refusals: what is answered when a message is not accepted, as an outbox record."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any, Final

from gateway.store.outbox import Record
from gateway.store.staging import RECEIPT_PROMISE
from schemas.codec import Refused, encode, parse_message
from schemas.v1 import INBOUND_TOPICS, Kind, Refusal, RefusalReason

_NAMES: Final = ("issuer", "batch_id", "part", "order_id", "funding_id")


def refusal_of(kind: Kind, raw: bytes, reason: RefusalReason, detail: str, at: dt.datetime) -> Record:
    """The answer to a message, named by whatever can be read of it, believed or not; by its digest in any case."""
    names: dict[str, Any] = {}
    try:
        message = parse_message(kind, raw)
    except Refused:
        pass
    else:
        names = {name: getattr(message, name, None) for name in _NAMES}
    return refusal(kind, reason, detail, at, digest=hashlib.sha256(raw).digest(), **names)


def refusal(
    kind: Kind,
    reason: RefusalReason,
    detail: str,
    at: dt.datetime,
    *,
    digest: bytes | None = None,
    issuer: str | None = None,
    batch_id: str | None = None,
    part: int | None = None,
    order_id: str | None = None,
    funding_id: str | None = None,
) -> Record:
    """Named by what could be read of the message, and by the digest of its bytes. Equal refusals have equal ids."""
    names = (kind, reason, issuer, batch_id, part, order_id, funding_id, digest.hex() if digest else "")
    identity = hashlib.sha256("\n".join(str(name) for name in names).encode()).hexdigest()[:32]
    message = Refusal(
        schema="payout.refusal/v1",
        refusal_id=identity,
        topic=INBOUND_TOPICS[kind],
        issuer=issuer,
        batch_id=batch_id,
        part=part,
        order_id=order_id,
        funding_id=funding_id,
        reason=reason,
        detail=detail,
        digest=digest.hex() if digest else None,
        refused_at=at,
    )
    return Record("refusals", issuer or identity, encode(message), at, at + RECEIPT_PROMISE)
