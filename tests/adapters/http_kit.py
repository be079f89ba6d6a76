"""Raw servers for the HTTP wire: they speak bytes, so that they can do what no HTTP library would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from adapters.wire.http import HttpFault, HttpLimits, HttpTransport, HttpWire, TlsFiles, client_tls
from tests.adapters.pki_kit import Authority

SHORT = HttpLimits(
    connect_timeout_milliseconds=2_000,
    silence_timeout_milliseconds=2_500,
    total_timeout_milliseconds=3_000,
    max_answer_bytes=1_000,
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Step = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Plays ``step`` on each connection and keeps what arrived; it knows nothing of HTTP."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.connections = 0
        self.requests: list[bytes] = []
        self._playing: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        playing = asyncio.current_task()
        assert playing is not None
        self._playing.add(playing)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            try:
                await self.step(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    async def stop(self) -> None:
        for playing in self._playing:
            playing.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """One request: its head and, where it announces one, its body."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
        self.requests.append(head + body)
        return head + body


@contextlib.asynccontextmanager
async def serving(server: RawServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await server.stop()


@contextlib.asynccontextmanager
async def wire_to(
    port: int, limits: HttpLimits = SHORT, tls: ssl.SSLContext | None = None, host: str = "localhost"
) -> AsyncIterator[HttpWire]:
    transport = HttpTransport(f"{'https' if tls else 'http'}://{host}:{port}", limits, tls)
    try:
        async with transport.wire() as wire:
            yield wire
    finally:
        await transport.close()


async def post(wire: HttpWire, body: bytes = b"pay", target: str = "/v1") -> bytes:
    return (await wire.ask("POST", target, label="x", headers={}, body=body)).body


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def answered_with(raw: bytes, limits: HttpLimits = SHORT) -> tuple[RawServer, HttpWire, HttpFault | bytes]:
    """Ask a server that answers every request with ``raw`` and hangs up."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(raw)
        await writer.drain()

    server = RawServer(step)
    async with serving(server) as port, wire_to(port, limits) as wire:
        try:
            return server, wire, await post(wire)
        except HttpFault as fault:
            return server, wire, fault


def client(authority: Authority, issuer: Authority | None = None) -> ssl.SSLContext:
    pem = (issuer or authority).issue("gateway", client=True)
    return client_tls(TlsFiles(ca_file=authority.file, certificate_file=pem.certificate, private_key_file=pem.key))
