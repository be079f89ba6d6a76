"""One question, one answer: numbers and dates a request, and lets through only what really answers it.

A reply that carries another REQSEQ or TRCODE, or whose MAC is wrong or missing, answers nothing (``AnswerUnusable``).
The date and time of a question are real time, because they belong to the channel and not to the payment calendar.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from adapters.banks.xml_tcp import codes
from adapters.banks.xml_tcp.wire import Document, Envelope, request_number
from adapters.contract import Artefact, Unreadable
from adapters.wire.tcp import AnswerUnusable, StaleConnection, TcpWire

BANK_TIME: Final = ZoneInfo("Asia/Shanghai")
# Twenty digits, where a submission's number has at most eighteen: a question never takes a submission's number. Random
# and not counted, so that a process that starts anew, or a second one beside it, uses none again.
_QUESTION_NUMBERS: Final = 9 * 10**19
_RANDOM_NUMBERS: Final = 10**19


def unix_seconds() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Answer:
    """A document that answers a question of ours, and both as bytes."""

    document: Document
    artefact: Artefact
    question: bytes


class Channel:
    """Asks over a ``TcpWire``. Holds the key, no state."""

    def __init__(self, envelope: Envelope, limit_bytes: int, wall_seconds: Callable[[], int] = unix_seconds) -> None:
        self._envelope = envelope
        self._limit = limit_bytes
        self._wall_seconds = wall_seconds

    async def ask(self, wire: TcpWire, trade: str, body: str, label: str) -> Answer:
        """Put a question. Raises a TcpFault when it got no answer."""
        try:
            return await self._ask(wire, trade, body, label, fresh=False)
        except StaleConnection:
            # The bank had closed the connection that was kept: a new question, because the number counts as used.
            return await self._ask(wire, trade, body, label, fresh=True)

    async def _ask(self, wire: TcpWire, trade: str, body: str, label: str, *, fresh: bool) -> Answer:
        number = str(_QUESTION_NUMBERS + secrets.randbelow(_RANDOM_NUMBERS))
        at = dt.datetime.fromtimestamp(self._wall_seconds(), BANK_TIME)
        question = self._envelope.document(trade, number, at, body)

        def accept(artefact: Artefact) -> Answer:
            return Answer(self._read(artefact, trade, number), artefact, question)

        return await wire.ask(question, accept, label=label, fresh=fresh)

    async def pay(self, wire: TcpWire, payload: bytes, submission: str, label: str) -> Answer:
        """Send a submission, once. Raises a TcpFault; what that proves is told by ``wire.crossed``."""
        artefact = await wire.send(payload, label=label)
        return Answer(self._read(artefact, codes.SUBMIT, request_number(submission)), artefact, payload)

    def _read(self, artefact: Artefact, trade: str, number: str) -> Document:
        try:
            document = self._envelope.read(artefact.content, self._limit)
        except Unreadable:
            raise AnswerUnusable("UNREADABLE") from None
        if document.number != number:
            raise AnswerUnusable("WRONG_NUMBER")
        if document.trade != trade:
            raise AnswerUnusable("WRONG_TRADE")
        return document
