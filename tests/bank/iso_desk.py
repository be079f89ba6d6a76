"""The ISO 20022 bank's desk: takes pain.001 files, answers them with pain.002, and has the rest written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.bank.book import Book
from tests.bank.file_desk import FileDesk, Refused
from tests.bank.file_tree import Tree
from tests.bank.iso_read import FORMAT, parse_batch
from tests.bank.iso_reports import REJECTED, Numbers, ReturnNotices, StatusReports, report_name
from tests.bank.iso_statement import Statements
from tests.bank.iso_write import REASONS, StatusRow, status_report
from tests.bank.model import RETURNED, Line, Submission, Upload
from tests.bank.programme import Plan
from tests.world import clock

NAME = re.compile(r"([0-9A-Z]{1,35})\.xml")
REFUSALS = {"refuse_format": FORMAT, "refuse_signature": "DS02"}
TAKEN = ("ACTC", "ACCP", "ACSP", "ACWC")  # each of them means no more than that the file was taken
FUNDS, DUPLICATE, AGREEMENT = "AM04", "AM05", "AG01"


class IsoDesk(FileDesk):
    """Speaks ISO 20022 for one book."""

    taken_code = "taken"
    hostile_names = ("../pain002_EVIL_01.xml", "../../camt053_20261124.xml")

    def __init__(self, book: Book) -> None:
        self.iso = book.config.iso20022
        super().__init__(book, self.iso, Tree(book, "in", "out"))
        self.numbers = Numbers()
        self._accounts: dict[int, str] = {}  # submission -> the account that pays
        self._reports = StatusReports(book, self.tree, self.numbers)
        self._notices = ReturnNotices(book, self.tree, self.numbers, self._accounts.__getitem__)
        self._statements = Statements(book, self.tree, self.numbers)

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        back = [line for line in lines if line.status == RETURNED]
        others = [line for line in lines if line.status != RETURNED]
        if others:
            self._reports.report(submission, others, now_ms)
        if back:
            self._notices.report(submission, back, now_ms)

    def restore_results(self) -> None:
        self.numbers.restore(self.book)
        query = "SELECT n, debit_account FROM submissions WHERE verdict = 'taken'"
        self._accounts.update((n, account) for n, account in self.book.ledger.rows(query))

    def state(self, date: str) -> None:
        self._statements.state(date)

    # -- uploads

    def transmits(self, name: str) -> tuple[str, bool]:
        named = NAME.fullmatch(name)
        return (named[1] if named else "", name.endswith(".xml"))

    def uploads(self, day: Path) -> Iterator[Path]:
        yield from sorted(path for path in day.glob("*.xml") if path.is_file())

    def batch_of(self, path: Path) -> str:
        named = NAME.fullmatch(path.name)
        return named[1] if named else re.sub("[^0-9A-Za-z]", "", path.stem)[:35] or "0"

    def read(self, empty: Upload, path: Path) -> Upload:
        file = parse_batch(empty.payload)
        days = abs((clock.moment(self.book.now_ms()).date() - file.day).days)
        if (
            path.name != f"{file.message}.xml"
            or len(file.items) > self.book.config.max_lines
            or self.limits.too_big(empty.payload)
            or days > self.iso.date_tolerance_days
            or self.iso.member_id not in ("", file.member)
        ):
            raise Refused(FORMAT)
        head = (empty.batch, empty.source, empty.payload, empty.digest, file.debit_account)
        return Upload(*head, file.items[0].programme, file.total_fen, file.items)

    def judge(self, path: Path, upload: Upload, transmission: int, fault: str | None) -> tuple[int, str, str]:
        if fault in REFUSALS:
            n = self.book.arrive(upload, transmission, "refused", REFUSALS[fault], fault)
            self.book.fault(fault, upload.batch, n)
            return n, "refused", REFUSALS[fault]
        if self.iso.debit_accounts and upload.debit_account not in self.iso.debit_accounts:
            n = self.book.arrive(upload, transmission, "refused", AGREEMENT, fault)
            self._reject(upload, n, self._answer(upload.batch, n, len(upload.items), AGREEMENT), {}, AGREEMENT)
            return n, "refused", ""
        if self.iso.whole_file and self.book.known(upload) is None and (bad := self._bad(upload)):
            return self._refuse_whole(upload, transmission, fault, bad), "refused", ""
        verdict = self.book.take(upload, transmission, fault)
        n = verdict.n
        if verdict.verdict != "taken":
            return n, verdict.verdict, DUPLICATE if verdict.verdict == "duplicate" else FUNDS
        self._accounts[n] = upload.debit_account
        self.withhold(path, upload.batch, n, fault)
        if fault == "refuse_duplicate":
            self.book.fault(fault, upload.batch, n)
            return n, "taken", DUPLICATE
        return n, "taken", self.taken_code

    # -- answers as a whole

    def acknowledge(self, path: Path, batch: str, n: int, code: str) -> None:
        taken = self.book.by_number.get(n)
        self._answer(batch, n, len(taken.lines) if taken else None, "" if code == self.taken_code else code)

    def _answer(self, batch: str, n: int, count: int | None, code: str, rows: list[StatusRow] | None = None) -> str:
        """Acknowledge, or refuse with a code or because of some rows; returns the artefact's name."""
        now = self.book.now_ms()
        group = REJECTED if code or rows else TAKEN[self.book.programme.draw("taken", batch) % len(TAKEN)]
        name = report_name(batch, self.numbers.report(batch), now)
        body = status_report(self.numbers.message(now), now, batch, count, group, rows or (), code)
        artefact = self.tree.keep("ack", name, batch, n, True, body)
        status = {REJECTED: "NOT_TAKEN"}.get(group, "RECEIVED") if code != DUPLICATE else "DUPLICATE"
        self.book.answer(n, batch, status, code or group, "ack", artefact=name)
        self.tree.publish_later(artefact, name, body, None)
        return name

    # -- one bad line, and the whole file is refused

    def _bad(self, upload: Upload) -> dict[int, tuple[int, Plan]]:
        """Lines that would be rejected at once: how often their account was met before, and the plan."""
        met: dict[str, int] = {}
        bad: dict[int, tuple[int, Plan]] = {}
        for item in upload.items:
            nth = met.get(item.account, self.book.seen.get(item.account, 0))
            met[item.account] = nth + 1
            plan = self.book.programme.line(item.account, nth)
            if plan.kind == "reject":
                bad[item.line] = (nth, plan)
        return bad

    def _refuse_whole(
        self, upload: Upload, transmission: int, fault: str | None, bad: dict[int, tuple[int, Plan]]
    ) -> int:
        plans = {no: (nth, plan.text()) for no, (nth, plan) in bad.items()}
        n = self.book.arrive(upload, transmission, "refused", "WHOLE_FILE", fault, plans)
        codes = {no: REASONS.get(plan.reason, (plan.reason, "交易失败")) for no, (_, plan) in bad.items()}
        rows = [
            StatusRow(
                f"{upload.batch}-{item.line:06d}",
                item.reference,
                REJECTED if item.line in bad else "",
                *codes.get(item.line, ("", "")),
            )
            for item in upload.items
        ]
        name = self._answer(upload.batch, n, len(upload.items), "", rows)
        self._reject(upload, n, name, {no: code for no, (code, _) in codes.items()}, "")
        for item in upload.items:
            if item.line in bad:
                self.book.fault("reject", upload.batch, n, item.reference)
        return n

    def _reject(self, upload: Upload, n: int, name: str, codes: dict[int, str], every: str) -> None:
        """Log that lines were told to be rejected: those with a code, or all for the same one."""
        self.book.say(
            [
                (n, upload.batch, item.line, item.reference, "REJECTED", code, None, "ack", name)
                for item in upload.items
                if (code := codes.get(item.line, every))
            ]
        )
