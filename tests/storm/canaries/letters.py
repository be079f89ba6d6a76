"""What nobody may pay: lines with errors, and records that are unreadable, unsigned, or rightly signed and still wrong.

Each has a person inside, at the very place that is wrong where that can be, because a refusal that quotes what it
refuses quotes that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from schemas.v1 import Kind
from tests.storm.canaries.cast import Cast
from tests.storm.posting import Posting, Record, header_of
from tests.world import desk_list
from tests.world.desk_list import canonical

# By what is wrong with the line; ``{name}`` and the like are the person's own.
LINE_ERRORS: Final[dict[str, dict[str, str]]] = {
    "NAME_INVALID": {"name": "{name}|{name}"},
    "ID_INVALID": {"id_no": "{id_no}0"},
    "AMOUNT_INVALID": {"amount": "0.00"},
    "ACCOUNT_MISSING": {"account": ""},
    "NO_AGREEMENT": {"bank_no": "999999999999"},
    "OUT_OF_SCOPE": {"account_kind": "现金"},
}
DETAILS: Final = "payout.order/v1"


def letters(cast: Cast, post: Posting) -> Iterator[Record]:
    """Every kind of bad record, on each of the three topics."""
    yield from _unreadable(cast, post)
    yield from _unsigned(cast, post)
    yield from _invalid(cast, post)
    yield from _orders(cast, post)


def _part(cast: Cast, name: str) -> tuple[bytes, dict[str, str]]:
    """A good part about one person, to be spoilt, and the person."""
    item = cast.items(1)[0]
    header = header_of(f"659999-BAD-{name}-{cast.count}")
    raw = next(raw for _, raw in desk_list.parts(header, [item], 1))
    return raw, {key: str(item[key]) for key in ("name", "id_no", "account", "phone")}


def _unreadable(cast: Cast, post: Posting) -> Iterator[Record]:
    raw, _ = _part(cast, "cut")
    yield post.signed(Kind.BATCH, raw[:-2])
    raw, _ = _part(cast, "gbk")
    yield post.signed(Kind.BATCH, raw)._replace(raw=raw.decode().encode("gb18030"))
    raw, one = _part(cast, "twice")
    yield post.signed(Kind.BATCH, raw.replace(b'"name":', b'"name":"' + one["name"].encode() + b'","name":', 1))
    raw, _ = _part(cast, "nan")
    yield post.signed(Kind.BATCH, raw.replace(b'"line":1', b'"line":NaN', 1))
    one = cast.person()
    yield post.signed(Kind.FUNDING, f"{one['name']} {one['id_no']} {one['account']} {one['phone']}".encode())
    yield post.signed(Kind.ORDER, json.dumps(cast.person()).encode()[:-1])
    raw, one = _part(cast, "large")
    yield post.signed(Kind.BATCH, raw + b" " * 1_100_000 + one["id_no"].encode())


def _unsigned(cast: Cast, post: Posting) -> Iterator[Record]:
    raw, _ = _part(cast, "unsigned")
    yield Record(Kind.BATCH, raw, None)
    raw, one = _part(cast, "header")
    yield Record(Kind.BATCH, raw, f"{one['id_no']}..{one['account']}".encode())
    raw, _ = _part(cast, "altered")
    yield post.signed(Kind.BATCH, raw)._replace(raw=raw.replace(b'"amount":"100.00"', b'"amount":"900.00"', 1))
    yield Record(Kind.ORDER, canonical(cast.person()), None)
    one = cast.person()
    yield Record(Kind.FUNDING, canonical(one), one["name"].encode())


def _invalid(cast: Cast, post: Posting) -> Iterator[Record]:
    raw, one = _part(cast, "number")
    yield post.signed(Kind.BATCH, raw.replace(f'"{one["account"]}"'.encode(), one["account"].encode(), 1))
    raw, one = _part(cast, "list")
    yield post.signed(Kind.BATCH, raw.replace(f'"{one["name"]}"'.encode(), f'["{one["name"]}"]'.encode(), 1))
    raw, one = _part(cast, "member")
    member = f'"{one["name"]}":"{one["id_no"]}","account":'
    yield post.signed(Kind.BATCH, raw.replace(b'"account":', member.encode(), 1))
    raw, one = _part(cast, "version")
    yield post.signed(Kind.BATCH, raw.replace(b"payout.batch-part/v1", one["phone"].encode(), 1))
    raw, one = _part(cast, "programme")
    yield post.signed(Kind.BATCH, raw.replace(b'"XJ-NY-01"', f'"{one["id_no"]}"'.encode(), 1))
    raw, one = _part(cast, "county")
    yield post.signed(Kind.BATCH, raw.replace(b'"county":"659999"', f'"county":"{one["name"]}"'.encode(), 1))
    raw, _ = _part(cast, "totals")
    yield post.signed(Kind.BATCH, raw.replace(b'"amount":"100.00"', b'"amount":"100.01"', 1))
    one = cast.person()
    head = {"schema": "payout.funding/v1", "issuer": "659999-finance", "received_at": "2026-11-24T09:30:00+08:00"}
    yield post.signed(Kind.FUNDING, canonical({**head, "funding_id": one["name"], "batch_id": "x", "amount": "1.00"}))
    yield post.signed(
        Kind.FUNDING, canonical({**head, "funding_id": "F", "batch_id": "x", "amount": f"{one['phone']}元"})
    )


def _orders(cast: Cast, post: Posting) -> Iterator[Record]:
    for name, wrong in (
        ("unknown", {}),
        ("id", {"id_no": "{id_no}0"}),
        ("phone", {"phone": "{phone}{phone}"}),
        ("kind", {"account_kind": "{name}"}),
        ("extra", {"who": "{name}"}),
    ):
        one = cast.person()
        details = {**one, "account_kind": "银行卡", **{key: value.format(**one) for key, value in wrong.items()}}
        body: dict[str, object] = {
            "schema": DETAILS,
            "issuer": "659999-finance",
            "order_id": f"O-BAD-{name}-{cast.count}",
        }
        body |= {"kind": "REISSUE", "batch_id": "659999-NOBODY", "line": 1, "attempt": 1, "document_no": "1"}
        yield post.signed(Kind.ORDER, canonical({**body, "details": details}))
