"""The adapter of ``rcc_file``: a batch file goes up, an acknowledgement and result files come down. See BANK.md."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from adapters.banks.rcc_file import answers as reading
from adapters.banks.rcc_file import statements
from adapters.banks.rcc_file import wire as form
from adapters.banks.rcc_file.codes import LINE_CODES
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
from adapters.wire.sftp import SftpSettings, SftpTransport, SftpWire
from adapters.wire.sightings import Answers, answers_to, doubt, judged, may_travel, place_of

BANK_TIME: Final = ZoneInfo("Asia/Shanghai")
CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
REFERENCE_LENGTH: Final = 26


class RccFileSettings(BaseModel):
    """One bank of this profile. What the manual fixes is in ``wire.py``; what a contract fixes is here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sftp: SftpSettings
    org: str = Field(pattern=r"^[0-9A-Za-z]{1,9}$")
    biz: str = Field(pattern=r"^[0-9A-Za-z]{1,6}$")
    max_lines: int = Field(default=3_000, ge=1, le=form.LINES_IN_A_FILE)
    max_file_bytes: int = Field(default=4_194_304, ge=1_024, le=268_435_456)
    max_result_bytes: int = Field(default=8_388_608, ge=1_024, le=268_435_456)
    max_statement_bytes: int = Field(default=67_108_864, ge=1_024, le=268_435_456)  # of a whole day
    max_total_fen: int = Field(default=form.GREATEST_TOTAL_FEN, ge=1, le=form.GREATEST_TOTAL_FEN)
    max_in_flight: int = Field(default=4, ge=1, le=1_000)
    submit_interval_milliseconds: int = Field(default=0, ge=0, le=600_000)  # real time, per login; 0 = no limit
    probe_interval_milliseconds: int = Field(default=0, ge=0, le=600_000)
    settling_seconds: int = Field(default=1_800, ge=1, le=604_800)
    acknowledgement_due_seconds: int = Field(default=3_600, ge=1, le=604_800)
    result_due_seconds: int = Field(default=86_400, ge=1, le=2_592_000)
    return_horizon_days: int = Field(default=30, ge=1, le=366)
    opens: dt.time = dt.time(0, 0)
    cut_off: dt.time = dt.time(0, 0)  # 00:00 = the end of the day
    working_days_only: bool = False


class RccFileAdapter:
    """Stateless but for what makes polling cheap; knows neither the store nor the clock."""

    def __init__(self, name: str, settings: RccFileSettings) -> None:
        self._name = name
        self._settings = settings
        # One directory a day while returns may come, and the days around midnight.
        self._inbox = Inbox(_layout(settings), settings.return_horizon_days + 2)

    @property
    def name(self) -> str:
        return self._name

    def capabilities(self) -> Capabilities:
        settings = self._settings
        return Capabilities(
            answers=frozenset({AnswerKind.FILE}),
            not_found=NotFound.AUTHORITATIVE,  # the ground is in BANK.md, "Never received"
            settling_seconds=settings.settling_seconds,
            idempotent_by_reference=False,  # F003 knows the batch, but nothing says for how long
            idempotency_window_seconds=0,
            idempotency_compares_payload=False,
            answers_carry_amounts=True,
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
            refuses_whole_file=False,  # a malformed file as a whole; a line that cannot be paid, alone
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
        payload = form.batch_file(self._settings.org, self._settings.biz, submission, lines, local.date())
        total = sum(line.amount_fen for line in lines)
        if len(payload) > self._settings.max_file_bytes or total > self._settings.max_total_fen:
            raise TooLarge("more bytes or money than the bank takes in a file")
        return Rendered(
            submission=submission.reference,
            payload=payload,
            sha256=hashlib.sha256(payload).hexdigest(),
            remote_name=form.upload_name(self._settings.org, submission.reference, local.date()),
            references=tuple(line.reference for line in lines),
            total_fen=total,
            rendered_at=local,
        )

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        stated = self.statement(artefact)
        if stated is not None:
            return statements.evidence(stated)
        return reading.parse(artefact, self._settings.org, self._settings.max_result_bytes)

    def statement(self, artefact: Artefact) -> Statement | None:
        return statements.statement(artefact, self._settings.org, self._settings.max_statement_bytes)

    def classify(self, code: str) -> tuple[Proof, Reason] | None:
        return LINE_CODES.get(code)

    async def submit(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        """Upload once, and only when the bank shows no sign of this batch or has refused all of it.

        Looking first costs a few listings and guards against the one mistake that cannot be taken back, whoever makes
        it. Both files are staged before the first rename, so that little can happen after the crossing.
        """
        if hashlib.sha256(rendered.payload).hexdigest() != rendered.sha256:
            raise ValueError("the bytes are not those that were rendered")
        upload = form.Upload.of(rendered.remote_name)
        known, answers = await self._look(upload, rendered.submission, wire)
        if not may_travel(known):
            return known
        for artefact in answers.in_the_inbox():
            # An old refusal must not be read as the answer to what is sent now.
            if not await self._inbox.archive(artefact, wire):
                return [doubt(rendered.submission, "an acknowledgement changed while the file was being sent")]
        file = await wire.stage(f"{upload.directory}/{upload.file}", rendered.payload)
        ok = await wire.stage(f"{upload.directory}/{upload.file}.ok", form.ok_content(rendered.payload))
        await wire.release(file)
        await wire.release(ok, may_be_taken=True)
        return [Evidence(Proof.RECEIVED, submission=rendered.submission, text="uploaded")]

    async def probe(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        """What the bank's directories show of this batch; ABSENT counts only after the settling time (BANK.md)."""
        evidence, _ = await self._look(form.Upload.of(rendered.remote_name), rendered.submission, wire)
        return evidence

    def collect(self, wire: SftpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        return self._inbox.new(wire, cursor)

    async def settle(self, artefact: Artefact, wire: SftpWire) -> None:
        await self._inbox.archive(artefact, wire)

    async def cancel(self, rendered: Rendered, wire: SftpWire) -> list[Evidence]:
        raise NotImplementedError("rcc_file has no way to take a file back")

    async def ping(self, wire: SftpWire) -> None:
        await wire.ping()

    async def _look(self, upload: form.Upload, batch: str, wire: SftpWire) -> tuple[list[Evidence], Answers]:
        """All that is known of a batch, and the answers about it. Read-only."""
        place = await place_of(wire, upload.places())
        answers = await answers_to(wire, self._inbox, upload.first_answer_day, upload.is_answered_by, self.parse)
        return judged(batch, place, answers), answers


def _layout(settings: RccFileSettings) -> Layout:
    def limit_bytes(name: str) -> int:
        if form.statement_day(name, settings.org) is not None:
            return settings.max_statement_bytes
        return settings.max_result_bytes if form.is_sealed(name) else form.ACK_LIMIT_BYTES

    return Layout(
        root="down",
        is_answer=lambda name: form.is_answer(name, settings.org),
        limit_bytes=limit_bytes,
        is_sealed=form.is_sealed,
        agrees=form.agrees,
    )


def _transport(settings: RccFileSettings) -> SftpTransport:
    return SftpTransport(settings.sftp)


PROFILE: Final = Profile(
    "rcc_file",
    RccFileSettings,
    RccFileAdapter,
    _transport,
    rehearsal="adapters.banks.rcc_file.rehearsal:RccFileRehearsal",
)
