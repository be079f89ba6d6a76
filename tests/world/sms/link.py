"""What CMPP and SMPP sessions share: frames, the window, link tests, faults on the wire, reports until answered.

Both protocols send a header that begins with the length of the whole PDU, its own four octets included. A session reads
one PDU after the other and writes each SUBMIT to the ledger at once, but answers it a few milliseconds later: so a
customer that ignores the window is seen to have a seventeenth SUBMIT unanswered, while one that keeps it never has.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from tests.world.sms.config import Door
from tests.world.sms.post import Outcome, Post
from tests.world.sms.reports import Owed
from tests.world.sms.segments import Wrong

WINDOW = 16
MOST_OCTETS = 4096
MOST_TRIES = 3
STRAY = 0x5A5A5A5A


class Broken(Exception):
    """The stream is no sequence of PDUs any more, or one stands where it may not; ``code`` is the ledger's word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Unanswered:
    """A report on its way."""

    owed: Owed
    pdu: bytes
    forged: bool
    sent_at: float
    tries: int = 1


class Session(ABC):
    """One connection of one customer, from the first octet to the last."""

    HEADER_OCTETS: ClassVar[int]

    def __init__(self, post: Post, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.post = post
        self.door = door
        self.bound = False
        self._hears = False
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._pending: set[int] = set()
        self._unanswered: dict[int, Unanswered] = {}
        self._sequence = 0
        self._tests = 0
        self._over = False

    # What a protocol says for itself.

    @abstractmethod
    def receive(self, pdu: bytes) -> None:
        """One whole PDU. Raises Broken where the session cannot go on."""

    @abstractmethod
    def submit_answer(self, sequence: int, outcome: Outcome) -> bytes: ...

    @abstractmethod
    def report(self, sequence: int, owed: Owed) -> bytes: ...

    @abstractmethod
    def link_test(self, sequence: int) -> bytes: ...

    @abstractmethod
    def good_bye(self, sequence: int) -> bytes: ...

    def complain(self, code: str) -> None:
        """Say that the stream is broken, where the protocol has a word for it."""
        del code

    # The connection.

    async def run(self) -> None:
        repeating = asyncio.create_task(self._repeat(), name="repeat reports")
        code = "CLOSED"
        try:
            while not self._over:
                self.receive(await self._read())
                await self._writer.drain()
        except Broken as broken:
            code = broken.code
            self.complain(code)
        except (OSError, asyncio.IncompleteReadError):
            code = "LOST"
        finally:
            repeating.cancel()
            self._over = True
            self.post.note("broken" if code not in ("CLOSED", "LOST") else "ended", code)
            self.post.reports.leave(self, [one.owed for one in self._unanswered.values() if not one.forged])
            self._writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(repeating, return_exceptions=True)

    async def _read(self) -> bytes:
        """One PDU; a line that is silent for too long is tested, and given up after three silent tests."""
        idle_seconds = self.post.config.idle_real_milliseconds / 1000
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(idle_seconds):
                    prefix = await self._reader.readexactly(4)
                break
            if not self.bound or self._tests == MOST_TRIES:
                raise Broken("SILENT")
            self._tests += 1
            self.send(self.link_test(self.next_sequence()))
        self._tests = 0
        length = int.from_bytes(prefix)
        if not self.HEADER_OCTETS <= length <= MOST_OCTETS:
            raise Broken("LENGTH")
        try:
            async with asyncio.timeout(idle_seconds):
                return prefix + await self._reader.readexactly(length - 4)
        except TimeoutError:
            raise Broken("SILENT") from None

    def send(self, pdu: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(pdu)

    def close(self) -> None:
        """After what was written has left."""
        self._over = True
        self._writer.close()

    def cut(self) -> None:
        """As a cable does it."""
        self._over = True
        self._writer.transport.abort()

    def farewell(self) -> None:
        """The centre goes down in order."""
        if self.bound:
            self.send(self.good_bye(self.next_sequence()))
        self.close()

    def next_sequence(self) -> int:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        return self._sequence

    def bind(self, *, hears: bool) -> None:
        self.bound, self._hears = True, hears
        self.post.note("bound")
        if hears:
            self.post.reports.join(self)

    # SUBMITs.

    def submitted(self, sequence: int, take: Callable[[bool], Outcome]) -> None:
        """``take`` reads and judges the SUBMIT, told whether the session hears reports; it may raise Wrong."""
        if len(self._pending) >= WINDOW:
            self.send(self.submit_answer(sequence, self.post.refuse("WINDOW", 1)))
            return
        if sequence in self._pending:
            self.send(self.submit_answer(sequence, self.post.refuse("SEQUENCE", 1)))
            return
        try:
            outcome = take(self._hears)
        except Wrong as wrong:
            outcome = self.post.refuse(wrong.code, 1)
        if outcome.fault in ("drop_before", "drop_after", "accept_later"):
            self.cut()
            self.post.reports.release(outcome.wire_id)
        elif outcome.fault.startswith("timeout"):
            self.post.reports.release(outcome.wire_id)
        else:
            for owed in outcome.first:
                if self.has_room:
                    self.tell(owed)
                else:
                    self.post.reports.give_back(owed)
            self._pending.add(sequence)
            seconds = self.post.config.answer_real_milliseconds / 1000
            self._loop.call_later(seconds, self._answer, sequence, outcome)

    def _answer(self, sequence: int, outcome: Outcome) -> None:
        self._pending.discard(sequence)
        self.post.reports.release(outcome.wire_id)
        if outcome.fault == "unknown_sequence":
            self.send(self.submit_answer(sequence ^ STRAY, outcome))
            return
        pdu = self.submit_answer(sequence, outcome)
        if outcome.fault != "garble_after":
            self.send(pdu)
        elif sequence % 2:  # a length that nobody can mean, and the customer has to see it
            self.send(b"\x7f\xff\xff\xff" + pdu[4:])
        else:
            self.send(pdu[: len(pdu) * 2 // 3])
            self.close()

    # Reports.

    @property
    def has_room(self) -> bool:
        """For a report, and for the forged one that may go before it."""
        return self._hears and not self._over and len(self._unanswered) < WINDOW - 1

    def tell(self, owed: Owed, *, forged: bool = False) -> None:
        sequence = self.next_sequence()
        pdu = self.report(sequence, owed)
        self._unanswered[sequence] = Unanswered(owed, pdu, forged, self._loop.time())
        self.post.reports.sent(owed, forged=forged)
        self.send(pdu)

    def told(self, sequence: int) -> Unanswered | None:
        """The report that an answer is about; None for an answer to nothing that waits."""
        return self._unanswered.get(sequence)

    def settled(self, sequence: int, code: str, *, refused: bool = False, later: bool = False) -> None:
        """The customer has answered a report: taken, refused for good, or not now."""
        one = self._unanswered.pop(sequence)
        if one.forged:
            return
        if later:
            self.post.reports.postponed(one.owed, code)
        else:
            self.post.reports.answered(one.owed, code, refused=refused)

    async def _repeat(self) -> None:
        """Unanswered reports again, under their sequence; a customer deaf to three of them loses the connection."""
        seconds = self.post.config.report_repeat_real_milliseconds / 1000
        while True:
            await asyncio.sleep(seconds / 4)
            for one in list(self._unanswered.values()):
                if self._loop.time() - one.sent_at < seconds:
                    continue
                if one.tries == MOST_TRIES:
                    self.cut()
                    return
                one.tries, one.sent_at = one.tries + 1, self._loop.time()
                self.post.reports.sent(one.owed, forged=one.forged)
                self.send(one.pdu)


class Doorway:
    """A listening port and its sessions."""

    def __init__(self, kind: type[Session], post: Post, door: Door) -> None:
        self._kind = kind
        self._post = post
        self._door = door
        self._sessions: set[Session] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """The port it listens on."""
        self._server = await asyncio.start_server(self._serve, self._post.config.host, self._door.port)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = self._kind(self._post, self._door, reader, writer)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for session in list(self._sessions):
            session.farewell()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._sessions:
                    await asyncio.sleep(0.01)
