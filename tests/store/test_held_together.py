"""A file of which a statement shows one line is at the bank: none of its lines travels anew while that stands there."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from adapters.contract import Evidence, Proof, Reason
from gateway.store.claims import claim_of
from schemas.v1 import RefusalReason
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_contradictions import saying
from tests.store.test_payment import rejected
from tests.store.test_statements import TODAY, entry, state
from tests.store.test_statements_hold import later, refuse


async def references(gateway: Gateway) -> list[str]:
    """Of the lines of the list, in order, whatever travelled."""
    async with gateway.store.engine.connection() as connection:
        return [row["reference"] for row in await connection.fetch("SELECT reference FROM attempts ORDER BY payout_id")]


async def denied(gateway: Gateway, lines: int = 2) -> None:
    """In doubt, and then "we have nothing", long after it had settled."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(lines)
    gateway.bank.submits = kit.received
    gateway.bank.probes = partial(saying, [Evidence(Proof.ABSENT)])
    gateway.clock.forward(hours=2)


async def travelled(gateway: Gateway) -> int:
    """How often something travelled, once all that may has."""
    await later(gateway)
    return await later(gateway, hours=1)


@pytest.mark.parametrize("first", ["statement", "word"])
async def test_a_line_on_a_statement_holds_the_others_of_its_file(gateway: Gateway, first: str) -> None:
    """Whichever is read first, the statement or the word: neither line travels again; both do when the entry goes."""
    await denied(gateway)
    shown = entry(gateway.reference_of(1))
    if first == "statement":
        await state(gateway, TODAY, shown)
        await gateway.verify.probe(gateway.entry)
    else:
        await gateway.verify.probe(gateway.entry)
        await state(gateway, TODAY, shown)
    assert await travelled(gateway) == 1
    await state(gateway, TODAY)
    assert await travelled(gateway) == 2
    assert gateway.bank.sent[1].references == gateway.bank.sent[0].references


async def test_a_sum_smaller_than_the_file_holds_all_of_it(gateway: Gateway) -> None:
    """Part of the money was debited in one sum; whose, it does not say."""
    gateway.bank.submits = kit.hang_up
    await gateway.batch([kit.line(1, amount="50.00"), kit.line(2, amount="200.00")])
    await gateway.fund("250.00")
    await gateway.judge()
    await gateway.send()
    gateway.bank.submits = kit.received
    await state(gateway, TODAY, entry(None, submission=gateway.bank.sent[0].submission, amount_fen=5_000))
    gateway.bank.probes = partial(saying, [Evidence(Proof.ABSENT)])
    gateway.clock.forward(hours=2)
    await gateway.verify.probe(gateway.entry)
    assert await travelled(gateway) == 1


@pytest.mark.parametrize("reason", [Reason.FUNDS_SHORT, Reason.FORMAT])
async def test_a_file_thought_unsent_or_refused_is_held_together_too(gateway: Gateway, reason: Reason) -> None:
    """Not taken, also where its lines have moved to a new file already: one of them debited holds them all."""
    gateway.bank.submits = refuse(reason)
    await gateway.pay(2)
    await gateway.store.pauses.resume(["rcc_file"])
    gateway.bank.submits = kit.received
    await state(gateway, TODAY, entry((await references(gateway))[0]))
    assert await travelled(gateway) == 1


async def test_lines_thaw_together_when_the_last_of_them_is_gone_from_the_statement(gateway: Gateway) -> None:
    """Two of three lines are shown; one goes: all wait on for the other."""
    await denied(gateway, 3)
    await gateway.verify.probe(gateway.entry)
    first, second = gateway.reference_of(1), gateway.reference_of(2)
    await state(gateway, TODAY, entry(first), entry(second))
    assert await travelled(gateway) == 1
    await state(gateway, TODAY, entry(second))
    assert await travelled(gateway) == 1
    await state(gateway, TODAY)
    assert await travelled(gateway) == 2
    assert len(gateway.bank.sent[1].references) == 3


async def test_nobody_cancels_a_line_that_waits_with_another(gateway: Gateway) -> None:
    """It may have been paid: a cancellation would free the person for a second payment."""
    await denied(gateway)
    await gateway.verify.probe(gateway.entry)
    await state(gateway, TODAY, entry(gateway.reference_of(1)))
    assert await travelled(gateway) == 1
    assert (await gateway.order("CANCEL", "O-1", 2, 1)).refused is RefusalReason.CONFLICT


async def test_who_waits_for_a_cancelled_line_thaws_with_it(gateway: Gateway) -> None:
    """The line that is shown was cancelled before; its neighbour, set aside alone, is found when the entry goes."""
    gateway.bank.submits = refuse(Reason.FUNDS_SHORT)
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    first, second = await references(gateway)
    assert (await gateway.order("CANCEL", "O-1", 1, 1)).refused is None
    await state(gateway, TODAY, entry(first))
    assert await travelled(gateway) == 1
    await state(gateway, TODAY)
    assert await travelled(gateway) == 2
    assert gateway.bank.sent[1].references == (second,)


async def test_the_halves_of_a_refused_file_wait_and_thaw_alike(gateway: Gateway) -> None:
    """Refused for its format and cut in two since; a line of one half is shown: both wait, and both go on."""
    gateway.bank.submits = refuse(Reason.FORMAT)
    await gateway.pay(4)
    await gateway.store.pauses.resume(["rcc_file"])
    gateway.bank.submits = kit.received
    (row,) = await gateway.store.submissions.claim_to_render("rcc_file", gateway.clock.now(), 5)
    await gateway.store.limits.split(claim_of(row), gateway.clock.now())
    lines = await references(gateway)
    await state(gateway, TODAY, entry(lines[0]))
    assert await travelled(gateway) == 1
    await state(gateway, TODAY)
    await travelled(gateway)
    assert sorted(gateway.bank.references()) == sorted(2 * lines)


async def test_neighbours_of_a_line_in_conflict_thaw_without_it(gateway: Gateway) -> None:
    """People decide about the one that the bank contradicts itself on; who only waited beside it is paid."""
    await denied(gateway)
    await gateway.verify.probe(gateway.entry)
    first, second = await references(gateway)
    await state(gateway, TODAY, entry(first))
    assert await travelled(gateway) == 1
    async with gateway.store.engine.connection() as connection:
        await connection.execute(
            "UPDATE payouts SET conflict_at = now() WHERE payout_id = (SELECT min(payout_id) FROM payouts)"
        )
    await state(gateway, TODAY)
    assert await travelled(gateway) == 2
    assert gateway.bank.sent[1].references == (second,)


async def test_an_order_about_a_line_at_the_bank_is_told_so(gateway: Gateway) -> None:
    """Its neighbour was refused and debited, as banks do: the line itself waits for nothing but its result."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1))
    await state(gateway, TODAY, entry(gateway.reference_of(1)))
    assert (await gateway.order("CANCEL", "O-1", 2, 1)).refused is RefusalReason.ALREADY_SENT


async def test_a_file_that_never_travelled_shows_nothing_of_its_other_lines(gateway: Gateway) -> None:
    """One of its lines stands on a statement, whoever put it there: that one waits, and the other is paid."""
    await gateway.batch([kit.line(number) for number in (1, 2)])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.cut_and_render()
    first, second = await references(gateway)
    await state(gateway, TODAY, entry(first))
    assert await travelled(gateway) == 1
    assert gateway.bank.references() == [second]


async def test_another_file_of_the_list_travels(database: str) -> None:
    """What never was in that file has nothing to do with it."""
    async with kit.open_gateway(database, max_lines=1) as gateway:

        def hang_up_once(rendered: Any, wire: kit.ToyWire) -> list[Evidence]:
            gateway.bank.submits = kit.refuse_connection
            return kit.hang_up(rendered, wire)

        gateway.bank.submits = hang_up_once
        await gateway.pay(2)
        gateway.bank.submits = kit.received
        await state(gateway, TODAY, entry(gateway.bank.sent[0].references[0]))
        assert await later(gateway) == 2
        assert gateway.bank.sent[0].references != gateway.bank.sent[1].references
