"""The front-end machine's list of money that came back: items are appended, keep their places, and stay."""

from __future__ import annotations

import json

from tests.bank.book import Book
from tests.bank.model import BIT, RETURNED, Line, Submission

CHANNEL = "returns"


class Returns:
    """What DF1004 pages through. Each portion is an artefact, so that a restart lists the same in the same order."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._listed: list[Line] = []
        self._payers: dict[int, str] = {}  # submission -> debit account
        self._late: set[str] = set()  # portions that were late once

    def restore(self) -> None:
        """List what was listed before; call once the lines are restored."""
        for n, body in self.book.ledger.rows(
            "SELECT submission, body FROM artefacts WHERE channel = ? ORDER BY id", (CHANNEL,)
        ):
            submission = self.book.by_number[n]
            submission.reports += 1
            self._append([submission.lines[no - 1] for no in json.loads(body)])
        query = "SELECT detail FROM faults WHERE fault = 'return_late'"
        self._late.update(detail for (detail,) in self.book.ledger.rows(query))

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        """List those that came back and are not listed, with the fault that the portion's name draws."""
        # `told` holds what is listed or about to be.
        fresh = [line for line in lines if line.status == RETURNED and not line.told & BIT[RETURNED]]
        if not fresh:
            return
        for line in fresh:
            line.told |= BIT[RETURNED]
        fresh.sort(key=lambda line: line.no)
        name = f"{submission.batch}.{submission.reports + 1:02d}"
        fault = self.book.programme.result(name, submission.reports)
        submission.reports += 1
        again_ms = now_ms + self.book.programme.config.repair_seconds * 1000
        if fault == "return_late" and name in self._late:
            fault = None
        if fault is not None:
            self.book.fault(fault, submission.batch, submission.n, "", name)
        if fault != "return_late":
            self._list(submission, name, fresh)
        if fault is not None:
            self.book.at(again_ms, lambda _: self._list(submission, name, fresh))

    def _list(self, submission: Submission, name: str, lines: list[Line]) -> None:
        body = json.dumps([line.no for line in lines]).encode()
        self.book.artefact(CHANNEL, name, submission.batch, submission.n, True, body)
        self._append(lines)

    def _append(self, lines: list[Line]) -> None:
        self._listed += lines
        for line in lines:
            line.told |= BIT[RETURNED]

    def between(self, account: str, first: str, last: str) -> list[Line]:
        """Items of one payer that came back on these dates, in the order of listing."""
        dated = [line for line in self._listed if first <= line.post_date <= last]
        return [line for line in dated if self._payer(line.submission.n) == account]

    def _payer(self, n: int) -> str:
        if n not in self._payers:
            query = "SELECT debit_account FROM submissions WHERE n = ?"
            self._payers[n] = next(self.book.ledger.rows(query, (n,)))[0]
        return self._payers[n]
