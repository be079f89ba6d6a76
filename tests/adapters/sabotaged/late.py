"""Mistakes with what comes late, is written anew or is told in passing: right on the day of the payment only."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Any

from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.rcc_file import wire as form
from adapters.banks.rcc_file.bank import RccFileAdapter
from adapters.contract import Artefact, Callback, Evidence, Proof, Rendered
from adapters.wire.http import HttpWire
from adapters.wire.sftp import SftpWire

_FINAL = frozenset({Proof.CREDITED, Proof.REJECTED, Proof.RETURNED})


class ReadsOneDay(RccFileAdapter):
    """Looks into the directory of the day on which it paid."""

    async def collect(self, wire: SftpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        async for artefact, after in super().collect(wire, cursor):
            if artefact.name.startswith("20261124/"):
                yield artefact, after


class FinalIsFinal(JsonHttpsBank):
    """Asks once how a line ended and remembers it; what comes later it hears from callbacks alone."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._final: dict[str | None, Evidence] = {}

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        return [
            self._final.setdefault(each.reference, each) if each.proof in _FINAL else each
            for each in await super().probe(rendered, wire)
        ]


class TakesOldCallbacks(JsonHttpsBank):
    """Checks the signature of a callback, and takes its own word for how old it is."""

    def verify_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> Callback:
        sent = {name.lower(): value for name, value in headers.items()}.get("x-timestamp", "0")
        return super().verify_callback(method, path, headers, body, dt.datetime.fromtimestamp(int(sent), dt.UTC))


class TakesAnyAlgorithm(JsonHttpsBank):
    """Reads the signature as its own algorithm, whatever the header claims."""

    def verify_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> Callback:
        named = {name.lower(): value for name, value in headers.items()}
        if "x-sign-alg" in named:
            named["x-sign-alg"] = self._settings.bank_signing_algorithm
        return super().verify_callback(method, path, named, body, wall)


class SettlesByName(RccFileAdapter):
    """Archives what bears the name of an artefact, without a look at what is in it by now."""

    async def settle(self, artefact: Artefact, wire: SftpWire) -> None:
        day, _, name = artefact.name.rpartition("/")
        source, target = f"down/{day}/{name}", f"down/{day}/done/{name}"
        await wire.archive(source, target)
        if form.is_sealed(name):
            await wire.archive(f"{source}.ok", f"{target}.ok")


class ReadsANameOnce(RccFileAdapter):
    """Knows a file by its name: "this one was read"."""

    async def collect(self, wire: SftpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        read = cursor.partition("\n")[0].split("|") if cursor else []
        inner = cursor.partition("\n")[2]
        async for artefact, after in super().collect(wire, inner):
            if artefact.name not in read:
                read.append(artefact.name)
                yield artefact, "|".join(read) + "\n" + after


class TidiesWhatIsRead(RccFileAdapter):
    """Archives results when a question has found them: "they are known now"."""

    async def probe(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        evidence = await super().probe(rendered, wire)
        if any(each.proof in _FINAL for each in evidence):
            upload = form.Upload.of(rendered.remote_name)
            found, _ = await self._inbox.about(wire, upload.first_answer_day, upload.is_answered_by)
            for each in found:
                if not each.archived:
                    await self._inbox.archive(each.artefact, wire)
        return evidence
