"""What must be true of a month: the books against each other and the bank, rest, and the independent checker."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.states import OPEN, State
from tests.storm.model.books import Books, faults_at_rest, faults_of
from tests.storm.simulation.bank import SimulatedBank
from tests.storm.simulation.finance import LINES_A_LIST, batch_id
from tests.storm.simulation.obedience import NEVER, Obedience
from tests.world.checker import inputs, receipts, rules, stories
from tests.world.checker.lines import Tables

if TYPE_CHECKING:
    from tests.storm.simulation.month import Month

HOUR = dt.timedelta(hours=1)
HOLDS = "SELECT a.reference, s.hold_at FROM attempts a JOIN submissions s USING (submission_id)"
HISTORY = "SELECT batch_no, seq, at, event, body, hash FROM history ORDER BY 1, 2"
TOPICS = ("receipts", "batch-reports", "refusals")
OWED = ("no receipt at all", "no final receipt", "was answered by nothing")  # of what people still have to decide


@dataclass
class Outcome:
    """What one seed came to. ``digest`` is of everything that happened, to the millisecond."""

    seed: int
    digest: str = ""
    faults: list[str] = field(default_factory=list)
    payouts: int = 0
    transmissions: int = 0
    returns: int = 0
    reissues: int = 0
    held: int = 0
    conflicts: int = 0
    fired: dict[str, int] = field(default_factory=dict)
    rest_hours: int = 0
    transactions: int = 0


class Verdict:
    """Of one month; it collects what is wrong in ``outcome.faults``."""

    def __init__(self, month: Month, seed: int, keys: bytes, tables: Tables) -> None:
        self._month = month
        self._keys = keys
        self._tables = tables
        self.outcome = Outcome(seed)
        self.books: dict[int, Books] = {}

    async def check(self) -> None:
        """The books against each other and against the bank, at any moment."""
        async with self._month.turn.held() as witness:
            for row in await witness.fetch("SELECT batch_no, batch_id FROM batches"):
                self._month.lists[row["batch_no"]] = int(row["batch_id"][-4:])
            for batch_no, number in self._month.lists.items():
                now = await Books.read(witness, batch_no)
                before = self.books.get(batch_no, Books())
                self._complain(number, faults_of(before, now, self._of_list(number)))
                self.books[batch_no] = now

    def _complain(self, number: int, faults: Iterator[str]) -> None:
        for fault in faults:
            text = f"list {number}: {fault}"
            if text not in self.outcome.faults:
                self.outcome.faults.append(text)

    def _of_list(self, number: int) -> Any:
        return BankOfList(list(self._month.banks.values()), number)

    async def judge(self) -> None:
        for _ in range(60):
            await self.check()
            waiting = await self._undone()
            if not waiting:
                break
            late = [text for text, hold_at in waiting if hold_at is None or hold_at + HOUR < self._month.clock.now()]
            if late:
                self.outcome.faults += [f"not at rest: {text}" for text in late]
                break
            await self._month.until(
                min((h - self._month.clock.begin).total_seconds() for _, h in waiting if h is not None) + 600
            )
        self._month.sweep()
        await asyncio.sleep(30)
        await self.check()
        for batch_no, number in self._month.lists.items():
            self._complain(number, faults_at_rest(self.books[batch_no], self._of_list(number)))
        self.outcome.rest_hours = int((self._month.loop.time() - self._month.storm_seconds) // 3600)
        await self._checked()
        await self._count()

    async def _undone(self) -> list[tuple[str, dt.datetime | None]]:
        """What is not at rest, and when it will be by itself (None: it should be)."""
        found: list[tuple[str, dt.datetime | None]] = []
        async with self._month.turn.held() as witness:
            holds = {row[0]: row[1] for row in await witness.fetch(HOLDS)}
        for batch_no, books in self.books.items():
            for key, state in books.states.items():
                row = books.attempts[key]
                if state in OPEN and state is not State.HELD and row["live"] and key[0] not in books.frozen:
                    doubtful = state is State.IN_DOUBT
                    found.append(
                        (
                            f"{batch_id(self._month.lists[batch_no])}{key} {state}",
                            holds[row["reference"]] if doubtful else None,
                        )
                    )
            if books.count.payouts["queued"] and not found:
                found.append((f"list {self._month.lists[batch_no]} has queued payouts", None))
        if self._month.broker.waits:
            found.append(("records are not consumed", None))
        return found

    async def _checked(self) -> None:
        """The independent checker, from the signed inputs, the banks' ledgers and the receipts alone."""
        resting = {
            f"{batch_id(self._month.lists[no])}/{line}"
            for no, books in self.books.items()
            for (line, number), state in books.states.items()
            if state is State.HELD or line in books.frozen
        }
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            self._month.finance.write_down(directory, self._keys)
            values = {
                topic: "".join(
                    json.dumps({"value": v.decode()}) + "\n" for t, _, v in self._month.broker.published if t == topic
                )
                for topic in TOPICS
            }
            for topic, text in values.items():
                (directory / topic).write_text(text)
            told = receipts.read(*(directory / topic for topic in values))
            approved = inputs.read(directory, told, tables=self._tables)
        joined = stories.join(approved, self._month.ledgers, told)
        finance = self._month.finance
        obedience = Obedience(self._month.broker, int(self._month.clock.begin.timestamp() * 1000), finance.recalls)
        self.outcome.faults += [fault for story in joined.stories for fault in obedience.faults(story)]
        self.outcome.fired.update(obedience.seen)
        frozen = sum(len(books.frozen) for books in self.books.values())
        # When a record was read the simulated Kafka knows, and `Obedience` asks it.
        verdict = rules.judge(joined, self._month.ledgers, told, frozen=frozen, read_within_ms=NEVER)
        for finding in verdict.findings:
            owed = finding.counter == "MP" or any(words in finding.what for words in OWED)
            if not (owed and finding.subject in resting):
                self.outcome.faults.append(f"checker: {finding.counter} {finding.subject}: {finding.what}")
        self.outcome.faults += [f"checker: {problem}" for problem in verdict.problems]

    async def _count(self) -> None:
        out, digest = self.outcome, hashlib.sha256()
        async with self._month.turn.held() as witness:
            for row in await witness.fetch(HISTORY):
                digest.update(repr(tuple(row)).encode())
        for record in self._month.broker.published:
            digest.update(repr(record).encode())
        for rail in self._month.ledgers.rails.values():
            digest.update(repr(rail).encode())
            out.transmissions += len(rail.transmissions)
            out.returns += len(rail.returns)
        digest.update(repr((self._month.turn.count, self._month.loop.time())).encode())
        out.digest = digest.hexdigest()
        out.fired["line"] = self._month.lines_lost()
        out.transactions = self._month.turn.count
        for books in self.books.values():
            out.payouts += len(books.payouts)
            out.reissues += sum(number > 1 for _, number in books.states)
            out.held += sum(s is State.HELD and books.attempts[k]["live"] for k, s in books.states.items())
            out.conflicts += len(books.frozen)
        for bank in self._month.banks.values():
            for fault, count in bank.faults.items():
                out.fired[fault] = out.fired.get(fault, 0) + count


class BankOfList:
    """The bank as the books of one list see it: their lines alone, under their own numbers."""

    def __init__(self, banks: Sequence[SimulatedBank], number: int) -> None:
        bank = banks[0]  # items, violations and broken words are one for all
        low = number * LINES_A_LIST
        self._lines = range(low + 1, low + LINES_A_LIST)
        self._low = low
        self.violations = bank.violations
        self._items = [item for item in bank.items if item.line in self._lines]
        self.items = [_Named(item.line - low, item) for item in self._items]
        self.broken = {line - low for line in bank.broken if line in self._lines}
        self._banks = banks

    def has_told(self, line: int) -> bool:
        """Whether anybody heard of the word that broke: one that nobody heard freezes nothing."""
        return any(bank.heard_otherwise(line + self._low) for bank in self._banks)

    def net(self, line: int) -> int:
        return sum(item.net for item in self._items if item.line == line + self._low)


@dataclass
class _Named:
    line: int
    item: Any
