"""Statements on which money comes back, moves on the wrong account, or is stated anew: each is told, and told once."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from adapters.contract import Proof, Reason
from gateway import metrics
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import DAY, TODAY, differences, entry, posted, state


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
