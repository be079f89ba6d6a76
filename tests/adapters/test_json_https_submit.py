"""``json_https`` sending: what each answer to a batch proves, and that no answer is believed unsigned."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from adapters.contract import Evidence, Proof, Reason, Rendered
from adapters.sm2 import Sm2PrivateKey
from adapters.wire.http import AnswerLost, NotReached
from schemas.sm4 import Sm4Gcm
from tests.adapters.json_https_kit import BATCH, REF, Keys, Reply, World, algorithm, message, rendered, world

PATH = "/v1/batches"
SAMPLE_REPLY = (Path(__file__).parents[1] / "data" / "json_https" / "202_reply.json").read_bytes()
ACCEPTED = {"bankBatchId": "B9000000017", "batchNo": BATCH, "code": "ACCEPTED"}
QUICK = {"connect_timeout_milliseconds": 2_000, "silence_timeout_milliseconds": 2_500, "max_answer_bytes": 10_000}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def at_the_bank(keys: Keys) -> AsyncIterator[World]:
    async with world(keys, http=QUICK) as met:
        yield met


async def answered(met: World, reply: Reply) -> Evidence:
    met.bank.says("POST", PATH, reply)
    sent = rendered(met.adapter)
    async with met.transport.wire() as wire:
        (evidence,) = await met.adapter.submit(sent, wire)
        assert wire.crossed
        if wire.artefacts:
            assert evidence.artefact == wire.artefacts[-1].sha256
    assert evidence.submission == BATCH
    assert evidence.reference is None
    assert len(met.bank.seen) == 1  # once, whatever it said
    return evidence


async def test_the_very_bytes_travel_signed(at_the_bank: World, keys: Keys) -> None:
    """The persisted bytes travel unchanged, with the manual's headers and a signature that the bank can check."""
    assert (await answered(at_the_bank, Reply(202, SAMPLE_REPLY))).proof is Proof.RECEIVED
    (seen,) = at_the_bank.bank.seen
    sent = rendered(at_the_bank.adapter)
    assert seen.body == sent.payload
    assert (seen.method, seen.target) == ("POST", PATH)
    headers = seen.headers
    assert headers["Idempotency-Key"] == BATCH
    assert headers["X-App-Id"] == "payout-gateway"
    assert headers["X-Sign-Alg"] == "RSA-PSS-SHA256"
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Nonce"])
    assert headers["X-Request-Id"]
    assert abs(time.time() - int(headers["X-Timestamp"])) < 300
    text = message("POST", PATH, headers["X-Timestamp"], headers["X-Nonce"], sent.payload)
    assert isinstance(keys.gateway, rsa.RSAPrivateKey)
    keys.gateway.public_key().verify(
        base64.b64decode(headers["X-Signature"]),
        text,
        padding.PSS(padding.MGF1(hashes.SHA256()), 32),
        hashes.SHA256(),
    )


async def test_ed25519_works_both_ways(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The second algorithm signs our requests and checks the bank's answers as the first does."""
    keys = Keys.make(tmp_path_factory.mktemp("ed"), ed=True)
    async with world(keys) as met:
        assert (await answered(met, Reply(202, ACCEPTED))).proof is Proof.RECEIVED
        (seen,) = met.bank.seen
        headers = seen.headers
        text = message("POST", PATH, headers["X-Timestamp"], headers["X-Nonce"], seen.body)
        assert isinstance(keys.gateway, ed25519.Ed25519PrivateKey)
        keys.gateway.public_key().verify(base64.b64decode(headers["X-Signature"]), text)
        assert headers["X-Sign-Alg"] == algorithm(keys.gateway) == "ED25519"


async def test_sm2_works_both_ways(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SM2 with SM3 signs our requests, digests our bodies and checks the bank's answers; the ID number goes in SM4."""
    keys = Keys.make(tmp_path_factory.mktemp("sm2"), sm2=True)
    (keys.folder / "sm4.key").write_text("0123456789abcdeffedcba9876543210\n")
    async with world(keys, id_cipher="SM4-GCM", id_cipher_key_file="sm4.key") as met:
        assert (await answered(met, Reply(202, ACCEPTED))).proof is Proof.RECEIVED
        (seen,) = met.bank.seen
        text = message("POST", PATH, seen.headers["X-Timestamp"], seen.headers["X-Nonce"], seen.body, keys.gateway)
        assert isinstance(keys.gateway, Sm2PrivateKey)
        assert keys.gateway.public.verify_der(text, base64.b64decode(seen.headers["X-Signature"]))
        assert seen.headers["X-Sign-Alg"] == "SM2-SM3"
        cipher = base64.b64decode(json.loads(seen.body)["items"][0]["idNoCipher"].removeprefix("SM4-GCM:"))
        opened = Sm4Gcm(bytes.fromhex("0123456789abcdeffedcba9876543210"))
        assert opened.decrypt(cipher[:12], cipher[12:], REF.format(1).encode()) == b"659999199001010012"


async def test_an_sm2_answer_of_a_stranger_is_doubt(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An answer that another SM2 key signed, or whose body was changed, proves nothing."""
    keys = Keys.make(tmp_path_factory.mktemp("sm2"), sm2=True)
    async with world(keys) as met:
        for reply in (Reply(202, ACCEPTED, key=keys.stranger), Reply(202, ACCEPTED, signed_body=b"{}")):
            met.bank.seen.clear()
            evidence = await answered(met, reply)
            assert (evidence.proof, evidence.code) == (Proof.IN_DOUBT, "BAD_SIGNATURE")


def test_a_key_of_another_algorithm_is_refused_at_start(keys: Keys, tmp_path: Path) -> None:
    """An RSA key under SM2-SM3, or an SM2 key under RSA, is found when the adapter is made."""
    with pytest.raises(ValueError, match="SM2"):
        keys.adapter(signing_algorithm="SM2-SM3")
    (tmp_path / "sm2.pem").write_bytes(Sm2PrivateKey.generate().to_pem())
    with pytest.raises((ValueError, UnsupportedAlgorithm)):
        keys.adapter(signing_key_file=str(tmp_path / "sm2.pem"))


async def test_two_transmissions_share_no_nonce(at_the_bank: World) -> None:
    """The same bytes sent again later carry a nonce and request id of their own."""
    at_the_bank.bank.says("POST", PATH, Reply(429, {"code": "RATE_LIMITED"}))
    sent = rendered(at_the_bank.adapter)
    for _ in range(2):
        async with at_the_bank.transport.wire() as wire:
            await at_the_bank.adapter.submit(sent, wire)
    first, second = at_the_bank.bank.seen
    assert first.body == second.body
    assert first.headers["X-Nonce"] != second.headers["X-Nonce"]
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("status", "body", "proof", "reason"),
    [
        (202, ACCEPTED, Proof.RECEIVED, None),
        (400, {"code": "FORMAT"}, Proof.NOT_TAKEN, Reason.FORMAT),
        (401, {"code": "SIGNATURE"}, Proof.NOT_TAKEN, Reason.SIGNATURE),
        (403, {"code": "SIGNATURE"}, Proof.NOT_TAKEN, Reason.SIGNATURE),
        (402, {"code": "FUNDS_SHORT"}, Proof.NOT_TAKEN, Reason.FUNDS_SHORT),
        (429, {"code": "RATE_LIMITED"}, Proof.NOT_TAKEN, Reason.BANK_BUSY),
        # Signed, but not what the manual says: nobody knows what it means, so nothing is concluded.
        (200, ACCEPTED, Proof.IN_DOUBT, Reason.UNKNOWN),
        (202, {**ACCEPTED, "batchNo": "DF202611240004"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (202, {"code": "ACCEPTED"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (202, {**ACCEPTED, "code": "QUEUED"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (400, {"code": "FORMAT", "batchNo": "DF202611240004"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (400, {"code": "LIMIT"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (400, {}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (402, {"code": "FORMAT"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (404, {"code": "NOT_FOUND"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (413, {"code": "FORMAT"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (500, {"code": "FORMAT"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (502, {"code": "RATE_LIMITED"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (503, {"code": "BUSY"}, Proof.IN_DOUBT, Reason.UNKNOWN),
        (504, {}, Proof.IN_DOUBT, Reason.UNKNOWN),
    ],
)
async def test_statuses(
    at_the_bank: World, status: int, body: dict[str, Any], proof: Proof, reason: Reason | None
) -> None:
    """Only status *and* code together prove a refusal; everything else that is not an acceptance is doubt."""
    evidence = await answered(at_the_bank, Reply(status, body))
    assert (evidence.proof, evidence.reason) == (proof, reason)


async def test_retry_after_is_told(at_the_bank: World) -> None:
    """How long a busy bank wants to be left alone is in the evidence, and a strange value is not."""
    busy = {"code": "RATE_LIMITED"}
    assert (await answered(at_the_bank, Reply(429, busy, headers={"Retry-After": "7"}))).text == "retry after 7 s"
    at_the_bank.bank.seen.clear()
    assert (await answered(at_the_bank, Reply(429, busy, headers={"Retry-After": "-1"}))).text == ""


def digest(sent: Rendered) -> str:
    return hashlib.sha256(sent.payload).hexdigest()


async def test_duplicate_with_our_digest_is_received(at_the_bank: World) -> None:
    """409 with the digest of our own bytes says "I have it", however the bank writes hexadecimal."""
    ours = digest(rendered(at_the_bank.adapter))
    for written in (ours, ours.upper()):
        evidence = await answered(at_the_bank, Reply(409, {"code": "DUPLICATE", "digest": written}))
        assert (evidence.proof, evidence.code) == (Proof.RECEIVED, "DUPLICATE")
        at_the_bank.bank.seen.clear()


async def test_duplicate_with_another_digest_stands_out(at_the_bank: World) -> None:
    """409 with another digest is a doubt with a reason of its own, so that somebody is called."""
    evidence = await answered(at_the_bank, Reply(409, {"code": "DUPLICATE", "digest": "0" * 64}))
    assert (evidence.proof, evidence.reason, evidence.code) == (Proof.IN_DOUBT, Reason.DUPLICATE, "409_OTHER_DIGEST")
    at_the_bank.bank.seen.clear()
    evidence = await answered(at_the_bank, Reply(409, {"code": "DUPLICATE"}))
    assert (evidence.proof, evidence.reason) == (Proof.IN_DOUBT, Reason.UNKNOWN)


REFUSAL = {"code": "FUNDS_SHORT"}


@pytest.mark.parametrize(
    ("code", "faulty"),
    [
        ("UNSIGNED", {"signed": False}),
        ("BAD_SIGNATURE", {"key": "stranger"}),
        ("BAD_SIGNATURE", {"signed_body": b'{"code":"ACCEPTED"}'}),
        ("BAD_SIGNATURE", {"signed_status": 202}),
        ("BAD_SIGNATURE", {"target": "/v1/batches/DF202611240004"}),
        ("BAD_SIGNATURE", {"headers": {"X-Timestamp": "1700000000"}}),
        ("BAD_SIGNATURE", {"headers": {"X-Signature": "AAAA"}}),
        ("BAD_SIGNATURE", {"headers": {"X-Signature": "no base64!"}}),
        ("BAD_SIGNATURE", {"headers": {"X-Signature": "A" * 5000}}),
        ("TIMESTAMP", {"headers": {"X-Timestamp": "١٧٠٠٠٠٠٠٠٠"}}),
        ("WRONG_NONCE", {"nonce": "0" * 32}),
        ("WRONG_ALGORITHM", {"claims": "ED25519"}),
        ("WRONG_ALGORITHM", {"claims": "none"}),
        ("UNREADABLE", {"body": b""}),
        ("UNREADABLE", {"body": b"system busy, try again"}),
        ("UNREADABLE", {"body": b"<html>502</html>"}),
        ("UNREADABLE", {"body": b'{"code":"FUNDS_SHORT"'}),
        ("UNREADABLE", {"body": b'{"code":"ACCEPTED","code":"FUNDS_SHORT"}'}),
        ("UNREADABLE", {"body": b'{"code":"FUNDS_SHORT","x":NaN}'}),
        ("UNREADABLE", {"body": b'{"code":"FUNDS_SHORT","x":8e' + b"8" * 50 + b"}"}),  # no Decimal; found by fuzzing
        ("UNREADABLE", {"body": b'["FUNDS_SHORT"]'}),
        ("UNREADABLE", {"body": b'\xff{"code":"FUNDS_SHORT"}'}),
        ("UNREADABLE", {"body": b"[" * 9_000}),
        ("OVERSIZE", {"body": b"x" * 10_001}),
        ("ENCODED", {"body": gzip.compress(bytes(1_000_000)), "headers": {"Content-Encoding": "gzip"}}),
        ("REDIRECT", {"status": 307, "headers": {"Location": "/elsewhere"}}),
    ],
)
async def test_answers_that_prove_nothing(at_the_bank: World, keys: Keys, code: str, faulty: dict[str, Any]) -> None:
    """Unsigned, forged, altered, played back, unreadable, too large, compressed, redirected: doubt, even a refusal."""
    if "key" in faulty:
        faulty = {**faulty, "key": keys.stranger}
    evidence = await answered(at_the_bank, Reply(**{"status": 402, "body": REFUSAL, **faulty}))
    assert (evidence.proof, evidence.reason, evidence.code) == (Proof.IN_DOUBT, Reason.UNKNOWN, code)


async def test_control_of_the_forgeries(at_the_bank: World) -> None:
    """The same refusal, soundly signed, is believed: so it is the fault that each forgery is doubted for."""
    assert (await answered(at_the_bank, Reply(402, REFUSAL))).proof is Proof.NOT_TAKEN


@pytest.mark.parametrize("fault", [Reply(hang_up=True), Reply(stall=True)], ids=["hang up", "stall"])
async def test_lost_answer_is_the_cores_to_judge(keys: Keys, fault: Reply) -> None:
    """A dropped connection or silence goes through as an exception, with the wire crossed and nothing sent twice."""
    async with world(keys, http={**QUICK, "silence_timeout_milliseconds": 200}) as met:
        met.bank.says("POST", PATH, fault)
        async with met.transport.wire() as wire:
            with pytest.raises(AnswerLost):
                await met.adapter.submit(rendered(met.adapter), wire)
            assert wire.crossed
        assert len(met.bank.seen) == 1


async def test_bank_that_is_down_was_not_reached(keys: Keys) -> None:
    """Nobody listens: the exception comes with the wire uncrossed, so the core knows that nothing was sent."""
    async with world(keys) as met:
        address = met.transport
    async with address.wire() as wire:
        with pytest.raises(NotReached):
            await met.adapter.submit(rendered(met.adapter), wire)
        assert not wire.crossed
    await address.close()
