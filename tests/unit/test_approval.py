"""Approval: who signs, when, what for; the key ring, the private keys, and the example that we publish."""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey, OKPKey

from adapters.sm2 import Sm2PublicKey
from gateway.approval import (
    AUDIENCE,
    KeyRing,
    KeyRingFault,
    Refused,
    SigningKey,
    Verified,
    demand_issuer,
    sign,
    signature_header,
)
from schemas.v1 import Kind
from tests.unit.messages_kit import as_bytes, blocks, example

NOW = dt.datetime(2026, 11, 24, 2, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
RAW = as_bytes(example(Kind.BATCH))
ED = SigningKey.generate("EdDSA")
ES = SigningKey.generate("ES256")
SM = SigningKey.generate("SM2")


def entry(kid: str, key: SigningKey, /, **changes: Any) -> dict[str, Any]:
    return {
        "kid": kid,
        "alg": key.alg,
        "issuer": "659999-finance",
        "kinds": ["batch", "funding", "order"],
        "public": key.public_jwk(),
        "not_before": "2026-01-01T00:00:00+08:00",
        "not_after": "2027-01-01T00:00:00+08:00",
        **changes,
    }


def ring(*entries: dict[str, Any], **options: Any) -> KeyRing:
    return KeyRing.parse(json.dumps({"keys": entries}).encode(), **options)


def reason(keys: KeyRing, header: str | bytes | None, raw: bytes = RAW, kind: Kind = Kind.BATCH) -> str:
    with pytest.raises(Refused) as caught:
        keys.verify(header, raw, kind, NOW)
    return str(caught.value.reason)


@pytest.mark.parametrize("key", [ED, ES, SM], ids=["EdDSA", "ES256", "SM2"])
@pytest.mark.parametrize("kind", [Kind.BATCH, Kind.FUNDING, Kind.ORDER])
def test_what_was_signed_is_verified(key: SigningKey, kind: Kind) -> None:
    """Each algorithm signs each kind of message, as text or as the bytes of a Kafka header."""
    raw = as_bytes(example(kind))
    header = sign(raw, kind, key, "k1", AUDIENCE, NOW)
    for value in (header, header.encode()):
        assert ring(entry("k1", key)).verify(value, raw, kind, NOW) == Verified("k1", "659999-finance", NOW)
    assert header.count(".") == 2
    assert ".." in header


def test_any_bytes_can_be_signed() -> None:
    """The signature is over bytes: not JSON, URL-safe characters only, nearly nothing, a full-size part."""
    keys = ring(entry("k1", ED))
    for raw in (b"abc", b"{", "测试".encode(), b"x" * 1_000_000):
        assert keys.verify(sign(raw, Kind.BATCH, ED, "k1", AUDIENCE, NOW), raw, Kind.BATCH, NOW).kid == "k1"
    assert reason(keys, "x..y", b"x" * 1_000_001) == "OVERSIZE"


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [
        (dt.timedelta(0), None),
        (dt.timedelta(minutes=5), None),
        (dt.timedelta(minutes=5, seconds=1), "FROM_THE_FUTURE"),
        (dt.timedelta(days=400), "FROM_THE_FUTURE"),
        (dt.timedelta(days=-30), None),
        (dt.timedelta(days=-30, seconds=-1), "STALE"),
        (dt.timedelta(days=-400), "STALE"),
    ],
)
def test_the_age_of_a_signature_has_bounds(ahead: dt.timedelta, verdict: str | None) -> None:
    """``iat`` may be five minutes ahead and thirty days old, to the second."""
    header = sign(RAW, Kind.BATCH, ED, "k1", AUDIENCE, NOW + ahead)
    keys = ring(entry("k1", ED))
    if verdict is None:
        assert keys.verify(header, RAW, Kind.BATCH, NOW).iat == NOW + ahead
    else:
        assert reason(keys, header) == verdict


def test_the_greatest_age_is_configurable() -> None:
    """A shorter greatest age refuses what the default still takes."""
    header = sign(RAW, Kind.BATCH, ED, "k1", AUDIENCE, NOW - dt.timedelta(days=2))
    assert ring(entry("k1", ED)).verify(header, RAW, Kind.BATCH, NOW)
    assert reason(ring(entry("k1", ED), greatest_age=dt.timedelta(days=1)), header) == "STALE"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"not_before": "2026-11-24T10:00:00+08:00"}, None),
        ({"not_before": "2026-11-24T10:00:01+08:00"}, "KEY_NOT_VALID"),
        ({"not_after": "2026-11-24T10:00:01+08:00"}, None),
        ({"not_after": "2026-11-24T10:00:00+08:00"}, "KEY_NOT_VALID"),
        ({"revoked_at": "2026-11-24T10:00:01+08:00"}, None),
        ({"revoked_at": "2026-11-24T10:00:00+08:00"}, "KEY_REVOKED"),
        ({"revoked_at": "2026-01-02T00:00:00Z"}, "KEY_REVOKED"),
        ({"kinds": ["batch"]}, None),
        ({"kinds": ["funding", "order"]}, "KEY_NOT_VALID"),
    ],
)
def test_a_key_counts_within_its_validity(changes: dict[str, Any], verdict: str | None) -> None:
    """Validity is judged at ``iat``, revocation at once, and a key signs only its kinds of message."""
    header = sign(RAW, Kind.BATCH, ED, "k1", AUDIENCE, NOW)
    keys = ring(entry("k1", ED, **changes))
    if verdict is None:
        assert keys.verify(header, RAW, Kind.BATCH, NOW)
    else:
        assert reason(keys, header) == verdict


def test_a_stolen_key_cannot_be_dated_back() -> None:
    """After a revocation, a signature dated before it is refused too: a thief chooses ``iat``."""
    keys = ring(entry("k1", ED, revoked_at="2026-11-24T09:00:00+08:00"))
    assert reason(keys, sign(RAW, Kind.BATCH, ED, "k1", AUDIENCE, NOW - dt.timedelta(days=1))) == "KEY_REVOKED"


def test_an_expired_key_still_proves_what_it_signed_in_time() -> None:
    """A message signed while the key was valid is accepted when it is delivered after the key's end."""
    keys = ring(entry("k1", ED, not_after="2026-11-24T09:00:00+08:00"))
    assert keys.verify(sign(RAW, Kind.BATCH, ED, "k1", AUDIENCE, NOW - dt.timedelta(hours=2)), RAW, Kind.BATCH, NOW)


def test_nobody_approves_in_anothers_name() -> None:
    """The issuer of the message must be the issuer of the key."""
    verified = Verified("k1", "659999-finance", NOW)
    demand_issuer(verified, "659999-finance")
    for other in ("659998-finance", "659999-FINANCE", ""):
        with pytest.raises(Refused) as caught:
            demand_issuer(verified, other)
        assert caught.value.reason == "WRONG_ISSUER"


def test_a_record_has_one_signature() -> None:
    """The signature is the one ``jws`` header; none is None, and two are refused."""
    assert signature_header([("trace", b"x"), ("jws", b"a..b")]) == b"a..b"
    assert signature_header([("JWS", b"a..b")]) is None
    assert signature_header([("jws", None)]) is None
    with pytest.raises(Refused) as caught:
        signature_header([("jws", b"a..b"), ("jws", b"a..b")])
    assert caught.value.reason == "BAD_SIGNATURE"


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_private_keys_load_from_pem_and_jwk(tmp_path: Path, alg: Literal["EdDSA", "ES256"]) -> None:
    """A key written as PEM, encrypted PEM or JWK signs for the same public key, and never prints."""
    key = SigningKey.generate(alg)
    files = {
        "a.pem": key.to_pem(),
        "b.pem": key.to_pem("pass"),
        "c.jwk": json.dumps(private_jwk(key)).encode(),
    }
    keys = ring(entry("k1", key))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        loaded = SigningKey.load(tmp_path / name, b"pass" if name == "b.pem" else None)
        assert loaded.alg == alg
        assert repr(loaded) == str(loaded) == f"SigningKey({alg})"
        assert keys.verify(sign(RAW, Kind.BATCH, loaded, "k1", AUDIENCE, NOW), RAW, Kind.BATCH, NOW)
    (tmp_path / "public.jwk").write_text(json.dumps(key.public_jwk()))
    (tmp_path / "rsa.pem").write_bytes(pem(rsa.generate_private_key(65537, 2048)))
    (tmp_path / "ed448.pem").write_bytes(pem(ed448.Ed448PrivateKey.generate()))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "half.pem").write_bytes(key.to_pem()[:60])
    (tmp_path / "oct.jwk").write_text('{"kty":"oct","k":"c2VjcmV0LWNhbmFyeQ"}')
    for name in ("public.jwk", "rsa.pem", "ed448.pem", "empty", "half.pem", "oct.jwk"):
        with pytest.raises(KeyRingFault) as caught:
            SigningKey.load(tmp_path / name)
        assert str(caught.value).startswith(f"{name}: ")
        assert "canary" not in str(caught.value)
    with pytest.raises(KeyRingFault):
        SigningKey.load(tmp_path / "b.pem", b"wrong")


def pem(key: rsa.RSAPrivateKey | ed448.Ed448PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def private_jwk(key: SigningKey) -> dict[str, Any]:
    assert isinstance(key.key, OKPKey | ECKey)
    return dict(key.key.as_dict(private=True))


def test_an_sm2_key_loads_from_pem(tmp_path: Path) -> None:
    """The SM2 key of an issuer signs after a round through its file; a damaged or encrypted one is refused unquoted."""
    (tmp_path / "sm2.pem").write_bytes(SM.to_pem())
    loaded = SigningKey.load(tmp_path / "sm2.pem")
    assert (loaded.alg, repr(loaded)) == ("SM2", "SigningKey(SM2)")
    header = sign(RAW, Kind.BATCH, loaded, "k1", AUDIENCE, NOW)
    assert ring(entry("k1", SM)).verify(header, RAW, Kind.BATCH, NOW).kid == "k1"
    (tmp_path / "half.pem").write_bytes(SM.to_pem()[:150])
    (tmp_path / "public.pem").write_bytes(Sm2PublicKey.from_jwk(SM.public_jwk()).to_pem())
    for name in ("half.pem", "public.pem"):
        with pytest.raises(KeyRingFault) as caught:
            SigningKey.load(tmp_path / name)
        assert str(caught.value).startswith(f"{name}: ")
    with pytest.raises(ValueError, match="cannot be encrypted"):
        SM.to_pem("pass")


def test_an_sm2_signature_fits_its_bytes_header_and_key_only() -> None:
    """Another byte, another header, another key or a signature of another length: refused, and never an exception."""
    keys = ring(entry("k1", SM), entry("k2", SigningKey.generate("SM2")), entry("ed", ED))
    good = sign(RAW, Kind.BATCH, SM, "k1", AUDIENCE, NOW)
    head, _, signature = good.split(".")
    assert keys.verify(good, RAW, Kind.BATCH, NOW).kid == "k1"
    assert reason(keys, good, RAW + b" ") == "BAD_SIGNATURE"
    other_head = sign(RAW, Kind.BATCH, SM, "k2", AUDIENCE, NOW).split(".")[0]
    for bad in (f"{other_head}..{signature}", f"{head}..{signature[:-2]}", f"{head}..{signature}AA", f"{head}..!!!!"):
        assert reason(keys, bad) == "BAD_SIGNATURE"
    for kid, key in (("ed", SM), ("k1", ED)):
        assert reason(keys, sign(RAW, Kind.BATCH, key, kid, AUDIENCE, NOW)) == "BAD_SIGNATURE"


PRIVATE = private_jwk(ED)
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a private key": ({"public": PRIVATE}, "public keys only"),
    "a symmetric key": ({"public": {"kty": "oct", "k": "AAAA"}}, "public keys only"),
    "another curve": ({"public": {"kty": "OKP", "crv": "X25519", "x": PRIVATE["x"]}}, "not a key on"),
    "no point": ({"public": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, "not a key on"),
    "key and algorithm": ({"alg": "ES256"}, "does not fit"),
    "alg none": ({"alg": "none"}, "EdDSA"),
    "alg HS256": ({"alg": "HS256"}, "EdDSA"),
    "no kinds": ({"kinds": []}, "kinds"),
    "an outbound kind": ({"kinds": ["receipts"]}, "kinds"),
    "a naive time": ({"not_before": "2026-01-01T00:00:00"}, "not_before"),
    "an end before the start": ({"not_after": "2025-01-01T00:00:00Z"}, "not earlier"),
    "a path as id": ({"kid": "../k"}, "kid"),
    "more": ({"use": "sig"}, "use"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_key_ring_is_refused_at_start(name: str) -> None:
    """A key ring with a fault is not loaded, and the message names the field without key material."""
    changes, told = FAULTS[name]
    with pytest.raises(KeyRingFault, match=told) as caught:
        ring(entry("k1", ED, **changes))
    seen: BaseException | None = caught.value
    while seen is not None:
        assert str(PRIVATE["d"]) not in repr(seen) + str(seen)
        seen = seen.__cause__ or seen.__context__


def test_a_key_id_stands_once(tmp_path: Path) -> None:
    """The same id twice, a duplicate member, an empty ring or no JSON: refused; a good file prints ids alone."""
    with pytest.raises(KeyRingFault, match="k1 stands twice"):
        ring(entry("k1", ED), entry("k1", ES))
    doubled = json.dumps({"keys": [entry("k1", ED)]}).replace('"kid": "k1"', '"kid": "k0", "kid": "k1"')
    for raw in (doubled.encode(), b'{"keys":[]}', b"", b"[]"):
        with pytest.raises(KeyRingFault):
            KeyRing.parse(raw)
    (tmp_path / "ring.json").write_text(json.dumps({"keys": [entry("k2", ES), entry("k1", ED)]}))
    assert repr(KeyRing.load(tmp_path / "ring.json")) == "KeyRing(['k1', 'k2'])"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc on the name that RFC 9864 replaces
def test_the_published_example_signs_what_we_accept() -> None:
    """The code in the README, which uses nothing of ours, makes a signature that the gateway accepts."""
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    header = names["detached_jws"](RAW, ED.key, "k1", "payout-batch-part+jws")
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    keys = ring(entry("k1", ED, not_before="2020-01-01T00:00:00Z", not_after="2999-01-01T00:00:00Z"))
    assert keys.verify(header, RAW, Kind.BATCH, now).kid == "k1"
