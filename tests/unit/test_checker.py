"""The checker goes red for each of its counters, one planted fault at a time, and stays at zero on a clean history."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.world.checker.lines import Tables, refusal
from tests.world.histories import DATA, History, clean, funding, item, recall, second_batch

ZERO = {"DP": 0, "MP": 0, "AC": 0, "RX": 0, "BR": 0, "UB": 0, "PII": 0}


def fresh(directory: Path, lines: int = 1) -> History:
    history = History(directory, [item(line) for line in range(1, lines + 1)])
    history.approve()
    return history


def test_a_clean_history_is_clean(tmp_path: Path) -> None:
    """Every legal way of a payout, told together, leaves all seven counters at zero."""
    status, summary, printed = clean(tmp_path).check()
    assert summary["counters"] == ZERO, printed
    assert status == 0
    assert summary["standing"] == {"credited": 5, "failed": 2, "cancelled": 1, "open": 0}
    assert (summary["payouts"], summary["refused"], summary["credits"], summary["returns"]) == (8, 1, 7, 2)


def credited_again_by_a_blind_resend(history: History) -> None:
    history.move(history.send(1, "REF1", batch="DFREF1"))


def credited_under_two_references(history: History) -> None:
    sent = history.send(1, "REF1X")
    history.move(sent)
    history.answer(sent, "CREDITED")


def never_sent(history: History) -> None:
    history.items.append(item(10))
    history.publish("batch", second_batch(history, "B-2", [item(10)]))
    history.publish("funding", funding("B-2"))


def order_ignored(history: History) -> None:
    history.order("REISSUE", 4, 1)


def other_amount_submitted(history: History) -> None:
    history.send(4, "REF4B", amount_fen=1)


def old_account_after_an_order(history: History) -> None:
    history.order("REISSUE", 4, 1, {"account": "6299990000000990004"})
    history.paid(4, "REF4B", 2)


def other_name_submitted(history: History) -> None:
    history.order("REISSUE", 4, 1)
    history.paid(4, "REF4B", 2, name="测试买买提·第五号")


def no_receipt_for_a_credit(history: History) -> None:
    history.chunks = [chunk for chunk in history.chunks if '"1-1/1/credited"' not in chunk]


def two_outcomes_of_one_attempt(history: History) -> None:
    history.tell(1, 1, "failed", "REF1")


def no_receipt_for_a_return(history: History) -> None:
    history.chunks = [chunk for chunk in history.chunks if '"1-8/1/returned"' not in chunk]


def a_return_that_did_not_happen(history: History) -> None:
    history.tell(1, 1, "returned", "REF1")


def a_refused_line_without_an_answer(history: History) -> None:
    history.chunks = [chunk for chunk in history.chunks if '"1-9/0/failed"' not in chunk]


def a_repeat_with_other_bytes(history: History) -> None:
    history.chunks.append(history.chunks[1].replace('"late": false', '"late": true'))


def a_credit_that_did_not_happen(history: History) -> None:
    history.order("REISSUE", 4, 1)
    history.tell(4, 2, "credited", "REF4B")


def _swapped(history: History, one: str, other: str) -> None:
    """Two receipts on the topic change places."""
    here, there = (next(n for n, chunk in enumerate(history.chunks) if f'"{name}"' in chunk) for name in (one, other))
    history.chunks[here], history.chunks[there] = history.chunks[there], history.chunks[here]


def a_return_told_before_its_credit(history: History) -> None:
    _swapped(history, "1-8/1/credited", "1-8/1/returned")


def an_attempt_told_before_the_one_before(history: History) -> None:
    _swapped(history, "1-2/1/failed", "1-2/2/credited")


def sent_again_in_doubt(history: History) -> None:
    history.send(1, "REF1", batch="DFREF1", verdict="duplicate")


def sent_again_after_not_found_too_early(history: History) -> None:
    sent = history.send(4, "REF4B", verdict="lost")
    history.answer(sent, "NOT_FOUND", whole=True)
    history.send(4, "REF4B", batch=sent.batch)


def reissued_without_an_order(history: History) -> None:
    history.paid(4, "REF4B", 2)


def paid_without_funds(history: History) -> None:
    history.items.append(item(10))
    history.publish("batch", second_batch(history, "B-2", [item(10)]))
    history.move(history.send(10, "REF10"))


def paid_without_a_signature(history: History) -> None:
    history.items.append(item(10))
    history.publish("batch", second_batch(history, "B-2", [item(10)]), signed=False)
    history.publish("funding", funding("B-2"))
    history.move(history.send(10, "REF10"))


def a_refused_line_paid(history: History) -> None:
    history.move(history.send(9, "REF9"))


def told_as_cancelled_and_credited(history: History) -> None:
    history.items.append(item(10))
    history.publish("batch", second_batch(history, "B-2", [item(10)]))
    history.publish("funding", funding("B-2"))
    sent = history.send(10, "REF10")
    history.publish("order", recall("B-2"))
    history.tell(10, 1, "cancelled", "REF10", batch="B-2")
    history.move(sent)
    history.answer(sent, "CREDITED")


def a_person_in_two_lists_paid_by_both(history: History) -> None:
    told_as_cancelled_and_credited(history)
    history.publish("batch", second_batch(history, "B-3", [item(10)]))
    history.publish("funding", funding("B-3"))
    sent = history.send(10, "REF10C")
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(10, 1, "credited", "REF10C", batch="B-3")


def sent_again_on_a_refusal_that_was_never_read(history: History) -> None:
    sent = history.send(4, "REF4B")
    history.answer(sent, "NOT_TAKEN", whole=True, channel="file", artefact="F1")
    history.send(4, "REF4B", batch=sent.batch)


def sent_again_after_a_bank_lost_what_it_had_acknowledged(history: History) -> None:
    sent = history.send(4, "REF4B")
    history.answer(sent, "RECEIVED", whole=True)
    history.answer(sent, "ABSENT", whole=True)
    history.send(4, "REF4B", batch=sent.batch)


def one_credit_told_twice(history: History) -> None:
    history.tell(1, 2, "credited", "REF1")


def an_attempt_that_nobody_ordered(history: History) -> None:
    history.tell(4, 2, "failed", "REF4", reason="ACCOUNT_CLOSED")


def told_as_not_executed_and_credited(history: History) -> None:
    history.order("REISSUE", 4, 1)
    sent = history.send(4, "REF4B")
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(4, 2, "failed", "REF4B", reason="NOT_EXECUTED")


def failed_and_no_bank_said_so(history: History) -> None:
    history.order("REISSUE", 4, 1)
    history.send(4, "REF4B", plan="pending_for_ever")
    history.tell(4, 2, "failed", "REF4B", reason="ACCOUNT_CLOSED")


def failed_at_the_bank_and_never_sent(history: History) -> None:
    history.order("REISSUE", 4, 1)
    history.tell(4, 2, "failed", reason="ACCOUNT_CLOSED")


def order_refused_for_nothing(history: History) -> None:
    history.refuse(history.order("REISSUE", 4, 1), "NOT_FAILED")


def paid_by_another_bank(history: History) -> None:
    history.order("REISSUE", 4, 1, {"bank_no": "103881000011"})
    history.paid(4, "REF4B", 2)


def a_refused_line_answered_with_another_reason(history: History) -> None:
    history.chunks = [chunk.replace("OUT_OF_SCOPE", "ID_INVALID") for chunk in history.chunks]


def a_refused_line_answered_with_another_amount(history: History) -> None:
    history.chunks = [chunk.replace('"amount": "100.09"', '"amount": "0.09"') for chunk in history.chunks]


def paid_before_the_money_was_confirmed(history: History) -> None:
    history.items.append(item(10))
    history.publish("batch", second_batch(history, "B-2", [item(10)]))
    sent = history.send(10, "REF10")
    history.publish("funding", funding("B-2"))
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(10, 1, "credited", "REF10", batch="B-2")


def paid_again_before_the_order(history: History) -> None:
    sent = history.send(4, "REF4B")
    history.order("REISSUE", 4, 1)
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(4, 2, "credited", "REF4B")


@pytest.mark.parametrize(
    ("counter", "plant"),
    [
        ("DP", credited_again_by_a_blind_resend),
        ("DP", credited_under_two_references),
        ("MP", never_sent),
        ("MP", order_ignored),
        ("AC", other_amount_submitted),
        ("AC", old_account_after_an_order),
        ("AC", other_name_submitted),
        ("RX", no_receipt_for_a_credit),
        ("RX", two_outcomes_of_one_attempt),
        ("RX", no_receipt_for_a_return),
        ("RX", a_return_that_did_not_happen),
        ("RX", a_refused_line_without_an_answer),
        ("RX", a_repeat_with_other_bytes),
        ("RX", a_credit_that_did_not_happen),
        ("RX", a_return_told_before_its_credit),
        ("RX", an_attempt_told_before_the_one_before),
        ("BR", credited_again_by_a_blind_resend),
        ("BR", sent_again_in_doubt),
        ("BR", sent_again_after_not_found_too_early),
        ("DP", a_person_in_two_lists_paid_by_both),
        ("MP", order_refused_for_nothing),
        ("AC", paid_by_another_bank),
        ("RX", told_as_cancelled_and_credited),
        ("RX", one_credit_told_twice),
        ("RX", an_attempt_that_nobody_ordered),
        ("RX", told_as_not_executed_and_credited),
        ("RX", failed_and_no_bank_said_so),
        ("RX", failed_at_the_bank_and_never_sent),
        ("RX", a_refused_line_answered_with_another_reason),
        ("RX", a_refused_line_answered_with_another_amount),
        ("BR", sent_again_on_a_refusal_that_was_never_read),
        ("BR", sent_again_after_a_bank_lost_what_it_had_acknowledged),
        ("UB", reissued_without_an_order),
        ("UB", paid_without_funds),
        ("UB", paid_without_a_signature),
        ("UB", a_refused_line_paid),
        ("UB", paid_before_the_money_was_confirmed),
        ("UB", paid_again_before_the_order),
    ],
)
def test_one_planted_fault_turns_its_counter_red(
    tmp_path: Path, counter: str, plant: Callable[[History], None]
) -> None:
    """Each counter has faults that it alone must catch, however clean the rest is."""
    history = clean(tmp_path)
    plant(history)
    status, summary, printed = history.check()
    assert summary["counters"][counter] > 0, printed
    assert status == 1


def test_a_world_in_which_nothing_was_approved_proves_nothing(tmp_path: Path) -> None:
    """Counters of nothing are zero, and no clean result."""
    status, summary, _ = History(tmp_path, [item(1)]).check()
    assert (status, summary["counters"]) == (1, ZERO)
    assert summary["problems"] == ["nothing was approved: there is nothing to count"]


def test_what_the_gateway_cannot_write_for_a_bank_fails_without_being_sent(tmp_path: Path) -> None:
    """A name that a bank's encoding does not hold: no bank has to say so."""
    history = fresh(tmp_path)
    history.tell(1, 1, "failed", reason="NAME_NOT_ENCODABLE")
    assert history.check()[1]["counters"] == ZERO


def test_what_is_not_at_rest_may_still_owe_but_not_do_wrong(tmp_path: Path) -> None:
    """In the middle of a run a payment under way is no violation; a double payment already is."""
    history = fresh(tmp_path, 2)
    history.send(1, "REF1")
    assert history.check("--running")[1]["counters"] == ZERO
    assert history.check()[1]["counters"]["MP"] == 2
    history.move(history.send(1, "REF1", batch="DFREF1"))
    history.move(history.send(1, "REF1", batch="DFREF1"))
    assert history.check("--running")[1]["counters"]["DP"] == 1


@pytest.mark.parametrize("told", [{"period": ""}, {"programme": "耕地地力保护补贴", "period": ""}])
def test_a_bank_that_is_told_less_knows_the_same_people(tmp_path: Path, told: dict[str, Any]) -> None:
    """A credit at a bank that hears of no period, or of the purpose alone, belongs to its payout, receipt or not."""
    history = fresh(tmp_path, 2)
    history.paid(1, "REF1", **told)
    unreported = history.send(2, "REF2", **told)
    history.move(unreported)
    assert history.check("--running")[1]["counters"] == ZERO
    history.move(history.send(2, "REF2B", **told))
    assert history.check("--running")[1]["counters"]["DP"] == 1


def test_a_bank_that_is_told_another_purpose_pays_a_stranger(tmp_path: Path) -> None:
    """Words that stand for no programme of this person are nobody's approval."""
    history = fresh(tmp_path)
    history.move(history.send(1, "REF1", programme="边民补助", period=""))
    assert history.check("--running")[1]["counters"]["UB"] == 1


def test_a_line_without_funds_may_travel_again(tmp_path: Path) -> None:
    """Not taken, of one line, clears the transmission that it speaks of, no other; a later credit breaks no word."""
    history = fresh(tmp_path)
    first = history.send(1, "REF1")
    history.answer(first, "NOT_TAKEN")
    second = history.send(1, "REF1", batch="DF2")
    history.answer(first, "NOT_TAKEN")  # asked once more about the first
    history.move(second)
    history.answer(second, "CREDITED")
    history.tell(1, 1, "credited", "REF1")
    status, summary, printed = history.check()
    assert (summary["counters"], summary["bank_broke_word"], status) == (ZERO, 0, 0), printed
    history.send(1, "REF1", batch="DF3")
    assert history.check()[1]["counters"]["BR"] == 1


def test_a_corrected_id_still_belongs_to_its_payout(tmp_path: Path) -> None:
    """After an order with another ID number the bank knows the person by the new one, and nobody is a stranger."""
    history = fresh(tmp_path)
    history.rejected(1, "REF1")
    corrected = item(77)["id_no"]
    history.order("REISSUE", 1, 1, {"id_no": corrected})
    history.paid(1, "REF1B", 2, id_no=corrected)
    assert history.check()[1]["counters"] == ZERO


def test_a_refused_order_changes_nothing(tmp_path: Path) -> None:
    """An order that was answered with a refusal gives no right to pay and no new details."""
    history = fresh(tmp_path)
    history.refuse(history.order("REISSUE", 1, 1, {"account": "6299990000000990001"}), "NOT_FAILED")
    history.paid(1, "REF1")
    assert history.check()[1]["counters"] == ZERO


def test_the_checker_judges_lines_as_the_countys_list_expects() -> None:
    """On the real list the checker's own judgement gives the expected refusals, line by line."""
    columns = ["line", "name", "id_no", "phone", "address", "bank_name", "bank_no", "account", "account_kind"]
    tables = Tables.read(DATA / "agreements.csv", DATA / "programmes.csv", None)
    found: dict[int, str] = {}
    people: set[str] = set()
    with (DATA / "real_name_list/farmland_fertility_2026.csv").open(encoding="gb18030", newline="") as file:
        for row in list(csv.reader(file))[1:]:
            line = {**dict(zip(columns, row, strict=False)), "amount": row[12]}
            why = refusal(line, tables, "659999", "2026-11-24")
            if not why and line["id_no"] in people:
                why = "DUPLICATE_BENEFICIARY"
            if why:
                found[int(line["line"])] = why
            else:
                people.add(line["id_no"])
    with (DATA / "real_name_list/expected.csv").open(encoding="utf-8", newline="") as file:
        expected = {
            int(row["line"]): row["reason"].partition(":")[0]
            for row in csv.DictReader(file)
            if row["outcome"] == "refuse"
        }
    assert found == expected
    assert len(found) == 180


def test_the_timeline_of_a_violation_names_events_and_no_person(tmp_path: Path) -> None:
    """Whoever reads a violation sees what happened in which order, by reference and line, and nobody's data."""
    history = fresh(tmp_path)
    history.paid(1, "REF1")
    history.move(history.send(1, "REF1", batch="DFREF1"))
    _, _, printed = history.check()
    assert "DP B-2026-0001/1" in printed
    assert printed.index("REF1 arrived in DFREF1") < printed.index("REF1 CREDITED")
    person = item(1)
    assert not any(person[name] in printed for name in ("name", "id_no", "phone", "account", "address"))
