"""The six messages: what is read, what is written, and what an issuer or a bank cannot make them say."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.contract import Reason
from schemas.codec import MODELS, Refused, encode, parse_message
from schemas.masked import PersonName
from schemas.money import sum_as_written
from schemas.v1 import (
    INBOUND_TOPICS,
    OUTBOUND_TOPICS,
    CorrectedDetails,
    Kind,
    LineReason,
    Order,
    OrderKind,
    PayoutReason,
    Receipt,
    ReceiptOutcome,
    code_text,
    instant_text,
)
from tests.unit.messages_kit import as_bytes, example

CANARY = "659999190001010000"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_message_survives_a_round_trip(kind: Kind) -> None:
    """Reading, writing and reading again gives the same message and the same bytes."""
    message = parse_message(kind, as_bytes(example(kind)))
    raw = encode(message)
    assert parse_message(kind, raw) == message
    assert encode(parse_message(kind, raw)) == raw


@pytest.mark.parametrize("kind", list(Kind))
def test_written_bytes_are_canonical(kind: Kind) -> None:
    """Members are sorted, nothing is escaped that need not be, no spaces: equal messages are equal bytes."""
    shuffled = dict(reversed(example(kind).items()))
    raw = encode(parse_message(kind, json.dumps(shuffled, indent=3).encode()))
    assert raw == encode(parse_message(kind, as_bytes(example(kind))))
    tree = json.loads(raw)
    assert raw == json.dumps(tree, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def test_one_instant_has_one_spelling() -> None:
    """The same moment under another offset is written as the same Beijing time."""
    spellings = ["2026-11-24T10:00:00+08:00", "2026-11-24T02:00:00Z", "2026-11-24T03:00:00+01:00"]
    written = {
        encode(parse_message(Kind.FUNDING, as_bytes(example(Kind.FUNDING, received_at=text)))) for text in spellings
    }
    assert len(written) == 1
    assert b'"received_at":"2026-11-24T10:00:00+08:00"' in written.pop()
    assert instant_text(dt.datetime(2026, 11, 24, 2, 0, 0, 500_000, dt.UTC)) == "2026-11-24T10:00:00.500000+08:00"


def test_a_part_carries_its_people_masked() -> None:
    """A part and its lines print no personal data in any column, and only ``encode`` writes it."""
    message = example(Kind.BATCH)
    for column in ("name", "id_no", "phone", "address", "account", "quantity", "bank_no", "remark", "amount"):
        message["items"][0][column] = CANARY
    part = parse_message(Kind.BATCH, as_bytes(message))
    assert CANARY not in repr(part) + str(part) + repr(part.items[0]) + str(part.items[0])
    dumped = part.items[0].model_dump()
    assert CANARY not in [dumped[column] for column in ("name", "id_no", "phone", "address", "account")]
    assert encode(part).count(CANARY.encode()) == 9


def test_a_line_is_not_judged_by_the_schema() -> None:
    """A line that is wrong in every column is still read, because one bad line must not hold up the others."""
    message = example(Kind.BATCH)
    message["items"][0] |= dict.fromkeys(("id_no", "amount", "account_kind", "bank_no", "name"), "\x00|？۱\n")
    part = parse_message(Kind.BATCH, as_bytes(message))
    assert part.items[0].amount == "\x00|？۱\n"
    assert sum_as_written(line.amount for line in part.items) == "6802.95"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"kind": "RECALL"}, "message"),
        ({"kind": "RECALL", "line": None, "attempt": None}, "message"),
        ({"kind": "CANCEL"}, "message"),
        ({"line": None}, "message"),
        ({"attempt": None}, "message"),
        ({"attempt": 0}, "attempt"),
        ({"details": {}}, "details"),
        ({"details": {"name": None}}, "details"),
        ({"details": {"amount": "1.00"}}, "details.amount"),
        ({"kind": "PAY"}, "kind"),
    ],
)
def test_an_order_means_one_thing(changes: dict[str, Any], place: str) -> None:
    """An order whose members contradict each other is refused, at the place of the contradiction."""
    with pytest.raises(Refused) as caught:
        parse_message(Kind.ORDER, as_bytes(example(Kind.ORDER, **changes)))
    assert caught.value.reason == "SCHEMA"
    assert caught.value.detail.startswith(f"{place}: ")


def test_orders_of_each_kind_can_be_built() -> None:
    """The CLI builds orders in Python; they encode to what the reader accepts."""
    common: dict[str, Any] = {
        "schema": "payout.order/v1", "issuer": "a", "order_id": "o-1", "batch_id": "b-1", "document_no": "文1",
    }  # fmt: skip
    orders = [
        Order(**common, kind=OrderKind.REISSUE, line=3, attempt=1, details=None),
        Order(
            **common, kind=OrderKind.REISSUE, line=3, attempt=1, details=CorrectedDetails(name=PersonName("测试·甲"))
        ),
        Order(**common, kind=OrderKind.CANCEL, line=3, attempt=2, details=None),
        Order(**common, kind=OrderKind.RECALL, line=None, attempt=None, details=None),
    ]
    for order in orders:
        assert parse_message(Kind.ORDER, encode(order)) == order
    assert "测试·甲" in encode(orders[1]).decode()


def receipt(**changes: Any) -> Receipt:
    fields = dict(parse_message(Kind.RECEIPTS, as_bytes(example(Kind.RECEIPTS))).receipts[1])
    return Receipt(**{**fields, **changes})


def test_a_receipt_is_a_refused_line_or_an_attempt() -> None:
    """Attempt 0 is a refused line and nothing else; an attempt has its payout and an amount to the fen."""
    refused = {
        "attempt": 0, "payout_id": None, "reference": None, "reason": LineReason.AMOUNT_INVALID, "amount": "10.005",
    }  # fmt: skip
    assert receipt(**refused).outcome is ReceiptOutcome.FAILED
    nonsense: list[dict[str, Any]] = [
        {**refused, "outcome": ReceiptOutcome.CREDITED},
        {**refused, "reason": None},
        {**refused, "reason": PayoutReason.NAME_MISMATCH},
        {**refused, "payout_id": "1042-2"},
        {**refused, "reference": "01KAT3Q2M0"},
        {"payout_id": None},
        {"reason": LineReason.NO_AGREEMENT},
        {"amount": "10.005"},
        {"amount": "10"},
        {"amount": "-1.00"},
        {"attempt": -1},
        {"final_at": dt.datetime(2026, 11, 24)},  # noqa: DTZ001  a naive time is the point
        {"bank_code": CANARY + "\n"},
    ]
    for changes in nonsense:
        with pytest.raises(ValidationError) as caught:
            receipt(**changes)
        assert CANARY not in str(caught.value)


def test_vocabularies_are_the_ones_of_the_other_layers() -> None:
    """The payout reasons are the adapters' reasons, no reason has two meanings, and each kind has one topic."""
    assert [str(reason) for reason in PayoutReason] == [str(reason) for reason in Reason]
    assert not {str(reason) for reason in PayoutReason} & {str(reason) for reason in LineReason}
    assert {*INBOUND_TOPICS, *OUTBOUND_TOPICS} == set(Kind) == set(MODELS)
    assert len({*INBOUND_TOPICS.values(), *OUTBOUND_TOPICS.values()}) == 6


def test_outbound_messages_have_no_masked_type() -> None:
    """Receipts, reports and refusals have no field that could hold personal data on purpose."""
    for kind in (Kind.RECEIPTS, Kind.REPORT, Kind.REFUSAL):
        assert "x-personal-data" not in json.dumps(MODELS[kind].model_json_schema())


def test_an_odd_bank_code_does_not_stop_a_receipt() -> None:
    """A code or host reference that cannot be published becomes null instead of an exception."""
    assert code_text("3031") == "3031"
    for odd in (None, "", "a b", "失败", "x" * 65, "a\n", "\x00"):
        assert code_text(odd) is None
