"""The way of a payout through the books: paid once, told once, and never sent again while nobody knows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from adapters.contract import Artefact, Evidence, NotFound, Proof, Reason, Rendered
from gateway.store import planning
from gateway.store.submissions import claim_of
from tests.store import kit
from tests.store.kit import Gateway


def credited(gateway: Gateway, seq: int, **more: object) -> dict[str, Any]:
    return {
        "proof": "CREDITED",
        "reference": gateway.reference_of(seq),
        "amount_fen": 10_000,
        "host_reference": f"H{seq}",
        "code": "0000",
        **more,
    }


def rejected(gateway: Gateway, seq: int, reason: Reason = Reason.ACCOUNT_CLOSED) -> dict[str, Any]:
    return {"proof": "REJECTED", "reference": gateway.reference_of(seq), "reason": reason.value, "code": "3018"}


async def test_a_funded_list_is_sent_once_and_credited(gateway: Gateway) -> None:
    """A list travels to the bank once, and each confirmed credit makes one receipt and one notice."""
    await gateway.pay(3)
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"in_flight": 3}
    await gateway.answer(*(credited(gateway, seq) for seq in (1, 2, 3)))
    assert await gateway.buckets() == {"credited": 3}
    assert sorted(await gateway.outcomes()) == [(n, 1, "credited", None) for n in (1, 2, 3)]
    calls = await gateway.store.notices.claim(gateway.clock.now(), 10)
    assert [list(call["payouts"]) for call in calls] == [[(1 << 20) + n for n in (1, 2, 3)]]
    assert len(gateway.bank.sent) == 1


async def test_nothing_is_paid_before_the_money_covers_the_approved_lines(gateway: Gateway) -> None:
    """A batch whose funds fall short waits in AWAITING_FUNDS and is never sent."""
    await gateway.batch([kit.line(n) for n in (1, 2)])
    await gateway.fund("199.99")
    await gateway.judge()
    await gateway.send()
    assert await gateway.buckets() == {"awaiting_funds": 2}
    assert gateway.bank.sent == []
    await gateway.fund("0.01", funding_id="F-2")
    await gateway.judge()
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 2}


async def test_a_timeout_after_the_bytes_left_is_asked_about_and_never_sent_again(gateway: Gateway) -> None:
    """Unknown is never sent again: the bank took it, the line went dead, and only the answer to a question moves it."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    assert await gateway.buckets() == {"in_doubt": 2}
    for _ in range(5):
        gateway.clock.forward(hours=2)
        await gateway.send()
        await gateway.verify.probe(gateway.entry)
    assert len(gateway.bank.sent) == 1
    gateway.bank.probes = lambda rendered, wire: [
        Evidence(Proof.CREDITED, reference=r, amount_fen=10_000, host_reference=r[-4:]) for r in rendered.references
    ]
    gateway.clock.forward(hours=2)
    await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"credited": 2}
    assert len(gateway.bank.sent) == 1


async def test_a_refused_connection_sends_the_same_bytes_later(gateway: Gateway) -> None:
    """Before the point of no return nothing can have been paid: the same bytes under the same references go again."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(2)
    assert await gateway.buckets() == {"queued": 2}
    gateway.bank.submits = kit.received
    gateway.clock.forward(minutes=5)
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 2}
    assert len(gateway.bank.sent) == 1


async def test_absent_before_the_settling_time_is_not_believed(gateway: Gateway) -> None:
    """Not found permits a second transmission only after the bank's settling time, and then with the same bytes."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
    gateway.clock.forward(minutes=10)
    await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"in_doubt": 1}
    gateway.bank.submits = kit.received
    gateway.clock.forward(minutes=40)
    await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"queued": 1}
    gateway.clock.forward(minutes=10)
    await gateway.send()
    assert [r.sha256 for r in gateway.bank.sent] == [gateway.bank.sent[0].sha256] * 2


async def test_a_clock_that_was_set_forward_shortens_no_settling_time(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour that only the clock went by is no hour: "not found" permits nothing until settling has really passed."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
    gateway.clock.forward(hours=24)
    monkeypatch.setattr(kit.HandClock, "steady_since", gateway.clock.now())
    await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"in_doubt": 1}
    gateway.clock.forward(hours=2)
    await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"queued": 1}


async def test_absent_is_never_proof_where_the_bank_does_not_say_so(database: str) -> None:
    """A bank whose "not found" is meaningless never gets the same submission twice."""
    async with kit.open_gateway(database, not_found=NotFound.MEANINGLESS) as gateway:
        gateway.bank.submits = kit.hang_up
        await gateway.pay(1)
        gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
        for _ in range(4):
            gateway.clock.forward(days=1)
            await gateway.verify.probe(gateway.entry)
            await gateway.send()
        assert len(gateway.bank.sent) == 1


async def test_one_absent_line_gets_a_new_attempt_and_the_others_are_left_alone(gateway: Gateway) -> None:
    """A line that alone never reached the bank is closed, its reference burned, and planned anew by itself."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    first, second = gateway.bank.sent[0].references
    gateway.bank.probes = lambda rendered, wire: [
        Evidence(Proof.CREDITED, reference=first, amount_fen=10_000, host_reference="H1"),
        Evidence(Proof.ABSENT, reference=second),
    ]
    gateway.bank.submits = kit.received
    gateway.clock.forward(hours=1)
    await gateway.verify.probe(gateway.entry)
    gateway.bank.probes = lambda rendered, wire: []
    await gateway.send()
    assert len(gateway.bank.sent) == 2
    assert len(set(gateway.bank.references())) == 3
    assert await gateway.buckets() == {"credited": 1, "in_flight": 1}
    await gateway.answer(credited(gateway, 1))
    assert sorted(await gateway.outcomes()) == [
        (1, 1, "credited", None),
        (2, 1, "failed", "NOT_EXECUTED"),
        (2, 2, "credited", None),
    ]


async def test_the_same_result_twice_changes_nothing(gateway: Gateway) -> None:
    """Repeated evidence is a no-op: one receipt, one notice, no conflict."""
    await gateway.pay(2)
    rows = [credited(gateway, 1), rejected(gateway, 2)]
    await gateway.answer(*rows)
    await gateway.answer(*rows)
    await gateway.answer(rows[1], rows[0])
    assert await gateway.buckets() == {"credited": 1, "failed": 1}
    assert len(await gateway.outcomes()) == 2


async def test_a_return_reopens_the_payout_and_a_stale_credit_does_not_close_it(gateway: Gateway) -> None:
    """Credited then returned is legal; the same credit read again afterwards is nothing new."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    back = {**credited(gateway, 1, host_reference="R1"), "proof": "RETURNED", "reason": "RETURNED_AFTER_CREDIT"}
    await gateway.answer(back)
    await gateway.answer(credited(gateway, 1), back)
    assert await gateway.buckets() == {"failed": 1}
    assert [o[2] for o in await gateway.outcomes()] == ["credited", "returned"]
    kinds = [call["kind"] for call in await gateway.store.notices.claim(gateway.clock.now(), 10)]
    assert kinds == ["ARRIVAL", "CORRECTION"]


async def test_a_return_read_before_its_credit_implies_it(gateway: Gateway) -> None:
    """Files come out of order: a return alone proves the credit as well, so both receipts are there once."""
    await gateway.pay(1)
    await gateway.answer({**credited(gateway, 1, host_reference="R1"), "proof": "RETURNED"})
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"failed": 1}
    assert [o[2] for o in await gateway.outcomes()] == ["credited", "returned"]


async def test_another_amount_freezes_the_payout(gateway: Gateway) -> None:
    """D6: a credit that differs from the approved amount by one fen is a conflict, and no receipt calls it paid."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1, amount_fen=9_999))
    assert await gateway.buckets() == {"conflict": 1}
    assert await gateway.outcomes() == []


async def test_late_success_of_a_failed_attempt_is_a_conflict_and_nothing_more_is_sent(gateway: Gateway) -> None:
    """The bank pays what it had rejected, while the re-issue waits to be sent: frozen, and the re-issue stays here."""
    await gateway.pay(1)
    await gateway.answer(rejected(gateway, 1))
    late = credited(gateway, 1)
    assert (await gateway.order("REISSUE", "O-1", 1, 1)).refused is None
    await gateway.answer(late)
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert await gateway.buckets() == {"conflict": 1}
    assert len(gateway.bank.sent) == 1


async def test_a_batch_that_leads_nowhere_holds_no_other_up(gateway: Gateway) -> None:
    """When a bank is taken out of the configuration, its approved lines wait and page; other batches are paid."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    gateway.dispatch._banks = {}
    assert await gateway.dispatch.plan()
    assert not await gateway.dispatch.plan()
    assert await gateway.buckets() == {"queued": 1}
    gateway.dispatch._banks = {gateway.bank.name: gateway.entry}
    gateway.clock.forward(minutes=11)
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 1}


async def test_evidence_of_an_unknown_reference_credits_nobody(gateway: Gateway) -> None:
    """A result line that names no attempt of this bank is kept and counted, and moves nothing."""
    await gateway.pay(1)
    await gateway.answer({**credited(gateway, 1), "reference": "NOBODYSREFERENCE0000000000"})
    assert await gateway.buckets() == {"in_flight": 1}
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT effect FROM evidence") == "UNMATCHED"


async def test_a_torn_file_yields_nothing_and_the_others_go_on(gateway: Gateway) -> None:
    """An artefact that cannot be trusted is quarantined whole; the next one is read."""
    await gateway.pay(1)
    gateway.bank.files.append(Artefact.of("torn", b"torn"))
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"credited": 1}
    async with gateway.store.engine.connection() as connection:
        quarantined = await connection.fetch("SELECT name FROM artefacts WHERE quarantined IS NOT NULL")
    assert [row["name"] for row in quarantined] == ["torn"]


async def test_a_name_the_bank_cannot_write_fails_before_sending(gateway: Gateway) -> None:
    """NAME_NOT_ENCODABLE: the line fails with its reason, unsent; the others of its submission are paid."""
    gateway.bank.unwritable = {"龘"}
    await gateway.batch([kit.line(1), kit.line(2, name="龘")])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.send()
    assert len(gateway.bank.references()) == 1
    assert await gateway.buckets() == {"in_flight": 1, "failed": 1}
    assert await gateway.outcomes() == [(2, 1, "failed", "NAME_NOT_ENCODABLE")]


async def test_a_file_without_such_a_line_travels_again_when_it_was_not_taken(gateway: Gateway) -> None:
    """What we ourselves said of a line is no word of the bank: the file was busy's victim, and its bytes go again."""
    gateway.bank.unwritable = {"龘"}
    gateway.bank.submits = lambda rendered, wire: [Evidence(Proof.NOT_TAKEN, reason=Reason.BANK_BUSY)]
    await gateway.batch([kit.line(1), kit.line(2, name="龘")])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.send()
    gateway.bank.submits = kit.received
    gateway.clock.forward(hours=1)
    await gateway.send()
    first, second = gateway.bank.sent
    assert (first.payload, first.references) == (second.payload, second.references)
    assert await gateway.buckets() == {"in_flight": 1, "failed": 1}


async def test_a_format_refusal_pauses_the_bank_and_makes_no_receipt(gateway: Gateway) -> None:
    """NOT_TAKEN for format retires the submission and pauses the bank; after the mend the same references travel."""
    refused = [Evidence(Proof.NOT_TAKEN, reason=Reason.FORMAT, code="F001")]

    def refuse(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return refused

    gateway.bank.submits = refuse
    await gateway.pay(2)
    before = gateway.bank.references()
    gateway.bank.submits = kit.received
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"queued": 2}
    assert await gateway.outcomes() == []
    assert [row["pause_reason"] for row in await gateway.store.pauses.resume(["rcc_file"])] == ["FORMAT"]
    await gateway.send()
    assert gateway.bank.references() == before * 2
    assert await gateway.buckets() == {"in_flight": 2}


async def test_other_bytes_under_our_reference_stop_the_bank(gateway: Gateway) -> None:
    """A bank that holds another content under our reference is asked, not sent to, and a person is called."""

    def other_digest(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return [Evidence(Proof.IN_DOUBT, reason=Reason.DUPLICATE, code="409_OTHER_DIGEST")]

    gateway.bank.submits = other_digest
    await gateway.pay(2)
    assert await gateway.buckets() == {"in_doubt": 2}
    assert await gateway.store.pauses.paused() == {"rcc_file": "DUPLICATE"}


async def test_short_funds_at_the_bank_wait_and_travel_again_unchanged(gateway: Gateway) -> None:
    """FUNDS_SHORT took nothing: same reference, same bytes, later, and no failed receipt."""
    answers = [[Evidence(Proof.NOT_TAKEN, reason=Reason.FUNDS_SHORT, code="F007")], [Evidence(Proof.RECEIVED)]]

    def answer(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return answers.pop(0)

    gateway.bank.submits = answer
    await gateway.pay(1)
    assert await gateway.buckets() == {"queued": 1}
    gateway.clock.forward(minutes=31)
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 1}
    assert gateway.bank.sent[0].sha256 == gateway.bank.sent[1].sha256
    assert await gateway.outcomes() == []


async def test_a_crash_while_sending_is_doubt_not_a_resend(gateway: Gateway) -> None:
    """SENDING whose process is gone becomes doubt once its lease has passed, and is asked about, not sent."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.cut_and_render()
    row = (await gateway.store.submissions.claim_to_send("rcc_file", gateway.clock.now(), 1))[0]
    claim, now = claim_of(row), gateway.clock.now()
    await gateway.store.submissions.write_sending(claim, now, now + dt.timedelta(days=1), now)
    assert not await gateway.verify.doubt_abandoned()
    await gateway.store.submissions.release(claim)
    assert await gateway.verify.doubt_abandoned()
    assert await gateway.buckets() == {"in_doubt": 1}
    gateway.clock.forward(hours=3)
    await gateway.send()
    assert gateway.bank.sent == []


async def test_a_list_longer_than_a_piece_of_work_is_cut_once_from_end_to_end(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece begins behind the last line of the one before: no line is cut twice, and none is left out."""
    monkeypatch.setattr(planning, "CHUNK", 2)
    await gateway.pay(5)
    assert await gateway.buckets() == {"in_flight": 5}
    assert len(set(gateway.bank.references())) == len(gateway.bank.references()) == 5
