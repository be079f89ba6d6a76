"""A file bank's tree: where uploads lie, and how answers are put into it so that a kill loses none of them.

The gateway writes below one side of it and the bank below the other; what the sides are called is the profile's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bank.book import Book
from tests.bank.timing import compact

Seal = Callable[[str, bytes], "bytes | None"]  # channel and body -> the content of the `.ok` beside it, if it has one


def unsealed(channel: str, body: bytes) -> None:
    """No seals: a file is whole when it is there."""


class Tree:
    """`sftp/{inbox}/{date}` (the gateway writes) and `sftp/{outbox}/{date}` (the bank writes)."""

    def __init__(self, book: Book, inbox: str, outbox: str, seal: Seal = unsealed) -> None:
        self.book = book
        self.seal = seal
        self.root = book.config.directory / "sftp"
        self.inbox, self.outbox = self.root / inbox, self.root / outbox
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
        for side in (self.inbox, self.outbox):
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
        target = self.outbox / name
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
            self.write(number, name, body, self.seal(channel, body))

    def take_away(self, upload: Path, n: int, verdict: str) -> None:
        """Move an upload that was acted on, with its `.ok` if it has one, out of the gateway's way."""
        place = upload.parent / ("refused" if verdict == "refused" else "taken")
        place.mkdir(exist_ok=True)
        for path in (upload.with_name(upload.name + ".ok"), upload):
            if path.exists():
                path.replace(place / path.name)
        self.book.delivered(0, "moved", str(n))
