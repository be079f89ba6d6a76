"""The front-end machine's server: frames over TCP or mutual TLS, answered in order, and the faults of answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable

from tests.bank.xml_answers import Manner, Outcome
from tests.bank.xml_desk import XmlDesk
from tests.bank.xml_format import Unreadable

HOSTILE_BYTES = 32 * 1024 * 1024
CHUNK = b" " * 65536
PLAIN_TEXT = b"System busy, please try later\r\n"


class XmlServer:
    """One listening bank."""

    def __init__(self, desk: XmlDesk) -> None:
        self.desk = desk
        self.book = desk.book
        self._server: asyncio.Server
        self._conversations: set[asyncio.Task[None]] = set()

    async def serve(self) -> int:
        """Listen; returns the port."""
        config = self.book.config
        tls = self._context() if self.desk.xml.tls else None
        self._server = await asyncio.start_server(self._accept, config.host, config.port, ssl=tls)
        return int(self._server.sockets[0].getsockname()[1])

    def _context(self) -> ssl.SSLContext:
        config, xml = self.book.config, self.desk.xml
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=config.path(xml.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(config.path(xml.certificate), config.path(xml.key))
        return context

    async def watch(self) -> None:
        """Nothing to do beside answering, for ever."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # whoever hangs up, or falls silent, has said all there is
        finally:
            self._conversations.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Frame by frame, until one cannot be read or its answer goes wrong."""
        framing = self.desk.framing
        while True:
            async with asyncio.timeout(self.desk.xml.idle_real_seconds):
                try:
                    length = framing.length(await reader.readexactly(framing.size))
                except Unreadable:
                    return
                document = await reader.readexactly(length)
            outcome = self.desk.answer(document)
            if outcome is None or not await self._send(outcome, writer):
                return

    async def _send(self, outcome: Outcome, writer: asyncio.StreamWriter) -> bool:
        """Let an answer go in its manner; whether the conversation goes on."""
        frame = self.desk.framing.frame(outcome.document)
        hang_seconds = self.book.config.hang_real_seconds
        match outcome.manner:
            case Manner.WHOLE:
                writer.write(frame)
                await writer.drain()
                return True
            case Manner.HANG:
                await asyncio.sleep(hang_seconds)
            case Manner.SHORT:
                await _write(writer, [frame[: len(frame) // 2]])
            case Manner.PLAIN:
                await _write(writer, [PLAIN_TEXT])
            case Manner.OVERSIZE:
                await _write(writer, [self.desk.framing.longest(), *[CHUNK] * (HOSTILE_BYTES // len(CHUNK))])
            case Manner.SLOW:
                await _write(writer, (frame[place : place + 1] for place in range(hang_seconds * 2)), 0.5)
            case Manner.DROP:
                pass
        return False


async def _write(writer: asyncio.StreamWriter, pieces: Iterable[bytes], pause_seconds: float = 0) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_seconds)
