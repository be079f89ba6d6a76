"""One long-lived connection to an SMS centre, on which both sides number their requests.

CMPP and SMPP are alike in everything but the bytes: frames that begin with their length, requests answered by their
sequence number, a window of unanswered requests, a question of life when it is quiet. The bytes are the ``Dialect``'s;
what may be concluded from silence is decided here, once:

- **The point of no return is the write.** ``NotWritten`` is raised only before it; whatever goes wrong afterwards is
  ``Unanswered``. Nothing is ever written twice, on this connection or on the next.
- **The window counts what is unanswered, not what is waited for.** A request whose answer is late keeps its place until
  the answer comes or the connection ends, so a centre never sees more than ``window`` of them. When the places run out
  because answers are lost, the connection is ended and a new one begins with a free window.
- **A late answer is not lost**: it goes to ``on_late`` with the token of its request.
- **A delivery is answered after the core has taken it over**, never before: a centre that heard "received" forgets it.
  Deliveries of a connection that has died stay in the queue (they are true), but are answered on no other connection.
- **A malformed frame ends the connection**: after it nobody knows where the next one begins. A delivery whose length is
  right and whose content is not is refused for good instead: unanswered it would come again until the centre cuts the
  connection, and nothing behind it would ever be heard. ``Session.unreadable`` counts them, so that somebody hears.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

LENGTH_BYTES = 4
MISSED_LIFE_SIGNS = 3
MAX_SEQUENCE = 0x7FFFFFFF


class Malformed(Exception):
    """Bytes that are no PDU of this protocol. The message is a code and quotes nothing."""


class Unreadable(Exception):
    """A delivery that is none, or that claims to be a report and is none. The message is a code and quotes nothing."""


class LoginRefused(Exception):
    """The centre refuses our account. ``code`` is from a closed set."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotWritten(Exception):
    """Nothing of the request was written."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Unanswered(Exception):
    """The request was written, and its answer has not come."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Turn(Enum):
    """What a frame asks of the session."""

    ANSWER = "answer"
    DELIVERY = "delivery"
    LIFE_SIGN = "life sign"
    GOODBYE = "goodbye"
    STRANGE = "strange"  # a well-formed request that has no business here


@dataclass(frozen=True, slots=True)
class Pdu:
    """One frame, read. ``body`` is the dialect's own."""

    turn: Turn
    sequence: int
    body: Any = field(default=None, repr=False)
    command: int = 0


class Dialect(Protocol):
    """The bytes of one protocol. Everything here is pure."""

    header_bytes: int
    max_frame_bytes: int

    def read(self, frame: bytes) -> Pdu:
        """Raises Malformed."""

    def login(self, sequence: int) -> bytes: ...

    def logged_in(self, sequence: int, answer: Pdu) -> None:
        """Raises LoginRefused or Malformed unless ``answer``, to the login of ``sequence``, opens the session."""

    def life_sign(self, sequence: int) -> bytes: ...

    def goodbye(self, sequence: int) -> bytes: ...

    def reply(self, request: Pdu) -> bytes:
        """The positive answer to a delivery, life sign or goodbye; the negative one to what is strange."""

    def refuse(self, delivery: Pdu) -> bytes:
        """The answer to a delivery that nobody can read: it need not come again."""

    def report(self, delivery: Pdu) -> Any | None:
        """What the core must take over; None for a delivery that is no report, which is answered at once.

        Raises Unreadable.
        """


class LinkLimits(BaseModel):
    """Real seconds. The defaults are those of the CMPP text (T = 60 s, N = 3), the idle time shorter than its three
    minutes, because networks in between forget quiet connections earlier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(default=16, ge=1, le=16)
    connect_seconds: int = Field(default=10, ge=1, le=120)
    answer_seconds: int = Field(default=60, ge=1, le=300)
    idle_seconds: int = Field(default=60, ge=1, le=180)
    longest_backoff_seconds: int = Field(default=30, ge=1, le=300)
    waiting_reports: int = Field(default=1000, ge=16, le=100_000)


@dataclass(slots=True)
class _Asked:
    answer: asyncio.Future[Pdu]
    token: object
    given_up: bool = False


@dataclass(slots=True, eq=False)
class _Connection:
    """What ends with a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    places: asyncio.Semaphore
    asked: dict[int, _Asked] = field(default_factory=dict)
    heard: bool = True

    @property
    def alive(self) -> bool:
        return not self.writer.is_closing()


class Session:
    """Keeps one connection up, from the first ``start`` until ``close``."""

    def __init__(
        self,
        host: str,
        port: int,
        dialect: Dialect,
        limits: LinkLimits,
        tls: ssl.SSLContext | None = None,
        on_late: Callable[[object, Pdu], Any | None] = lambda token, answer: None,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._dialect = dialect
        self._limits = limits
        self._on_late = on_late
        self._sequence = 0
        self._connection: _Connection | None = None
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._reports: deque[tuple[Any, _Connection | None, Pdu | None]] = deque()
        self._report_came = asyncio.Event()
        self.refusal: str | None = None  # why the last login was refused
        self.unreadable = 0  # deliveries refused because nobody can read them

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"sms {self._host}:{self._port}")

    async def close(self) -> None:
        """Say goodbye, wait briefly for the answer, leave."""
        keeper, connection = self._keeper, self._connection
        if connection is not None and connection.alive:
            with contextlib.suppress(NotWritten, Unanswered, OSError, TimeoutError):
                async with asyncio.timeout(min(1, self._limits.answer_seconds)):
                    sequence = self._next_sequence()
                    await self._exchange(connection, sequence, self._dialect.goodbye(sequence), None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        self._keeper = None

    # -- asking

    async def ask(self, frame: Callable[[int], bytes], token: object = None) -> Pdu:
        """Write one request inside the window and wait for its answer. Raises NotWritten or Unanswered."""
        self.start()
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                await self._up.wait()
        except TimeoutError:
            raise NotWritten(self.refusal or "NOT_CONNECTED") from None
        connection = self._connection
        if connection is None:
            raise NotWritten("NOT_CONNECTED")
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                await connection.places.acquire()
        except TimeoutError:
            self._end(connection)  # every place is held by an answer that does not come
            raise NotWritten("WINDOW_FULL") from None
        sequence = self._next_sequence()
        try:
            octets = frame(sequence)
        except BaseException:
            connection.places.release()
            raise
        return await self._exchange(connection, sequence, octets, token)

    async def _exchange(self, connection: _Connection, sequence: int, octets: bytes, token: object) -> Pdu:
        if not connection.alive:
            raise NotWritten("NOT_CONNECTED")
        asked = connection.asked[sequence] = _Asked(asyncio.get_running_loop().create_future(), token)
        connection.writer.write(octets)  # the point of no return
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await asyncio.shield(asked.answer)
        except TimeoutError:
            asked.given_up = True
            raise Unanswered("TIMEOUT") from None
        except asyncio.CancelledError:
            asked.given_up = True
            raise

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % MAX_SEQUENCE + 1
        return self._sequence

    # -- reports

    async def reports(self, most: int, wait_seconds: int = 1) -> list[Any]:
        """The oldest reports not yet confirmed, at most ``most``."""
        self.start()
        if not self._reports:
            self._report_came.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._report_came.wait()
        return [report for report, _, _ in list(self._reports)[:most]]

    async def confirm(self, count: int) -> None:
        """Drop the oldest ``count`` and answer each on the connection that it came by, if that still stands."""
        for _ in range(min(count, len(self._reports))):
            _, connection, delivery = self._reports.popleft()
            if connection is not None and delivery is not None and connection.alive:
                connection.writer.write(self._dialect.reply(delivery))

    def _queue(self, report: Any, connection: _Connection | None, delivery: Pdu | None) -> None:
        # A full queue means that the store is away: unanswered, the delivery comes again from the centre.
        if len(self._reports) < self._limits.waiting_reports:
            self._reports.append((report, connection, delivery))
            self._report_came.set()

    # -- the connection's life

    async def _keep(self) -> None:
        """Connect again for ever, with growing pauses while nothing succeeds."""
        failures = 0
        while True:
            try:
                connection = await self._connect()
                failures, self.refusal = 0, None
                self._connection = connection
                self._up.set()
                await self._live(connection)
            except LoginRefused as refused:
                self.refusal = refused.code
            except (OSError, TimeoutError, Malformed, asyncio.IncompleteReadError, ssl.SSLError):
                pass  # whoever waits hears of it through its own request
            finally:
                self._up.clear()
                if self._connection is not None:
                    self._end(self._connection)
                self._connection = None
            failures += 1
            longest: float = min(0.1 * 2 ** min(failures, 12), self._limits.longest_backoff_seconds)  # never money
            await asyncio.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311 - jitter, not a secret

    async def _connect(self) -> _Connection:
        async with asyncio.timeout(self._limits.connect_seconds):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
            connection = _Connection(reader, writer, asyncio.Semaphore(self._limits.window))
            try:
                sequence = self._next_sequence()
                writer.write(self._dialect.login(sequence))
                self._dialect.logged_in(sequence, await self._read(connection))
            except BaseException:
                writer.transport.abort()
                raise
            return connection

    async def _live(self, connection: _Connection) -> None:
        pulse = asyncio.create_task(self._pulse(connection))
        try:
            while True:
                pdu = await self._read(connection)
                connection.heard = True
                self._take(connection, pdu)
                await connection.writer.drain()
                if pdu.turn is Turn.GOODBYE:
                    return
        finally:
            pulse.cancel()

    async def _read(self, connection: _Connection) -> Pdu:
        first = await connection.reader.readexactly(LENGTH_BYTES)
        length = int.from_bytes(first, "big")
        if not self._dialect.header_bytes <= length <= self._dialect.max_frame_bytes:
            raise Malformed("LENGTH")
        return self._dialect.read(first + await connection.reader.readexactly(length - LENGTH_BYTES))

    def _take(self, connection: _Connection, pdu: Pdu) -> None:
        if pdu.turn is Turn.ANSWER:
            asked = connection.asked.pop(pdu.sequence, None)
            if asked is None:
                return  # an answer to nothing: a repetition, or the answer to a life sign
            connection.places.release()
            if not asked.given_up and not asked.answer.done():
                asked.answer.set_result(pdu)
            elif (report := self._on_late(asked.token, pdu)) is not None:
                self._queue(report, None, None)
            return
        try:
            report = self._dialect.report(pdu) if pdu.turn is Turn.DELIVERY else None
        except Unreadable:
            self.unreadable += 1
            connection.writer.write(self._dialect.refuse(pdu))
            return
        if report is not None:
            self._queue(report, connection, pdu)
        else:
            connection.writer.write(self._dialect.reply(pdu))

    async def _pulse(self, connection: _Connection) -> None:
        """Ask for a sign of life when it has been quiet, and end a connection that gives none three times."""
        missed = 0
        while connection.alive:
            connection.heard = False
            await asyncio.sleep(self._limits.idle_seconds if missed == 0 else self._limits.answer_seconds)
            if connection.heard:
                missed = 0
                continue
            if missed == MISSED_LIFE_SIGNS:
                self._end(connection)
                return
            missed += 1
            connection.writer.write(self._dialect.life_sign(self._next_sequence()))

    def _end(self, connection: _Connection) -> None:
        """Whoever waits for an answer on this connection will not get it."""
        if self._connection is connection:
            self._up.clear()
        connection.writer.transport.abort()
        for asked in connection.asked.values():
            if not asked.given_up and not asked.answer.done():
                asked.answer.set_exception(Unanswered("CONNECTION_LOST"))
        connection.asked.clear()
        for _ in range(self._limits.window):  # who waits for a place finds the connection dead
            connection.places.release()
