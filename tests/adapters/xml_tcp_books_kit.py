"""The lists of a made-up bank of ``xml_tcp``, served page by page, and a collector that reads them as the core does."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.contract import Artefact, Evidence, Proof, Statement
from tests.adapters.xml_tcp_kit import BATCH, FrontEnd, Reply, Seen, World, world, xml

DAY = "20261124"


@dataclass
class Booking:
    """An item of a list of returns or of a statement."""

    number: int
    amount: str = "1500.00"
    kind: str = "C"
    code: str = "3056"
    day: str = "20261124"
    host: str = ""
    spoilt: bool = False

    def text(self, last: dict[str, str]) -> str:
        fields = {
            "BATCHNO": BATCH,
            "REF": f"01JDF7BCDEFGHJKMNPQRSTVW{self.number:02d}",
            "AMT": "1,500" if self.spoilt else self.amount,
            **last,
            "POSTDATE": self.day,
            "HOSTREF": self.host or f"{self.kind}{self.number}",
        }
        return f"<ITEM>{xml(**fields)}</ITEM>"


@dataclass
class Books:
    """The bank's own lists, served page by page. ``today`` is the first day that is not over."""

    today: dt.date = dt.date(2026, 11, 25)
    returns: list[Booking] = field(default_factory=list)
    days: dict[str, list[Booking]] = field(default_factory=dict)
    totals: dict[str, str] = field(default_factory=dict)  # a TOTALAMT that is not the sum

    def serve(self, bank: FrontEnd) -> None:
        bank.says("DF1004", self._returns)
        bank.says("DF1005", self._day)

    def _returns(self, seen: Seen) -> Reply:
        first = int(seen["START"]) - 1
        page = self.returns[first : first + int(seen["COUNT"])]
        items = "".join(entry.text({"CODE": entry.code, "MSG": "退票"}) for entry in page)
        return Reply(body=f"<BODY>{xml(TOTALNUM=str(len(self.returns)))}<LIST>{items}</LIST></BODY>")

    def _day(self, seen: Seen) -> Reply:
        if seen["DATE"] >= f"{self.today:%Y%m%d}":
            return Reply("2007")
        entries = self.days.get(seen["DATE"], [])
        if not entries:
            return Reply("1002")
        fen = sum(int(e.amount.replace(".", "")) * (1 if e.kind == "C" else -1) for e in entries)
        total = f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"
        first = int(seen["START"]) - 1
        items = "".join(e.text({"KIND": e.kind}) for e in entries[first : first + int(seen["COUNT"])])
        head = xml(
            PAYACC=seen["PAYACC"],
            DATE=seen["DATE"],
            TOTALNUM=str(len(entries)),
            TOTALAMT=self.totals.get(seen["DATE"], total),
        )
        return Reply(body=f"<BODY>{head}<LIST>{items}</LIST></BODY>")


@dataclass
class Collector:
    """Collects as the core does: artefact after artefact, keeping the cursor of each."""

    met: World
    books: Books
    cursor: str = ""
    kept: list[Artefact] = field(default_factory=list)

    async def round(self, stop_after: int | None = None) -> list[Artefact]:
        new: list[Artefact] = []
        async with self.met.transport.wire() as wire:
            async for artefact, cursor in self.met.adapter.collect(wire, self.cursor):
                self.cursor = cursor
                new.append(artefact)
                await self.met.adapter.settle(artefact, wire)
                if len(new) == stop_after:
                    break
            assert not wire.crossed
        self.kept += new
        return new

    async def rest(self) -> list[Artefact]:
        """Rounds until one gives nothing."""
        start = len(self.kept)
        while await self.round():
            pass
        return self.kept[start:]

    def evidence(self) -> list[Evidence]:
        return [one for artefact in self.kept for one in self.met.adapter.parse(artefact)]

    def statements(self) -> dict[str, Statement]:
        found = [self.met.adapter.statement(artefact) for artefact in self.kept]
        return {f"{one.day:%Y%m%d}": one for one in found if one is not None}

    def returned(self) -> list[str]:
        return [one.host_reference or "" for one in self.evidence() if one.proof is Proof.RETURNED]

    def asked(self, trade: str) -> list[Seen]:
        return [seen for seen in self.met.bank.seen if seen["TRCODE"] == trade]


@contextlib.asynccontextmanager
async def reading(folder: Path, books: Books | None = None, **more: Any) -> AsyncIterator[Collector]:
    """A bank with these lists, and a collector of small pages that has read nothing yet."""
    small = {"items_per_page": 3, "questions_per_collection": 60, "first_statement_days": 2}
    async with world(folder, **(small | more)) as met:
        collector = Collector(met, books or Books())
        collector.books.serve(met.bank)
        yield collector


@contextlib.asynccontextmanager
async def up_to_date(folder: Path) -> AsyncIterator[Collector]:
    """A collector that has read everything up to yesterday."""
    async with reading(folder) as collector:
        await collector.rest()
        collector.kept.clear()
        collector.met.bank.seen.clear()
        yield collector


def returns(*numbers: int, **more: Any) -> list[Booking]:
    return [Booking(number, kind="R", **more) for number in numbers]
