"""Length-prefixed frames over TCP: bounded, sent once, and sure about what may have left this machine.

Theory of operation
-------------------

A wire has two verbs. ``send`` is for a frame that may pay: it opens a connection of its own, turns ``crossed`` True
immediately before the first byte is written, and closes the connection after the answer. ``ask`` is for a question,
on which no bank can act: it never crosses, and may travel over a connection that was kept. So a question that is put
before a payment, and gets no answer, still leaves "nothing was sent" provable.

Nothing is repeated here. A kept connection that the bank had closed is told apart (``StaleConnection``), because there
a question may be put again at once, and whoever asks knows whether the same bytes will do.

A connection is kept only when its answer was accepted by the reader that the caller gives, and lent again only when
nothing has arrived on it since: an answer given twice, or late, must not be taken for the answer to the next question.

In TLS 1.3 the client ends its handshake before the bank has judged the client's certificate, so a refused one shows
after the first byte only. That counts as doubt, as in ``http.py``.

Nothing of an answer is ever put into an exception: frames hold personal data.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.contract import Artefact, NoTurn, Turn, unpaced
from adapters.wire.clear import beyond_loopback
from adapters.wire.tls import TlsFiles, mutual_tls

T = TypeVar("T")

_CHUNK_BYTES: Final = 64 * 1024
_MEBIBYTE: Final = 1024 * 1024
_PLAIN_FLAG: Final = b"0"
_LEFT_ALIGNED: Final = re.compile(rb"[0-9]+ *").fullmatch
_ZERO_PADDED: Final = re.compile(rb"[0-9]+").fullmatch


class TcpFault(Exception):
    """No usable answer. ``code`` is a short name from a closed set, fit for a metric."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotReached(TcpFault):
    """No connection came about: not a byte of the frame left this machine."""


class TurnRefused(NotReached, NoTurn):
    """The login's pace left no turn for this question."""


class AnswerLost(TcpFault):
    """The connection broke or fell silent after the frame may have left."""


class StaleConnection(AnswerLost):
    """A kept connection turned out to be closed before any answer came."""


class AnswerUnusable(TcpFault):
    """Something was answered that is no answer, whatever it says."""


class Framing(StrEnum):
    """How a header gives the number of bytes that follow it; the length does not count the header."""

    DIGITS8 = "digits8"  # 8 digits, zero-padded
    SPACES8 = "spaces8"  # 8 bytes: digits left-aligned, padded with spaces
    FLAG1_6 = "flag1_6"  # one flag byte (0 = plain), then 6 bytes as in spaces8

    @property
    def header_bytes(self) -> int:
        return 7 if self is Framing.FLAG1_6 else 8

    @property
    def greatest_size(self) -> int:
        return 999_999 if self is Framing.FLAG1_6 else 99_999_999

    def header(self, size: int) -> bytes:
        """ValueError for a size that the header cannot say."""
        if not 0 < size <= self.greatest_size:
            raise ValueError("a frame's size does not fit its header")
        if self is Framing.DIGITS8:
            return b"%08d" % size
        if self is Framing.SPACES8:
            return (b"%d" % size).ljust(8)
        return _PLAIN_FLAG + (b"%d" % size).ljust(6)

    def size(self, header: bytes) -> int | None:
        """The size that a header says; None for bytes that are no header of this kind."""
        flag, digits = (header[:1], header[1:]) if self is Framing.FLAG1_6 else (_PLAIN_FLAG, header)
        form = _ZERO_PADDED if self is Framing.DIGITS8 else _LEFT_ALIGNED
        if len(header) != self.header_bytes or flag != _PLAIN_FLAG or form(digits) is None:
            return None
        return int(digits)


class TcpSettings(BaseModel):
    """Where the bank listens, how it frames, and how long and how much. Times are real, as channels are.

    Without ``tls`` the line below has to be private: a leased line or a tunnel that the bank and we both guard. Nobody
    here can see whether it is, so each start says where it leads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(ge=1, le=65_535)
    framing: Framing
    tls: TlsFiles | None = None
    connect_timeout_milliseconds: int = Field(default=5_000, ge=1, le=60_000)  # name, connection and TLS handshake
    silence_timeout_milliseconds: int = Field(default=20_000, ge=1, le=300_000)  # to the first byte, and between two
    total_timeout_milliseconds: int = Field(default=60_000, ge=1, le=600_000)
    max_frame_bytes: int = Field(default=_MEBIBYTE, ge=1_024, le=16 * _MEBIBYTE)  # without the header, both ways
    max_connections: int = Field(default=8, ge=1, le=100)
    keep_alive_milliseconds: int = Field(default=10_000, ge=0, le=600_000)  # of an idle connection; 0 = none is kept

    @model_validator(mode="after")
    def _each_timeout_can_fire(self) -> Self:
        if self.connect_timeout_milliseconds >= self.total_timeout_milliseconds:
            raise ValueError("connect_timeout_milliseconds must be less than total_timeout_milliseconds")
        if self.silence_timeout_milliseconds > self.total_timeout_milliseconds:
            raise ValueError("silence_timeout_milliseconds must not exceed total_timeout_milliseconds")
        return self

    @property
    def greatest_frame_bytes(self) -> int:
        """The largest payload of a frame, by our bound and by what the header can say."""
        return min(self.max_frame_bytes, self.framing.greatest_size)

    def in_the_clear(self) -> tuple[str, ...]:
        return () if self.tls else beyond_loopback(self.host)


@dataclass(slots=True, eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kept: bool = False
    kept_at: int = 0  # milliseconds of the loop's clock
    reused: bool = False

    async def is_quiet(self) -> bool:
        """True when the bank has neither closed it nor said anything unasked."""
        await asyncio.sleep(0)  # what the system has already received arrives at the reader
        if self.writer.is_closing() or self.reader.at_eof():
            return False
        try:
            async with asyncio.timeout(0):  # takes what is there; waits for nothing
                await self.reader.read(1)
        except TimeoutError:
            return True
        except (OSError, ssl.SSLError):
            return False
        return False

    def end(self, *, abruptly: bool) -> None:
        """Give it up without waiting: a bank that does not say goodbye must not hold us up."""
        if abruptly:
            self.writer.transport.abort()
        else:
            self.writer.close()


class TcpTransport:
    """The connections to one bank. It takes the turn of each question itself: one call of the core may put several."""

    def __init__(self, settings: TcpSettings) -> None:
        self._settings = settings
        self._tls = mutual_tls(settings.tls) if settings.tls else None
        self._conversation: Callable[[], Turn] = unpaced
        self._slots = asyncio.Semaphore(settings.max_connections)
        self._idle: list[_Connection] = []
        self._closed = False

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[TcpWire]:
        yield TcpWire(self, self._conversation())

    def take_turns_from(self, conversation: Callable[[], Turn]) -> None:
        self._conversation = conversation

    async def close(self) -> None:
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.end(abruptly=False)

    @property
    def settings(self) -> TcpSettings:
        return self._settings

    @asynccontextmanager
    async def connection(self, *, fresh: bool) -> AsyncIterator[_Connection]:
        """Lend a connection; NotReached when there is none. It is ended unless ``keep`` was called on it."""
        async with self._slots:
            lent = None if fresh else await self._kept()
            if lent is None:
                lent = await self._open()
            abruptly = True
            try:
                yield lent
                abruptly = False
            finally:
                if not lent.kept:
                    lent.end(abruptly=abruptly)

    def keep(self, lent: _Connection) -> None:
        if self._settings.keep_alive_milliseconds and not self._closed:
            lent.kept, lent.kept_at = True, _milliseconds()
            self._idle.append(lent)

    async def _kept(self) -> _Connection | None:
        while self._idle:
            lent = self._idle.pop()
            young = _milliseconds() - lent.kept_at < self._settings.keep_alive_milliseconds
            if young and await lent.is_quiet():
                lent.kept, lent.reused = False, True
                return lent
            lent.end(abruptly=False)
        return None

    async def _open(self) -> _Connection:
        if self._closed:
            raise NotReached("CLOSED")
        settings = self._settings
        try:
            async with asyncio.timeout(settings.connect_timeout_milliseconds / 1000):
                return _Connection(*await asyncio.open_connection(settings.host, settings.port, ssl=self._tls))
        except TimeoutError:
            raise NotReached("TIMEOUT") from None
        except socket.gaierror:
            raise NotReached("NAME") from None
        except ssl.SSLCertVerificationError:
            raise NotReached("CERTIFICATE") from None
        except ssl.SSLError:
            raise NotReached("TLS") from None
        except OSError:
            raise NotReached("CONNECT") from None


class _Closed(Exception):
    """The bank ended the connection before its answer was whole."""


class TcpWire:
    """One conversation: fresh ``crossed`` and ``artefacts``."""

    def __init__(self, transport: TcpTransport, turn: Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._crossed = False
        self._artefacts: list[Artefact] = []

    @property
    def crossed(self) -> bool:
        return self._crossed

    @property
    def artefacts(self) -> Sequence[Artefact]:
        return tuple(self._artefacts)

    async def send(self, payload: bytes, *, label: str) -> Artefact:
        """A frame on which the bank may act, once, over a connection of its own; the payload of the answer.

        Raises NotReached, AnswerLost or AnswerUnusable, and ValueError for a payload that no frame can carry.
        ``label`` names the artefact.
        """
        frame = self._frame(payload)
        try:
            async with self._total(), self._transport.connection(fresh=True) as connection:
                self._crossed = True
                return await self._exchange(connection, frame, label)
        except TimeoutError:
            raise (AnswerLost if self._crossed else NotReached)("TIMEOUT") from None

    async def ask(self, payload: bytes, accept: Callable[[Artefact], T], *, label: str, fresh: bool = False) -> T:
        """A frame on which the bank cannot act; what ``accept`` reads in the answer.

        Whatever ``accept`` raises goes through, and the connection is not used again. ``fresh`` asks for a new one.
        """
        frame = self._frame(payload)
        try:
            await self._turn()
        except NoTurn:
            raise TurnRefused("NO_TURN") from None
        asked = False
        try:
            async with self._total(), self._transport.connection(fresh=fresh) as connection:
                asked = True
                accepted = accept(await self._exchange(connection, frame, label))
                self._transport.keep(connection)
                return accepted
        except TimeoutError:
            raise (AnswerLost if asked else NotReached)("TIMEOUT") from None

    def _frame(self, payload: bytes) -> bytes:
        settings = self._transport.settings
        if len(payload) > settings.greatest_frame_bytes:
            raise ValueError("a frame is larger than the bound")
        return settings.framing.header(len(payload)) + payload

    def _total(self) -> asyncio.Timeout:
        return asyncio.timeout(self._transport.settings.total_timeout_milliseconds / 1000)

    async def _exchange(self, connection: _Connection, frame: bytes, label: str) -> Artefact:
        """Write one frame, read one. What came of an answer that is not whole is kept as ``….partial``."""
        arrived = bytearray()
        whole = False
        header_bytes = self._transport.settings.framing.header_bytes
        try:
            connection.writer.write(frame)
            await self._within_silence(connection.writer.drain())
            await self._read(connection.reader, arrived)
            whole = True
        except (_Closed, OSError) as fault:
            stale = connection.reused and not arrived
            code = "CLOSED" if isinstance(fault, _Closed) else "BROKEN"
            raise (StaleConnection if stale else AnswerLost)(code) from None
        finally:
            if whole:
                self._artefacts.append(Artefact.of(label, bytes(arrived[header_bytes:])))
            elif arrived:
                self._artefacts.append(Artefact.of(f"{label}.partial", bytes(arrived)))
        return self._artefacts[-1]

    async def _read(self, reader: asyncio.StreamReader, arrived: bytearray) -> None:
        settings = self._transport.settings
        await self._read_up_to(reader, arrived, settings.framing.header_bytes)
        size = settings.framing.size(bytes(arrived))
        if not size:
            raise AnswerUnusable("BAD_HEADER")
        if size > settings.greatest_frame_bytes:
            raise AnswerUnusable("OVERSIZE")
        await self._read_up_to(reader, arrived, settings.framing.header_bytes + size)

    async def _read_up_to(self, reader: asyncio.StreamReader, arrived: bytearray, size: int) -> None:
        while len(arrived) < size:
            chunk = await self._within_silence(reader.read(min(_CHUNK_BYTES, size - len(arrived))))
            if not chunk:
                raise _Closed
            arrived += chunk

    async def _within_silence(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._transport.settings.silence_timeout_milliseconds / 1000):
                return await call
        except TimeoutError:
            raise AnswerLost("SILENCE") from None


def _milliseconds() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
