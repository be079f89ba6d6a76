"""Approval: a detached JWS over the raw bytes of a message (RFC 7515, ``b64=false`` of RFC 7797) against a key ring.

What is signed is the record as it travelled, so nothing is parsed before it is known who approved it. The header is
closed: exactly the seven parameters below, each once. ``joserfc`` does the cryptography of EdDSA and ES256, and
``adapters.sm2`` that of SM2 (``"alg": "SM2"``, r and s as 64 bytes, over the same signing input). What joserfc leaves
open is decided here, because reading it showed that it:

- uses the payload inside the compact form, where there is one, instead of the bytes it was given;
- takes ``b64`` for absent when it is ``true``, and any registered name in ``crit``;
- falls back to its recommended algorithms, HS256 among them, when the list of allowed ones is empty;
- keeps the last of two equal members of the header, and stops at 128,000 bytes of payload and 512 of header.

So the segments, the header and the algorithm are checked first, the algorithm is the one pinned to the key id, and a
key given in the header (``jwk``, ``jku``, ``x5c``) is a parameter that does not belong there.

A signature is never used to recognise a message: ES256 signatures are malleable ((r, n - s) verifies as well), and a
sender may sign the same bytes again. Messages are recognised by their id and the digest of their bytes.
"""

from __future__ import annotations

import binascii
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, Self

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from adapters.sm2 import Sm2PrivateKey, Sm2PublicKey
from gateway.approval_keys import CURVE, Algorithm, KeyRingFault, PublicKey, SigningKey, curve_of, public_key
from schemas.codec import MOST_BYTES, Refused
from schemas.strict_json import loads
from schemas.v1 import Kind, RefusalReason

__all__ = [
    "AUDIENCE",
    "LAPSED",
    "KeyRing",
    "KeyRingFault",
    "Refused",
    "SigningKey",
    "Verified",
    "demand_issuer",
    "sign",
]

AUDIENCE: Final = "payout-gateway"
HEADER_NAME: Final = "jws"  # of the Kafka record
MOST_HEADER_BYTES: Final = 4_096
LONGEST_AHEAD: Final = dt.timedelta(minutes=5)
GREATEST_AGE: Final = dt.timedelta(days=30)
# The signature fits, but time has passed over it, or the clock was set back behind it. Bytes that were accepted before
# that are a repeat, not a refusal.
LAPSED: Final = frozenset(
    {
        RefusalReason.STALE,
        RefusalReason.FROM_THE_FUTURE,
        RefusalReason.KEY_REVOKED,
        RefusalReason.KEY_NOT_VALID,
    }
)
TYP: Final[Mapping[Kind, str]] = {
    Kind.BATCH: "payout-batch-part+jws",
    Kind.FUNDING: "payout-funding+jws",
    Kind.ORDER: "payout-order+jws",
}

_PARAMETERS: Final = frozenset({"alg", "kid", "typ", "aud", "iat", "b64", "crit"})
_LAST_SECOND: Final = 32_503_680_000  # the year 3000: beyond it datetime arithmetic may overflow


@dataclass(frozen=True, slots=True)
class Verified:
    """Who approved these bytes, with which key, when (business time)."""

    kid: str
    issuer: str
    iat: dt.datetime


class _Pinned(JWSRegistry):
    """joserfc's registry cut down to one algorithm, our two extra parameters and our sizes."""

    max_header_length = MOST_HEADER_BYTES
    max_payload_length = max(MOST_BYTES.values())

    def __init__(self, algorithm: Algorithm) -> None:
        extra = {"aud": HeaderParameter("Audience", "str"), "iat": HeaderParameter("Issued at", "int")}
        super().__init__(extra, [algorithm])
        self._algorithm = algorithm

    def get_alg(self, name: str) -> JWSAlgModel:
        # The base class also warns, at each message, that RFC 9864 renames EdDSA; clients do not know the new name yet.
        if name != self._algorithm:
            raise Refused(RefusalReason.BAD_SIGNATURE, "the algorithm is not the one of the key")
        return self.algorithms[name]


_REGISTRIES: Final[dict[str, _Pinned]] = {"EdDSA": _Pinned("EdDSA"), "ES256": _Pinned("ES256")}


class KeyEntry(BaseModel):
    """One key of one issuer: what it may sign, and when; at ``not_after`` and at ``revoked_at`` it is over."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    kid: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$")]
    alg: Algorithm
    issuer: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$")]
    kinds: Annotated[frozenset[Literal[Kind.BATCH, Kind.FUNDING, Kind.ORDER]], Field(min_length=1)]
    public: Annotated[PublicKey, BeforeValidator(public_key)]
    not_before: AwareDatetime
    not_after: AwareDatetime
    revoked_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if curve_of(self.public) != CURVE[self.alg]:
            raise ValueError("the key's curve does not fit its algorithm")
        if self.not_before >= self.not_after:
            raise ValueError("not_before is not earlier than not_after")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    keys: Annotated[list[KeyEntry], Field(min_length=1, max_length=1_000)]


class KeyRing:
    """The issuers' public keys by key id, and the verdict on a signed message."""

    def __init__(
        self, entries: Iterable[KeyEntry], audience: str = AUDIENCE, greatest_age: dt.timedelta = GREATEST_AGE
    ):
        self._entries: dict[str, KeyEntry] = {}
        for entry in entries:
            if entry.kid in self._entries:
                raise KeyRingFault(f"key id {entry.kid} stands twice")
            self._entries[entry.kid] = entry
        self._audience = audience
        self._greatest_age = greatest_age

    def __repr__(self) -> str:
        return f"KeyRing({sorted(self._entries)})"

    @classmethod
    def load(cls, path: Path, audience: str = AUDIENCE, greatest_age: dt.timedelta = GREATEST_AGE) -> Self:
        """Read a key ring file; KeyRingFault names all its faults, OSError when there is none."""
        return cls.parse(path.read_bytes(), audience, greatest_age)

    @classmethod
    def parse(cls, raw: bytes, audience: str = AUDIENCE, greatest_age: dt.timedelta = GREATEST_AGE) -> Self:
        fault = ""
        try:
            loads(raw)
            return cls(_File.model_validate_json(raw).keys, audience, greatest_age)
        except ValidationError as error:
            told = error.errors(include_input=False, include_context=False, include_url=False)
            fault = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in told)
        except ValueError as error:
            fault = str(error)
        # Out here, so that pydantic's error, which holds the file, does not stay attached as the context.
        raise KeyRingFault(fault)

    def renew(self, other: KeyRing) -> None:
        """Believe what another ring believes from now on; between two messages, never within one."""
        self._entries, self._audience, self._greatest_age = other._entries, other._audience, other._greatest_age

    def verify(self, header_value: str | bytes | None, raw: bytes, kind: Kind, now: dt.datetime) -> Verified:
        """Who approved ``raw``; ``Refused`` says why nobody did.

        The signature is judged before the claims, so that a claim which is refused was at least really made.
        """
        if len(raw) > MOST_BYTES[kind]:
            raise Refused(RefusalReason.OVERSIZE, f"more than {MOST_BYTES[kind]} bytes")
        compact = _compact(header_value)
        header = _header(compact)
        entry = self._entry(header)
        _demand_signature(entry, compact, raw)
        return self._judge(entry, header, kind, now)

    def _entry(self, header: dict[str, Any]) -> KeyEntry:
        kid = header["kid"]
        entry = self._entries.get(kid) if isinstance(kid, str) else None
        if entry is None:
            raise Refused(RefusalReason.UNKNOWN_KEY, "the key id is in nobody's name")
        if header["alg"] != entry.alg:
            raise Refused(RefusalReason.BAD_SIGNATURE, "the algorithm is not the one of the key")
        return entry

    def _judge(self, entry: KeyEntry, header: dict[str, Any], kind: Kind, now: dt.datetime) -> Verified:
        if header["typ"] != TYP[kind]:
            raise Refused(RefusalReason.WRONG_TYPE, "signed as another kind of message")
        if header["aud"] != self._audience:
            raise Refused(RefusalReason.WRONG_AUDIENCE, "signed for somebody else")
        seconds = header["iat"]
        if type(seconds) is not int or not 0 <= seconds < _LAST_SECOND:
            raise Refused(RefusalReason.BAD_SIGNATURE, "iat is not a time in whole seconds")
        iat = dt.datetime.fromtimestamp(seconds, dt.UTC)
        if iat - now > LONGEST_AHEAD:
            raise Refused(RefusalReason.FROM_THE_FUTURE, "signed more than 5 minutes ahead")
        if now - iat > self._greatest_age:
            raise Refused(RefusalReason.STALE, "signed too long ago")
        # Whoever stole a key also chooses iat, so a revocation counts from the moment it is in force, not by iat.
        if entry.revoked_at is not None and now >= entry.revoked_at:
            raise Refused(RefusalReason.KEY_REVOKED, f"key {entry.kid} is revoked")
        if not entry.not_before <= iat < entry.not_after:
            raise Refused(RefusalReason.KEY_NOT_VALID, f"key {entry.kid} was not valid when this was signed")
        if kind not in entry.kinds:
            raise Refused(RefusalReason.KEY_NOT_VALID, f"key {entry.kid} does not sign this kind of message")
        return Verified(entry.kid, entry.issuer, iat)


def demand_issuer(verified: Verified, issuer: str) -> None:
    """To be called once the message is parsed: nobody approves in another's name."""
    if verified.issuer != issuer:
        raise Refused(RefusalReason.WRONG_ISSUER, f"key {verified.kid} signs for another issuer")


def signature_header(headers: Iterable[tuple[str, bytes | None]]) -> bytes | None:
    """The one signature among a Kafka record's headers; two are refused, as two readers could choose differently."""
    found = [value for name, value in headers if name == HEADER_NAME]
    if len(found) > 1:
        raise Refused(RefusalReason.BAD_SIGNATURE, "more than one signature header")
    return found[0] if found else None


def _compact(header_value: str | bytes | None) -> bytes:
    """``header..signature`` in ASCII, bounded before anything looks into it."""
    if not header_value:
        raise Refused(RefusalReason.UNSIGNED, "no signature header")
    if len(header_value) > MOST_HEADER_BYTES:
        _malformed("the signature header is too long")
    if isinstance(header_value, str):
        if not header_value.isascii():
            _malformed("the signature header is not ASCII")
        header_value = header_value.encode("ascii")
    segments = header_value.split(b".")
    if len(segments) != 3 or not segments[0] or not segments[2]:
        _malformed("the signature is not in compact form")
    if segments[1]:
        # joserfc would verify this payload in place of the record's bytes.
        _malformed("the signature is not detached")
    return header_value


def _header(compact: bytes) -> dict[str, Any]:
    """The protected header: the seven parameters and no others, no name twice, ``crit`` exactly ``["b64"]``."""
    try:
        header = loads(urlsafe_b64decode(compact.partition(b".")[0]))
    except (ValueError, binascii.Error):
        _malformed("the protected header is not base64url of unambiguous JSON")
    if not isinstance(header, dict) or header.keys() != _PARAMETERS:
        _malformed("the protected header has other parameters than alg, kid, typ, aud, iat, b64 and crit")
    if header["b64"] is not False or header["crit"] != ["b64"]:
        _malformed('the protected header needs "b64":false and "crit":["b64"]')
    return header


def _demand_signature(entry: KeyEntry, compact: bytes, raw: bytes) -> None:
    if isinstance(entry.public, Sm2PublicKey):
        _demand_sm2(entry.public, compact, raw)
        return
    try:
        signed = jws.deserialize_compact(compact, entry.public, registry=_REGISTRIES[entry.alg], payload=raw)
    except (JoseError, ValueError):
        signed = None
    # The payload differs only if a later joserfc verifies something else than what it was given.
    if signed is None or signed.payload != raw:
        raise Refused(RefusalReason.BAD_SIGNATURE, "the signature does not fit the bytes")


def _demand_sm2(public: Sm2PublicKey, compact: bytes, raw: bytes) -> None:
    """joserfc knows no SM2: the signing input of RFC 7797 is the header's segment, a full stop, and the bytes."""
    header, _, signature = compact.split(b".")
    try:
        numbers = urlsafe_b64decode(signature)
    except (ValueError, binascii.Error):
        numbers = b""
    if not public.verify(header + b"." + raw, numbers):
        raise Refused(RefusalReason.BAD_SIGNATURE, "the signature does not fit the bytes")


def _malformed(detail: str) -> NoReturn:
    raise Refused(RefusalReason.BAD_SIGNATURE, detail)


def sign(raw: bytes, kind: Kind, private_key: SigningKey, kid: str, aud: str, iat: dt.datetime) -> str:
    """The detached signature of ``raw`` for the record's ``jws`` header. ``iat`` is cut to whole seconds."""
    header = {
        "alg": private_key.alg,
        "aud": aud,
        "b64": False,
        "crit": ["b64"],
        "iat": int(iat.timestamp()),
        "kid": kid,
        "typ": TYP[kind],
    }
    if isinstance(private_key.key, Sm2PrivateKey):
        head = urlsafe_b64encode(json.dumps(header, separators=(",", ":")).encode("ascii"))
        return (head + b".." + urlsafe_b64encode(private_key.key.sign(head + b"." + raw))).decode("ascii")
    compact = jws.serialize_compact(header, raw, private_key.key, registry=_REGISTRIES[private_key.alg])
    # joserfc leaves a payload of URL-safe characters attached; a message never is one, but a test may be.
    return jws.detach_content(compact)
