"""The kit's banks over byte streams: HTTP by hand, because no library would commit the faults; and framed TCP.

Every connection is mutual TLS, but for a bank whose line is private, and carries one request at a time. A submission
counts as *taken* when all its bytes have arrived and no fault came before; only then does the bank "have it".
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from typing import Final

from adapters.conformance.between import Between
from adapters.conformance.counterpart import Desk, Fault, Mishap, Page, Party, Record, Script
from adapters.conformance.keys import Keys
from adapters.conformance.rehearsal import HttpReply, Kind, Rehearsal, RehearsesFrames, Reply, Request

_QUESTIONS: Final = b"GHO"  # GET, HEAD, OPTIONS: nothing that pays starts with these letters
_HTML: Final = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_PAGES: Final = {
    Page.HTML: ("text/html", "<html><body><h1>{status}</h1></body></html>"),
    Page.JSON: ("application/json", '{{"code":"{status}","message":"no route matched, or too many requests"}}'),
    Page.NOTHING: ("text/plain", ""),
}
_SENTENCE: Final = "系统异常，请稍后再试".encode("gb18030")
_NOISE: Final = bytes(range(256)) * 4
_NO_CHARACTER: Final = b"\xff\xff"  # in none of UTF-8, GBK and GB18030
_PIECE_SECONDS: Final = 0.002
_DRIP_SECONDS: Final = 0.1
_GREATEST_HEAD: Final = 65_536
_EVERYTHING: Final = 64 * 1024 * 1024


class StreamBank:
    """A listening socket, and one task for each connection."""

    def __init__(self, rehearsal: Rehearsal, *, private: bool = False) -> None:
        self.record = Record()
        self.mishap = Mishap()
        self.script = Script()
        self.between = Between()
        self.private = private  # no TLS: whoever answers on the line is the bank
        self._rehearsal = rehearsal
        self._desk = Desk(rehearsal, self.record)
        self._server: asyncio.Server | None = None
        self._talking: set[asyncio.Task[None]] = set()

    async def start(self, keys: Keys, *, stranger: bool) -> None:
        tls = None if self.private else keys.server_tls(stranger=stranger)
        if tls is not None:
            tls.sni_callback = self._contacted
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=tls, limit=_EVERYTHING)

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("not listening")
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)

    def snapshot(self) -> dict[str, bytes]:
        """What lies at the bank: all that arrived and may be acted on."""
        return {f"{number:06d}": arrival.request.body for number, arrival in enumerate(self.record.arrivals)}

    def _contacted(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.record.contacts += 1

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task")
        self._talking.add(task)
        self.record.contacts += self.private
        try:
            # What a client does to a connection is its business; what it means is judged by the case.
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.LimitOverrunError):
                await self._converse(reader, writer)
        except Exception as error:
            # Told by the case: a rehearsal that cannot speak, or a fault of the kit.
            if self.record.unsaid is None and self.record.broken_rehearsal is None:
                self.record.broken_rehearsal = error
            writer.transport.abort()
        finally:
            writer.close()
            self._talking.discard(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await self._request(reader, writer)) is not None:
            party, received = self._desk.party(request)
            if self.mishap.fires(party, Fault.RESET_BEFORE_TAKING):
                reset(writer)
                return
            if party is Party.SUBMISSION:
                self._desk.take(request, received)
                if received is None:
                    return  # what the bank cannot read it cannot answer; the case says so
            else:
                self.record.questions += 1
            if self.mishap.fires(party, Fault.RESET_AFTER_TAKING):
                reset(writer)
                return
            if self.mishap.fires(party, Fault.HANG_UP):
                return
            if self.mishap.fires(party, Fault.SILENCE):
                await asyncio.Event().wait()
            answer = self.between.passes(party, request, self._desk.answer(self.script, request, party))
            if not await self._send(writer, party, answer):
                return

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
        """The next request, or None when there is none or a fault ended the connection."""
        raise NotImplementedError

    def _bytes(self, reply: Reply) -> bytes:
        raise NotImplementedError

    def _changed(self, reply: Reply, fault: Fault, at: int) -> bytes:
        """The answer with a fault inside it, well-framed."""
        raise NotImplementedError

    async def _send(self, writer: asyncio.StreamWriter, party: Party, reply: Reply) -> bool:
        """Send an answer as the mishap wants it; whether the connection goes on."""
        whole, fault = self._bytes(reply), self.mishap.fault
        if not self.mishap.fires(party, *_IN_THE_ANSWER):
            writer.write(whole)
            await writer.drain()
            return True
        if fault in (Fault.SLOW, Fault.ENDLESS):
            await self._drip(writer, whole, endless=fault is Fault.ENDLESS)
        elif fault is Fault.CUT:
            writer.write(cut(whole, self.mishap.at))
        elif fault is Fault.TWICE:
            writer.write(whole + whole)
        elif fault is Fault.NOISE:
            writer.write(_NOISE)
        elif fault is Fault.PLAIN_TEXT:
            writer.write(_SENTENCE)
        else:
            writer.write(self._changed(reply, fault, self.mishap.at))
        await writer.drain()
        return fault in (Fault.SLOW, Fault.TWICE)

    async def _drip(self, writer: asyncio.StreamWriter, whole: bytes, *, endless: bool) -> None:
        for start in range(0, 60, 3):
            writer.write(whole[start : start + 3])
            await writer.drain()
            await asyncio.sleep(_PIECE_SECONDS)
        rest = whole[60:]
        while endless and rest:  # never the last byte of the answer, though always one more
            writer.write(rest[:1])
            await writer.drain()
            rest = rest[1:] if len(rest) > 2 else rest[:0]
            await asyncio.sleep(_DRIP_SECONDS)
        if endless:
            await asyncio.Event().wait()
        writer.write(rest)


_IN_THE_ANSWER: Final = (
    Fault.CUT,
    Fault.CUT_BODY,
    Fault.SLOW,
    Fault.ENDLESS,
    Fault.TWICE,
    Fault.NOISE,
    Fault.PLAIN_TEXT,
    Fault.WRONG_ENCODING,
    Fault.PROXY_ERROR,
    Fault.REDIRECT,
)


class HttpBank(StreamBank):
    """HTTP/1.1 with a length, and the rehearsal behind it."""

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
        first = await reader.read(1)
        if not first:
            return None
        party = Party.QUESTION if first in _QUESTIONS else Party.SUBMISSION
        if party is Party.SUBMISSION and self.mishap.fires(party, Fault.RESET_BEFORE_TAKING):
            reset(writer)
            return None
        head = first + await reader.readuntil(b"\r\n\r\n")
        start, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = start.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        if "chunked" in headers.get("transfer-encoding", "").lower():
            raise ValueError("the kit's bank takes requests with a Content-Length")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(Kind.HTTP, method, target, headers, body)

    def _bytes(self, reply: Reply) -> bytes:
        if not isinstance(reply, HttpReply):
            raise TypeError("a rehearsal of Kind.HTTP answers with HttpReply")
        head = {"Content-Type": "application/octet-stream", **reply.headers, "Content-Length": str(len(reply.body))}
        lines = [f"HTTP/1.1 {reply.status} Said", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1") + reply.body

    def _changed(self, reply: Reply, fault: Fault, at: int) -> bytes:
        if not isinstance(reply, HttpReply):
            raise TypeError("a rehearsal of Kind.HTTP answers with HttpReply")
        if fault is Fault.PROXY_ERROR:
            form, words = _PAGES[self.mishap.page]
            page = words.format(status=self.mishap.status).encode("ascii")
            return self._bytes(HttpReply(self.mishap.status, page, {"Content-Type": form}))
        if fault is Fault.REDIRECT:
            return self._bytes(HttpReply(307, b"", {"Location": "/elsewhere"}))
        if fault is Fault.WRONG_ENCODING:
            middle = len(reply.body) // 2
            return self._bytes(
                HttpReply(reply.status, reply.body[:middle] + _NO_CHARACTER + reply.body[middle:], reply.headers)
            )
        return self._bytes(HttpReply(reply.status, cut(reply.body, at), reply.headers))


class TcpBank(StreamBank):
    """Frames as the rehearsal's ``frame`` cuts them and its ``framed`` makes them."""

    @property
    def _frames(self) -> RehearsesFrames:
        if not isinstance(self._rehearsal, RehearsesFrames):
            raise TypeError("a rehearsal of Kind.TCP has the methods frame(buffer) and framed(payload)")
        return self._rehearsal

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
        buffer = b""
        while (size := self._frames.frame(buffer)) is None or len(buffer) < size:
            missing = 1 if size is None else size - len(buffer)
            piece = await reader.read(missing)
            if not piece:
                return None
            buffer += piece
            if len(buffer) > _EVERYTHING:
                raise ValueError("a frame without end")
        return Request(Kind.TCP, "", "", {}, buffer)

    def _bytes(self, reply: Reply) -> bytes:
        if not isinstance(reply, bytes):
            raise TypeError("a rehearsal of Kind.TCP answers with bytes")
        return reply

    def _changed(self, reply: Reply, fault: Fault, at: int) -> bytes:
        if fault is Fault.PROXY_ERROR:
            return _HTML
        payload = self._bytes(reply)[len(self._frames.framed(b"?")) - 1 :]
        if fault is Fault.WRONG_ENCODING:
            middle = len(payload) // 2
            return self._frames.framed(payload[:middle] + _NO_CHARACTER + payload[middle:])
        return self._frames.framed(cut(payload, at))


def cut(whole: bytes, at: int) -> bytes:
    """The first ``at`` thousandths, and never so much that only an end of line is missing."""
    return whole[: min(len(whole) * at // 1000, len(whole.rstrip()) - 1)]


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection with an RST: nothing that was sent before it has to arrive."""
    with suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
