"""A peer that is not who it should be: it takes a connection, plays one part, and keeps every byte that it was told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.adapters.pki_kit import Authority

# What it plays. "itself" is the control: the right certificate, to which everything is told.
PARTS = ("stranger", "other host", "self-signed", "expired", "old TLS", "plain text", "hangs up", "itself")
_LISTENS_SECONDS = 1


@dataclass
class Peer:
    """One listening peer. ``told`` is what came through inside TLS, ``raw`` what came in the clear."""

    part: str
    authority: Authority
    folder: Path
    starts_tls: bool = False  # PostgreSQL asks in the clear whether TLS is spoken
    port: int = 0
    connections: int = 0
    told: bytearray = field(default_factory=bytearray)
    raw: bytearray = field(default_factory=bytearray)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
            try:
                await self._play(reader, writer)
            finally:
                writer.transport.abort()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.part == "hangs up":
            return
        if self.starts_tls:
            self.raw += await reader.readexactly(8)
            writer.write(b"N" if self.part == "plain text" else b"S")
        if self.part == "plain text":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * (not self.starts_tls))
            await self._listen(reader, self.raw)
            return
        await writer.start_tls(self._context(), ssl_handshake_timeout=3)
        await self._listen(reader, self.told)

    async def _listen(self, reader: asyncio.StreamReader, ear: bytearray) -> None:
        async with asyncio.timeout(_LISTENS_SECONDS):
            while heard := await reader.read(65_536):
                ear += heard

    def _context(self) -> ssl.SSLContext:
        issuer = Authority(self.folder, self.part) if self.part == "stranger" else self.authority
        if self.part == "self-signed":
            pem = issuer.self_signed("localhost")
        elif self.part == "expired":
            pem = issuer.expired("localhost")
        else:
            pem = issuer.issue("elsewhere.example.invalid" if self.part == "other host" else "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem.certificate, pem.key)
        if self.part == "old TLS":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        return context


@asynccontextmanager
async def peer(part: str, authority: Authority, folder: Path, *, starts_tls: bool = False) -> AsyncIterator[Peer]:
    """A peer that listens on 127.0.0.1."""
    made = Peer(part, authority, folder, starts_tls)
    server = await asyncio.start_server(made, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


@dataclass
class Witness:
    """What the tests of the row saw, each added when it was seen: by the kind of falsehood, and by false peer."""

    refused: Counter[str] = field(default_factory=Counter)
    peers: int = 0  # false peers that somebody really connected to
    told: int = 0  # bytes that they heard inside TLS, or after a login
    in_clear: Counter[str] = field(default_factory=Counter)  # bytes in the clear, by the part that listened there

    def heard(self, false: Peer) -> None:
        """Before anything is demanded of it: what a false peer heard counts in a red run, too."""
        self.peers += false.connections > 0
        self.told += len(false.told)
        if false.raw:
            self.in_clear[false.part] += len(false.raw)
