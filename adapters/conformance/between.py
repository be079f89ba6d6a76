"""Who stands on the line between the bank and us: hears every answer, and may give another in its place.

Unlike a fault, which breaks an answer, this one gives a whole one: of another submission, of yesterday, or sealed by
somebody who is not the bank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapters.conformance.counterpart import Party
from adapters.conformance.rehearsal import Reply, Request


@dataclass(frozen=True, slots=True, repr=False)
class Exchange:
    """A request, and what the bank answered to it."""

    party: Party
    request: Request
    reply: Reply


Instead = Callable[[Exchange], Reply]


class Between:
    """Keeps what passed; ``put`` has it give ``instead`` for one answer of a party, or for all of them."""

    def __init__(self) -> None:
        self.heard: list[Exchange] = []
        self.given = 0  # how often another answer was given: a case in which none was has proved nothing
        self._instead: Instead | None = None
        self._party = Party.SUBMISSION
        self._place: int | None = None
        self._passed = 0

    def put(self, instead: Instead, party: Party, place: int | None = None) -> None:
        """From now on; ``place`` counts the answers of the party from 0, None means each of them."""
        self._instead, self._party, self._place = instead, party, place
        self._passed = self.given = 0

    def passes(self, party: Party, request: Request, reply: Reply) -> Reply:
        exchange = Exchange(party, request, reply)
        self.heard.append(exchange)
        if self._instead is None or party is not self._party:
            return reply
        self._passed += 1
        if self._place not in (None, self._passed - 1):
            return reply
        self.given += 1
        return self._instead(exchange)

    def said(self, party: Party) -> list[Exchange]:
        return [each for each in self.heard if each.party is party]
