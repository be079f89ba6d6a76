"""Banks that break their own word are counted apart, and only excused when the gateway stopped and said so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world.histories import History, funding, item, second_batch

ZERO = {"DP": 0, "MP": 0, "AC": 0, "RX": 0, "BR": 0, "UB": 0, "PII": 0}


def history_of_one(directory: Path) -> History:
    history = History(directory, [item(1)])
    history.approve()
    return history


def credited_after_rejecting(history: History) -> None:
    rejected = history.rejected(1, "REF1")
    history.order("REISSUE", 1, 1)
    history.paid(1, "REF1B", 2)
    history.move(rejected)
    history.answer(rejected, "CREDITED")


def credited_after_denying(history: History) -> None:
    hidden = history.send(1, "REF1")
    history.answer(hidden, "ABSENT", whole=True)
    history.paid(1, "REF1", batch=hidden.batch)
    history.move(hidden)
    history.answer(hidden, "CREDITED")


def credited_another_amount(history: History) -> None:
    sent = history.send(1, "REF1")
    history.move(sent, amount_fen=sent.amount_fen + 1)
    history.answer(sent, "CREDITED")


def rejected_after_crediting(history: History) -> None:
    sent = history.paid(1, "REF1")
    history.answer(sent, "REJECTED")


BREACHES = [credited_after_rejecting, credited_after_denying, credited_another_amount, rejected_after_crediting]


@pytest.mark.parametrize("breach", BREACHES)
def test_a_surfaced_breach_is_counted_apart_and_excused(tmp_path: Path, breach: Callable[[History], None]) -> None:
    """A bank's own contradiction is no double, missed or altered payment of ours, if it is a CONFLICT in the report."""
    history = history_of_one(tmp_path)
    breach(history)
    history.report(conflict=1)
    status, summary, printed = history.check()
    assert summary["counters"] == ZERO, printed
    assert (summary["bank_broke_word"], status) == (1, 0)


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_that_nobody_was_told_about_fails(tmp_path: Path, breach: Callable[[History], None]) -> None:
    """Without a CONFLICT in the latest report the same history is not clean."""
    history = history_of_one(tmp_path)
    breach(history)
    history.report(conflict=1)
    history.report(conflict=0)
    status, summary, _ = history.check()
    assert status == 1
    assert "conflicts are shown" in summary["problems"][0]


def test_sending_after_a_contradiction_was_delivered_fails(tmp_path: Path) -> None:
    """Once both halves of a contradiction were heard, nothing more may be sent for that payout."""
    history = history_of_one(tmp_path)
    rejected = history.rejected(1, "REF1")
    history.move(rejected)
    history.answer(rejected, "CREDITED")
    history.order("REISSUE", 1, 1)
    history.ticks += 10  # real seconds: beyond the grace for what was on its way
    history.send(1, "REF1B")
    history.report(conflict=1)
    status, summary, _ = history.check()
    assert status == 1
    assert "sent 1 times after" in summary["problems"][0]


def test_a_contradiction_in_a_file_counts_from_when_the_file_was_read(tmp_path: Path) -> None:
    """A result file that lies unread in the bank's directory has told nobody anything yet."""
    history = history_of_one(tmp_path)
    rejected = history.rejected(1, "REF1")
    history.move(rejected)
    history.answer(rejected, "CREDITED", channel="res", artefact="X.02.res")
    history.database.execute("INSERT INTO artefacts (id, name) VALUES (1, 'X.02.res')")
    history.order("REISSUE", 1, 1)
    history.ticks += 10
    history.paid(1, "REF1B", 2)
    assert history.check()[0] == 0  # never read: the gateway could not know, and nothing had to be surfaced
    _, at_ms, wall_ms = history.tick()
    history.database.execute(
        "INSERT INTO deliveries (n, at_ms, wall_ms, artefact, how) VALUES (?,?,?,1,'read')",
        (history.ticks, at_ms, wall_ms),
    )
    assert history.check()[0] == 1  # read afterwards, and no conflict reported
    history.report(conflict=1)
    assert history.check()[0] == 0


def test_another_amount_counts_from_when_an_amount_was_told(tmp_path: Path) -> None:
    """A bank whose results carry no amounts tells a wrong one in its statement: nobody can know it before."""
    history = history_of_one(tmp_path)
    sent = history.send(1, "REF1")
    history.move(sent, amount_fen=sent.amount_fen + 1)
    history.answer(sent, "CREDITED", amount_told=False)
    history.tell(1, 1, "credited", "REF1")
    status, summary, printed = history.check()
    assert (summary["bank_broke_word"], status) == (1, 0), printed
    history.answer(sent, "CREDITED", channel="query")
    assert history.check()[0] == 1  # told now, and no conflict reported
    history.report(conflict=1)
    assert history.check()[0] == 0


def test_an_honest_bank_breaks_no_word(tmp_path: Path) -> None:
    """A return after a credit, or a resend after a true absence, is nobody's broken word."""
    history = history_of_one(tmp_path)
    lost = history.send(1, "REF1", verdict="lost")
    history.answer(lost, "ABSENT", whole=True)
    history.came_back(history.paid(1, "REF1", batch=lost.batch))
    status, summary, _ = history.check()
    assert (summary["bank_broke_word"], status) == (0, 0)


def test_a_double_payment_is_not_excused_by_another_payouts_breach(tmp_path: Path) -> None:
    """The excuse belongs to the payout of the contradiction alone."""
    history = History(tmp_path, [item(1), item(2)])
    history.approve()
    credited_another_amount(history)
    history.report(conflict=1)
    history.paid(2, "REF2")
    history.move(history.send(2, "REF2", batch="DFREF2"))
    assert history.check()[1]["counters"]["DP"] == 1


def test_the_same_line_twice_in_one_file_is_our_fault(tmp_path: Path) -> None:
    """A bank that credits two lines of a file because there are two has kept its word; we paid twice."""
    history = history_of_one(tmp_path)
    sent = history.paid(1, "REF1")
    row = history.database.execute("SELECT * FROM lines").fetchone()
    history.database.execute(f"INSERT INTO lines VALUES ({','.join('?' * len(row))})", (row[0], 2, *row[2:]))
    history.move(dataclasses.replace(sent, line=2))
    counters = history.check()[1]["counters"]
    assert (counters["DP"], counters["BR"]) == (1, 1)


def test_a_rejected_resend_is_not_the_banks_contradiction(tmp_path: Path) -> None:
    """What the bank says about bytes that should never have been sent excuses nobody."""
    history = history_of_one(tmp_path)
    sent = history.paid(1, "REF1")
    again = history.send(1, "REF1", batch=sent.batch)
    history.answer(again, "REJECTED")
    _, summary, _ = history.check()
    assert summary["bank_broke_word"] == 0
    assert summary["counters"]["BR"] == 1


def test_a_burned_reference_sent_again_and_paid_is_our_fault(tmp_path: Path) -> None:
    """A credit of the second transmission does not contradict the rejection of the first."""
    history = history_of_one(tmp_path)
    history.rejected(1, "REF1")
    history.move(history.send(1, "REF1", batch="DF2"))
    _, summary, _ = history.check()
    assert summary["bank_broke_word"] == 0
    assert summary["counters"]["RX"] == 1


def test_a_refusal_of_other_bytes_clears_nothing(tmp_path: Path) -> None:
    """That the bank took nothing of the second transmission says nothing about the first."""
    history = history_of_one(tmp_path)
    first = history.send(1, "REF1")
    second = history.send(1, "REF1", batch=first.batch, verdict="refused")
    history.answer(second, "NOT_TAKEN", whole=True)
    history.send(1, "REF1", batch=first.batch)
    assert history.check("--running")[1]["counters"]["BR"] == 2


def test_a_conflict_of_another_batch_surfaces_nothing_of_this_one(tmp_path: Path) -> None:
    """Reports are compared batch by batch: as many conflicts as contradictions, in the wrong list, is not clean."""
    history = history_of_one(tmp_path)
    credited_another_amount(history)
    history.items.append(item(2))
    history.publish("batch", second_batch(history, "B-2", [item(2)]))
    history.publish("funding", funding("B-2"))
    sent = history.send(2, "REF2")
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(2, 1, "credited", "REF2", batch="B-2")
    history.report(conflict=1, batch="B-2")
    status, summary, _ = history.check()
    assert (summary["bank_broke_word"], status) == (1, 1)
    assert "but 0 conflicts are shown" in summary["problems"][0]
    history.report(conflict=1)
    assert history.check()[0] == 0


def test_a_run_that_waited_for_every_word_leaves_no_contradiction_unread(tmp_path: Path) -> None:
    """Another amount that stands in a statement nobody read: excused while it may still come, and not afterwards."""
    history = history_of_one(tmp_path)
    sent = history.send(1, "REF1")
    history.move(sent, amount_fen=1)
    history.answer(sent, "CREDITED", amount_told=False)
    history.tell(1, 1, "credited", "REF1")
    assert history.check()[0] == 0
    status, summary, _ = history.check("--all-read")
    assert (summary["counters"], status) == (ZERO, 1)
    assert "never read that its bank credited another amount" in summary["problems"][0]
    history.answer(sent, "CREDITED", channel="query")
    history.report(conflict=1)
    assert history.check("--all-read")[0] == 0


def test_what_a_bank_pays_after_rejecting_it_was_cancelled_rightly(tmp_path: Path) -> None:
    """Rejected, signed away, and then paid all the same: the bank's word is broken, and no order and no receipt."""
    history = history_of_one(tmp_path)
    rejected = history.rejected(1, "REF1")
    history.order("CANCEL", 1, 1)
    history.tell(1, 2, "cancelled")
    history.move(rejected)
    history.answer(rejected, "CREDITED")
    history.report(conflict=1)
    status, summary, printed = history.check()
    assert (summary["counters"], summary["bank_broke_word"], status) == (ZERO, 1, 0), printed
