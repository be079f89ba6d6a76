"""The HTTPS bank's own signing and checking of requests, answers and callbacks, over the bytes sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from tests.world import clock

SKEW_SECONDS = 300
NONCE_SECONDS = 600
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def text_of(first: str, path: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """What is signed: `first` is the method of a request or the status of an answer."""
    return "\n".join((first, path, timestamp, nonce, hashlib.sha256(body).hexdigest())).encode()


class Signer:
    """Signs with the bank's (or a stranger's) private key."""

    def __init__(self, path: Path) -> None:
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
            raise TypeError("a signing key is RSA or Ed25519")
        self._key = key
        self.algorithm = "RSA-PSS-SHA256" if isinstance(key, rsa.RSAPrivateKey) else "ED25519"

    def headers(self, first: str, path: str, body: bytes, nonce: str = "", age_seconds: int = 0) -> dict[str, str]:
        """The four headers; `nonce` is echoed in answers, new otherwise; `age_seconds` backdates."""
        nonce = nonce or secrets.token_hex(16)
        timestamp = str(clock.wall_ms() // 1000 - age_seconds)
        text = text_of(first, path, timestamp, nonce, body)
        if isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(text, _PSS, hashes.SHA256())
        else:
            signature = self._key.sign(text)
        return {
            "X-Timestamp": timestamp,
            "X-Nonce": nonce,
            "X-Sign-Alg": self.algorithm,
            "X-Signature": base64.b64encode(signature).decode(),
        }


class Gate:
    """Decides whether a request is the gateway's own, fresh and not seen before."""

    def __init__(self, public_key: Path, app_id: str) -> None:
        key = load_pem_public_key(public_key.read_bytes())
        if not isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
            raise TypeError("a signing key is RSA or Ed25519")
        self._key = key
        self._algorithm = "RSA-PSS-SHA256" if isinstance(key, rsa.RSAPublicKey) else "ED25519"
        self._app_id = app_id
        self._nonces: dict[str, int] = {}  # nonce -> wall second; insertion order is time order

    def problem(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> str:
        """Why this request is not accepted; "" when it is."""
        timestamp, nonce = headers.get("X-Timestamp", ""), headers.get("X-Nonce", "")
        now = clock.wall_ms() // 1000
        if headers.get("X-App-Id") != self._app_id or headers.get("X-Sign-Alg") != self._algorithm:
            return "who"
        if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp)) > SKEW_SECONDS:
            return "age"
        if len(nonce) != 32 or not headers.get("X-Request-Id"):
            return "form"
        if not self._genuine(text_of(method, path, timestamp, nonce, body), headers.get("X-Signature", "")):
            return "signature"
        for old in list(self._nonces):
            if now - self._nonces[old] <= NONCE_SECONDS:
                break
            del self._nonces[old]
        if nonce in self._nonces:
            return "replay"
        self._nonces[nonce] = now
        return ""

    def _genuine(self, text: bytes, encoded: str) -> bool:
        try:
            signature = base64.b64decode(encoded, validate=True)
            if isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, text, _PSS, hashes.SHA256())
            else:
                self._key.verify(signature, text)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True
