"""What people and gauges are shown: who waits for an order, and which deadline is the nearest."""

from __future__ import annotations

import datetime as dt

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
