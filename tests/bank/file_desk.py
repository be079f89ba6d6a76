"""The desk of a bank that is spoken to in files: picks uploads up, judges them, answers, closes its days.

What a file looks like, how it is judged and how it is answered is the profile's; when things happen, in which order
they reach the ledger and the tree, and what a restart has to make good is the same for all of them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tests.bank.book import Book
from tests.bank.config import FileAccess
from tests.bank.file_tree import Tree
from tests.bank.limits import OUTSIDE_HOURS, Limits
from tests.bank.model import Line, Submission, Upload
from tests.bank.timing import DAY_MS, compact
from tests.world import clock


class Refused(Exception):
    """The file cannot be taken; `code` is the answer in the profile's words."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class FileDesk(ABC):
    """Speaks a file profile for one book."""

    taken_code: str  # the code that says "taken"
    hostile_names: tuple[str, ...]  # what a hostile listing shows beside the files

    def __init__(self, book: Book, access: FileAccess, tree: Tree) -> None:
        self.book = book
        self.access = access
        self.tree = tree
        self.limits = Limits(book)
        self.arrived = asyncio.Event()
        self._lying: set[Path] = set()  # uploads that came outside the hours
        self._stated_ms = 0  # a moment of the first day that still needs its statement
        self._stated: set[str] = set()  # days after it that have theirs

    # -- what a profile says

    @abstractmethod
    def transmits(self, name: str) -> tuple[str, bool]:
        """Of a name that an upload was renamed to: its batch ("" = no upload), and whether the bank may act now."""

    @abstractmethod
    def uploads(self, day: Path) -> Iterator[Path]:
        """The uploads of a day on which the bank may act."""

    @abstractmethod
    def batch_of(self, path: Path) -> str:
        """The batch that an upload is filed under, from its name alone."""

    @abstractmethod
    def read(self, empty: Upload, path: Path) -> Upload:
        """The upload with its lines. Raises Refused."""

    @abstractmethod
    def judge(self, path: Path, upload: Upload, transmission: int, fault: str | None) -> tuple[int, str, str]:
        """Take or refuse a readable upload: its number, the verdict, the code to acknowledge ("" = was answered)."""

    @abstractmethod
    def acknowledge(self, path: Path, batch: str, n: int, code: str) -> None:
        """Answer an upload as a whole."""

    @abstractmethod
    def state(self, date: str) -> None:
        """Write the statement of a day that has ended, if anything moved on it."""

    @abstractmethod
    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None: ...

    @abstractmethod
    def restore_results(self) -> None:
        """Go on numbering where the ledger stopped."""

    def host_reference(self, number: int, post_date: str) -> str:
        return f"H{post_date}{number:06d}"

    # -- uploads

    async def watch(self) -> None:
        """Look for uploads, for ever."""
        while True:
            self.scan()
            self.close_days()
            try:
                await asyncio.wait_for(self.arrived.wait(), self.access.poll_real_milliseconds / 1000)
            except TimeoutError:
                continue
            self.arrived.clear()

    def scan(self) -> None:
        self.tree.open_day()
        for day in sorted(self.tree.inbox.iterdir()):
            if day.is_dir():
                for path in self.uploads(day):
                    if self.limits.closed_ms:
                        self._let_lie(path)
                    else:
                        self._take(path)

    def _let_lie(self, path: Path) -> None:
        """No code says "closed": a bank that takes nothing outside its hours looks at the upload when it opens."""
        if path not in self._lying:
            self._lying.add(path)
            self.book.fault(OUTSIDE_HOURS, self.batch_of(path))
            self.book.commit()

    def _take(self, path: Path) -> None:
        payload = path.read_bytes()
        batch = self.batch_of(path)
        transmission = self.book.transmission(batch)
        fault = self.book.programme.submission(batch, transmission)
        source = f"/{self.tree.inbox.name}/{path.parent.name}/{path.name}"
        empty = Upload(batch, source, payload, hashlib.sha256(payload).hexdigest(), "", "", 0, [])
        try:
            upload = self.read(empty, path)
        except Refused as refused:
            n, verdict = self.book.arrive(empty, transmission, "refused", refused.code, fault), "refused"
            self.acknowledge(path, batch, n, refused.code)
        else:
            n, verdict, code = self.judge(path, upload, transmission, fault)
            if code and fault != "ack_missing" and (fault != "ack_late" or verdict != "taken"):
                self.acknowledge(path, batch, n, code)
        self.book.after_commit(lambda: self.tree.take_away(path, n, verdict))
        self.book.commit()

    def withhold(self, path: Path, batch: str, n: int, fault: str | None) -> None:
        """Of a taken upload: log a fault of its acknowledgement, and put a late one on the clock."""
        if fault in ("ack_missing", "ack_late"):
            self.book.fault(fault, batch, n)
        if fault == "ack_late":
            due = self.book.now_ms() + self.book.programme.config.ack_late_seconds * 1000
            self.book.at(due, lambda _: self.acknowledge(path, batch, n, self.taken_code))

    # -- after a restart

    def restore(self) -> None:
        """Finish what a kill interrupted between the ledger and the tree; call before anybody can connect."""
        rows = self.book.ledger.rows
        moved = {detail for (detail,) in rows("SELECT detail FROM deliveries WHERE how = 'moved'")}
        acknowledged = {n for (n,) in rows("SELECT submission FROM artefacts WHERE channel = 'ack'")}
        self.restore_results()
        for n, batch, source, verdict, fault in list(rows("SELECT n, batch, source, verdict, fault FROM submissions")):
            path = self.tree.root / source.lstrip("/")
            if str(n) not in moved:
                self.tree.take_away(path, n, verdict)
            if n not in acknowledged and verdict == "taken" and fault != "ack_missing":
                self.acknowledge(path, batch, n, self.taken_code)
        self._restore_days()
        self.book.commit()
        self.tree.republish()

    def _restore_days(self) -> None:
        rows = self.book.ledger.rows
        names = rows("SELECT name FROM artefacts WHERE channel = 'statement' AND sound = 1")
        self._stated = {PurePosixPath(name).stem[-8:] for (name,) in names}
        moved = {day for table in ("credits", "returns") for (day,) in rows(f"SELECT DISTINCT post_date FROM {table}")}
        (first,) = next(rows("SELECT min(at_ms) FROM submissions"))
        self._stated_ms = first or self.book.now_ms()
        open_days = moved - self._stated
        if self._stated:
            day = min(open_days, default=max(self._stated))
            start = dt.datetime.strptime(day, "%Y%m%d").replace(tzinfo=clock.SHANGHAI)
            self._stated_ms = round(start.timestamp() * 1000)

    # -- statements

    def close_days(self) -> None:
        """Write the statement of every day that has ended and has none."""
        while self.book.config.statements and compact(self._stated_ms) < compact(self.book.now_ms()):
            date = compact(self._stated_ms)
            if date not in self._stated:
                self.state(date)
            self._stated_ms += DAY_MS
