"""The file bank's tree: where uploads lie, and how answers are put into it so that a kill loses none of them."""

from __future__ import annotations

from pathlib import Path

from tests.bank.book import Book
from tests.bank.rcc_format import seal
from tests.bank.timing import compact


class Tree:
    """`sftp/up/{date}` (the gateway writes) and `sftp/down/{date}` (the bank writes)."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.root = book.config.directory / "sftp"
        self.up, self.down = self.root / "up", self.root / "down"
        self._workshop = book.config.directory / "unfinished"  # same disk, outside the tree: nobody lists it
        self._workshop.mkdir(parents=True, exist_ok=True)
        self.artefacts: dict[str, int] = {}  # date/name -> id, for the log of what was read
        self.hostile_listings = 0
        for number, name in book.ledger.rows("SELECT id, name FROM artefacts"):
            self.artefacts[name] = number
        self.open_day()

    def open_day(self) -> str:
        """Make today's directories; returns the bank's date."""
        day = compact(self.book.now_ms())
        for side in (self.up, self.down):
            (side / day).mkdir(parents=True, exist_ok=True)
        return day

    def keep(self, channel: str, name: str, batch: str, submission: int, sound: bool, body: bytes) -> int:
        """Keep an artefact in the ledger; `name` is date/file name."""
        number = self.book.artefact(channel, name, batch, submission, sound, body)
        self.artefacts[name] = number
        return number

    def write(self, artefact: int, name: str, body: bytes, ok: bytes | None) -> None:
        """Put a file, and then its `.ok`, into place; each appears whole."""
        self._place(name, body)
        if ok is not None:
            self._place(name + ".ok", ok)
        self.book.delivered(artefact, "published", name)

    def _place(self, name: str, body: bytes) -> None:
        unfinished = self._workshop / "file"
        unfinished.write_bytes(body)
        target = self.down / name
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(target)

    def publish_later(self, artefact: int, name: str, body: bytes, ok: bytes | None) -> None:
        """Write once the ledger has it."""
        self.book.after_commit(lambda: self.write(artefact, name, body, ok))

    def republish(self) -> None:
        """After a restart: sound files that the ledger has and the tree may not."""
        query = (
            "SELECT id, channel, name, body FROM artefacts WHERE sound = 1 AND id NOT IN"
            " (SELECT artefact FROM deliveries WHERE how = 'published')"
        )
        for number, channel, name, body in list(self.book.ledger.rows(query)):
            self.write(number, name, body, None if channel == "ack" else seal(body))

    def take_away(self, txt: Path, n: int, verdict: str) -> None:
        """Move an upload that was acted on out of the gateway's way."""
        place = txt.parent / ("refused" if verdict == "refused" else "taken")
        place.mkdir(exist_ok=True)
        for path in (txt.with_name(txt.name + ".ok"), txt):
            if path.exists():
                path.replace(place / path.name)
        self.book.delivered(0, "moved", str(n))
