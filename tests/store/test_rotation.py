"""Keys change while payouts are under way: nothing that was sealed becomes unreadable, and no unsound file is taken."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.app import App, Parts
from gateway.approval import KeyRing, KeyRingFault, SigningKey
from gateway.kafka import Outlet
from gateway.privacy import KeyFileFault, SealBroken, fresh_key_file, parse_keys
from gateway.vault import Vault
from schemas.codec import Refused
from schemas.v1 import Kind
from tests.store.kit import BATCH, Gateway, approval, line


def with_key(text: str, kid: str, *, active: bool) -> str:
    """The key file with one more sealing key."""
    file: dict[str, Any] = json.loads(text)
    file["sealing"][kid] = base64.b64encode(os.urandom(32)).decode()
    return json.dumps({**file, "active": kid} if active else file)


async def test_sealing_keys_rotate_under_load_and_every_row_opens(gateway: Gateway) -> None:
    """A new key between any two steps of a payout's way, six in a row: nothing fails to open, everybody is paid."""
    held = gateway.vault._keys
    assert held is not None
    keys = dict(held.sealing)

    def rotate() -> None:
        kid = f"k{len(keys) + 1}"
        keys[kid] = parse_keys(fresh_key_file().encode()).sealing["k1"]
        gateway.vault.renew(held.model_copy(update={"sealing": dict(keys), "active": kid}))

    await gateway.batch([line(n) for n in (1, 2, 3)])
    rotate()
    await gateway.fund("300.00")
    await gateway.judge()
    rotate()
    await gateway.cut_and_render()
    rotate()
    await gateway.send()
    rotate()
    refused = {"reference": gateway.reference_of(3), "proof": "REJECTED", "reason": "ACCOUNT_CLOSED"}
    await gateway.answer(
        *({"reference": gateway.reference_of(n), "proof": "CREDITED", "amount_fen": 10_000} for n in (1, 2)), refused
    )
    rotate()
    await gateway.order("REISSUE", "O-1", 3, 1)
    rotate()
    gateway.clock.forward(minutes=11)
    await gateway.send()
    await gateway.answer({"reference": gateway.reference_of(1), "proof": "CREDITED", "amount_fen": 10_000})
    assert await gateway.buckets() == {"credited": 3}
    assert len(keys) == 7


@pytest.mark.parametrize("what", ["blind", "gone", "other"])
def test_a_key_file_that_would_lose_something_is_not_taken(what: str) -> None:
    """Another blind key, a key gone, other bytes under its id: refused, and the vault works on as before."""
    before = fresh_key_file()
    vault = Vault.of(parse_keys(before.encode()))
    sealed = vault.seal(b"x", "t", 1)
    after = json.loads(with_key(before, "k2", active=True))
    stranger = json.loads(fresh_key_file())
    match what:
        case "blind":
            after["blind"] = stranger["blind"]
        case "gone":
            del after["sealing"]["k1"]
        case _:
            after["sealing"]["k1"] = stranger["sealing"]["k1"]
    with pytest.raises(KeyFileFault, match="differs"):
        vault.renew(parse_keys(json.dumps(after).encode()))
    assert vault.unseal(sealed, "t", 1) == b"x"
    assert vault.unseal(vault.seal(b"y", "t", 2), "t", 2) == b"y"


def test_a_process_that_has_not_read_the_new_key_does_not_open_what_it_seals() -> None:
    """Why a key is added everywhere before it becomes active: the order that the document gives is needed."""
    text = fresh_key_file()
    ahead, behind = Vault.of(parse_keys(text.encode())), Vault.of(parse_keys(text.encode()))
    added = with_key(text, "k2", active=False)
    active = json.dumps({**json.loads(added), "active": "k2"})
    ahead.renew(parse_keys(active.encode()))
    with pytest.raises(SealBroken):
        behind.unseal(ahead.seal(b"x", "t", 1), "t", 1)
    behind.renew(parse_keys(added.encode()))
    assert behind.unseal(ahead.seal(b"x", "t", 1), "t", 1) == b"x"


async def test_an_approval_key_is_added_and_revoked_without_a_stop(gateway: Gateway) -> None:
    """A message under a new key is refused, believed once the ring was read again, refused once it is gone."""
    old = approval(gateway.key)
    gateway.key = SigningKey.generate("EdDSA")
    (part,) = gateway.signed_parts([line(1)], BATCH)
    ring = gateway.intake._keyring
    with pytest.raises(Refused):
        ring.verify(part[1], part[0], Kind.BATCH, gateway.clock.now())
    ring.renew(approval(gateway.key))
    assert (await gateway.intake.take_batch(*part)).refused is None
    ring.renew(old)
    with pytest.raises(Refused):
        ring.verify(part[1], part[0], Kind.BATCH, gateway.clock.now())


@pytest.mark.parametrize("broken", ["approval", "privacy", "kafka"])
async def test_with_a_fault_in_one_file_none_is_taken(gateway: Gateway, tmp_path: Path, broken: str) -> None:
    """SIGHUP is all or nothing: the process says that it keeps the old keys, and does."""
    text = fresh_key_file()
    entry = approval(gateway.key)._entries["finance-1"]
    sound = {
        **entry.model_dump(mode="json", exclude={"public"}),
        "kinds": sorted(kind.value for kind in entry.kinds),
        "public": gateway.key.public_jwk(),
    }
    approvals, privacy = tmp_path / "approval.json", tmp_path / "privacy.json"
    approvals.write_text(json.dumps({"keys": [] if broken == "approval" else [sound]}))
    privacy.write_text(fresh_key_file() if broken == "privacy" else with_key(text, "k2", active=True))
    files = gateway.config.files.model_copy(update={"approval_keys": approvals, "privacy_keys": privacy})
    password = tmp_path / "kafka.password"
    password.write_text("" if broken == "kafka" else "long enough")
    section = gateway.config.kafka.model_copy(
        update={
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": "gateway",
            "sasl_password_file": password,
        }
    )
    config = gateway.config.model_copy(update={"files": files, "kafka": section})
    parts = Parts.__new__(Parts)
    parts.vault, parts.keyring = Vault.of(parse_keys(text.encode())), KeyRing([entry])
    held = (parts.vault._keys, parts.keyring._entries)
    app = App(config, parts)
    outlet = Outlet(config.kafka)
    assert app.renew_keys(outlet) is False
    assert not outlet._renew
    assert (parts.vault._keys, parts.keyring._entries) == held
    approvals.write_text(json.dumps({"keys": [sound]}))
    privacy.write_text(with_key(text, "k2", active=True))
    password.write_text("long enough")
    assert app.renew_keys(Outlet(config.kafka)) is True
    assert parts.vault._keys is not None
    assert parts.vault._keys.active == "k2"


def test_a_ring_that_cannot_be_read_says_so() -> None:
    """The fault that keeps the old ring in use names no key material."""
    with pytest.raises(KeyRingFault):
        KeyRing.parse(b'{"keys": []}')
