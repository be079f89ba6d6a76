"""Who has a payout of a programme and period already: a person is approved once, whichever list comes first.

A payout holds its person from its list on, until it is cancelled or an order puts another ID into it; that order makes
it hold the other one. Lists and orders travel on topics of their own, so that finance cannot know which of two that
met was read first. Where that decides, a refusal as a duplicate is believed if, by its own time, somebody may have
held the person; an approval is believed too, and whoever is paid twice by it is found by the money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.world.checker.orders import Order, in_force
from tests.world.checker.receipts import BatchKey, Told

DUPLICATE = "DUPLICATE_BENEFICIARY"
SLACK_MS = 86_400_000  # business time between what an order is dated and what it did: seconds of work, scaled
NEVER = 2**62

Person = tuple[str, str, str]  # programme, period, ID number
PayoutKey = tuple[BatchKey, int]


@dataclass(frozen=True, slots=True)
class Hold:
    """``firm``: by a list, and never given up."""

    payout: PayoutKey
    firm: bool
    since_ms: int = 0
    until_ms: int = NEVER


class Persons:
    """Holders by person, in the order in which their lists became complete."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._holds: dict[Person, list[Hold]] = {}

    def claim(self, person: Person, payout: PayoutKey, orders: Sequence[Order]) -> bool:
        """Whether the person is free for this payout, which then holds them; ``orders`` are those about it."""
        others = self._holds.get(person, [])
        by_list = (hold for hold in others if not hold.since_ms)
        if any(hold.firm or hold.payout[0] == payout[0] for hold in by_list):
            return False  # no order comes between two lines of one list
        refused_ms = self._refused_ms(payout)
        if refused_ms is not None and any(hold.since_ms <= refused_ms <= hold.until_ms for hold in others):
            return False
        for whose, hold in self._of(person, payout, orders):
            self._holds.setdefault(whose, []).append(hold)
        return True

    def _refused_ms(self, payout: PayoutKey) -> int | None:
        heard = self._told.receipts.get(payout, [])
        return next((one.final_ms for one in heard if one.attempt == 0 and one.reason == DUPLICATE), None)

    def _of(self, person: Person, payout: PayoutKey, orders: Sequence[Order]) -> list[tuple[Person, Hold]]:
        heard = self._told.receipts.get(payout, [])
        holds = [(person, Hold(payout, firm=True))]
        for attempt, order in sorted(in_force(orders, self._told, heard), key=lambda each: each[0]):
            id_no = order.details.get("id_no", "").upper()
            whose, held = holds[-1]
            if order.kind == "REISSUE" and id_no not in ("", whose[2]):
                acted_ms = min((one.final_ms for one in heard if one.attempt == attempt + 1), default=NEVER)
                holds[-1] = (whose, replace(held, firm=False, until_ms=acted_ms + SLACK_MS))
                holds.append(((whose[0], whose[1], id_no), Hold(payout, firm=False, since_ms=order.at_ms)))
        cancelled_ms = min((one.final_ms for one in heard if one.outcome == "cancelled"), default=None)
        if cancelled_ms is not None:
            holds[-1] = (holds[-1][0], replace(holds[-1][1], firm=False, until_ms=cancelled_ms + SLACK_MS))
        return holds
