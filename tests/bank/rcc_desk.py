"""The file bank's desk: picks uploads up, judges them, acknowledges them, and closes its days with a statement."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import re
from pathlib import Path

from tests.bank import rcc_format as form
from tests.bank.book import Book
from tests.bank.limits import OUTSIDE_HOURS, Limits
from tests.bank.model import Line, Submission, Upload
from tests.bank.rcc_files import Tree
from tests.bank.rcc_results import Results
from tests.bank.timing import DAY_MS, compact
from tests.world import clock

NAME = re.compile(r"DF_([0-9A-Z]{1,9})_([0-9A-Z]{1,20})_([0-9]{2})\.txt")
REFUSALS = {"refuse_format": "F001", "refuse_digest": "F005", "refuse_agreement": "F006"}


class RccDesk:
    """Speaks the file profile for one book."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.rcc = book.config.rcc_file
        self.tree = Tree(book)
        self.results = Results(book, self.tree)
        self.arrived = asyncio.Event()
        self.limits = Limits(book)
        self._lying: set[Path] = set()  # uploads that came outside the hours
        self._stated_ms = 0  # a moment of the first day that still needs its statement

    # -- what the book asks for

    def host_reference(self, number: int, post_date: str) -> str:
        return f"H{post_date}{number:06d}"

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        self.results.report(submission, lines, now_ms)

    # -- uploads

    async def watch(self) -> None:
        """Look for uploads whose `.ok` stands, for ever."""
        while True:
            self.scan()
            self._close_days()
            try:
                await asyncio.wait_for(self.arrived.wait(), self.rcc.poll_real_milliseconds / 1000)
            except TimeoutError:
                continue
            self.arrived.clear()

    def scan(self) -> None:
        self.tree.open_day()
        for day in sorted(self.tree.up.iterdir()):
            if day.is_dir():
                for ok in sorted(day.glob("*.txt.ok")):
                    txt = ok.with_name(ok.name[:-3])
                    if not txt.exists():
                        continue
                    if self.limits.closed_ms:
                        self._let_lie(txt)
                    else:
                        self._take(txt, ok.read_bytes())

    def _let_lie(self, txt: Path) -> None:
        """No file code says "closed": a bank that takes nothing outside its hours looks at the upload when it opens."""
        if txt not in self._lying:
            self._lying.add(txt)
            named = NAME.fullmatch(txt.name)
            self.book.fault(OUTSIDE_HOURS, named[2] if named else txt.stem)
            self.book.commit()

    def _take(self, txt: Path, ok: bytes) -> None:
        payload = txt.read_bytes()
        named = NAME.fullmatch(txt.name)
        batch = named[2] if named else txt.stem
        transmission = self.book.transmission(batch)
        fault = self.book.programme.submission(batch, transmission)
        source = f"/up/{txt.parent.name}/{txt.name}"
        empty = Upload(batch, source, payload, hashlib.sha256(payload).hexdigest(), "", "", 0, [])
        try:
            upload = self._read(empty, ok, named)
        except form.Refused as refused:
            n, verdict, code = self.book.arrive(empty, transmission, "refused", refused.code, fault), "refused", ""
            self._acknowledge(txt, batch, n, refused.code)
        else:
            n, verdict, code = self._judge(txt, upload, transmission, fault)
            if fault != "ack_missing" and (fault != "ack_late" or verdict != "taken"):
                self._acknowledge(txt, batch, n, code)
        self.book.after_commit(lambda: self.tree.take_away(txt, n, verdict))
        self.book.commit()

    def _read(self, empty: Upload, ok: bytes, named: re.Match[str] | None) -> Upload:
        """The upload with its lines. Raises form.Refused."""
        if ok != form.seal(empty.payload):
            raise form.Refused("F005")
        file = form.parse_batch(empty.payload)
        too_much = len(file.items) > self.book.config.max_lines or self.limits.too_big(empty.payload)
        if named is None or named.groups() != (file.org, file.batch, file.seq) or too_much:
            raise form.Refused("F001")
        agreed = not self.rcc.debit_accounts or file.debit_account in self.rcc.debit_accounts
        if file.org != self.rcc.org or not agreed:
            raise form.Refused("F006")
        try:
            day = dt.datetime.strptime(file.date, "%Y%m%d").replace(tzinfo=clock.SHANGHAI)
        except ValueError:
            raise form.Refused("F004") from None
        if abs(clock.moment(self.book.now_ms()) - day).days > self.rcc.date_tolerance_days:
            raise form.Refused("F004")
        head = (empty.batch, empty.source, empty.payload, empty.digest, file.debit_account)
        return Upload(*head, file.items[0].programme, file.total_fen, file.items)

    def _judge(self, txt: Path, upload: Upload, transmission: int, fault: str | None) -> tuple[int, str, str]:
        """Take or refuse a readable upload: its number, the verdict, the file code."""
        if fault in REFUSALS:
            n = self.book.arrive(upload, transmission, "refused", REFUSALS[fault], fault)
            self.book.fault(fault, upload.batch, n)
            return n, "refused", REFUSALS[fault]
        verdict = self.book.take(upload, transmission, fault)
        n = verdict.n
        if verdict.verdict != "taken":
            return n, verdict.verdict, "F003" if verdict.verdict == "duplicate" else "F007"
        if fault in ("ack_missing", "ack_late"):
            self.book.fault(fault, upload.batch, n)
        if fault == "ack_late":
            due = self.book.now_ms() + self.book.programme.config.ack_late_seconds * 1000
            self.book.at(due, lambda _: self._acknowledge(txt, upload.batch, n, "0000"))
        return n, "taken", "0000"

    def _acknowledge(self, txt: Path, batch: str, n: int, code: str) -> None:
        named = NAME.fullmatch(txt.name)
        body = form.acknowledgement(batch, named[3] if named else "00", code)
        name = f"{compact(self.book.now_ms())}/{txt.stem}.ack"
        artefact = self.tree.keep("ack", name, batch, n, True, body)
        status = {"0000": "RECEIVED", "F003": "DUPLICATE"}.get(code, "NOT_TAKEN")
        self.book.answer(n, batch, status, code, "ack", artefact=name)
        self.tree.publish_later(artefact, name, body, None)

    # -- after a restart

    def restore(self) -> None:
        """Finish what a kill interrupted between the ledger and the tree; call before anybody can connect."""
        rows = self.book.ledger.rows
        moved = {detail for (detail,) in rows("SELECT detail FROM deliveries WHERE how = 'moved'")}
        acknowledged = {n for (n,) in rows("SELECT submission FROM artefacts WHERE channel = 'ack'")}
        for n, batch, source, verdict, fault in list(rows("SELECT n, batch, source, verdict, fault FROM submissions")):
            txt = self.tree.root / source.lstrip("/")
            if str(n) not in moved:
                self.tree.take_away(txt, n, verdict)
            if n not in acknowledged and verdict == "taken" and fault != "ack_missing":
                self._acknowledge(txt, batch, n, "0000")
        self.results.restore()
        (first,) = next(rows("SELECT min(at_ms) FROM submissions"))
        (last,) = next(rows("SELECT max(name) FROM artefacts WHERE channel = 'statement'"))
        self._stated_ms = first or self.book.now_ms()
        if last:
            day = dt.datetime.strptime(last[:8], "%Y%m%d").replace(tzinfo=clock.SHANGHAI)
            self._stated_ms = round(day.timestamp() * 1000) + DAY_MS
        self.book.commit()
        self.tree.republish()

    # -- statements

    def _close_days(self) -> None:
        while self.book.config.statements and compact(self._stated_ms) < compact(self.book.now_ms()):
            self._state(compact(self._stated_ms))
            self._stated_ms += DAY_MS

    def _state(self, date: str) -> None:
        """The statement of a day that has ended, if anything moved on it."""
        moves, told = [], []
        for table, kind, word in (("credits", "C", "CREDITED"), ("returns", "R", "RETURNED")):
            query = (
                "SELECT m.reference, m.account, m.amount_fen, m.post_date, m.host_ref, s.batch, m.submission, m.line"
                f" FROM {table} m JOIN submissions s ON s.n = m.submission WHERE m.post_date = ?"
            )
            for reference, account, fen, day, host, batch, n, no in self.book.ledger.rows(query, (date,)):
                moves.append((reference, account, fen, kind, day, host, batch))
                told.append((n, batch, no, reference, word, "", fen))
        if not moves:
            return
        name = f"{date}/DZ_{self.rcc.org}_{date}.txt"
        body = form.statement(self.rcc.org, date, moves)
        artefact = self.tree.keep("statement", name, "", 0, True, body)
        self.book.say([(*row, "statement", name) for row in told])
        self.tree.publish_later(artefact, name, body, form.seal(body))
        self.book.commit()
