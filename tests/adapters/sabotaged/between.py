"""Mistakes about who speaks: the words of a proxy or a firewall are taken for those of the bank."""

from __future__ import annotations

import dataclasses
from typing import Final

from adapters.banks.json_https import JsonHttpsBank
from adapters.contract import Evidence, Proof, Reason, Rendered
from adapters.wire.http import AnswerUnusable, HttpWire

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
