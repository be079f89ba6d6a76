"""What finance signs is obeyed or refused: no order lies unanswered, and what was called back does not travel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world.checker.obedience import READ_WITHIN_MS
from tests.world.histories import BATCH, History, clean, item, recall

ZERO = {"DP": 0, "MP": 0, "AC": 0, "RX": 0, "BR": 0, "UB": 0, "PII": 0}


def fresh(directory: Path, lines: int = 1) -> History:
    history = History(directory, [item(line) for line in range(1, lines + 1)])
    history.approve()
    return history


def failed_once(directory: Path) -> History:
    history = fresh(directory)
    history.rejected(1, "REF1")
    return history


def paid_although_it_was_cancelled_in_time(history: History) -> None:
    history.order("CANCEL", 1, 1)
    history.paid(1, "REF1")


def a_failure_cancelled_and_nobody_told(history: History) -> None:
    history.rejected(1, "REF1")
    history.order("CANCEL", 1, 1)


def a_second_order_about_what_was_ordered_already(history: History) -> None:
    history.rejected(1, "REF1")
    history.order("REISSUE", 1, 1)
    history.order("REISSUE", 1, 1)
    history.paid(1, "REF1B", 2)


def an_order_about_what_was_paid(history: History) -> None:
    history.paid(1, "REF1")
    history.order("REISSUE", 1, 1)


def an_order_about_no_line_of_the_list(history: History) -> None:
    history.paid(1, "REF1")
    history.order("CANCEL", 7, 1)


def a_recall_that_nobody_obeyed(history: History) -> None:
    history.publish("order", recall(BATCH))
    history.ticks += READ_WITHIN_MS // 1000 + 1
    history.paid(1, "REF1")


def cancelled_in_doubt(history: History) -> None:
    history.send(1, "REF1", verdict="lost")
    history.order("CANCEL", 1, 1)
    history.tell(1, 1, "cancelled", "REF1")


def cancelled_by_nobody(history: History) -> None:
    history.tell(1, 1, "cancelled")


def cancelled_by_a_refused_order(history: History) -> None:
    history.refuse(history.order("CANCEL", 1, 1), "ALREADY_SENT")
    history.tell(1, 1, "cancelled")


def cancelled_before_it_was_ordered(history: History) -> None:
    history.tell(1, 1, "cancelled")
    history.order("CANCEL", 1, 1)


def recalled_in_doubt(history: History) -> None:
    history.send(1, "REF1", verdict="lost")
    history.publish("order", recall(BATCH))
    history.tell(1, 1, "cancelled", "REF1")


def cancelled_on_an_absence_that_came_later(history: History) -> None:
    sent = history.send(1, "REF1", verdict="lost")
    history.publish("order", recall(BATCH))
    history.tell(1, 1, "cancelled", "REF1")
    history.answer(sent, "ABSENT", whole=True)


def sent_after_its_cancellation_was_told(history: History) -> None:
    history.order("CANCEL", 1, 1)
    history.tell(1, 1, "cancelled", "REF1")
    history.answer(history.send(1, "REF1"), "REJECTED")


def cancelled_and_paid_by_a_further_attempt(history: History) -> None:
    history.rejected(1, "REF1")
    history.order("CANCEL", 1, 1)
    history.tell(1, 2, "cancelled")
    history.paid(1, "REF1B", 3)


def told_as_failed_and_as_cancelled(history: History) -> None:
    history.rejected(1, "REF1")
    history.order("CANCEL", 1, 1)
    history.tell(1, 1, "cancelled", "REF1")


@pytest.mark.parametrize(
    "plant",
    [
        paid_although_it_was_cancelled_in_time,
        a_failure_cancelled_and_nobody_told,
        a_second_order_about_what_was_ordered_already,
        an_order_about_what_was_paid,
        an_order_about_no_line_of_the_list,
        a_recall_that_nobody_obeyed,
        cancelled_in_doubt,
        cancelled_by_nobody,
        cancelled_by_a_refused_order,
        cancelled_before_it_was_ordered,
        recalled_in_doubt,
        cancelled_on_an_absence_that_came_later,
        sent_after_its_cancellation_was_told,
        cancelled_and_paid_by_a_further_attempt,
        told_as_failed_and_as_cancelled,
    ],
)
def test_an_order_that_was_not_kept_turns_the_receipts_red(tmp_path: Path, plant: Callable[[History], None]) -> None:
    """Unanswered, disobeyed, or answered before it was safe."""
    history = fresh(tmp_path)
    plant(history)
    status, summary, printed = history.check()
    assert summary["counters"]["RX"] > 0, printed
    assert status == 1


def test_orders_that_came_too_late_are_refused_and_nothing_is_red(tmp_path: Path) -> None:
    """Already credited, no such line, stale: each refused, by its own bytes."""
    history = clean(tmp_path)
    for line, attempt, why in ((1, 1, "ALREADY_CREDITED"), (77, 1, "UNKNOWN_PAYOUT"), (2, 1, "STALE_ATTEMPT")):
        history.refuse(history.order("CANCEL", line, attempt), why)
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_a_running_gateway_may_still_owe_an_answer(tmp_path: Path) -> None:
    """What was published a moment ago lies in Kafka."""
    history = failed_once(tmp_path)
    history.order("CANCEL", 1, 1)
    assert history.check("--running")[1]["counters"] == ZERO


def test_a_cancellation_before_sending_is_clean(tmp_path: Path) -> None:
    """Never sent, or sent and proved to be absent: cancelled, and told under the attempt's own number."""
    history = fresh(tmp_path, 2)
    history.order("CANCEL", 1, 1)
    history.tell(1, 1, "cancelled", "REF1")
    history.answer(history.send(2, "REF2", verdict="lost"), "ABSENT", whole=True)
    history.order("CANCEL", 2, 1)
    history.tell(2, 1, "cancelled", "REF2")
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_a_recall_catches_what_was_not_sent_and_spares_the_rest(tmp_path: Path) -> None:
    """What travelled before it could have been read is paid; the others are told as cancelled."""
    history = fresh(tmp_path, 3)
    sent = history.send(1, "REF1")
    history.publish("order", recall(BATCH))
    history.tell(3, 1, "cancelled")
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(1, 1, "credited", "REF1")
    history.paid(2, "REF2")  # it was on its way: seconds, not minutes, after the recall was published
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_what_is_ordered_again_after_a_recall_may_go(tmp_path: Path) -> None:
    """A recall stops the list, not an order that was signed after it."""
    history = failed_once(tmp_path)
    history.publish("order", recall(BATCH))
    history.ticks += READ_WITHIN_MS // 1000 + 1
    history.order("REISSUE", 1, 1)
    history.paid(1, "REF1B", 2)
    assert history.check()[1]["counters"] == ZERO


NEW_ACCOUNT = {"account": "6299990000000990001"}


@pytest.mark.parametrize(
    ("details", "why"),
    [
        (None, "NOT_FAILED"),
        (NEW_ACCOUNT, "NOT_FAILED"),
        (NEW_ACCOUNT, "DETAILS_INVALID"),
        (NEW_ACCOUNT, "BENEFICIARY_COLLISION"),
        ({"id_no": item(50)["id_no"]}, "BENEFICIARY_COLLISION"),
    ],
)
def test_an_order_in_order_is_not_refused(tmp_path: Path, details: dict[str, str] | None, why: str) -> None:
    """With details or without: a failed attempt, details that may be paid, nobody's person; refusing it is a fault."""
    history = failed_once(tmp_path)
    history.refuse(history.order("REISSUE", 1, 1, details), why)
    counters = history.check()[1]["counters"]
    assert counters == {**ZERO, "MP": 1}


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ({"account": "x"}, "DETAILS_INVALID"),
        ({"account": ""}, "DETAILS_INVALID"),
        ({"account_kind": "现金"}, "DETAILS_INVALID"),
        ({"id_no": "659999198001010010"}, "DETAILS_INVALID"),
        ({"bank_no": "000000000000"}, "DETAILS_INVALID"),
        ({"name": "某|某"}, "DETAILS_INVALID"),
        ({"id_no": item(2)["id_no"]}, "BENEFICIARY_COLLISION"),
    ],
)
def test_details_that_may_not_be_paid_are_refused_rightly(tmp_path: Path, details: dict[str, str], why: str) -> None:
    """Another person's ID, no account, a bank without an agreement: the gateway's reason is looked into."""
    history = fresh(tmp_path, 2)
    history.paid(2, "REF2")
    history.rejected(1, "REF1")
    history.refuse(history.order("REISSUE", 1, 1, details), why)
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed
