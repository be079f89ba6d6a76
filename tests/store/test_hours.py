"""A bank's hours: sent from the opening second to the cut-off, what was missed is caught up once, the rest waits."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from adapters.contract import Evidence, Proof, Rendered
from gateway.clock import SHANGHAI
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_fencing import other_dispatch
from tests.store.test_limits import _now, open_judged, sql

HOURS = {"opens": dt.time(9, 0), "cut_off": dt.time(16, 30), "working_days_only": True}


def set_clock(gateway: Gateway, day: dt.date, at: dt.time) -> None:
    object.__setattr__(gateway.clock, "at", dt.datetime.combine(day, at, SHANGHAI))


async def rendered_at(gateway: Gateway, day: dt.date, at: dt.time) -> None:
    set_clock(gateway, day, at)
    await gateway.cut_and_render()


@pytest.mark.parametrize(
    ("at", "sent"),
    [
        (dt.time(8, 59, 59), 0),
        (dt.time(9, 0), 1),
        (dt.time(16, 29, 59), 1),
        (dt.time(16, 30), 0),
        (dt.time(23, 59, 59), 0),
    ],
)
async def test_the_opening_second_is_inside_the_cut_off_second_is_not(database: str, at: dt.time, sent: int) -> None:
    """From the opening second on it is sent, from the cut-off second on it waits."""
    async with open_judged(database, 1, **HOURS) as gateway:
        await rendered_at(gateway, dt.date(2026, 11, 25), at)
        await gateway.dispatch.send(gateway.entry)
        assert len(gateway.bank.sent) == sent


async def test_a_window_missed_while_down_is_caught_up_once(database: str) -> None:
    """The process was away from one window to the next: everything that was due goes, once, at the opening."""
    async with open_judged(database, 3, max_lines=1, **HOURS) as gateway:
        await rendered_at(gateway, dt.date(2026, 11, 24), dt.time(17, 0))
        set_clock(gateway, dt.date(2026, 11, 26), dt.time(9, 0))
        both = (gateway.dispatch, other_dispatch(gateway))
        for _ in range(2):  # dated for the day that passed: first they are all rendered anew
            while any(await asyncio.gather(*(dispatch.send(gateway.entry) for dispatch in both))):
                pass
            await gateway.cut_and_render()
        assert len(gateway.bank.references()) == len(set(gateway.bank.references())) == 3


async def test_after_a_holiday_the_next_bank_day_is_the_window(database: str) -> None:
    """Due on the eve of the National Day after the cut-off: eight days off pass, then it goes at the opening."""
    async with open_judged(database, 1, **HOURS) as gateway:
        await rendered_at(gateway, dt.date(2026, 9, 30), dt.time(16, 30))
        calendar = gateway.dispatch._reference.calendar
        opening = gateway.entry.window(gateway.clock.now(), calendar).opens_at
        assert opening == dt.datetime(2026, 10, 8, 9, 0, tzinfo=SHANGHAI)
        await sql(gateway, "UPDATE submissions SET due_at = '2026-09-30T16:30:00+08:00'")
        holiday, early = opening - dt.timedelta(days=7), opening - dt.timedelta(seconds=1)
        for moment, sent in ((holiday, 0), (early, 0), (opening, 1)):
            set_clock(gateway, moment.date(), moment.time())
            await gateway.send()
            await gateway.send()  # rendered anew: its bytes were dated for September
            assert len(gateway.bank.sent) == sent


async def test_what_became_due_after_the_cut_off_waits_for_the_next_window(database: str) -> None:
    """Not taken shortly before the cut-off: its second try falls behind it and waits for the morning."""
    async with open_judged(database, 1, **HOURS) as gateway:
        gateway.bank.submits = kit.refuse_connection
        await rendered_at(gateway, dt.date(2026, 11, 24), dt.time(16, 29, 30))
        await gateway.dispatch.send(gateway.entry)
        gateway.bank.submits = kit.received
        set_clock(gateway, dt.date(2026, 11, 24), dt.time(16, 31))
        assert not await gateway.dispatch.send(gateway.entry)
        assert await gateway.buckets() == {"queued": 1}
        set_clock(gateway, dt.date(2026, 11, 25), dt.time(9, 0))
        await gateway.dispatch.send(gateway.entry)
        await gateway.send()  # rendered anew: no byte had left, and it was dated for the day before
        (sent,) = gateway.bank.sent
        assert (sent.rendered_at.date(), sent.transmission) == (dt.date(2026, 11, 25), 1)


async def test_what_may_have_left_keeps_its_date_and_its_bytes(database: str) -> None:
    """Refused once at the door and once by the bank's word: of the second transmission bytes were on the wire."""
    async with open_judged(database, 1, **HOURS) as gateway:
        gateway.bank.submits = kit.refuse_connection
        await rendered_at(gateway, dt.date(2026, 11, 24), dt.time(15, 0))
        await gateway.dispatch.send(gateway.entry)
        gateway.bank.submits = kit.short_of_funds
        set_clock(gateway, dt.date(2026, 11, 24), dt.time(16, 0))
        await gateway.dispatch.send(gateway.entry)
        gateway.bank.submits = kit.received
        set_clock(gateway, dt.date(2026, 11, 25), dt.time(9, 0))
        await gateway.dispatch.send(gateway.entry)
        first, second = gateway.bank.sent
        assert (first.payload, first.submission, first.transmission) == (second.payload, second.submission, 2)
        assert second.rendered_at.date() == dt.date(2026, 11, 24)


async def test_an_adapter_s_word_that_nothing_left_is_held_against_the_wire(database: str) -> None:
    """Beyond the point of no return it is doubt, whatever the adapter says: the bank is asked, nothing goes again."""

    def mistaken(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return [Evidence(Proof.NOT_SENT)]

    async with open_judged(database, 1, **HOURS) as gateway:
        gateway.bank.submits = mistaken
        await rendered_at(gateway, dt.date(2026, 11, 24), dt.time(15, 0))
        await gateway.dispatch.send(gateway.entry)
        assert await gateway.buckets() == {"in_doubt": 1}
        set_clock(gateway, dt.date(2026, 11, 25), dt.time(9, 0))
        assert not await gateway.dispatch.send(gateway.entry)
        assert len(gateway.bank.sent) == 1


async def test_a_muddled_answer_that_nothing_left_and_yet_a_line_is_paid_is_kept(database: str) -> None:
    """An adapter that says both before the point of no return: what it says of the line is on record."""

    def muddled(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        paid = Evidence(Proof.CREDITED, reference=rendered.references[0], amount_fen=10_000)
        return [Evidence(Proof.NOT_SENT), paid]

    async with open_judged(database, 1, **HOURS) as gateway:
        gateway.bank.submits = muddled
        await rendered_at(gateway, dt.date(2026, 11, 24), dt.time(15, 0))
        await gateway.dispatch.send(gateway.entry)
        gateway.bank.submits = kit.received
        set_clock(gateway, dt.date(2026, 11, 25), dt.time(9, 0))
        await gateway.send()
        assert len(gateway.bank.sent) == 1
        assert await gateway.buckets() != {"queued": 1}


async def test_a_window_that_closes_while_a_turn_is_waited_for_is_closed(database: str) -> None:
    """Claimed inside the hours, its turn comes behind the cut-off: the hours are looked at again before it is sent."""
    async with open_judged(database, 1, **HOURS) as gateway:
        await rendered_at(gateway, dt.date(2026, 11, 24), dt.time(16, 29, 59))
        (row,) = await gateway.store.submissions.claim_to_send("rcc_file", gateway.clock.now(), 1)
        set_clock(gateway, dt.date(2026, 11, 24), dt.time(16, 30))
        assert not await gateway.dispatch._send_one(gateway.entry, row, _now())
        assert gateway.bank.sent == []


async def test_a_window_that_closes_while_a_lock_is_waited_for_is_closed(database: str) -> None:
    """SENDING was committed behind somebody's lock and the cut-off: nothing leaves, it waits for the morning."""
    async with open_judged(database, 1, **HOURS) as gateway:
        await rendered_at(gateway, dt.date(2026, 11, 24), dt.time(16, 29, 59))
        async with gateway.store.engine.connection() as connection:
            lock = connection.transaction()
            await lock.start()
            await connection.execute("SELECT 1 FROM batches FOR UPDATE")
            sending = asyncio.create_task(gateway.dispatch.send(gateway.entry))
            await asyncio.sleep(0.3)
            set_clock(gateway, dt.date(2026, 11, 24), dt.time(16, 40))
            await lock.rollback()
        await sending
        assert gateway.bank.sent == []
        assert await gateway.buckets() == {"queued": 1}
        set_clock(gateway, dt.date(2026, 11, 25), dt.time(9, 0))
        await gateway.dispatch.send(gateway.entry)
        await gateway.send()
        (sent,) = gateway.bank.sent
        assert sent.rendered_at.date() == dt.date(2026, 11, 25)
