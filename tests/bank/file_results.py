"""Result files: sound ones, and the unsound ones of a fault, each followed by a sound one; the profile writes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Generic, TypeVar

from tests.bank.book import Book, misname
from tests.bank.file_tree import Tree
from tests.bank.model import Line, Submission

Row = TypeVar("Row")
NEED_TWO_LINES = ("result_out_of_order", "result_rewritten")
Faulty = Callable[[Submission, list[Line], int, int], None]


class FileResults(ABC, Generic[Row]):
    """Writes one kind of result file of one bank; what a kind looks like is said by the abstract methods."""

    amounts = True  # whether these files say what was credited

    def __init__(self, book: Book, tree: Tree) -> None:
        self.book = book
        self.tree = tree
        self._faulty: dict[str, Faulty] = {
            "result_truncated": self._truncated,
            "result_duplicated": self._duplicated,
            "result_out_of_order": self._out_of_order,
            "result_rewritten": self._rewritten,
            "result_unknown_reference": self._unknown_reference,
            "result_wrong_totals": self._wrong_totals,
            "result_late": self._late,
            "hostile_names": self._hostile_names,
        }

    # -- what a profile says

    @abstractmethod
    def reserve(self, submission: Submission) -> int:
        """The number of the next file about a submission, which is thereby used up."""

    @abstractmethod
    def name(self, submission: Submission, number: int, now_ms: int) -> str:
        """date/file name of the file of that number."""

    @abstractmethod
    def rows(self, lines: list[Line]) -> list[Row]:
        """What is said about these lines as they stand now."""

    @abstractmethod
    def stranger(self, last: Row, reference: str, now_ms: int) -> Row:
        """A row after `last` that is about a `reference` which this bank never saw."""

    @abstractmethod
    def body(self, submission: Submission, rows: list[Row], now_ms: int, wrong: bool = False) -> bytes:
        """The file; `wrong` = its totals are."""

    @abstractmethod
    def code(self, line: Line) -> str:
        """The code that the file has beside a line."""

    def tells(self, line: Line) -> bool:
        """Whether this kind of file speaks of a line as it stands now; a late file may be overtaken by a return."""
        return True

    def twisted(self) -> Mapping[str, Callable[[bytes], bytes]]:
        """Further faults of this profile: each makes an unsound file of a sound one."""
        return {}

    # -- reporting

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        """Write the next result file of a submission, with the fault that its name draws."""
        lines.sort(key=lambda line: line.no)
        ordinal = submission.reports
        number = self.reserve(submission)
        name = self.name(submission, number, now_ms)
        fault = self.book.programme.result(PurePosixPath(name).name, ordinal)
        twist = self.twisted().get(fault or "")
        bites = twist is not None or fault in self._faulty
        if fault is None or not bites or (len(lines) < 2 and fault in NEED_TWO_LINES):
            self._sound(submission, lines, name, now_ms)
            return
        self.book.fault(fault, submission.batch, submission.n, "", name)
        if twist is None:
            self._faulty[fault](submission, lines, number, now_ms)
        else:
            body = twist(self.body(submission, self.rows(lines), now_ms))
            self._unsound(submission, lines, name, body, now_ms)

    def _sound(self, submission: Submission, lines: list[Line], name: str, now_ms: int) -> None:
        lines = [line for line in lines if self.tells(line)]
        if not lines:
            return
        body = self.body(submission, self.rows(lines), now_ms)
        artefact = self.tree.keep("res", name, submission.batch, submission.n, True, body)
        self.book.tell(lines, "res", name, self.code, self.amounts)
        self.tree.publish_later(artefact, name, body, self.tree.seal("res", body))

    def _unsound(
        self, submission: Submission, lines: list[Line], name: str, body: bytes, now_ms: int, sealed: bytes = b""
    ) -> None:
        """Publish what nobody may believe, under a seal that fits it or `sealed`, and tell the truth later."""
        artefact = self.tree.keep("res", name, submission.batch, submission.n, False, body)
        self.tree.publish_later(artefact, name, body, self.tree.seal("res", sealed or body))
        self.book.report_later(submission, lines, self._repaired_ms(now_ms))

    def _repaired_ms(self, now_ms: int) -> int:
        return now_ms + self.book.programme.config.repair_seconds * 1000

    # -- faults

    def _truncated(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        name = self.name(submission, number, now_ms)
        body = self.body(submission, self.rows(lines), now_ms)
        draw = self.book.programme.draw("truncate", name)
        cut = body[: 1 + draw % (len(body) - 1)]
        # Half of the time the .ok tells the truth about the cut file: only the missing end betrays it.
        self._unsound(submission, lines, name, cut, now_ms, cut if draw >> 64 & 1 else body)

    def _duplicated(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        for each in (number, self.reserve(submission)):
            self._sound(submission, lines, self.name(submission, each, now_ms), now_ms)

    def _out_of_order(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        half = len(lines) // 2
        first, second = lines[:half], lines[half:]
        self._sound(submission, second, self.name(submission, self.reserve(submission), now_ms), now_ms)
        self.book.at(
            self._repaired_ms(now_ms),
            lambda later: self._sound(submission, first, self.name(submission, number, later), later),
        )

    def _rewritten(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        name = self.name(submission, number, now_ms)
        self._sound(submission, lines[: len(lines) // 2], name, now_ms)
        self.book.at(self._repaired_ms(now_ms), lambda later: self._sound(submission, lines, name, later))

    def _unknown_reference(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        rows = self.rows(lines)
        rows.append(self.stranger(rows[-1], misname(lines[-1].reference), now_ms))
        name = self.name(submission, number, now_ms)
        # What it says of the others is true, and may be believed.
        self.book.tell([line for line in lines if self.tells(line)], "res", name, self.code, self.amounts)
        self._unsound(submission, lines, name, self.body(submission, rows, now_ms), now_ms)

    def _wrong_totals(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        body = self.body(submission, self.rows(lines), now_ms, wrong=True)
        self._unsound(submission, lines, self.name(submission, number, now_ms), body, now_ms)

    def _late(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        name = self.name(submission, number, now_ms)
        self.book.at(self._repaired_ms(now_ms), lambda later: self._sound(submission, lines, name, later))

    def _hostile_names(self, submission: Submission, lines: list[Line], number: int, now_ms: int) -> None:
        self.tree.hostile_listings += 3
        self._sound(submission, lines, self.name(submission, number, now_ms), now_ms)
