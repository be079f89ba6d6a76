"""Hostile signature headers: each is refused for its own reason, and none of them ever verifies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from joserfc.jwk import OKPKey

from gateway.approval import AUDIENCE, KeyRing, Refused, SigningKey, sign
from schemas.v1 import Kind
from tests.unit.test_approval import ED, ES, NOW, RAW, entry, ring

KEYS = ring(entry("ed", ED), entry("es", ES), entry("es2", SigningKey.generate("ES256")))
MALLORY = SigningKey.generate("EdDSA")
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """The good header; a change to ``...`` takes a parameter away."""
    header = {
        "alg": "EdDSA", "kid": "ed", "typ": "payout-batch-part+jws", "aud": AUDIENCE,
        "iat": int(NOW.timestamp()), "b64": False, "crit": ["b64"],
    }  # fmt: skip
    return {name: value for name, value in {**header, **changes}.items() if value is not ...}


def raw_signed(header: bytes, payload: bytes = RAW, key: SigningKey = ED) -> str:
    """Signs whatever it is told to, with no library's opinion about the header, as an attacker with a key would."""
    segment = b64(header)
    assert isinstance(key.key, OKPKey)
    return f"{segment}..{b64(key.key.get_op_key('sign').sign(segment.encode() + b'.' + payload))}"  # type: ignore[union-attr]


def signed(payload: bytes = RAW, key: SigningKey = ED, **changes: Any) -> str:
    return raw_signed(json.dumps(claims(**changes)).encode(), payload, key)


def hs256_with_public_key() -> str:
    """The classic confusion: the public key, which everybody knows, as the HMAC secret."""
    segment = b64(json.dumps(claims(alg="HS256")).encode())
    assert isinstance(ED.key, OKPKey)
    secret = ED.key.as_pem(private=False)
    return f"{segment}..{b64(hmac.new(secret, segment.encode() + b'.' + RAW, hashlib.sha256).digest())}"


def edit(position: int, change: Callable[[str], str]) -> str:
    """The good signature with one of its three segments changed."""
    segments = signed().split(".")
    segments[position] = change(segments[position])
    return ".".join(segments)


def flipped(segment: str) -> str:
    return ("B" if segment[0] == "A" else "A") + segment[1:]


def trailing_bits(segment: str) -> str:
    """Another base64url spelling of the same 64 bytes: the unused bits of the last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1]


DOUBLED = json.dumps(claims()).replace('"aud": "payout-gateway"', '"aud": "other", "aud": "payout-gateway"').encode()

HOSTILE: dict[str, tuple[Callable[[], str | bytes | None], str]] = {
    "absent": (lambda: None, "UNSIGNED"),
    "empty text": (lambda: "", "UNSIGNED"),
    "empty bytes": (lambda: b"", "UNSIGNED"),
    "not ascii text": (lambda: "签.." + signed()[3:], "BAD_SIGNATURE"),
    "not ascii bytes": (lambda: b"\xff" + signed().encode(), "BAD_SIGNATURE"),
    "no dot": (lambda: signed().replace(".", ""), "BAD_SIGNATURE"),
    "one dot": (lambda: signed().replace("..", "."), "BAD_SIGNATURE"),
    "three dots": (lambda: signed().replace("..", "..."), "BAD_SIGNATURE"),
    "only dots": (lambda: "..", "BAD_SIGNATURE"),
    "no header": (lambda: edit(0, lambda _: ""), "BAD_SIGNATURE"),
    "no signature": (lambda: edit(2, lambda _: ""), "BAD_SIGNATURE"),
    "giant header": (lambda: signed(kid="k" * 5_000), "BAD_SIGNATURE"),
    "giant signature": (lambda: edit(2, lambda s: s * 60), "BAD_SIGNATURE"),
    "attached payload": (lambda: edit(1, lambda _: "e30"), "BAD_SIGNATURE"),
    "attached and signed payload": (lambda: signed(b"e30").replace("..", ".e30."), "BAD_SIGNATURE"),
    "JSON serialisation": (lambda: json.dumps({"payload": "", "signatures": []}), "BAD_SIGNATURE"),
    "header not base64": (lambda: edit(0, lambda s: "*" + s), "BAD_SIGNATURE"),
    "header with padding": (lambda: edit(0, lambda s: s + "="), "BAD_SIGNATURE"),
    "header not JSON": (lambda: raw_signed(b"alg=EdDSA"), "BAD_SIGNATURE"),
    "header a list": (lambda: raw_signed(b'["EdDSA"]'), "BAD_SIGNATURE"),
    "header deep": (lambda: raw_signed(b"[" * 2_900), "BAD_SIGNATURE"),
    "header in utf-16": (lambda: raw_signed(json.dumps(claims()).encode("utf-16")), "BAD_SIGNATURE"),
    "header with byte order mark": (
        lambda: raw_signed(b"\xef\xbb\xbf" + json.dumps(claims()).encode()),
        "BAD_SIGNATURE",
    ),
    "header with a name twice": (lambda: raw_signed(DOUBLED), "BAD_SIGNATURE"),
    "header with NaN": (lambda: signed(iat=float("nan")), "BAD_SIGNATURE"),  # the JSON token is the point
    "alg none, no signature": (lambda: signed(alg="none").rpartition(".")[0] + ".", "BAD_SIGNATURE"),
    "alg none": (lambda: signed(alg="none"), "BAD_SIGNATURE"),
    "alg None": (lambda: signed(alg=None), "BAD_SIGNATURE"),
    "alg absent": (lambda: signed(alg=...), "BAD_SIGNATURE"),
    "alg HS256 with the public key": (hs256_with_public_key, "BAD_SIGNATURE"),
    "alg of another key": (lambda: signed(alg="ES256"), "BAD_SIGNATURE"),
    "alg by its new name": (lambda: signed(alg="Ed25519"), "BAD_SIGNATURE"),
    "alg in lower case": (lambda: signed(alg="eddsa"), "BAD_SIGNATURE"),
    "alg a list": (lambda: signed(alg=["EdDSA"]), "BAD_SIGNATURE"),
    "kid absent": (lambda: signed(kid=...), "BAD_SIGNATURE"),
    "kid unknown": (lambda: signed(kid="who"), "UNKNOWN_KEY"),
    "kid empty": (lambda: signed(kid=""), "UNKNOWN_KEY"),
    "kid a number": (lambda: signed(kid=1), "UNKNOWN_KEY"),
    "kid a list": (lambda: signed(kid=["ed"]), "UNKNOWN_KEY"),
    "kid of another's key": (lambda: signed(key=MALLORY), "BAD_SIGNATURE"),
    "own key in the header": (lambda: signed(key=MALLORY, jwk=MALLORY.public_jwk()), "BAD_SIGNATURE"),
    "own key by address": (lambda: signed(key=MALLORY, jku="https://mallory.example/k"), "BAD_SIGNATURE"),
    "own certificate": (lambda: signed(key=MALLORY, x5c=["AAAA"]), "BAD_SIGNATURE"),
    "own key, well signed": (lambda: signed(jwk=ED.public_jwk()), "BAD_SIGNATURE"),
    "b64 true": (lambda: signed(b64=True), "BAD_SIGNATURE"),
    "b64 absent": (lambda: signed(b64=..., crit=...), "BAD_SIGNATURE"),
    "b64 as text": (lambda: signed(b64="false"), "BAD_SIGNATURE"),
    "b64 zero": (lambda: signed(b64=0), "BAD_SIGNATURE"),
    "crit absent": (lambda: signed(crit=...), "BAD_SIGNATURE"),
    "crit empty": (lambda: signed(crit=[]), "BAD_SIGNATURE"),
    "crit unknown": (lambda: signed(crit=["b64", "exp"], exp=1), "BAD_SIGNATURE"),
    "crit with a standard name": (lambda: signed(crit=["b64", "alg"]), "BAD_SIGNATURE"),
    "crit twice": (lambda: signed(crit=["b64", "b64"]), "BAD_SIGNATURE"),
    "crit as text": (lambda: signed(crit="b64"), "BAD_SIGNATURE"),
    "unknown parameter": (lambda: signed(exp=4102444800), "BAD_SIGNATURE"),
    "b64 true, signed so": (lambda: signed(b64(RAW).encode(), b64=True), "BAD_SIGNATURE"),
    "payload signed as base64": (lambda: signed(b64(RAW).encode()), "BAD_SIGNATURE"),
    "other bytes signed": (lambda: signed(RAW + b" "), "BAD_SIGNATURE"),
    "header flipped": (lambda: edit(0, lambda s: s[:30] + flipped(s[30:])), "BAD_SIGNATURE"),
    "signature flipped": (lambda: edit(2, flipped), "BAD_SIGNATURE"),
    "signature cut": (lambda: edit(2, lambda s: s[:-4]), "BAD_SIGNATURE"),
    "signature in other base64": (lambda: edit(2, trailing_bits), "BAD_SIGNATURE"),
    "signature with padding": (lambda: edit(2, lambda s: s + "=="), "BAD_SIGNATURE"),
    "signature with white space": (lambda: signed() + "\n", "BAD_SIGNATURE"),
    "typ absent": (lambda: signed(typ=...), "BAD_SIGNATURE"),
    "typ of an order": (lambda: signed(typ="payout-order+jws"), "WRONG_TYPE"),
    "typ in capitals": (lambda: signed(typ="PAYOUT-BATCH-PART+JWS"), "WRONG_TYPE"),
    "typ JWT": (lambda: signed(typ="JWT"), "WRONG_TYPE"),
    "aud absent": (lambda: signed(aud=...), "BAD_SIGNATURE"),
    "aud other": (lambda: signed(aud="payout-gateway-test"), "WRONG_AUDIENCE"),
    "aud among others": (lambda: signed(aud=["payout-gateway", "other"]), "BAD_SIGNATURE"),
    "iat absent": (lambda: signed(iat=...), "BAD_SIGNATURE"),
    "iat as text": (lambda: signed(iat=str(int(NOW.timestamp()))), "BAD_SIGNATURE"),
    "iat true": (lambda: signed(iat=True), "BAD_SIGNATURE"),
    "iat negative": (lambda: signed(iat=-1), "BAD_SIGNATURE"),
    "iat a fraction": (lambda: signed(iat=1795485600.5), "BAD_SIGNATURE"),
    "iat beyond the calendar": (lambda: signed(iat=10**18), "BAD_SIGNATURE"),
    "iat in milliseconds": (lambda: signed(iat=int(NOW.timestamp()) * 1000), "BAD_SIGNATURE"),
    "iat zero": (lambda: signed(iat=0), "STALE"),
}


def refusal(keys: KeyRing, header: str | bytes | None, raw: bytes = RAW, kind: Kind = Kind.BATCH) -> Refused:
    with pytest.raises(Refused) as caught:
        keys.verify(header, raw, kind, NOW)
    return caught.value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused(name: str) -> None:
    """Each hostile header is refused with its reason, as a refusal and never as another exception."""
    make, reason = HOSTILE[name]
    assert refusal(KEYS, make()).reason == reason


def test_the_hand_made_signature_is_good() -> None:
    """The control: without the hostility the same construction verifies, so each refusal above is the hostility's."""
    assert KEYS.verify(signed(), RAW, Kind.BATCH, NOW).kid == "ed"
    assert len(HOSTILE) >= 60


def test_one_flipped_bit_anywhere_is_refused() -> None:
    """No bit of the message can change under its signature."""
    header = signed()
    for position in range(0, len(RAW), 7):
        altered = bytearray(RAW)
        altered[position] ^= 1 << position % 8
        assert refusal(KEYS, header, bytes(altered)).reason == "BAD_SIGNATURE"
    for altered_length in (b"", RAW[:-1], RAW + b"\n", b" " + RAW):
        assert refusal(KEYS, header, altered_length).reason == "BAD_SIGNATURE"


def test_a_signature_is_for_one_kind_of_message() -> None:
    """A batch part's signature approves no order, even over the same bytes."""
    assert refusal(KEYS, signed(), kind=Kind.ORDER).reason == "WRONG_TYPE"
    assert refusal(KEYS, signed(), kind=Kind.FUNDING).reason == "WRONG_TYPE"


def test_es256_is_pinned_to_its_own_key() -> None:
    """An ES256 signature verifies under its own key id only, and a DER signature is none."""
    good = sign(RAW, Kind.BATCH, ES, "es", AUDIENCE, NOW)
    assert KEYS.verify(good, RAW, Kind.BATCH, NOW).kid == "es"
    other = sign(RAW, Kind.BATCH, ES, "es2", AUDIENCE, NOW)
    assert refusal(KEYS, other).reason == "BAD_SIGNATURE"
    assert refusal(KEYS, sign(RAW, Kind.BATCH, ES, "ed", AUDIENCE, NOW)).reason == "BAD_SIGNATURE"
    zeros = good.rpartition(".")[0] + "." + b64(bytes(64))
    assert refusal(KEYS, zeros).reason == "BAD_SIGNATURE"


def test_es256_signatures_are_malleable() -> None:
    """A second valid signature can be made from a first without the key: so nothing is recognised by its signature."""
    head, _, signature = sign(RAW, Kind.BATCH, ES, "es", AUDIENCE, NOW).rpartition(".")
    plain = base64.urlsafe_b64decode(signature + "==")
    mirrored = P256_ORDER - int.from_bytes(plain[32:], "big")
    twin = f"{head}.{b64(plain[:32] + mirrored.to_bytes(32, 'big'))}"
    assert not twin.endswith(signature)
    assert KEYS.verify(twin, RAW, Kind.BATCH, NOW).kid == "es"


def test_a_refusal_tells_nothing_of_the_message() -> None:
    """Details name the fault, never the header's or the message's own text."""
    for header in (signed(kid="canary"), signed(aud="canary"), signed(typ="canary"), signed(canary=1), "canary"):
        told = refusal(KEYS, header)
        assert "canary" not in str(told) + repr(told)
