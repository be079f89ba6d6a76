"""A bank inside the test's own process, its clock held by hand: for tests of the book and of the desks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.bank import certificates, hand
from tests.bank.book import Book, Desk
from tests.bank.config import parse
from tests.bank.file_desk import FileDesk
from tests.bank.ledger import Ledger, Row
from tests.bank.programme import Programme
from tests.bank.rcc_desk import RccDesk
from tests.bank.restore import load, resume
from tests.bank.xml_answers import Outcome
from tests.bank.xml_desk import XmlDesk
from tests.world import clock

TUESDAY_TEN_MS = 1_795_485_600_000  # 2026-11-24T10:00:00+08:00
HOUR_SECONDS = 3600
PROCESSING_SECONDS = 60


class Held(ABC):
    """A bank without its server; `wait` moves the clock, `crash` forgets everything but the disk."""

    profile: str

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
        self.book.desk = self.sit_down()
        resume(self.book)

    @abstractmethod
    def sit_down(self) -> Desk:
        """A desk for the new book, both restored."""

    @abstractmethod
    def look_around(self) -> None:
        """What a bank does from time to time beside its book."""

    def crash(self, **settings: Any) -> None:
        """End without a word and start again on the same disk."""
        self.ledger.close(sound=False)
        self._settings |= settings
        self.open()

    def wait(self, seconds: int = PROCESSING_SECONDS) -> None:
        """Let virtual time pass, in steps as a real bank would see it."""
        end = self.at_ms + seconds * 1000
        while self.at_ms < end:
            self.at_ms = min(self.at_ms + 600_000, end)
            while self.book.pass_due():
                pass
            self.look_around()

    def rows(self, query: str, *arguments: Any) -> list[Row]:
        self.book.commit()
        return list(self.ledger.rows(query, arguments))

    def column(self, query: str, *arguments: Any) -> list[Any]:
        return [row[0] for row in self.rows(query, *arguments)]


class HeldBank(Held):
    """A file bank."""

    profile = "rcc_file"

    def sit_down(self) -> Desk:
        self.desk = self.new_desk()
        load(self.book)
        self.desk.restore()
        return self.desk

    def new_desk(self) -> FileDesk:
        return RccDesk(self.book)

    def look_around(self) -> None:
        self.desk.close_days()

    def drop(self, batch: str, lines: list[hand.Payment]) -> None:
        """Put an upload where SFTP would have put it."""
        hand.drop(self.directory, batch, hand.batch_file(batch, lines))

    def send(self, number: int, lines: list[hand.Payment]) -> str:
        """Upload a batch and let the desk look; returns its number."""
        batch = hand.batch_number(number)
        self.drop(batch, lines)
        self.desk.scan()
        return batch

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


class HeldMachine(Held):
    """A front-end machine; documents are handed to its desk as they would come out of a frame."""

    profile = "xml_tcp"

    def sit_down(self) -> Desk:
        self.desk = XmlDesk(self.book)
        load(self.book)
        self.desk.restore()
        self.scribe = hand.Scribe(certificates.Certificates(self.directory).mac_key.read_bytes())
        return self.desk

    def look_around(self) -> None:
        """Everything of this bank is either in its book or asked for."""

    def put(self, document: bytes) -> Outcome:
        outcome = self.desk.answer(document)
        assert outcome is not None, "the bank hung up"
        return outcome

    def send(self, number: int, lines: list[hand.Payment], **changes: Any) -> hand.XmlReply:
        return self.scribe.read(self.put(self.scribe.batch(hand.batch_number(number), lines, **changes)).document)

    def ask(self, trade: str, **fields: str) -> hand.XmlReply:
        return self.scribe.read(self.put(self.scribe.question(trade, **fields)).document)


H = TypeVar("H", bound=Held)


def held_banks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[H] = HeldBank) -> Iterator[Any]:  # type: ignore[assignment]
    """A factory of held banks; the body of a fixture."""
    made: list[H] = []

    def make(**settings: Any) -> H:
        made.append(kind(tmp_path / f"bank{len(made)}", monkeypatch, **settings))
        return made[-1]

    yield make
    for bank in made:
        bank.ledger.close()
