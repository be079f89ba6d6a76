"""The channel of this profile: requests signed over the bytes sent, answers believed only with the bank's signature.

An answer is bound to its question by the nonce that it echoes and by the path inside the signed string, so an old or
foreign answer cannot be played back. The algorithm is pinned by configuration: what a header claims is compared, never
followed. Timestamps are real time, because skew is a property of the channel.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from adapters.contract import CallbackRefused
from adapters.wire.http import AnswerUnusable, HttpAnswer, HttpWire

SKEW_SECONDS: Final = 300
_SMALLEST_RSA_BITS: Final = 2048
_NONCE = re.compile(r"[0-9a-fA-F]{32}")
_TIMESTAMP = re.compile(r"[0-9]{10}")
_KEY_HEX = re.compile(r"[0-9a-fA-F]{64}")
_SIGNED_HEADERS: Final = ("x-timestamp", "x-nonce", "x-sign-alg", "x-signature")
_SIGNATURE_LENGTH: Final = 4096  # characters; bounds the work spent on a stranger's header


class Signer(Protocol):
    """Signs what we send. SM2-SM3, or a key that lives in an HSM, is another class with these two members."""

    @property
    def algorithm(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class Verifier(Protocol):
    """Checks what the bank signed."""

    @property
    def algorithm(self) -> str: ...

    def verify(self, message: bytes, signature: bytes) -> bool: ...


def _pss() -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class RsaPss:
    """RSA-PSS with SHA-256, MGF1 with SHA-256 and 32 bytes of salt."""

    algorithm = "RSA-PSS-SHA256"

    def __init__(self, private: rsa.RSAPrivateKey | None, public: rsa.RSAPublicKey) -> None:
        if public.key_size < _SMALLEST_RSA_BITS:
            raise ValueError(f"an RSA key has at least {_SMALLEST_RSA_BITS} bits")
        self._private, self._public = private, public

    def sign(self, message: bytes) -> bytes:
        if self._private is None:
            raise TypeError("a public key does not sign")
        return self._private.sign(message, _pss(), hashes.SHA256())

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, message, _pss(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


class Ed25519:
    """Ed25519 over the message itself."""

    algorithm = "ED25519"

    def __init__(self, private: ed25519.Ed25519PrivateKey | None, public: ed25519.Ed25519PublicKey) -> None:
        self._private, self._public = private, public

    def sign(self, message: bytes) -> bytes:
        if self._private is None:
            raise TypeError("a public key does not sign")
        return self._private.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def load_signer(algorithm: str, pem: bytes) -> Signer:
    """Our key. Raises ValueError when the key is not one of ``algorithm``."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("the signing key is encrypted; this program has nobody to ask for its password") from None
    if algorithm == RsaPss.algorithm and isinstance(key, rsa.RSAPrivateKey):
        return RsaPss(key, key.public_key())
    if algorithm == Ed25519.algorithm and isinstance(key, ed25519.Ed25519PrivateKey):
        return Ed25519(key, key.public_key())
    raise ValueError(f"the signing key is no key for {algorithm}")


def load_verifier(algorithm: str, pem: bytes) -> Verifier:
    """The bank's key. Raises ValueError when the key is not one of ``algorithm``."""
    key = load_pem_public_key(pem)
    if algorithm == RsaPss.algorithm and isinstance(key, rsa.RSAPublicKey):
        return RsaPss(None, key)
    if algorithm == Ed25519.algorithm and isinstance(key, ed25519.Ed25519PublicKey):
        return Ed25519(None, key)
    raise ValueError(f"the bank's key is no key for {algorithm}")


class IdCipher:
    """Seals the ID number of an item with AES-256-GCM, bound to the item's reference.

    The nonce is derived from the reference, so that equal arguments give equal bytes. That is sound because a
    reference names one attempt, with one ID number, for ever.
    """

    def __init__(self, key_text: str) -> None:
        if _KEY_HEX.fullmatch(key_text) is None:
            raise ValueError("the ID cipher key is 64 hexadecimal digits")
        self._key = bytes.fromhex(key_text)
        self._aead = AESGCM(self._key)

    def seal(self, reference: str, id_no: str) -> str:
        name = reference.encode("ascii")
        nonce = hmac.digest(self._key, name, "sha256")[:12]
        sealed = self._aead.encrypt(nonce, id_no.encode("ascii"), name)
        return "AES-256-GCM:" + base64.b64encode(nonce + sealed).decode("ascii")


def string_to_sign(first: str, target: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """``first`` is the method of a request or the status of an answer."""
    return "\n".join((first, target, timestamp, nonce, hashlib.sha256(body).hexdigest())).encode("utf-8")


def unix_seconds() -> int:
    return int(time.time())


class SignedChannel:
    """Asks over an ``HttpWire`` with our signature, and hands on nothing that the bank did not sign."""

    def __init__(
        self, app_id: str, signer: Signer, verifier: Verifier, wall_seconds: Callable[[], int] = unix_seconds
    ) -> None:
        self._app_id = app_id
        self._signer = signer
        self._verifier = verifier
        self._wall_seconds = wall_seconds

    async def get(self, wire: HttpWire, target: str, label: str) -> HttpAnswer:
        return await self._ask(wire, "GET", target, label, None, {})

    async def post(self, wire: HttpWire, target: str, label: str, body: bytes, idempotency_key: str) -> HttpAnswer:
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": idempotency_key}
        return await self._ask(wire, "POST", target, label, body, headers)

    async def _ask(
        self, wire: HttpWire, method: str, target: str, label: str, body: bytes | None, more: Mapping[str, str]
    ) -> HttpAnswer:
        nonce = secrets.token_hex(16)
        timestamp = str(self._wall_seconds())
        message = string_to_sign(method, target, timestamp, nonce, body or b"")
        headers = {
            **more,
            "X-App-Id": self._app_id,
            "X-Timestamp": timestamp,
            "X-Nonce": nonce,
            "X-Request-Id": secrets.token_hex(16),
            "X-Sign-Alg": self._signer.algorithm,
            "X-Signature": base64.b64encode(self._signer.sign(message)).decode("ascii"),
        }
        answer = await wire.ask(method, target, label=label, headers=headers, body=body)
        self._check_answer(answer, target, nonce)
        return answer

    def _check_answer(self, answer: HttpAnswer, target: str, nonce: str) -> None:
        # No check of its age: nobody but the bank can sign our nonce, and we made it for this question.
        if "x-signature" not in answer.headers:
            raise AnswerUnusable("UNSIGNED")
        if answer.headers.get("x-nonce") != nonce:
            raise AnswerUnusable("WRONG_NONCE")
        fault = self._signature_fault(str(answer.status), target, answer.headers, answer.body)
        if fault:
            raise AnswerUnusable(fault)

    def check_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> None:
        """The bank's signature over a request to us, its age and its form. Raises CallbackRefused."""
        pairs = [(key.lower(), value) for key, value in headers.items()]  # of a multidict, only items() shows them all
        if any([key for key, _ in pairs].count(name) > 1 for name in _SIGNED_HEADERS):
            raise CallbackRefused("REPEATED_HEADER")  # says two things, and the other reader may take the other one
        lower = dict(pairs)
        if method != "POST":
            raise CallbackRefused("METHOD")
        if "x-signature" not in lower:
            raise CallbackRefused("UNSIGNED")
        if _NONCE.fullmatch(lower.get("x-nonce", "")) is None:
            raise CallbackRefused("NONCE")
        fault = self._signature_fault(method, path, lower, body)
        if fault:
            raise CallbackRefused(fault)
        sent = dt.datetime.fromtimestamp(int(lower["x-timestamp"]), dt.UTC)
        if abs(wall - sent) > dt.timedelta(seconds=SKEW_SECONDS):
            raise CallbackRefused("STALE" if sent < wall else "FROM_THE_FUTURE")

    def _signature_fault(self, first: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
        """Why the signature does not hold, or ""."""
        if headers.get("x-sign-alg") != self._verifier.algorithm:
            return "WRONG_ALGORITHM"
        timestamp = headers.get("x-timestamp", "")
        if _TIMESTAMP.fullmatch(timestamp) is None:
            return "TIMESTAMP"
        text = headers.get("x-signature", "")
        if len(text) > _SIGNATURE_LENGTH:
            return "BAD_SIGNATURE"
        try:
            signature = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return "BAD_SIGNATURE"
        message = string_to_sign(first, target, timestamp, headers.get("x-nonce", ""), body)
        return "" if self._verifier.verify(message, signature) else "BAD_SIGNATURE"
