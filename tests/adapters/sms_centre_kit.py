"""The CMPP and SMPP providers before the simulated centre, over sockets, in the three tongues that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.sms.cmpp.provider import CmppProvider, CmppSettings
from adapters.sms.contract import PushedReport, SmsMessage, SmsResult
from adapters.sms.link.provider import LinkProvider
from adapters.sms.smpp.provider import SmppProvider, SmppSettings
from schemas.masked import Phone
from tests.unit.centre_kit import ACCOUNT, SECRET, SIGNATURE, SOURCE, Here, centre
from tests.world.sms_ledger import breaches, read_only

TONGUES = ("cmpp 2.0", "cmpp 3.0", "smpp 3.4")
PATIENT = {"connect_seconds": 2, "answer_seconds": 1, "idle_seconds": 20, "longest_backoff_seconds": 1}
SHORT = f"【{SIGNATURE}】您尾号0019账户入账100.00元。本短信免费。"
UYGHUR = f"【{SIGNATURE}】补贴 ھەقسىز ئۇچۇر، تولۇقلىما پۇل ھېساباتىڭىزغا كىردى. "


def long_text(parts: int) -> str:
    """Chinese and Uyghur with a surrogate pair on each cut, long enough for so many parts of 67 units."""
    text = (UYGHUR + "😀" * 200)[: 67 * parts]
    while len(text.encode("utf-16-be")) // 2 > 66 * parts:
        text = text[:-1]
    return text


def message(serial: int, text: str = SHORT, phone: str = "") -> SmsMessage:
    return SmsMessage(f"1-{serial}-1-ARRIVAL", Phone(phone or f"138{serial:08d}"), text, serial)


def open_provider(
    tongue: str,
    directory: Path,
    port: int,
    *,
    secret: bytes = SECRET,
    version: str = "",
    limits: dict[str, int] | None = None,
) -> LinkProvider:
    """``version`` is what is configured where it is not the tongue's own."""
    name, _, own = tongue.partition(" ")
    (directory / "provider.secret").write_bytes(secret + b"\n")
    sound: dict[str, Any] = {"host": "127.0.0.1", "port": port, "service_number": SOURCE, "parts_per_second": 1000}
    sound["limits"] = PATIENT | (limits or {})
    if name == "smpp":
        mine = {"system_id": ACCOUNT, "password_file": directory / "provider.secret"}
        return SmppProvider(name, SmppSettings.model_validate(sound | mine))
    mine = {"source_addr": ACCOUNT, "secret_file": directory / "provider.secret", "version": version or own}
    return CmppProvider(name, CmppSettings.model_validate(sound | mine))


@dataclass
class Room:
    """One provider, its centre, and a step that takes reports over and confirms them."""

    provider: LinkProvider
    centre: Here
    heard: list[PushedReport] = field(default_factory=list)

    async def send(self, *messages: SmsMessage) -> list[SmsResult]:
        return await self.provider.send("1", messages)

    async def hear(self, enough: Callable[[Sequence[PushedReport]], bool] | int) -> list[PushedReport]:
        """Take and confirm until ``enough`` reports were heard."""
        async with asyncio.timeout(10):
            while not (len(self.heard) >= enough if isinstance(enough, int) else enough(self.heard)):
                found = await self.provider.take_reports(100)
                self.heard += found
                await self.provider.confirm_reports(len(found))
        return self.heard

    async def all_told(self) -> None:
        """Each report that was planned has been answered, and no connection broke a rule on the way."""
        planned = self.centre.one(PLANNED)
        async with asyncio.timeout(10):
            while self.centre.one("SELECT count(*) FROM reported") < planned:
                found = await self.provider.take_reports(100)
                await self.provider.confirm_reports(len(found))
        self.kept_the_rules()

    def kept_the_rules(self) -> None:
        with read_only(self.centre.directory) as ledger:
            assert breaches(ledger) == 0
        assert self.centre.rows("SELECT code FROM events WHERE code IN ('WINDOW', 'SEQUENCE', 'SIZE', 'FORMAT')") == []
        assert self.centre.rows("SELECT billed FROM messages WHERE billed = 'RECEIVER'") == []
        assert self.centre.rows("SELECT ref FROM messages WHERE code = 'OK' GROUP BY ref HAVING count(*) > 1") == []


PLANNED = (
    "SELECT coalesce(sum(callbacks * (SELECT count(*) FROM submits s WHERE s.assembly || '/0' = m.msg_id)), 0)"
    " FROM messages m"
)


@asynccontextmanager
async def room(
    directory: Path, tongue: str, *, limits: dict[str, int] | None = None, **keys: Any
) -> AsyncIterator[Room]:
    name, _, version = tongue.partition(" ")
    sound: dict[str, Any] = {"version": version} if name == "cmpp" else {}
    sound["report_repeat_real_milliseconds"] = 5000  # more than any machine needs to take a report over
    async with centre(directory, name, **(sound | keys)) as here:
        provider = open_provider(tongue, directory, here.ports[name], limits=limits)
        try:
            yield Room(provider, here)
        finally:
            await provider.close()
