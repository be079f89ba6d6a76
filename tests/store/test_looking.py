"""What people and gauges are shown: who waits for an order, and which deadline is the nearest."""

from __future__ import annotations

import datetime as dt

from gateway import metrics
from gateway.clock import SHANGHAI
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected

LIMIT = dt.datetime(2026, 11, 28, tzinfo=SHANGHAI)


async def waiting(gateway: Gateway, batch_no: int | None = None) -> list[tuple[int, str]]:
    """Line and state of what waits for an order."""
    rows = await gateway.store.reads.failures(batch_no)
    return [(row["payout_id"] & 0xFFFFF, row["state"]) for row in rows]


async def test_whatever_needs_an_order_is_listed_once_and_nothing_else(gateway: Gateway) -> None:
    """Refused and returned, until an order acts. Credited, open and cancelled are not there."""
    await gateway.pay(4)
    returned = credited(gateway, 2) | {"proof": "RETURNED", "host_reference": "R2"}
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2), returned, credited(gateway, 3))
    assert await waiting(gateway, 1) == [(1, "REJECTED"), (2, "RETURNED")] == await waiting(gateway)
    await gateway.order("REISSUE", "O-1", 1, 1)
    await gateway.order("CANCEL", "O-2", 2, 1)
    assert await waiting(gateway) == []


async def test_a_list_of_what_waits_is_no_longer_than_asked(gateway: Gateway) -> None:
    """The limit holds over batches together, oldest batch first."""
    for number in (1, 2):
        lines = [kit.line(number * 10 + seq) | {"line": seq} for seq in (1, 2)]
        await gateway.batch(lines, f"B-{number}")
        await gateway.fund("200.00", f"B-{number}", f"F-{number}")
        await gateway.judge()
        await gateway.send()
        await gateway.answer(rejected(gateway, 1), rejected(gateway, 2))
    for most in (1, 2, 3, 4, 9):
        rows = await gateway.store.reads.failures(limit=most)
        assert [row["payout_id"] >> 20 for row in rows] == [1, 1, 2, 2][:most]


async def test_the_nearest_deadlines_are_those_of_open_work(gateway: Gateway) -> None:
    """The limit of what is not cut or open at a bank, target, feedback and receipts; no limit when all is done."""
    nothing = {"limit": None, "target": None, "feedback": None, "receipt": None}
    assert await gateway.store.reads.nearest_deadlines() == nothing
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    uncut = await gateway.store.reads.nearest_deadlines()
    assert (uncut["limit"], uncut["receipt"]) == (LIMIT, None)
    assert None not in (uncut["target"], uncut["feedback"])
    await gateway.send()
    assert await gateway.store.reads.nearest_deadlines() == uncut
    await gateway.answer(credited(gateway, 1))
    done = await gateway.store.reads.nearest_deadlines()
    assert (done["limit"], done["receipt"] is None) == (None, False)


async def test_each_clock_shows_its_nearest_deadline_of_all_lists(gateway: Gateway) -> None:
    """An older list at the bank, a newer one that is not cut, receipts of both: each clock shows the older one's."""
    await gateway.pay(1)
    older = await gateway.store.reads.nearest_deadlines()
    gateway.clock.forward(days=7)
    now = gateway.clock.now().isoformat()
    for part in gateway.signed_parts([kit.line(2) | {"line": 1}], "B-2", list_received_at=now):
        await gateway.intake.take_batch(*part)
    await gateway.fund("100.00", "B-2", "F-2")
    await gateway.judge()
    assert await gateway.store.reads.nearest_deadlines() == older
    await gateway.answer(credited(gateway, 1))
    told = await gateway.store.reads.nearest_deadlines()
    assert told["limit"] == LIMIT + dt.timedelta(days=7)
    gateway.clock.forward(days=1)
    await gateway.send()
    await gateway.answer(credited(gateway, 1))
    assert (await gateway.store.reads.nearest_deadlines())["receipt"] == told["receipt"] is not None


async def test_the_limit_of_a_list_that_is_not_cut_is_nearer_than_a_reissue_s(gateway: Gateway) -> None:
    """A re-issue has its own, later limit: what was approved before it and is not cut yet comes first."""
    await gateway.pay(1)
    await gateway.answer(rejected(gateway, 1))
    await gateway.batch([kit.line(2) | {"line": 1}], "B-2")
    await gateway.fund("100.00", "B-2", "F-2")
    await gateway.judge()
    gateway.clock.forward(days=1)
    await gateway.order("REISSUE", "O-1", 1, 1)
    assert (await gateway.store.reads.nearest_deadlines())["limit"] == LIMIT


async def test_the_nearest_of_several_lists_is_shown_whichever_was_cut_first(gateway: Gateway) -> None:
    """Two lists with different limits, both not cut, then both at the bank: the nearer limit, each time."""
    for number, days in ((1, 7), (2, 0)):
        gateway.clock.forward(days=days)
        at = kit.START.isoformat() if number == 2 else "2026-11-30T10:00:00+08:00"
        for part in gateway.signed_parts([kit.line(number) | {"line": 1}], f"B-{number}", list_received_at=at):
            await gateway.intake.take_batch(*part)
        await gateway.fund("100.00", f"B-{number}", f"F-{number}")
    await gateway.judge()
    assert (await gateway.store.reads.nearest_deadlines())["limit"] == LIMIT
    await gateway.send()
    assert len(gateway.bank.sent) == 2
    assert (await gateway.store.reads.nearest_deadlines())["limit"] == LIMIT


async def test_what_is_cancelled_or_was_complete_once_presses_nobody(gateway: Gateway) -> None:
    """A cancelled line leaves no limit; a list that was complete keeps no target, also when money comes back."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2))
    await gateway.order("REISSUE", "O-1", 1, 1)
    assert (await gateway.store.reads.nearest_deadlines())["limit"] is not None
    await gateway.order("CANCEL", "O-2", 1, 2)
    assert (await gateway.store.reads.nearest_deadlines())["limit"] is None
    await gateway.watch.count()
    returned = credited(gateway, 2) | {"proof": "RETURNED", "host_reference": "R2"}
    await gateway.answer(returned)
    await gateway.order("REISSUE", "O-3", 2, 1)
    await gateway.watch.count()
    nearest = await gateway.store.reads.nearest_deadlines()
    assert (nearest["limit"] is None, nearest["target"], nearest["feedback"]) == (False, None, None)


async def test_a_list_that_waits_for_its_money_is_counted(gateway: Gateway) -> None:
    """Nothing of it may be planned yet, and still it is on the page: how many, and what they are to have."""
    await gateway.batch([kit.line(1), kit.line(2)])
    await gateway.judge()
    await gateway.watch.count()
    await gateway.watch.gauges()
    value = metrics.REGISTRY.get_sample_value
    assert value("payout_payouts", {"bucket": "awaiting_funds"}) == 2
    assert value("payout_amount_fen", {"bucket": "awaiting_funds"}) == 20_000
