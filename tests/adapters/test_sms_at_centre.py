"""The HTTP batch adapter at the simulated centre: whatever goes wrong on the way, nobody is written to twice."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.contract import CallbackRefused
from adapters.sms.contract import (
    Billed,
    NeverSeen,
    NoAnswer,
    NotSent,
    NotTaken,
    SmsMessage,
    SmsOutcome,
    SmsReport,
    SmsStatus,
    never_seen_is_proof,
)
from adapters.sms.http_batch import HttpBatch, HttpBatchSettings
from schemas.masked import Phone
from tests.world import clock
from tests.world.sms_centre import CALL_FAULTS, TAKES_NOTHING, Centre, Config
from tests.world.sms_ledger import read_only

SETTLING_SECONDS = 600
SIGNATURE = "某某农商银行"
START = dt.datetime(2026, 11, 24, 10, 0, tzinfo=clock.SHANGHAI)


@dataclass
class Time:
    """Business time that moves when the test says so."""

    now: dt.datetime = START

    def pass_by(self, seconds: int) -> None:
        self.now += dt.timedelta(seconds=seconds)


@dataclass
class World:
    provider: HttpBatch
    centre: Centre
    directory: Path
    time: Time
    told: list[SmsReport] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def ledger(self, query: str) -> list[tuple[Any, ...]]:
        with read_only(self.directory) as ledger:
            return [tuple(row) for row in ledger.execute(query)]

    async def hears(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not enough():
                await asyncio.sleep(0.01)


def messages(count: int, first: int = 1) -> list[SmsMessage]:
    return [
        SmsMessage(f"1042-{line}-1-ARRIVAL", Phone(f"138{line:08d}"), f"【{SIGNATURE}】测试{line}")
        for line in range(first, first + count)
    ]


Opener = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def open_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """A centre with its faults, the adapter before it, and a gateway's ear for callbacks."""
    key_file = tmp_path / "sms.key"
    key_file.write_bytes(b"a-test-key-of-thirty-two-bytes-x")
    time = Time()
    monkeypatch.setattr(clock, "now_ms", lambda: int(time.now.timestamp() * 1000))

    @asynccontextmanager
    async def world(**faults: Any) -> AsyncIterator[World]:
        heard: list[World] = []

        async def hear(request: web.Request) -> web.Response:
            world, body = heard[0], await request.read()
            try:
                world.told += world.provider.verify_report_callback(
                    request.headers, body, clock.moment(clock.wall_ms())
                )
            except CallbackRefused as refusal:
                world.refused.append(refusal.reason)
                return web.Response(status=401)
            return web.Response()

        ear = web.Application()
        ear.router.add_post("/sms/reports/sms", hear)
        async with TestServer(ear) as gateway:
            sound: dict[str, Any] = {
                "callback_url": f"http://127.0.0.1:{gateway.port}/sms/reports/sms",
                "callback_every_real_milliseconds": 1,
                "report_seconds": [60, 60],
                "hang_real_seconds": 1,
            }
            config = Config(tmp_path / "centre", "bank", key_file, **(sound | faults))
            centre = Centre(config)
            reporting = asyncio.create_task(centre.reporter.run())
            async with TestServer(centre.application()) as server:
                provider = HttpBatch("sms", settings(key_file, f"http://127.0.0.1:{server.port}"))
                heard.append(World(provider, centre, config.directory, time))
                yield heard[0]
                await provider.close()
            reporting.cancel()
            await asyncio.wait({reporting})
            centre.ledger.close()

    return world


def settings(key_file: Path, origin: str) -> HttpBatchSettings:
    limits = {
        "connect_timeout_milliseconds": 300,
        "silence_timeout_milliseconds": 300,
        "total_timeout_milliseconds": 2000,
    }
    given = {"origin": origin, "account": "bank", "key_file": key_file, "limits": limits}
    return HttpBatchSettings.model_validate({**given, "settling_seconds": SETTLING_SECONDS})


async def deliver(world: World, batch_id: str, call: list[SmsMessage], *, asks: bool = True) -> None:
    """What the notices step does with one call; ``asks=False`` is the build broken on purpose."""
    for _ in range(6):
        try:
            results = await world.provider.send(batch_id, call)
        except NotSent:
            world.time.pass_by(10)
            continue
        if all(result.outcome is not SmsOutcome.UNKNOWN for result in results):
            return
        if asks and await arrived(world, batch_id):
            return
    pytest.fail("the call never got through")


async def arrived(world: World, batch_id: str) -> bool:
    """Ask until the centre either knows the call or disowns it after its settling time."""
    sent_at = world.time.now
    for _ in range(20):
        asked_at = world.time.now
        try:
            await world.provider.reports(batch_id)
        except NeverSeen:
            if never_seen_is_proof(world.provider.capabilities(), sent_at, asked_at):
                return False
        except NoAnswer:
            pass
        else:
            return True
        world.time.pass_by(120)
    pytest.fail("no answer to any question")


PER_REF = "SELECT ref, count(*) FROM messages WHERE code = 'OK' GROUP BY ref"
SENT_AGAIN_UNASKED = """
    SELECT later.n FROM events earlier JOIN events later ON later.batch_id = earlier.batch_id AND later.n > earlier.n
    WHERE earlier.kind = 'CALL' AND later.kind = 'CALL' AND earlier.verdict IN ('taken', 'lost') AND NOT EXISTS (
        SELECT 1 FROM events asked WHERE asked.batch_id = earlier.batch_id AND asked.verdict = 'never_seen'
        AND asked.n BETWEEN earlier.n AND later.n AND asked.at_ms >= earlier.at_ms + 600000)
"""


async def test_each_person_gets_the_own_text_and_the_sender_pays(open_world: Opener) -> None:
    """A hundred people, a hundred texts, one call; all charged to the bank and reported as delivered."""
    async with open_world() as world:
        results = await world.provider.send("7", messages(100))
        assert {result.outcome for result in results} == {SmsOutcome.ACCEPTED}
        assert world.ledger("SELECT ref, phone, text, billed, units FROM messages ORDER BY msg_id") == [
            (each.ref, each.phone.reveal(), each.text, "SENDER", len(each.text)) for each in messages(100)
        ]
        assert {each.status for each in await world.provider.reports("7")} == {SmsStatus.PENDING}
        world.time.pass_by(61)
        found = await world.provider.reports("7")
        assert {(each.status, each.billed) for each in found} == {(SmsStatus.DELIVERED, Billed.SENDER)}
        assert {each.ref: each.provider_id for each in found} == {each.ref: each.provider_id for each in results}


@pytest.mark.parametrize("fault", CALL_FAULTS)
async def test_an_unknown_outcome_is_asked_about_not_sent_again(open_world: Opener, fault: str) -> None:
    """Whatever fault hits the call, once or twice, each person has exactly one SMS, and no call follows unasked."""
    async with open_world(calls={"7": [fault, fault]}) as world:
        await deliver(world, "7", messages(3))
        assert (fault,) in world.ledger("SELECT fault FROM events WHERE kind = 'CALL'")  # the fault bit
        assert world.ledger(PER_REF) == [(each.ref, 1) for each in messages(3)]
        assert world.ledger(SENT_AGAIN_UNASKED) == []
        calls = len(world.ledger("SELECT n FROM events WHERE kind = 'CALL'"))
        assert calls == (3 if fault in TAKES_NOTHING else 1)


async def test_a_sender_that_does_not_ask_is_found_out(open_world: Opener) -> None:
    """Control: sending again without asking shows in the ledger as a second SMS and as a call that nobody asked for."""
    async with open_world(calls={"7": ["error_after"]}) as world:
        await deliver(world, "7", messages(3), asks=False)
        assert world.ledger(PER_REF) == [(each.ref, 2) for each in messages(3)]
        assert len(world.ledger(SENT_AGAIN_UNASKED)) == 1


async def test_never_seen_before_settling_is_not_believed(open_world: Opener) -> None:
    """A call that surfaces late is disowned at first; who believed that at once would write twice."""
    async with open_world(calls={"7": ["accept_later"]}, accept_later_seconds=300) as world:
        (result,) = await world.provider.send("7", messages(1))
        assert result.outcome is SmsOutcome.UNKNOWN
        with pytest.raises(NeverSeen):
            await world.provider.reports("7")
        assert not never_seen_is_proof(world.provider.capabilities(), START, world.time.now)
        world.time.pass_by(301)
        (report,) = await world.provider.reports("7")
        assert report.status is SmsStatus.PENDING


async def test_questions_that_fail_are_asked_again(open_world: Opener) -> None:
    """A dropped or failed question is NoAnswer, never a permission."""
    async with open_world(rates={"query_drop": 5000, "query_error": 5000}) as world:
        await world.provider.send("7", messages(1))
        for _ in range(4):
            with pytest.raises(NoAnswer):
                await world.provider.reports("7")
        fired = {fault for (fault,) in world.ledger("SELECT DISTINCT fault FROM events WHERE kind = 'QUERY'")}
        assert fired
        assert fired <= {"query_drop", "query_error"}


async def test_a_charged_receiver_comes_to_light(open_world: Opener) -> None:
    """Where the provider breaks its word and charges a person, the report says so and so does the ledger."""
    async with open_world(numbers={"13800000002": "bill_receiver"}) as world:
        await world.provider.send("7", messages(3))
        world.time.pass_by(61)
        charged = [each.ref for each in await world.provider.reports("7") if each.billed is Billed.RECEIVER]
        assert charged == ["1042-2-1-ARRIVAL"]
        assert world.ledger("SELECT ref FROM messages WHERE billed = 'RECEIVER'") == [("1042-2-1-ARRIVAL",)]


async def test_refused_numbers_hold_nobody_up(open_world: Opener) -> None:
    """A number the provider refuses is a final answer for that person alone, and nobody pays for it."""
    async with open_world(numbers={"13800000002": "refuse_number"}) as world:
        results = await world.provider.send("7", messages(3))
        assert [each.outcome.value for each in results] == ["ACCEPTED", "REFUSED", "ACCEPTED"]
        assert world.ledger("SELECT billed, status FROM messages WHERE code <> 'OK'") == [("NOBODY", "REJECTD")]
        reported = {each.ref: each.status for each in await world.provider.reports("7")}
        assert reported["1042-2-1-ARRIVAL"] is SmsStatus.UNDELIVERED


async def test_an_unregistered_signature_is_a_fault_of_ours(open_world: Opener) -> None:
    """A signature the provider does not know takes nothing and holds the provider; throttling only waits."""
    async with open_world(signatures=["另一家银行"]) as world:
        with pytest.raises(NotTaken) as caught:
            await world.provider.send("7", messages(1))
        assert (caught.value.code, caught.value.hold) == ("SIGNATURE", True)
    async with open_world(calls={"8": ["throttle"]}) as world:
        with pytest.raises(NotTaken) as caught:
            await world.provider.send("8", messages(1))
        assert (caught.value.hold, caught.value.retry_after_seconds) == (False, 1)
        assert world.ledger("SELECT count(*) FROM messages") == [(0,)]


async def test_reports_come_by_callback_and_forged_ones_do_not(open_world: Opener) -> None:
    """True callbacks are believed, a stranger's in between change nothing."""
    async with open_world(rates={"callback_forged": 10_000}) as world:
        await world.provider.send("7", messages(3))
        world.time.pass_by(61)
        await world.provider.send("8", messages(1, first=4))  # wakes the centre, whose time was moved by hand
        await world.hears(lambda: len(world.told) >= 3)
        assert world.refused == ["BAD_SIGNATURE"]
        assert {(each.ref, each.status, each.batch_id) for each in world.told} == {
            (each.ref, SmsStatus.DELIVERED, "7") for each in messages(3)
        }


async def test_lost_and_repeated_reports(open_world: Opener) -> None:
    """A lost report is still there for who asks; a repeated one says the same again."""
    fates = {"13800000001": "report_lost", "13800000002": "report_twice", "13800000003": "report_late"}
    async with open_world(numbers=fates, late_seconds=600) as world:
        await world.provider.send("7", messages(3))
        world.time.pass_by(60 + 60)
        await world.provider.send("8", messages(1, first=4))
        await world.hears(lambda: len(world.told) >= 2)
        assert [each.ref for each in world.told] == ["1042-2-1-ARRIVAL"] * 2
        assert world.told[0] == world.told[1]
        world.time.pass_by(600)
        await world.provider.send("9", messages(1, first=5))
        await world.hears(lambda: "1042-3-1-ARRIVAL" in {each.ref for each in world.told})
        assert {each.status for each in await world.provider.reports("7")} == {SmsStatus.DELIVERED}
        assert "1042-1-1-ARRIVAL" not in {each.ref for each in world.told}
