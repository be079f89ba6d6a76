"""Mistakes with framed XML and with ISO 20022 files: codes, statuses and lists that say less than they seem to."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.iso20022.settings import Iso20022Settings
from adapters.banks.xml_tcp import XmlTcpBank
from adapters.contract import Artefact, Evidence, Line, Proof, Reason, Rendered, Statement, Submission
from adapters.wire.tcp import AnswerUnusable, TcpFault, TcpWire


class BlankCodeIsFailure(XmlTcpBank):
    """Status 3 and no code beside it: "it failed, whatever the reason"."""

    async def probe(self, rendered: Rendered, wire: TcpWire) -> list[Evidence]:
        return [
            dataclasses.replace(each, proof=Proof.REJECTED, reason=Reason.ACCOUNT_TYPE)
            if each.proof is Proof.IN_DOUBT and each.reference is not None and not each.code
            else each
            for each in await super().probe(rendered, wire)
        ]


class UnreadableIsRefused(XmlTcpBank):
    """A reply without a right MAC or whole XML: "then it did not go through, and may be sent again"."""

    async def submit(self, rendered: Rendered, wire: TcpWire) -> list[Evidence]:
        evidence = await super().submit(rendered, wire)
        unread = evidence[0].code == "UNREADABLE"
        return [dataclasses.replace(evidence[0], proof=Proof.NOT_TAKEN, reason=Reason.FORMAT)] if unread else evidence


class SendsBeforeAsking(XmlTcpBank):
    """A question that got no answer: "so the bank has nothing"."""

    async def probe(self, rendered: Rendered, wire: TcpWire) -> list[Evidence]:
        try:
            return await super().probe(rendered, wire)
        except TcpFault:
            return [Evidence(Proof.ABSENT, submission=rendered.submission)]


class ReadsNoReturns(XmlTcpBank):
    """Collects no returns, and reads the statements for what was credited alone."""

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        return (each for each in super().parse(artefact) if each.proof is not Proof.RETURNED)

    async def collect(self, wire: TcpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        async for artefact, after in super().collect(wire, cursor):
            if not artefact.name.startswith("DF1004"):
                yield artefact, after


class StopsAtTheFirst(XmlTcpBank):
    """Gives a round up at the first answer that cannot be read, and whatever it had with it."""

    async def collect(self, wire: TcpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        before = len(wire.artefacts)
        found = [each async for each in super().collect(wire, cursor)]
        said = wire.artefacts[before:]
        if any(b"\xff\xff" in each.content for each in said):
            raise AnswerUnusable("UNREADABLE")
        for each in found:
            yield each


class SettledIsCredited(Iso20022Adapter):
    """ACSC: "the bank says that it is settled"; but only the debtor's side is."""

    def __init__(self, name: str, settings: Iso20022Settings) -> None:
        super().__init__(name, settings.model_copy(update={"settled_is_credited": True}))


class StatementIsRounded(Iso20022Adapter):
    """The statement is read with the amounts that were sent: "a fee is the bank's affair"."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._asked: dict[str | None, int] = {}

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        self._asked |= {line.reference: line.amount_fen for line in lines}
        return super().render(submission, lines, at)

    def statement(self, artefact: Artefact) -> Statement | None:
        stated = super().statement(artefact)
        if stated is None:
            return None
        entries = tuple(
            dataclasses.replace(each, amount_fen=self._asked.get(each.reference, each.amount_fen))
            for each in stated.entries
        )
        return dataclasses.replace(stated, entries=entries)


class ReadsNoStatements(Iso20022Adapter):
    """Takes ACCC for the whole story: nobody learns which amount was credited, or when."""

    def statement(self, artefact: Artefact) -> Statement | None:
        return None
