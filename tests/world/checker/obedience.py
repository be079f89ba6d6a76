"""What became of finance's orders: each is answered, a cancellation is one, and what was called back stays back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.world.checker import lines
from tests.world.checker.inputs import Payout
from tests.world.checker.ledgers import Ledgers, Transmission
from tests.world.checker.lines import Tables
from tests.world.checker.orders import NOT_EXECUTED, Order
from tests.world.checker.persons import Person
from tests.world.checker.receipts import Receipt
from tests.world.checker.stories import Joined, Story

READ_WITHIN_MS = 120_000  # real; how long a recall may lie unread in Kafka before nothing of its list may be sent


def faults(
    story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool, read_within_ms: int = READ_WITHIN_MS
) -> Iterator[str]:
    if at_rest:
        yield from _unanswered(story)
    cancelled = [one for one in story.receipts if one.outcome == "cancelled"]
    if cancelled:
        yield from _called_by_nobody(story, cancelled)
        yield from _sent_after(story, cancelled)
        if honest:  # what a bank pays after it had rejected it is cancelled all the same
            if at_rest and story.net > 0:
                yield "told as cancelled, and paid"
            yield from _not_over(story, ledgers, cancelled)
    yield from _recalled_and_sent(story, read_within_ms)


def _unanswered(story: Story) -> Iterator[str]:
    """An order is refused, or it acts; a cancellation that acts is told, under its attempt's number or the next one."""
    acted = {order.digest for order in story.in_force.values()}
    refused = {order.digest for order in story.refused}
    for order in story.payout.orders:
        if order.digest in refused:
            continue
        told = any(
            one.outcome == "cancelled" for attempt in (order.attempt, order.attempt + 1) for one in story.told(attempt)
        )
        if order.digest not in acted or (order.kind == "CANCEL" and not told):
            yield f"{order.kind} {order.order_id} did nothing, and was answered by nothing"


def _called_by_nobody(story: Story, cancelled: list[Receipt]) -> Iterator[str]:
    refused = {order.digest for order in story.refused}
    for receipt in cancelled:
        calls = [*story.batch.recalls]
        for order in story.payout.orders:
            about = order.kind == "CANCEL" and receipt.attempt - order.attempt in (0, 1)
            if about and order.digest not in refused:
                calls.append(order)
        if not calls:
            yield f"attempt {receipt.attempt} told as cancelled, which nobody had ordered"
        elif receipt.heard_ms is not None and min(order.wall_ms for order in calls) > receipt.heard_ms:
            yield f"attempt {receipt.attempt} told as cancelled before anybody ordered it"


def _not_over(story: Story, ledgers: Ledgers, cancelled: list[Receipt]) -> Iterator[str]:
    """What is cancelled was not sent, or is over: refused, returned, or certainly never there."""
    for rail in story.rails:
        if not ledgers.over(rail, cancelled[0].heard_ms):
            yield f"told as cancelled, and nobody knew what became of {rail.reference}"


def _sent_after(story: Story, cancelled: list[Receipt]) -> Iterator[str]:
    """By the time at which finance had read of the cancellation: nothing may have been on its way any more."""
    heard = [one.heard_ms for one in cancelled if one.heard_ms is not None]
    if heard and any(sent.wall_ms > min(heard) for sent in story.transmissions):
        yield "sent after its cancellation was told"


def _recalled_and_sent(story: Story, read_within_ms: int) -> Iterator[str]:
    """A recall answers only for the lines it still caught. When it was read nobody outside knows, but not that late."""
    for recall in story.batch.recalls:
        for rail in story.rails:
            made_by = story.made_by(story.attempt_of(rail))
            again = made_by is not None and made_by.wall_ms > recall.wall_ms  # ordered after the recall: that may go
            if not again and any(_late(sent, recall, read_within_ms) for sent in rail.transmissions):
                yield f"{rail.reference} was sent although its list had been recalled"


def _late(sent: Transmission, recall: Order, read_within_ms: int) -> bool:
    return sent.wall_ms > recall.wall_ms + read_within_ms


def refused_for_nothing(story: Story, tables: Tables, holders: Mapping[Person, set[str]]) -> Iterator[Order]:
    """Refused orders that were in order: about the attempt that had failed or come back last, the first about it, and
    with details, if any, that may be paid. ``holders``: payouts by every person whom a list or an order gave them."""
    for order in story.refused:
        acted = story.in_force.get(order.attempt)
        over = any(
            one.outcome in ("failed", "returned") and one.reason != NOT_EXECUTED and one.final_ms < order.at_ms
            for one in story.told(order.attempt)
        )
        if over and (acted is None or acted.number > order.number) and not _rightly(story, order, tables, holders):
            yield order


def _rightly(story: Story, order: Order, tables: Tables, holders: Mapping[Person, set[str]]) -> bool:
    """Whether the reason that the gateway gave for refusing an order's details holds."""
    if not order.details:
        return False
    reason = story.why[order.digest]
    if reason == "BENEFICIARY_COLLISION":
        payout = story.payout
        person = (payout.programme, payout.period, order.details.get("id_no", "").upper())
        return bool(holders.get(person, set()) - {payout.name})
    return reason == "DETAILS_INVALID" and not _payable(story, order, tables)


def _payable(story: Story, order: Order, tables: Tables) -> bool:
    """By the rules of a list's line, which the details have to keep as well; an order has to name what it changes."""
    changes = order.details
    if any(not changes.get(name, "some").strip() for name in ("account", "account_kind")):
        return False
    before = story.details(order.attempt)
    item = {**story.payout.item, "name": before.name, "id_no": before.id_no}
    item |= {"account": before.account, "bank_no": before.bank_no, **changes}
    return not lines.refusal(item, tables, story.payout.county, lines.day(order.at_ms))


def holders(joined: Joined) -> dict[Person, set[str]]:
    found: dict[Person, set[str]] = {}
    for story in joined.stories:
        for person in persons_of(story.payout):
            found.setdefault(person, set()).add(story.payout.name)
    return found


def persons_of(payout: Payout) -> Iterator[Person]:
    """The list's, and each that any order wanted."""
    wanted = [order.details["id_no"].upper() for order in payout.orders if "id_no" in order.details]
    for number in {payout.details.id_no, *wanted}:
        yield payout.programme, payout.period, number
