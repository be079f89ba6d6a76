"""The file bank's `.res` files."""

from __future__ import annotations

from pathlib import PurePosixPath

from tests.bank.book import misname
from tests.bank.file_results import FileResults
from tests.bank.model import Line, Submission
from tests.bank.rcc_format import ResultRow, line_code, result, result_row
from tests.bank.timing import compact


class Results(FileResults[ResultRow]):
    """Numbered from 01 per submission, beside the name of its upload."""

    def restore(self) -> None:
        """Go on numbering where the ledger stopped."""
        query = "SELECT submission, name FROM artefacts WHERE channel = 'res'"
        for n, name in self.book.ledger.rows(query):
            submission = self.book.by_number[n]
            submission.reports = max(submission.reports, int(name.split(".")[-2]))

    def reserve(self, submission: Submission) -> int:
        submission.reports += 1
        return submission.reports

    def name(self, submission: Submission, number: int, now_ms: int) -> str:
        return f"{compact(now_ms)}/{PurePosixPath(submission.source).stem}.{number:02d}.res"

    def rows(self, lines: list[Line]) -> list[ResultRow]:
        return [result_row(line, misname(line.reference) if line.misnamed else line.reference) for line in lines]

    def stranger(self, last: ResultRow, reference: str, now_ms: int) -> ResultRow:
        host = f"H{compact(now_ms)}999999"
        return last._replace(no=last.no + 1, reference=reference, status="S", host_ref=host)

    def body(self, submission: Submission, rows: list[ResultRow], now_ms: int, wrong: bool = False) -> bytes:
        _, org, batch, seq = PurePosixPath(submission.source).stem.split("_")
        return result(org, batch, seq, compact(now_ms), rows, int(wrong))

    def code(self, line: Line) -> str:
        return line_code(line)[0]
