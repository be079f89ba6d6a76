"""Who signed these bytes: the checker's own reading of detached JWS signatures and of the key ring."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

TYPES = {"batch": "payout-batch-part+jws", "funding": "payout-funding+jws", "order": "payout-order+jws"}
AHEAD_MS = 5 * 60 * 1000
GREATEST_AGE_MS = 30 * 86_400 * 1000


class NotSignedError(Exception):
    """The bytes carry no valid signature; the text says why."""


def strict_json(raw: bytes | str) -> Any:
    """JSON in which no member stands twice and no number is NaN or a fraction; ValueError otherwise."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError("a member stands twice")
        return members

    def never(text: str) -> Any:
        raise ValueError("a number that is no whole number")

    text = raw.decode("utf-8", "strict") if isinstance(raw, bytes) else raw
    return json.loads(text, object_pairs_hook=once, parse_float=never, parse_constant=never)


@dataclass(frozen=True, slots=True)
class Key:
    algorithm: str
    issuer: str
    kinds: frozenset[str]
    public: Ed25519PublicKey | ec.EllipticCurvePublicKey
    not_before_ms: int
    not_after_ms: int
    revoked_ms: int | None


class KeyRing:
    """The public keys of those who may approve."""

    def __init__(self, path: Path, audience: str = "payout-gateway") -> None:
        self._audience = audience
        self._keys = {entry["kid"]: _key(entry) for entry in strict_json(path.read_bytes())["keys"]}

    def demand(self, kind: str, raw: bytes, header: str | None, arrived_ms: int) -> str:
        """The issuer in whose name ``raw`` is approved; NotSignedError when there is none."""
        if not header:
            raise NotSignedError("unsigned")
        protected, _, signature = header.partition("..")
        if not signature or "." in protected + signature:
            raise NotSignedError("not detached")
        try:
            claims = strict_json(_base64url(protected))
            key = self._keys.get(claims["kid"])
            issued_ms = int(claims["iat"]) * 1000
            fits = (claims["typ"], claims["aud"], claims["b64"]) == (TYPES[kind], self._audience, False)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise NotSignedError("unreadable header") from error
        if key is None or claims["alg"] != key.algorithm or kind not in key.kinds or not fits:
            raise NotSignedError("not a key or purpose for this message")
        _demand_signature(key, protected.encode() + b"." + raw, _base64url(signature))
        if not key.not_before_ms <= issued_ms < key.not_after_ms:
            raise NotSignedError("the key was not valid then")
        if key.revoked_ms is not None and arrived_ms >= key.revoked_ms:
            raise NotSignedError("the key is revoked")
        if issued_ms > arrived_ms + AHEAD_MS or issued_ms < arrived_ms - GREATEST_AGE_MS:
            raise NotSignedError("too old or from the future")
        return key.issuer


def _key(entry: dict[str, Any]) -> Key:
    jwk = entry["public"]
    public: Ed25519PublicKey | ec.EllipticCurvePublicKey
    if jwk["kty"] == "OKP":
        public = Ed25519PublicKey.from_public_bytes(_base64url(jwk["x"]))
    else:
        x, y = (int.from_bytes(_base64url(jwk[name]), "big") for name in ("x", "y"))
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    revoked = entry.get("revoked_at")
    return Key(
        entry["alg"],
        entry["issuer"],
        frozenset(entry["kinds"]),
        public,
        milliseconds(entry["not_before"]),
        milliseconds(entry["not_after"]),
        milliseconds(revoked) if revoked else None,
    )


def _demand_signature(key: Key, signed: bytes, signature: bytes) -> None:
    try:
        if isinstance(key.public, Ed25519PublicKey):
            key.public.verify(signature, signed)
        else:
            half = len(signature) // 2
            r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            key.public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise NotSignedError("the signature does not fit") from error


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def milliseconds(instant: str) -> int:
    return round(dt.datetime.fromisoformat(instant).timestamp() * 1000)
