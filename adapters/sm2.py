"""SM2 signatures with SM3 (GB/T 32918.2, GM/T 0009), for approvals and for banks' channels; needs the extra ``sm``.

``gmalg`` does the arithmetic, in plain Python: some thirty signatures a second, and not in constant time. That serves
channels and approvals; a production bank keeps its private key in an HSM, which is another class behind the same port.
What the library leaves open is decided here: the hash is the compiled SM3 of ``cryptography`` (its own takes five
seconds a megabyte), a public key is on the curve or it is none, keys have one PEM form each (what OpenSSL 3 writes),
and the distinguishing identifier is the one that GM/T 0009 prescribes where nothing else was agreed.

A signature is ``r`` and ``s``, 32 bytes each. Banks' channels carry it as DER, JWS as those 64 bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Final, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

try:
    from gmalg.base import Hash
    from gmalg.ellipticcurve import ECDLP
    from gmalg.sm2 import SM2Core
except ImportError:  # the extra is not installed: said when somebody needs it, in `_core`
    Hash = object
    ECDLP = SM2Core = None

DISTINGUISHING_ID: Final = b"1234567812345678"
NUMBER_BYTES: Final = 32

# The recommended curve of GB/T 32918.5.
_P: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF
_A: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFC
_B: Final = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
_G: Final = (
    0x32C4AE2C_1F198119_5F990446_6A39C994_8FE30BBF_F2660BE1_715A4589_334C74C7,
    0xBC3736A2_F4F6779C_59BDCEE3_6B692153_D0A9877C_C62A4740_02DF32E5_2139F0A0,
)
_N: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123

# SubjectPublicKeyInfo and PKCS #8 of this curve have one DER form each, so that comparing it is parsing it.
_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")
_PKCS8: Final = bytes.fromhex("308187020100301306072a8648ce3d020106082a811ccf5501822d046d306b0201010420")
_PKCS8_PUBLIC: Final = bytes.fromhex("a14403420004")
# Possessive: blanks that were passed over are not given back to what follows, which takes blanks as well.
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s++([0-9A-Za-z+/=\s]+?)-----END \1-----\s*")


class Sm2Missing(ValueError):
    """A key or an algorithm needs SM2, and the extra that brings it is not installed."""

    def __init__(self) -> None:
        super().__init__("SM2 needs the extra 'sm' of payout-gateway (it brings gmalg)")


class _Sm3(Hash):  # type: ignore[misc]
    """The compiled SM3 in the form in which gmalg takes a hash."""

    def __init__(self) -> None:
        self.reset()

    @classmethod
    def max_msg_length(cls) -> int:
        return 1 << 61

    @classmethod
    def hash_length(cls) -> int:
        return NUMBER_BYTES

    def reset(self) -> None:
        self._hash = hashes.Hash(hashes.SM3())

    def update(self, data: bytes) -> None:
        self._hash.update(bytes(data))

    def value(self) -> bytes:
        return self._hash.copy().finalize()


def _core() -> Any:
    """gmalg's SM2 over our hash. Made anew for each use: its hash object holds state."""
    if SM2Core is None:
        raise Sm2Missing
    return SM2Core(ECDLP(_P, _A, _B, _G, _N), _Sm3(), secrets.randbits)


def installed() -> bool:
    """Whether the extra is there."""
    return SM2Core is not None


@dataclass(frozen=True, slots=True)
class Sm2PublicKey:
    """A point on the curve, checked when it is made."""

    x: int
    y: int

    def __post_init__(self) -> None:
        if not (0 <= self.x < _P and 0 <= self.y < _P) or not _core().verify_pk((self.x, self.y)):
            raise ValueError("not a public key on the SM2 curve")

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """From ``PUBLIC KEY``; ValueError for anything else."""
        der = _der(pem, b"PUBLIC KEY")
        if len(der) != len(_SPKI) + 2 * NUMBER_BYTES or not der.startswith(_SPKI):
            raise ValueError("not a public key on the SM2 curve")
        return cls(*_numbers(der[len(_SPKI) :]))

    @classmethod
    def from_jwk(cls, jwk: dict[str, Any]) -> Self:
        """From ``{"kty": "EC", "crv": "SM2", "x": ..., "y": ...}``; ValueError for anything else."""
        if jwk.get("kty") != "EC" or jwk.get("crv") != "SM2":
            raise ValueError("not a public key on the SM2 curve")
        return cls(*(_number_of(jwk.get(name)) for name in ("x", "y")))

    def to_pem(self) -> bytes:
        return _pem(b"PUBLIC KEY", _SPKI + _bytes(self.x) + _bytes(self.y))

    def to_jwk(self) -> dict[str, Any]:
        x, y = (base64.urlsafe_b64encode(_bytes(n)).rstrip(b"=").decode("ascii") for n in (self.x, self.y))
        return {"kty": "EC", "crv": "SM2", "x": x, "y": y}

    def verify(self, message: bytes, signature: bytes) -> bool:
        """``signature`` is r and s, 64 bytes. False for whatever does not fit."""
        if len(signature) != 2 * NUMBER_BYTES:
            return False
        r, s = _numbers(signature)
        return bool(_core().verify(message, r, s, DISTINGUISHING_ID, (self.x, self.y)))

    def verify_der(self, message: bytes, signature: bytes) -> bool:
        """``signature`` is the DER sequence of GM/T 0009, in its one canonical form."""
        try:
            r, s = decode_dss_signature(signature)
        except ValueError:
            return False
        if not (0 < r < _N and 0 < s < _N) or encode_dss_signature(r, s) != signature:
            return False
        return self.verify(message, _bytes(r) + _bytes(s))


@dataclass(frozen=True, slots=True)
class Sm2PrivateKey:
    """A private key in this process's memory; it never prints."""

    number: int = field(repr=False)
    public: Sm2PublicKey

    @classmethod
    def of(cls, number: int) -> Self:
        if not 0 < number < _N - 1:
            raise ValueError("not a private key on the SM2 curve")
        return cls(number, Sm2PublicKey(*_core().generate_pk(number)))

    @classmethod
    def generate(cls) -> Self:
        return cls.of(_core().generate_keypair()[0])

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """From an unencrypted ``PRIVATE KEY`` (PKCS #8 with its public half, as OpenSSL writes it); else ValueError."""
        der = _der(pem, b"PRIVATE KEY")
        end = len(_PKCS8) + NUMBER_BYTES
        whole = len(der) == end + len(_PKCS8_PUBLIC) + 2 * NUMBER_BYTES
        if not (whole and der.startswith(_PKCS8) and der[end:].startswith(_PKCS8_PUBLIC)):
            raise ValueError("not a private key on the SM2 curve in PKCS #8")
        key = cls.of(int.from_bytes(der[len(_PKCS8) : end], "big"))
        if (key.public.x, key.public.y) != _numbers(der[end + len(_PKCS8_PUBLIC) :]):
            raise ValueError("the two halves of the SM2 key do not belong together")
        return key

    def to_pem(self) -> bytes:
        point = _bytes(self.public.x) + _bytes(self.public.y)
        return _pem(b"PRIVATE KEY", _PKCS8 + _bytes(self.number) + _PKCS8_PUBLIC + point)

    def sign(self, message: bytes) -> bytes:
        """r and s, 64 bytes."""
        public = (self.public.x, self.public.y)
        r, s = _core().sign(message, self.number, DISTINGUISHING_ID, public)
        return _bytes(r) + _bytes(s)

    def sign_der(self, message: bytes) -> bytes:
        return encode_dss_signature(*_numbers(self.sign(message)))


def is_sm2(pem: bytes) -> bool:
    """Whether a PEM says that it is a key of this curve; whether it is a good one is said when it is read."""
    for label, prefix in ((b"PUBLIC KEY", _SPKI), (b"PRIVATE KEY", _PKCS8)):
        try:
            if _der(pem, label).startswith(prefix):
                return True
        except ValueError:
            continue
    return False


def _der(pem: bytes, label: bytes) -> bytes:
    match = _PEM.fullmatch(pem.strip())
    if match is None or match[1] != label:
        raise ValueError(f"not a PEM of one {label.decode('ascii')}")
    try:
        return base64.b64decode(b"".join(match[2].split()), validate=True)
    except binascii.Error:
        raise ValueError("not base64 inside the PEM") from None


def _pem(label: bytes, der: bytes) -> bytes:
    text = base64.b64encode(der)
    rows = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return b"-----BEGIN " + label + b"-----\n" + rows + b"\n-----END " + label + b"-----\n"


def _numbers(pair: bytes) -> tuple[int, int]:
    return int.from_bytes(pair[:NUMBER_BYTES], "big"), int.from_bytes(pair[NUMBER_BYTES:], "big")


def _number_of(text: object) -> int:
    """A coordinate of a JWK: base64url of exactly 32 bytes."""
    if isinstance(text, str) and re.fullmatch(r"[0-9A-Za-z_-]{43}", text):
        return int.from_bytes(base64.urlsafe_b64decode(text + "="), "big")
    raise ValueError("a coordinate is base64url of 32 bytes")


def _bytes(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "big")
