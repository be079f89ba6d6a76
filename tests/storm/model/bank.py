"""The bank of the model: a ledger in memory that is the truth, and what it says about it.

It acts on whatever reaches it, every time: it knows no duplicates, so bytes that travel twice pay twice. It is honest:
what it calls not taken, rejected or never seen it does not pay, and what it has shows itself within the settling time.
Where a rule makes it break its word, the payout is listed in ``broken`` and has to be found frozen.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adapters.contract import Artefact, Callback, Evidence, Line, Proof, Reason, Rendered, Submission
from gateway.clock import Clock
from tests.store.kit import HandClock
from tests.store.toy import ToyBank, ToyWire
from tests.storm.model.life import LIFE, ProcessGone

SETTLING = dt.timedelta(seconds=1800)
SHOWS_LATE = dt.timedelta(seconds=1700)


class Answer(StrEnum):
    """How a transmission goes."""

    RECEIVED = "received"
    WORKING = "working"
    CREDITED = "credited"
    REJECTED_FIRST = "first line rejected, the others credited"
    LOST_BEFORE = "lost before the first byte"
    LOST_MIDWAY = "bytes left, the bank never had them"
    LOST_AFTER = "the bank has it, no answer"
    LATE = "the bank has it, and denies it until the settling time"
    BUSY = "not taken: busy"
    FUNDS_SHORT = "not taken: funds"
    FORMAT = "not taken: format"
    LINE_NOT_TAKEN = "the first line not taken, the others received"
    UNKNOWN_TAKEN = "an unknown code, the bank has it"
    UNKNOWN_NOTHING = "an unknown code, the bank has nothing"


NOTHING_TAKEN = frozenset({Answer.LOST_MIDWAY, Answer.BUSY, Answer.FUNDS_SHORT, Answer.FORMAT, Answer.UNKNOWN_NOTHING})
NO_ANSWER = frozenset({Answer.LOST_MIDWAY, Answer.LOST_AFTER, Answer.LATE})


class Fate(StrEnum):
    PENDING = "PENDING"
    CREDITED = "CREDITED"
    REJECTED = "REJECTED"
    RETURNED = "RETURNED"
    NOTHING = "NOTHING"  # the bank has, and will do, nothing of it


@dataclass(slots=True, eq=False)
class Item:
    """One line of one transmission."""

    number: int
    line: int
    reference: str
    submission: str
    amount_fen: int
    at: dt.datetime
    fate: Fate
    shows_at: dt.datetime
    stated_fen: int
    payee: tuple[str, str]  # the account and the name that travelled
    refused: bool = False  # with its whole file, after "received"
    denied: bool = False  # rejected in words although it is credited

    @property
    def net(self) -> int:
        return 1 if self.fate is Fate.CREDITED else 0


@dataclass
class TruthBank(ToyBank):
    """Adapter and bank in one, shared by all processes of the model."""

    clock: Clock = field(default_factory=HandClock)
    answer: Answer = Answer.RECEIVED
    asked: str = "truth"
    items: list[Item] = field(default_factory=list)
    latest: dict[str, Item] = field(default_factory=dict)
    open: dict[int, Item] = field(default_factory=dict)  # by line: a transmission that is not disproved
    broken: set[int] = field(default_factory=set)
    frozen: set[int] = field(default_factory=set)  # lines that the books froze before the current step
    sending: set[str] = field(default_factory=set)  # submissions that were SENDING when a line of theirs was frozen
    violations: list[str] = field(default_factory=list)
    disproofs: dict[str, list[Item]] = field(default_factory=dict)  # by artefact

    # -- the wire

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        rows = [[x.reference, x.account.reveal(), x.amount_fen, x.name.reveal(), x.id_no.reveal()] for x in lines]
        payload = json.dumps([submission.reference, rows]).encode()
        references = tuple(line.reference for line in lines)
        total_fen = sum(line.amount_fen for line in lines)
        digest = hashlib.sha256(payload).hexdigest()
        return Rendered(
            submission.reference, payload, digest, f"{submission.reference}.json", references, total_fen, at
        )

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[ToyWire]:
        life = LIFE.get()
        if life is not None:
            life.on_the_wire = True
        try:
            yield ToyWire()
        finally:
            if life is not None:
                life.on_the_wire = False

    @staticmethod
    def _hears() -> None:
        life = LIFE.get()
        if life is not None:
            if life.dead:
                raise ProcessGone
            life.on_the_wire = False

    async def submit(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        await asyncio.sleep(0)  # a process may end here: nothing has left
        if self.answer is Answer.LOST_BEFORE:
            raise ConnectionRefusedError
        self._hears()
        if rendered.transmission > 1:
            self._take_refusals_back(rendered.submission)
        wire.crossed = True
        items = self._arrive(rendered)
        await asyncio.sleep(0)  # or here: all of it has left, and no answer was read
        if self.answer in NO_ANSWER:
            raise TimeoutError
        return self._reply(items)

    def _take_refusals_back(self, submission: str) -> None:
        """What every adapter of a file bank does before a file travels again: an older refusal, which says nothing of
        which transmission it answers, is moved to where nobody collects it."""
        for number, artefact in enumerate(self.files):
            rows = json.loads(artefact.content)
            if artefact.name.startswith("result"):
                kept = [row for row in rows if row.get("submission") != submission]
                if kept != rows:
                    self.files[number] = Artefact.of(artefact.name, json.dumps(kept).encode())

    def _arrive(self, rendered: Rendered) -> list[Item]:
        submission, rows = json.loads(rendered.payload)
        now = self.clock.now()
        arrived = []
        for reference, account, amount_fen, name, *_ in rows:
            line = int(account[-12:])
            before = self.open.get(line)
            if before is not None:
                self.violations.append(f"BR: line {line} travels while {before.fate} of {before.at:%H:%M} is open")
            if line in self.frozen and submission not in self.sending:
                self.violations.append(f"line {line} travels although it is frozen")
            item = Item(
                len(self.items) + 1,
                line,
                reference,
                submission,
                amount_fen,
                now,
                Fate.NOTHING if self.answer in NOTHING_TAKEN else Fate.PENDING,
                now + SHOWS_LATE if self.answer is Answer.LATE else now,
                amount_fen,
                (account, name),
            )
            self.items.append(item)
            self.latest[reference] = self.open[line] = item
            arrived.append(item)
        return arrived

    def _reply(self, items: list[Item]) -> list[Evidence]:
        first = items[0]
        match self.answer:
            case Answer.WORKING:
                return [Evidence(Proof.IN_PROCESS)]
            case Answer.CREDITED | Answer.REJECTED_FIRST:
                for item in items:
                    item.fate = Fate.CREDITED
                if self.answer is Answer.REJECTED_FIRST:
                    first.fate = Fate.REJECTED
                return [evidence for item in items for evidence in self._facts(item)]
            case Answer.BUSY | Answer.FUNDS_SHORT | Answer.FORMAT:
                self._disprove(items)
                reasons = {Answer.BUSY: Reason.BANK_BUSY, Answer.FORMAT: Reason.FORMAT}
                return [Evidence(Proof.NOT_TAKEN, reason=reasons.get(self.answer, Reason.FUNDS_SHORT))]
            case Answer.LINE_NOT_TAKEN:
                first.fate = Fate.NOTHING
                self._disprove([first])
                line = Evidence(Proof.NOT_TAKEN, reference=first.reference, reason=Reason.FUNDS_SHORT)
                return [line] if len(items) == 1 else [Evidence(Proof.RECEIVED), line]
            case Answer.UNKNOWN_TAKEN | Answer.UNKNOWN_NOTHING:
                return [Evidence(Proof.IN_DOUBT, reason=Reason.UNKNOWN, code="9999")]
            case _:
                return [Evidence(Proof.RECEIVED)]

    def _disprove(self, items: list[Item]) -> None:
        for item in items:
            if self.open.get(item.line) is item:
                del self.open[item.line]

    # -- what it says when asked

    async def probe(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        await asyncio.sleep(0)
        self._hears()
        if self.asked == "timeout":
            raise ValueError("an answer that nobody can read")
        if self.asked == "unknown":
            return [Evidence(Proof.IN_DOUBT, reference=r, reason=Reason.UNKNOWN) for r in rendered.references]
        evidence = self._state_of(rendered.references)
        await asyncio.sleep(0)
        return evidence * 2 if self.asked == "twice" else evidence

    def _state_of(self, references: tuple[str, ...]) -> list[Evidence]:
        now = self.clock.now()
        items = [self.latest.get(reference) for reference in references]
        shown = [i for i in items if i is not None and i.fate is not Fate.NOTHING and i.shows_at <= now]
        denied = [i for i in items if i is not None and i not in shown]
        self._disprove([i for i in denied if now >= i.at + SETTLING])
        if not shown:
            return [Evidence(Proof.ABSENT)]
        said: list[Evidence] = []
        for reference, item in zip(references, items, strict=True):
            said += self._facts(item) if item in shown and item is not None else [Evidence(Proof.ABSENT, reference)]
        return said

    def _facts(self, item: Item) -> list[Evidence]:
        """What the bank says of one line it has."""
        if item.fate is Fate.PENDING:
            return [Evidence(Proof.IN_PROCESS, reference=item.reference)]
        if item.fate is Fate.REJECTED or item.denied:
            self._disprove([item] if item.fate is Fate.REJECTED else [])
            return [Evidence(Proof.REJECTED, reference=item.reference, reason=Reason.ACCOUNT_CLOSED, code="3018")]
        moved: dict[str, Any] = {
            "reference": item.reference,
            "amount_fen": item.stated_fen,
            "post_date": self.clock.now().date(),
        }
        facts = [Evidence(Proof.CREDITED, host_reference=f"H{item.number}", **moved)]
        if item.fate is Fate.RETURNED:
            self._disprove([item])
            facts = facts if item.number % 2 else []  # a return alone implies its credit
            facts.append(
                Evidence(Proof.RETURNED, host_reference=f"R{item.number}", reason=Reason.RETURNED_AFTER_CREDIT, **moved)
            )
        return facts

    # -- what it publishes

    def publish(self, told: str = "once") -> Artefact:
        """A result file of everything that is decided: told once, twice, or ``vaguely`` (no line's outcome known)."""
        before = dict(self.open)
        shown = [i for i in self.latest.values() if i.shows_at <= self.clock.now()]
        evidence = [e for i in shown if i.fate not in (Fate.NOTHING, Fate.PENDING) for e in self._facts(i)]
        refused = {i.submission for i in shown if i.refused and i.fate is Fate.NOTHING}
        rows = [row_of(e) for e in evidence * (2 if told == "twice" else 1)]
        rows += [{"proof": "NOT_TAKEN", "submission": s, "reason": "FUNDS_SHORT"} for s in sorted(refused)]
        if told == "vaguely":
            rows = [{"proof": "IN_DOUBT", "reference": i.reference, "reason": "UNKNOWN"} for i in shown]
        gone = [] if told == "vaguely" else [i for line, i in before.items() if self.open.get(line) is not i]
        gone += [i for i in shown if i.refused and i.fate is Fate.NOTHING and told != "vaguely"]
        self.open.clear()  # in its place: banks of one world may share it
        self.open.update(before)  # disproved when it is read, not when it is written
        artefact = Artefact.of(f"result-{len(self.files)}", json.dumps(rows).encode())
        self.disproofs[artefact.sha256] = gone
        self.files.append(artefact)
        return artefact

    def state_the_day(self) -> None:
        """A statement of the day's credits and returns."""
        day = self.clock.now().date().isoformat()
        entries = []
        for item in self.latest.values():
            if item.fate in (Fate.CREDITED, Fate.RETURNED) and not item.denied and item.shows_at <= self.clock.now():
                row = {"reference": item.reference, "amount_fen": item.stated_fen}
                entries.append({**row, "booking": "CREDIT", "host_reference": f"H{item.number}"})
                if item.fate is Fate.RETURNED:
                    entries.append({**row, "booking": "RETURN", "host_reference": f"R{item.number}"})
        body = {"day": day, "account": None, "entries": entries}
        artefact = Artefact.of(f"statement-{len(self.files)}", json.dumps(body).encode())
        self.disproofs[artefact.sha256] = [i for i in self.latest.values() if i.fate is Fate.RETURNED]
        self.files.append(artefact)

    async def collect(self, wire: ToyWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        await asyncio.sleep(0)
        self._hears()
        async for artefact, reached in super().collect(wire, cursor):
            self._disprove(self.disproofs.get(artefact.sha256, []))
            yield artefact, reached

    async def settle(self, artefact: Artefact, wire: ToyWire) -> None:
        await asyncio.sleep(0)
        self._hears()

    def verify_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> Callback:
        artefact = Artefact.of("callback", body)
        self._disprove(self.disproofs.get(artefact.sha256, []))
        named = sorted({i.submission for i in self.items})
        return Callback(headers["event"], artefact, tuple(named))

    def has_told(self, line: int) -> bool:
        """Whether a word of this bank that broke was heard; here everything is published before the end."""
        return True

    # -- what it decides

    def decide(self, choice: int, fate: str, recorded: Mapping[str, str]) -> None:
        """Decide one line: credit, reject, return, or break the bank's word as the books have ``recorded`` it."""
        sources: dict[str, Callable[[Item], bool]] = {
            "credit": lambda i: i.fate is Fate.PENDING,
            "reject": lambda i: i.fate is Fate.PENDING,
            "return": lambda i: i.fate is Fate.CREDITED and i.line not in self.broken,
            "refuse_file": lambda i: self._whole_is_pending(i.submission),
            "pay_rejected": lambda i: recorded.get(i.reference) == i.fate == Fate.REJECTED,
            "fee": lambda i: i.fate is Fate.PENDING,
            "deny_credit": lambda i: recorded.get(i.reference) == i.fate == Fate.CREDITED and not i.denied,
        }
        able = [item for item in self.latest.values() if sources[fate](item)]
        if not able:
            return
        item = able[choice % len(able)]
        if fate == "refuse_file":
            for other in self.latest.values():
                if other.submission == item.submission:
                    other.fate, other.refused = Fate.NOTHING, True
            return
        becomes = {"reject": Fate.REJECTED, "return": Fate.RETURNED}
        item.fate = becomes.get(fate, Fate.CREDITED)
        if fate in ("pay_rejected", "fee", "deny_credit"):
            self.broken.add(item.line)
            item.stated_fen -= 1 if fate == "fee" else 0
            item.denied = fate == "deny_credit"

    def _whole_is_pending(self, submission: str) -> bool:
        return all(i.fate is Fate.PENDING for i in self.latest.values() if i.submission == submission)

    def net(self, line: int) -> int:
        """Credits less returns of a payout."""
        return sum(item.net for item in self.items if item.line == line)


def row_of(evidence: Evidence) -> dict[str, Any]:
    """Evidence as a line of the toy bank's result file."""
    row = {
        "proof": evidence.proof.value,
        "reference": evidence.reference,
        "amount_fen": evidence.amount_fen,
        "host_reference": evidence.host_reference,
        "code": evidence.code,
        "post_date": evidence.post_date.isoformat() if evidence.post_date else None,
    }
    return row if evidence.reason is None else {**row, "reason": evidence.reason.value}
