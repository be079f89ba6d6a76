"""Messages that nobody may believe, published among the good ones: each must be refused, and none may pay anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.approval import AUDIENCE, SigningKey, sign
from schemas.v1 import Kind
from tests.world import clock, desk_list
from tests.world.desk_disk import Outgoing, Signed

EXPECTED = {
    "unsigned": "UNSIGNED",
    "altered": "BAD_SIGNATURE",
    "other-key": "BAD_SIGNATURE",
    "unknown-key": "UNKNOWN_KEY",
    "other-audience": "WRONG_AUDIENCE",
    "other-kind": "WRONG_TYPE",
    "known-id": "CONFLICTING_CONTENT",
    "other-issuer": "WRONG_ISSUER",
    "unreadable": "UNREADABLE",
}


def hostile_messages(
    outgoing: Outgoing,
    key: SigningKey,
    kid: str,
    header: dict[str, Any],
    items: list[dict[str, Any]],
    lines_per_part: int,
) -> Iterator[Signed]:
    """One of each kind; after a restart only those that are still missing."""
    now = clock.now()
    few = items[1:3]

    def part(name: str, **changes: Any) -> bytes:
        head = {**header, "batch_id": f"{header['batch_id']}-{name}", **changes}
        return next(raw for _, raw in desk_list.parts(head, few, len(few)))

    def signed(raw: bytes, with_key: SigningKey = key, kind: Kind = Kind.BATCH, **changes: str) -> str:
        return sign(raw, kind, with_key, changes.get("kid", kid), changes.get("aud", AUDIENCE), now)

    stranger = SigningKey.generate("EdDSA")
    altered = part("altered")
    changed = desk_list.canonical({"schema": "payout.batch-part/v1"})
    known = next(raw for _, raw in desk_list.parts({**header}, _with_other_account(items), lines_per_part))
    bad: dict[str, tuple[bytes, str | None]] = {
        "unsigned": (part("unsigned"), None),
        "altered": (altered.replace(b'"quantity":"', b'"quantity":"9', 1), signed(altered)),
        "other-key": (part("other-key"), signed(part("other-key"), stranger)),
        "unknown-key": (part("unknown-key"), signed(part("unknown-key"), kid="nobody-2026")),
        "other-audience": (part("other-audience"), signed(part("other-audience"), aud="another-bank")),
        "other-kind": (part("other-kind"), signed(part("other-kind"), kind=Kind.ORDER)),
        "known-id": (known, signed(known)),
        "other-issuer": (part("i", issuer="659998-finance"), signed(part("i", issuer="659998-finance"))),
        "unreadable": (changed[:-1], signed(changed[:-1])),
    }
    for name, (raw, jws) in bad.items():
        identity = f"hostile-{name}"
        if identity not in outgoing.identities:
            yield outgoing.write(Kind.BATCH, identity, header["batch_id"], raw, jws, clock.now_ms(), clock.wall_ms())


def _with_other_account(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first part of the same batch as somebody else would like it."""
    changed = [dict(item) for item in items]
    changed[1]["account"] = "6299999999999999999"
    return changed
