"""The HTTPS bank's desk: turns results into callbacks, with the faults that callbacks can have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.bank import json_format as form
from tests.bank.book import Book, misname
from tests.bank.certificates import prepare
from tests.bank.json_callbacks import Callbacks, Parcel
from tests.bank.json_signing import Signer
from tests.bank.ledger import Row
from tests.bank.model import FINAL, PAID, Line, Submission


class JsonDesk:
    """Speaks the HTTPS profile for one book."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.json = book.config.json_https
        stranger = prepare(book.config.directory).stranger_signing
        self.signer = Signer(book.config.path(self.json.signing_key))
        self.callbacks = Callbacks(book, self.signer, Signer(stranger))
        self._faulty: dict[str, Callable[[Submission, list[Line], int], None]] = {
            "callback_duplicated": self._duplicated,
            "callback_reordered": self._reordered,
            "callback_lost": self._lost,
            "callback_late": self._late,
            "callback_replayed": self._replayed,
            "callback_forged": self._forged,
            "callback_unknown_reference": self._unknown_reference,
        }

    def host_reference(self, number: int, post_date: str) -> str:
        return f"B9-{number}"

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        """Call back about the final ones among these lines, in portions; each portion draws its fault."""
        if self.json.callback_url is None:
            return
        final = [line for line in lines if line.status in FINAL]
        for start in range(0, len(final), self.json.callback_items):
            portion = final[start : start + self.json.callback_items]
            fault = self.book.programme.result(f"{submission.batch}.{submission.reports + 1:02d}", submission.reports)
            submission.reports += 1
            if fault is None:
                self._release(*self._make(submission, portion))
            else:
                self.book.fault(fault, submission.batch, submission.n, "", f"report {submission.reports}")
                self._faulty[fault](submission, portion, now_ms)

    def restore(self) -> None:
        """Go on where the ledger stopped; call once the book is restored."""
        query = "SELECT submission, count(*) FROM artefacts WHERE channel = 'callback' GROUP BY submission"
        for n, count in self.book.ledger.rows(query):
            submission = self.book.by_number[n]
            submission.reports = max(submission.reports, count)
        self.callbacks.restore()

    # -- making and releasing

    def _make(self, submission: Submission, lines: list[Line]) -> tuple[Parcel, str, list[Row]]:
        """A sound callback as things stand now: parcel, event id, and what it says for the ledger."""
        number = self.book.ledger.next_artefact()
        event_id = f"evt_{number:06d}"
        body = form.event(event_id, submission.batch, [form.item(line) for line in lines])
        told = self.book.told(lines, "callback", event_id, form.reason_code)
        return Parcel(number, body, submission.n), event_id, told

    def _release(self, parcel: Parcel, event_id: str, told: list[Row], sound: bool = True, copies: int = 1) -> None:
        """Keep it, and let it go once that is committed."""
        batch = self.book.by_number[parcel.submission].batch
        stamp = (parcel.artefact, self.book.ledger.next(), self.book.now_ms())
        row = (*stamp, "callback", event_id, batch, parcel.submission, int(sound), parcel.body)
        self.book.ledger.put("artefacts", row)
        self.book.say(told)
        for copy in range(copies):
            again = Parcel(parcel.artefact, parcel.body, parcel.submission) if copy else parcel
            self.book.after_commit(lambda sent=again: self.callbacks.send(sent))  # type: ignore[misc]

    def _repaired_ms(self, now_ms: int) -> int:
        return now_ms + self.book.programme.config.repair_seconds * 1000

    def _hostile(
        self, submission: Submission, items: list[dict[str, object]], stranger: bool, true: Sequence[Line] = ()
    ) -> None:
        """A callback that nobody may believe, or not all of it: what it says of ``true`` lines is so."""
        number = self.book.ledger.next_artefact()
        event_id = f"evt_{number:06d}"
        body = form.event(event_id, submission.batch, items)
        parcel = Parcel(number, body, submission.n, once=True, stranger=stranger)
        told = self.book.told(list(true), "callback", event_id, form.reason_code)
        self._release(parcel, event_id, told, sound=False)

    # -- faults

    def _duplicated(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        self._release(*self._make(submission, lines), copies=2)

    def _reordered(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        # What is said stays what it was now, but it arrives after whatever is said in between.
        made = self._make(submission, lines)
        self.book.at(self._repaired_ms(now_ms), lambda _: self._release(*made))

    def _lost(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        """Nothing leaves; who wants to know must ask."""

    def _late(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        self.book.at(self._repaired_ms(now_ms), lambda _: self._release(*self._make(submission, lines)))

    def _replayed(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        parcel, event_id, told = self._make(submission, lines)
        parcel.replay = True
        self._release(parcel, event_id, told)

    def _forged(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        victim = next((line for line in submission.lines if line.status != PAID), lines[0])
        lie = {**form.item(lines[0]), "ref": victim.reference, "status": "SUCCESS", "bankRef": "B9-0"}
        lie["amount"] = form.yuan(victim.amount_fen + (1 if victim.status == PAID else 0))
        lie.setdefault("postDate", "2026-01-01")
        self._hostile(submission, [lie], stranger=True)
        self._release(*self._make(submission, lines))

    def _unknown_reference(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        items = [form.item(line) for line in lines]
        items.append({**items[-1], "ref": misname(lines[-1].reference)})
        self._hostile(submission, items, stranger=False, true=lines)
        self.book.report_later(submission, lines, self._repaired_ms(now_ms))
