"""Lines that alone were not taken: tried again by themselves, more and more slowly, and then handed to people."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from adapters.contract import Proof, Reason
from gateway import metrics
from gateway.pacing import AUTOMATIC_ATTEMPTS, next_attempt
from tests.store.kit import Gateway
from tests.store.test_payment import credited

LONG_AGO = 13  # hours: longer than any wait


def not_taken(gateway: Gateway, seq: int, reason: Reason | None = None) -> dict[str, Any]:
    word = {"proof": "NOT_TAKEN", "reference": gateway.reference_of(seq), "code": "3008"}
    return {**word, "reason": reason.value} if reason else word


async def refuse_for_ever(gateway: Gateway, reason: Reason | None, tries: int) -> None:
    """The bank does not take the only line of what was sent last, ``tries`` times."""
    for number in range(tries):
        await gateway.answer(not_taken(gateway, 1, reason))
        if number < tries - 1:
            gateway.clock.forward(hours=LONG_AGO)
            await gateway.send()


async def test_short_funds_in_the_middle_of_a_file_are_paid_after_a_top_up(gateway: Gateway) -> None:
    """The lines before are credited; the others wait, travel again alone, and are told as credited exactly once."""
    await gateway.pay(4)
    short = [not_taken(gateway, seq, Reason.FUNDS_SHORT) for seq in (3, 4)]
    await gateway.answer(credited(gateway, 1), credited(gateway, 2), *short)
    assert await gateway.buckets() == {"credited": 2, "queued": 2}
    gateway.clock.forward(minutes=29)
    await gateway.send()
    assert len(gateway.bank.sent) == 1
    gateway.clock.forward(minutes=1)
    await gateway.send()
    assert len(gateway.bank.sent) == 2
    assert len(set(gateway.bank.references())) == len(gateway.bank.references()) == 6
    await gateway.answer(credited(gateway, 1), credited(gateway, 2))
    assert await gateway.buckets() == {"credited": 4}
    receipts = {(r["line"], r["attempt"]): (r["outcome"], r["who_acts"]) for r in await gateway.published()}
    assert receipts == {
        (1, 1): ("credited", None),
        (2, 1): ("credited", None),
        (3, 1): ("failed", "nobody"),
        (4, 1): ("failed", "nobody"),
        (3, 2): ("credited", None),
        (4, 2): ("credited", None),
    }


@pytest.mark.parametrize(
    ("reason", "told", "who_acts"),
    [
        (Reason.FUNDS_SHORT, "FUNDS_SHORT", "finance"),
        (Reason.BANK_BUSY, "UNKNOWN", "operations"),
        (None, "UNKNOWN", "operations"),
    ],
)
async def test_a_line_that_is_never_taken_is_handed_to_people(
    gateway: Gateway, reason: Reason | None, told: str, who_acts: str
) -> None:
    """After the last automatic attempt nothing more is sent; the receipt says whose move it is, nothing is lost."""
    counter = metrics.GIVEN_UP.labels(bank="rcc_file")
    before = counter._value.get()
    await gateway.pay(1)
    await refuse_for_ever(gateway, reason, AUTOMATIC_ATTEMPTS)
    assert counter._value.get() == before + 1
    gateway.clock.forward(days=2)
    await gateway.send()
    assert len(gateway.bank.sent) == AUTOMATIC_ATTEMPTS
    assert await gateway.buckets() == {"failed": 1}
    receipts = await gateway.published()
    assert [(r["attempt"], r["outcome"]) for r in receipts] == [(n + 1, "failed") for n in range(AUTOMATIC_ATTEMPTS)]
    assert {r["who_acts"] for r in receipts[:-1]} == {"nobody"}
    assert (receipts[-1]["reason"], receipts[-1]["who_acts"]) == (told, who_acts)
    waiting = await gateway.store.reads.failures(1)
    assert [(row["attempt_no"], row["reason"]) for row in waiting] == [(AUTOMATIC_ATTEMPTS, told)]


async def test_an_order_gives_a_line_its_attempts_again_or_ends_it(gateway: Gateway) -> None:
    """What was handed to people is re-issued by an order, and may be refused as often again; a cancellation ends it."""
    await gateway.pay(1)
    await refuse_for_ever(gateway, Reason.FUNDS_SHORT, AUTOMATIC_ATTEMPTS)
    assert (await gateway.order("REISSUE", "O-1", 1, AUTOMATIC_ATTEMPTS)).refused is None
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 1}
    await refuse_for_ever(gateway, Reason.FUNDS_SHORT, AUTOMATIC_ATTEMPTS)
    assert await gateway.buckets() == {"failed": 1}
    assert len(gateway.bank.sent) == 2 * AUTOMATIC_ATTEMPTS
    assert (await gateway.order("CANCEL", "O-2", 1, 2 * AUTOMATIC_ATTEMPTS)).refused is None
    assert await gateway.buckets() == {"cancelled": 1}


async def test_a_line_between_two_attempts_is_not_waiting_for_an_order(gateway: Gateway) -> None:
    """While the core tries again by itself, an order is refused and no list shows the payout."""
    await gateway.pay(1)
    await gateway.answer(not_taken(gateway, 1, Reason.FUNDS_SHORT))
    assert await gateway.store.reads.failures(1) == []
    assert (await gateway.order("REISSUE", "O-1", 1, 1)).refused is not None
    assert (await gateway.order("REISSUE", "O-2", 1, 2)).refused is not None
    assert await gateway.buckets() == {"queued": 1}


async def test_what_was_given_up_and_is_then_found_by_the_bank_freezes(gateway: Gateway) -> None:
    """Handed to people, and the bank says that it works on the last attempt after all: nothing is paid on top."""
    await gateway.pay(1)
    await refuse_for_ever(gateway, None, AUTOMATIC_ATTEMPTS)
    await gateway.answer({"proof": "IN_PROCESS", "reference": gateway.reference_of(1)})
    assert await gateway.buckets() == {"conflict": 1}
    assert (await gateway.order("REISSUE", "O-1", 1, AUTOMATIC_ATTEMPTS)).refused is not None


@pytest.mark.parametrize("proof", [Proof.NOT_TAKEN, Proof.ABSENT])
@pytest.mark.parametrize("reason", [None, Reason.FUNDS_SHORT, Reason.BANK_BUSY])
def test_the_waits_grow_and_end_within_two_days(proof: Proof, reason: Reason | None) -> None:
    """Each wait is at least the one before; together they leave people a day of the three; then there is none."""
    waits = [next_attempt(proof, reason, tries) for tries in range(1, AUTOMATIC_ATTEMPTS)]
    spans = [wait for wait in waits if wait is not None]
    assert len(spans) == AUTOMATIC_ATTEMPTS - 1
    assert spans == sorted(spans)
    assert sum(spans, dt.timedelta(0)) < dt.timedelta(days=2)
    assert next_attempt(proof, reason, AUTOMATIC_ATTEMPTS) is None
