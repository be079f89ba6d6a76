"""The ISO 20022 bank's results: status reports (pain.002) of lines, and notices (camt.054) of money that came back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from tests.bank.book import Book, misname
from tests.bank.file_results import FileResults
from tests.bank.file_tree import Tree
from tests.bank.iso_write import REASONS, Booking, StatusRow, bombed, of_another_version, return_notice, status_report
from tests.bank.model import FAILED, PAID, RETURNED, SUSPECT, Line, Submission
from tests.bank.timing import compact

CREDITED, REJECTED, PENDING = "ACCC", "RJCT", "PDNG"
# How this bank says "in process"; ACSC looks like success and is none: only the debtor's side has settled.
IN_PROCESS = ("ACSP", PENDING, "ACSC", "ACWP")
TWISTED: dict[str, Callable[[bytes], bytes]] = {
    "hostile_entities": bombed,
    "result_wrong_version": of_another_version,
}
_REPORT = re.compile(r"pain002_([0-9A-Za-z]+)_([0-9]{2,})\.xml")
_NOTICE = re.compile(r"camt054_[0-9]{8}_([0-9]{6,})\.xml")


def reason(line: Line) -> tuple[str, str]:
    """Code and text of the reason of a line that failed or came back."""
    return REASONS.get(line.plan.reason, (line.plan.reason, "交易失败"))


class Numbers:
    """The bank's own counting: messages, status reports of a batch, notices."""

    def __init__(self) -> None:
        self.messages = self.notices = 0
        self._reports: dict[str, int] = {}

    def message(self, now_ms: int) -> str:
        self.messages += 1
        return f"BK{compact(now_ms)}{self.messages:06d}"

    def report(self, batch: str) -> int:
        self._reports[batch] = number = self._reports.get(batch, 0) + 1
        return number

    def notice(self) -> int:
        self.notices += 1
        return self.notices

    def restore(self, book: Book) -> None:
        """Go on where the ledger stopped."""
        for channel, n, name in book.ledger.rows("SELECT channel, submission, name FROM artefacts"):
            self.messages += 1
            name = PurePosixPath(name).name
            if report := _REPORT.fullmatch(name):
                self._reports[report[1]] = max(self._reports.get(report[1], 0), int(report[2]))
            elif notice := _NOTICE.fullmatch(name):
                self.notices = max(self.notices, int(notice[1]))
            if channel == "res":
                book.by_number[n].reports += 1


def report_name(batch: str, number: int, now_ms: int) -> str:
    return f"{compact(now_ms)}/pain002_{batch}_{number:02d}.xml"


class StatusReports(FileResults[StatusRow]):
    """pain.002 with lines; it carries no amounts, so that a wrong one shows in the statement only."""

    amounts = False

    def __init__(self, book: Book, tree: Tree, numbers: Numbers) -> None:
        super().__init__(book, tree)
        self._numbers = numbers

    def tells(self, line: Line) -> bool:
        return line.status != RETURNED

    def reserve(self, submission: Submission) -> int:
        submission.reports += 1
        return self._numbers.report(submission.batch)

    def name(self, submission: Submission, number: int, now_ms: int) -> str:
        return report_name(submission.batch, number, now_ms)

    def word(self, line: Line) -> str:
        """The status of a line in this bank's words."""
        if line.status in (PAID, FAILED):
            return CREDITED if line.status == PAID else REJECTED
        if line.status == SUSPECT:
            return PENDING
        return IN_PROCESS[self.book.programme.draw("word", line.reference) % len(IN_PROCESS)]

    def code(self, line: Line) -> str:
        if line.status == FAILED:
            return reason(line)[0]
        return "NARR" if line.status == SUSPECT else self.word(line)

    def rows(self, lines: list[Line]) -> list[StatusRow]:
        return [self._row(line) for line in lines]

    def _row(self, line: Line) -> StatusRow:
        # Whoever is called by a wrong name is not given away by the number of the instruction.
        instruction = "" if line.misnamed else f"{line.submission.batch}-{line.no:06d}"
        reference = misname(line.reference) if line.misnamed else line.reference
        code, text = "", ""
        if line.status == FAILED:
            code, text = reason(line)
        elif line.status == SUSPECT:
            code, text = "NARR", "可疑交易,待查证"
        host_ref = line.host_ref if line.status == PAID else ""
        return StatusRow(instruction, reference, self.word(line), code, text, host_ref)

    def stranger(self, last: StatusRow, reference: str, now_ms: int) -> StatusRow:
        return StatusRow("", reference, CREDITED, host_ref=f"H{compact(now_ms)}999999")

    def body(self, submission: Submission, rows: list[StatusRow], now_ms: int, wrong: bool = False) -> bytes:
        """`wrong`: fewer lines than are listed."""
        count = len(submission.lines)
        words = {row.status for row in rows}
        agreed = words.pop() if len(words) == 1 and len(rows) == count else ""
        group = agreed if agreed in (CREDITED, "ACSC") else "PART"
        told = max(len(rows) - 1, 0) if wrong else count
        message = self._numbers.message(now_ms)
        return status_report(message, now_ms, submission.batch, told, group, rows)

    def twisted(self) -> Mapping[str, Callable[[bytes], bytes]]:
        return TWISTED


class ReturnNotices(FileResults[Booking]):
    """camt.054, an entry a line that came back."""

    def __init__(self, book: Book, tree: Tree, numbers: Numbers, account: Callable[[int], str]) -> None:
        super().__init__(book, tree)
        self._numbers = numbers
        self._account = account  # the debit account of submission n

    def tells(self, line: Line) -> bool:
        return line.status == RETURNED

    def reserve(self, submission: Submission) -> int:
        submission.reports += 1
        return self._numbers.notice()

    def name(self, submission: Submission, number: int, now_ms: int) -> str:
        return f"{compact(now_ms)}/camt054_{compact(now_ms)}_{number:06d}.xml"

    def code(self, line: Line) -> str:
        return reason(line)[0]

    def rows(self, lines: list[Line]) -> list[Booking]:
        return [
            Booking(
                line.submission.batch, line.reference, line.paid_fen, line.post_date, line.host_ref, *reason(line)
            )
            for line in lines
        ]  # fmt: skip

    def stranger(self, last: Booking, reference: str, now_ms: int) -> Booking:
        return last._replace(reference=reference, host_ref=f"H{compact(now_ms)}999999")

    def body(self, submission: Submission, rows: list[Booking], now_ms: int, wrong: bool = False) -> bytes:
        message = self._numbers.message(now_ms)
        return return_notice(message, now_ms, self._account(submission.n), rows, wrong)

    def twisted(self) -> Mapping[str, Callable[[bytes], bytes]]:
        return TWISTED
