"""What a hostile sender starts from: good messages whose acceptance would move money, and the keys around them.

Each draft has its own place in the books, prepared so that getting through is enough: a hostile batch has its money
already, a hostile funding names a list that waits for nothing else, a hostile order a payout that waits for one. So
whatever gets past the signature is on its way to a bank, and the bank can be asked.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.approval import AUDIENCE, KeyRing, SigningKey, sign
from schemas.v1 import Kind, OrderKind
from tests.store import kit
from tests.store.kit import Gateway
from tests.unit.hostile_headers import Forger
from tests.unit.test_approval import entry, ring

PAID: Final = "659999-PAID"  # its lines failed at the bank: each waits for an order
KNOWN: Final = "O-KNOWN"  # the order that was accepted
_STRANGERS: Final = 2_000  # the people of hostile batches are numbered from here
_WAITING: Final = 4_000  # and those of lists that wait for their money
_AGO: Final = "2026-11-24T09:00:00+08:00"
_AHEAD: Final = "2026-11-25T00:00:00+08:00"


@dataclass(frozen=True)
class Keys:
    """Who may sign: one key under many ids, so that what differs between two cases is the id's entry alone."""

    ed: SigningKey
    es: SigningKey
    sm: SigningKey

    @classmethod
    def around(cls, ed: SigningKey) -> Keys:
        return cls(ed, SigningKey.generate("ES256"), SigningKey.generate("SM2"))

    def ring(self) -> KeyRing:
        ed = self.ed
        return ring(
            entry("finance-1", ed),
            entry("ed", ed),
            entry("es", self.es),
            entry("es2", SigningKey.generate("ES256")),
            entry("sm", self.sm),
            entry("expired", ed, not_after=_AGO),
            entry("early", ed, not_before=_AHEAD),
            entry("revoked", ed, revoked_at=_AGO),
            entry("neighbour", ed, issuer="659998-finance"),
            *(entry(f"not-{kind}", ed, kinds=[k for k in _KINDS if k != kind]) for kind in _KINDS),
        )


_KINDS: Final = ("batch", "funding", "order")


@dataclass(frozen=True)
class Draft:
    """One good message before a case spoils it."""

    kind: Kind
    order: OrderKind
    number: int
    keys: Keys
    at: dt.datetime
    accepted: Mapping[Kind, Mapping[str, Any]]  # what is in the books, by kind

    def body(self, **changes: Any) -> dict[str, Any]:
        """The message; a change to ``...`` takes a member away."""
        made = {Kind.BATCH: self._batch, Kind.FUNDING: self._funding, Kind.ORDER: self._order}[self.kind]()
        return {name: value for name, value in {**made, **changes}.items() if value is not ...}

    def raw(self, **changes: Any) -> bytes:
        return as_bytes(self.body(**changes))

    def with_item(self, **changes: Any) -> bytes:
        """The batch part with its line changed; for an order, its details."""
        if self.kind is Kind.BATCH:
            return self.raw(items=[{**self.body()["items"][0], **changes}])
        return self.raw(kind="REISSUE", line=self.number, attempt=1, batch_id=PAID, details=changes)

    def known(self, **changes: Any) -> bytes:
        """The message of this kind that was accepted, changed."""
        return as_bytes({**self.accepted[self.kind], **changes})

    def forger(self, raw: bytes | None = None) -> Forger:
        return Forger(self.raw() if raw is None else raw, self.kind, self.at, self.keys.ed)

    def _batch(self) -> dict[str, Any]:
        return batch(f"659999-H-{self.number:04d}", [person(_STRANGERS, self.number)])

    def _funding(self) -> dict[str, Any]:
        return funding(f"F-H-{self.number:04d}", waiting(self.number))

    def _order(self) -> dict[str, Any]:
        recall = self.order is OrderKind.RECALL
        details = {"account": f"6299998{self.number:012d}"} if self.order is OrderKind.REISSUE else None
        return {
            "schema": "payout.order/v1",
            "issuer": kit.ISSUER,
            "order_id": f"O-H-{self.number:04d}",
            "kind": self.order.value,
            "batch_id": waiting(self.number) if recall else PAID,
            "line": None if recall else self.number,
            "attempt": None if recall else 1,
            "document_no": "某某财农〔2026〕19号",
            "details": details,
        }


def as_bytes(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def waiting(number: int) -> str:
    return f"659999-W-{number:04d}"


def person(first: int, number: int) -> dict[str, Any]:
    return {**kit.line(first + number), "line": 1}


def batch(batch_id: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return kit.part_body(batch_id, lines, lines)


def funding(funding_id: str, batch_id: str, lines: int = 1) -> dict[str, Any]:
    return {
        "schema": "payout.funding/v1",
        "issuer": kit.ISSUER,
        "funding_id": funding_id,
        "batch_id": batch_id,
        "amount": f"{100 * lines}.00",
        "received_at": "2026-11-24T09:30:00+08:00",
    }


async def prepare(gateway: Gateway, kinds: Sequence[tuple[Kind, OrderKind]]) -> tuple[Keys, dict[Kind, dict[str, Any]]]:
    """Books in which a draft of each of these kinds has its place, numbered from 1; the keys, and what was accepted.

    The list ``PAID`` travelled and failed at the bank, with one line more than there are drafts: the order ``KNOWN``
    cancelled it.
    """
    drafts = len(kinds)
    keys = Keys.around(gateway.key)
    gateway.intake._keyring.renew(keys.ring())
    lines = [kit.line(number) for number in range(1, drafts + 2)]
    accepted = {
        Kind.BATCH: batch(PAID, lines),
        Kind.FUNDING: funding("F-PAID", PAID, len(lines)),
        Kind.ORDER: {
            **Draft(Kind.ORDER, OrderKind.CANCEL, drafts + 1, keys, gateway.clock.now(), {}).body(),
            "order_id": KNOWN,
        },
    }

    def signed(kind: Kind, body: Mapping[str, Any]) -> tuple[bytes, bytes]:
        raw = as_bytes(body)
        return raw, sign(raw, kind, keys.ed, "ed", AUDIENCE, gateway.clock.now()).encode()

    await gateway.intake.take_batch(*signed(Kind.BATCH, accepted[Kind.BATCH]))
    await gateway.intake.take_funding(*signed(Kind.FUNDING, accepted[Kind.FUNDING]))
    await gateway.judge()
    await gateway.send()
    references = gateway.bank.references()
    closed = {"proof": "REJECTED", "reason": "ACCOUNT_CLOSED", "code": "3018"}
    await gateway.answer(*({**closed, "reference": reference} for reference in references))
    await gateway.failures.take_order(*signed(Kind.ORDER, accepted[Kind.ORDER]))
    for number, (kind, order) in enumerate(kinds, start=1):
        if kind is Kind.BATCH:
            money = funding(f"F-{number:04d}", f"659999-H-{number:04d}")
            await gateway.intake.take_funding(*signed(Kind.FUNDING, money))
        elif kind is Kind.FUNDING or order is OrderKind.RECALL:
            await gateway.intake.take_batch(*signed(Kind.BATCH, batch(waiting(number), [person(_WAITING, number)])))
    await gateway.judge()
    return keys, accepted
