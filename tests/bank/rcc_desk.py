"""The file bank's desk: picks uploads up, judges them, acknowledges them, and closes its days with a statement."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

from tests.bank import rcc_format as form
from tests.bank.book import Book
from tests.bank.file_desk import FileDesk, Refused
from tests.bank.file_tree import Tree
from tests.bank.model import Line, Submission, Upload
from tests.bank.rcc_results import Results
from tests.bank.timing import compact
from tests.world import clock

NAME = re.compile(r"DF_([0-9A-Z]{1,9})_([0-9A-Z]{1,20})_([0-9]{2})\.txt")
REFUSALS = {"refuse_format": "F001", "refuse_digest": "F005", "refuse_agreement": "F006"}


class RccDesk(FileDesk):
    """Speaks the `.txt`, `.ack` and `.res` of the rural credit cooperative for one book."""

    taken_code = "0000"
    hostile_names = ("../DF_402XJ0001_EVIL_00.01.res", "../DF_402XJ0001_EVIL_00.01.res.ok")

    def __init__(self, book: Book) -> None:
        self.rcc = book.config.rcc_file
        tree = Tree(book, "up", "down", lambda channel, body: None if channel == "ack" else form.seal(body))
        super().__init__(book, self.rcc, tree)
        self.results = Results(book, self.tree)

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        self.results.report(submission, lines, now_ms)

    def restore_results(self) -> None:
        self.results.restore()

    # -- uploads

    def transmits(self, name: str) -> tuple[str, bool]:
        named = NAME.fullmatch(name.removesuffix(".ok"))
        return (named[2] if named else "", name.endswith(".ok"))

    def uploads(self, day: Path) -> Iterator[Path]:
        """Those whose `.ok` stands."""
        for ok in sorted(day.glob("*.txt.ok")):
            txt = ok.with_name(ok.name[:-3])
            if txt.exists():
                yield txt

    def batch_of(self, path: Path) -> str:
        named = NAME.fullmatch(path.name)
        return named[2] if named else path.stem

    def read(self, empty: Upload, path: Path) -> Upload:
        if path.with_name(path.name + ".ok").read_bytes() != form.seal(empty.payload):
            raise Refused("F005")
        file = form.parse_batch(empty.payload)
        named = NAME.fullmatch(path.name)
        too_much = len(file.items) > self.book.config.max_lines or self.limits.too_big(empty.payload)
        if named is None or named.groups() != (file.org, file.batch, file.seq) or too_much:
            raise Refused("F001")
        agreed = not self.rcc.debit_accounts or file.debit_account in self.rcc.debit_accounts
        if file.org != self.rcc.org or not agreed:
            raise Refused("F006")
        try:
            day = dt.datetime.strptime(file.date, "%Y%m%d").replace(tzinfo=clock.SHANGHAI)
        except ValueError:
            raise Refused("F004") from None
        if abs(clock.moment(self.book.now_ms()) - day).days > self.rcc.date_tolerance_days:
            raise Refused("F004")
        head = (empty.batch, empty.source, empty.payload, empty.digest, file.debit_account)
        return Upload(*head, file.items[0].programme, file.total_fen, file.items)

    def judge(self, path: Path, upload: Upload, transmission: int, fault: str | None) -> tuple[int, str, str]:
        if fault in REFUSALS:
            n = self.book.arrive(upload, transmission, "refused", REFUSALS[fault], fault)
            self.book.fault(fault, upload.batch, n)
            return n, "refused", REFUSALS[fault]
        verdict = self.book.take(upload, transmission, fault)
        n = verdict.n
        if verdict.verdict != "taken":
            return n, verdict.verdict, "F003" if verdict.verdict == "duplicate" else "F007"
        self.withhold(path, upload.batch, n, fault)
        return n, "taken", "0000"

    def acknowledge(self, path: Path, batch: str, n: int, code: str) -> None:
        named = NAME.fullmatch(path.name)
        body = form.acknowledgement(batch, named[3] if named else "00", code)
        name = f"{compact(self.book.now_ms())}/{path.stem}.ack"
        artefact = self.tree.keep("ack", name, batch, n, True, body)
        status = {"0000": "RECEIVED", "F003": "DUPLICATE"}.get(code, "NOT_TAKEN")
        self.book.answer(n, batch, status, code, "ack", artefact=name)
        self.tree.publish_later(artefact, name, body, None)

    def state(self, date: str) -> None:
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
