"""The adapter of ``iso20022``: a pain.001 goes up, pain.002, camt.054 and camt.053 come down. See BANK.md."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from adapters.banks.iso20022 import wire as form
from adapters.banks.iso20022.codes import CODES
from adapters.banks.iso20022.document import BANK_TIME
from adapters.banks.iso20022.settings import Iso20022Settings
from adapters.contract import (
    AnswerKind,
    Artefact,
    Capabilities,
    Evidence,
    Line,
    NotFound,
    Profile,
    Proof,
    Reason,
    Rendered,
    Statement,
    Submission,
    TooLarge,
)
from adapters.wire.folders import Inbox, Layout
from adapters.wire.sftp import SftpTransport, SftpWire
from adapters.wire.sightings import Answers, answers_to, doubt, judged, may_travel, place_of

CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
REFERENCE_LENGTH: Final = 26


class Iso20022Adapter:
    """Stateless but for what makes polling cheap; knows neither the store nor the clock."""

    def __init__(self, name: str, settings: Iso20022Settings) -> None:
        self._name = name
        self._settings = settings
        self._agreed = form.Agreed(
            initiating_party_name=settings.initiating_party_name,
            initiating_party_id=settings.initiating_party_id,
            debtor_agent=settings.debtor_agent,
            service_level=settings.service_level,
            category_purpose=settings.category_purpose,
        )
        layout = Layout("out", form.is_answer, lambda _name: settings.max_answer_bytes)
        # One directory a day while returns may come, and the days around midnight.
        self._inbox = Inbox(layout, settings.return_horizon_days + 2)

    @property
    def name(self) -> str:
        return self._name

    def capabilities(self) -> Capabilities:
        settings = self._settings
        return Capabilities(
            answers=frozenset({AnswerKind.FILE}),
            not_found=NotFound.AUTHORITATIVE,  # the ground is in BANK.md, "Never received"
            settling_seconds=settings.settling_seconds,
            idempotent_by_reference=False,  # AM05 knows the MsgId, but nothing says for how long
            idempotency_window_seconds=0,
            idempotency_compares_payload=False,
            answers_carry_amounts=False,  # the day's camt.053 proves them
            max_lines=settings.max_lines,
            max_bytes=settings.max_file_bytes,
            max_total_fen=settings.max_total_fen,
            encoding=form.ENCODING,
            reference_alphabet=CROCKFORD,
            reference_length=REFERENCE_LENGTH,
            acknowledgement_due_seconds=settings.acknowledgement_due_seconds,
            result_due_seconds=settings.result_due_seconds,
            return_horizon_days=settings.return_horizon_days,
            max_in_flight=settings.max_in_flight,
            submit_interval_milliseconds=settings.submit_interval_milliseconds,
            probe_interval_milliseconds=settings.probe_interval_milliseconds,
            refuses_whole_file=settings.refuses_whole_file,
            can_cancel=False,
            opens=settings.opens,
            cut_off=settings.cut_off,
            working_days_only=settings.working_days_only,
        )

    def refuse(self, line: Line) -> Reason | None:
        return form.refusal(line)

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        if at.tzinfo is None:
            raise ValueError("the time of rendering needs an offset")
        if len(lines) > self._settings.max_lines:
            raise TooLarge("more lines than the bank takes in a file")
        local = at.astimezone(BANK_TIME)
        payload = form.payment_file(self._agreed, submission, lines, local)
        total = sum(line.amount_fen for line in lines)
        if len(payload) > self._settings.max_file_bytes or total > self._settings.max_total_fen:
            raise TooLarge("more bytes or money than the bank takes in a file")
        return Rendered(
            submission=submission.reference,
            payload=payload,
            sha256=hashlib.sha256(payload).hexdigest(),
            remote_name=form.upload_name(submission.reference, local.date()),
            references=tuple(line.reference for line in lines),
            total_fen=total,
            rendered_at=local,
        )

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        settings = self._settings
        return form.parse(artefact, settings.max_answer_bytes, settled_is_credited=settings.settled_is_credited)

    def statement(self, artefact: Artefact) -> Statement | None:
        return form.statement(artefact, self._settings.max_answer_bytes)

    def classify(self, code: str) -> tuple[Proof, Reason] | None:
        return CODES.get(code)

    async def submit(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        """Upload once, and only when the bank shows no sign of this MsgId or has refused all of it.

        Looking first costs a few listings and guards against the one mistake that cannot be taken back, whoever makes
        it. There is no seal: the one rename is the crossing, and the bank may have taken the file a moment later.
        """
        if hashlib.sha256(rendered.payload).hexdigest() != rendered.sha256:
            raise ValueError("the bytes are not those that were rendered")
        known, answers = await self._look(rendered, wire)
        if not may_travel(known):
            return known
        for artefact in answers.in_the_inbox():
            # An old refusal must not be read as the answer to what is sent now.
            if not await self._inbox.archive(artefact, wire):
                return [doubt(rendered.submission, "an answer changed while the file was being sent")]
        staged = await wire.stage(rendered.remote_name, rendered.payload)
        await wire.release(staged, may_be_taken=True)
        return [Evidence(Proof.RECEIVED, submission=rendered.submission, text="uploaded")]

    async def probe(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        """What the bank's directories show of this MsgId; ABSENT counts only after the settling time (BANK.md)."""
        evidence, _ = await self._look(rendered, wire)
        return evidence

    def collect(self, wire: SftpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        return self._inbox.new(wire, cursor)

    async def settle(self, artefact: Artefact, wire: SftpWire) -> None:
        await self._inbox.archive(artefact, wire)

    async def cancel(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        raise NotImplementedError("iso20022 has no way to take a file back")

    async def ping(self, wire: SftpWire) -> None:
        await wire.ping()

    async def _look(self, rendered: Rendered, wire: SftpWire) -> tuple[list[Evidence], Answers]:
        """All that is known of a submission, and the answers about it. Read-only."""
        upload = form.Upload.of(rendered.remote_name)
        if upload.submission != rendered.submission:
            raise ValueError("the file is not named for its submission")
        place = await place_of(wire, upload.places())
        answers = await answers_to(wire, self._inbox, upload.first_answer_day, upload.is_answered_by, self.parse)
        return judged(rendered.submission, place, answers), answers


def _transport(settings: Iso20022Settings) -> SftpTransport:
    return SftpTransport(settings.sftp)


PROFILE: Final = Profile(
    "iso20022",
    Iso20022Settings,
    Iso20022Adapter,
    _transport,
    rehearsal="adapters.banks.iso20022.rehearsal:Iso20022Rehearsal",
)
