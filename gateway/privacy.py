"""Personal data at rest: sealed records under rotating keys, and keyed blind indexes to find a person again.

A sealed blob says how it is to be opened, and that saying is authenticated together with the caller's row-bound
context, so that a blob moved to another row, column or key does not open:

    1 byte   suite: 1 = AES-256-GCM, 2 = SM4-GCM (where commercial cryptography is required)
    1 byte   length of the key id, 1 to 32
    n bytes  key id, ASCII
    12 bytes nonce, random
    rest     ciphertext and its 16-byte tag; additional data = the bytes before the nonce, then the caller's context

Rotation: add a key, make it ``active``, keep the old ones for reading, seal old rows again (``sealed_with`` finds
them) and drop a key when none is left. With random nonces one key serves 2**32 seals; rotate yearly, long before that.

A blind index is keyed BLAKE2b-128 of a canonical form, under a key derived for its column, so that equal values in two
columns have nothing in common. It is a ``uuid.UUID`` only because PostgreSQL stores 16 bytes best in that type.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gateway.log import quotable
from schemas.masked import Masked
from schemas.sm4 import Sm4Gcm
from schemas.strict_json import loads

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}")


@quotable
class KeyFileFault(ValueError):
    """The key file cannot be used. The message names the field, never key material."""


class Broken(StrEnum):
    """Why a blob did not open."""

    FORMAT = "FORMAT"  # too short, or of a suite that is not known here
    UNKNOWN_KEY = "UNKNOWN_KEY"  # sealed under a key that is not in the key file (any more)
    ALTERED = "ALTERED"  # changed, moved to another row or column, or another key under the same id


@quotable
class SealBroken(Exception):
    """A blob that does not open. It carries the kind of damage, the id of the key it names, and nothing else of it."""

    def __init__(self, reason: Broken, key_id: str = "") -> None:
        super().__init__(f"{reason}: sealed under key {key_id}" if key_id else str(reason))
        self.reason = reason
        self.key_id = key_id


class Seals(Protocol):
    """What the store needs of a sealer; an HSM-backed one fits here."""

    @property
    def head(self) -> bytes: ...

    def seal(self, plaintext: bytes, aad: bytes) -> bytes: ...

    def unseal(self, blob: bytes, aad: bytes) -> bytes: ...


class Aead(Protocol):
    """An authenticated cipher with 12-byte nonces and 16-byte tags appended, keyed at construction."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Suite:
    """A cipher that records are sealed with: its byte in a blob, the bytes of its key, how it is made from one."""

    number: int
    key_bytes: int
    cipher: Callable[[bytes], Aead]


AES_256_GCM: Final = "AES-256-GCM"
SM4_GCM: Final = "SM4-GCM"
SUITES: Final[Mapping[str, Suite]] = MappingProxyType(
    {AES_256_GCM: Suite(1, 32, AESGCM), SM4_GCM: Suite(2, 16, Sm4Gcm)}
)
_NUMBERS: Final = frozenset(suite.number for suite in SUITES.values())


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key and the suite it belongs to; a key serves one suite for ever. It never prints."""

    secret: bytes = field(repr=False)
    suite: str = AES_256_GCM


class Sealer:
    """Seals under the active key, opens under any key it was given. Cipher objects are made once, not per call."""

    __slots__ = ("_active", "_ciphers", "_head", "_kid")

    def __init__(self, keys: Mapping[str, SealingKey], active: str) -> None:
        if active not in keys:
            raise KeyFileFault("the active key is not among the sealing keys")
        self._ciphers: dict[bytes, Aead] = {}
        for kid, key in keys.items():
            suite = SUITES[key.suite]
            if not _KEY_ID.fullmatch(kid) or len(key.secret) != suite.key_bytes:
                raise KeyFileFault(
                    f"a sealing key of {key.suite} is {suite.key_bytes} bytes under an id of 1 to 32 letters, digits, "
                    "'.', '_', '-'"
                )
            self._ciphers[_head(suite.number, kid)] = suite.cipher(key.secret)
        self._kid = active
        self._head = _head(SUITES[keys[active].suite].number, active)
        self._active = self._ciphers[self._head]

    def __repr__(self) -> str:
        return f"Sealer(active={self._kid!r}, {len(self._ciphers)} keys)"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a sealer is never pickled")

    def seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """``aad`` names table, column and row; without it the blob does not open."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._head + nonce + self._active.encrypt(nonce, plaintext, self._head + aad)

    def unseal(self, blob: bytes, aad: bytes) -> bytes:
        """The plaintext, or SealBroken."""
        head = _head_of(blob)
        cipher = self._ciphers.get(head)
        if cipher is None:
            raise SealBroken(Broken.UNKNOWN_KEY, _named(head))
        body = len(head) + _NONCE_BYTES
        try:
            return cipher.decrypt(blob[len(head) : body], blob[body:], head + aad)
        except InvalidTag:
            raise SealBroken(Broken.ALTERED, _named(head)) from None

    def sealed_with(self, blob: bytes) -> str:
        """The id of the key that a blob claims to be sealed under; SealBroken when it is no blob at all."""
        return _head_of(blob)[2:].decode("ascii")

    @property
    def head(self) -> bytes:
        """What every blob under the active key begins with; all others a rotation still has to seal again."""
        return self._head

    def is_current(self, blob: bytes) -> bool:
        """False for a blob that a rotation still has to seal again."""
        return blob.startswith(self._head)


def _head(suite: int, kid: str) -> bytes:
    return bytes((suite, len(kid))) + kid.encode("ascii")


def _named(head: bytes) -> str:
    """The key id of a head, as it may be printed: a damaged blob may name anything."""
    name = head[2:].decode("ascii")
    return name if _KEY_ID.fullmatch(name) else "?"


def _head_of(blob: bytes) -> bytes:
    if len(blob) < 2 or blob[0] not in _NUMBERS:
        raise SealBroken(Broken.FORMAT)
    head = blob[: 2 + blob[1]]
    if len(blob) < len(head) + _NONCE_BYTES + _TAG_BYTES or not head[2:].isascii() or len(head) < 3:
        raise SealBroken(Broken.FORMAT)
    return head


class BlindIndex:
    """Equal values of one column give equal indexes; without the key an index says nothing."""

    __slots__ = ("_base", "_column")

    def __init__(self, key: bytes, column: str) -> None:
        if len(key) != KEY_BYTES:
            raise KeyFileFault("the blind key is 32 bytes")
        if not column:
            raise ValueError("a blind index belongs to a column")
        column_key = hashlib.blake2b(column.encode(), key=key, digest_size=KEY_BYTES, person=b"blind-column").digest()
        self._base = hashlib.blake2b(key=column_key, digest_size=16, person=b"blind-index")
        self._column = column

    def __repr__(self) -> str:
        return f"BlindIndex({self._column!r})"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a blind index is never pickled")

    def of(self, value: Masked) -> uuid.UUID:
        """The index of ``value``; ValueError when it is empty, because all absent values would be one person."""
        text = canonical(value.reveal())
        if not text:
            raise ValueError("an absent value has no index")
        digest = self._base.copy()
        digest.update(text.encode())
        return uuid.UUID(bytes=digest.digest())


def canonical(text: str) -> str:
    """One spelling for one number: ASCII width, capitals, no white space, no +86 in front of a mobile number."""
    if not (text.isascii() and text.isalnum()):
        text = "".join(unicodedata.normalize("NFKC", text).split())
        if text.startswith("+86") and len(text) == 14:
            text = text[3:]
    return text.upper()


def _key(value: object, length: int = KEY_BYTES) -> bytes:
    """Bytes from base64; strict, so that a mistyped key is found at start and not by a row that does not open."""
    try:
        key = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != length or not any(key):
        raise ValueError(f"a key is base64 of {length} random bytes")
    return key


def _sealing_key(value: object) -> SealingKey:
    """A bare key is one of AES-256-GCM; ``{"suite": name, "key": base64}`` says which."""
    if not isinstance(value, dict):
        return SealingKey(_key(value))
    suite = value.get("suite")
    if value.keys() != {"suite", "key"} or not isinstance(suite, str) or suite not in SUITES:
        raise ValueError(f"a sealing key has a key and a suite: {' or '.join(SUITES)}")
    return SealingKey(_key(value["key"], SUITES[suite].key_bytes), suite)


Key = Annotated[bytes, BeforeValidator(_key)]
NamedKey = Annotated[SealingKey, BeforeValidator(_sealing_key)]
KeyId = Annotated[str, Field(pattern=f"^{_KEY_ID.pattern}$")]


class Keys(BaseModel):
    """The key file ``{"active": id, "sealing": {id: key, ...}, "blind": key}``; keys are neither printed nor dumped.

    A sealing key is base64 (AES-256-GCM) or ``{"suite": "SM4-GCM", "key": base64}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)

    active: KeyId
    sealing: Annotated[dict[KeyId, NamedKey], Field(min_length=1, max_length=100, repr=False, exclude=True)]
    blind: Annotated[Key, Field(repr=False, exclude=True)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.active not in self.sealing:
            raise ValueError("active names none of the sealing keys")
        secrets = {self.blind, *(key.secret for key in self.sealing.values())}
        if len(secrets) != len(self.sealing) + 1:
            raise ValueError("the same key stands in two places")
        return self

    def sealer(self) -> Sealer:
        return Sealer(self.sealing, self.active)

    def blind_index(self, column: str) -> BlindIndex:
        return BlindIndex(self.blind, column)


def load_keys(path: Path) -> Keys:
    """Read the key file; KeyFileFault names its faults without content, OSError when there is none."""
    return parse_keys(path.read_bytes())


def parse_keys(raw: bytes) -> Keys:
    fault = ""
    try:
        return Keys.model_validate(loads(raw))
    except ValidationError as error:
        told = error.errors(include_input=False, include_context=False, include_url=False)
        fault = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in told)
    except ValueError as error:
        fault = str(error)
    # Out here, so that pydantic's error, which holds the keys, does not stay attached as the context.
    raise KeyFileFault(fault)


def fresh_key_file(active: str = "k1") -> str:
    """The text of a new key file with one sealing key; for a first installation, the demonstration and the tests."""
    keys = [base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii") for _ in range(2)]
    return json.dumps({"active": active, "sealing": {active: keys[0]}, "blind": keys[1]}, indent=2) + "\n"
