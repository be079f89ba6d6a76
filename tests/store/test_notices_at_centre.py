"""Notices through the books, the real providers and the simulated centre: whatever fails, nobody hears twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.sms.contract import SmsOutcome
from adapters.sms.link.provider import LinkProvider
from gateway import notices
from gateway.config import SmsSection
from gateway.notices import Notifier
from gateway.texts import DEFAULT_TEMPLATES, Templates
from tests.adapters.sms_centre_kit import TONGUES, open_provider
from tests.store.kit import Gateway
from tests.store.test_payment import credited
from tests.unit.centre_kit import Here, centre
from tests.world.sms.config import PDU_FAULTS
from tests.world.sms_ledger import breaches, read_only

pytestmark = pytest.mark.parametrize("tongue", TONGUES)

PEOPLE = 300
TENTH = 1000 // len(PDU_FAULTS)  # of ten thousand: together they hit a tenth of all SUBMITs
FATES = {"undelivered": 250, "report_lost": 250, "report_late": 250, "report_twice": 250, "refuse_number": 100}


@dataclass
class Street:
    """The notices step of one gateway, before a centre."""

    gateway: Gateway
    here: Here
    tongue: str
    directory: Path

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """A provider and a step as a fresh process has them."""
        gateway, port = self.gateway, self.here.ports[self.tongue[:4]]
        self.provider: LinkProvider = open_provider(self.tongue, self.directory, port)
        self.notifier = Notifier(
            gateway.store,
            self.provider,
            Templates.parse(DEFAULT_TEMPLATES),
            gateway.intake._reference,
            gateway.vault,
            gateway.clock,
            SmsSection(),
        )

    async def paid(self, count: int) -> None:
        await self.gateway.pay(count)
        await self.gateway.answer(*(credited(self.gateway, seq) for seq in range(1, count + 1)))

    async def work(self) -> None:
        while await self.notifier.work():
            pass

    async def outcomes(self) -> list[str]:
        async with self.gateway.store.engine.connection() as connection:
            rows = await connection.fetch("SELECT outcomes FROM notices ORDER BY notice_id")
        return [outcome for row in rows for outcome in row["outcomes"]]

    async def hear(self, enough: Callable[[list[str]], bool]) -> list[str]:
        async with asyncio.timeout(20):
            while not enough(found := await self.outcomes()):
                await self.notifier.take_pushed()
        return found

    def written_twice(self) -> list[tuple[Any, ...]]:
        return self.here.rows("SELECT ref FROM messages WHERE code = 'OK' GROUP BY ref HAVING count(*) > 1")


@asynccontextmanager
async def opened(gateway: Gateway, directory: Path, tongue: str, **keys: Any) -> AsyncIterator[Street]:
    name, _, version = tongue.partition(" ")
    sound: dict[str, Any] = {"signatures": [], "report_repeat_real_milliseconds": 3000}
    sound |= {"version": version} if name == "cmpp" else {}
    async with centre(directory, name, **(sound | keys)) as here:
        street = Street(gateway, here, tongue, directory)
        try:
            yield street
        finally:
            await street.provider.close()


async def test_an_unknown_outcome_waits_for_its_report(gateway: Gateway, tmp_path: Path, tongue: str) -> None:
    """The answer is lost: unknown, not sent again in two days; its report, found by the serial, says delivered."""
    async with opened(gateway, tmp_path, tongue, calls={"*": ["timeout_after"]}) as street:
        await street.paid(1)
        await street.work()
        assert await street.outcomes() == ["UNKNOWN"]
        for _ in range(2):
            gateway.clock.forward(days=1)
            await street.work()
        assert street.here.one("SELECT count(*) FROM events WHERE kind = 'CALL'") == 1
        await street.hear(lambda found: found == ["DELIVERED"])
        assert street.written_twice() == []


async def test_a_step_that_does_not_wait_is_found_out(
    gateway: Gateway, tmp_path: Path, tongue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: a step that takes an unknown outcome for one that never left writes to a person twice, and it shows."""
    monkeypatch.setitem(notices._OUTCOMES, SmsOutcome.UNKNOWN, "DUE")
    async with opened(gateway, tmp_path, tongue, calls={"*": ["error_after"]}) as street:
        await street.paid(1)
        await street.work()
        gateway.clock.forward(minutes=6)
        await street.work()
        assert len(street.written_twice()) == 1


async def test_a_report_that_never_comes_ends_unknown_and_unsent(gateway: Gateway, tmp_path: Path, tongue: str) -> None:
    """Nobody took it, and nobody can say so: after three days it is closed as it is."""
    async with opened(gateway, tmp_path, tongue, calls={"*": ["drop_before"]}) as street:
        await street.paid(1)
        for _ in range(5):
            await street.work()
            gateway.clock.forward(days=1)
        assert await street.outcomes() == ["UNKNOWN"]
        assert street.here.rows("SELECT verdict FROM events WHERE kind = 'CALL'") == [("lost",)]


@pytest.mark.parametrize("fault", ["none", "timeout_after"])
async def test_a_gateway_that_restarts_between_answer_and_report(
    gateway: Gateway, tmp_path: Path, tongue: str, fault: str
) -> None:
    """A new process finds the message by the id that was stored, or by the serial where none was; one SMS."""
    async with opened(gateway, tmp_path, tongue, calls={"*": [fault]}, report_seconds=[2, 2]) as street:
        await street.paid(1)
        await street.work()
        assert await street.outcomes() == ["ACCEPTED" if fault == "none" else "UNKNOWN"]
        await street.provider.close()
        street.open()
        await street.work()
        await street.hear(lambda found: found == ["DELIVERED"])
        assert street.here.one("SELECT count(*) FROM messages") == 1
        await street.here.until("SELECT count(*) FROM reported", 1)


async def test_nobody_is_written_to_twice_at_a_centre_that_fails_often(
    gateway: Gateway, tmp_path: Path, tongue: str
) -> None:
    """Three hundred people, every fault of the centre, a tenth of all calls: one SMS each at most, none unaccounted."""
    rates = dict.fromkeys(PDU_FAULTS, TENTH) | FATES
    keys: dict[str, Any] = {"rates": rates, "accept_later_seconds": 1, "late_seconds": 1, "seed": 7}
    async with opened(gateway, tmp_path, tongue, **keys) as street:
        await street.paid(PEOPLE)
        for _ in range(30):
            await street.work()
            await street.notifier.take_pushed()
            gateway.clock.forward(minutes=6)
            if "DUE" not in await street.outcomes():
                break
        open_reports = "SELECT count(*) FROM messages WHERE code = 'OK' AND callbacks > 0"
        told = street.here.one(open_reports)
        final = ("DELIVERED", "UNDELIVERED")
        outcomes = await street.hear(lambda found: sum(each in final for each in found) >= told)
        assert street.written_twice() == []
        fired = {fault for (fault,) in street.here.rows("SELECT DISTINCT fault FROM events WHERE kind = 'CALL'")}
        assert len(fired & set(PDU_FAULTS)) >= 8  # they bit
        taken = street.here.one("SELECT count(*) FROM messages WHERE code = 'OK'")
        assert taken >= PEOPLE * 2 // 3
        assert (len(outcomes), outcomes.count("DUE")) == (PEOPLE, 0)
        nobody = outcomes.count("UNKNOWN") + outcomes.count("REFUSED")
        assert PEOPLE - nobody <= street.here.one("SELECT count(*) FROM messages")  # who is said to have it, has it
        assert street.here.rows("SELECT 1 FROM events WHERE code = 'WINDOW'") == []
        with read_only(street.here.directory) as ledger:
            assert breaches(ledger) == 0
