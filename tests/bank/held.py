"""A bank inside the test's own process, its clock held by hand: for tests of the book and the desks of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand
from tests.bank.book import Book
from tests.bank.config import parse
from tests.bank.file_desk import FileDesk
from tests.bank.ledger import Ledger, Row
from tests.bank.programme import Programme
from tests.bank.rcc_desk import RccDesk
from tests.bank.restore import load, resume
from tests.world import clock

TUESDAY_TEN_MS = 1_795_485_600_000  # 2026-11-24T10:00:00+08:00
HOUR_SECONDS = 3600
PROCESSING_SECONDS = 60


class HeldBank:
    """A file bank without its SFTP server; `wait` moves the clock, `crash` forgets everything but the disk."""

    profile = "rcc_file"
    desk: FileDesk

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.directory = directory
        self.at_ms = TUESDAY_TEN_MS
        monkeypatch.setattr(clock, "now_ms", lambda: self.at_ms)
        self._settings: dict[str, Any] = {
            "profile": self.profile,
            "directory": str(directory),
            "synchronous": "OFF",
            "processing_seconds": PROCESSING_SECONDS,
            **settings,
        }
        self.open()

    def open(self) -> None:
        config = parse(self._settings, self.directory)
        self.ledger = Ledger(config.directory, config.synchronous)
        self.book = Book(config, self.ledger, Programme(config.seed, config.programme, config.profile))
        self.book.desk = self.desk = self.new_desk()
        load(self.book)
        self.desk.restore()
        resume(self.book)

    def new_desk(self) -> FileDesk:
        return RccDesk(self.book)

    def drop(self, batch: str, lines: list[hand.Payment]) -> None:
        """Put an upload where SFTP would have put it."""
        hand.drop(self.directory, batch, hand.batch_file(batch, lines))

    def crash(self, **settings: Any) -> None:
        """End without a word and start again on the same disk."""
        self.ledger.close(sound=False)
        self._settings |= settings
        self.open()

    def send(self, number: int, lines: list[hand.Payment]) -> str:
        """Upload a batch and let the desk look; returns its number."""
        batch = hand.batch_number(number)
        self.drop(batch, lines)
        self.desk.scan()
        return batch

    def wait(self, seconds: int = PROCESSING_SECONDS) -> None:
        """Let virtual time pass, in steps as a real bank would see it."""
        end = self.at_ms + seconds * 1000
        while self.at_ms < end:
            self.at_ms = min(self.at_ms + 600_000, end)
            while self.book.pass_due():
                pass
            self.desk.close_days()

    def rows(self, query: str, *arguments: Any) -> list[Row]:
        self.book.commit()
        return list(self.ledger.rows(query, arguments))

    def column(self, query: str, *arguments: Any) -> list[Any]:
        return [row[0] for row in self.rows(query, *arguments)]

    def files(self, ending: str = ".res") -> dict[str, bytes]:
        """What stands under /down by name, in the order of the names."""
        paths = sorted((self.directory / "sftp" / "down").glob(f"*/*{ending}"), key=lambda path: path.name)
        return {path.name: path.read_bytes() for path in paths}

    def statuses(self, number: int = 1) -> list[list[str]]:
        """The statuses of each result file of a batch, in the order of the file names."""
        return [
            [row.split("|")[5] for row in body.decode("gb18030").split("\r\n") if row.startswith("D|")]
            for name, body in self.files().items()
            if hand.batch_number(number) in name
        ]


def held_banks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[HeldBank] = HeldBank) -> Iterator[Any]:
    """A factory of held banks; the body of a fixture."""
    made: list[HeldBank] = []

    def make(**settings: Any) -> HeldBank:
        made.append(kind(tmp_path / f"bank{len(made)}", monkeypatch, **settings))
        return made[-1]

    yield make
    for bank in made:
        bank.ledger.close()
