"""A toy bank for the tests of the books: adapter and bank in one, it obeys its script and keeps what it was sent.

It shares no memory with the gateway but its script: what it was sent is its own list, so a test can ask *it* how often
a payout travelled.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from adapters.contract import (
    AnswerKind,
    Artefact,
    Booking,
    Capabilities,
    Evidence,
    Line,
    NotFound,
    Proof,
    Reason,
    Rendered,
    Statement,
    StatementEntry,
    Submission,
    Unreadable,
)
from schemas.masked import AccountNumber


@dataclass
class ToyWire:
    """A wire whose point of no return the toy bank crosses."""

    crossed: bool = False
    artefacts: list[Artefact] = field(default_factory=list)


Script = Callable[[Rendered, ToyWire], list[Evidence]]


def received(rendered: Rendered, wire: ToyWire) -> list[Evidence]:
    """What an ordinary bank says at first."""
    wire.crossed = True
    return [Evidence(Proof.RECEIVED)]


def hang_up(rendered: Rendered, wire: ToyWire) -> list[Evidence]:
    """The bank took the bytes and the line went dead."""
    wire.crossed = True
    raise TimeoutError


def refuse_connection(rendered: Rendered, wire: ToyWire) -> list[Evidence]:
    """Nobody answered the door."""
    raise ConnectionRefusedError


def short_of_funds(rendered: Rendered, wire: ToyWire) -> list[Evidence]:
    """The bank looked at the bytes and took nothing: they may travel again."""
    wire.crossed = True
    return [Evidence(Proof.NOT_TAKEN, reason=Reason.FUNDS_SHORT)]


@dataclass
class ToyBank:
    """Adapter and bank in one: keeps what it was sent, answers by script."""

    name: str = "rcc_file"
    submits: Script = received
    probes: Script = lambda rendered, wire: []
    files: list[Artefact] = field(default_factory=list)
    sent: list[Rendered] = field(default_factory=list)
    unwritable: set[str] = field(default_factory=set)
    can: dict[str, Any] = field(default_factory=dict)

    def capabilities(self) -> Capabilities:
        facts: dict[str, Any] = {
            "answers": frozenset({AnswerKind.POLL, AnswerKind.FILE}),
            "not_found": NotFound.AUTHORITATIVE,
            "settling_seconds": 1800,
            "idempotent_by_reference": False,
            "idempotency_window_seconds": 0,
            "idempotency_compares_payload": False,
            "answers_carry_amounts": True,
            "max_lines": 1000,
            "max_bytes": 10_000_000,
            "max_total_fen": 10**15,
            "encoding": "utf-8",
            "reference_alphabet": "0123456789ABCDEFGHJKMNPQRSTVWXYZ",
            "reference_length": 26,
            "acknowledgement_due_seconds": 1800,
            "result_due_seconds": 86_400,
            "return_horizon_days": 30,
            "max_in_flight": 4,
            "submit_interval_milliseconds": 0,
            "probe_interval_milliseconds": 0,
            "refuses_whole_file": False,
            "can_cancel": False,
        }
        return Capabilities(**{**facts, **self.can})

    def refuse(self, line: Line) -> Reason | None:
        return Reason.NAME_NOT_ENCODABLE if line.name.reveal() in self.unwritable else None

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        rows = [[line.reference, line.account.reveal(), line.amount_fen] for line in lines]
        payload = json.dumps([submission.reference, rows]).encode()
        return Rendered(
            submission.reference,
            payload,
            hashlib.sha256(payload).hexdigest(),
            f"{submission.reference}.json",
            tuple(line.reference for line in lines),
            sum(line.amount_fen for line in lines),
            at,
        )

    def statement(self, artefact: Artefact) -> Statement | None:
        if artefact.content == b"torn":
            raise Unreadable("no trailer")
        if not artefact.name.startswith("statement"):
            return None
        body = json.loads(artefact.content)
        entries = tuple(
            StatementEntry(
                **{**row, "booking": Booking(row["booking"]), "post_date": dt.date.fromisoformat(body["day"])}
            )
            for row in body["entries"]
        )
        account = None if body["account"] is None else AccountNumber(body["account"])
        return Statement(dt.date.fromisoformat(body["day"]), account, entries, artefact.sha256)

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        stated = self.statement(artefact)
        if stated is not None:
            proofs = {Booking.CREDIT: Proof.CREDITED, Booking.RETURN: Proof.RETURNED}
            for entry in stated.entries:
                if entry.booking in proofs and entry.reference is not None:
                    yield Evidence(
                        proofs[entry.booking],
                        reference=entry.reference,
                        amount_fen=entry.amount_fen,
                        host_reference=entry.host_reference,
                        post_date=entry.post_date,
                        artefact=artefact.sha256,
                    )
            return
        for row in json.loads(artefact.content):
            reason = Reason(row["reason"]) if "reason" in row else None
            day = dt.date.fromisoformat(row["post_date"]) if row.get("post_date") else None
            known = {"proof": Proof(row["proof"]), "reason": reason, "post_date": day, "artefact": artefact.sha256}
            yield Evidence(**{**row, **known})

    def classify(self, code: str) -> tuple[Proof, Reason] | None:
        return None

    async def submit(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        if self.submits is not refuse_connection:
            self.sent.append(rendered)
        return self.submits(rendered, wire)

    async def probe(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        return self.probes(rendered, wire)

    async def collect(self, wire: ToyWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        for number, artefact in enumerate(self.files, start=1):
            if number > int(cursor or 0):
                yield artefact, str(number)

    async def settle(self, artefact: Artefact, wire: ToyWire) -> None:
        return None

    async def cancel(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        raise NotImplementedError

    async def ping(self, wire: ToyWire) -> None:
        return None

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[ToyWire]:
        yield ToyWire()

    async def close(self) -> None:
        return None

    def references(self) -> list[str]:
        """Every reference that ever arrived, once for each time it did."""
        return [reference for rendered in self.sent for reference in rendered.references]
