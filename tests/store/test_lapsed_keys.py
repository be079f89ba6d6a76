"""Keys that are over, clocks set back: what was approved in its time stays a repeat, and nothing new is approved."""

from __future__ import annotations

import json

import pytest

from gateway.approval import KeyRing
from gateway.intake import Intake
from schemas.codec import Refused
from schemas.v1 import Kind, RefusalReason
from tests.store import kit
from tests.store.kit import Gateway


async def lapsed(gateway: Gateway, **entry: str) -> Intake:
    """Intake with a key ring in which the key's entry was changed since."""
    body = {
        "kid": "finance-1",
        "alg": "EdDSA",
        "issuer": kit.ISSUER,
        "kinds": ["batch", "funding", "order"],
        "public": gateway.key.public_jwk(),
        "not_before": "2026-01-01T00:00:00+08:00",
        "not_after": "2027-01-01T00:00:00+08:00",
        **entry,
    }
    ring = KeyRing.parse(json.dumps({"keys": [body]}).encode())
    gateway.failures._keyring = ring
    known = gateway.intake
    return Intake(gateway.store, ring, known._reference, gateway.vault, gateway.clock, gateway.config)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"revoked_at": "2026-11-24T11:00:00+08:00"}, RefusalReason.KEY_REVOKED),
        ({"not_after": "2026-11-24T09:00:00+08:00"}, RefusalReason.KEY_NOT_VALID),
        ({}, RefusalReason.STALE),
        ({}, RefusalReason.FROM_THE_FUTURE),
    ],
)
async def test_what_was_accepted_stays_a_repeat_when_its_key_is_over_or_the_clock_behind_it(
    gateway: Gateway, entry: dict[str, str], reason: RefusalReason
) -> None:
    """Identical bytes are a no-op for ever; anything new under that key, or by that clock, even one byte, is refused.

    A record is read again when its offset was not committed, and somebody may have set the clock meanwhile.
    """
    part, unseen = gateway.signed_parts([kit.line(1)])[0], gateway.signed_parts([kit.line(2)])[0]
    funding = {
        "schema": "payout.funding/v1",
        "issuer": kit.ISSUER,
        "funding_id": "F-1",
        "batch_id": kit.BATCH,
        "amount": "100.00",
        "received_at": "2026-11-24T09:30:00+08:00",
    }
    order = {
        "schema": "payout.order/v1",
        "issuer": kit.ISSUER,
        "order_id": "O-1",
        "kind": "CANCEL",
        "batch_id": kit.BATCH,
        "line": 1,
        "attempt": 1,
        "document_no": "19",
        "details": None,
    }
    money, cancel = gateway.signed(Kind.FUNDING, funding), gateway.signed(Kind.ORDER, order)
    new_money = gateway.signed(Kind.FUNDING, {**funding, "amount": "100.01"})
    new_order = gateway.signed(Kind.ORDER, {**order, "order_id": "O-2"})
    await gateway.intake.take_batch(*part)
    await gateway.intake.take_funding(*money)
    await gateway.judge()
    await gateway.failures.take_order(*cancel)
    gateway.clock.forward(days=-1 if reason is RefusalReason.FROM_THE_FUTURE else 31)
    intake = await lapsed(gateway, **entry) if entry else gateway.intake
    if reason is RefusalReason.KEY_NOT_VALID:
        gateway.clock.forward(days=-30)
    assert (await intake.take_batch(*part)).repeated
    assert (await intake.take_funding(*money)).repeated
    assert (await gateway.failures.take_order(*cancel)).repeated
    for take, message in (
        (intake.take_batch, unseen),
        (intake.take_funding, new_money),
        (gateway.failures.take_order, new_order),
    ):
        with pytest.raises(Refused) as refused:
            await take(*message)
        assert refused.value.reason in (reason, RefusalReason.STALE)
    assert await gateway.buckets() == {"cancelled": 1}
