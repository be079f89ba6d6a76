"""A bank's limits: what is larger is halved, what is faster waits, what is too late waits for the next window."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from adapters.contract import Evidence, Rendered, TooLarge
from gateway.banks import Bank
from gateway.store.claims import Claim, Fenced, claim_of
from gateway.store.engine import Engine
from gateway.store.engine import sql as named
from gateway.store.limits import NoTurn, Pace, take_submit_turn
from gateway.store.store import Store
from tests.store import kit
from tests.store.kit import Gateway, expire
from tests.store.test_fencing import other_dispatch, rendered, second
from tests.store.test_payment import credited


@asynccontextmanager
async def open_judged(database: str, count: int, **capabilities: Any) -> AsyncIterator[Gateway]:
    """A funded, judged list that is not cut yet."""
    async with kit.open_gateway(database, **capabilities) as gateway:
        await gateway.batch([kit.line(number) for number in range(1, count + 1)])
        await gateway.fund(f"{count * 100}.00")
        await gateway.judge()
        yield gateway


def lower(gateway: Gateway, **limits: Any) -> Bank:
    """The same bank after a restart with other limits in its configuration."""
    gateway.bank.can.update(limits)
    gateway.entry = replace(gateway.entry, capabilities=gateway.bank.capabilities())
    return gateway.entry


async def sql(gateway: Gateway, text: str) -> list[Any]:
    async with gateway.store.engine.connection() as connection:
        return list(await connection.fetch(text))


async def planned(gateway: Gateway) -> list[str]:
    """The references in line order, as they were cut."""
    return [row["reference"] for row in await sql(gateway, "SELECT reference FROM attempts ORDER BY payout_id")]


# --- size


async def test_more_bytes_than_the_bank_takes_are_halved_in_line_order(database: str) -> None:
    """No submission exceeds max_bytes, every line travels once under the reference it was cut with, in line order."""
    async with open_judged(database, 10, max_bytes=250) as gateway:
        while await gateway.dispatch.plan():
            pass
        before = await planned(gateway)
        await gateway.send()
        sizes = [len(rendered.references) for rendered in gateway.bank.sent]
        assert max(len(rendered.payload) for rendered in gateway.bank.sent) <= 250
        assert sorted(sizes) == [2, 2, 3, 3]
        assert sorted(gateway.bank.references()) == sorted(before)
        for rendered in gateway.bank.sent:
            first = before.index(rendered.references[0])
            assert list(rendered.references) == before[first : first + len(rendered.references)]
        assert await gateway.buckets() == {"in_flight": 10}
        rows = await sql(gateway, "SELECT body FROM history WHERE event = 'SPLIT' ORDER BY seq")
        events = [json.loads(row["body"]) for row in rows]
        assert [(event["lines"], event["into"][1]) for event in events] == [(5, 5), (3, 2), (3, 2)]


async def test_a_restart_between_two_halvings_cuts_the_same(database: str) -> None:
    """Whoever goes on, and wherever the first one died, the lines lie together as they would have without it."""
    async with open_judged(database, 10, max_bytes=250) as gateway:
        while await gateway.dispatch.plan():
            pass
        order = await planned(gateway)
        assert await gateway.dispatch.render(gateway.entry)  # one halving, then the process dies with its claims
        await expire(gateway)
        survivor = other_dispatch(gateway)
        while await survivor.render(gateway.entry):
            await expire(gateway)
        await gateway.send()
        runs = sorted((order.index(r.references[0]), len(r.references)) for r in gateway.bank.sent)
        assert runs == [(0, 3), (3, 2), (5, 3), (8, 2)]


async def test_a_split_whose_claim_is_lost_changes_nothing(database: str) -> None:
    """A process that stood still cannot halve what another one holds: no line moves, none is lost."""
    async with open_judged(database, 4) as gateway:
        while await gateway.dispatch.plan():
            pass
        row = (await gateway.store.submissions.claim_to_render("rcc_file", gateway.clock.now(), 1))[0]
        await expire(gateway)
        await second(gateway).submissions.claim_to_render("rcc_file", gateway.clock.now(), 1)
        with pytest.raises(Fenced):
            await gateway.store.limits.split(claim_of(row), gateway.clock.now())
        assert [s["lines"] for s in await gateway.store.reads.submissions(1)] == [4]


async def test_one_line_too_large_alone_fails_and_nobody_else_suffers(database: str) -> None:
    """A line that no halving makes small enough is refused before sending, with a reason; the others are paid."""
    async with kit.open_gateway(database, max_bytes=100) as gateway:  # room for one line with a card's 19 digits
        lines = [kit.line(number) for number in range(1, 6)]
        lines[2] = kit.line(3, account="6" * 32)
        await gateway.batch(lines)
        await gateway.fund("500.00")
        await gateway.judge()
        await gateway.send()
        assert await gateway.buckets() == {"in_flight": 4, "failed": 1}
        assert await gateway.outcomes() == [(3, 1, "failed", "FORMAT")]
        assert len(gateway.bank.references()) == 4


async def test_an_adapter_may_say_that_it_is_too_large(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TooLarge from ``render`` is halved like bytes beyond the limit."""
    async with open_judged(database, 5) as gateway:
        render = gateway.bank.render

        def small_only(submission: Any, lines: Any, at: dt.datetime) -> Rendered:
            if len(lines) > 2:
                raise TooLarge("more than two")
            return render(submission, lines, at)

        monkeypatch.setattr(gateway.bank, "render", small_only)
        await gateway.send()
        assert sorted(len(rendered.references) for rendered in gateway.bank.sent) == [1, 2, 2]


@pytest.mark.parametrize("limits", [{"max_lines": 2}, {"max_total_fen": 25_000}, {"max_bytes": 200}])
@pytest.mark.parametrize("when", ["cut", "rendered"])
async def test_limits_lowered_by_a_restart_hold_for_what_was_cut_or_rendered(
    database: str, limits: dict[str, int], when: str
) -> None:
    """What was cut, or even rendered, for larger limits is cut anew before it is sent; references stay."""
    async with open_judged(database, 5) as gateway:
        while await gateway.dispatch.plan():
            pass
        before = await planned(gateway)
        if when == "rendered":
            await gateway.cut_and_render()
        lower(gateway, **limits)
        await gateway.send()
        await gateway.send()
        assert max(len(rendered.references) for rendered in gateway.bank.sent) <= 2
        assert sorted(gateway.bank.references()) == sorted(before)
        assert await gateway.buckets() == {"in_flight": 5}


async def test_bytes_that_travelled_before_travel_again_as_they_are(database: str) -> None:
    """A second transmission is the same bytes, also where the limits were lowered meanwhile."""
    async with open_judged(database, 4) as gateway:
        gateway.bank.submits = kit.short_of_funds
        await gateway.send()
        lower(gateway, max_lines=2)
        gateway.bank.submits = kit.received
        gateway.clock.forward(hours=1)
        await gateway.send()
        first, second = gateway.bank.sent
        assert (len(first.references), first.payload) == (4, second.payload)


async def test_bytes_of_which_none_left_are_cut_anew_for_lowered_limits(database: str) -> None:
    """Nobody answered the door: what was tried in vain is as good as never sent; its lines keep their references."""
    async with open_judged(database, 4) as gateway:
        before = await planned_after_a_try_in_vain(gateway)
        lower(gateway, max_lines=2)
        gateway.bank.submits = kit.received
        gateway.clock.forward(hours=1)
        await gateway.send()
        await gateway.send()
        assert [len(rendered.references) for rendered in gateway.bank.sent] == [2, 2]
        assert sorted(gateway.bank.references()) == sorted(before)


async def planned_after_a_try_in_vain(gateway: Gateway) -> list[str]:
    """The references of a submission that was refused a connection."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.send()
    return await planned(gateway)


# --- pace


async def note_turns(gateway: Gateway, column: str) -> None:
    """From now on the database itself notes each turn: when the one after it may be taken."""
    await sql(gateway, "CREATE TABLE turns (at timestamptz)")
    await sql(
        gateway,
        f"CREATE FUNCTION note_turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.{column} <> OLD.{column} THEN INSERT INTO turns VALUES (NEW.{column}); END IF; RETURN NEW; END $$",
    )
    await sql(gateway, "CREATE TRIGGER turns BEFORE UPDATE ON banks FOR EACH ROW EXECUTE FUNCTION note_turn()")


async def gaps(gateway: Gateway) -> list[int]:
    """Milliseconds between the turns that were noted, by the database's clock."""
    turns = [row["at"] for row in await sql(gateway, "SELECT at FROM turns ORDER BY at")]
    return [(later - earlier) // dt.timedelta(milliseconds=1) for earlier, later in itertools.pairwise(turns)]


async def test_two_submissions_are_an_interval_apart_in_all_processes_together(database: str) -> None:
    """Two dispatchers, one login: no two calls begin closer than the interval, and all lines arrive once."""
    async with open_judged(database, 6, max_lines=1, submit_interval_milliseconds=150) as gateway:
        await gateway.cut_and_render()
        await note_turns(gateway, "next_submit_at")
        both = (gateway.dispatch, other_dispatch(gateway))
        async with asyncio.timeout(60):
            while len(gateway.bank.sent) < 6:
                await asyncio.gather(*(dispatch.send(gateway.entry) for dispatch in both))
        found = await gaps(gateway)
        assert len(found) == 5
        assert min(found) >= 150
        assert len(set(gateway.bank.references())) == len(gateway.bank.references()) == 6


async def test_a_bank_with_an_interval_leaves_its_other_work_and_other_banks_alone(database: str) -> None:
    """While a turn is ten minutes away, sending returns at once, and rendering, asking and collecting go on."""
    async with open_judged(database, 3, max_lines=1, submit_interval_milliseconds=600_000) as gateway:
        await gateway.cut_and_render()
        assert await gateway.dispatch.send(gateway.entry)
        async with asyncio.timeout(1):
            assert not await gateway.dispatch.send(gateway.entry)
        assert len(gateway.bank.sent) == 1
        await gateway.answer(credited(gateway, 1))
        assert await gateway.buckets() == {"credited": 1, "queued": 2}
        assert (await gateway.store.limits.room("another", Pace())).wait_milliseconds == 0


async def test_what_gets_no_turn_stays_rendered_and_is_not_held(database: str) -> None:
    """No turn, no trace: neither a claim, nor a transmission, nor an event of the history."""
    async with open_judged(database, 2, max_lines=1, submit_interval_milliseconds=600_000) as gateway:
        await gateway.cut_and_render()
        first = await gateway.store.submissions.claim_to_send("rcc_file", gateway.clock.now(), 2)
        for row in first:
            await gateway.dispatch._send_one(gateway.entry, row, _now())
        waiting = await sql(gateway, "SELECT * FROM submissions WHERE state = 'RENDERED'")
        assert [(row["transmissions"], row["lease_until"]) for row in waiting] == [(0, None)]
        assert len(await sql(gateway, "SELECT 1 FROM history WHERE event = 'SENDING'")) == 1


async def test_questions_keep_their_interval_and_a_collection_is_one(database: str) -> None:
    """Probes of several submissions, a question that is repeated, and a collector's conversation share one pace."""
    asked = []

    def reset_once(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        asked.append(rendered.submission)
        if len(asked) == 1:
            raise ConnectionResetError
        return []

    async with open_judged(database, 3, max_lines=1, probe_interval_milliseconds=120) as gateway:
        gateway.bank.submits = kit.hang_up
        await gateway.send()
        await note_turns(gateway, "next_probe_at")
        gateway.bank.probes = reset_once
        gateway.clock.forward(hours=2)
        async with asyncio.timeout(60):
            await gateway.verify.collect(gateway.entry)
            while len(set(asked)) < 3:
                await gateway.verify.probe(gateway.entry)
        found = await gaps(gateway)
        assert len(found) + 1 == len(asked) + 1 == 5
        assert min(found) >= 120


async def test_a_bank_without_an_interval_takes_no_turns(gateway: Gateway) -> None:
    """Where the manual has no limit nothing is written for it."""
    await note_turns(gateway, "next_submit_at")
    await gateway.pay(2)
    assert await sql(gateway, "SELECT * FROM turns") == []
    assert len(gateway.bank.sent) == 1


# --- in flight


async def sending(gateway: Gateway, pace: Pace, engine: Engine | None = None) -> Claim:
    """One process: claim, and commit SENDING within the pace."""
    now = gateway.clock.now()
    store = Store(engine or gateway.store.engine, "racer", gateway.config.timing.lease_seconds)
    claim = claim_of((await store.submissions.claim_to_send("rcc_file", now, 1))[0])
    await store.submissions.write_sending(claim, now, now + dt.timedelta(days=1), now, pace=pace)
    return claim


@pytest.mark.parametrize(
    ("pace", "waits"), [(Pace(in_flight=1), False), (Pace(in_flight=9, submit_interval_milliseconds=60_000), True)]
)
async def test_the_last_place_and_the_turn_are_given_once_to_two_connections(
    database: str, pace: Pace, waits: bool
) -> None:
    """While one process has not committed, the other waits for it, then counts it, and is told so: neither lock of a
    batch nor of a submission joins the two."""
    async with open_batches(database, 2) as gateway:
        now = gateway.clock.now()
        row = (await gateway.store.submissions.claim_to_send("rcc_file", now, 1))[0]
        other = await Engine.open(database, max_connections=1)
        try:
            async with gateway.store.engine.transaction() as first:
                sent = (row["submission_id"], row["fence"], now, now, now, now)
                assert await first.fetchrow(named("write_sending"), *sent) is not None
                await take_submit_turn(first, "rcc_file", pace)
                racer = asyncio.create_task(sending(gateway, pace, other))
                async with asyncio.timeout(30):
                    while not racer.done() and not await waiting(gateway):
                        await asyncio.sleep(0.02)
            with pytest.raises(NoTurn) as refused:
                await racer
        finally:
            await other.close()
        assert (refused.value.wait_milliseconds is not None) is waits
        states = await sql(gateway, "SELECT state FROM submissions ORDER BY state")
        assert [row["state"] for row in states] == ["RENDERED", "SENDING"]


async def test_many_processes_take_no_more_places_than_there_are(database: str) -> None:
    """Six processes with connections of their own and a batch each want the last two places: two get them."""
    async with open_batches(database, 6) as gateway:
        engines = [await Engine.open(database, max_connections=1) for _ in range(6)]
        try:
            outcomes = await asyncio.gather(
                *(sending(gateway, Pace(in_flight=2), engine) for engine in engines), return_exceptions=True
            )
        finally:
            await asyncio.gather(*(engine.close() for engine in engines))
        assert sum(isinstance(outcome, Claim) for outcome in outcomes) == 2
        assert sum(isinstance(outcome, NoTurn) and outcome.wait_milliseconds is None for outcome in outcomes) == 4


@asynccontextmanager
async def open_batches(database: str, count: int) -> AsyncIterator[Gateway]:
    """Rendered submissions of one line, each of a batch of its own."""
    async with kit.open_gateway(database) as gateway:
        for number in range(1, count + 1):
            await gateway.batch([{**kit.line(number), "line": 1}], batch_id=f"B-{number}")
            await gateway.fund("100.00", batch_id=f"B-{number}", funding_id=f"F-{number}")
        await gateway.judge()
        await gateway.cut_and_render()
        yield gateway


async def waiting(gateway: Gateway) -> bool:
    """Whether some transaction waits for a lock."""
    return bool(await sql(gateway, "SELECT 1 FROM pg_locks WHERE NOT granted"))


async def test_pace_and_places_are_kept_together(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that last overlap, as many as the bank allows and no more, and still begin an interval apart."""
    async with open_judged(database, 5, max_lines=1, max_in_flight=2, submit_interval_milliseconds=50) as gateway:
        await gateway.cut_and_render()
        await note_turns(gateway, "next_submit_at")
        on_the_wire, most = 0, 0
        together = asyncio.Event()
        submit = gateway.bank.submit

        async def lasting(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
            nonlocal on_the_wire, most
            on_the_wire += 1
            most = max(most, on_the_wire)
            together.set() if on_the_wire == 2 else None
            await together.wait()
            await asyncio.sleep(0.1)
            on_the_wire -= 1
            return await submit(rendered, wire)

        monkeypatch.setattr(gateway.bank, "submit", lasting)
        both = (gateway.dispatch, other_dispatch(gateway))
        async with asyncio.timeout(60):
            while len(gateway.bank.sent) < 5:
                await asyncio.gather(*(dispatch.send(gateway.entry) for dispatch in both))
        assert most == 2
        assert min(await gaps(gateway)) >= 50
        assert len(set(gateway.bank.references())) == 5


async def test_a_place_is_free_again_when_the_answer_is_recorded(database: str) -> None:
    """In flight is what is on the wire: a bank that took a file and works on it has room for the next."""
    async with open_judged(database, 3, max_lines=1, max_in_flight=1) as gateway:
        await gateway.send()
        assert len(gateway.bank.sent) == 3
        assert await gateway.buckets() == {"in_flight": 3}


def _now() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


async def test_a_look_counts_what_is_on_the_wire_at_that_bank_alone(gateway: Gateway) -> None:
    """A call under way takes one of its bank's places, and none of another's; rendered bytes take none."""
    await rendered(gateway)
    limits, pace = gateway.store.limits, Pace(in_flight=3)
    assert (await limits.room("rcc_file", pace)).places == 3
    await sending(gateway, pace)
    assert (await limits.room("rcc_file", pace)).places == 2
    assert (await limits.room("another", pace)).places == 3
    assert (await limits.room("rcc_file", Pace(in_flight=1))).places == 0


async def test_a_look_tells_how_long_a_turn_is_away_and_takes_none(database: str) -> None:
    """What is left of the interval, in milliseconds; nothing once it has passed, however long ago."""
    pace = Pace(in_flight=9, submit_interval_milliseconds=600_000)
    async with open_judged(database, 2, max_lines=1, submit_interval_milliseconds=600_000) as gateway:
        await gateway.cut_and_render()
        limits = gateway.store.limits
        assert (await limits.room("rcc_file", pace)).wait_milliseconds == 0
        assert await gateway.dispatch.send(gateway.entry)
        for _ in range(2):
            assert 0 < (await limits.room("rcc_file", pace)).wait_milliseconds <= 600_000
        await sql(gateway, "UPDATE banks SET next_submit_at = now() - interval '1 day'")
        assert (await limits.room("rcc_file", pace)).wait_milliseconds == 0
