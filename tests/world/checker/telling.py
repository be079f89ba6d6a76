"""What finance was told of one payout, against what its bank did and said: the faults of its receipts."""

from __future__ import annotations

from collections.abc import Iterator

from tests.world.checker import reasons
from tests.world.checker.ledgers import Answer, Ledgers, Rail
from tests.world.checker.orders import NOT_EXECUTED
from tests.world.checker.receipts import FINAL, Receipt
from tests.world.checker.stories import Joined, Story

UNWRITTEN = frozenset({"NAME_NOT_ENCODABLE", "AMOUNT", "FORMAT"})  # why a line cannot be written for its bank
PAID = frozenset({"CREDITED", "RETURNED"})  # of what came back, the bank says that it had been paid


def faults(story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[str]:
    first = 0 if story.told(0) else 1
    for attempt in range(first, story.last_attempt + 1):
        final = sorted(one.outcome for one in story.told(attempt) if one.outcome in FINAL)
        if attempt == 0 or len(final) != 1:
            yield f"attempt {attempt} was answered {final or 'by nothing'}"
    for attempt in {one.attempt for one in story.receipts if one.outcome != "cancelled"}:
        if not story.authorised(attempt):
            yield f"attempt {attempt} was told of, and never ordered"
    if any(_fen(one) != story.payout.amount_fen for one in story.receipts):
        yield "a receipt names another amount"
    if at_rest and honest and story.batch.funded and not story.receipts and not story.pending_at_bank:
        yield "no receipt at all"
    for rail in story.rails:
        yield from _against_the_bank(story, rail, ledgers, honest=honest, at_rest=at_rest)
        yield from _unsaid(story, rail, ledgers)
    if honest:
        yield from _out_of_order(story)
        yield from _failed_for_nothing(story, ledgers)
    invented = {one.reference for one in story.receipts if one.outcome in ("credited", "returned")}
    for reference in invented - {rail.reference for rail in story.rails}:
        yield f"money told of under {reference or 'no reference'}, which no bank has"


def misnamed(joined: Joined) -> Iterator[tuple[Story, str]]:
    """A payout has one id, its own, which ends in its line: by it the person is told, and finance asks."""
    known: dict[str, Story] = {}
    for story in joined.stories:
        names = {one.payout_id for one in story.receipts if one.attempt}
        if len(names) > 1:
            yield story, f"told of under {len(names)} payout ids"
        for name in names:
            if known.setdefault(name, story) is not story:
                yield story, f"told of under the payout id of {known[name].payout.name}"
            elif name.rpartition("-")[2] != str(story.payout.line):
                yield story, "told of under a payout id of another line, or under none"


def _out_of_order(story: Story) -> Iterator[str]:
    """Receipts of one payout stand on one partition, as they became true; a repeat counts where it was heard first."""
    attempts = [one.attempt for one in story.receipts]
    if attempts != sorted(attempts):
        yield "told of an attempt before the one before it"
    credited: set[str] = set()
    for one in story.receipts:
        if one.outcome == "credited":
            credited.add(one.reference)
        elif one.outcome == "returned" and one.reference not in credited:
            yield f"told as returned before it was told as credited under {one.reference}"


def _against_the_bank(story: Story, rail: Rail, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[str]:
    heard = [one for one in story.receipts if one.reference == rail.reference]
    outcomes = {one.outcome for one in heard}
    returned = sum(one.outcome == "returned" for one in heard)
    back = len(rail.returns)
    if returned > back or (at_rest and returned < back):
        yield f"{returned} returned receipts for {back} returns under {rail.reference}"
    if not honest:
        return
    credited = len({one.attempt for one in heard if one.outcome == "credited"})
    if credited > len(rail.credits):
        yield f"told as credited {credited} times under {rail.reference}, credited {len(rail.credits)} times"
    if "failed" in outcomes and rail.credits:
        yield f"told as failed under {rail.reference}, which was credited"
    if rail.credits and any(one.outcome == "cancelled" for one in story.told(story.attempt_of(rail))):
        yield f"told as cancelled, and credited under {rail.reference}"
    if not at_rest or outcomes & set(FINAL):
        return
    if rail.credits or any(one.status == "REJECTED" for one in rail.answers):
        yield f"no final receipt under {rail.reference}, which the bank decided"
    elif rail.transmissions and not rail.undecided and not ledgers.over(rail):
        yield f"no final receipt under {rail.reference}, which was sent, and is not over"


def _unsaid(story: Story, rail: Rail, ledgers: Ledgers) -> Iterator[str]:
    """Money told of that no word of its bank, which the gateway had in its hands by then, speaks of.

    That the bank books it later is luck. Receipts carry business time and deliveries real time: what is compared is
    when the desk had read the receipt, where it kept that.
    """
    for outcome, statuses in (("credited", PAID), ("returned", frozenset({"RETURNED"}))):
        words = [one for one in rail.answers if one.status in statuses]
        for receipt in story.receipts:
            if receipt.reference != rail.reference or receipt.outcome != outcome:
                continue
            if not any(ledgers.had(one, None) for one in words):
                yield f"told as {outcome} under {rail.reference}, which no bank had said"
            elif not any(ledgers.had(one, receipt.heard_ms) for one in words):
                yield f"told as {outcome} under {rail.reference} before its bank had said so"
            elif outcome == "returned":
                heard = [one for one in words if one.status == "RETURNED" and ledgers.had(one, None)]
                yield from _for_another_reason(receipt, reasons.returned(heard))


def _failed_for_nothing(story: Story, ledgers: Ledgers) -> Iterator[str]:
    """Attempts told as failed without a bank's word that the gateway can have had."""
    rails = {rail.reference: rail for rail in story.rails}
    for receipt in story.receipts:
        if receipt.outcome != "failed" or not receipt.attempt:
            continue
        rail = rails.get(receipt.reference)
        if rail is None or not rail.transmissions:
            # What never travelled fails by the gateway's own rules; a bank's reasons it cannot have.
            if receipt.reason not in {*UNWRITTEN, NOT_EXECUTED}:
                yield f"attempt {receipt.attempt} failed as {receipt.reason}, and was never sent"
            continue
        heard: list[Answer] = [one for one in ledgers.negative(rail) if ledgers.had(one, receipt.heard_ms)]
        if not heard:
            yield f"attempt {receipt.attempt} failed as {receipt.reason}, which no bank had said"
        else:
            yield from _for_another_reason(receipt, reasons.failed(heard))


def _for_another_reason(receipt: Receipt, allowed: frozenset[str] | None) -> Iterator[str]:
    """Who has to act, and whether the same details may work later, follow from the reason."""
    if allowed is not None and receipt.reason not in allowed:
        meant = " or ".join(sorted(allowed)) or "a question"
        yield f"attempt {receipt.attempt} {receipt.outcome} as {receipt.reason}, where its bank meant {meant}"


def _fen(receipt: Receipt) -> int:
    return int(receipt.amount.replace(".", ""))
