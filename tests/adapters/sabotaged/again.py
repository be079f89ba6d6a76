"""Mistakes with the second transmission and after a restart: each adapter is right as long as nothing comes twice."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.xml_tcp import XmlTcpBank
from adapters.contract import Evidence, Line, Proof, Reason, Rendered, Submission
from adapters.wire.http import AnswerLost, HttpWire
from adapters.wire.tcp import TcpWire


class SecondTimeoutIsFailure(JsonHttpsBank):
    """No answer in time, and that twice: "now it has failed"."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        try:
            return await super().submit(rendered, wire)
        except AnswerLost:
            if rendered.transmission == 1:
                raise
            return [Evidence(Proof.REJECTED, submission=rendered.submission, reason=Reason.BANK_BUSY, code="TIMEOUT")]


class SecondIsTriedAgain(JsonHttpsBank):
    """Repeats a second transmission that broke: "the bank has said that it has nothing"."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        try:
            return await super().submit(rendered, wire)
        except AnswerLost:
            if rendered.transmission == 1:
                raise
            return await super().submit(rendered, wire)


class SecondDuplicateIsRejected(JsonHttpsBank):
    """The bank knows what is sent again: "then it refuses it"."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().submit(rendered, wire)
        if rendered.transmission == 1 or "DUPLICATE" not in evidence[0].code:
            return evidence
        return [dataclasses.replace(evidence[0], proof=Proof.REJECTED, reason=Reason.DUPLICATE)]


class SecondIsNotMarked(XmlTcpBank):
    """Sends the same frame again, neither asked about before nor marked: "the bank has lost it anyway"."""

    async def submit(self, rendered: Rendered, wire: TcpWire) -> list[Evidence]:
        return await super().submit(dataclasses.replace(rendered, transmission=1), wire)


class NumbersWhatItDoesNotKnow(JsonHttpsBank):
    """After a restart a submission is a stranger: "it is a new one, and gets a new number"."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: set[str] = set()

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        self._known.add(submission.reference)
        return super().render(submission, lines, at)

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        if rendered.transmission > 1 and rendered.submission not in self._known:
            number = rendered.submission[:-1] + "Z"
            payload = rendered.payload.replace(rendered.submission.encode(), number.encode())
            digest = hashlib.sha256(payload).hexdigest()
            rendered = dataclasses.replace(rendered, submission=number, payload=payload, sha256=digest)
        return await super().submit(rendered, wire)


class AsksOnlyOfItsOwn(JsonHttpsBank):
    """Asks about what this process has sent: "of anything else the bank can know nothing"."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sent: set[str] = set()

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        self._sent.add(rendered.submission)
        return await super().submit(rendered, wire)

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().probe(rendered, wire)
        if rendered.submission in self._sent or evidence[0].proof is Proof.ABSENT:
            return evidence
        return [Evidence(Proof.ABSENT, submission=rendered.submission)]


class RefusesForEver(JsonHttpsBank):
    """Remembers that a number was refused, and answers for the bank from then on."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._refused: dict[str, list[Evidence]] = {}

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().submit(rendered, wire)
        if evidence[0].proof is Proof.NOT_TAKEN:
            self._refused[rendered.submission] = evidence
        return evidence

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().probe(rendered, wire)
        return self._refused.get(rendered.submission, evidence)
