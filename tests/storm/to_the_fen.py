"""Signed lines, the banks' ledgers and the receipts side by side, person by person, to the fen.

Not the checker, and none of its reading: where the two agree, two programs have counted. It speaks of a run without
faults only, in which every signed line is to be paid once, at the bank that its list names, and told of once. What is
found is counted by kind; nobody is named.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bank.ledger import read_only
from tests.storm.street import BANK_NUMBERS

PLACES = {number: bank for bank, number in BANK_NUMBERS.items()}
# A credit beside the line that it paid: what the bank was asked for, and what it did.
CREDITED = """
SELECT lines.id_no, lines.name, lines.account, lines.amount_fen, credits.account, credits.amount_fen, credits.reference
FROM credits JOIN lines ON lines.submission = credits.submission AND lines.line = credits.line
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A signed line."""

    batch: str
    line: int
    bank: str
    name: str
    account: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Paid:
    """A credit in a bank's ledger."""

    bank: str
    name: str
    accounts: frozenset[str]  # of the line that arrived, and of the booking
    amounts_fen: frozenset[int]  # likewise
    credited_fen: int
    reference: str


@dataclass(slots=True)
class Sides:
    """The three sides, each read from its own disk."""

    due: dict[str, Due]  # by ID number
    paid: dict[str, list[Paid]] = field(default_factory=lambda: defaultdict(list))  # by ID number
    sent: Counter[str] = field(default_factory=Counter)  # lines that arrived at a bank, by ID number
    returns: int = 0
    told: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def totals_fen(self) -> dict[str, int]:
        """What each side adds up to."""
        return {
            "signed_fen": sum(due.amount_fen for due in self.due.values()),
            "credited_fen": sum(one.credited_fen for found in self.paid.values() for one in found),
            "told_fen": sum(
                fen(one["amount"]) for found in self.told.values() for one in found if one["outcome"] == "credited"
            ),
        }

    def payouts_at(self) -> dict[str, int]:
        """Credits by bank."""
        return dict(sorted(Counter(one.bank for found in self.paid.values() for one in found).items()))


def fen(amount: str) -> int:
    """``"123.45"`` as 12345; ValueError for anything that is not written so."""
    yuan, point, cents = amount.partition(".")
    if not point or len(cents) != 2:
        raise ValueError("not an amount with two decimals")
    return int(yuan) * 100 + int(cents)


def read(directory: Path) -> Sides:
    """All three sides of the world in ``directory``."""
    sides = Sides(dict(_signed(directory / "desk" / "inputs")))
    for bank in BANK_NUMBERS:
        with closing(read_only(directory / bank)) as ledger:
            for person, name, asked, asked_fen, account, credited_fen, reference in ledger.execute(CREDITED):
                accounts, amounts = frozenset((asked, account)), frozenset((asked_fen, credited_fen))
                sides.paid[person].append(Paid(bank, name, accounts, amounts, credited_fen, reference))
            sides.sent.update(person for (person,) in ledger.execute("SELECT id_no FROM lines"))
            sides.returns += ledger.execute("SELECT count(*) FROM returns").fetchone()[0]
    seen: set[str] = set()
    with (directory / "desk" / "receipts.jsonl").open(encoding="utf-8") as file:
        for record in file:
            chunk = json.loads(json.loads(record)["value"])
            for receipt in chunk["receipts"]:
                if receipt["receipt_id"] not in seen:  # a repeat is the checker's to compare
                    seen.add(receipt["receipt_id"])
                    sides.told[chunk["batch_id"], receipt["line"]].append(receipt)
    return sides


def _signed(directory: Path) -> Iterator[tuple[str, Due]]:
    for path in sorted(directory.glob("*.batch")):
        part = json.loads(path.read_bytes())
        for item in part["items"]:
            where = PLACES[item["bank_no"]]
            amount = fen(item["amount"])
            yield item["id_no"], Due(part["batch_id"], item["line"], where, item["name"], item["account"], amount)


def differences(sides: Sides) -> dict[str, int]:
    """What is not as it was signed, by kind; empty when every side says the same of everybody."""
    found: Counter[str] = Counter()
    for person, due in sides.due.items():
        paid = sides.paid.get(person, [])
        told = sides.told.get((due.batch, due.line), [])
        found.update(_payment(due, paid, sides.sent[person]))
        found.update(_word(due, paid, told))
    found["paid to nobody on a list"] += len(sides.paid.keys() - sides.due.keys())
    found["sent for nobody on a list"] += len(sides.sent.keys() - sides.due.keys())
    found["told of nothing signed"] += len(sides.told.keys() - {(due.batch, due.line) for due in sides.due.values()})
    found["came back"] += sides.returns
    found["sides that add up to another sum"] += len(set(sides.totals_fen().values())) - 1
    return {kind: count for kind, count in found.items() if count}


def _payment(due: Due, paid: list[Paid], sent: int) -> Iterator[str]:
    if sent != 1:
        yield "sent more than once" if sent else "never sent"
    if len(paid) != 1:
        yield "paid more than once" if paid else "not paid"
    for one in paid:
        if one.bank != due.bank:
            yield "paid at another bank"
        if one.name != due.name:
            yield "paid under another name"
        if one.accounts != {due.account}:
            yield "paid to another account"
        if one.amounts_fen != {due.amount_fen}:
            yield "paid another amount"


def _word(due: Due, paid: list[Paid], told: list[dict[str, Any]]) -> Iterator[str]:
    if len(told) != 1:
        yield "told more than once" if told else "not told"
    for one in told:
        if one["outcome"] != "credited":
            yield "told to be not paid"
        if fen(one["amount"]) != due.amount_fen:
            yield "told of another amount"
        if paid and one["reference"] not in {each.reference for each in paid}:
            yield "told under another reference"
