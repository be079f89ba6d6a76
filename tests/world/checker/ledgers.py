"""What the banks did: their ledgers as events a payout, in the order in which they happened.

Times of different banks are compared by the clock they share; within one bank its own numbering decides. The schema is
the one that `tests/bank/README.md` documents, read here by hand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The line statuses after which a payout may travel again.
CLEARS_LINE = frozenset({"REJECTED", "RETURNED", "ABSENT", "NOT_TAKEN"})
HAS_IT = frozenset({"RECEIVED", "IN_PROCESS", "ACCEPTED"})
AT_ONCE = frozenset({"reply", "query"})  # channels whose answer is delivered as it is given


@dataclass(frozen=True, slots=True)
class Transmission:
    """Bytes with this line in them, on which the bank could act."""

    bank: int
    n: int
    at_ms: int
    wall_ms: int
    batch: str
    verdict: str
    reference: str
    account: str
    name: str
    id_no: str
    amount_fen: int
    programme: str
    period: str
    plan: str


@dataclass(frozen=True, slots=True)
class Movement:
    """Money moved: a credit, or a return."""

    bank: int
    n: int
    at_ms: int
    submission: int
    line: int
    amount_fen: int
    back: bool


@dataclass(frozen=True, slots=True)
class Answer:
    bank: int
    n: int
    at_ms: int
    wall_ms: int
    submission: int  # which it speaks of; 0 = none in particular
    status: str
    amount_fen: int | None
    channel: str
    artefact: str
    code: str = ""  # the bank's own


@dataclass(slots=True)
class Rail:
    """All that one bank knows under one reference."""

    bank: int
    reference: str
    transmissions: list[Transmission] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def credits(self) -> list[Movement]:
        return [one for one in self.movements if not one.back]

    @property
    def undecided(self) -> bool:
        return not self.movements and any(one.plan.startswith("pending_for_ever") for one in self.transmissions)

    @property
    def returns(self) -> list[Movement]:
        return [one for one in self.movements if one.back]


@dataclass(slots=True)
class Ledgers:
    names: list[str]
    rails: dict[tuple[int, str], Rail] = field(default_factory=dict)
    whole: dict[tuple[int, str], list[Answer]] = field(default_factory=dict)  # answers about a whole submission
    delivered: dict[tuple[int, str], int] = field(default_factory=dict)  # artefact -> wall ms of its first delivery
    faults: dict[str, int] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)  # a bank's number -> its ledger's directory
    running: bool = False  # what was on its way when they were read is not written down yet

    def rail(self, bank: int, reference: str) -> Rail:
        return self.rails.setdefault((bank, reference), Rail(bank, reference))

    def clearing(self, rail: Rail, batch: str, submission: int) -> list[Answer]:
        """Answers that can prove one transmission to be over: about its line, about its batch, never about another.

        "Not taken", of a line or of the whole, speaks of the bytes it answers; an absence of all that came before it.
        That one line was not executed is a bank's last word on it, whatever it had said of the file. That it never had
        the file, after it had said that it has it, is none: one of the two is wrong, and nobody knows which.
        """
        whole = self.whole.get((rail.bank, batch), [])
        had = [one.n for one in whole if one.status in HAS_IT and one.submission == submission]
        said = [one for one in rail.answers if one.status in CLEARS_LINE]
        said += [one for one in whole if one.status == "NOT_TAKEN"]
        said += [one for one in whole if one.status == "ABSENT" and not any(n < one.n for n in had)]
        return [one for one in said if one.status != "NOT_TAKEN" or one.submission == submission]

    def over(self, rail: Rail, wall_ms: int | None = None) -> bool:
        """Whether the gateway had, by a real time if one is given, a proof for each transmission that it is over."""
        return all(
            any(sent.n < one.n and self.had(one, wall_ms) for one in self.clearing(rail, sent.batch, sent.n))
            for sent in rail.transmissions
        )

    def negative(self, rail: Rail) -> list[Answer]:
        """Answers by which an attempt is over and unpaid: about its line, or about a whole that it travelled in."""
        said = [one for one in rail.answers if one.status in CLEARS_LINE]
        for batch in {sent.batch for sent in rail.transmissions}:
            said += [one for one in self.whole.get((rail.bank, batch), []) if one.status in CLEARS_LINE]
        return said

    def keeps(self, bank: int, bank_no: str) -> bool:
        """Whether this is the bank that pays accounts under a number; also where nobody has said which one does."""
        agreed = self.routes.get(bank_no)
        return agreed is None or self.names[bank].startswith(f"{agreed}/")

    def had(self, answer: Answer, wall_ms: int | None) -> bool:
        """Whether the gateway had this answer in its hands at all, and by a real time, where there is one.

        A callback is acknowledged after it was taken, and again when the first acknowledgement was lost: that it came
        is known, not when; and of one that was made a moment ago, not even that.
        """
        heard_ms = self.delivered_ms(answer)
        if answer.channel == "callback":
            return heard_ms is not None or self.running
        return heard_ms is not None and (wall_ms is None or heard_ms <= wall_ms)

    def delivered_ms(self, answer: Answer) -> int | None:
        """When the gateway had this answer in its hands; None when it never had."""
        if answer.channel in AT_ONCE:
            return answer.wall_ms
        return self.delivered.get((answer.bank, answer.artefact))


def read(paths: Iterable[Path], routes: Mapping[str, str], *, running: bool = False) -> Ledgers:
    """The banks' ledgers; each bank is named by its directory, as in ``routes``."""
    listed = list(paths)
    ledgers = Ledgers([f"{path.parent.name}/{path.name}" for path in listed], routes=routes, running=running)
    for bank, path in enumerate(listed):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            _read_one(ledgers, bank, database)
        database.close()
    return ledgers


def _read_one(ledgers: Ledgers, bank: int, database: sqlite3.Connection) -> None:
    for row in database.execute(
        "SELECT s.n, s.at_ms, s.wall_ms, s.batch, s.verdict, l.reference, l.account, l.name, l.id_no, l.amount_fen,"
        " l.programme, l.period, l.plan FROM lines l JOIN submissions s ON s.n = l.submission ORDER BY s.n"
    ):
        ledgers.rail(bank, row[5]).transmissions.append(Transmission(bank, *row))
    for table, back in (("credits", False), ("returns", True)):
        for row in database.execute(
            f"SELECT n, at_ms, submission, line, amount_fen, reference FROM {table} ORDER BY n"
        ):
            ledgers.rail(bank, row[5]).movements.append(Movement(bank, row[0], row[1], row[2], row[3], row[4], back))
    for *row, line, reference, batch in database.execute(
        "SELECT n, at_ms, wall_ms, submission, status, amount_fen, channel, artefact, coalesce(code, ''), line,"
        " reference, batch FROM answers ORDER BY n"
    ):
        answer = Answer(bank, *row)
        if line:
            ledgers.rail(bank, reference).answers.append(answer)
        else:
            ledgers.whole.setdefault((bank, batch), []).append(answer)
    for name, wall_ms in database.execute(
        "SELECT a.name, min(d.wall_ms) FROM deliveries d JOIN artefacts a ON a.id = d.artefact"
        " WHERE d.how IN ('read', 'acknowledged') GROUP BY a.name"
    ):
        ledgers.delivered[bank, name] = wall_ms
    for fault, count in database.execute("SELECT fault, count(*) FROM faults GROUP BY fault"):
        ledgers.faults[fault] = ledgers.faults.get(fault, 0) + count
    for rail in ledgers.rails.values():
        rail.movements.sort(key=lambda one: one.n)
