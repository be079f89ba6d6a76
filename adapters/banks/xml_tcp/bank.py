"""The adapter of ``xml_tcp``: a submission goes out in one frame; everything else is asked for. See BANK.md.

``submit`` sends once. A second transmission is preceded by a question, and only "not found" lets it travel; the
question never crosses the wire's point of no return, so that a question without an answer leaves "nothing was sent"
provable. ``probe`` raises when the bank could not be asked: that teaches nothing, and must not weaken what is known.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from adapters.banks.xml_tcp import answers, codes
from adapters.banks.xml_tcp.books import Books
from adapters.banks.xml_tcp.channel import BANK_TIME, Answer, Channel
from adapters.banks.xml_tcp.settings import XmlTcpSettings
from adapters.banks.xml_tcp.transcript import Transcripts
from adapters.banks.xml_tcp.wire import Envelope, batch_body, field, refusal, request_number, resent
from adapters.contract import (
    AnswerKind,
    Artefact,
    Capabilities,
    Evidence,
    Line,
    NotFound,
    Proof,
    Reason,
    Rendered,
    Statement,
    Submission,
    TooLarge,
    Unreadable,
)
from adapters.wire.tcp import AnswerUnusable, TcpFault, TcpTransport, TcpWire

CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
REFERENCE_LENGTH: Final = 26


def transport_of(settings: XmlTcpSettings) -> TcpTransport:
    return TcpTransport(settings.tcp)


class XmlTcpBank:
    """One configured bank. Holds key and settings; remembers only what makes collecting cheap."""

    def __init__(self, name: str, settings: XmlTcpSettings, envelope: Envelope) -> None:
        self._name = name
        self._settings = settings
        self._envelope = envelope
        self._channel = Channel(envelope, settings.tcp.greatest_frame_bytes)
        self._transcripts = Transcripts(envelope, settings.tcp.greatest_frame_bytes, settings.max_statement_bytes)
        self._books = Books(self._channel, self._transcripts, settings)

    @classmethod
    def from_settings(cls, name: str, settings: XmlTcpSettings) -> XmlTcpBank:
        """Reads the key. Raises OSError or ValueError, neither of which holds any of it."""
        envelope = Envelope(
            settings.encoding, settings.version, settings.channel, settings.corporation, settings.mac_key()
        )
        return cls(name, settings, envelope)

    @property
    def name(self) -> str:
        return self._name

    def capabilities(self) -> Capabilities:
        agreed = self._settings
        return Capabilities(
            answers=frozenset({AnswerKind.POLL, AnswerKind.FILE}),
            not_found=NotFound.AUTHORITATIVE,  # "1002 not found: the only one that permits a resend"
            settling_seconds=agreed.settling_seconds,
            idempotent_by_reference=False,  # 3051 knows the batch, but nothing says for how long
            idempotency_window_seconds=0,
            idempotency_compares_payload=False,
            answers_carry_amounts=True,
            max_lines=agreed.max_lines,
            max_bytes=agreed.tcp.greatest_frame_bytes,
            max_total_fen=agreed.max_total_fen,
            encoding=agreed.encoding,
            reference_alphabet=CROCKFORD,
            reference_length=REFERENCE_LENGTH,
            acknowledgement_due_seconds=agreed.acknowledgement_due_seconds,
            result_due_seconds=agreed.result_due_seconds,
            return_horizon_days=agreed.return_horizon_days,
            max_in_flight=agreed.max_in_flight,
            submit_interval_milliseconds=agreed.submit_interval_milliseconds,
            probe_interval_milliseconds=agreed.probe_interval_milliseconds,
            questions_at_once=max(1 + agreed.lines_asked_singly, agreed.questions_per_collection),
            refuses_whole_file=False,  # a malformed package as a whole; a line that cannot be paid, alone
            can_cancel=False,
            opens=agreed.opens,
            cut_off=agreed.cut_off,
            working_days_only=agreed.working_days_only,
        )

    def classify(self, code: str) -> tuple[Proof, Reason] | None:
        return codes.LINE_CODES.get(code)

    # Writing

    def refuse(self, line: Line) -> Reason | None:
        return refusal(line, self._settings.encoding)

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        if at.tzinfo is None:
            raise ValueError("the time of rendering needs an offset")
        if len(lines) > self._settings.max_lines:
            raise TooLarge("more lines than the bank takes at once")
        body = batch_body(submission, lines, self._settings.encoding, self._settings.own_bank_numbers)
        local = at.astimezone(BANK_TIME)
        payload = self._envelope.document(codes.SUBMIT, request_number(submission.reference), local, body)
        total_fen = sum(line.amount_fen for line in lines)
        if len(payload) > self._settings.tcp.greatest_frame_bytes or total_fen > self._settings.max_total_fen:
            raise TooLarge("more bytes or money than the bank takes at once")
        return Rendered(
            submission=submission.reference,
            payload=payload,
            sha256=hashlib.sha256(payload).hexdigest(),
            remote_name=f"{submission.reference}.xml",
            references=tuple(line.reference for line in lines),
            total_fen=total_fen,
            rendered_at=local,
        )

    # Sending

    async def submit(self, rendered: Rendered, wire: TcpWire) -> list[Evidence]:
        """Once. NotReached and AnswerLost go through: the core judges them by ``wire.crossed``."""
        if hashlib.sha256(rendered.payload).hexdigest() != rendered.sha256:
            raise ValueError("the bytes are not those that were rendered")
        payload = rendered.payload
        if rendered.transmission != 1:
            answer = await self._ask_batch(rendered, wire)
            head = answers.judge_question(answer.document, rendered.submission, answer.artefact.sha256)
            if head.proof is not Proof.ABSENT:
                return self._known(head, answer, rendered)
            payload = resent(payload)
        try:
            answer = await self._channel.pay(
                wire, payload, rendered.submission, f"{rendered.submission}.{codes.SUBMIT}"
            )
        except AnswerUnusable as fault:
            return [_doubt(rendered, fault.code, wire.artefacts)]
        return [answers.judge_package(answer.document, rendered.submission, answer.artefact.sha256)]

    # Asking

    async def probe(self, rendered: Rendered, wire: TcpWire) -> list[Evidence]:
        """The batch, then one by one the lines that its list leaves out. Raises TcpFault when nothing was answered."""
        answer = await self._ask_batch(rendered, wire)
        head = answers.judge_question(answer.document, rendered.submission, answer.artefact.sha256)
        if head.proof is Proof.ABSENT or head.reason is Reason.BANK_BUSY:
            return [head]
        listed = self._lines(head, answer, rendered)
        told = {line.reference for line in listed or ()}
        missing = [reference for reference in rendered.references if reference not in told]
        # Where the list itself answered, "not found" of a line that it leaves out is the bank's second word on it.
        singly = await self._ask_lines(missing, rendered, wire, may_be_absent=listed is not None)
        if listed is None:
            return [self._unlisted(head), *singly]
        return answers.judge_batch(head, [*listed, *singly], rendered)

    async def _ask_batch(self, rendered: Rendered, wire: TcpWire) -> Answer:
        body = field("BATCHNO", rendered.submission)
        return await self._channel.ask(wire, codes.QUERY_BATCH, body, f"{rendered.submission}.{codes.QUERY_BATCH}")

    def _known(self, head: Evidence, answer: Answer, rendered: Rendered) -> list[Evidence]:
        """What the answer to DF1002 proves, without asking any further."""
        if head.proof is not Proof.RECEIVED:
            return [head]
        listed = self._lines(head, answer, rendered)
        return [self._unlisted(head)] if listed is None else answers.judge_batch(head, listed, rendered)

    @staticmethod
    def _lines(head: Evidence, answer: Answer, rendered: Rendered) -> list[Evidence] | None:
        """The lines of a reply about our batch; None when it lists none that can be believed."""
        if head.proof is not Proof.RECEIVED:
            return None
        try:
            if answers.batch_of(answer.document.body) != rendered.submission:
                return None
            return answers.lines_of(answer.document, answer.artefact.sha256)
        except Unreadable:
            return None

    @staticmethod
    def _unlisted(head: Evidence) -> Evidence:
        if head.proof is not Proof.RECEIVED:
            return head
        return Evidence(
            Proof.IN_DOUBT,
            submission=head.submission,
            reason=Reason.UNKNOWN,
            code=answers.UNREADABLE,
            artefact=head.artefact,
        )

    async def _ask_lines(
        self, missing: Sequence[str], rendered: Rendered, wire: TcpWire, *, may_be_absent: bool
    ) -> list[Evidence]:
        """DF1003 for some of ``missing``, by lot, so that every line is asked about in the end. Silence ends it."""
        chosen = secrets.SystemRandom().sample(missing, min(len(missing), self._settings.lines_asked_singly))
        found: list[Evidence] = []
        for reference in chosen:
            body = field("BATCHNO", rendered.submission) + field("REF", reference)
            try:
                answer = await self._channel.ask(
                    wire, codes.QUERY_LINE, body, f"{rendered.submission}.{codes.QUERY_LINE}"
                )
            except TcpFault:
                break
            line = answers.judge_line(answer.document, rendered.submission, reference, answer.artefact.sha256)
            if line is not None and (may_be_absent or line.proof is not Proof.ABSENT):
                found.append(line)
        return found

    # What the bank publishes

    def collect(self, wire: TcpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        return self._books.new(wire, cursor)

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        return iter(self._transcripts.evidence(artefact))

    def statement(self, artefact: Artefact) -> Statement | None:
        return self._transcripts.statement(artefact)

    async def settle(self, artefact: Artefact, wire: TcpWire) -> None:
        """Nothing to archive at the bank's side."""

    async def cancel(self, rendered: Rendered, wire: TcpWire) -> list[Evidence]:
        raise NotImplementedError("this bank's manual has no cancellation")

    async def ping(self, wire: TcpWire) -> None:
        """DF9999: line, key and our numbers are proved by the answer."""
        answer = await self._channel.ask(wire, codes.HEARTBEAT, "", "ping")
        code = answers.retcode_of(answer.document)
        if code != codes.SUCCESS:
            raise AnswerUnusable(f"CODE_{code}")


def _doubt(rendered: Rendered, code: str, artefacts: Sequence[Artefact]) -> Evidence:
    artefact = artefacts[-1].sha256 if artefacts else None
    return Evidence(Proof.IN_DOUBT, submission=rendered.submission, reason=Reason.UNKNOWN, code=code, artefact=artefact)
