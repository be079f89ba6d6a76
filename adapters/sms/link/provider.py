"""What every provider behind a long-lived connection does alike: cut, send part by part, and add the parts up.

A message is what its parts are, taken together:

- all parts accepted: ACCEPTED;
- one part unanswered and none refused: UNKNOWN, and the reports decide, never a second send;
- nothing of it written or taken (the line was down, the centre throttles): NOT_TAKEN, it may travel later;
- some parts gone and another refused or not taken: REFUSED, because the whole can no longer arrive, and sending it
  again would bring the parts that went a second time.

A *serial* (see ``SmsMessage``) travels as the last digits of the number that people see as the sender. Centres echo
that number in each report, so a report finds its message even when the answer that named the centre's own id was lost.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adapters.contract import CallbackRefused, NotFound
from adapters.sms.contract import (
    NoAnswer,
    NotSent,
    NotTaken,
    PushedReport,
    SmsCapabilities,
    SmsMessage,
    SmsOutcome,
    SmsReport,
    SmsResult,
    SmsStatus,
    check_call,
    mobile,
)
from adapters.sms.link.longtext import Part, cut, pieces
from adapters.sms.link.session import NotWritten, Pdu, Session, Unanswered
from schemas.masked import Phone

MAX_MESSAGES = 100


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """What a centre said of one part. ``hold``: it would say the same of every other message too."""

    outcome: SmsOutcome
    code: str
    part_id: str | None = None
    hold: bool = False


class BillsReceiver(Exception):
    """Bytes that would not be free to their receiver, or would bring no report, were about to leave."""


class Tongue(Protocol):
    """What differs from one protocol to the next."""

    @property
    def reference_bits(self) -> int: ...

    def submit(self, sequence: int, number: str, source: str, part: Part, message: SmsMessage) -> bytes:
        """The finished bytes. Raises BillsReceiver rather than give bytes that a person would pay for."""

    def judge(self, answer: Pdu) -> PartAnswer: ...


@dataclass(frozen=True, slots=True)
class Sender:
    """The number people see: the service number, and behind it ``digits`` of a message's serial."""

    service_number: str
    digits: int

    @property
    def modulus(self) -> int:
        return 10**self.digits if self.digits else 0

    def number(self, serial: int) -> str:
        return f"{self.service_number}{serial % self.modulus:0{self.digits}d}" if self.digits else self.service_number

    def serial(self, number: str) -> int | None:
        """The serial's last digits, from the number that a report echoes; None where it has none of ours."""
        digits = number.removeprefix(self.service_number)
        if not self.digits or len(number) != len(self.service_number) + self.digits or len(digits) != self.digits:
            return None
        return int(digits) if digits.isascii() and digits.isdecimal() else None


def phone_of(number: str) -> Phone | None:
    """The phone a report speaks of, without the country code that some centres add."""
    digits = number.removeprefix("+").removeprefix("86")
    return Phone(digits) if mobile(Phone(digits)) is not None else None


def read_secret(path: Path) -> bytes:
    """A shared secret from its file; a final line break is not part of it. ValueError when it is empty or not ASCII."""
    secret = path.read_bytes().rstrip(b"\r\n")
    if not secret or not secret.isascii():
        raise ValueError("the secret of the SMS centre is empty or not ASCII")
    return secret


class LinkProvider:
    """``SmsProvider`` and ``PushesReports`` over a ``Session``."""

    def __init__(self, name: str, session: Session, tongue: Tongue, sender: Sender, per_second: int) -> None:
        self._name = name
        self._session = session
        self._tongue = tongue
        self._sender = sender
        self._gap: float = 1 / per_second  # real seconds, never money
        self._next_at: float = 0  # real seconds, never money

    @property
    def name(self) -> str:
        return self._name

    @property
    def connected(self) -> bool:
        return self._session.connected

    @property
    def unreadable(self) -> int:
        return self._session.unreadable

    def capabilities(self) -> SmsCapabilities:
        return SmsCapabilities(
            max_messages=MAX_MESSAGES, idempotent=False, not_found=NotFound.NO_QUERY, settling_seconds=0
        )

    def parts(self, message: SmsMessage) -> int:
        return len(pieces(message.text, self._tongue.reference_bits))

    async def send(self, batch_id: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
        check_call(batch_id, messages, self.capabilities())
        numbers = [mobile(message.phone) for message in messages]
        cuts = [cut(message.text, message.serial, self._tongue.reference_bits) for message in messages]
        stop = asyncio.Event()  # the line is down, or the centre wants no more: what has not left stays here
        works = [
            self._message(message, number, parts, stop)
            for message, number, parts in zip(messages, numbers, cuts, strict=True)
            if number is not None
        ]
        answered = {result.ref: (result, hold) for result, hold in await asyncio.gather(*works)}
        if answered and all(result.outcome is SmsOutcome.NOT_TAKEN for result, _ in answered.values()):
            result, hold = next((each for each in answered.values() if each[1]), next(iter(answered.values())))
            if len(answered) == len(messages):
                raise (NotTaken if hold else NotSent)(result.code, hold=hold)
        return [
            answered[message.ref][0]
            if message.ref in answered
            else SmsResult(message.ref, "NO_MOBILE", None, SmsOutcome.REFUSED)
            for message in messages
        ]

    async def reports(self, batch_id: str) -> list[SmsReport]:
        raise NoAnswer("NO_QUERY")

    def verify_report_callback(self, headers: Mapping[str, str], body: bytes, wall: dt.datetime) -> list[SmsReport]:
        raise CallbackRefused("NO_CALLBACKS")

    async def take_reports(self, most: int) -> list[PushedReport]:
        return await self._session.reports(most)

    async def confirm_reports(self, count: int) -> None:
        await self._session.confirm(count)

    async def close(self) -> None:
        await self._session.close()

    async def _message(
        self, message: SmsMessage, number: str, parts: Sequence[Part], stop: asyncio.Event
    ) -> tuple[SmsResult, bool]:
        """One message, its parts one after the other: a part that fails keeps the rest at home."""
        answers: list[PartAnswer] = []
        for part in parts:
            answer = await self._part(message, number, part, stop)
            answers.append(answer)
            if answer.outcome in (SmsOutcome.REFUSED, SmsOutcome.NOT_TAKEN):
                break
        return SmsResult(
            message.ref,
            answers[-1].code,
            next((answer.part_id for answer in answers if answer.part_id), None),
            add_up([answer.outcome for answer in answers]),
            tuple(answer.part_id for answer in answers if answer.part_id),
        ), any(answer.hold for answer in answers)

    async def _part(self, message: SmsMessage, number: str, part: Part, stop: asyncio.Event) -> PartAnswer:
        await self._pace()
        if stop.is_set():
            return PartAnswer(SmsOutcome.NOT_TAKEN, "STOPPED")
        source = self._sender.number(message.serial)
        try:
            pdu = await self._session.ask(
                lambda sequence: self._tongue.submit(sequence, number, source, part, message), (message, number)
            )
        except NotWritten as problem:
            stop.set()
            return PartAnswer(SmsOutcome.NOT_TAKEN, problem.code, hold=problem.code.startswith("LOGIN_"))
        except BillsReceiver:
            stop.set()
            return PartAnswer(SmsOutcome.NOT_TAKEN, "BILLS_RECEIVER", hold=True)
        except Unanswered as problem:
            return PartAnswer(SmsOutcome.UNKNOWN, problem.code)
        answer = self._tongue.judge(pdu)
        if answer.outcome is SmsOutcome.NOT_TAKEN:
            stop.set()
        return answer

    async def _pace(self) -> None:
        """Keep to the agreed number of parts a second; real time, it is a property of the channel."""
        loop = asyncio.get_running_loop()
        self._next_at = max(self._next_at + self._gap, loop.time())
        if (wait := self._next_at - loop.time()) > 0:
            await asyncio.sleep(wait)


def add_up(outcomes: Sequence[SmsOutcome]) -> SmsOutcome:
    """What a message is, by what its parts are, in order; the list ends at the first that was refused or not taken."""
    last = outcomes[-1]
    if last is SmsOutcome.NOT_TAKEN:
        return last if len(outcomes) == 1 else SmsOutcome.REFUSED
    return SmsOutcome.REFUSED if last is SmsOutcome.REFUSED else max(outcomes, key=_DOUBT.index)


_DOUBT = [SmsOutcome.ACCEPTED, SmsOutcome.UNKNOWN]


def late(judge: Callable[[Pdu], PartAnswer]) -> Callable[[object, Pdu], Any | None]:
    """An answer that came after its question was given up: it names the part, and nothing more is known of it."""

    def report(token: object, answer: Pdu) -> PushedReport | None:
        if not isinstance(token, tuple) or (said := judge(answer)).part_id is None:
            return None
        message, number = token
        return PushedReport(said.part_id, SmsStatus.PENDING, message.serial, 0, Phone(number))

    return report
