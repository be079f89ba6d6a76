"""Hostile bytes: each gets its refusal reason, a place, and nothing of what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.codec import MOST_BYTES, Refused, parse_message
from schemas.strict_json import AmbiguousJson, loads
from schemas.v1 import Kind
from tests.unit.messages_kit import as_bytes, example

SECRET = "659999190001010000"


def part(**changes: Any) -> bytes:
    return as_bytes(example(Kind.BATCH, **changes))


def line(**changes: Any) -> bytes:
    message = example(Kind.BATCH)
    message["items"][0] |= changes
    return as_bytes(message)


def swap(old: str, new: str) -> bytes:
    raw = part()
    assert old.encode() in raw
    return raw.replace(old.encode(), new.encode(), 1)


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a space": lambda: b" ",
    "not json": lambda: SECRET.encode() + b"x",
    "cut": lambda: part()[:-1],
    "tail": lambda: part() + b"x",
    "two texts": lambda: part() * 2,
    "byte order mark": lambda: b"\xef\xbb\xbf" + part(),
    "utf-16": lambda: part().decode().encode("utf-16"),
    "gb18030": lambda: part().decode().encode("gb18030"),
    "half a character": lambda: part().replace("甲".encode(), "甲".encode()[:2]),
    "lone surrogate": lambda: swap('"remark": ""', '"remark": "\\ud800"'),
    "deep array": lambda: b"[" * 100_000,
    "deep object": lambda: b'{"a":' * 10_000,
    "single quotes": lambda: b"{'schema':'payout.batch-part/v1'}",
    "comment": lambda: swap('"part": 1', '"part": /**/ 1'),
    "duplicate on top": lambda: swap('"amount": ', '"amount": "1.00", "amount": '),
    "duplicate, equal values": lambda: swap('"part": 1', '"part": 1, "part": 1'),
    "duplicate in a line": lambda: swap('"amount": "13288.00"', '"amount": "13288.00", "amount": "1.00"'),
    "duplicate, escaped name": lambda: swap('"amount": "13288.00"', '"amount": "13288.00", "\\u0061mount": "1.00"'),
    "duplicate list": lambda: swap('"items": [', '"items": [], "items": ['),
}

SCHEMA: dict[str, tuple[Callable[[], bytes], str]] = {
    "null": (lambda: b"null", "message"),
    "a list": (lambda: b"[]", "message"),
    "no schema": (lambda: as_bytes({k: v for k, v in example(Kind.BATCH).items() if k != "schema"}), "schema"),
    "python's name of a member": (lambda: part(schema_="payout.batch-part/v1"), "?"),
    "unknown member": (lambda: part(**{SECRET: 1}), "?"),
    "unknown member in a line": (lambda: line(**{SECRET: "x"}), "items.0.?"),
    "missing member": (lambda: swap('"county": "659999", ', ""), "county"),
    "missing in a line": (lambda: swap('"unit": "亩", ', ""), "items.0.unit"),
    "NaN": (lambda: swap('"part": 1', '"part": NaN'), "part"),
    "infinity": (lambda: swap('"part": 1', '"part": Infinity'), "part"),
    "infinite exponent": (lambda: swap('"part": 1', '"part": 1e999'), "part"),
    "whole float": (lambda: swap('"part": 1', '"part": 1.0'), "part"),
    "exponent": (lambda: swap('"part": 1', '"part": 1e0'), "part"),
    "boolean as number": (lambda: part(part=True), "part"),
    "number as text": (lambda: part(part="1"), "part"),
    "zero": (lambda: part(part=0), "part"),
    "beyond bigint": (lambda: part(lines=2**64), "lines"),
    "a million and one": (lambda: part(lines=1_000_001), "lines"),
    "part after the last": (lambda: part(part=2), "message"),
    "amount as a number": (lambda: part(amount=20090.95), "amount"),
    "amount with sign": (lambda: part(amount="-1.00"), "amount"),
    "amount with exponent": (lambda: part(amount="1E+2"), "amount"),
    "amount with underscore": (lambda: part(amount="1_000.00"), "amount"),
    "amount in full width": (lambda: part(amount="１.00"), "amount"),
    "amount in Persian digits": (lambda: part(amount="۱.00"), "amount"),
    "amount with newline": (lambda: part(amount="1.00\n"), "amount"),
    "control character": (lambda: part(document_no="a\x00b"), "document_no"),
    "line separator": (lambda: part(document_no="a\u2028b"), "document_no"),
    "path as id": (lambda: part(batch_id="../../etc"), "batch_id"),
    "empty id": (lambda: part(issuer=""), "issuer"),
    "id too long": (lambda: part(batch_id="x" * 65), "batch_id"),
    "unknown word": (lambda: part(issuing_kind="BANK"), "issuing_kind"),
    "unix time": (lambda: part(list_received_at="1795485600"), "list_received_at"),
    "unix time as number": (lambda: part(list_received_at=1795485600), "list_received_at"),
    "naive time": (lambda: part(list_received_at="2026-11-24T10:00:00"), "list_received_at"),
    "a date": (lambda: part(list_received_at="2026-11-24"), "list_received_at"),
    "month 13": (lambda: part(list_received_at="2026-13-24T10:00:00Z"), "list_received_at"),
    "year 1": (lambda: part(list_received_at="0001-01-01T00:00:00+23:59"), "list_received_at"),
    "time with newline": (lambda: part(list_received_at="2026-11-24T10:00:00Z\n"), "list_received_at"),
    "no lines": (lambda: part(items=[]), "items"),
    "1,001 lines": (lambda: part(items=example(Kind.BATCH)["items"][:1] * 1_001), "items"),
    "null in a line": (lambda: line(phone=None), "items.0.phone"),
    "number in a line": (lambda: line(amount=13288), "items.0.amount"),
    "overlong name": (lambda: line(name="测" * 201), "items.0.name"),
    "overlong remark": (lambda: line(remark="测" * 401), "items.0.remark"),
}


def refused(kind: Kind, raw: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        parse_message(kind, raw)
    return caught.value


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_in_one_way_is_unreadable(name: str) -> None:
    """Bytes that are no JSON, or that two readers could read differently, are refused as UNREADABLE."""
    refusal = refused(Kind.BATCH, UNREADABLE[name]())
    assert refusal.reason == "UNREADABLE"
    assert SECRET not in str(refusal)


@pytest.mark.parametrize("name", SCHEMA)
def test_what_is_not_the_message_is_refused_by_its_place(name: str) -> None:
    """A deviation from the schema is refused and the detail says where, without the member's own text."""
    make, place = SCHEMA[name]
    refusal = refused(Kind.BATCH, make())
    assert refusal.reason == "SCHEMA"
    assert refusal.detail.startswith(f"{place}: ")
    assert SECRET not in str(refusal)


def test_the_untouched_message_is_read() -> None:
    """The control: without the deviation the same bytes are read, so each refusal above is the deviation's."""
    assert parse_message(Kind.BATCH, part()).lines == 2
    assert parse_message(Kind.BATCH, line(remark="a: b, \"c\": 1, {'d': 2}")).items[0].remark.startswith("a: ")


@pytest.mark.parametrize("kind", list(Kind))
def test_other_versions_and_sizes_are_named_as_such(kind: Kind) -> None:
    """Another version is WRONG_VERSION and one byte too many is OVERSIZE, for each message."""
    for other in ("payout.batch-part/v2", "payout.order/v1 ", ""):
        assert refused(kind, as_bytes(example(kind, schema=other))).reason == "WRONG_VERSION"
    raw = as_bytes(example(kind))
    assert refused(kind, raw + b" " * (MOST_BYTES[kind] + 1 - len(raw))).reason == "OVERSIZE"
    parse_message(kind, raw + b" " * (MOST_BYTES[kind] - len(raw)))


def test_one_kind_is_not_read_as_another() -> None:
    """A funding confirmation sent to the orders is refused, although it is a good message elsewhere."""
    for kind in Kind:
        for other in Kind:
            if other is not kind:
                assert refused(kind, as_bytes(example(other))).reason in {"WRONG_VERSION", "OVERSIZE"}


def test_a_refusal_keeps_no_hold_on_the_input() -> None:
    """Neither the refusal nor an exception chained to it holds the bytes, so no traceback can show them."""
    for raw in (line(name=5, remark=SECRET), part(**{SECRET: SECRET}), UNREADABLE["duplicate on top"]()):
        error: BaseException | None = refused(Kind.BATCH, raw)
        while error is not None:
            assert SECRET not in repr(error) + str(error) + repr(vars(error))
            assert type(error).__name__ in {"Refused", "AmbiguousJson"}
            error = error.__cause__ or error.__context__


def test_a_thousand_faults_make_a_short_detail() -> None:
    """The detail names the first faults and counts the rest, so that it fits into a refusal."""
    refusal = refused(Kind.BATCH, part(items=[{}] * 1_000))
    assert refusal.detail.endswith(" more")
    assert len(refusal.detail) < 500


def test_small_files_are_read_as_strictly() -> None:
    """The key files' reader refuses duplicates, NaN and depth as well, without quoting."""
    assert loads(b'{"a": {"b": [1, null]}}') == {"a": {"b": [1, None]}}
    hostile = (b'{"a":1,"a":1}', b'{"a":NaN}', b"[-Infinity]", b"[" * 100_000, b"\xff", f"{SECRET}x".encode())
    for raw in hostile:
        with pytest.raises(AmbiguousJson) as caught:
            loads(raw)
        assert SECRET not in str(caught.value) + repr(caught.value.__context__)
    assert json.loads(hostile[0]) == {"a": 1}  # the trap: the standard reader does not mind
