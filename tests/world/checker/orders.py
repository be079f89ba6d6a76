"""Signed orders: which there are, which the gateway let act, and whom they put in whose place.

An order is the first of its name; it acts, unless it was answered with a refusal, when the attempt it names was over,
or, a cancellation, before that attempt was sent. Both are known from what finance was told, and from nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.world.checker.receipts import BatchKey, Receipt, Told

NOT_EXECUTED = "NOT_EXECUTED"


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    number: int
    kind: str
    attempt: int
    details: Mapping[str, str]
    at_ms: int
    wall_ms: int
    digest: str


@dataclass(slots=True)
class Orders:
    """All valid ones. Those about a line are taken by its payout; what nobody takes is about nothing approved."""

    recalls: dict[BatchKey, list[Order]] = field(default_factory=dict)
    about: dict[tuple[BatchKey, int | None], list[Order]] = field(default_factory=dict)

    def take(self, payout: tuple[BatchKey, int]) -> list[Order]:
        return self.about.pop(payout, [])

    def left(self) -> Iterator[tuple[str, Order]]:
        """With the name of the line that each is about."""
        for (batch, line), found in self.about.items():
            for order in found:
                yield f"{batch[1]}/{line}", order


@dataclass(frozen=True, slots=True)
class Signed:
    """A valid message, as far as an order needs it."""

    number: int
    raw: bytes
    document: dict[str, Any]
    at_ms: int
    wall_ms: int


def read(messages: Sequence[Signed]) -> Orders:
    orders = Orders()
    seen: set[tuple[str, str]] = set()
    for message in messages:
        document = message.document
        identity = (document["issuer"], document["order_id"])
        if identity in seen:
            continue
        seen.add(identity)
        batch = (document["issuer"], document["batch_id"])
        changes = {name: value for name, value in (document["details"] or {}).items() if value is not None}
        order = Order(
            document["order_id"],
            message.number,
            document["kind"],
            document["attempt"] or 0,
            changes,
            message.at_ms,
            message.wall_ms,
            hashlib.sha256(message.raw).hexdigest(),
        )
        if order.kind == "RECALL":
            orders.recalls.setdefault(batch, []).append(order)
        else:
            orders.about.setdefault((batch, document["line"]), []).append(order)
    return orders


def in_force(orders: Sequence[Order], told: Told, heard: Sequence[Receipt]) -> Iterator[tuple[int, Order]]:
    """The first order about each attempt that was not answered with a refusal, if that attempt could be acted on."""
    taken: set[int] = set()
    for order in sorted(orders, key=lambda one: one.number):
        if order.attempt in taken or order.digest in told.refused_orders:
            continue
        of_attempt = [one for one in heard if one.attempt == order.attempt]
        over = any(one.outcome in ("failed", "returned") and one.reason != NOT_EXECUTED for one in of_attempt)
        unsent = order.kind == "CANCEL" and any(one.outcome == "cancelled" for one in of_attempt)
        if over or unsent:
            taken.add(order.attempt)
            yield order.attempt, order
