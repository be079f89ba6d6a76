"""A hostile sender: signature headers that must not be believed, over whatever message they are to carry in.

The table stands by itself, because two readers need it: the unit test of the signature check, and the storm's proof
that none of them gets past the intake (`tests/storm/gate`).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from joserfc.jwk import OKPKey

from gateway.approval import AUDIENCE, TYP, SigningKey
from schemas.v1 import Kind

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MALLORY: Final = SigningKey.generate("EdDSA")


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True)
class Forger:
    """Signs whatever it is told to, with no library's opinion about the header, as an attacker with a key would.

    ``raw`` is a message of ``kind``; ``key`` is the Ed25519 key that the ring knows as ``kid``; ``at`` is the time.
    """

    raw: bytes
    kind: Kind
    at: dt.datetime
    key: SigningKey
    kid: str = "ed"

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The good header; a change to ``...`` takes a parameter away."""
        header = {
            "alg": "EdDSA", "kid": self.kid, "typ": TYP[self.kind], "aud": AUDIENCE,
            "iat": int(self.at.timestamp()), "b64": False, "crit": ["b64"],
        }  # fmt: skip
        return {name: value for name, value in {**header, **changes}.items() if value is not ...}

    def raw_signed(self, header: bytes, payload: bytes | None = None, key: SigningKey | None = None) -> str:
        segment = b64(header)
        private = (key or self.key).key
        assert isinstance(private, OKPKey)
        message = segment.encode() + b"." + (self.raw if payload is None else payload)
        return f"{segment}..{b64(private.get_op_key('sign').sign(message))}"  # type: ignore[union-attr]

    def signed(self, payload: bytes | None = None, key: SigningKey | None = None, **changes: Any) -> str:
        return self.raw_signed(json.dumps(self.claims(**changes)).encode(), payload, key)

    def hs256_with_public_key(self) -> str:
        """The classic confusion: the public key, which everybody knows, as the HMAC secret."""
        segment = b64(json.dumps(self.claims(alg="HS256")).encode())
        assert isinstance(self.key.key, OKPKey)
        secret = self.key.key.as_pem(private=False)
        return f"{segment}..{b64(hmac.new(secret, segment.encode() + b'.' + self.raw, hashlib.sha256).digest())}"

    def edit(self, position: int, change: Callable[[str], str]) -> str:
        """The good signature with one of its three segments changed."""
        segments = self.signed().split(".")
        segments[position] = change(segments[position])
        return ".".join(segments)

    def doubled(self) -> bytes:
        """The good header, whose audience stands twice."""
        return (
            json.dumps(self.claims()).replace(f'"aud": "{AUDIENCE}"', f'"aud": "other", "aud": "{AUDIENCE}"').encode()
        )

    @property
    def other_typ(self) -> str:
        return next(typ for kind, typ in TYP.items() if kind is not self.kind)


def twin(signature: str) -> str:
    """The second valid signature that anybody can make of an ES256 signature, without the key."""
    plain = base64.urlsafe_b64decode(signature + "==")
    mirrored = P256_ORDER - int.from_bytes(plain[32:], "big")
    return b64(plain[:32] + mirrored.to_bytes(32, "big"))


def flipped(segment: str) -> str:
    return ("B" if segment[0] == "A" else "A") + segment[1:]


def trailing_bits(segment: str) -> str:
    """Another base64url spelling of the same 64 bytes: the unused bits of the last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1]


HEADERS: Final[dict[str, tuple[Callable[[Forger], str | bytes | None], str]]] = {
    "absent": (lambda f: None, "UNSIGNED"),
    "empty text": (lambda f: "", "UNSIGNED"),
    "empty bytes": (lambda f: b"", "UNSIGNED"),
    "not ascii text": (lambda f: "签.." + f.signed()[3:], "BAD_SIGNATURE"),
    "not ascii bytes": (lambda f: b"\xff" + f.signed().encode(), "BAD_SIGNATURE"),
    "no dot": (lambda f: f.signed().replace(".", ""), "BAD_SIGNATURE"),
    "one dot": (lambda f: f.signed().replace("..", "."), "BAD_SIGNATURE"),
    "three dots": (lambda f: f.signed().replace("..", "..."), "BAD_SIGNATURE"),
    "only dots": (lambda f: "..", "BAD_SIGNATURE"),
    "no header": (lambda f: f.edit(0, lambda _: ""), "BAD_SIGNATURE"),
    "no signature": (lambda f: f.edit(2, lambda _: ""), "BAD_SIGNATURE"),
    "giant header": (lambda f: f.signed(kid="k" * 5_000), "BAD_SIGNATURE"),
    "giant signature": (lambda f: f.edit(2, lambda s: s * 60), "BAD_SIGNATURE"),
    "attached payload": (lambda f: f.edit(1, lambda _: "e30"), "BAD_SIGNATURE"),
    "attached and signed payload": (lambda f: f.signed(b"e30").replace("..", ".e30."), "BAD_SIGNATURE"),
    "JSON serialisation": (lambda f: json.dumps({"payload": "", "signatures": []}), "BAD_SIGNATURE"),
    "header not base64": (lambda f: f.edit(0, lambda s: "*" + s), "BAD_SIGNATURE"),
    "header with padding": (lambda f: f.edit(0, lambda s: s + "="), "BAD_SIGNATURE"),
    "header not JSON": (lambda f: f.raw_signed(b"alg=EdDSA"), "BAD_SIGNATURE"),
    "header a list": (lambda f: f.raw_signed(b'["EdDSA"]'), "BAD_SIGNATURE"),
    "header deep": (lambda f: f.raw_signed(b"[" * 2_900), "BAD_SIGNATURE"),
    "header in utf-16": (lambda f: f.raw_signed(json.dumps(f.claims()).encode("utf-16")), "BAD_SIGNATURE"),
    "header with byte order mark": (
        lambda f: f.raw_signed(b"\xef\xbb\xbf" + json.dumps(f.claims()).encode()),
        "BAD_SIGNATURE",
    ),
    "header with a name twice": (lambda f: f.raw_signed(f.doubled()), "BAD_SIGNATURE"),
    "header with NaN": (lambda f: f.signed(iat=float("nan")), "BAD_SIGNATURE"),  # the JSON token is the point
    "alg none, no signature": (lambda f: f.signed(alg="none").rpartition(".")[0] + ".", "BAD_SIGNATURE"),
    "alg none": (lambda f: f.signed(alg="none"), "BAD_SIGNATURE"),
    "alg None": (lambda f: f.signed(alg=None), "BAD_SIGNATURE"),
    "alg absent": (lambda f: f.signed(alg=...), "BAD_SIGNATURE"),
    "alg HS256 with the public key": (Forger.hs256_with_public_key, "BAD_SIGNATURE"),
    "alg of another key": (lambda f: f.signed(alg="ES256"), "BAD_SIGNATURE"),
    "alg by its new name": (lambda f: f.signed(alg="Ed25519"), "BAD_SIGNATURE"),
    "alg in lower case": (lambda f: f.signed(alg="eddsa"), "BAD_SIGNATURE"),
    "alg a list": (lambda f: f.signed(alg=["EdDSA"]), "BAD_SIGNATURE"),
    "kid absent": (lambda f: f.signed(kid=...), "BAD_SIGNATURE"),
    "kid unknown": (lambda f: f.signed(kid="who"), "UNKNOWN_KEY"),
    "kid empty": (lambda f: f.signed(kid=""), "UNKNOWN_KEY"),
    "kid a number": (lambda f: f.signed(kid=1), "UNKNOWN_KEY"),
    "kid a list": (lambda f: f.signed(kid=["ed"]), "UNKNOWN_KEY"),
    "kid of another's key": (lambda f: f.signed(key=MALLORY), "BAD_SIGNATURE"),
    "own key in the header": (lambda f: f.signed(key=MALLORY, jwk=MALLORY.public_jwk()), "BAD_SIGNATURE"),
    "own key by address": (lambda f: f.signed(key=MALLORY, jku="https://mallory.example/k"), "BAD_SIGNATURE"),
    "own certificate": (lambda f: f.signed(key=MALLORY, x5c=["AAAA"]), "BAD_SIGNATURE"),
    "own key, well signed": (lambda f: f.signed(jwk=f.key.public_jwk()), "BAD_SIGNATURE"),
    "b64 true": (lambda f: f.signed(b64=True), "BAD_SIGNATURE"),
    "b64 absent": (lambda f: f.signed(b64=..., crit=...), "BAD_SIGNATURE"),
    "b64 as text": (lambda f: f.signed(b64="false"), "BAD_SIGNATURE"),
    "b64 zero": (lambda f: f.signed(b64=0), "BAD_SIGNATURE"),
    "crit absent": (lambda f: f.signed(crit=...), "BAD_SIGNATURE"),
    "crit empty": (lambda f: f.signed(crit=[]), "BAD_SIGNATURE"),
    "crit unknown": (lambda f: f.signed(crit=["b64", "exp"], exp=1), "BAD_SIGNATURE"),
    "crit with a standard name": (lambda f: f.signed(crit=["b64", "alg"]), "BAD_SIGNATURE"),
    "crit twice": (lambda f: f.signed(crit=["b64", "b64"]), "BAD_SIGNATURE"),
    "crit as text": (lambda f: f.signed(crit="b64"), "BAD_SIGNATURE"),
    "unknown parameter": (lambda f: f.signed(exp=4102444800), "BAD_SIGNATURE"),
    "b64 true, signed so": (lambda f: f.signed(b64(f.raw).encode(), b64=True), "BAD_SIGNATURE"),
    "payload signed as base64": (lambda f: f.signed(b64(f.raw).encode()), "BAD_SIGNATURE"),
    "other bytes signed": (lambda f: f.signed(f.raw + b" "), "BAD_SIGNATURE"),
    "header flipped": (lambda f: f.edit(0, lambda s: s[:30] + flipped(s[30:])), "BAD_SIGNATURE"),
    "signature flipped": (lambda f: f.edit(2, flipped), "BAD_SIGNATURE"),
    "signature cut": (lambda f: f.edit(2, lambda s: s[:-4]), "BAD_SIGNATURE"),
    "signature in other base64": (lambda f: f.edit(2, trailing_bits), "BAD_SIGNATURE"),
    "signature with padding": (lambda f: f.edit(2, lambda s: s + "=="), "BAD_SIGNATURE"),
    "signature with white space": (lambda f: f.signed() + "\n", "BAD_SIGNATURE"),
    "typ absent": (lambda f: f.signed(typ=...), "BAD_SIGNATURE"),
    "typ of another message": (lambda f: f.signed(typ=f.other_typ), "WRONG_TYPE"),
    "typ in capitals": (lambda f: f.signed(typ=TYP[f.kind].upper()), "WRONG_TYPE"),
    "typ JWT": (lambda f: f.signed(typ="JWT"), "WRONG_TYPE"),
    "aud absent": (lambda f: f.signed(aud=...), "BAD_SIGNATURE"),
    "aud other": (lambda f: f.signed(aud="payout-gateway-test"), "WRONG_AUDIENCE"),
    "aud among others": (lambda f: f.signed(aud=["payout-gateway", "other"]), "BAD_SIGNATURE"),
    "iat absent": (lambda f: f.signed(iat=...), "BAD_SIGNATURE"),
    "iat as text": (lambda f: f.signed(iat=str(int(f.at.timestamp()))), "BAD_SIGNATURE"),
    "iat true": (lambda f: f.signed(iat=True), "BAD_SIGNATURE"),
    "iat negative": (lambda f: f.signed(iat=-1), "BAD_SIGNATURE"),
    "iat a fraction": (lambda f: f.signed(iat=1795485600.5), "BAD_SIGNATURE"),
    "iat beyond the calendar": (lambda f: f.signed(iat=10**18), "BAD_SIGNATURE"),
    "iat in milliseconds": (lambda f: f.signed(iat=int(f.at.timestamp()) * 1000), "BAD_SIGNATURE"),
    "iat zero": (lambda f: f.signed(iat=0), "STALE"),
}
