"""Orders: applied once, to the latest closed attempt, or refused with a reason; nothing is parked."""

from __future__ import annotations

import pytest

from adapters.contract import Evidence, Proof
from gateway import failures
from schemas.v1 import Kind, RefusalReason
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected


async def failed(gateway: Gateway, count: int = 1) -> None:
    """A list whose first line failed; the others are credited."""
    await gateway.pay(count)
    await gateway.answer(rejected(gateway, 1), *(credited(gateway, seq) for seq in range(2, count + 1)))


async def test_a_reissue_is_a_new_attempt_with_a_new_reference_and_its_own_clock(gateway: Gateway) -> None:
    """Re-verified and ordered, a failed payout is paid under a new reference, within its own three working days."""
    await failed(gateway, 2)
    gateway.clock.forward(days=7)
    assert (await gateway.order("REISSUE", "O-1", 1, 1)).refused is None
    gateway.clock.forward(minutes=11)
    await gateway.send()
    assert len(gateway.bank.sent) == 2
    assert len(set(gateway.bank.references())) == 3
    await gateway.answer(credited(gateway, 1, host_reference="H9"))
    assert await gateway.buckets() == {"credited": 2}
    last = (await gateway.published())[-1]
    assert (last["line"], last["attempt"], last["outcome"], last["late"]) == (1, 2, "credited", False)
    assert last["limit_at"] == "2026-12-05T00:00:00+08:00"
    kinds = [call["kind"] for call in await gateway.store.notices.claim(gateway.clock.now(), 10)]
    assert kinds == ["ARRIVAL", "REISSUE_ARRIVAL"]


async def test_corrected_details_are_what_travels(gateway: Gateway) -> None:
    """The bank sees the corrected account, sealed on the attempt; a further re-issue keeps it."""
    await failed(gateway)
    await gateway.order("REISSUE", "O-1", 1, 1, account="6299999999999999999")
    gateway.clock.forward(minutes=11)
    await gateway.send()
    assert b"6299999999999999999" in gateway.bank.sent[1].payload
    await gateway.answer(rejected(gateway, 1))
    await gateway.order("REISSUE", "O-2", 1, 2)
    gateway.clock.forward(minutes=11)
    await gateway.send()
    assert b"6299999999999999999" in gateway.bank.sent[2].payload
    assert await gateway.buckets() == {"in_flight": 1}


async def test_reissues_gather_into_one_submission(gateway: Gateway) -> None:
    """Orders that come together travel together."""
    await gateway.pay(3)
    await gateway.answer(*(rejected(gateway, seq) for seq in (1, 2, 3)))
    for number in (1, 2, 3):
        await gateway.order("REISSUE", f"O-{number}", number, 1)
    gateway.clock.forward(minutes=11)
    await gateway.send()
    assert [len(rendered.references) for rendered in gateway.bank.sent] == [3, 3]


@pytest.mark.parametrize(
    ("most", "files"), [({"max_lines": 2}, [1, 2]), ({"max_total_fen": 20_000}, [1, 2]), ({}, [3])]
)
async def test_reissues_gather_no_further_than_a_file_may_hold(
    database: str, most: dict[str, int], files: list[int]
) -> None:
    """A file of re-issues is filled to its last line and its last fen, and one order more begins another."""
    async with kit.open_gateway(database, **most) as gateway:
        await gateway.pay(3)
        every = [reference for rendered in gateway.bank.sent for reference in rendered.references]
        await gateway.answer(*({"proof": "REJECTED", "reference": r, "reason": "NAME_MISMATCH"} for r in every))
        first = len(gateway.bank.sent)
        for number in (1, 2, 3):
            await gateway.order("REISSUE", f"O-{number}", number, 1)
        gateway.clock.forward(minutes=11)
        await gateway.send()
        sizes = [len(rendered.references) for rendered in gateway.bank.sent[first:]]
        assert sorted(sizes) == files  # in any order: they travel at once


async def test_a_file_of_reissues_that_has_come_due_takes_no_further_line(gateway: Gateway) -> None:
    """From its very second on it may be on its way to being rendered: a later order gathers in another file."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), rejected(gateway, 2))
    await gateway.order("REISSUE", "O-1", 1, 1)
    async with gateway.store.engine.connection() as connection:
        due = await connection.fetchval("SELECT due_at FROM submissions WHERE state = 'PLANNED'")
    gateway.clock.forward(seconds=int((due - gateway.clock.now()).total_seconds()))
    await gateway.order("REISSUE", "O-2", 2, 1)
    gateway.clock.forward(minutes=11)
    await gateway.send()
    assert [len(rendered.references) for rendered in gateway.bank.sent] == [2, 1, 1]


async def test_an_order_applies_once_however_often_it_comes(gateway: Gateway) -> None:
    """Identical bytes again are a no-op; the same id with other bytes is refused."""
    await failed(gateway)
    body = kit.order_body("REISSUE", "O-1", 1, 1)
    signed = gateway.signed(Kind.ORDER, body)
    assert not (await gateway.failures.take_order(*signed)).repeated
    assert (await gateway.failures.take_order(*signed)).repeated
    other = gateway.signed(Kind.ORDER, {**body, "document_no": "20"})
    assert (await gateway.failures.take_order(*other)).refused is RefusalReason.CONFLICTING_CONTENT
    gateway.clock.forward(minutes=11)
    await gateway.send()
    assert len(gateway.bank.sent) == 2


@pytest.mark.parametrize("kind", ["REISSUE", "CANCEL"])
async def test_an_order_for_a_payout_in_doubt_is_refused(gateway: Gateway, kind: str) -> None:
    """Nobody re-issues or cancels what may have been paid."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    assert (await gateway.order(kind, "O-1", 1, 1)).refused is RefusalReason.IN_DOUBT


async def test_orders_out_of_time_are_refused_with_their_reasons(gateway: Gateway) -> None:
    """NOT_FAILED, ALREADY_SENT, ALREADY_CREDITED, STALE_ATTEMPT, UNKNOWN_PAYOUT, UNKNOWN_BATCH, each in its place."""
    await gateway.pay(2)
    assert (await gateway.order("REISSUE", "O-1", 1, 1)).refused is RefusalReason.NOT_FAILED
    assert (await gateway.order("CANCEL", "O-2", 1, 1)).refused is RefusalReason.ALREADY_SENT
    await gateway.answer(credited(gateway, 1), rejected(gateway, 2))
    assert (await gateway.order("REISSUE", "O-3", 1, 1)).refused is RefusalReason.ALREADY_CREDITED
    assert (await gateway.order("REISSUE", "O-4", 2, 2)).refused is RefusalReason.STALE_ATTEMPT
    assert (await gateway.order("REISSUE", "O-5", 99, 1)).refused is RefusalReason.UNKNOWN_PAYOUT
    nowhere = kit.order_body("REISSUE", "O-0", 1, 1) | {"batch_id": "659999-XJ-NY-01-2026-0099"}
    stored = await gateway.failures.take_order(*gateway.signed(Kind.ORDER, nowhere))
    assert stored.refused is RefusalReason.UNKNOWN_BATCH
    assert (await gateway.order("REISSUE", "O-6", 2, 1)).refused is None
    assert (await gateway.order("REISSUE", "O-7", 2, 1)).refused is RefusalReason.STALE_ATTEMPT
    assert (await gateway.order("REISSUE", "O-8", 2, 2)).refused is RefusalReason.NOT_FAILED
    assert await gateway.buckets() == {"credited": 1, "queued": 1}


async def test_wrong_details_refuse_the_order_and_leave_the_payout_waiting(gateway: Gateway) -> None:
    """A corrected ID that is no ID, or a bank without agreement, is refused; the payout still waits for an order."""
    await failed(gateway)
    wrong = await gateway.order("REISSUE", "O-1", 1, 1, id_no="659999198001010020")
    assert wrong.refused is RefusalReason.DETAILS_INVALID
    assert "659999198001010020" not in wrong.detail
    assert (await gateway.order("REISSUE", "O-2", 1, 1, bank_no="999881000099")).refused is (
        RefusalReason.DETAILS_INVALID
    )
    assert await gateway.buckets() == {"failed": 1}


async def test_a_corrected_id_of_somebody_already_paid_is_a_collision(gateway: Gateway) -> None:
    """One person, one programme, one period: a corrected ID cannot make a second payout of it."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2))
    other = str(kit.line(2)["id_no"])
    collision = await gateway.order("REISSUE", "O-1", 1, 1, id_no=other)
    assert collision.refused is RefusalReason.BENEFICIARY_COLLISION
    assert await gateway.buckets() == {"failed": 1, "credited": 1}


async def test_cancelling_a_failed_payout_ends_it(gateway: Gateway) -> None:
    """A signed cancellation closes a failed payout, says so under the next attempt's number, and frees the person."""
    await failed(gateway)
    assert (await gateway.order("CANCEL", "O-1", 1, 1)).refused is None
    assert await gateway.buckets() == {"cancelled": 1}
    assert (await gateway.outcomes())[-1] == (1, 2, "cancelled", None)
    assert (await gateway.order("REISSUE", "O-2", 1, 1)).refused is RefusalReason.ALREADY_CANCELLED
    await gateway.batch([kit.line(1)], "659999-XJ-NY-01-2026-0002")
    await gateway.judge()
    assert (await gateway.store.reads.count(2)).payouts["awaiting_funds"] == 1


async def test_cancelling_one_unsent_line_keeps_the_references_of_the_others(gateway: Gateway) -> None:
    """Voiding a line retires the rendered submission; the others travel in new bytes, under their own references."""
    await gateway.batch([kit.line(n) for n in (1, 2, 3)])
    await gateway.fund("300.00")
    await gateway.judge()
    await gateway.cut_and_render()
    assert (await gateway.order("CANCEL", "O-1", 2, 1)).refused is None
    await gateway.send()
    assert [len(rendered.references) for rendered in gateway.bank.sent] == [2]
    assert str(kit.line(2)["account"]).encode() not in gateway.bank.sent[0].payload
    assert await gateway.buckets() == {"in_flight": 2, "cancelled": 1}


async def test_cancelling_before_the_money_came(gateway: Gateway) -> None:
    """A line that waits for funds can be cancelled; once the money is there, only the others travel."""
    await gateway.batch([kit.line(n) for n in (1, 2)])
    await gateway.judge()
    assert (await gateway.order("CANCEL", "O-1", 1, 1)).refused is None
    assert await gateway.buckets() == {"awaiting_funds": 1, "cancelled": 1}
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.send()
    assert len(gateway.bank.references()) == 1


async def test_a_recall_cancels_what_was_not_sent_and_answers_line_by_line(gateway: Gateway) -> None:
    """Every unsent line is cancelled with a receipt; the batch is complete and nothing travels."""
    await gateway.batch([kit.line(n) for n in (1, 2, 3)])
    await gateway.fund("300.00")
    await gateway.judge()
    await gateway.cut_and_render()
    assert (await gateway.order("RECALL", "O-1", None, None)).refused is None
    await gateway.send()
    assert gateway.bank.sent == []
    assert await gateway.buckets() == {"cancelled": 3}
    assert sorted(await gateway.outcomes()) == [(n, 1, "cancelled", None) for n in (1, 2, 3)]
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT cancelled_fen FROM batches") == 30_000


async def test_a_recall_leaves_what_the_bank_has(gateway: Gateway) -> None:
    """Sent lines are not recalled: they end as the bank says."""
    await gateway.pay(2)
    assert (await gateway.order("RECALL", "O-1", None, None)).refused is None
    await gateway.answer(credited(gateway, 1), credited(gateway, 2))
    assert await gateway.buckets() == {"credited": 2}


async def test_a_recall_of_an_unfinished_list_refuses_what_still_comes(gateway: Gateway) -> None:
    """Recalled while parts are missing: the batch is closed, and the last part pays nobody."""
    first, second = gateway.signed_parts([kit.line(n) for n in (1, 2)], parts=2)
    await gateway.intake.take_batch(*first)
    assert (await gateway.order("RECALL", "O-1", None, None)).refused is None
    assert (await gateway.intake.take_batch(*second)).refused is RefusalReason.CONFLICTING_CONTENT
    await gateway.judge()
    await gateway.send()
    assert gateway.bank.sent == []


async def test_a_line_that_never_reached_the_bank_is_not_planned_again_after_a_recall(gateway: Gateway) -> None:
    """Recalled while in doubt, then found to be absent alone: cancelled, not paid by a new attempt."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    first, second = gateway.bank.sent[0].references
    await gateway.order("RECALL", "O-1", None, None)
    gateway.bank.probes = lambda rendered, wire: [
        Evidence(Proof.CREDITED, reference=first, amount_fen=10_000, host_reference="H1"),
        Evidence(Proof.ABSENT, reference=second),
    ]
    gateway.bank.submits = kit.received
    gateway.clock.forward(hours=1)
    await gateway.verify.probe(gateway.entry)
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"credited": 1, "cancelled": 1}
    assert sorted(await gateway.outcomes()) == [
        (1, 1, "credited", None),
        (2, 1, "failed", "NOT_EXECUTED"),
        (2, 2, "cancelled", None),
    ]


async def test_a_line_the_bank_had_no_funds_for_waits_before_its_next_attempt(gateway: Gateway) -> None:
    """Short of funds in the middle of a file: the line's next attempt waits for the top-up instead of spinning."""
    await gateway.pay(1)
    await gateway.answer(
        {"proof": "NOT_TAKEN", "reference": gateway.reference_of(1), "reason": "FUNDS_SHORT", "code": "3008"}
    )
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    gateway.clock.forward(minutes=31)
    await gateway.send()
    assert len(gateway.bank.sent) == 2
    assert len(set(gateway.bank.references())) == 2


async def test_a_refused_order_is_answered_once_however_often_it_comes(gateway: Gateway) -> None:
    """Refused, and remembered: the same bytes again are a repeat, also when by then the order would have fitted."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    first = await gateway.order("REISSUE", "O-1", 1, 1)
    assert (first.refused, first.answered) == (RefusalReason.IN_DOUBT, True)  # nobody else has to answer it
    await gateway.answer(rejected(gateway, 1))
    again = await gateway.order("REISSUE", "O-1", 1, 1)
    assert (again.repeated, again.refused) == (True, None)
    assert [one["order_id"] for one in await gateway.published("refusals")] == ["O-1"]
    assert await gateway.buckets() == {"failed": 1}


async def test_each_order_is_kept_with_its_decision(gateway: Gateway) -> None:
    """An auditor reads in the books which orders were applied, and why each of the others was refused."""
    await failed(gateway, 2)
    await gateway.order("REISSUE", "O-1", 1, 1)
    await gateway.order("REISSUE", "O-2", 1, 1)
    await gateway.order("REISSUE", "O-3", 2, 1)
    await gateway.order("RECALL", "O-4", None, None)
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT order_id, outcome FROM orders ORDER BY order_no")
    found = [(row["order_id"], row["outcome"]) for row in rows]
    assert found == [("O-1", "APPLIED"), ("O-2", "STALE_ATTEMPT"), ("O-3", "ALREADY_CREDITED"), ("O-4", "APPLIED")]


async def test_an_order_about_a_list_that_is_being_judged_is_read_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the list is judged: whether the line exists is not known yet, so nothing is decided and nothing kept."""
    monkeypatch.setattr(failures, "_JUDGING_POLLS", 1)
    monkeypatch.setattr(failures, "_JUDGING_POLL_SECONDS", 0)
    await gateway.batch([kit.line(number) for number in (1, 2)], parts=2)
    assert await gateway.intake.judge_next()
    with pytest.raises(TimeoutError):
        await gateway.order("CANCEL", "O-1", 2, 1)
    await gateway.judge()
    assert (await gateway.order("CANCEL", "O-1", 2, 1)).refused is None
    assert await gateway.outcomes() == [(2, 1, "cancelled", None)]
