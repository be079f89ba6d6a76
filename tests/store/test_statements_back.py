"""Statements on which money comes back, moves on the wrong account, or is stated anew: each is told, and told once."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from adapters.contract import Evidence, Proof, Reason, Rendered
from gateway import metrics
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import DAY, TODAY, differences, entry, posted, state, stated_by


async def account(gateway: Gateway) -> str:
    async with gateway.store.engine.connection() as connection:
        return str(await connection.fetchval("SELECT debit_account FROM submissions"))


async def test_a_return_that_moved_nothing_is_a_difference(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement says that it came back, too vaguely to move the line: told, and closed when it moves after all."""
    (reference,) = await posted(gateway, 1)
    await state(gateway, TODAY, entry(reference))
    parse = gateway.bank.parse
    monkeypatch.setattr(
        gateway.bank,
        "parse",
        lambda artefact: (replace(e, proof=Proof.IN_DOUBT, reason=Reason.UNKNOWN) for e in parse(artefact)),
    )
    await state(gateway, TODAY + DAY, entry(reference, "RETURN"))
    assert await differences(gateway) == [("NOT_RETURNED", reference, 10_000, None)]
    monkeypatch.undo()
    await gateway.answer({"proof": "RETURNED", "reference": reference, "host_reference": "R1"})
    await state(gateway, TODAY + 2 * DAY)
    assert await differences(gateway) == []


async def test_the_banks_word_that_it_came_back_settles_the_difference(gateway: Gateway) -> None:
    """Money came in, and then its line is returned: closed by that word, not only by the next statement."""
    (reference,) = await posted(gateway, 1)
    await state(gateway, TODAY, entry(reference), entry(reference, "INCOMING"))
    assert await differences(gateway) == [("NOT_RETURNED", reference, 10_000, None)]
    await gateway.answer({"proof": "RETURNED", "reference": reference, "host_reference": "R1"})
    assert await differences(gateway) == []


@pytest.mark.parametrize("word", [Proof.REJECTED, Proof.RETURNED])
async def test_an_answer_to_a_transmission_settles_a_difference(gateway: Gateway, word: Proof) -> None:
    """Money came in under the name of a line that was never sent; what the bank answers when it is sent explains it."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(1)
    reference = await first_reference(gateway)
    await state(gateway, TODAY, entry(reference, "INCOMING"))
    assert await differences(gateway) == [("NOT_RETURNED", reference, 10_000, None)]

    def answer(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return [Evidence(word, reference=reference, reason=Reason.ACCOUNT_CLOSED, host_reference="R1")]

    gateway.bank.submits = answer
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await differences(gateway) == []


async def test_a_refusal_before_sending_settles_a_difference(gateway: Gateway) -> None:
    """Money came in under the name of a line that this bank's encoding turns out not to hold: explained."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.cut()
    reference = await first_reference(gateway)
    await state(gateway, TODAY, entry(reference, "INCOMING"))
    assert await differences(gateway) == [("NOT_RETURNED", reference, 10_000, None)]
    gateway.bank.unwritable.add(kit.line(1)["name"])
    await gateway.cut_and_render()
    assert await gateway.buckets() == {"failed": 1}
    assert await differences(gateway) == []


async def test_what_moves_no_line_asks_for_no_differences(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Received, in process, credited, the same again: one question to the books, after the credit."""
    resolved = AsyncMock()
    monkeypatch.setattr(gateway.store.statements, "resolve", resolved)
    await gateway.pay(1)
    await gateway.answer({"proof": "IN_PROCESS", "reference": gateway.reference_of(1)})
    resolved.assert_not_awaited()
    for _ in range(2):
        await gateway.answer(credited(gateway, 1))
    resolved.assert_awaited_once()


async def test_money_that_comes_in_under_our_reference_is_a_difference(gateway: Gateway) -> None:
    """No word that it is a return, but our reference: somebody asks. Under any other name it is not ours at all."""
    (reference,) = await posted(gateway, 1)
    await state(gateway, TODAY, entry(reference), entry(reference, "INCOMING"), entry("INVOICE-4711", "INCOMING"))
    assert await differences(gateway) == [("NOT_RETURNED", reference, 10_000, None)]
    assert await gateway.buckets() == {"credited": 1}


async def test_a_file_that_came_back_in_one_sum_is_a_difference(gateway: Gateway) -> None:
    """Debited and reversed in one sum: nobody was paid, whatever the result file said."""
    await posted(gateway, 2)
    sent = gateway.bank.sent[0].submission
    both = (entry(None, booking, 20_000, submission=sent) for booking in ("DEBIT", "INCOMING"))
    await state(gateway, TODAY, *both)
    assert await differences(gateway) == [("NOT_RETURNED", sent, 20_000, None)]


async def test_a_booking_on_another_account_is_a_difference(gateway: Gateway) -> None:
    """Each line is paid from its own fiscal account: a debit of another one is told."""
    (reference,) = await posted(gateway, 1)
    await state(gateway, TODAY, entry(reference), account="6599990000000091")
    assert ("ACCOUNT", reference, 10_000, 0) in await differences(gateway)


@pytest.mark.parametrize("first_for_all", [True, False])
async def test_a_day_stated_for_one_account_and_for_all_counts_once(gateway: Gateway, first_for_all: bool) -> None:
    """The same bookings in a statement of the other kind: not twice the money, and no payout is frozen."""
    references = await posted(gateway, 2)
    own = await account(gateway)
    for whose in (None, own) if first_for_all else (own, None):
        await state(gateway, TODAY, *(entry(reference) for reference in references), account=whose)
    assert await gateway.buckets() == {"credited": 2}
    assert await differences(gateway) == []


async def test_what_one_kind_of_statement_said_wrongly_is_put_right_by_the_other(gateway: Gateway) -> None:
    """A stranger on the statement of the account is gone from that of all accounts: nothing stays open of it."""
    references = await posted(gateway, 2)
    await state(gateway, TODAY, entry(references[0]), entry("STRANGER"), account=await account(gateway))
    assert len(await differences(gateway)) == 2
    await state(gateway, TODAY, *(entry(reference) for reference in references))
    assert await differences(gateway) == []


async def test_a_wrong_amount_that_both_kinds_of_statement_show_is_one_difference(gateway: Gateway) -> None:
    """Stated for the account, then for all accounts, a fen short in both: asked about once, as the later says it."""
    (reference,) = await posted(gateway, 1)
    for whose in (await account(gateway), None):
        await state(gateway, TODAY, entry(reference, amount_fen=9_999), account=whose)
    (row,) = await gateway.store.statements.differences(9)
    assert (row["kind"], row["reference"], row["debit_account"]) == ("AMOUNT", reference, "")


async def test_a_missing_credit_is_told_when_statements_change_to_all_accounts(database: str) -> None:
    """Credited without a day, and from then on the bank states all accounts together: missing, once."""
    async with kit.open_gateway(database, answers_carry_amounts=False) as gateway:
        await gateway.pay(1)
        own = await account(gateway)
        await state(gateway, TODAY - DAY, account=own)
        await gateway.answer({**credited(gateway, 1), "amount_fen": None})
        await state(gateway, TODAY, account=own)
        for days in (1, 2):
            await state(gateway, TODAY + dt.timedelta(days=days))
        assert await differences(gateway) == [("MISSING", gateway.reference_of(1), None, 10_000)]
        await state(gateway, TODAY + 3 * DAY, account=own)
        assert len(await differences(gateway)) == 1


async def test_a_sum_that_a_later_refusal_explains_is_settled(gateway: Gateway) -> None:
    """One sum for what was paid, stated before the refusal of the other line was read: closed once it is."""
    await gateway.pay(2)
    sent = gateway.bank.sent[0].submission
    await state(gateway, TODAY, entry(None, submission=sent, amount_fen=10_000))
    assert await differences(gateway) == [("AMOUNT", sent, 10_000, 20_000)]
    await gateway.answer(credited(gateway, 1), rejected(gateway, 2))
    assert await differences(gateway) == []


async def test_a_statement_that_does_not_come_is_waited_for_in_bank_days(gateway: Gateway) -> None:
    """Sent on Tuesday: by Friday three bank days are waited for; the statement of the day ends the wait."""
    gauge = metrics.STATEMENT_WAIT_BANKDAYS.labels(bank="rcc_file")
    await gateway.pay(1)
    await gateway.watch.gauges()
    assert gauge._value.get() == 0
    gateway.clock.forward(days=3)
    await gateway.watch.gauges()
    assert gauge._value.get() == 3
    gateway.clock.forward(days=2)
    await gateway.watch.gauges()
    assert gauge._value.get() == 3  # no bank states anything at the weekend
    await state(gateway, TODAY)
    await gateway.watch.gauges()
    assert gauge._value.get() == 0


CURED: dict[str, tuple[str, str | None, list[Any], list[Any]]] = {
    # what the bank answered of the first line, whose statement it is, what it says wrongly, and rightly
    "a line of another amount": ("CREDITED", None, [(1, "DEBIT", 9_999), (2,)], [(1,), (2,)]),
    "a sum of another amount": ("CREDITED", None, [(0, "DEBIT", 15_000)], [(0, "DEBIT", 20_000)]),
    "a refused line that is booked": ("REJECTED", None, [(1,), (2,)], [(2,)]),
    "a line on another account": ("CREDITED", "6599990000000091", [(1,)], []),
    "a sum on another account": ("CREDITED", "6599990000000091", [(0, "DEBIT", 20_000)], []),
    "a line that came in again": ("CREDITED", None, [(1,), (1, "INCOMING"), (2,)], [(1,), (2,)]),
    "a sum that came in again": (
        "CREDITED",
        None,
        [(0, "DEBIT", 20_000), (0, "INCOMING", 20_000)],
        [(0, "DEBIT", 20_000)],
    ),
}


@pytest.mark.parametrize("what", CURED)
async def test_what_was_put_right_and_is_stated_wrongly_again_is_open_again(gateway: Gateway, what: str) -> None:
    """Told, settled by a rewritten statement, and told anew by the next: open again, and still one difference."""
    word, whose, wrong, right = CURED[what]
    await gateway.pay(2)
    day = TODAY.isoformat()
    first = rejected(gateway, 1) if word == "REJECTED" else credited(gateway, 1, post_date=day)
    await gateway.answer(first, credited(gateway, 2, post_date=day))
    sent = gateway.bank.sent[0].submission

    def made(line: int, booking: str = "DEBIT", amount_fen: int = 10_000) -> dict[str, Any]:
        name = entry(gateway.reference_of(line)) if line else entry(None, submission=sent)
        return {**name, "booking": booking, "amount_fen": amount_fen}

    await state(gateway, TODAY, *(made(*one) for one in wrong), account=whose)
    (found,) = await differences(gateway)
    await state(gateway, TODAY, *(made(*one) for one in right), account=whose)
    assert await differences(gateway) == []
    await state(gateway, TODAY, *(made(*one) for one in wrong), account=whose)
    assert await differences(gateway) == [found]
    assert await differences(gateway, resolved=True) == [found]


async def test_a_statement_of_the_other_kind_settles_nothing_of_other_days(gateway: Gateway) -> None:
    """Wednesday is stated for the account and then for all accounts: what Tuesday's statement said stays open."""
    references = await posted(gateway, 2)
    own = await account(gateway)
    await state(gateway, TODAY, *(entry(reference) for reference in references), entry("STRANGER"), account=own)
    await state(gateway, TODAY + DAY, entry("ANOTHER"), account=own)
    await state(gateway, TODAY + DAY)
    assert await differences(gateway) == [("UNKNOWN", "STRANGER", 10_000, None)]


async def test_what_was_settled_keeps_its_time_when_the_day_is_stated_for_all_accounts(gateway: Gateway) -> None:
    """When a difference ended is what auditors read: a later statement of the other kind does not move it."""
    references = await posted(gateway, 1)
    own = await account(gateway)
    await state(gateway, TODAY, entry(references[0]), entry("STRANGER"), account=own)
    await state(gateway, TODAY, entry(references[0]), account=own)
    ended = gateway.clock.now()
    gateway.clock.forward(days=1)
    await state(gateway, TODAY, entry(references[0]))
    (row,) = await gateway.store.statements.differences(9, resolved=True)
    assert row["resolved_at"] == ended


EXPLAINED = ("RETURNED", "REJECTED", "NOT_EXECUTED", "VOID")


async def explain(gateway: Gateway, how: str) -> None:
    """The first line becomes one under which money may come in."""
    reference = await first_reference(gateway)
    if how == "VOID":
        await gateway.order("CANCEL", "O-1", 1, 1)
    elif how == "RETURNED":
        for proof in ("CREDITED", "RETURNED"):
            await gateway.answer(
                {"proof": proof, "reference": reference, "host_reference": proof, "amount_fen": 10_000}
            )
    elif how == "NOT_EXECUTED":
        await gateway.answer({"proof": "NOT_TAKEN", "reference": reference, "reason": "FUNDS_SHORT"})
    else:
        await gateway.answer(rejected(gateway, 1))


async def first_reference(gateway: Gateway) -> str:
    async with gateway.store.engine.connection() as connection:
        return str(await connection.fetchval("SELECT reference FROM attempts WHERE seq = 1 AND attempt_no = 1"))


@pytest.mark.parametrize("known_first", [True, False])
@pytest.mark.parametrize("how", EXPLAINED)
async def test_money_that_came_in_is_explained_by_how_its_line_ended(
    gateway: Gateway, how: str, known_first: bool
) -> None:
    """Refused, not taken, cancelled or returned: nothing to ask, whether that was known before or is learned later."""
    if how == "VOID":
        gateway.bank.submits = kit.refuse_connection
    await gateway.pay(2)
    reference = await first_reference(gateway)
    if known_first:
        await explain(gateway, how)
    await state(gateway, TODAY - DAY, entry(reference, "INCOMING"))
    told = [kind for kind, *_ in await differences(gateway)]
    assert told == ([] if known_first else ["NOT_RETURNED"])
    if not known_first:
        await explain(gateway, how)
        await state(gateway, TODAY - 2 * DAY)
        assert await differences(gateway) == []


async def test_the_wait_for_statements_begins_with_the_oldest_day_that_none_covers(gateway: Gateway) -> None:
    """Sent on Tuesday and on Thursday: waited for since Tuesday, and once that day is stated since Thursday."""
    await gateway.pay(1)
    gateway.clock.forward(days=2)
    await gateway.batch([kit.line(9) | {"line": 1}], "B-2")
    await gateway.fund("100.00", "B-2", "F-2")
    await gateway.judge()
    await gateway.send()
    await stated_by(gateway, "ccb", TODAY + 9 * DAY)
    since = gateway.store.statements.unstated_since
    assert await since() == {"rcc_file": TODAY}
    await state(gateway, TODAY - DAY)
    await state(gateway, TODAY)
    assert await since() == {"rcc_file": TODAY + 2 * DAY}
    await state(gateway, TODAY + 2 * DAY)
    assert await since() == {}


LIKE_IT: dict[str, tuple[dict[str, Any], str | None, int]] = {
    "the other direction": ({"booking": "CREDIT"}, None, 0),
    "another name": ({"reference": "ANOTHER"}, None, 0),
    "another amount": ({"amount_fen": 10_001}, None, 0),
    "another serial": ({"host_reference": "H2"}, None, 0),
    "another account": ({}, "6599990000000092", 0),
    "another day": ({}, "6599990000000091", 1),
}


@pytest.mark.parametrize("what", LIKE_IT)
async def test_what_is_gone_is_settled_whatever_is_like_it_elsewhere(gateway: Gateway, what: str) -> None:
    """Two strange bookings that differ in one thing alone: one is gone from its statement, the other stays open."""
    changes, whose, days = LIKE_IT[what]
    strange = entry("STRANGER", host_reference="H1")
    other = {**strange, **changes}
    same = not days and whose is None
    await state(gateway, TODAY, strange, *([other] if same else []), account="6599990000000091")
    if not same:
        await state(gateway, TODAY + days * DAY, other, account=whose)
    assert len(await differences(gateway)) == 2
    await state(gateway, TODAY, *([other] if same else []), account="6599990000000091")
    (row,) = await gateway.store.statements.differences(9)
    found = {"booking": row["booking"], "reference": row["reference"], "amount_fen": row["booked_fen"]}
    assert found | {"host_reference": row["host_reference"]} == other
    assert (row["debit_account"], row["day"]) == (whose or "6599990000000091", TODAY + days * DAY)
