"""A refusal names what could be read of the message it answers, and its bytes in any case."""

from __future__ import annotations

import datetime as dt
import hashlib
import json

import pytest

from gateway.store.refusing import refusal_of
from schemas.v1 import Kind, RefusalReason
from tests.store import kit

AT = kit.START
TOPICS = {Kind.BATCH: "payout.batches", Kind.FUNDING: "payout.funding", Kind.ORDER: "payout.orders"}
NAMES = ("issuer", "batch_id", "part", "order_id", "funding_id")


@pytest.mark.parametrize(
    ("kind", "body", "named"),
    [
        (Kind.BATCH, kit.part_body("B-1", [kit.line(1)], [kit.line(1)]), (kit.ISSUER, "B-1", 1, None, None)),
        (Kind.FUNDING, kit.funding_body("1.00"), (kit.ISSUER, kit.BATCH, None, None, "F-1")),
        (Kind.ORDER, kit.order_body("REISSUE", "O-1", 1, 1), (kit.ISSUER, kit.BATCH, None, "O-1", None)),
        (Kind.ORDER, {"not": "an order"}, (None, None, None, None, None)),
    ],
)
def test_a_refusal_names_whatever_can_be_read(kind: Kind, body: dict[str, object], named: tuple[object, ...]) -> None:
    """Issuer, batch, part, order and funding as far as they are there; topic, reason, words, digest and time always."""
    raw = json.dumps(body, ensure_ascii=False).encode()
    record = refusal_of(kind, raw, RefusalReason.UNSIGNED, "no signature", AT)
    told = json.loads(record.value)
    assert tuple(told[name] for name in NAMES) == named
    assert (told["topic"], told["reason"], told["detail"]) == (TOPICS[kind], "UNSIGNED", "no signature")
    assert (told["digest"], dt.datetime.fromisoformat(told["refused_at"])) == (hashlib.sha256(raw).hexdigest(), AT)
    assert (record.topic, record.key) == ("refusals", named[0] or told["refusal_id"])
    assert record.happened_at == AT < record.due_at


def test_equal_refusals_have_equal_ids_and_others_have_not() -> None:
    """A message that comes again is refused under the same id; another reason, or other bytes, under another one."""
    ids = [
        json.loads(refusal_of(kind, raw, reason, "words", at).value)["refusal_id"]
        for kind, raw, reason, at in (
            (Kind.ORDER, b"x", RefusalReason.UNSIGNED, AT),
            (Kind.ORDER, b"x", RefusalReason.UNSIGNED, AT + dt.timedelta(days=1)),
            (Kind.ORDER, b"y", RefusalReason.UNSIGNED, AT),
            (Kind.ORDER, b"x", RefusalReason.UNREADABLE, AT),
            (Kind.FUNDING, b"x", RefusalReason.UNSIGNED, AT),
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
