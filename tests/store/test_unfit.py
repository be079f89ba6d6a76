"""What the books cannot hold, or should not send: it is set aside or made anew, and nothing waits behind it."""

from __future__ import annotations

import asyncio
import datetime as dt

from adapters.contract import Evidence, Proof, Rendered
from gateway.verify import Verify
from tests.store import kit
from tests.store.kit import Gateway, expire
from tests.store.test_fencing import other_dispatch, second, state
from tests.store.test_payment import credited
from tests.store.test_statements import TODAY, entry
from tests.store.test_statements import state as stated


async def test_a_statement_that_the_books_cannot_hold_blocks_nothing(gateway: Gateway) -> None:
    """Its totals overflow: it is quarantined with a page, and the result file after it is read."""
    await gateway.pay(1)
    await stated(gateway, TODAY, *(entry(f"X{number}", amount_fen=10**18) for number in range(10)))
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"credited": 1}


async def test_bytes_that_never_travelled_carry_the_day_on_which_they_do(database: str) -> None:
    """Approved on Friday after the cut-off, sent on Monday: the date in the bytes is Monday's, the references stay."""
    async with kit.open_gateway(database, opens=dt.time(9), cut_off=dt.time(16, 30), working_days_only=True) as gateway:
        gateway.clock.forward(days=3, hours=8)
        await gateway.pay(1)
        assert gateway.bank.sent == []
        gateway.clock.forward(days=2, hours=16)
        await gateway.send()  # taken back
        await gateway.send()
        (sent,) = gateway.bank.sent
        assert sent.rendered_at.date() == gateway.clock.now().date() == dt.date(2026, 11, 30)


async def test_settling_counts_from_the_end_of_a_call_that_was_cut_off_from_the_books(database: str) -> None:
    """A process that lost the database calls on: "absent" is not believed before its call is over."""
    async with kit.open_gateway(database, settling_seconds=1) as gateway:
        gate = asyncio.Event()
        submit = gateway.bank.submit

        async def slow(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
            await gate.wait()
            return await submit(rendered, wire)

        async def cut_off(claim: object) -> bool:
            raise ConnectionError

        gateway.bank.submit = slow  # type: ignore[method-assign]
        gateway.dispatch._store.submissions.renew = cut_off  # type: ignore[method-assign]
        await gateway.batch([kit.line(1)])
        await gateway.fund("100.00")
        await gateway.judge()
        await gateway.cut_and_render()
        calling = asyncio.create_task(gateway.dispatch.send(gateway.entry))
        await asyncio.sleep(0.3)
        await expire(gateway)
        verify = Verify(second(gateway), {"rcc_file": gateway.entry}, gateway.vault, gateway.clock, gateway.config)
        assert await verify.doubt_abandoned()
        gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
        gateway.clock.forward(seconds=gateway.config.timing.bank_call_seconds)
        await verify.probe(gateway.entry)
        assert await state(gateway) == "IN_DOUBT"
        gateway.clock.forward(minutes=30)
        gate.set()
        await calling
        await other_dispatch(gateway).send(gateway.entry)
        assert len(gateway.bank.sent) == 1
