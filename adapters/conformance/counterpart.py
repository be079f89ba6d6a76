"""What the kit's banks of all kinds have in common: the script they follow, the fault they commit, and their record.

A counterpart believes nothing that the adapter says of itself. It writes down what arrived (each paying request, frame
or rename, as the rehearsal reads it), what was asked, and which fault really fired: a case whose fault did not bite
has proved nothing, and fails.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from adapters.conformance.rehearsal import (
    BUSINESS_DAY,
    CannotSay,
    Occasion,
    Received,
    Rehearsal,
    Reply,
    Request,
    Said,
    Told,
)


class Fault(StrEnum):
    """What goes wrong on the way. ``CUT`` and what follows it change an answer that was given."""

    NONE = "NONE"
    RESET_BEFORE_TAKING = "RESET_BEFORE_TAKING"  # at the first byte, or at the rename: the bank never has it
    RESET_AFTER_TAKING = "RESET_AFTER_TAKING"  # the bank has it, and the connection breaks before any answer
    SILENCE = "SILENCE"  # the bank has it, and never answers
    HANG_UP = "HANG_UP"  # the bank has it, and closes politely without a byte
    CUT = "CUT"  # the connection ends somewhere in the answer
    CUT_BODY = "CUT_BODY"  # somebody on the way framed the shortened answer anew
    SLOW = "SLOW"  # the answer comes in small pieces, and is complete
    ENDLESS = "ENDLESS"  # the answer comes in small pieces for ever
    TWICE = "TWICE"  # the answer comes twice
    NOISE = "NOISE"  # bytes that are no answer of any protocol
    PLAIN_TEXT = "PLAIN_TEXT"  # a sentence where an answer should be
    WRONG_ENCODING = "WRONG_ENCODING"  # bytes that no encoding of the bank has, inside a well-framed answer
    PROXY_ERROR = "PROXY_ERROR"  # a status and a page from something between us; TCP: a page of HTML without a frame
    REDIRECT = "REDIRECT"  # HTTP: go elsewhere
    DENIED = "DENIED"  # SFTP: permission denied, where something was to be looked at, read or renamed


class Page(StrEnum):
    """What a proxy says beside its status."""

    HTML = "HTML"
    JSON = "JSON"  # as the gateways of an API have it: well-formed, and a word of nobody who knows the payment
    NOTHING = "NOTHING"


class Party(StrEnum):
    """Which requests a fault is for."""

    SUBMISSION = "SUBMISSION"
    QUESTION = "QUESTION"
    RENAME = "RENAME"  # SFTP: any rename, whether or not the rehearsal reads a submission in its file


@dataclass(slots=True)
class Mishap:
    """A fault, the requests that it hits, and how often it did. ``at`` is where a CUT falls, in thousandths; ``spares``
    so many occasions go well before it hits, and then it hits ``hits`` times, or always. ``status`` and ``page`` are
    what an HTTP proxy says."""

    fault: Fault = Fault.NONE
    party: Party = Party.SUBMISSION
    at: int = 0
    fired: int = 0
    spares: int = 0
    hits: int | None = None
    status: int = 502
    page: Page = Page.HTML

    def fires(self, party: Party, *faults: Fault) -> bool:
        """True, and counted, when this is one of the faults and meant for this party."""
        if party is not self.party or self.fault not in faults or self.fired == self.hits:
            return False
        if self.spares:
            self.spares -= 1
            return False
        self.fired += 1
        return True


@dataclass(slots=True)
class Script:
    """What the bank says, of a submission that arrives and when it is asked."""

    on_submission: Occasion = Occasion.TAKEN
    on_question: Occasion = Occasion.TAKEN
    lines: tuple[Said, ...] = ()
    day: dt.date = BUSINESS_DAY
    serial: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Arrival:
    """A paying request: what the rehearsal read in it, None for what it could not read."""

    request: Request
    received: Received | None


@dataclass
class Record:
    """Everything that the kit later asks about."""

    contacts: int = 0  # connections, whether or not they came to speak
    arrivals: list[Arrival] = field(default_factory=list)
    questions: int = 0
    changes: list[str] = field(default_factory=list)  # SFTP: each creation, rename and removal by the adapter
    unread: str = ""  # why the rehearsal could not read a submission, in its own words
    unsaid: CannotSay | None = None
    broken_rehearsal: Exception | None = None


class Counterpart(Protocol):
    """A bank that listens on 127.0.0.1."""

    record: Record
    mishap: Mishap
    script: Script

    @property
    def port(self) -> int: ...

    async def stop(self) -> None: ...


def wall_time() -> dt.datetime:
    """Real time: how old a signed answer is, is a property of the channel."""
    return dt.datetime.fromtimestamp(int(time.time()), dt.UTC)


class Desk:
    """Where a bank's requests are sorted and answered by the rehearsal; its faults are kept apart from the bank's."""

    def __init__(self, rehearsal: Rehearsal, record: Record) -> None:
        self._rehearsal = rehearsal
        self._record = record

    def party(self, request: Request) -> tuple[Party, Received | None]:
        try:
            received = self._rehearsal.read(request)
        except ValueError as fault:
            self._record.unread = self._record.unread or str(fault) or "read() raised ValueError"
            return Party.SUBMISSION, None
        except Exception as error:
            self._record.broken_rehearsal = error
            raise
        return (Party.QUESTION, None) if received is None else (Party.SUBMISSION, received)

    def take(self, request: Request, received: Received | None) -> None:
        self._record.arrivals.append(Arrival(request, received))

    def answer(self, script: Script, request: Request | None, party: Party) -> Reply:
        """The rehearsal's words. What it raises is kept for the case to see."""
        occasion = script.on_submission if party is Party.SUBMISSION else script.on_question
        known = [arrival for arrival in self._record.arrivals if arrival.received is not None]
        last = known[-1] if known and occasion is not Occasion.NOT_FOUND else None
        if party is Party.QUESTION and last is None:
            occasion = Occasion.NOT_FOUND
        told = Told(
            occasion,
            last.received if last else None,
            script.lines if occasion is Occasion.RESULTS else (),
            request,
            script.day,
            script.serial,
            last.request if last else None,
            wall_time(),
        )
        try:
            return self._rehearsal.answer(told)
        except CannotSay as unsaid:
            self._record.unsaid = unsaid
            raise
        except Exception as error:
            self._record.broken_rehearsal = error
            raise
