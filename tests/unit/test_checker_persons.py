"""One person is paid once for a programme and period: by whatever lists, and whatever orders put into whose place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.world.histories import History, funding, item, second_batch

ZERO = {"DP": 0, "MP": 0, "AC": 0, "RX": 0, "BR": 0, "UB": 0, "PII": 0}


def failed_once(directory: Path) -> History:
    """One list of one line, whose first attempt was rejected."""
    history = History(directory, [item(1)])
    history.approve()
    history.rejected(1, "REF1")
    return history


def corrected_to(history: History, person: dict[str, Any]) -> str:
    """An order that puts another person's details into the failed line."""
    return history.order("REISSUE", 1, 1, {name: person[name] for name in ("id_no", "name", "account")})


def paid_as(history: History, person: dict[str, Any]) -> None:
    history.paid(1, "REF1B", 2, **{name: person[name] for name in ("id_no", "name", "account")})


def another_list(history: History, person: dict[str, Any]) -> None:
    history.items.append(person)
    history.publish("batch", second_batch(history, "B-2", [person]))
    history.publish("funding", funding("B-2"))


def paid_by_the_other_list(history: History, line: int) -> None:
    sent = history.send(line, f"REF{line}")
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(line, 1, "credited", sent.reference, batch="B-2")


def refused_as_a_duplicate(history: History, line: int) -> None:
    history.tell(line, 0, "failed", batch="B-2", reason="DUPLICATE_BENEFICIARY")


def test_whom_an_order_made_another_person_is_not_paid_by_two_lists(tmp_path: Path) -> None:
    """A second list pays somebody; an order puts their ID into a failed line of the first: paid twice."""
    history = failed_once(tmp_path)
    another_list(history, item(2))
    paid_by_the_other_list(history, 2)
    corrected_to(history, item(2))
    paid_as(history, item(2))
    status, summary, printed = history.check()
    assert (summary["counters"], status) == ({**ZERO, "DP": 1}, 1), printed


def test_a_later_list_may_not_pay_whom_an_order_put_into_an_earlier_one(tmp_path: Path) -> None:
    """The order came first and acted: the line of the later list is a duplicate, and paying it pays twice."""
    history = failed_once(tmp_path)
    corrected_to(history, item(2))
    paid_as(history, item(2))
    another_list(history, item(2))
    paid_by_the_other_list(history, 2)
    assert history.check()[1]["counters"] == {**ZERO, "DP": 1}


def test_a_gateway_that_refuses_whom_an_order_brought_is_right(tmp_path: Path) -> None:
    """The same two inputs, and the second list's line refused as a duplicate: nothing is missing and nothing is red."""
    history = failed_once(tmp_path)
    corrected_to(history, item(2))
    paid_as(history, item(2))
    another_list(history, item(2))
    refused_as_a_duplicate(history, 2)
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_a_gateway_that_refuses_the_order_instead_is_right_too(tmp_path: Path) -> None:
    """Lists and orders travel apart: where the list was read first, the order is the one that collides."""
    history = failed_once(tmp_path)
    refused = corrected_to(history, item(2))
    another_list(history, item(2))
    paid_by_the_other_list(history, 2)
    history.refuse(refused, "BENEFICIARY_COLLISION")
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_an_order_that_was_refused_keeps_nobody_out_of_a_later_list(tmp_path: Path) -> None:
    """A refused correction put nobody into anybody's place: calling the other list's line a duplicate is a fault."""
    history = failed_once(tmp_path)
    history.refuse(corrected_to(history, item(2)), "DETAILS_INVALID")
    another_list(history, item(2))
    refused_as_a_duplicate(history, 2)
    assert history.check()[1]["counters"]["RX"] > 0


def test_whom_an_order_left_out_is_free_for_a_later_list(tmp_path: Path) -> None:
    """The person of the list, whose ID an order replaced, has no payout: a later list may bring them, or came too
    early and was refused."""
    history = failed_once(tmp_path)
    corrected_to(history, item(2))
    paid_as(history, item(2))
    another_list(history, item(3, id_no=item(1)["id_no"]))
    paid_by_the_other_list(history, 3)
    assert history.check()[1]["counters"] == ZERO


def cancelled(history: History) -> None:
    history.order("CANCEL", 1, 1)
    history.tell(1, 2, "cancelled")


def test_a_cancelled_payout_leaves_its_person_to_a_later_list(tmp_path: Path) -> None:
    """After the cancellation another list may pay the same person."""
    history = failed_once(tmp_path)
    cancelled(history)
    another_list(history, item(3, id_no=item(1)["id_no"]))
    paid_by_the_other_list(history, 3)
    assert history.check()[1]["counters"] == ZERO


def test_a_list_that_came_before_the_cancellation_is_refused_rightly(tmp_path: Path) -> None:
    """What was a duplicate when it was read stays one, whatever is cancelled afterwards."""
    history = failed_once(tmp_path)
    another_list(history, item(3, id_no=item(1)["id_no"]))
    refused_as_a_duplicate(history, 3)
    cancelled(history)
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_a_person_who_had_been_free_for_days_is_no_duplicate(tmp_path: Path) -> None:
    """A refusal dated long after the cancellation is for nothing."""
    history = failed_once(tmp_path)
    cancelled(history)
    history.ticks += 3 * 24 * 60  # minutes of business
    another_list(history, item(3, id_no=item(1)["id_no"]))
    refused_as_a_duplicate(history, 3)
    assert history.check()[1]["counters"]["RX"] > 0
