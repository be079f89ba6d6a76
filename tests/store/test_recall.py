"""A recall: called back is what the bank certainly has nothing of, and what was ordered before; nobody else."""

from __future__ import annotations

from functools import partial

import pytest

from adapters.contract import Evidence, Proof, Reason
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_contradictions import saying
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import TODAY, differences, entry, state
from tests.store.test_statements_hold import later, refuse

NOT_TAKEN = Evidence(Proof.NOT_TAKEN, reason=Reason.FUNDS_SHORT)
ABSENT = Evidence(Proof.ABSENT)


async def asked(gateway: Gateway, word: Evidence) -> None:
    """Long after it had settled the bank is asked, and says this of the file."""
    gateway.bank.probes = partial(saying, [word])
    gateway.clock.forward(hours=2)
    await gateway.verify.probe(gateway.entry)


async def cancelled(gateway: Gateway) -> list[tuple[int, int]]:
    return sorted((line, attempt) for line, attempt, outcome, _ in await gateway.outcomes() if outcome == "cancelled")


async def paid_anew(gateway: Gateway, line: int) -> bool:
    """Whether a new list of the same programme and period would pay that person."""
    await gateway.batch([kit.line(line) | {"line": 1}], "B-2")
    await gateway.fund("100.00", "B-2", "F-2")
    await gateway.judge()
    sent = len(gateway.bank.sent)
    return await later(gateway, hours=1) > sent


@pytest.mark.parametrize("word", [ABSENT, NOT_TAKEN], ids=["absent", "not taken"])
async def test_what_is_called_back_and_stands_on_a_statement_is_not_called_cancelled(
    gateway: Gateway, word: Evidence
) -> None:
    """Debited, recalled, and then the bank denies it: finance is told of no cancellation, and nobody is paid anew."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    gateway.bank.submits = kit.received
    await state(gateway, TODAY, entry(None, submission=gateway.bank.sent[0].submission))
    await gateway.order("RECALL", "O-1", None, None)
    assert await gateway.outcomes() == []
    await asked(gateway, word)
    assert [kind for kind, *_ in await differences(gateway)] == ["NOT_PAID"]
    assert await cancelled(gateway) == []
    assert not await paid_anew(gateway, 1)


async def test_no_line_is_called_back_of_a_file_that_a_statement_shows_at_the_bank(gateway: Gateway) -> None:
    """One line of two is debited: the bank has the file, whatever it says, and the other may have been paid as well."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    await state(gateway, TODAY, entry(gateway.reference_of(1)))
    await asked(gateway, ABSENT)
    await gateway.order("RECALL", "O-1", None, None)
    assert await cancelled(gateway) == []
    await state(gateway, TODAY)
    assert await later(gateway) == 1
    assert await cancelled(gateway) == [(1, 1), (2, 1)]


async def test_what_waited_is_called_back_when_nothing_holds_it_any_more(gateway: Gateway) -> None:
    """Thought unsent, debited, recalled, and the entry goes: cancelled then, with a receipt, and nothing travels."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(1)
    gateway.bank.submits = kit.received
    async with gateway.store.engine.connection() as connection:
        reference = await connection.fetchval("SELECT reference FROM attempts")
    await state(gateway, TODAY, entry(reference))
    await gateway.order("RECALL", "O-1", None, None)
    assert (await later(gateway), await cancelled(gateway)) == (0, [])
    await state(gateway, TODAY)
    assert (await later(gateway), await cancelled(gateway)) == (0, [(1, 1)])
    assert await gateway.buckets() == {"cancelled": 1}
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT cancelled_fen FROM batches") == 10_000
        told = await connection.fetch("SELECT convert_from(body, 'UTF8') FROM history WHERE event = 'RECALLED'")
    assert len(told) == 2


async def test_a_line_not_taken_alone_waits_likewise(gateway: Gateway) -> None:
    """Debited, recalled, not taken by itself: its next attempt waits, and is called back when the debit is gone."""
    await gateway.pay(2)
    first, second = gateway.reference_of(1), gateway.reference_of(2)
    await state(gateway, TODAY, entry(first), entry(second))
    await gateway.order("RECALL", "O-1", None, None)
    await gateway.answer({"proof": "NOT_TAKEN", "reference": first, "reason": "FUNDS_SHORT"}, credited(gateway, 2))
    assert (await later(gateway), await cancelled(gateway)) == (1, [])
    await state(gateway, TODAY, entry(second))
    assert (await later(gateway), await cancelled(gateway)) == (1, [(1, 2)])
    assert await gateway.buckets() == {"cancelled": 1, "credited": 1}


@pytest.mark.parametrize("trouble", [kit.refuse_connection, refuse(Reason.FUNDS_SHORT), refuse(Reason.FORMAT)])
async def test_who_is_ordered_again_after_a_recall_is_paid_whatever_happens_on_the_way(
    gateway: Gateway, trouble: kit.Script
) -> None:
    """Refused, the list recalled, then ordered: the later order counts, also where its first transmission fails."""
    await gateway.pay(1)
    await gateway.answer(rejected(gateway, 1))
    await gateway.order("RECALL", "O-1", None, None)
    assert (await gateway.order("REISSUE", "O-2", 1, 1)).refused is None
    gateway.bank.submits = trouble
    await later(gateway, hours=1)
    await gateway.store.pauses.resume(["rcc_file"])
    gateway.bank.submits = kit.received
    await later(gateway, hours=1)
    assert await gateway.buckets() == {"in_flight": 1}
    assert await cancelled(gateway) == []


async def test_a_line_ordered_again_that_alone_was_not_taken_gets_its_next_attempt(gateway: Gateway) -> None:
    """The recall was before that order: the core goes on trying, as for any other line."""
    await gateway.pay(1)
    await gateway.answer(rejected(gateway, 1))
    await gateway.order("RECALL", "O-1", None, None)
    await gateway.order("REISSUE", "O-2", 1, 1)
    await later(gateway, hours=1)
    await gateway.answer({"proof": "NOT_TAKEN", "reference": gateway.reference_of(1), "reason": "FUNDS_SHORT"})
    await later(gateway, hours=1)
    assert (len(gateway.bank.sent), await gateway.buckets()) == (3, {"in_flight": 1})


async def test_a_second_recall_binds_what_was_ordered_after_the_first(gateway: Gateway) -> None:
    """In doubt under an order of its own, recalled again, then absent: called back."""
    await gateway.pay(1)
    await gateway.answer(rejected(gateway, 1))
    await gateway.order("RECALL", "O-1", None, None)
    await gateway.order("REISSUE", "O-2", 1, 1)
    gateway.bank.submits = kit.hang_up
    await later(gateway, hours=1)
    await gateway.order("RECALL", "O-3", None, None)
    await asked(gateway, ABSENT)
    assert (await later(gateway, hours=1), await cancelled(gateway)) == (2, [(1, 2)])


async def test_a_bank_that_refuses_the_format_of_a_recalled_list_is_paused(gateway: Gateway) -> None:
    """Nothing is left to send of that list; the next one would be refused for the same reason."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    await gateway.order("RECALL", "O-1", None, None)
    await asked(gateway, Evidence(Proof.NOT_TAKEN, reason=Reason.FORMAT))
    assert await cancelled(gateway) == [(1, 1), (2, 1)]
    assert await gateway.store.pauses.paused() == {"rcc_file": "FORMAT"}
