"""The file bank's result files: sound ones, and the unsound ones of a fault, each followed by a sound one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from tests.bank.book import Book, misname
from tests.bank.model import Line, Submission
from tests.bank.rcc_files import Tree
from tests.bank.rcc_format import ResultRow, line_code, result, result_row, seal
from tests.bank.timing import compact


class Results:
    """Writes the `.res` files of one bank."""

    def __init__(self, book: Book, tree: Tree) -> None:
        self.book = book
        self.tree = tree
        self._faulty: dict[str, Callable[[Submission, list[Line], int], None]] = {
            "result_truncated": self._truncated,
            "result_duplicated": self._duplicated,
            "result_out_of_order": self._out_of_order,
            "result_rewritten": self._rewritten,
            "result_unknown_reference": self._unknown_reference,
            "result_wrong_totals": self._wrong_totals,
            "result_late": self._late,
            "hostile_names": self._hostile_names,
        }

    def restore(self) -> None:
        """Go on numbering where the ledger stopped."""
        query = "SELECT submission, name FROM artefacts WHERE channel = 'res'"
        for n, name in self.book.ledger.rows(query):
            submission = self.book.by_number[n]
            submission.reports = max(submission.reports, int(name.split(".")[-2]))

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        """Write the next result file of a submission, with the fault that its name draws."""
        lines.sort(key=lambda line: line.no)
        name = self._name(submission, submission.reports + 1, now_ms)
        fault = self.book.programme.result(PurePosixPath(name).name, submission.reports)
        if fault is None or (len(lines) < 2 and fault in ("result_out_of_order", "result_rewritten")):
            submission.reports += 1
            self._sound(submission, lines, name, now_ms)
            return
        self.book.fault(fault, submission.batch, submission.n, "", name)
        self._faulty[fault](submission, lines, now_ms)

    def _name(self, submission: Submission, number: int, now_ms: int) -> str:
        return f"{compact(now_ms)}/{PurePosixPath(submission.source).stem}.{number:02d}.res"

    def _next(self, submission: Submission, now_ms: int) -> str:
        submission.reports += 1
        return self._name(submission, submission.reports, now_ms)

    def _rows(self, lines: list[Line]) -> list[ResultRow]:
        return [result_row(line, misname(line.reference) if line.misnamed else line.reference) for line in lines]

    def _body(self, submission: Submission, rows: list[ResultRow], now_ms: int, wrong_fen: int = 0) -> bytes:
        _, org, batch, seq = PurePosixPath(submission.source).stem.split("_")
        return result(org, batch, seq, compact(now_ms), rows, wrong_fen)

    def _sound(self, submission: Submission, lines: list[Line], name: str, now_ms: int) -> None:
        body = self._body(submission, self._rows(lines), now_ms)
        artefact = self.tree.keep("res", name, submission.batch, submission.n, True, body)
        self.book.tell(lines, "res", name, lambda line: line_code(line)[0])
        self.tree.publish_later(artefact, name, body, seal(body))

    def _unsound(self, submission: Submission, name: str, body: bytes, ok: bytes) -> None:
        artefact = self.tree.keep("res", name, submission.batch, submission.n, False, body)
        self.tree.publish_later(artefact, name, body, ok)

    def _again(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        self.book.report_later(submission, lines, self._repaired_ms(now_ms))

    def _repaired_ms(self, now_ms: int) -> int:
        return now_ms + self.book.programme.config.repair_seconds * 1000

    # -- faults

    def _truncated(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        name = self._next(submission, now_ms)
        body = self._body(submission, self._rows(lines), now_ms)
        draw = self.book.programme.draw("truncate", name)
        cut = body[: 1 + draw % (len(body) - 1)]
        # Half of the time the .ok tells the truth about the cut file: only the missing trailer betrays it.
        self._unsound(submission, name, cut, seal(cut if draw >> 64 & 1 else body))
        self._again(submission, lines, now_ms)

    def _duplicated(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        for _ in range(2):
            self._sound(submission, lines, self._next(submission, now_ms), now_ms)

    def _out_of_order(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        half = len(lines) // 2
        first, second = lines[:half], lines[half:]
        number = submission.reports + 1
        submission.reports += 2
        self._sound(submission, second, self._name(submission, number + 1, now_ms), now_ms)
        self.book.at(
            self._repaired_ms(now_ms),
            lambda later: self._sound(submission, first, self._name(submission, number, later), later),
        )

    def _rewritten(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        name = self._next(submission, now_ms)
        self._sound(submission, lines[: len(lines) // 2], name, now_ms)
        self.book.at(self._repaired_ms(now_ms), lambda later: self._sound(submission, lines, name, later))

    def _unknown_reference(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        rows = self._rows(lines)
        stranger = misname(lines[-1].reference)
        host = f"H{compact(now_ms)}999999"
        rows.append(rows[-1]._replace(no=rows[-1].no + 1, reference=stranger, status="S", host_ref=host))
        body = self._body(submission, rows, now_ms)
        self._unsound(submission, self._next(submission, now_ms), body, seal(body))
        self._again(submission, lines, now_ms)

    def _wrong_totals(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        body = self._body(submission, self._rows(lines), now_ms, wrong_fen=1)
        self._unsound(submission, self._next(submission, now_ms), body, seal(body))
        self._again(submission, lines, now_ms)

    def _late(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        name = self._next(submission, now_ms)
        self.book.at(self._repaired_ms(now_ms), lambda later: self._sound(submission, lines, name, later))

    def _hostile_names(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        self.tree.hostile_listings += 3
        self._sound(submission, lines, self._next(submission, now_ms), now_ms)
