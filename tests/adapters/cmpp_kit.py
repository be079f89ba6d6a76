"""A hand-written CMPP gateway for the tests: it packs its bytes by the published layout, by itself."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.sms.cmpp.provider import CmppProvider, CmppSettings

SECRET = b"shared"
STAMP = "1124100000"


def pdu(command: int, sequence: int, body: bytes = b"") -> bytes:
    return struct.pack(">III", 12 + len(body), command, sequence) + body


@dataclass
class Seen:
    """One SUBMIT as it arrived, cut by the layout of 2.0."""

    sequence: int
    body: bytes = field(repr=False)

    @property
    def src_id(self) -> bytes:
        return self.body[95:116].rstrip(b"\0")

    @property
    def number(self) -> bytes:
        return self.body[117:138].rstrip(b"\0")

    @property
    def content(self) -> bytes:
        return self.body[139 : 139 + self.body[138]]


@dataclass
class Peer:
    """A CMPP 2.0 gateway. ``on_submit`` gives the result of a SUBMIT, or None for no answer."""

    on_submit: Callable[[Seen], int | None] = lambda seen: 0
    login_status: int = 0
    submits: list[Seen] = field(default_factory=list)
    others: list[tuple[int, int, bytes]] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    unanswered: int = 0
    most_unanswered: int = 0
    server: asyncio.Server | None = None

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length, command, sequence = struct.unpack(">III", await reader.readexactly(12))
                self._take(writer, command, sequence, await reader.readexactly(length - 12))

    def _take(self, writer: asyncio.StreamWriter, command: int, sequence: int, body: bytes) -> None:
        if command == 1:
            self.logins.append(body)
            status = bytes((self.login_status,))
            proof = hashlib.md5(status + body[6:22] + SECRET).digest()
            writer.write(pdu(0x80000001, sequence, status + proof + b"\x20"))
        elif command == 4:
            seen = Seen(sequence, body)
            self.submits.append(seen)
            self.unanswered += 1
            self.most_unanswered = max(self.most_unanswered, self.unanswered)
            if (result := self.on_submit(seen)) is not None:
                self.answer(seen, result)
        else:
            self.others.append((command, sequence, body))
            if command in (2, 8):
                writer.write(pdu(0x80000000 | command, sequence, b"\0" if command == 8 else b""))

    def answer(self, seen: Seen, result: int = 0) -> None:
        self.unanswered -= 1
        self.writers[-1].write(pdu(0x80000004, seen.sequence, self.msg_id(seen) + bytes((result,))))

    def msg_id(self, seen: Seen) -> bytes:
        return (1000 + self.submits.index(seen)).to_bytes(8, "big")

    def report(self, seen: Seen, stat: bytes = b"DELIVRD", sequence: int = 77) -> None:
        """The status report of a SUBMIT, addressed to its Src_Id."""
        content = self.msg_id(seen) + stat + b"2611241000" * 2 + seen.number.ljust(21, b"\0") + bytes(4)
        head = bytes(8) + seen.src_id.ljust(21, b"\0") + b"SUBSIDY".ljust(10, b"\0") + bytes(3)
        body = head + seen.number.ljust(21, b"\0") + b"\1" + bytes((len(content),)) + content + bytes(8)
        self.writers[-1].write(pdu(5, sequence, body))


def settings(directory: Path, port: int, **changes: Any) -> CmppSettings:
    (directory / "cmpp.secret").write_bytes(SECRET + b"\n")
    limits = {"connect_seconds": 1, "answer_seconds": 1, "idle_seconds": 1, "longest_backoff_seconds": 1}
    sound = {
        "host": "127.0.0.1",
        "port": port,
        "source_addr": "900001",
        "secret_file": directory / "cmpp.secret",
        "service_id": "SUBSIDY",
        "service_number": "10690001",
        "parts_per_second": 1000,
        "limits": limits,
    }
    return CmppSettings.model_validate(sound | changes)


def provider(directory: Path, port: int, **changes: Any) -> CmppProvider:
    return CmppProvider("cmpp", settings(directory, port, **changes), lambda: STAMP)
