"""Ways to be paid twice or against an order that a hostile reading found; each stays closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.contract import Evidence, Proof, Reason, Rendered
from gateway.dispatch import RENDERED_AT_ONCE
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected

_EMPTY = """
INSERT INTO submissions (batch_no, bank, reference, county, bank_no, debit_account, debit_name, sms_signature, lines,
                         open_lines, amount_fen, limit_at, hold_at, due_at)
SELECT batch_no, bank, 'EMPTY' || n, county, bank_no, debit_account, debit_name, sms_signature, 1, 1, 10000,
       limit_at - interval '1 day', hold_at, due_at
FROM submissions, generate_series(1, $1) AS n
"""


async def test_absent_after_received_never_permits_a_resend(gateway: Gateway) -> None:
    """The bank said it has the file, later that it never had it: one of the two is wrong, and people must say which."""
    await gateway.pay(2)
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
    for _ in range(8):
        gateway.clock.forward(hours=2)
        await gateway.verify.probe(gateway.entry)
        await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"in_doubt": 2}


async def test_a_credit_from_a_retired_file_freezes_all_its_lines(gateway: Gateway) -> None:
    """The bank refused a file, its lines moved to a new one, and then it pays the old one: nothing of it travels."""

    def short(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return [Evidence(Proof.NOT_TAKEN, reason=Reason.FUNDS_SHORT, code="F007")]

    gateway.bank.submits = short
    await gateway.pay(3)
    old = gateway.bank.sent[0].submission
    gateway.bank.submits = kit.received
    await gateway.order("CANCEL", "O-1", 1, 1)
    await gateway.answer(credited(gateway, 2, submission=old))
    gateway.clock.forward(hours=2)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"cancelled": 1, "conflict": 2}


async def test_an_answer_survives_a_wire_that_fails_to_close(gateway: Gateway) -> None:
    """Bytes left and the bank said so; that closing the connection fails afterwards does not make it unsent."""

    @asynccontextmanager
    async def rude() -> AsyncIterator[kit.ToyWire]:
        yield kit.ToyWire()
        raise ConnectionResetError

    gateway.bank.wire = rude  # type: ignore[method-assign]
    await gateway.pay(1)
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"in_flight": 1}


async def test_a_banks_own_code_is_never_taken_for_our_refusal(gateway: Gateway) -> None:
    """A bank whose code is spelt like a reason has spoken of the line: the file never goes again."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    amount = {**rejected(gateway, 1, Reason.AMOUNT), "code": "AMOUNT"}
    await gateway.answer(amount)
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
    gateway.clock.forward(hours=2)
    await gateway.verify.probe(gateway.entry)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"failed": 1, "in_doubt": 1}


async def test_a_recall_of_a_complete_batch_stops_its_reissues(gateway: Gateway) -> None:
    """A re-issue that has not travelled yet is called back, also when the batch was complete before."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2))
    await gateway.watch.count()
    await gateway.order("REISSUE", "O-1", 1, 1)
    assert (await gateway.order("RECALL", "O-2", None, None)).refused is None
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"credited": 1, "cancelled": 1}


async def test_what_turns_out_absent_after_a_recall_is_cancelled(gateway: Gateway) -> None:
    """In doubt when the recall came, certainly not at the bank now: it is cancelled and told so, not sent again."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    await gateway.order("RECALL", "O-1", None, None)
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
    gateway.clock.forward(hours=2)
    await gateway.verify.probe(gateway.entry)
    gateway.clock.forward(hours=2)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"cancelled": 2}
    assert sorted(await gateway.outcomes()) == [(1, 1, "cancelled", None), (2, 1, "cancelled", None)]


async def test_a_cancelled_line_needs_no_money(gateway: Gateway) -> None:
    """Funds have to cover what is still to be paid."""
    await gateway.batch([kit.line(n) for n in (1, 2)])
    await gateway.judge()
    await gateway.fund("100.00")
    await gateway.order("CANCEL", "O-1", 1, 1)
    await gateway.judge()
    await gateway.send()
    assert await gateway.buckets() == {"cancelled": 1, "in_flight": 1}


async def test_a_list_that_cannot_be_judged_holds_no_other_up(gateway: Gateway) -> None:
    """The sealed bytes of one batch do not open: it rests and pages, the next batch is judged and paid."""
    await gateway.batch([kit.line(1, id_no=str(kit.line(5)["id_no"]))], "659999-XJ-NY-01-2026-0009")
    async with gateway.store.engine.transaction() as connection:
        await connection.execute("UPDATE batch_parts SET sealed = 'broken'")
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.send()
    assert len(gateway.bank.references()) == 1


async def test_submissions_without_lines_keep_nobody_busy(gateway: Gateway) -> None:
    """This program cuts none. Whoever writes some into the books makes it look once, not again and again, and takes no
    turn from those that pay somebody."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.cut()
    async with gateway.store.engine.transaction() as connection:
        await connection.execute(_EMPTY, RENDERED_AT_ONCE)
    looks = [await gateway.dispatch.render(gateway.entry) for _ in range(3)]
    assert looks == [False, True, False]
    await gateway.send()
    assert len(gateway.bank.references()) == 1


async def test_held_is_left_only_by_news_about_the_money(gateway: Gateway) -> None:
    """Near the limit a person was called; "received" again does not send that person away."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    gateway.clock.forward(days=3, hours=6)
    await gateway.verify.watch_time(gateway.entry)
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.RECEIVED)]
    await gateway.verify.probe(gateway.entry)
    count = await gateway.store.reads.count(1)
    assert count.held == {"rcc_file": 1}
