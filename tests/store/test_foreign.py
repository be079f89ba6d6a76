"""What a bank writes in its own words is kept in clear only without what looks like a person's number."""

from __future__ import annotations

import re
from typing import Any

import pytest

from adapters.contract import Evidence, Proof
from gateway.store.foreign import bank_serial, foreign_name, harmless
from tests.store.kit import Gateway
from tests.store.test_statements import TODAY, entry, state

CARD, ID_NO, MOBILE = "6299990000000000777", "659999195001010011", "13800000001"


@pytest.mark.parametrize("number", [CARD, ID_NO, ID_NO[:17] + "X", MOBILE])
@pytest.mark.parametrize("around", ["{}", "N{}", "{}N", "to {} for", "A-{}/1"])
def test_a_person_s_number_passes_neither_filter(number: str, around: str) -> None:
    """Card, identity number and mobile number, standing alone or glued to letters: masked, the rest is kept."""
    text = around.format(number)
    before, _, after = around.partition("{}")
    assert re.fullmatch(re.escape(before) + r"\[digits:[0-9a-f]{4}\]" + re.escape(after), str(bank_serial(text)))
    assert number[:17] not in str(foreign_name(text))


@pytest.mark.parametrize("serial", ["H20261125000101", "20261125000000012345", "0000000000000000012", "7-4711"])
def test_a_bank_s_serial_is_kept(serial: str) -> None:
    """A bank finds its booking by its own number: a long one is no person's only for being long."""
    assert bank_serial(serial) == serial


async def test_a_person_s_number_of_a_statement_is_in_no_plain_column(gateway: Gateway) -> None:
    """Glued to a letter in a stranger's reference, or in the bank's serial: neither entries nor differences hold it."""
    await gateway.pay(1)
    await state(
        gateway, TODAY, entry(f"N{ID_NO}", host_reference=CARD), entry(gateway.reference_of(1), host_reference=CARD)
    )
    async with gateway.store.engine.connection() as connection:
        entries = [tuple(row) for row in await connection.fetch("SELECT * FROM statement_entries")]
    kept = str(entries) + str(await gateway.store.statements.differences(9))
    assert gateway.reference_of(1) in kept
    assert ID_NO not in kept
    assert CARD not in kept


async def test_a_person_s_number_of_unmatched_evidence_is_in_no_plain_column(gateway: Gateway) -> None:
    """Somebody else's return under a card number: kept, without the number."""
    await gateway.pay(1)
    await gateway.answer({"proof": "RETURNED", "reference": CARD, "code": ID_NO, "host_reference": f"H{CARD}"})
    async with gateway.store.engine.connection() as connection:
        (row,) = [tuple(row) for row in await connection.fetch("SELECT * FROM evidence")]
    assert "UNMATCHED" in row
    assert CARD not in str(row)
    assert ID_NO not in str(row)


@pytest.mark.parametrize("number", [f"AC{CARD}", f"ID{ID_NO[:17]}X", f"TEL{MOBILE}N", CARD])
async def test_a_person_s_number_under_a_strange_name_is_in_no_line_of_the_log(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """A bank that takes the card for the reference, or for the file's name, glued to letters: the warning masks it."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("gateway.verify.log.warning", lambda event, **keys: told.append(keys), raising=False)
    await gateway.pay(1)
    await gateway.answer({"proof": "RETURNED", "reference": number}, {"proof": "REJECTED", "submission": number})
    assert [len(told), "[digits]" in str(told)] == [2, True]
    assert not any(one[:17] in str(told) for one in (CARD, ID_NO, MOBILE))


async def test_a_person_s_number_in_a_bank_s_serial_is_in_no_receipt(gateway: Gateway) -> None:
    """A bank that numbers its booking by the payee's card: the receipt says paid, and does not carry the card."""
    await gateway.pay(1)
    word = {"proof": "CREDITED", "reference": gateway.reference_of(1), "amount_fen": 10_000, "host_reference": CARD}
    await gateway.answer(word)
    (receipt,) = await gateway.published()
    assert receipt["outcome"] == "credited"
    assert receipt["host_reference"].startswith("[digits:")


async def test_a_person_s_number_is_in_no_plain_column_of_an_outcome(gateway: Gateway) -> None:
    """A settled attempt and the history of its batch hold neither serial nor code with a person's number in it."""
    await gateway.pay(1)
    word = {"reference": gateway.reference_of(1), "amount_fen": 10_000, "code": f"N{ID_NO}", "host_reference": CARD}
    await gateway.answer({"proof": "CREDITED", **word})
    await gateway.answer({"proof": "RETURNED", **word, "host_reference": f"R{CARD}", "post_date": TODAY.isoformat()})
    async with gateway.store.engine.connection() as connection:
        rows = [tuple(row) for row in await connection.fetch("SELECT * FROM attempts")]
        rows += [(bytes(row["body"]).decode(),) for row in await connection.fetch("SELECT body FROM history")]
    assert "[digits:" in str(rows)
    assert ID_NO not in str(rows)
    assert CARD not in str(rows)


async def test_two_bookings_stay_two_and_one_read_again_stays_one(gateway: Gateway) -> None:
    """Masked serials still tell a second credit from the first one heard once more."""
    await gateway.pay(1)
    word = {"proof": "CREDITED", "reference": gateway.reference_of(1), "amount_fen": 10_000, "host_reference": CARD}
    for _ in range(2):
        await gateway.answer(word)
        assert await gateway.buckets() == {"credited": 1}
    await gateway.answer({**word, "host_reference": CARD[:-1] + "8"})
    assert await gateway.buckets() == {"conflict": 1}


def test_what_holds_no_number_passes_as_it_is() -> None:
    """The common case costs no copy."""
    item = Evidence(Proof.CREDITED, "A", code="0000", text="ok", host_reference="H1")
    assert harmless(item) is item
