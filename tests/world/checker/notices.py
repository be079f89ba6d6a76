"""What people were told by SMS, against what really happened to their money.

The centre's HTTP calls carry the gateway's own reference, ``<payout>-<attempt>-<kind>``. CMPP and SMPP have no field
for one: there a message is matched as its reader would do it, by the number it went to, the last digits of the account
and the amount it speaks of. What those leave open goes to a credited attempt, and to the one that has heard least.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.world.checker.ledgers import Rail
from tests.world.checker.stories import Joined, Story

COUNTED = ("messages", "twice", "wrong_number", "without_credit", "billed_receiver", "silent", "would_bill")
WRONG = ("wrong_number", "without_credit", "would_bill")
# Refusals of the centre that mean that somebody tried to bill the receiver, or to hear nothing of what became of it.
WOULD_BILL = frozenset({"BILLS_RECEIVER", "NO_REPORT", "MSG_FMT"})
REFERENCED = "HTTP"


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a message was for: a payout of the books, or None, and the attempt it speaks of."""

    payout: str
    story: Story | None
    attempt: int


@dataclass(slots=True)
class Words:
    """Finds the attempt that a text without a reference speaks of."""

    by_payout: dict[str, Story]
    known: dict[str, Named] = field(default_factory=dict)  # by the centre's name for the same words to the same number
    heard: Counter[tuple[str, int]] = field(default_factory=Counter)
    _by_number: dict[str, list[tuple[Named, str, str]]] = field(default_factory=dict)

    def named(self, ref: str, phone: str, text: str) -> Named:
        """The same words again speak of the same attempt."""
        if ref not in self.known:
            found = [
                one for one, tail, amount in self._numbers().get(phone, []) if _says(text, tail) and _says(text, amount)
            ]
            found.sort(key=lambda one: (not _credited(one), self.heard[one.payout, one.attempt]))
            self.known[ref] = found[0] if found else Named("", None, 0)
            self.heard[self.known[ref].payout, self.known[ref].attempt] += 1
        return self.known[ref]

    def _numbers(self) -> dict[str, list[tuple[Named, str, str]]]:
        if not self._by_number:
            for payout, story in self.by_payout.items():
                fen = story.payout.amount_fen
                for attempt in sorted({one.attempt for one in story.receipts} | {1}):
                    details = story.details(attempt)
                    one = Named(payout, story, attempt)
                    for account in {details.account, *_accounts(one)} - {""}:
                        entry = (one, account[-4:], f"{fen // 100}.{fen % 100:02d}")
                        self._by_number.setdefault(_mobile(details.phone), []).append(entry)
        return self._by_number


def judge(ledger: Path, joined: Joined, problems: list[str]) -> dict[str, int]:
    """Counts of the SMS centre's ledger. A notice to the wrong number or about no credit, and an attempt to send one
    that bills its receiver, are problems.

    A second copy is only counted: a provider without idempotency cannot always be spared one.
    """
    by_payout = {one.payout_id: story for story in joined.stories for one in story.receipts if one.payout_id}
    counts = dict.fromkeys(COUNTED, 0)
    heard: Counter[str] = Counter()
    reached: set[tuple[str, int]] = set()  # or refused, which no gateway can help
    words = Words(by_payout)
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT ref, phone, text, code, billed, protocol FROM messages ORDER BY n").fetchall()
        codes = database.execute("SELECT code FROM events WHERE kind = 'CALL'").fetchall()
    database.close()
    for ref, phone, text, code, billed, protocol in rows:
        named = _by_reference(ref, by_payout) if protocol == REFERENCED else words.named(ref, phone, text)
        if not ref.endswith("-CORRECTION"):
            reached.add((named.payout, named.attempt))
        if code != "OK":
            continue
        story = named.story
        heard[ref] += 1
        counts["messages"] += 1
        counts["billed_receiver"] += billed == "RECEIVER"
        counts["wrong_number"] += story is None or phone != _mobile(story.details(named.attempt).phone)
        counts["without_credit"] += not _credited(named)
    counts["twice"] = sum(count - 1 for count in heard.values())
    counts["would_bill"] = sum(code in WOULD_BILL for (code,) in codes)
    for payout, story in by_payout.items():
        for one in story.receipts:
            if one.outcome == "credited" and _mobile(story.details(one.attempt).phone):
                counts["silent"] += (payout, one.attempt) not in reached
    for name in WRONG:
        if counts[name]:
            problems.append(f"{counts[name]} notices: {name.replace('_', ' ')}")
    return counts


def _by_reference(ref: str, by_payout: dict[str, Story]) -> Named:
    payout, attempt, _ = ref.rsplit("-", 2)
    return Named(payout, by_payout.get(payout), int(attempt))


def _credited(named: Named) -> bool:
    story = named.story
    return story is not None and any(rail.credits for rail in _rails(story, named.attempt))


def _accounts(named: Named) -> Iterator[str]:
    """Where the banks were asked to pay: a line may leave its account to the bank's own book."""
    for rail in _rails(named.story, named.attempt) if named.story is not None else ():
        yield from (sent.account for sent in rail.transmissions)


def _rails(story: Story, attempt: int) -> list[Rail]:
    return [rail for rail in story.rails if story.attempt_of(rail) == attempt]


def _says(text: str, digits: str) -> bool:
    """Whether the digits stand in the text as a number of their own."""
    return re.search(rf"(?<![0-9.]){re.escape(digits)}(?![0-9])", text) is not None


def _mobile(written: str) -> str:
    digits = "".join(written.split()).removeprefix("+86")
    return digits if len(digits) == 11 and digits.isascii() and digits.isdecimal() and digits[0] == "1" else ""
