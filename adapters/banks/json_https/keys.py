"""The keys of this profile's channel behind one port: RSA-PSS, Ed25519, SM2 with SM3; and the cipher of ID numbers.

The algorithm is pinned by configuration, and a key that is not one of it is refused when it is read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from adapters.sm2 import Sm2PrivateKey, Sm2PublicKey
from schemas.sm4 import Sm4Gcm

_SMALLEST_RSA_BITS: Final = 2048


class Signer(Protocol):
    """Signs what we send. A key that lives in an HSM is another class with these members. ``digest`` is hexadecimal."""

    @property
    def algorithm(self) -> str: ...

    def digest(self, body: bytes) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class Verifier(Protocol):
    """Checks what the bank signed."""

    @property
    def algorithm(self) -> str: ...

    def digest(self, body: bytes) -> str: ...

    def verify(self, message: bytes, signature: bytes) -> bool: ...


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _sm3(body: bytes) -> str:
    digest = hashes.Hash(hashes.SM3())
    digest.update(body)
    return digest.finalize().hex()


def _pss() -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class RsaPss:
    """RSA-PSS with SHA-256, MGF1 with SHA-256 and 32 bytes of salt."""

    algorithm = "RSA-PSS-SHA256"
    digest = staticmethod(_sha256)

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
    digest = staticmethod(_sha256)

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


class Sm2Sm3:
    """SM2 with SM3 and the default identifier, as DER (GM/T 0009); bodies are digested with SM3 as well."""

    algorithm = "SM2-SM3"
    digest = staticmethod(_sm3)

    def __init__(self, private: Sm2PrivateKey | None, public: Sm2PublicKey) -> None:
        self._private, self._public = private, public

    def sign(self, message: bytes) -> bytes:
        if self._private is None:
            raise TypeError("a public key does not sign")
        return self._private.sign_der(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        return self._public.verify_der(message, signature)


def load_signer(algorithm: str, pem: bytes) -> Signer:
    """Our key. Raises ValueError when the key is not one of ``algorithm``."""
    if algorithm == Sm2Sm3.algorithm:
        private = Sm2PrivateKey.from_pem(pem)
        return Sm2Sm3(private, private.public)
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
    if algorithm == Sm2Sm3.algorithm:
        return Sm2Sm3(None, Sm2PublicKey.from_pem(pem))
    key = load_pem_public_key(pem)
    if algorithm == RsaPss.algorithm and isinstance(key, rsa.RSAPublicKey):
        return RsaPss(None, key)
    if algorithm == Ed25519.algorithm and isinstance(key, ed25519.Ed25519PublicKey):
        return Ed25519(None, key)
    raise ValueError(f"the bank's key is no key for {algorithm}")


class IdCipher:
    """Seals the ID number of an item with AES-256-GCM or SM4-GCM, bound to the item's reference.

    The nonce is derived from the reference, so that equal arguments give equal bytes. That is sound because a
    reference names one attempt, with one ID number, for ever.
    """

    def __init__(self, algorithm: str, key_text: str) -> None:
        aead, digits, self._digest = _ID_CIPHERS[algorithm]
        if re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", key_text) is None:
            raise ValueError(f"the ID cipher key of {algorithm} is {digits} hexadecimal digits")
        self._algorithm = algorithm
        self._key = bytes.fromhex(key_text)
        self._aead = aead(self._key)

    def seal(self, reference: str, id_no: str) -> str:
        name = reference.encode("ascii")
        mac = hmac.HMAC(self._key, self._digest())
        mac.update(name)
        nonce = mac.finalize()[:12]
        sealed = self._aead.encrypt(nonce, id_no.encode("ascii"), name)
        return f"{self._algorithm}:" + base64.b64encode(nonce + sealed).decode("ascii")


# Of each: the cipher, the hexadecimal digits of its key, and the hash that makes a nonce of a reference.
_ID_CIPHERS: Final[dict[str, tuple[Any, int, Any]]] = {
    "AES-256-GCM": (AESGCM, 64, hashes.SHA256),
    "SM4-GCM": (Sm4Gcm, 32, hashes.SM3),
}
