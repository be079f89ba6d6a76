"""More mistakes, of honesty and care rather than of money: what an author might hope that a kit does not see."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import time
from collections.abc import AsyncIterator, Iterator, Sequence

from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.rcc_file.bank import RccFileAdapter
from adapters.contract import Artefact, Capabilities, Evidence, Line, Proof, Reason, Rendered, Submission, Unreadable
from adapters.wire.http import HttpFault, HttpWire
from adapters.wire.sftp import SftpWire


class AsksNobody(JsonHttpsBank):
    """Says that everything is well without a word to the bank."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        return [Evidence(Proof.RECEIVED, submission=rendered.submission)]

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        return [Evidence(Proof.RECEIVED, submission=rendered.submission)]

    async def ping(self, wire: HttpWire) -> None:
        pass


class IsNotFinished(JsonHttpsBank):
    """Leaves the questions for later."""

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        raise NotImplementedError


class TriesAgain(JsonHttpsBank):
    """Repeats a paying call that broke."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        try:
            return await super().submit(rendered, wire)
        except HttpFault:
            return await super().submit(rendered, wire)


class SendsTwice(JsonHttpsBank):
    """To be sure."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        await super().submit(rendered, wire)
        return await super().submit(rendered, wire)


class RaisesOnRefusal(JsonHttpsBank):
    """Makes an exception of what is evidence, so that a refusal becomes a doubt."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().submit(rendered, wire)
        if evidence[0].proof is Proof.NOT_TAKEN:
            raise RuntimeError("refused")
        return evidence


class NeverEnds(JsonHttpsBank):
    """Waits without a limit of its own."""

    async def ping(self, wire: HttpWire) -> None:
        await asyncio.Event().wait()


class BlocksTheLoop(JsonHttpsBank):
    """Stands still, and everything else with it."""

    async def ping(self, wire: HttpWire) -> None:
        time.sleep(600)


class Talks(JsonHttpsBank):
    """Explains a refusal with the line that it refuses."""

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        for line in lines:
            if self.refuse(line) is not None:
                raise ValueError(f"cannot write {line.account.reveal()}")
        return super().render(submission, lines, at)


class KnowsTheHour(JsonHttpsBank):
    """Writes the time of the machine into the submission."""

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        return super().render(submission, lines, at.replace(microsecond=time.time_ns() % 1_000_000))


class BelievesHalves(RccFileAdapter):
    """Takes from a broken file what can be taken."""

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        try:
            return super().parse(artefact)
        except Unreadable:
            return iter([Evidence(Proof.REJECTED, reference="X", reason=Reason.FORMAT)])


class SettlesAtOnce(RccFileAdapter):
    """Archives a file when it is read, before anybody has committed it."""

    async def collect(self, wire: SftpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        async for artefact, after in super().collect(wire, cursor):
            yield artefact, after
            await self.settle(artefact, wire)


class TidiesUp(RccFileAdapter):
    """Moves something when it is asked a question."""

    async def probe(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        await wire.make_directory("down/20261124")
        return await super().probe(rendered, wire)


class PromisesTooMuch(JsonHttpsBank):
    """Believes "not found" at once."""

    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities(), settling_seconds=0)


class TrustsStrangers(JsonHttpsBank):
    """Takes callbacks as they come."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._channel.check_callback = lambda *_: None  # type: ignore[method-assign]
