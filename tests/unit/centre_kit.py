"""A customer of the SMS centre made of bare octets: it opens connections, and knows neither side's codec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.world.sms.config import Config, Door
from tests.world.sms_centre import Centre, doorways
from tests.world.sms_ledger import read_only

ACCOUNT = "901234"
SECRET = b"shared12"
SOURCE = "1069012345"
SIGNATURE = "某某农商银行"
PHONE = "13800000001"


def udh(number: int, total: int, reference: int = 7) -> bytes:
    return bytes([5, 0, 3, reference, total, number])


@dataclass
class Line:
    """One connection. ``pdu`` is one PDU by its length field; ``ended`` waits for the other side to close."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *pdus: bytes) -> None:
        self.writer.write(b"".join(pdus))

    async def pdu(self) -> bytes:
        async with asyncio.timeout(5):
            prefix = await self.reader.readexactly(4)
            return prefix + await self.reader.readexactly(int.from_bytes(prefix) - 4)

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except OSError:
                return b""

    async def silent(self, seconds: float = 0.15) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.reader.readexactly(1)
        except TimeoutError:
            return True
        return False


@dataclass
class Here:
    """A centre in this process."""

    directory: Path
    ports: dict[str, int]

    async def line(self, protocol: str) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.ports[protocol]))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with read_only(self.directory) as ledger:
            return [tuple(row) for row in ledger.execute(query)]

    def one(self, query: str) -> Any:
        return self.rows(query)[0][0]

    async def until(self, query: str, value: Any) -> None:
        async with asyncio.timeout(5):
            while self.one(query) != value:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def centre(directory: Path, protocol: str, *, version: str = "3.0", **keys: Any) -> AsyncIterator[Here]:
    """A centre with reports at once unless ``keys`` say otherwise; opened twice in one directory it goes on."""
    secret = directory / "secret"
    secret.write_bytes(SECRET + b"\n")
    sound: dict[str, Any] = {
        "report_seconds": [0, 0],
        "signatures": [SIGNATURE],
        "report_repeat_real_milliseconds": 300,
    }
    door = Door(ACCOUNT, secret, source=SOURCE, version=version)
    config = Config(directory / "centre", "bank", secret, protocols={protocol: door}, **{**sound, **keys})
    whole = Centre(config)
    opened = doorways(config, whole)
    ports = {name: await doorway.open() for name, (_, doorway) in opened.items()}
    running = [asyncio.create_task(post.run()) for post, _ in opened.values()]
    try:
        yield Here(directory / "centre", ports)
    finally:
        for task in running:
            task.cancel()
        done = await asyncio.gather(*running, return_exceptions=True)
        for _, doorway in opened.values():
            await doorway.close()
        whole.ledger.close()
    assert all(isinstance(each, asyncio.CancelledError) for each in done), done
