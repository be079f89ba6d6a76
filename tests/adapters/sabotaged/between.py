"""Mistakes about who speaks, and how much of it: a proxy's words are taken for the bank's, and half a round for all."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Final

from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.json_https.answers import Items, Listing, read_object
from adapters.banks.rcc_file.bank import RccFileAdapter, RccFileSettings
from adapters.banks.rcc_file.wire import Upload
from adapters.contract import Artefact, Evidence, Proof, Reason, Rendered
from adapters.wire.folders import Inbox, Layout, _Candidate
from adapters.wire.http import AnswerUnusable, HttpWire
from adapters.wire.sftp import SftpError, SftpRefused, SftpWire, Staged
from adapters.wire.sightings import Answers, answers_to, judged, place_of

_NOTHING_DONE: Final = ("400", "403", "408", "413", "429", "503")


def _status(wire: HttpWire) -> str:
    return wire.artefacts[-1].name.rpartition(".")[2] if wire.artefacts else ""


class BelievesTheStatus(JsonHttpsBank):
    """A submission answered with 429 or 503: "they say themselves that they did nothing"."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().submit(rendered, wire)
        if evidence[0].proof is Proof.IN_DOUBT and not evidence[0].text and _status(wire) in _NOTHING_DONE:
            return [dataclasses.replace(evidence[0], proof=Proof.NOT_TAKEN, reason=Reason.BANK_BUSY)]
        return evidence


class AnyNotFound(JsonHttpsBank):
    """A question answered with 404: "then they never had it", whoever says so."""

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        try:
            return await super().probe(rendered, wire)
        except AnswerUnusable:
            if _status(wire) != "404":
                raise
            return [Evidence(Proof.ABSENT, submission=rendered.submission, code="NOT_FOUND")]


class LostPageIsMissing(JsonHttpsBank):
    """A page that did not come: "they are done, and have no more lines than these"."""

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().probe(rendered, wire)
        told = {each.reference for each in evidence}
        missing = [each for each in rendered.references if each not in told]
        if evidence[0].code != "DONE":
            return evidence
        return [*evidence, *(Evidence(Proof.ABSENT, reference=each, reason=Reason.NOT_EXECUTED) for each in missing)]


class MayNotLook(RccFileAdapter):
    """A directory that we may not look into: "then it is not there"."""

    async def probe(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        try:
            return await super().probe(rendered, wire)
        except SftpRefused:
            return [Evidence(Proof.ABSENT, submission=rendered.submission)]


class AnswersAreExtra(RccFileAdapter):
    """Where the answers cannot be read, the place of the file has to do."""

    async def _look(self, upload: Upload, batch: str, wire: SftpWire) -> tuple[list[Evidence], Answers]:
        place = await place_of(wire, upload.places())
        try:
            answers = await answers_to(wire, self._inbox, upload.first_answer_day, upload.is_answered_by, self.parse)
        except SftpError:
            answers = Answers()
        return judged(batch, place, answers), answers


class SealIsDetail(RccFileAdapter):
    """The second of two renames broke: "without its .ok they do not look at a file, so nothing was sent"."""

    async def submit(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        release, releases = wire.release, 0

        async def counted(staged: Staged, *, may_be_taken: bool = False) -> None:
            nonlocal releases
            releases += 1
            await release(staged, may_be_taken=may_be_taken)

        wire.release = counted  # type: ignore[method-assign]
        try:
            return await super().submit(rendered, wire)
        except SftpError:
            if releases == len(("file", "seal")):
                return [Evidence(Proof.NOT_SENT, submission=rendered.submission)]
            raise


class GivesUpOnAFile(RccFileAdapter):
    """A file that could not be read once: "that one is broken, never mind it"."""

    def __init__(self, name: str, settings: RccFileSettings) -> None:
        super().__init__(name, settings)
        self._inbox = _GivesUp(self._inbox._layout, self._inbox._directories)


class _GivesUp(Inbox):
    def __init__(self, layout: Layout, directories: int) -> None:
        super().__init__(layout, directories)
        self._given_up: set[str] = set()

    async def _read(
        self, wire: SftpWire, day: str, found: _Candidate, marks: dict[str, str], newest_time: int
    ) -> Artefact | None:
        if found.path in self._given_up:
            return None
        try:
            return await super()._read(wire, day, found, marks, newest_time)
        except SftpRefused:
            self._given_up.add(found.path)
            raise


class ReadsOnePage(JsonHttpsBank):
    """Asks for the items once: "a page takes five hundred, who has more?"."""

    async def _listing(self, rendered: Rendered, wire: HttpWire) -> Listing:
        limit = self._settings.items_per_page
        target = f"/v1/batches/{rendered.submission}/items?after=&limit={limit}"
        answer = await self._channel.get(wire, target, "items")
        listing = Listing(complete=True)
        listing.add(Items.of(read_object(answer.body), answer.artefact.sha256))
        return listing


class ReadsTheLastFile(RccFileAdapter):
    """Takes of several new files the last: "it has the latest state"."""

    async def collect(self, wire: SftpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        found = [each async for each in super().collect(wire, cursor)]
        for each in found[-1:]:
            yield each


class AllIsCredited(JsonHttpsBank):
    """A list that is done and has a credit in it: "then the whole is paid", said beside what each line says."""

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().probe(rendered, wire)
        paid = [each for each in evidence if each.proof is Proof.CREDITED]
        if evidence[0].code != "DONE" or not paid:
            return evidence
        return [*evidence, dataclasses.replace(paid[0], reference=None, submission=rendered.submission)]
