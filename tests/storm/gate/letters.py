"""The table of hostile letters: what is wrong with each, how it is made from a good draft, and the reason it must meet.

Seven sections, by where the hostility sits: in the signature's header, in who signed and when, in the algorithm, in the
bytes after they were signed, in rightly signed bytes, in what is known already, and in the Kafka record around it all.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.approval import AUDIENCE, sign
from schemas.codec import MOST_BYTES
from schemas.v1 import Kind
from tests.storm.gate.doorway import Letter
from tests.storm.gate.drafts import Draft
from tests.unit.hostile_headers import HEADERS, Forger, b64

ALL: Final = frozenset({Kind.BATCH, Kind.FUNDING, Kind.ORDER})
BATCH: Final = frozenset({Kind.BATCH})
FUNDING: Final = frozenset({Kind.FUNDING})
ORDER: Final = frozenset({Kind.ORDER})


@dataclass(frozen=True, slots=True)
class Case:
    """One row: its name, the reason of its refusal, and the letter; ``kinds`` are those for which it has a meaning."""

    name: str
    reason: str
    make: Callable[[Draft], Letter]
    kinds: frozenset[Kind] = ALL


# -- who signed, when, with what ---------------------------------------------------------------------------------------


def _later(f: Forger, **span: int) -> int:
    return int((f.at + dt.timedelta(**span)).timestamp())


def _es256(d: Draft, kid: str, spell: Callable[[bytes], bytes] = bytes) -> str:
    """A good ES256 signature under a key id, its 64 bytes spelt differently."""
    head, _, signature = sign(d.raw(), d.kind, d.keys.es, kid, AUDIENCE, d.at).rpartition(".")
    return f"{head}.{b64(spell(base64.urlsafe_b64decode(signature + '==')))}"


def _der(plain: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(plain[:32], "big"), int.from_bytes(plain[32:], "big"))


def _ed448(f: Forger) -> str:
    segment = b64(json.dumps(f.claims()).encode())
    return f"{segment}..{b64(ed448.Ed448PrivateKey.generate().sign(segment.encode() + b'.' + f.raw))}"


SIGNERS: Final[dict[str, tuple[Callable[[Forger], str], str]]] = {
    "key expired": (lambda f: f.signed(kid="expired"), "KEY_NOT_VALID"),
    "key not valid yet": (lambda f: f.signed(kid="early"), "KEY_NOT_VALID"),
    "key revoked": (lambda f: f.signed(kid="revoked"), "KEY_REVOKED"),
    "key revoked, dated back": (lambda f: f.signed(kid="revoked", iat=_later(f, days=-2)), "KEY_REVOKED"),
    "key for other kinds": (lambda f: f.signed(kid=f"not-{f.kind}"), "KEY_NOT_VALID"),
    "key of another issuer": (lambda f: f.signed(kid="neighbour"), "WRONG_ISSUER"),
    "signed ahead": (lambda f: f.signed(iat=_later(f, minutes=5, seconds=1)), "FROM_THE_FUTURE"),
    "signed next year": (lambda f: f.signed(iat=_later(f, days=400)), "FROM_THE_FUTURE"),
    "signed too long ago": (lambda f: f.signed(iat=_later(f, days=-30, seconds=-1)), "STALE"),
    "another EdDSA curve": (_ed448, "BAD_SIGNATURE"),
    "the algorithm's id of SM2": (lambda f: f.signed(alg="SM2", kid="sm"), "BAD_SIGNATURE"),
    "EdDSA under an ES256 id": (lambda f: f.signed(kid="es"), "BAD_SIGNATURE"),
}

ALGORITHMS: Final[dict[str, Callable[[Draft], str]]] = {
    "ES256 under an EdDSA id": lambda d: _es256(d, "ed"),
    "ES256 under another id": lambda d: _es256(d, "es2"),
    "ES256 in DER": lambda d: _es256(d, "es", _der),
    "ES256 all zeros": lambda d: _es256(d, "es", lambda plain: bytes(len(plain))),
    "ES256, r and s swapped": lambda d: _es256(d, "es", lambda plain: plain[32:] + plain[:32]),
    "ES256, a byte more": lambda d: _es256(d, "es", lambda plain: plain + b"\0"),
    "SM2 under an EdDSA id": lambda d: sign(d.raw(), d.kind, d.keys.sm, "ed", AUDIENCE, d.at),
    "SM2, a byte less": lambda d: sign(d.raw(), d.kind, d.keys.sm, "sm", AUDIENCE, d.at)[:-2],
}

# -- bytes that changed after they were signed -------------------------------------------------------------------------

FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.BATCH: (
        *("issuer", "batch_id", "county", "programme", "period", "part", "lines", "amount"),
        *("name", "id_no", "account", "bank_no", "quantity"),
    ),
    Kind.FUNDING: ("issuer", "funding_id", "batch_id", "amount", "received_at"),
    Kind.ORDER: ("issuer", "order_id", "kind", "batch_id", "line", "attempt", "details"),
}


def bit_flipped(raw: bytes, field: str) -> bytes:
    """One bit of the last place where a field has its value; ``details`` is an account, or null."""
    place = list(re.finditer(rb'"%s": (?:\{"account": )?"?' % field.encode(), raw))[-1].end()
    return raw[:place] + bytes((raw[place] ^ 1,)) + raw[place + 1 :]


ALTERED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "first bit flipped": lambda raw: bytes((raw[0] ^ 1,)) + raw[1:],
    "last bit flipped": lambda raw: raw[:-1] + bytes((raw[-1] ^ 1,)),
    "cut short": lambda raw: raw[:-1],
    "a line end more": lambda raw: raw + b"\n",
    "a NUL more": lambda raw: raw + b"\0",
    "a blank in front": lambda raw: b" " + raw,
    "a byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "twice": lambda raw: raw + raw,
    "spelt without blanks": lambda raw: json.dumps(json.loads(raw), separators=(",", ":")).encode(),
    "members in another order": lambda raw: json.dumps(
        dict(reversed(json.loads(raw).items())), ensure_ascii=False
    ).encode(),
}

# -- rightly signed, and hostile all the same --------------------------------------------------------------------------


def _doubled(d: Draft, name: str) -> bytes:
    """A member of the message twice: first as approved, then as somebody would like it."""
    raw = d.raw()
    place = raw.index(f'"{name}": '.encode())
    return raw[:place] + f'"{name}": "1.00", '.encode() + raw[place:]


MEANT: Final[dict[str, tuple[Callable[[Draft], bytes], str, frozenset[Kind]]]] = {
    "a member twice": (lambda d: _doubled(d, "batch_id"), "UNREADABLE", ALL),
    "a member of a line twice": (lambda d: _doubled(d, "account"), "UNREADABLE", BATCH),
    "a member twice, spelt differently": (
        lambda d: d.raw().replace(b'"issuer": ', b'"\\u0069ssuer": "659999-finance", "issuer": ', 1),
        "UNREADABLE",
        ALL,
    ),
    "the schema twice": (
        lambda d: d.raw().replace(b'"schema": ', b'"schema": "other", "schema": ', 1),
        "UNREADABLE",
        ALL,
    ),
    "NaN": (lambda d: d.raw(**{_number(d): float("nan")}), "SCHEMA", ALL),
    "infinity": (lambda d: d.raw(**{_number(d): float("inf")}), "SCHEMA", ALL),
    "a number beyond all books": (lambda d: d.raw(**{_number(d): 10**400}), "SCHEMA", ALL),
    "an exponent": (lambda d: d.raw(amount="1E+2"), "SCHEMA", BATCH | FUNDING),
    "a sign": (lambda d: d.raw(amount="-100.00"), "SCHEMA", BATCH | FUNDING),
    "Persian digits": (lambda d: d.raw(amount="۱۰۰.00"), "SCHEMA", BATCH | FUNDING),
    "nothing at all": (lambda d: b"", "UNREADABLE", ALL),
    "no JSON": (lambda d: b"batch_id=" + str(d.number).encode(), "UNREADABLE", ALL),
    "cut JSON": (lambda d: d.raw()[:-1], "UNREADABLE", ALL),
    "two JSON texts": (lambda d: d.raw() + d.raw(), "UNREADABLE", ALL),
    "GB18030": (lambda d: d.raw(document_no="财农").decode().encode("gb18030"), "UNREADABLE", BATCH | ORDER),
    "deep JSON": (lambda d: b'{"a":' * 2_000 + str(d.number).encode(), "UNREADABLE", ALL),
    "a member more": (lambda d: d.raw(paid=True), "SCHEMA", ALL),
    "a member less": (lambda d: d.raw(batch_id=...), "SCHEMA", ALL),
    "another version": (lambda d: d.raw(schema="payout.batch-part/v2"), "WRONG_VERSION", ALL),
    "larger than any": (lambda d: d.raw() + b" " * MOST_BYTES[d.kind], "OVERSIZE", ALL),
    "another issuer": (lambda d: d.raw(issuer="659998-finance"), "WRONG_ISSUER", ALL),
    "a path as id": (lambda d: d.raw(batch_id=f"../{d.number}"), "SCHEMA", ALL),
    "an account without end": (lambda d: d.with_item(account="9" * 1_000), "SCHEMA", BATCH | ORDER),
    "no money": (lambda d: d.raw(amount="0.00"), "FUNDS_MISMATCH", FUNDING),
    "no such programme": (lambda d: d.raw(programme="NONE"), "UNKNOWN_PROGRAMME", BATCH),
    "a line twice": (lambda d: d.raw(lines=2, items=d.body()["items"] * 2), "DUPLICATE_LINE", BATCH),
}


def _number(d: Draft) -> str:
    return {Kind.BATCH: "part", Kind.FUNDING: "amount", Kind.ORDER: "line"}[d.kind]


# -- known already -----------------------------------------------------------------------------------------------------


def _other_line(d: Draft, **changes: str) -> bytes:
    items = d.accepted[Kind.BATCH]["items"]
    return d.known(items=[{**items[0], **changes}, *items[1:]])


KNOWN: Final[dict[str, tuple[Callable[[Draft], bytes], str, frozenset[Kind]]]] = {
    "known, another amount": (lambda d: d.known(amount="900.00"), "CONFLICTING_CONTENT", BATCH | FUNDING),
    "known, another payee": (lambda d: _other_line(d, account="6299999999999999999"), "CONFLICTING_CONTENT", BATCH),
    "known, another name": (lambda d: _other_line(d, name="测试甲"), "CONFLICTING_CONTENT", BATCH),
    "known, another count": (lambda d: d.known(lines=1), "CONFLICTING_CONTENT", BATCH),
    "known, another list": (lambda d: d.known(batch_id="659999-W-0001"), "CONFLICTING_CONTENT", FUNDING | ORDER),
    "known, another line": (lambda d: d.known(line=1), "CONFLICTING_CONTENT", ORDER),
    "known, another decision": (
        lambda d: d.known(kind="REISSUE", details={"account": "6299999999999999999"}),
        "CONFLICTING_CONTENT",
        ORDER,
    ),
    "known, a blank more": (lambda d: d.known() + b" ", "CONFLICTING_CONTENT", ALL),
    "known, a part more": (lambda d: d.known(part=2, parts=2), "CONFLICTING_HEADER", BATCH),
}

# -- the record around it ----------------------------------------------------------------------------------------------


def _jws(d: Draft, raw: bytes | None = None) -> bytes:
    return d.forger(raw).signed().encode()


def _others(d: Draft) -> bytes:
    """A good signature, of the message with another number."""
    return Draft(d.kind, d.order, d.number + 1_000, d.keys, d.at, d.accepted).forger().signed().encode()


def _elsewhere(d: Draft) -> Kind:
    return Kind.FUNDING if d.kind is not Kind.FUNDING else Kind.ORDER


RECORDS: Final[dict[str, tuple[Callable[[Draft], Letter], str]]] = {
    "two signatures": (lambda d: Letter(d.kind, d.raw(), (("jws", _jws(d)), ("jws", _jws(d)))), "BAD_SIGNATURE"),
    "two signatures, one good": (lambda d: Letter(d.kind, d.raw(), (("jws", b"x"), ("jws", _jws(d)))), "BAD_SIGNATURE"),
    "signature under another name": (lambda d: Letter(d.kind, d.raw(), (("JWS", _jws(d)),)), "UNSIGNED"),
    "signature without value": (lambda d: Letter(d.kind, d.raw(), (("jws", None),)), "UNSIGNED"),
    "signature of another message": (lambda d: Letter(d.kind, d.raw(), (("jws", _others(d)),)), "BAD_SIGNATURE"),
    "on another topic": (lambda d: Letter(_elsewhere(d), d.raw(), (("jws", _jws(d)),)), "WRONG_TYPE"),
    "tombstone": (lambda d: Letter(d.kind, None, (("jws", _jws(d)),)), "BAD_SIGNATURE"),
    "known bytes, unsigned": (lambda d: Letter(d.kind, d.known()), "UNSIGNED"),
    "known bytes, a stranger's": (lambda d: Letter(d.kind, d.known(), (("jws", _jws(d)),)), "BAD_SIGNATURE"),
}


def _cases() -> Iterator[Case]:
    for name, (header, reason) in {**HEADERS, **SIGNERS}.items():
        yield Case(name, reason, _headed(header))
    for name, written in ALGORITHMS.items():
        yield Case(name, "BAD_SIGNATURE", _written(written))
    for field in dict.fromkeys(field for fields in FIELDS.values() for field in fields):
        kinds = frozenset(kind for kind, fields in FIELDS.items() if field in fields)
        yield Case(f"bit flipped in {field}", "BAD_SIGNATURE", _flipped(field), kinds)
    for name, change in ALTERED.items():
        yield Case(f"signed, then {name}", "BAD_SIGNATURE", _altered(change))
    for name, (content, reason, kinds) in {**MEANT, **KNOWN}.items():
        yield Case(name, reason, _meant(content), kinds)
    for name, (record, reason) in RECORDS.items():
        yield Case(name, reason, record)


def _headed(header: Callable[[Forger], str | bytes | None]) -> Callable[[Draft], Letter]:
    return lambda d: Letter.signed(d.kind, d.raw(), header(d.forger()))


def _written(signature: Callable[[Draft], str]) -> Callable[[Draft], Letter]:
    return lambda d: Letter.signed(d.kind, d.raw(), signature(d))


def _flipped(field: str) -> Callable[[Draft], Letter]:
    return _altered(lambda raw: bit_flipped(raw, field))


def _altered(change: Callable[[bytes], bytes]) -> Callable[[Draft], Letter]:
    return lambda d: Letter(d.kind, change(d.raw()), (("jws", _jws(d)),))


def _meant(content: Callable[[Draft], bytes]) -> Callable[[Draft], Letter]:
    def make(d: Draft) -> Letter:
        raw = content(d)
        return Letter(d.kind, raw, (("jws", _jws(d, raw)),))

    return make


CASES: Final = tuple(_cases())
