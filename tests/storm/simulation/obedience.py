"""What became of finance's orders in a month: none is left lying, and nothing travels that was called back.

The independent checker does not see when an order was read; here the simulated Kafka knows. What it counts without
that (an attempt that nobody ordered, another account, name, ID or bank than the order's) is left to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.storm.simulation.broker import Broker
from tests.world.checker.orders import Order
from tests.world.checker.stories import Story

ON_ITS_WAY_MS = 60_000  # what was SENDING when an order came may still arrive: seconds, with every delay of the month
NEVER = 2**62


@dataclass
class Obedience:
    """``recalls``: by batch, the number of the record that recalled it. ``seen`` counts what happened, over a seed."""

    broker: Broker
    begin_ms: int
    recalls: Mapping[str, int]
    seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refusals = [json.loads(value) for topic, _, value in self.broker.published if topic == "refusals"]
        self._refused = {one.get("order_id") for one in refusals}

    def faults(self, story: Story) -> Iterator[str]:
        acted = {order.order_id for order in story.in_force.values()}
        for order in story.payout.orders:
            if order.order_id not in acted | self._refused:
                yield f"{story.payout.name}: {order.kind} {order.order_id} did nothing, and was answered by nothing"
        recall = self.recalls.get(story.payout.batch[1], NEVER)
        self._count(story, recall)
        for rail in story.rails:
            attempt = story.attempt_of(rail)
            over_ms = self._over_ms(story, recall, _made_by(story, attempt))
            if any(sent.at_ms > over_ms + ON_ITS_WAY_MS for sent in rail.transmissions):
                yield f"{story.payout.name}: attempt {attempt} travelled after it had been called back"

    def _over_ms(self, story: Story, recall: int, made_by: Order | None) -> int:
        """From when on an attempt must not travel: its list was recalled, or it was cancelled; what was ordered again
        after a recall may."""
        calls = [order.number for order in story.in_force.values() if order.kind == "CANCEL"]
        if made_by is None or made_by.number < recall:
            calls.append(recall)
        return min((self._read_ms(number) for number in calls), default=NEVER)

    def _read_ms(self, number: int) -> int:
        read = self.broker.read.get(number - 1)
        return NEVER if read is None else self.begin_ms + int(read * 1000)

    def _count(self, story: Story, recall: int) -> None:
        sent = bool(story.transmissions)
        cancelled = any(one.outcome == "cancelled" for one in story.receipts)
        by_order = any(order.kind == "CANCEL" for order in story.in_force.values())
        happened = {
            "called back unsent": cancelled and not sent,
            "recalled too late": recall != NEVER and sent and not cancelled,
            "recalled": recall != NEVER and cancelled and not by_order,
            "corrected": any(story.details(story.attempt_of(rail)) != story.payout.details for rail in story.rails),
            "corrected bank": len({rail.bank for rail in story.rails}) > 1,
        }
        for what, so in happened.items():
            self.seen[what] = self.seen.get(what, 0) + so


def _made_by(story: Story, attempt: int) -> Order | None:
    """The order that an attempt is from; what was not taken and goes again by itself goes in the same order's name."""
    earlier = [about for about, order in story.in_force.items() if about < attempt and order.kind == "REISSUE"]
    return story.in_force[max(earlier)] if earlier else None
