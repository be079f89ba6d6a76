"""Joins the three sources: each approved payout with its orders, its rails at the banks, and what finance was told.

A rail (everything one bank knows under one reference) belongs to the payout of the same person, programme and period:
that holds even for a credit which the gateway never reported. A bank that is told no period, or the programme by its
purpose alone, knows less. Only where that leaves a choice do the receipts decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.world.checker.inputs import Batch, Details, Inputs, Payout
from tests.world.checker.ledgers import Ledgers, Movement, Rail, Transmission
from tests.world.checker.lines import Tables
from tests.world.checker.orders import NOT_EXECUTED, Order, in_force
from tests.world.checker.receipts import BatchKey, Receipt, Told


@dataclass(slots=True)
class Story:
    """All there is to know about one approved payout."""

    payout: Payout
    batch: Batch
    rails: list[Rail] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    in_force: dict[int, Order] = field(default_factory=dict)  # attempt -> the order that acted on it
    refused: list[Order] = field(default_factory=list)  # signed orders that the gateway answered with a refusal
    why: dict[str, str] = field(default_factory=dict)  # the refusals' reasons, by the orders' digests

    @property
    def transmissions(self) -> list[Transmission]:
        found = [one for rail in self.rails for one in rail.transmissions]
        return sorted(found, key=lambda one: (one.wall_ms, one.bank, one.n))

    @property
    def movements(self) -> list[Movement]:
        found = [one for rail in self.rails for one in rail.movements]
        if len({rail.bank for rail in self.rails}) == 1:
            return sorted(found, key=lambda one: one.n)
        return sorted(found, key=lambda one: (one.at_ms, one.back, one.bank, one.n))

    @property
    def net(self) -> int:
        return sum(-1 if one.back else 1 for one in self.movements)

    @property
    def last_attempt(self) -> int:
        return max((one.attempt for one in self.receipts), default=0)

    def told(self, attempt: int) -> list[Receipt]:
        return [one for one in self.receipts if one.attempt == attempt]

    def attempt_of(self, rail: Rail) -> int:
        """By its receipt; an attempt without one can only be the one after the last that has one."""
        known = [one.attempt for one in self.receipts if one.reference == rail.reference]
        return known[0] if known else self.last_attempt + 1

    def details(self, attempt: int) -> Details:
        """What must be sent as this attempt: the signed line with every order that acted on an earlier attempt."""
        details = self.payout.details
        for number in sorted(self.in_force):
            order = self.in_force[number]
            if number < attempt and order.kind == "REISSUE":
                known = {
                    name: order.details[name]
                    for name in ("name", "account", "bank_no", "phone")
                    if name in order.details
                }
                if "id_no" in order.details:
                    known["id_no"] = order.details["id_no"].upper()
                details = replace(details, **known)
        return details

    def authorised(self, attempt: int) -> bool:
        """Whether this attempt may exist: the first, one by an order, or one for a line that never reached a bank."""
        if attempt <= 1:
            return True
        if any(one.reason == NOT_EXECUTED for one in self.told(attempt - 1)):
            return self.authorised(attempt - 1)
        order = self.in_force.get(attempt - 1)
        return order is not None and order.kind == "REISSUE"

    def made_by(self, attempt: int) -> Order | None:
        """The order that this attempt exists by; what never reached a bank is tried anew under the same one."""
        while attempt > 1 and any(one.reason == NOT_EXECUTED for one in self.told(attempt - 1)):
            attempt -= 1
        return self.in_force.get(attempt - 1)

    def signed_wall_ms(self, attempt: int) -> int:
        """Real time before which nobody can have had all that an attempt needs: its list, its money, its order."""
        order = self.in_force.get(attempt - 1)
        return max(self.batch.completed_wall_ms, self.batch.funded_wall_ms, order.wall_ms if order else 0)

    @property
    def cancelled(self) -> bool:
        """Signed away: an order about the payout that acted, or a recall that finance was told about."""
        if any(order.kind == "CANCEL" for order in self.in_force.values()):
            return True
        return bool(self.batch.recalls) and any(one.outcome == "cancelled" for one in self.receipts)

    @property
    def pending_at_bank(self) -> bool:
        """The bank took it and will never say what became of it: nobody can bring that to rest but people."""
        return any(rail.undecided for rail in self.rails)

    @property
    def waits_for_an_order(self) -> bool:
        """The latest attempt failed or came back, finance knows, and no order has acted on it."""
        latest = self.told(self.last_attempt)
        negative = any(one.outcome in ("failed", "returned") and one.reason != NOT_EXECUTED for one in latest)
        return negative and self.last_attempt >= 1 and self.last_attempt not in self.in_force


@dataclass(slots=True)
class Joined:
    stories: list[Story]
    strangers: list[Rail]  # submitted, but no approved line is about this person, programme and period
    refused: list[tuple[Payout, list[Receipt]]]
    unknown: list[Receipt]  # receipts about nothing that was ever validly approved
    unanswerable: list[tuple[str, Order]]  # orders about no approved line
    tables: Tables


def join(inputs: Inputs, ledgers: Ledgers, told: Told) -> Joined:
    stories: dict[tuple[BatchKey, int], Story] = {}
    refused: list[tuple[Payout, list[Receipt]]] = []
    for batch in inputs.batches.values():
        for payout in batch.payouts.values():
            heard = told.receipts.get((payout.batch, payout.line), [])
            if payout.refused:
                refused.append((payout, heard))
            else:
                story = Story(payout, batch, receipts=heard)
                story.refused = [one for one in payout.orders if one.digest in told.refused_orders]
                story.why = {one.digest: told.refused_orders[one.digest] for one in story.refused}
                story.in_force = dict(in_force(payout.orders, told, heard))
                stories[payout.batch, payout.line] = story
    strangers = _give_rails(stories, ledgers, told)
    unknown = [
        receipt
        for (key, line), heard in told.receipts.items()
        if key not in inputs.batches or line not in inputs.batches[key].payouts
        for receipt in heard
    ]
    return Joined(list(stories.values()), strangers, refused, unknown, inputs.unanswerable, inputs.tables)


def _give_rails(stories: dict[tuple[BatchKey, int], Story], ledgers: Ledgers, told: Told) -> list[Rail]:
    people: dict[tuple[str, str, str], list[Story]] = {}
    for story in stories.values():
        payout = story.payout
        numbers = {payout.details.id_no, *(o.details["id_no"].upper() for o in payout.orders if "id_no" in o.details)}
        for number in numbers:
            people.setdefault((payout.programme, payout.period, number), []).append(story)
            for told_of in {payout.programme, payout.purpose}:
                people.setdefault((told_of, "", number), []).append(story)
    strangers: list[Rail] = []
    for rail in ledgers.rails.values():
        if not rail.transmissions:  # a reference that a bank made up
            if rail.movements:
                strangers.append(rail)
            continue
        sent = rail.transmissions[0]
        candidates = people.get((sent.programme, sent.period, sent.id_no.upper()), [])
        receipt = told.by_reference.get(rail.reference)
        named = stories.get((receipt.batch, receipt.line)) if receipt is not None else None
        if len(candidates) == 1:
            candidates[0].rails.append(rail)
        elif named is not None:
            named.rails.append(rail)
        elif candidates:
            likely = [one for one in candidates if one.payout.amount_fen == sent.amount_fen]
            (likely or candidates)[-1].rails.append(rail)
        else:
            strangers.append(rail)
    return strangers
