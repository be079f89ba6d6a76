"""The HTTPS bank's answers to questions: batches, pages of items, items, statements; 404 for what it never had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.bank import json_format as form
from tests.bank.book import Book, misname
from tests.bank.model import BIT, PAID, RECEIVED, RETURNED, WORD, Line, Submission, word
from tests.bank.timing import dashed

MOST_ITEMS = 500


class Answer(NamedTuple):
    """A status and a body."""

    status: int
    body: dict[str, object]


class Queries:
    """Read-only, but for the log of what was told."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._nth: dict[str, int] = {}
        self._told: dict[int, str] = {}  # submission -> the batch status last told

    def fault(self, path: str) -> str | None:
        """The fault of this query, logged; one of a kind that cannot bite here does not fire."""
        self._nth[path] = nth = self._nth.get(path, 0) + 1
        fault = self.book.programme.query(path, nth)
        if fault == "query_not_found" and not self._still_settling(path):
            return None
        if fault is not None:
            self.book.fault(fault, detail=path)
            self.book.commit()
        return fault

    def _batch_of(self, path: str) -> str:
        words = path.partition("?")[0].split("/")
        if words[1:3] == ["v1", "items"]:
            line = self.book.references.get(words[-1])
            return line.submission.batch if line else self.book.untaken.get(words[-1], "")
        return words[3] if words[1:3] == ["v1", "batches"] and len(words) > 3 else ""

    def _still_settling(self, path: str) -> bool:
        """Before the declared settling time "not found" means nothing, so the bank may say it."""
        last = self.book.last_transmission_ms.get(self._batch_of(path))
        return last is not None and self.book.now_ms() < last + self.book.config.settling_seconds * 1000

    def answer(self, path: str, query: Mapping[str, str], fault: str | None) -> Answer:
        words = path.strip("/").split("/")
        if words[:2] == ["v1", "statements"] and len(words) == 2:
            return self._statement(query)
        if words[:2] == ["v1", "items"] and len(words) == 3:
            line = self.book.references.get(words[2])
            if line is None or not self._visible(line.submission) or fault == "query_not_found":
                return self._not_found(path, words[2])
            return Answer(200, {**self._items([line], fault)[0], "batchNo": line.submission.batch})
        if words[:2] == ["v1", "batches"] and len(words) in (3, 4):
            known = self.book.batches.get(words[2])
            if not known or not self._visible(known[-1]) or fault == "query_not_found":
                return self._not_found(path, "")
            if len(words) == 3:
                return self._batch(known[-1], fault)
            if words[3] == "items":
                return self._page(known[-1], query, fault)
        return Answer(404, {"code": "NO_SUCH_PATH"})

    def _visible(self, submission: Submission) -> bool:
        return submission.visible_ms <= self.book.now_ms()

    def _not_found(self, path: str, reference: str) -> Answer:
        status = "NOT_FOUND" if self._still_settling(path) else "ABSENT"
        self.book.answer(0, self._batch_of(path), status, "NOT_FOUND", "query", reference)
        return Answer(404, {"code": "NOT_FOUND"})

    def _batch(self, submission: Submission, fault: str | None) -> Answer:
        status = "PROCESSING"
        if submission.decided == len(submission.lines):
            status = "DONE"
        elif submission.lines[0].status == RECEIVED:
            status = "ACCEPTED"
        if fault == "query_stale":
            status = "ACCEPTED"
        elif self._told.get(submission.n) != status:
            self._told[submission.n] = status
            word = "DONE" if status == "DONE" else "IN_PROCESS"
            self.book.answer(submission.n, submission.batch, word, status, "query")
        total = form.yuan(submission.total_fen)
        count = len(submission.lines)
        body = {"batchNo": submission.batch, "status": status, "instructionCount": count, "totalAmount": total}
        return Answer(200, body)

    def _page(self, submission: Submission, query: Mapping[str, str], fault: str | None) -> Answer:
        start, limit = _paging(query)
        lines = submission.lines[start : start + limit]
        end = start + len(lines)
        following = str(end) if end < len(submission.lines) else None
        items = self._items(lines, fault)
        return Answer(200, {"batchNo": submission.batch, "items": items, "next": following})

    def _items(self, lines: list[Line], fault: str | None) -> list[dict[str, object]]:
        """The lines as they stand, and the log of whatever was not told by query before."""
        if fault == "query_stale":
            return [form.stale(line) for line in lines]
        told = []
        for line in lines:
            bit = BIT[line.status]
            if not line.asked & bit:
                line.asked |= bit
                no, reference = (0, misname(line.reference)) if line.misnamed else (line.no, line.reference)
                whole = (line.submission.n, line.submission.batch, no, reference, word(line))
                fen = line.paid_fen or line.amount_fen
                told.append((*whole, form.reason_code(line), fen, "query", ""))
        self.book.say(told)
        return [form.item(line) for line in lines]

    def _statement(self, query: Mapping[str, str]) -> Answer:
        """The moves of one day, from the ledger itself; what was not told by query before is logged as told."""
        date = query.get("date", "").replace("-", "")
        start, limit = _paging(query)
        moves: list[dict[str, object]] = []
        about: list[tuple[Line, str, int]] = []
        total = 0
        for table, kind, sign, shown in (("credits", "CREDIT", 1, PAID), ("returns", "RETURN", -1, RETURNED)):
            sql = (
                "SELECT m.reference, m.amount_fen, m.host_ref, s.batch, m.submission, m.line"
                f" FROM {table} m JOIN submissions s ON s.n = m.submission WHERE m.post_date = ?"
            )
            for reference, fen, host, batch, submission, no in self.book.ledger.rows(sql, (date,)):
                total += sign * fen
                move = {"amount": form.yuan(fen), "bankRef": host, "batchNo": batch, "kind": kind, "ref": reference}
                moves.append({**move, "postDate": dashed(date)})
                about.append((self.book.by_number[submission].lines[no - 1], shown, fen))
        page = moves[start : start + limit]
        self._tell_moves(about[start : start + limit])
        following = str(start + len(page)) if start + len(page) < len(moves) else None
        amount = form.yuan(total) if total >= 0 else "-" + form.yuan(-total)
        head: dict[str, object] = {"count": len(moves), "date": dashed(date), "totalAmount": amount}
        return Answer(200, {**head, "items": page, "next": following})

    def _tell_moves(self, moves: list[tuple[Line, str, int]]) -> None:
        told = []
        for line, shown, fen in moves:
            if not line.asked & BIT[shown]:
                line.asked |= BIT[shown]
                whole = (line.submission.n, line.submission.batch, line.no, line.reference, WORD[shown])
                told.append((*whole, "", fen, "query", ""))
        self.book.say(told)


def _paging(query: Mapping[str, str]) -> tuple[int, int]:
    """Where a page starts and how long it is; nonsense reads as the first page."""
    after, limit = query.get("after", "0"), query.get("limit", str(MOST_ITEMS))
    start = int(after) if after.isascii() and after.isdigit() else 0
    most = int(limit) if limit.isascii() and limit.isdigit() else MOST_ITEMS
    return start, max(1, min(most, MOST_ITEMS))
