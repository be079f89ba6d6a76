"""A deliberately dumb front-end machine for ``xml_tcp``: it says what it is told to, framed and sealed by its own code.

Documents are put together by string formatting, read by ``xml.etree`` and the codecs of Python, and their MAC comes
from ``hashlib``: nothing here is shared with the adapter.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hmac
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

from adapters.banks.xml_tcp import PROFILE, XmlTcpBank, XmlTcpSettings
from adapters.contract import Line, Rendered, Submission
from adapters.wire.tcp import TcpTransport
from schemas.masked import AccountNumber, IdNumber, PersonName

DATA = Path(__file__).parents[1] / "data" / "xml_tcp"
KEY = b"sample-mac-key-0123456789abcdef0"
AT = dt.datetime(2026, 11, 24, 10, 15, 30, tzinfo=ZoneInfo("Asia/Shanghai"))
BATCH = "DF202611240002"
ACCOUNT = "6599990000000017"
REFS = tuple(f"01JDF7BCDEFGHJKMNPQRSTVW0{n}" for n in (1, 2, 3))
QUICK = {
    "connect_timeout_milliseconds": 2_000,
    "silence_timeout_milliseconds": 2_500,
    "total_timeout_milliseconds": 3_000,
}


def mac(body: bytes, key: bytes = KEY) -> str:
    return hmac.new(key, body, "sm3").hexdigest()


def framed(payload: bytes, framing: str = "digits8") -> bytes:
    if framing == "digits8":
        return str(len(payload)).zfill(8).encode() + payload
    if framing == "spaces8":
        return f"{len(payload):<8}".encode() + payload
    return b"0" + f"{len(payload):<6}".encode() + payload


@dataclass
class Seen:
    """A request as it arrived, and as another parser reads it."""

    connection: int
    payload: bytes

    @property
    def root(self) -> ElementTree.Element:
        text = self.payload.decode("gb18030")
        return ElementTree.fromstring(text[text.index("?>") + 2 :])

    def __getitem__(self, name: str) -> str:
        found = self.root.find(f".//{name}")
        assert found is not None
        return found.text or ""

    @property
    def body(self) -> bytes:
        return self.payload[self.payload.index(b"<BODY") : self.payload.index(b"</BANK>")]


@dataclass
class Reply:
    """One answer and what is wrong with it."""

    code: str = "0000"
    body: str = "<BODY/>"
    text: str = "成功"
    trade: str | None = None  # instead of the echo
    number: str | None = None
    mac: str | None = None  # "" leaves the element out
    key: bytes = KEY
    encoding: str = "gbk"
    declared: str | None = None
    raw: bytes | None = None  # instead of a document; framed
    unframed: bytes | None = None  # instead of a frame
    cut: int | None = None  # only so many bytes of the frame, then the end
    hang_up: bool = False
    stall: bool = False
    close_after: bool = False
    twice: bool = False

    def payload(self, seen: Seen) -> bytes:
        if self.raw is not None:
            return self.raw
        body = self.body.encode(self.encoding)
        seal = mac(body, self.key) if self.mac is None else self.mac
        head = (
            f"<TRCODE>{self.trade or seen['TRCODE']}</TRCODE><REQSEQ>{self.number or seen['REQSEQ']}</REQSEQ>"
            f"<RSPSEQ>B000000000001</RSPSEQ><RETCODE>{self.code}</RETCODE><RETMSG>{self.text}</RETMSG>"
            + (f"<MAC>{seal}</MAC>" if seal else "")
        )
        start = f'<?xml version="1.0" encoding="{self.declared or self.encoding.upper()}"?><BANK><HEAD>{head}</HEAD>'
        return start.encode(self.encoding) + body + b"</BANK>"


class FrontEnd:
    """Answers each trade code from its own queue of replies, the last of them for ever."""

    def __init__(self, framing: str = "digits8") -> None:
        self.framing = framing
        self.replies: dict[str, list[Reply | Callable[[Seen], Reply]]] = {}
        self.seen: list[Seen] = []
        self.connections = 0
        self.over = asyncio.Event()
        self._playing: set[asyncio.Task[None]] = set()

    def says(self, trade: str, *replies: Reply | Callable[[Seen], Reply]) -> None:
        self.replies[trade] = list(replies)

    @property
    def trades(self) -> list[str]:
        return [seen["TRCODE"] for seen in self.seen]

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        playing = asyncio.current_task()
        assert playing is not None
        self._playing.add(playing)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            try:
                while await self._one(reader, writer, number):
                    pass
            finally:
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        header = await reader.readexactly(7 if self.framing == "flag1_6" else 8)
        size = int(header[1:] if self.framing == "flag1_6" else header)
        seen = Seen(number, await reader.readexactly(size))
        assert framed(seen.payload, self.framing).startswith(header)
        self.seen.append(seen)
        queue = self.replies[seen["TRCODE"]]
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if not isinstance(reply, Reply):
            reply = reply(seen)
        if reply.stall:
            await self.over.wait()
        if reply.hang_up:
            return False
        frame = reply.unframed if reply.unframed is not None else framed(reply.payload(seen), self.framing)
        writer.write((frame * 2 if reply.twice else frame)[: reply.cut])
        await writer.drain()
        return reply.cut is None and reply.unframed is None and not reply.close_after

    async def stop(self) -> None:
        self.over.set()
        for playing in self._playing:
            playing.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)


@dataclass
class World:
    bank: FrontEnd
    adapter: XmlTcpBank
    transport: TcpTransport


def settings(folder: Path, *, port: int = 1, tcp: dict[str, Any] | None = None, **more: Any) -> XmlTcpSettings:
    """As a configuration file would give them: names relative to its directory."""
    (folder / "mac.key").write_bytes(KEY + b"\n")
    given = {
        "tcp": {"host": "localhost", "port": port, "framing": "digits8", **QUICK, **(tcp or {})},
        "encoding": "gbk",
        "channel": "YKT01",
        "corporation": "65999901",
        "mac_key_file": "mac.key",
        "debit_accounts": [ACCOUNT],
        "probe_interval_milliseconds": 0,
        **more,
    }
    return XmlTcpSettings.model_validate(given, context={"base": folder})


def adapter(folder: Path, **more: Any) -> XmlTcpBank:
    made = PROFILE.adapter("bank_b", settings(folder, **more))
    assert isinstance(made, XmlTcpBank)
    return made


@contextlib.asynccontextmanager
async def world(
    folder: Path, *, tls: ssl.SSLContext | None = None, tcp: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[World]:
    """The front-end machine listening, and the adapter configured to talk to it."""
    bank = FrontEnd((tcp or {}).get("framing", "digits8"))
    listening = await asyncio.start_server(bank, "127.0.0.1", 0, ssl=tls)
    agreed = settings(folder, port=listening.sockets[0].getsockname()[1], tcp=tcp, **more)
    transport = PROFILE.transport(agreed)
    try:
        yield World(bank, PROFILE.adapter("bank_b", agreed), transport)
    finally:
        await transport.close()
        listening.close()
        await bank.stop()


def line(number: int = 1, name: str = "阿依古丽·买买提", amount_fen: int = 150_000, **more: Any) -> Line:
    given: dict[str, Any] = {
        "reference": f"01JDF7BCDEFGHJKMNPQRSTVW{number:02d}",
        "name": PersonName(name),
        "id_type": "01",
        "id_no": IdNumber("659999198001010021"),
        "account": AccountNumber("6299990000000000012"),
        "account_kind": "SSCARD",
        "bank_no": "104881000012",
        "amount_fen": amount_fen,
        "programme": "XJ-ZF-02",
        "purpose": "边民补助",
        "period": "2026",
    }
    return Line(**(given | more))


SAMPLE_LINES = (
    line(1),
    line(2, "张珅", id_no=IdNumber("659999197506150017"), account=AccountNumber("6299990000000000020")),
    line(
        3,
        "古丽娜尔·阿卜杜热合曼",
        id_no=IdNumber("659999199012310040"),
        account=AccountNumber("6299990000000000038"),
    ),
)
SUBMISSION = Submission(
    reference=BATCH,
    county="659999",
    debit_account=AccountNumber(ACCOUNT),
    debit_name="某某县财政局惠民惠农补贴专户",
    programme="XJ-ZF-02",
    purpose="边民补助",
    period="2026",
)


def rendered(made: XmlTcpBank) -> Rendered:
    return made.render(SUBMISSION, SAMPLE_LINES, AT)


def xml(**fields: str) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())


def item(number: int = 1, status: str = "2", code: str | None = None, **more: str) -> str:
    """An item of DF1002 as the sample has it."""
    booked = status == "2"
    fields = {
        "REF": f"01JDF7BCDEFGHJKMNPQRSTVW{number:02d}",
        "AMT": "1500.00",
        "STATUS": status,
        "CODE": {"0": "2000", "1": "2007", "2": "0000", "9": "9999"}.get(status, "") if code is None else code,
        "MSG": "说明",
        "POSTDATE": "20261124" if booked else "",
        "HOSTREF": f"H{number}" if booked else "",
    }
    return f"<ITEM>{xml(**(fields | more))}</ITEM>"


def listing(*items: str, batch: str = BATCH) -> Reply:
    return Reply(body=f"<BODY>{xml(BATCHNO=batch)}<LIST>{''.join(items)}</LIST></BODY>")
