"""Credits of our books that no statement shows: each is told once, by the first statement that had to show it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.store.foreign import foreign_name
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import DAY, TODAY, differences, entry, posted, state, stated_by
from tests.store.test_statements_back import account
from tests.store.test_statements_hold import later

OTHER_ACCOUNT = "6599990000000091"


async def missing(gateway: Gateway) -> list[str]:
    return [reference for kind, reference, *_ in await differences(gateway) if kind == "MISSING"]


async def test_the_statement_of_its_own_day_decides_however_late_it_comes(gateway: Gateway) -> None:
    """Booked on Tuesday, whose statement is late: Wednesday's says nothing about it, Tuesday's does when it is in."""
    (reference,) = await posted(gateway, 1)
    await stated_by(gateway, "ccb", TODAY)
    await state(gateway, TODAY, account=OTHER_ACCOUNT)
    await state(gateway, TODAY + DAY)
    assert await missing(gateway) == []
    await state(gateway, TODAY, account=await account(gateway))
    assert await missing(gateway) == [reference]


async def test_what_was_sent_on_the_day_of_the_first_statement_is_held_against_the_next(gateway: Gateway) -> None:
    """The bank's first statement is of the very day of sending: from then on every credit has to stand on one."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    await state(gateway, TODAY)
    assert await missing(gateway) == []
    await state(gateway, TODAY + DAY)
    assert await missing(gateway) == [gateway.reference_of(1)]


async def test_statements_of_others_do_not_begin_the_series_of_an_account(gateway: Gateway) -> None:
    """Others were stated before: what this account paid before its own first statement is not missing."""
    await state(gateway, TODAY - DAY, account=OTHER_ACCOUNT)
    await stated_by(gateway, "ccb", TODAY - DAY)
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    for days in (1, 2):
        await state(gateway, TODAY + days * DAY, account=await account(gateway))
    assert await missing(gateway) == []


@pytest.mark.parametrize(
    ("horizon", "credited_after", "stated_after", "told"),
    [(30, 0, 14, True), (30, 0, 15, False), (30, 20, 13, True), (1, 0, 5, True)],
)
async def test_a_credit_is_held_against_the_statements_of_the_fortnight_after_it(
    database: str, horizon: int, credited_after: int, stated_after: int, told: bool
) -> None:
    """Learned at once or weeks after sending, and however short the bank's horizon for returns is: a fortnight."""
    async with kit.open_gateway(database, return_horizon_days=horizon) as gateway:
        await gateway.pay(1)
        await state(gateway, TODAY)
        gateway.clock.forward(days=credited_after)
        await gateway.answer(credited(gateway, 1))
        await state(gateway, TODAY + (credited_after + stated_after) * DAY)
        assert await missing(gateway) == ([gateway.reference_of(1)] if told else [])


async def test_a_credit_that_was_learned_weeks_after_its_day_is_held_against_the_next_statement(
    gateway: Gateway,
) -> None:
    """The fortnight begins when we hear of it, not on the day that the bank names."""
    await gateway.pay(1)
    await state(gateway, TODAY)
    gateway.clock.forward(days=20)
    await gateway.answer(credited(gateway, 1, post_date=TODAY.isoformat()))
    await state(gateway, TODAY + 21 * DAY)
    assert await missing(gateway) == [gateway.reference_of(1)]


async def test_each_missing_credit_is_told_whichever_others_are_open(gateway: Gateway) -> None:
    """Tuesday's credit is missing and being asked about: Wednesday's is told all the same."""
    await gateway.pay(2)
    words = [credited(gateway, seq, post_date=(TODAY + (seq - 1) * DAY).isoformat()) for seq in (1, 2)]
    await gateway.answer(*words)
    await state(gateway, TODAY)
    assert await missing(gateway) == [gateway.reference_of(1)]
    await state(gateway, TODAY + DAY)
    assert await missing(gateway) == sorted(gateway.reference_of(seq) for seq in (1, 2))


async def test_a_missing_credit_is_told_whatever_was_found_of_an_earlier_attempt(gateway: Gateway) -> None:
    """The first attempt was debited and put back, which is settled; its successor is credited and on no statement."""
    await gateway.pay(1)
    first = gateway.reference_of(1)
    await state(gateway, TODAY, entry(first), entry(first, "INCOMING"))
    assert await differences(gateway) == [("NOT_RETURNED", first, 10_000, None)]
    await gateway.answer(rejected(gateway, 1))
    assert await differences(gateway) == []
    await gateway.order("REISSUE", "O-1", 1, 1)
    assert await later(gateway) == 2
    await gateway.answer(credited(gateway, 1, post_date=TODAY.isoformat()))
    await state(gateway, TODAY + DAY)
    assert await missing(gateway) == [gateway.reference_of(1)]


@pytest.mark.parametrize("whole", [False, True])
async def test_money_that_only_comes_back_was_never_shown_as_paid(gateway: Gateway, whole: bool) -> None:
    """A return alone, of the line or of its file, is no booking of the payment: that one is still to be asked for."""
    (reference,) = await posted(gateway, 1)
    back: dict[str, Any] = {"submission": gateway.bank.sent[0].submission} if whole else {}
    await state(gateway, TODAY, entry(None if whole else reference, "INCOMING", **back))
    assert await missing(gateway) == [reference]


async def test_the_sum_of_one_file_shows_the_lines_of_that_file_alone(database: str) -> None:
    """Two files, one of them debited in one sum: the lines of the other are missing until its sum is stated."""
    async with kit.open_gateway(database, max_lines=1) as gateway:
        await gateway.pay(2)
        lines = [gateway.reference_of(1, submission) for submission in (0, 1)]
        day = TODAY.isoformat()
        await gateway.answer(*({**credited(gateway, 1, post_date=day), "reference": line} for line in lines))
        sums = [entry(None, submission=sent.submission) for sent in gateway.bank.sent]
        await state(gateway, TODAY, sums[0])
        assert await missing(gateway) == [lines[1]]
        await state(gateway, TODAY)
        assert await missing(gateway) == sorted(lines)
        await state(gateway, TODAY + DAY, sums[1])
        assert await missing(gateway) == [lines[0]]
        await state(gateway, TODAY + 2 * DAY, sums[0])
        assert await missing(gateway) == []


async def test_an_entry_of_one_line_that_names_its_file_shows_that_line_alone(gateway: Gateway) -> None:
    """A bank that writes the file's name beside each line's own has not shown the lines that it left out."""
    references = await posted(gateway, 2)
    named: dict[str, Any] = {"submission": gateway.bank.sent[0].submission}
    await state(gateway, TODAY, entry(references[0], **named))
    assert await differences(gateway) == [("MISSING", references[1], None, 10_000)]


async def test_another_bank_s_statement_neither_shows_nor_misses_what_this_one_paid(gateway: Gateway) -> None:
    """Our names on a statement of a bank that we never gave them: unknown there, and no entry of ours here."""
    references = await posted(gateway, 2)
    sent = gateway.bank.sent[0].submission
    strange = [entry(references[0], amount_fen=1), entry(None, submission=sent, amount_fen=2)]
    await stated_by(gateway, "ccb", TODAY, *strange, entry(references[1], "INCOMING", 3))
    unknown = sorted([("UNKNOWN", references[0], 1, None), ("UNKNOWN", foreign_name(sent), 2, None)])
    assert await differences(gateway) == unknown
    await state(gateway, TODAY)
    both = sorted(("MISSING", reference, None, 10_000) for reference in references)
    assert await differences(gateway) == [*both, *unknown]
    await stated_by(gateway, "ccb", TODAY + DAY)
    assert await differences(gateway) == [*both, *unknown]
    await state(gateway, TODAY, *(entry(reference) for reference in references))
    assert await differences(gateway) == unknown
