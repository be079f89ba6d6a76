"""The six mistakes that pay twice, too little or the wrong person, as small changes of adapters that ship.

Each is written as a hurried author would: nothing raises, nothing looks odd, and only the money is wrong.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from adapters.banks.iso20022.bank import PROFILE as ISO20022
from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.json_https import PROFILE as JSON_HTTPS
from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.rcc_file import PROFILE as RCC_FILE
from adapters.banks.rcc_file.bank import RccFileAdapter
from adapters.banks.rcc_file.wire import CRLF, sm3_hex
from adapters.banks.xml_tcp import PROFILE as XML_TCP
from adapters.banks.xml_tcp import XmlTcpBank
from adapters.contract import Artefact, Evidence, Line, Profile, Proof, Reason, Rendered, Submission
from adapters.wire.http import AnswerLost, HttpWire
from adapters.wire.sftp import SftpWire
from schemas.masked import PersonName

SHORT_NAME = 16
TOLERATED_FEN = 1_000


class TimeoutIsFailure(JsonHttpsBank):
    """No answer in time: "it failed, pay it by another bank"."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        try:
            return await super().submit(rendered, wire)
        except AnswerLost:
            return [Evidence(Proof.REJECTED, submission=rendered.submission, reason=Reason.BANK_BUSY, code="TIMEOUT")]


class UnknownCodeIsFailure(JsonHttpsBank):
    """A code that the table does not list: "it is an error code, so it failed"."""

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        return [_failed(each) for each in await super().probe(rendered, wire)]

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        return iter([_failed(each) for each in super().parse(artefact)])


def _failed(each: Evidence) -> Evidence:
    unlisted = each.proof is Proof.IN_DOUBT and each.reason is Reason.UNKNOWN and each.reference is not None
    return dataclasses.replace(each, proof=Proof.REJECTED, reason=Reason.ACCOUNT_TYPE) if unlisted else each


class ResendIsRenamed(RccFileAdapter):
    """A second transmission under new references: "so that the bank does not refuse it as a duplicate"."""

    async def submit(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        if rendered.transmission > 1:
            rendered = _renamed(rendered)
        return await super().submit(rendered, wire)


def _renamed(rendered: Rendered) -> Rendered:
    payload = rendered.payload
    for reference in rendered.references:
        payload = payload.replace(reference.encode(), (reference[:-1] + "Z").encode())
    body, _, trailer = payload.removesuffix(CRLF.encode()).rpartition(CRLF.encode())
    body += CRLF.encode()
    count_and_total = trailer.rpartition(b"|")[0]
    payload = body + count_and_total + f"|{sm3_hex(body)}{CRLF}".encode()
    return dataclasses.replace(rendered, payload=payload, sha256=hashlib.sha256(payload).hexdigest())


class NameIsCut(RccFileAdapter):
    """A name that is too long for the bank's screen: "the first characters will do"."""

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        return super().render(submission, [_cut(line) for line in lines], at)

    def refuse(self, line: Line) -> Reason | None:
        return super().refuse(_cut(line))


def _cut(line: Line) -> Line:
    return dataclasses.replace(line, name=PersonName(line.name.reveal()[:SHORT_NAME]))


class Forgiving(JsonHttpsBank):
    """Remembers what it asked for, and says that where the bank says something near."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._asked: dict[str, int] = {}

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        self._asked |= {line.reference: line.amount_fen for line in lines}
        return super().render(submission, lines, at)

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        return [self._forgiven(each) for each in await super().probe(rendered, wire)]

    def _forgiven(self, each: Evidence) -> Evidence:
        asked = self._asked.get(each.reference or "", each.amount_fen)
        near = each.amount_fen is not None and asked is not None and self.is_near(asked - each.amount_fen)
        return dataclasses.replace(each, amount_fen=asked) if near else each

    def is_near(self, missing_fen: int) -> bool:
        return False


class FeeIsAccepted(Forgiving):
    """A credit of a little less than was asked for: "that is the fee, the payment is in order"."""

    def is_near(self, missing_fen: int) -> bool:
        return 0 < missing_fen <= TOLERATED_FEN


class DuplicateIsRejected(JsonHttpsBank):
    """The bank knows the number already: "then this one was refused"."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().submit(rendered, wire)
        return [
            dataclasses.replace(each, proof=Proof.REJECTED, reason=Reason.DUPLICATE)
            if re.search("DUPLICATE", each.code)
            else each
            for each in evidence
        ]


def sabotaged(adapter: type[Any]) -> Profile:
    """The profile that ships, with this adapter in it."""
    profile = next(profile for parent, profile in HONEST.items() if issubclass(adapter, parent))
    return dataclasses.replace(profile, adapter=getattr(adapter, "from_settings", adapter))


HONEST: Final[Mapping[type[Any], Profile]] = {
    JsonHttpsBank: JSON_HTTPS,
    RccFileAdapter: RCC_FILE,
    XmlTcpBank: XML_TCP,
    Iso20022Adapter: ISO20022,
}
