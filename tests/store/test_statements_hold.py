"""What a statement says was booked holds back whatever would pay it a second time, for as long as it says so."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest

from adapters.contract import Evidence, Proof, Reason
from gateway.store.engine import Connection
from gateway.store.limits import Pace, take_submit_turn
from gateway.store.replan import fresh_submission
from gateway.store.statements import Reconciled, unpaid_as_stated
from schemas.v1 import RefusalReason
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import DAY, TODAY, differences, entry, state, stated_by

_WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def refuse(reason: Reason) -> kit.Script:
    """A bank that documents that it took nothing of what it was sent."""

    def script(rendered: Any, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return [Evidence(Proof.NOT_TAKEN, reason=reason, code="X")]

    return script


async def not_taken_but_debited(gateway: Gateway) -> str:
    """Two lines, the first not taken, its next attempt planned, and a statement that debits both; its reference."""
    await gateway.pay(2)
    first, second = gateway.reference_of(1), gateway.reference_of(2)
    await gateway.answer({"proof": "NOT_TAKEN", "reference": first, "reason": "FUNDS_SHORT"}, credited(gateway, 2))
    await state(gateway, TODAY, entry(first), entry(second))
    assert await differences(gateway) == [("NOT_PAID", first, 10_000, None)]
    return first


async def later(gateway: Gateway, hours: int = 3) -> int:
    """Time passes, whatever is due travels; how many transmissions there were in all."""
    gateway.clock.forward(hours=hours)
    await gateway.send()
    return len(gateway.bank.sent)


async def test_a_debit_of_a_line_not_taken_stops_its_next_attempt(gateway: Gateway) -> None:
    """The bank took nothing of a line and then debits it: nothing more travels for it, however late it becomes."""
    await not_taken_but_debited(gateway)
    assert await later(gateway) == 1
    assert await later(gateway, hours=1) == 1


async def test_a_debit_that_is_gone_from_a_rewritten_statement_lets_the_next_attempt_travel(gateway: Gateway) -> None:
    """The difference settled itself, so does the freeze: the line that was set aside travels, once, without people."""
    await not_taken_but_debited(gateway)
    assert await later(gateway) == 1
    await state(gateway, TODAY, entry(gateway.reference_of(2)))
    assert await differences(gateway) == []
    assert await later(gateway) == 2
    assert len(gateway.bank.sent[1].references) == 1
    assert await later(gateway) == 2


async def test_only_the_debited_line_is_held_back_the_others_travel(gateway: Gateway) -> None:
    """Two lines not taken, one of them debited: the next attempt of the other one travels as if nothing had been."""
    await gateway.pay(2)
    words = [{"proof": "NOT_TAKEN", "reference": gateway.reference_of(seq), "reason": "FUNDS_SHORT"} for seq in (1, 2)]
    await gateway.answer(*words)
    await state(gateway, TODAY, entry(gateway.reference_of(1)))
    assert await later(gateway) == 2
    assert len(gateway.bank.sent[1].references) == 1


@pytest.mark.parametrize("kind", ["REISSUE", "CANCEL"])
async def test_an_order_for_a_refused_and_debited_line_is_refused(gateway: Gateway, kind: str) -> None:
    """Refused and debited: until that ends neither a second payment nor the word "cancelled"."""
    await gateway.pay(1)
    await gateway.answer(rejected(gateway, 1))
    await state(gateway, TODAY, entry(gateway.reference_of(1)))
    details = {"account": "6299990000000000777"} if kind == "REISSUE" else {}
    await gateway.order(kind, "O-1", 1, 1, **details)
    assert [refusal["reason"] for refusal in await gateway.published("refusals")] == ["CONFLICT"]
    assert await later(gateway) == 1
    await state(gateway, TODAY)
    await gateway.order(kind, "O-2", 1, 1, **details)
    assert await later(gateway) == (2 if kind == "REISSUE" else 1)


async def test_a_recall_does_not_call_a_debited_line_cancelled(database: str) -> None:
    """The list is called back while the bank says that it debited a line: of that one finance hears nothing yet."""
    async with kit.open_gateway(database, max_lines=1) as gateway:  # the other line is in a file of its own
        gateway.bank.submits = kit.refuse_connection
        await gateway.pay(2)
        async with gateway.store.engine.connection() as connection:
            reference = await connection.fetchval("SELECT reference FROM attempts ORDER BY payout_id")
        await state(gateway, TODAY, entry(reference))
        await gateway.order("RECALL", "O-1", None, None)
        assert [outcome[:3] for outcome in await gateway.outcomes()] == [(2, 1, "cancelled")]


async def test_what_a_statement_shows_before_sending_is_committed_does_not_travel(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that is read while SENDING waits for its turn waits until that is committed, and finds it so."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(1)
    gateway.bank.submits = kit.received
    async with gateway.store.engine.connection() as connection:
        reference = await connection.fetchval("SELECT reference FROM attempts")
    statement, turn = list[asyncio.Task[Reconciled]](), take_submit_turn

    async def meanwhile(connection: Connection, bank: str, pace: Pace) -> None:
        monkeypatch.undo()
        statement.append(asyncio.create_task(stated_by(gateway, bank, TODAY, entry(reference))))
        async with asyncio.timeout(20):
            while not await connection.fetchval(_WAITS):
                await asyncio.sleep(0.01)
        await turn(connection, bank, pace)

    monkeypatch.setattr("gateway.store.submissions.take_submit_turn", meanwhile)
    assert await later(gateway) == 1
    assert (await statement[0]).differences == {}


async def test_what_thaws_while_it_is_being_set_aside_is_found(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement that lets go of a line waits until that line is where it looks for those that wait."""
    await not_taken_but_debited(gateway)
    statement, fresh = list[asyncio.Task[Reconciled]](), fresh_submission

    async def meanwhile(connection: Connection, *arguments: Any, **more: Any) -> int:
        monkeypatch.undo()
        second = entry(gateway.reference_of(2))
        statement.append(asyncio.create_task(stated_by(gateway, "rcc_file", TODAY, second)))
        async with asyncio.timeout(20):
            while not await connection.fetchval(_WAITS):
                await asyncio.sleep(0.01)
        return await fresh(connection, *arguments, **more)

    monkeypatch.setattr("gateway.store.submissions.fresh_submission", meanwhile)
    assert await later(gateway) == 1
    assert (await statement[0]).differences == {}
    assert await later(gateway, hours=1) == 2


async def test_a_line_that_was_held_for_most_of_a_year_travels_when_it_thaws(gateway: Gateway) -> None:
    """The bank takes its time to put its statement right: the line that was set aside is found again all the same."""
    await not_taken_but_debited(gateway)
    assert await later(gateway) == 1
    gateway.clock.forward(days=196)
    await state(gateway, TODAY, entry(gateway.reference_of(2)))
    gateway.clock.forward(days=3)
    while gateway.clock.now().weekday() > 3:
        gateway.clock.forward(days=1)
    assert await later(gateway, hours=1) == 2


async def test_a_part_that_was_put_back_leaves_the_rest_held(gateway: Gateway) -> None:
    """Not taken, debited, and one fen put back: the bank still has the person's money, and nothing travels."""
    first = await not_taken_but_debited(gateway)
    await state(gateway, TODAY + DAY, entry(first, "RETURN", 1, host_reference="R"))
    unpaid = [found for found in await differences(gateway) if found[0] == "NOT_PAID"]
    assert unpaid == [("NOT_PAID", first, 10_000, None)], "the debit, not what was put back of it"
    assert await later(gateway) == 1


@pytest.mark.parametrize("same_day", [False, True])
async def test_a_refused_line_that_is_debited_and_put_back_contradicts_nothing(
    gateway: Gateway, same_day: bool
) -> None:
    """Refused, debited with its file, put back under its own reference: no freeze, the order for it is taken."""
    await gateway.pay(1)
    refused = gateway.reference_of(1)
    await gateway.answer(rejected(gateway, 1))
    back = entry(refused, "RETURN", host_reference="R1")
    await state(gateway, TODAY, entry(refused), *([back] if same_day else []))
    if not same_day:
        await state(gateway, TODAY + DAY, back)
    assert await differences(gateway) == []
    assert len(await differences(gateway, resolved=True)) == (0 if same_day else 1)
    assert await gateway.buckets() == {"failed": 1}
    async with gateway.store.engine.connection() as connection:
        kept = await connection.fetch("SELECT proof, effect, host_reference FROM evidence WHERE proof = 'RETURNED'")
    assert [tuple(row) for row in kept] == [("RETURNED", "LATE", "R1")]
    await gateway.order("REISSUE", "O-1", 1, 1)
    assert await later(gateway) == 2


@pytest.mark.parametrize(("debited", "amount_fen"), [(False, 10_000), (True, 9_999)])
async def test_what_comes_back_of_a_refused_line_unasked_for_freezes_it(
    gateway: Gateway, debited: bool, amount_fen: int
) -> None:
    """Money under a refused line that was never seen leaving, or not all of it: somebody was paid, people decide."""
    await gateway.pay(1)
    refused = gateway.reference_of(1)
    await gateway.answer(rejected(gateway, 1))
    if debited:
        await state(gateway, TODAY, entry(refused))
    await state(gateway, TODAY + DAY, entry(refused, "RETURN", amount_fen))
    assert await gateway.buckets() == {"conflict": 1}


@pytest.mark.parametrize("made", ["PLANNED", "RENDERED", "DEFERRED", "VOID"])
async def test_a_line_that_never_travelled_and_is_debited_does_not_travel(gateway: Gateway, made: str) -> None:
    """Cut, rendered, waiting to be sent or cancelled before: a debit of it is listed, and nothing is sent for it."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.cut()
    if made != "PLANNED":
        await gateway.cut_and_render()
    if made == "DEFERRED":
        await gateway.send()
    if made == "VOID":
        await gateway.order("CANCEL", "O-1", 1, 1)
    async with gateway.store.engine.connection() as connection:
        reference = await connection.fetchval("SELECT reference FROM attempts")
    gateway.bank.submits = kit.received
    await state(gateway, TODAY, entry(reference))
    assert await differences(gateway) == [("NOT_PAID", reference, 10_000, None)]
    assert await later(gateway) == 0


@pytest.mark.parametrize("word", ["REJECTED", "NOT_TAKEN"])
@pytest.mark.parametrize("stated", ["before", "weeks later"])
async def test_a_debit_of_a_refused_line_is_told_whenever_it_is_stated(
    gateway: Gateway, word: str, stated: str
) -> None:
    """Debited, then refused, or refused and debited weeks later; of one fen, too: the money has to come back."""
    await gateway.batch([kit.line(1, amount="0.01")])
    await gateway.fund("0.01")
    await gateway.judge()
    await gateway.send()
    reference = gateway.reference_of(1)
    if stated == "before":
        await state(gateway, TODAY, entry(reference, amount_fen=1))
    await gateway.answer({"proof": word, "reference": reference, "reason": "FUNDS_SHORT"})
    entries = [] if stated == "before" else [entry(reference, amount_fen=1)]
    await state(gateway, TODAY + (DAY if stated == "before" else 40 * DAY), *entries)
    assert await differences(gateway) == [("NOT_PAID", reference, 1, None)]


async def later_in_history(gateway: Gateway) -> list[str]:
    async with gateway.store.engine.connection() as connection:
        return [row["event"] for row in await connection.fetch("SELECT event FROM history ORDER BY seq")]


async def test_what_people_have_to_decide_is_not_taken_up_with_every_statement(gateway: Gateway) -> None:
    """Set aside for a contradiction, beside one that a statement settled: only the latter is taken up again."""
    await gateway.pay(3)
    words = [{"proof": "NOT_TAKEN", "reference": gateway.reference_of(n), "reason": "FUNDS_SHORT"} for n in (1, 2)]
    await gateway.answer(*words, credited(gateway, 3))
    await gateway.answer(credited(gateway, 1))  # against its word: people decide
    await state(gateway, TODAY, *(entry(gateway.reference_of(seq)) for seq in (2, 3)))
    assert await later(gateway) == 1
    aside = (await later_in_history(gateway)).count("SET_ASIDE")
    await state(gateway, TODAY, entry(gateway.reference_of(3)))
    assert await later(gateway) == 2
    assert len(gateway.bank.sent[1].references) == 1
    assert await gateway.buckets() == {"conflict": 1, "in_flight": 1, "credited": 1}
    events = (await later_in_history(gateway)).count("SET_ASIDE")
    await state(gateway, TODAY + DAY)
    assert await later(gateway) == 2
    assert ((await later_in_history(gateway)).count("SET_ASIDE"), events) == (events, aside + 1)


async def test_a_reissue_goes_on_gathering_while_statements_are_read(gateway: Gateway) -> None:
    """What a statement thawed is not sent before its time: the order's line waits for others of its list."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2))
    await state(gateway, TODAY, *(entry(gateway.reference_of(seq)) for seq in (1, 2)))
    await state(gateway, TODAY, entry(gateway.reference_of(2)))
    await gateway.order("REISSUE", "O-1", 1, 1)
    await state(gateway, TODAY + DAY)
    assert await later(gateway, hours=0) == 1
    assert await later(gateway) == 2


async def test_of_a_refused_line_that_is_booked_twice_each_booking_is_one_difference(gateway: Gateway) -> None:
    """Two debits of a refused line are two things to ask; one that is gone from the statement is one less."""
    await gateway.pay(1)
    refused = gateway.reference_of(1)
    await gateway.answer(rejected(gateway, 1))
    twice = [entry(refused, host_reference=serial) for serial in ("H1", "H2")]
    await state(gateway, TODAY, *twice)
    one = ("NOT_PAID", refused, 10_000, None)
    assert await differences(gateway) == [("AMOUNT", refused, 20_000, 10_000), one, one]
    await state(gateway, TODAY, twice[0])
    assert await differences(gateway) == [one]


WORDS: dict[str, dict[str, Any]] = {
    "absent": {"proof": Proof.ABSENT},
    "not taken": {"proof": Proof.NOT_TAKEN, "reason": Reason.FUNDS_SHORT},
    "wrong format": {"proof": Proof.NOT_TAKEN, "reason": Reason.FORMAT},
}


@pytest.mark.parametrize("as_sum", [False, True])
@pytest.mark.parametrize("word", WORDS)
async def test_what_stands_on_a_statement_does_not_travel_again_by_a_later_word(
    gateway: Gateway, word: str, as_sum: bool
) -> None:
    """In doubt, then on a statement, then "we have nothing": the debit, read first, holds it back all the same."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    gateway.bank.submits = kit.received
    references, name = gateway.bank.sent[0].references, gateway.bank.sent[0].submission
    whole = entry(None, submission=name)
    await state(gateway, TODAY, *([whole] if as_sum else map(entry, references)))
    assert await differences(gateway) == []
    gateway.bank.probes = lambda rendered, wire: [Evidence(**WORDS[word])]
    gateway.clock.forward(hours=2)
    await gateway.verify.probe(gateway.entry)
    await gateway.store.pauses.resume(["rcc_file"])
    assert await later(gateway) == 1
    unpaid = [one for one in await differences(gateway) if one[0] == "NOT_PAID"]
    assert unpaid == sorted(("NOT_PAID", reference, 10_000, None) for reference in references)
    await state(gateway, TODAY)
    assert await differences(gateway) == []
    assert await later(gateway) == 2
    assert sorted(gateway.bank.sent[1].references) == sorted(references)


async def test_what_stands_on_a_statement_is_not_ordered_again_when_it_is_refused_later(gateway: Gateway) -> None:
    """Debited by the statement that was read first, then refused: no order is taken before the money is put back."""
    await gateway.pay(2)
    first = gateway.reference_of(1)
    await state(gateway, TODAY, *(entry(gateway.reference_of(seq)) for seq in (1, 2)))
    await gateway.answer(credited(gateway, 2))
    await gateway.answer(rejected(gateway, 1))
    assert await differences(gateway) == [("NOT_PAID", first, 10_000, None)]
    assert (await gateway.order("REISSUE", "O-1", 1, 1)).refused is RefusalReason.CONFLICT
    await state(gateway, TODAY + DAY, entry(first, "RETURN"))
    assert await differences(gateway) == []
    await gateway.order("REISSUE", "O-2", 1, 1)
    assert await later(gateway) == 2


async def test_of_a_statement_and_a_word_at_the_same_moment_one_sees_the_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement waits until the word that makes its line unpaid is in the books, and holds the line back."""
    await gateway.pay(1)
    reference, statement = gateway.reference_of(1), list[asyncio.Task[Reconciled]]()

    async def meanwhile(connection: Connection, statements: Sequence[int], at: dt.datetime) -> None:
        monkeypatch.undo()
        statement.append(asyncio.create_task(stated_by(gateway, "rcc_file", TODAY, entry(reference))))
        async with asyncio.timeout(20):
            while not await connection.fetchval(_WAITS):
                await asyncio.sleep(0.01)
        await unpaid_as_stated(connection, statements, at)

    monkeypatch.setattr("gateway.store.evidence.unpaid_as_stated", meanwhile)
    await gateway.answer({"proof": "NOT_TAKEN", "reference": reference, "reason": "FUNDS_SHORT"})
    await statement[0]
    assert await differences(gateway) == [("NOT_PAID", reference, 10_000, None)]
    assert await later(gateway) == 1


@pytest.mark.parametrize("proof", ["NOT_TAKEN", "ABSENT"])
async def test_a_line_that_stands_on_a_statement_is_not_tried_anew_by_a_later_word(
    gateway: Gateway, proof: str
) -> None:
    """Debited by Tuesday's statement, then not taken or never received in the result: no attempt travels beside it."""
    await gateway.pay(2)
    first = gateway.reference_of(1)
    await state(gateway, TODAY, *(entry(gateway.reference_of(seq)) for seq in (1, 2)))
    said = {"proof": proof, "reference": first}
    await gateway.answer(said | ({"reason": "FUNDS_SHORT"} if proof == "NOT_TAKEN" else {}), credited(gateway, 2))
    assert await differences(gateway) == [("NOT_PAID", first, 10_000, None)]
    assert await later(gateway) == 1
    await state(gateway, TODAY, entry(gateway.reference_of(2)))
    assert await later(gateway) == 2
    assert len(gateway.bank.sent[1].references) == 1
