"""Raw servers for the framed TCP wire: they speak bytes, so that they can do what no bank should."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from adapters.contract import Artefact
from adapters.wire.tcp import Framing, TcpSettings, TcpTransport, TcpWire

PAY = b"<pay>canary</pay>"
ANSWER = b"00000002ok"
SHORT = {
    "connect_timeout_milliseconds": 2_000,
    "silence_timeout_milliseconds": 2_500,
    "total_timeout_milliseconds": 3_000,
    "max_frame_bytes": 2_000,
}
Step = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Plays ``step`` on each connection, and keeps every byte that arrived before it."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.connections = 0
        self._playing: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        playing = asyncio.current_task()
        assert playing is not None
        self._playing.add(playing)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await self.step(reader, writer)
            finally:
                writer.close()

    async def stop(self) -> None:
        for playing in self._playing:
            playing.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)


async def frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int(await reader.readexactly(8)))


def answering(*answers: bytes) -> RawServer:
    """Answers frame after frame on one connection, then ends it."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await frame(reader)
            writer.write(answer)
            await writer.drain()

    return RawServer(step)


@contextlib.asynccontextmanager
async def transport_to(server: RawServer, **more: Any) -> AsyncIterator[TcpTransport]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    settings = TcpSettings(**{"host": "localhost", "port": port, "framing": Framing.DIGITS8, **SHORT, **more})
    transport = TcpTransport(settings)
    try:
        yield transport
    finally:
        await transport.close()
        listening.close()
        await server.stop()


@contextlib.asynccontextmanager
async def wire_to(server: RawServer, **more: Any) -> AsyncIterator[TcpWire]:
    async with transport_to(server, **more) as transport, transport.wire() as wire:
        yield wire


def content(artefact: Artefact) -> bytes:
    return artefact.content


async def send(wire: TcpWire, payload: bytes = PAY) -> bytes:
    return (await wire.send(payload, label="x")).content


async def ask(wire: TcpWire, payload: bytes = PAY) -> bytes:
    return await wire.ask(payload, content, label="x")
