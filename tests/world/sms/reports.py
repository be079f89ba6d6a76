"""The reports that one protocol owes: when each is due, who may hear it, and what became of it, until it is answered.

A report is held back until its SUBMIT is answered, unless that is the fault. Once due it goes to any session that hears
reports and has room in its window; only the session's answer pays it. What a session that ended had not answered is
owed again at once, to whichever session comes next.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import NamedTuple, Protocol

from tests.world import clock
from tests.world.sms.config import Config
from tests.world.sms.fate import Programme
from tests.world.sms_ledger import Ledger, Row

AGAIN_MS = 60_000  # between the two copies of report_twice
STRANGER = "f" * 16


class Owed(NamedTuple):
    """One report to come: about one SUBMIT, for one receiver."""

    at_ms: int
    order: int
    wire_id: str
    phone: str  # as the SUBMIT wrote it
    row: Row

    def forged(self) -> Owed:
        """The opposite news about a message that nobody was ever given."""
        stat = "UNDELIV" if self.row.status == "DELIVRD" else "DELIVRD"
        return self._replace(wire_id=STRANGER, row=self.row._replace(status=stat))


class Listener(Protocol):
    """A session that hears reports."""

    @property
    def has_room(self) -> bool: ...

    def tell(self, owed: Owed, *, forged: bool = False) -> None: ...


class Reports:
    """``news`` is set whenever the next moment at which something can be done may have changed."""

    def __init__(self, config: Config, protocol: str, ledger: Ledger, programme: Programme) -> None:
        self.news = asyncio.Event()
        self._config = config
        self._protocol = protocol
        self._ledger = ledger
        self._programme = programme
        self._due: list[Owed] = []
        self._held: dict[str, list[Owed]] = {}  # by SUBMITs that are not answered yet
        self._pushed = 0
        self._sessions: list[Listener] = []
        for row, wire_id, phone, owed in ledger.unreported_parts(protocol):
            self.owe(row, wire_id, phone, range(row.callbacks - owed, row.callbacks))

    def make(self, row: Row, wire_id: str, phone: str, at_ms: int) -> Owed:
        self._pushed += 1
        return Owed(at_ms, self._pushed, wire_id, phone, row)

    def owe(self, row: Row, wire_id: str, phone: str, copies: range) -> None:
        """Owe these copies of a report, each later than the one before; none where the report is lost."""
        if row.callback_at_ms is None:
            return
        for copy in copies:
            owed = self.make(row, wire_id, phone, row.callback_at_ms + copy * AGAIN_MS)
            if wire_id in self._held:
                self._held[wire_id].append(owed)
            else:
                heapq.heappush(self._due, owed)
        self.news.set()

    def hold(self, wire_id: str) -> None:
        """Nothing about this SUBMIT goes out before ``release``."""
        self._held[wire_id] = []

    def release(self, wire_id: str) -> None:
        """A SUBMIT has got all the answer that it will ever get."""
        for owed in self._held.pop(wire_id, ()):
            heapq.heappush(self._due, owed)
        self.news.set()

    # Sessions come and go.

    def join(self, session: Listener) -> None:
        self._sessions.append(session)
        self.news.set()

    def leave(self, session: Listener, unanswered: list[Owed]) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
        for owed in unanswered:
            self.give_back(owed)
        self.news.set()

    def give_back(self, owed: Owed) -> None:
        """Not sent, or not answered: owed as before."""
        heapq.heappush(self._due, owed)
        self.news.set()

    def next_ms(self) -> int | None:
        """When the next report is due that somebody could hear."""
        return self._due[0].at_ms if self._due and self._ready() is not None else None

    def pay(self, now_ms: int) -> None:
        """Send what is due, as far as there is somebody to hear it."""
        while self._due and self._due[0].at_ms <= now_ms and (session := self._ready()) is not None:
            owed = heapq.heappop(self._due)
            if self._programme.forges(owed.row.ref):
                session.tell(owed.forged(), forged=True)
            session.tell(owed)

    def _ready(self) -> Listener | None:
        return next((session for session in self._sessions if session.has_room), None)

    # What a session did with a report.

    def sent(self, owed: Owed, *, forged: bool = False) -> None:
        """Written before the report is: a crash in between counts one too many, never one too few."""
        if forged:
            self._write(owed, "forged", owed.row.status, fault="callback_forged")
        else:
            self._write(owed, "sent", owed.row.status, sent=(owed.row.msg_id,))

    def answered(self, owed: Owed, code: str, *, refused: bool) -> None:
        self._write(owed, "refused" if refused else "acknowledged", code, reported=(owed.row.msg_id,))
        self.news.set()

    def postponed(self, owed: Owed, code: str) -> None:
        """The customer cannot take it now: owed again after a pause."""
        self._write(owed, "postponed", code)
        pause_ms = self._config.callback_retry_real_milliseconds * clock.SCALE
        self.give_back(owed._replace(at_ms=clock.now_ms() + pause_ms))

    def _write(
        self,
        owed: Owed,
        verdict: str,
        code: str,
        *,
        fault: str = "",
        sent: tuple[str, ...] = (),
        reported: tuple[str, ...] = (),
    ) -> None:
        self._ledger.write(
            "CALLBACK",
            "",
            verdict,
            code=code,
            count=1,
            fault=fault,
            sent=sent,
            reported=reported,
            wire_id=owed.wire_id,
            protocol=self._protocol,
        )
