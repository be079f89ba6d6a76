"""What finance signed, remembered by the model itself, and which attempts and payees may come of it.

An order acts while it is read, or never: it is *open* from the step in which a process reads it until that process is
done with it (one that stands still keeps it). Nothing here asks the gateway's tables what was ordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.states import State
from tests.store import kit
from tests.storm.model.bank import TruthBank
from tests.storm.model.books import Books
from tests.storm.model.world import Process
from tests.world.checker.lines import same_name

OVER = frozenset({State.REJECTED, State.RETURNED, State.NOT_EXECUTED})
Payee = tuple[str, str]  # account, name
NAMES = ("测试甲", "测试乙", "测试丙")


def account_of(line: int, version: int = 0) -> str:
    """An account of a line: the bank of the model knows the line by its last twelve digits."""
    return f"629999{version}{line:012d}"


@dataclass(eq=False, slots=True)
class Signed:
    """One order. ``due``: nothing stands against it, so it has to act."""

    kind: str
    line: int | None  # None, and no attempt: all of the list
    attempt: int | None
    details: dict[str, str]
    due: bool = False
    reader: Process | None = None


@dataclass
class Finance:
    """Of one example."""

    open: list[Signed] = field(default_factory=list)
    payees: dict[tuple[int, int], set[Payee]] = field(default_factory=dict)  # by attempt; two clerks may be at it
    _versions: int = 0
    _travelled: int = 0  # how many of the bank's lines were looked at

    def correction(self, line: int, which: int) -> dict[str, str]:
        """What changed after a re-verification: an account (1), a name as well (2), or nothing."""
        if which not in (1, 2):
            return {}
        self._versions += 1
        details = {"account": account_of(line, 1 + self._versions % 9)}
        return details if which == 1 else {**details, "name": NAMES[self._versions % len(NAMES)]}

    def sign(self, kind: str, line: int | None, attempt: int | None, details: dict[str, str], books: Books) -> Signed:
        signed = Signed(kind, line, attempt, details)
        if line is not None and attempt is not None:
            over = books.states.get((line, attempt)) in OVER - {State.NOT_EXECUTED}
            payout = books.payouts[line]
            untouched = not payout["waits_for_people"] and payout["cancelled_at"] is None
            signed.due = over and untouched and attempt == books.latest(line)
        self.open.append(signed)
        return signed

    @staticmethod
    def was_read(signed: Signed, reader: Process, *, at_once: bool) -> None:
        """``at_once``: the reader did nothing else before and is done, so that what was due when it was signed was."""
        signed.reader = reader
        signed.due = signed.due and at_once

    def faults(self, before: Books, now: Books, bank: TruthBank) -> Iterator[str]:
        """An attempt that nobody ordered, an order that was in order and did nothing, money for another payee."""
        for line, number in sorted(now.states.keys() - before.states.keys()):
            yield from self._attempt_faults(line, number, now)
        for signed in self.open:
            if signed.due and not self._acted(signed, now):
                yield f"{signed.kind} of attempt {signed.attempt} of line {signed.line} was in order and did nothing"
        attempts = {row["reference"]: key for key, row in now.attempts.items()}
        for item in bank.items[self._travelled :]:
            key = attempts.get(item.reference, (item.line, 0))  # 0: under a reference of no attempt
            account, name = item.payee
            payees = self.payees.get(key, set()) if key is not None else set()
            if not any(account == one and same_name(name, other) for one, other in payees):
                yield f"AC: attempt {key} of line {item.line} travelled with details that finance did not sign for it"
        self._travelled = len(bank.items)
        self.open = [one for one in self.open if one.reader is not None and one.reader.life.still]

    def _attempt_faults(self, line: int, number: int, now: Books) -> Iterator[str]:
        if number == 1:
            self.payees[line, 1] = {(account_of(line), kit.line(line)["name"])}
            return
        before = self.payees.get((line, number - 1), set())
        orders = [one for one in self.open if (one.kind, one.line, one.attempt) == ("REISSUE", line, number - 1)]
        last = now.states.get((line, number - 1))
        self.payees[line, number] = {
            (one.details.get("account", account), one.details.get("name", name))
            for one in orders
            for account, name in before
        }
        if last not in OVER:
            yield f"UB: attempt {number} of line {line} although the one before it is {last}"
        elif last is State.NOT_EXECUTED:  # the bank never took it: the gateway tries again by itself
            self.payees[line, number] |= before
        elif not orders:
            yield f"UB: attempt {number} of line {line}, and no order about attempt {number - 1} was being read"

    @staticmethod
    def _acted(signed: Signed, now: Books) -> bool:
        if signed.kind == "REISSUE":
            return (signed.line, (signed.attempt or 0) + 1) in now.states
        return signed.line is None or now.payouts[signed.line]["cancelled_at"] is not None
