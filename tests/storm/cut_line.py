"""A proxy before PostgreSQL that cuts the line at a commit: after it was sent, or after it was answered.

It reads just enough of the frontend protocol (PostgreSQL 18, chapter 54): messages are a type byte and a length. A
*commit* is a simple query ``COMMIT``, or a Sync after an Execute outside a transaction, which commits by itself. The
client learns nothing in either case; the server has committed in both, for what was sent is read by it before the end
of the stream.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit


class Cut(StrEnum):
    SENT = "sent"  # COMMIT went to the server; the client's line dies before any answer
    ANSWERED = "answered"  # the server has answered; nobody hears it


class Proxy:
    """Cuts commits as ``choose`` says (None lets one pass) while ``cutting`` is set."""

    def __init__(self, dsn: str, choose: Callable[[], Cut | None]) -> None:
        parts = urlsplit(dsn)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 5432
        self._parts = parts
        self._choose = choose
        self._server: asyncio.Server | None = None
        self.cutting = False
        self.cuts: dict[Cut, int] = dict.fromkeys(Cut, 0)

    @property
    def dsn(self) -> str:
        """The same database through the proxy; without TLS, which would hide the commits."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        where = f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"
        return urlunsplit((self._parts.scheme, where, self._parts.path, "sslmode=disable", ""))

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()

    def _chosen(self) -> Cut | None:
        return self._choose() if self.cutting else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        line = _Line(reader, writer, back_reader, back_writer, self._chosen)
        try:
            cut = await line.run()
            if cut is not None:
                self.cuts[cut] += 1
        except asyncio.CancelledError:  # the test is over
            pass
        finally:
            writer.transport.abort()
            back_writer.close()


class _Line:
    """One connection of the client, and its own to the server."""

    def __init__(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        choose: Callable[[], Cut | None],
    ) -> None:
        self._client, self._to_client = client, to_client
        self._server, self._to_server = server, to_server
        self._choose = choose
        self._idle = True  # no transaction is open, by the server's last ReadyForQuery
        self._executed = False
        self._deaf = False  # from here on the client hears nothing
        self._answered = asyncio.Event()

    async def run(self) -> Cut | None:
        """Pass everything on until an end closes, or a commit is cut; which cut."""
        answers = asyncio.create_task(self._answers())
        try:
            return await self._questions()
        except (OSError, asyncio.IncompleteReadError):
            return None
        finally:
            answers.cancel()
            await asyncio.wait([answers])

    async def _questions(self) -> Cut | None:
        size = await self._client.readexactly(4)
        self._to_server.write(size + await self._client.readexactly(struct.unpack("!i", size)[0] - 4))
        while True:
            kind = await self._client.readexactly(1)
            size = await self._client.readexactly(4)
            body = await self._client.readexactly(struct.unpack("!i", size)[0] - 4)
            cut = self._choose() if self._is_commit(kind, body) else None
            if cut is not None:
                self._deaf = True
                self._answered.clear()
            self._to_server.write(kind + size + body)
            await self._to_server.drain()
            if cut is Cut.ANSWERED:
                await asyncio.wait_for(self._answered.wait(), 15)
            if cut is not None:
                return cut

    def _is_commit(self, kind: bytes, body: bytes) -> bool:
        if kind == b"Q":
            return body.rstrip(b"\0; ").upper() == b"COMMIT"
        if kind == b"E":
            self._executed = True
        if kind == b"S":
            executed, self._executed = self._executed, False
            return executed and self._idle
        return False

    async def _answers(self) -> None:
        try:
            while True:
                kind = await self._server.readexactly(1)
                size = await self._server.readexactly(4)
                body = await self._server.readexactly(struct.unpack("!i", size)[0] - 4)
                if kind == b"Z":
                    self._idle = body == b"I"
                    self._answered.set()
                if not self._deaf:
                    self._to_client.write(kind + size + body)
                    await self._to_client.drain()
        except (OSError, asyncio.IncompleteReadError):
            self._answered.set()
            self._to_client.transport.abort()


def now_and_then(seed: int, one_in: int) -> Callable[[], Cut | None]:
    """Cut one commit in ``one_in``, either way, by a seed."""
    chance = random.Random(seed)
    return lambda: chance.choice(list(Cut)) if chance.randrange(one_in) == 0 else None
