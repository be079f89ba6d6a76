"""Leases, fences and the passing of time: who may send, who may not any more, and when silence becomes doubt."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from adapters.contract import Evidence, Proof, Reason, Rendered
from gateway.dispatch import Dispatch, _uptime_seconds
from gateway.store.evidence import Heard
from gateway.store.store import Store
from gateway.store.submissions import Claim, Fenced, claim_of
from gateway.verify import Verify
from tests.store import kit
from tests.store.kit import Gateway, expire
from tests.store.test_payment import credited, rejected


def second(gateway: Gateway, owner: str = "second") -> Store:
    """The store as another process has it."""
    return Store(gateway.store.engine, owner, gateway.config.timing.lease_seconds)


def other_dispatch(gateway: Gateway) -> Dispatch:
    one = gateway.dispatch
    return Dispatch(
        second(gateway), {"rcc_file": gateway.entry}, one._reference, gateway.vault, gateway.clock, gateway.config
    )


async def rendered(gateway: Gateway, count: int = 1) -> None:
    await gateway.batch([kit.line(n) for n in range(1, count + 1)])
    await gateway.fund(f"{count * 100}.00")
    await gateway.judge()
    await gateway.cut_and_render()


async def claim_to_send(gateway: Gateway, store: Store | None = None) -> Claim:
    return claim_of((await (store or gateway.store).submissions.claim_to_send("rcc_file", gateway.clock.now(), 1))[0])


async def sending(gateway: Gateway, claim: Claim, store: Store | None = None) -> dt.datetime:
    now = gateway.clock.now()
    return await (store or gateway.store).submissions.write_sending(claim, now, now + dt.timedelta(days=1), now)


async def state(gateway: Gateway) -> str:
    return str((await gateway.store.reads.submissions(1))[-1]["state"])


async def test_a_lease_that_ended_before_sending_sends_nothing(gateway: Gateway) -> None:
    """Whoever lost the lease cannot commit SENDING: the wire is not touched, and the next one sends once."""
    await rendered(gateway)
    claim = await claim_to_send(gateway)
    await expire(gateway)
    with pytest.raises(Fenced):
        await sending(gateway, claim)
    assert await state(gateway) == "RENDERED"
    await gateway.send()
    assert len(gateway.bank.sent) == 1


async def test_a_claim_taken_over_fences_the_first_holder(gateway: Gateway) -> None:
    """A newer fence wins although the older claim's work goes on: only one of the two may send."""
    await rendered(gateway)
    first = await claim_to_send(gateway)
    await expire(gateway)
    later = await claim_to_send(gateway, second(gateway))
    assert later.fence == first.fence + 1
    with pytest.raises(Fenced):
        await sending(gateway, first)
    assert not await gateway.store.submissions.renew(first)
    await gateway.store.submissions.release(first)
    await sending(gateway, later)
    assert await state(gateway) == "SENDING"


async def test_the_dispatcher_itself_touches_no_wire_when_it_is_fenced(gateway: Gateway) -> None:
    """A process that stands still between claim and SENDING wakes up, is fenced, and sends nothing."""
    await rendered(gateway)
    rows = await gateway.store.submissions.claim_to_send("rcc_file", gateway.clock.now(), 1)
    await expire(gateway)
    await other_dispatch(gateway).send(gateway.entry)
    await gateway.dispatch._send_one(gateway.entry, rows[0], _uptime_seconds())
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"in_flight": 1}


async def test_a_held_claim_is_not_given_twice(gateway: Gateway) -> None:
    """While a lease runs nobody else gets the submission, neither to render, to send nor to ask about."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.dispatch.plan()
    other, now = second(gateway).submissions, gateway.clock.now()
    assert len(await gateway.store.submissions.claim_to_render("rcc_file", now, 5)) == 1
    assert await other.claim_to_render("rcc_file", now, 5) == []
    await expire(gateway)
    await gateway.cut_and_render()
    claim = await claim_to_send(gateway)
    assert await other.claim_to_send("rcc_file", now, 5) == []
    assert await gateway.store.submissions.renew(claim)
    assert await other.claim_to_send("rcc_file", now, 5) == []


async def test_two_dispatchers_send_each_submission_once(database: str) -> None:
    """Two processes over the same books share the work: every reference travels exactly once."""
    async with kit.open_gateway(database, max_lines=1) as gateway:
        await gateway.batch([kit.line(n) for n in range(1, 13)])
        await gateway.fund("1200.00")
        await gateway.judge()
        one, two = gateway.dispatch, other_dispatch(gateway)
        for _ in range(12):
            await asyncio.gather(one.plan(), two.plan())
            await asyncio.gather(one.render(gateway.entry), two.render(gateway.entry))
            await asyncio.gather(one.send(gateway.entry), two.send(gateway.entry))
        references = gateway.bank.references()
        assert len(references) == len(set(references)) == 12
        assert await gateway.buckets() == {"in_flight": 12}


async def test_an_abandoned_sending_is_doubted_once_and_only_after_its_lease(gateway: Gateway) -> None:
    """SENDING under a running lease is left alone; afterwards one process puts it in doubt, and asks at once."""
    await rendered(gateway)
    claim = await claim_to_send(gateway)
    await sending(gateway, claim)
    assert await gateway.store.submissions.doubt_abandoned(gateway.clock.now()) == 0
    await expire(gateway)
    both = (gateway.store, second(gateway))
    assert sum(await asyncio.gather(*(s.submissions.doubt_abandoned(gateway.clock.now()) for s in both))) == 1
    assert await gateway.buckets() == {"in_doubt": 1}
    assert not await gateway.store.submissions.renew(claim)
    asked = await gateway.store.submissions.claim_to_probe("rcc_file", gateway.clock.now(), 5)
    assert [row["submission_id"] for row in asked] == [claim.submission_id]


async def test_a_sending_that_is_renewed_at_the_last_moment_is_not_doubted(gateway: Gateway) -> None:
    """Found abandoned, then renewed while the finder waited for the batch: its call goes on, and nobody fences it."""
    await rendered(gateway)
    claim = await claim_to_send(gateway)
    await sending(gateway, claim)
    await expire(gateway)
    async with gateway.store.engine.transaction() as holder:
        await holder.execute("SELECT 1 FROM batches FOR UPDATE")
        finder = asyncio.create_task(gateway.store.submissions.doubt_abandoned(gateway.clock.now()))
        async with asyncio.timeout(30):
            while not await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.02)
        assert await gateway.store.submissions.renew(claim)
    assert await finder == 0
    assert await state(gateway) == "SENDING"


async def test_the_answer_of_a_fenced_process_is_still_evidence(gateway: Gateway) -> None:
    """What a bank proves is true whoever heard it: the zombie's RECEIVED ends the doubt."""
    await rendered(gateway)
    claim = await claim_to_send(gateway)
    sent_at = await sending(gateway, claim)
    await expire(gateway)
    await gateway.store.submissions.doubt_abandoned(gateway.clock.now())
    heard = Heard("rcc_file", gateway.clock.now(), sent_at, submission_id=claim.submission_id)
    await second(gateway).evidence.record(heard, [Evidence(Proof.RECEIVED)])
    assert await gateway.buckets() == {"in_flight": 1}


async def test_a_zombie_cannot_say_that_nothing_was_sent(gateway: Gateway) -> None:
    """NOT_SENT of a process that was fenced is not believed: neither in doubt nor about a newer transmission."""
    await rendered(gateway)
    claim = await claim_to_send(gateway)
    first_sent_at = await sending(gateway, claim)
    await expire(gateway)
    await gateway.store.submissions.doubt_abandoned(gateway.clock.now())
    zombie = Heard("rcc_file", gateway.clock.now(), first_sent_at, submission_id=claim.submission_id)
    await gateway.store.evidence.record(zombie, [Evidence(Proof.NOT_SENT)])
    assert await state(gateway) == "IN_DOUBT"
    gateway.clock.forward(hours=1)
    absent = Heard("rcc_file", gateway.clock.now(), gateway.clock.now(), 1800, claim.submission_id)
    await gateway.store.evidence.record(absent, [Evidence(Proof.ABSENT)])
    again = await claim_to_send(gateway, second(gateway))
    await sending(gateway, again, second(gateway))
    await gateway.store.evidence.record(zombie, [Evidence(Proof.NOT_SENT)])
    assert await state(gateway) == "SENDING"


async def test_a_second_transmission_in_the_same_instant_is_later_than_the_first(gateway: Gateway) -> None:
    """Transmissions of one submission never share a time, so an answer to the first never speaks of the second."""
    gateway.bank.submits = kit.refuse_connection
    await rendered(gateway)
    first = await sending(gateway, claim := await claim_to_send(gateway))
    heard = Heard("rcc_file", first, first, submission_id=claim.submission_id, deferred_until=first)
    await gateway.store.evidence.record(heard, [Evidence(Proof.NOT_SENT)])
    await gateway.store.submissions.release(claim)
    assert await sending(gateway, await claim_to_send(gateway)) > first


@pytest.mark.parametrize("fact", ["credited", "rejected", "process", "fee"])
async def test_a_word_about_one_line_of_a_deferred_submission_forbids_sending_it_again(
    gateway: Gateway, fact: str
) -> None:
    """Deferred as the bank had nothing; then it speaks of one line: so it has the bytes, and nothing travels."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
    gateway.clock.forward(hours=1)
    await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"queued": 2}
    await gateway.answer(
        {
            "credited": credited(gateway, 1),
            "rejected": rejected(gateway, 1),
            "process": {"proof": "IN_PROCESS", "reference": gateway.reference_of(1)},
            "fee": credited(gateway, 1, amount_fen=9_900),
        }[fact]
    )
    gateway.bank.probes = lambda rendered, wire: []
    for _ in range(3):
        gateway.clock.forward(hours=2)
        await gateway.send()
        await gateway.verify.probe(gateway.entry)
    assert len(gateway.bank.sent) == 1
    assert (await gateway.buckets())["in_doubt"] == 1


async def test_absent_and_credited_in_one_answer_never_send_the_file_again(gateway: Gateway) -> None:
    """A bank that contradicts itself in one answer is believed about the money, and the file stays where it is."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    first = gateway.reference_of(1)
    gateway.bank.probes = lambda rendered, wire: [
        Evidence(Proof.CREDITED, reference=first, amount_fen=10_000),
        Evidence(Proof.NOT_TAKEN, reason=Reason.FORMAT),
    ]
    gateway.clock.forward(hours=1)
    await gateway.verify.probe(gateway.entry)
    gateway.bank.probes = lambda rendered, wire: []
    gateway.clock.forward(hours=2)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"credited": 1, "in_doubt": 1}


async def test_a_contradiction_about_one_line_forbids_sending_the_others_again(gateway: Gateway) -> None:
    """The bank booked a wrong amount for one line, then says it took nothing: it had the file, so nothing travels."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1, amount_fen=9_900))
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.NOT_TAKEN), Evidence(Proof.ABSENT)]
    for _ in range(3):
        gateway.clock.forward(hours=2)
        await gateway.verify.probe(gateway.entry)
        await gateway.send()
    assert len(gateway.bank.sent) == 1
    assert await gateway.buckets() == {"conflict": 1, "in_doubt": 1}


async def test_bytes_on_the_wire_or_of_somebody_else_are_not_taken_back(gateway: Gateway) -> None:
    """Only bytes that never travelled are rendered anew: not those being sent, those that were, or another's claim."""
    await rendered(gateway)
    claim, take_back = await claim_to_send(gateway), gateway.store.limits.take_back
    now = gateway.clock.now()
    with pytest.raises(Fenced):
        await take_back(replace(claim, fence=claim.fence - 1), now)
    await sending(gateway, claim)
    with pytest.raises(Fenced):
        await take_back(claim, now)
    assert await state(gateway) == "SENDING"
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM submissions") == 1


async def test_doubt_is_held_four_working_hours_before_the_limit_and_asked_about_on(gateway: Gateway) -> None:
    """The limit is Friday's end; people work until 18:00, so from 14:00 doubt is a person's business."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(1)
    gateway.clock.forward(days=3, hours=3, minutes=59)
    assert not await gateway.verify.watch_time(gateway.entry)
    gateway.clock.forward(minutes=1)
    assert await gateway.verify.watch_time(gateway.entry)
    assert await state(gateway) == "HELD"
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT event FROM history ORDER BY seq DESC LIMIT 1") == "HELD"
    assert not await gateway.verify.watch_time(gateway.entry)
    count = await gateway.store.reads.count(1)
    assert (count.held, await gateway.buckets()) == ({"rcc_file": 1}, {"in_doubt": 1})
    gateway.bank.probes = lambda rendered, wire: [
        Evidence(Proof.CREDITED, reference=rendered.references[0], amount_fen=10_000)
    ]
    assert await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"credited": 1}


async def test_a_line_in_doubt_by_itself_is_held_too(gateway: Gateway) -> None:
    """The bank doubts one line of a file it has; close to the limit that line is held, the others are not."""
    await gateway.pay(2)
    await gateway.answer({"proof": "IN_DOUBT", "reference": gateway.reference_of(1)}, credited(gateway, 2))
    gateway.clock.forward(days=3, hours=4)
    assert await gateway.verify.watch_time(gateway.entry)
    assert (await gateway.store.reads.count(1)).held == {"rcc_file": 1}
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"credited": 2}


async def test_silence_past_the_due_time_is_doubt_and_is_asked_about(gateway: Gateway) -> None:
    """Lines that hear nothing final in the bank's own time are in doubt, and never sent again."""
    await gateway.pay(2)
    await gateway.answer({"proof": "IN_PROCESS", "reference": gateway.reference_of(1)})
    gateway.clock.forward(hours=23, minutes=59)
    assert not await gateway.verify.watch_time(gateway.entry)
    gateway.clock.forward(minutes=1)
    assert await gateway.verify.watch_time(gateway.entry)
    assert await gateway.buckets() == {"in_doubt": 2}
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    await gateway.answer(credited(gateway, 1), credited(gateway, 2))
    assert await gateway.buckets() == {"credited": 2}


async def test_a_bank_that_keeps_saying_still_working_is_not_asked_without_end(gateway: Gateway) -> None:
    """After silence the bank answers "I have it": it is asked on the schedule again, not again and again at once."""
    asked = []

    def still_working(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        asked.append(gateway.clock.now())
        return [Evidence(Proof.IN_PROCESS)]

    await gateway.pay(1)
    gateway.bank.probes = still_working
    gateway.clock.forward(days=1)
    for _ in range(10):
        await gateway.verify.watch_time(gateway.entry)
        await gateway.verify.probe(gateway.entry)
    assert len(asked) == 1
    assert await gateway.buckets() == {"in_flight": 1}
    gateway.clock.forward(days=2)
    await gateway.verify.watch_time(gateway.entry)
    assert await gateway.buckets() == {"in_doubt": 1}


async def test_a_bank_in_sending_hours_gets_no_more_calls_at_once_than_it_allows(database: str) -> None:
    """Submissions on the wire count for all processes together; a full bank gets no further call."""
    async with kit.open_gateway(database, max_lines=1, max_in_flight=2) as gateway:
        await rendered(gateway, 3)
        for _ in range(2):
            await sending(gateway, await claim_to_send(gateway))
        assert not await gateway.dispatch.send(gateway.entry)
        assert gateway.bank.sent == []


async def test_nothing_leaves_outside_the_bank_s_hours(database: str) -> None:
    """Before the opening and after the cut-off nothing is sent; at the opening it is."""
    hours: dict[str, Any] = {"opens": dt.time(11, 0), "cut_off": dt.time(17, 0), "working_days_only": True}
    async with kit.open_gateway(database, **hours) as gateway:
        await gateway.pay(1)
        assert gateway.bank.sent == []
        gateway.clock.forward(hours=1)
        await gateway.send()
        assert len(gateway.bank.sent) == 1


async def test_a_named_lease_has_one_holder_and_a_new_fence_for_each(gateway: Gateway) -> None:
    """Collectors and relays: one at a time; given back or run out, the next one gets a higher fence."""
    one, two = gateway.store.submissions, second(gateway).submissions
    assert await one.lease("collect-x") == 1
    assert await one.lease("collect-x") == 1
    assert await two.lease("collect-x") is None
    await two.give_back("collect-x")
    assert await two.lease("collect-x") is None
    await one.give_back("collect-x")
    assert await two.lease("collect-x") == 2
    assert await one.lease("collect-x") is None


async def test_only_one_process_collects_a_bank(gateway: Gateway) -> None:
    """Result files are read by one collector at a time, and the cursor makes each be read once."""
    await gateway.pay(1)
    assert await second(gateway).submissions.lease("collect-rcc_file") is not None
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"in_flight": 1}
    await second(gateway).submissions.give_back("collect-rcc_file")
    assert await gateway.verify.collect(gateway.entry)
    assert not await gateway.verify.collect(gateway.entry)
    assert await gateway.buckets() == {"credited": 1}


async def test_a_crash_after_recording_and_before_the_cursor_reads_the_file_twice(gateway: Gateway) -> None:
    """Collected, recorded, killed before the cursor moved: the same file again changes nothing."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    await gateway.store.submissions.move_cursor("rcc_file", "")
    verify = Verify(gateway.store, {"rcc_file": gateway.entry}, gateway.vault, gateway.clock, gateway.config)
    assert await verify.collect(gateway.entry)
    assert await gateway.buckets() == {"credited": 1}
    assert len(await gateway.outcomes()) == 1


async def test_a_process_that_stood_still_after_sending_was_written_touches_no_wire(gateway: Gateway) -> None:
    """Stopped while its SENDING was being committed, a process wakes up past its lease and leaves the bank alone."""
    await rendered(gateway)
    rows = await gateway.store.submissions.claim_to_send("rcc_file", gateway.clock.now(), 1)
    claimed_at = _uptime_seconds() - gateway.config.timing.lease_seconds
    await gateway.dispatch._send_one(gateway.entry, rows[0], claimed_at)
    assert gateway.bank.sent == []
    assert await gateway.buckets() == {"in_flight": 1}
    await expire(gateway)
    assert await gateway.verify.doubt_abandoned()
    assert await gateway.buckets() == {"in_doubt": 1}


async def test_whoever_asks_has_the_submission_to_himself(gateway: Gateway) -> None:
    """One process asks about a submission at a time, under a fence greater than any before it."""
    await gateway.pay(1)
    gateway.clock.forward(days=1)
    now, claims = gateway.clock.now(), []
    for store in (gateway.store, second(gateway)):
        claims.append(await store.submissions.claim_to_probe("rcc_file", now, 1))
    ((mine,), nothing) = claims
    assert nothing == []
    await expire(gateway)
    (theirs,) = await second(gateway).submissions.claim_to_probe("rcc_file", now, 1)
    assert theirs["fence"] > mine["fence"]


async def test_whoever_sends_has_the_submission_to_himself(gateway: Gateway) -> None:
    """A claim to send keeps others out for as long as its lease, under a fence greater than any before it."""
    await rendered(gateway)
    mine = await claim_to_send(gateway)
    now = gateway.clock.now()
    assert await second(gateway).submissions.claim_to_send("rcc_file", now, 1) == []
    await expire(gateway)
    assert (await claim_to_send(gateway, second(gateway))).fence > mine.fence
