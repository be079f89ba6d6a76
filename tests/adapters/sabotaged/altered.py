"""Mistakes of trust: answers that are not the bank's word on what was asked, and are taken for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.json_https.wire import SignedChannel
from adapters.banks.rcc_file.bank import RccFileAdapter
from adapters.banks.rcc_file.wire import ok_content, sm3_hex
from adapters.banks.xml_tcp import XmlTcpBank
from adapters.banks.xml_tcp.settings import XmlTcpSettings
from adapters.banks.xml_tcp.wire import Document, Envelope
from adapters.contract import Artefact, Evidence, Proof, Reason, Rendered, Unreadable
from adapters.wire.folders import sealed, unsealed
from adapters.wire.http import AnswerUnusable, HttpAnswer, HttpWire
from adapters.wire.tcp import AnswerUnusable as FrameUnusable

_TRAILER = re.compile(rb"T\|[0-9]+\|[0-9]+\|([0-9a-f]{64})\r\n\Z")


class TakesAnySignature(JsonHttpsBank):
    """Compares the nonce and leaves the signature to the TLS below it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]

        def check(answer: HttpAnswer, target: str, nonce: str) -> None:
            if answer.headers.get("x-nonce") != nonce:
                raise AnswerUnusable("WRONG_NONCE")

        self._channel._check_answer = check  # type: ignore[method-assign]


class TakesAnyNonce(JsonHttpsBank):
    """Checks the signature over whatever nonce the answer bears: "the bank signed it, so it holds"."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]

        def check(answer: HttpAnswer, target: str, nonce: str) -> None:
            SignedChannel._check_answer(self._channel, answer, target, answer.headers.get("x-nonce", ""))

        self._channel._check_answer = check  # type: ignore[method-assign]


class RefusalIsOurs(JsonHttpsBank):
    """Looks at the code of a refusal, and not at whose it is."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        evidence = await super().submit(rendered, wire)
        if evidence[0].code != "402_FUNDS_SHORT":
            return evidence
        return [dataclasses.replace(evidence[0], proof=Proof.NOT_TAKEN, reason=Reason.FUNDS_SHORT)]


class _Unchecked(Envelope):
    def _check_mac(self, rest: bytes) -> None:
        """The line is private."""


class ChecksNoMac(XmlTcpBank):
    """Reads what stands in an answer, whatever MAC it bears."""

    def __init__(self, name: str, settings: XmlTcpSettings, envelope: Envelope) -> None:
        fields = {field.name: getattr(envelope, field.name) for field in dataclasses.fields(envelope)}
        super().__init__(name, settings, _Unchecked(**fields))


class TakesAnyNumber(XmlTcpBank):
    """Takes the next frame for the answer, whatever REQSEQ it bears."""

    def __init__(self, name: str, settings: XmlTcpSettings, envelope: Envelope) -> None:
        super().__init__(name, settings, envelope)
        self._channel._read = self._any  # type: ignore[method-assign]

    def _any(self, artefact: Artefact, trade: str, number: str) -> Document:
        try:
            return self._envelope.read(artefact.content, self._settings.tcp.greatest_frame_bytes)
        except Unreadable:
            raise FrameUnusable("UNREADABLE") from None


class DigestsAreTheirAffair(RccFileAdapter):
    """Checks form and sums, and makes the digests fit."""

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        _, content = unsealed(artefact.content)
        trailer = _TRAILER.search(content)
        if trailer is not None:
            start = content.rindex(b"\r\n", 0, -2) + 2
            content = content[: trailer.start(1)] + sm3_hex(content[:start]).encode() + b"\r\n"
            artefact = Artefact.of(artefact.name, sealed(ok_content(content), content))
        return super().parse(artefact)


class NamesAreTheirAffair(Iso20022Adapter):
    """Reads a report for what is in it, under whichever name it comes."""

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        about = re.search(rb"<OrgnlMsgId>([0-9A-Z]+)</OrgnlMsgId>", artefact.content)
        if about is not None:
            name = re.sub(r"(?<=pain002_)[0-9A-Z]+", about[1].decode(), artefact.name)
            artefact = dataclasses.replace(artefact, name=name)
        return super().parse(artefact)
