"""Finance is told nothing about money that no bank had said by then; and of each payout under one name, its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world.histories import History, Sent, item

ZERO = {"DP": 0, "MP": 0, "AC": 0, "RX": 0, "BR": 0, "UB": 0, "PII": 0}
A_FILE = "X.01.res"


def fresh(directory: Path, lines: int = 1) -> History:
    history = History(directory, [item(line) for line in range(1, lines + 1)])
    history.approve()
    return history


def delivered(history: History, how: str = "read") -> None:
    """The file or callback X.01.res reaches the gateway now."""
    n, at_ms, wall_ms = history.tick()
    history.database.execute("INSERT OR IGNORE INTO artefacts (id, name) VALUES (1, 'X.01.res')")
    history.database.execute(
        "INSERT INTO deliveries (n, at_ms, wall_ms, artefact, how) VALUES (?,?,?,1,?)", (n, at_ms, wall_ms, how)
    )


def in_process_only(history: History, sent: Sent) -> None:
    history.answer(sent, "RECEIVED", whole=True)
    history.answer(sent, "IN_PROCESS")


def in_a_file_that_nobody_read(history: History, sent: Sent) -> None:
    history.move(sent)
    history.answer(sent, "CREDITED", channel="res", artefact=A_FILE)


def of_the_whole_only(history: History, sent: Sent) -> None:
    history.move(sent)
    history.answer(sent, "DONE", whole=True)


@pytest.mark.parametrize("said", [in_process_only, in_a_file_that_nobody_read, of_the_whole_only])
def test_credited_without_the_banks_word_is_a_guess(tmp_path: Path, said: Callable[[History, Sent], None]) -> None:
    """That the bank books it afterwards does not make the receipt true: nobody had said so."""
    history = fresh(tmp_path)
    sent = history.send(1, "REF1")
    said(history, sent)
    history.tell(1, 1, "credited", "REF1")
    if said is in_process_only:
        history.move(sent)
    status, summary, printed = history.check()
    assert (summary["counters"], status) == ({**ZERO, "RX": 1}, 1), printed
    assert "which no bank had said" in printed


def test_a_word_that_came_after_the_receipt_was_read_proves_nothing(tmp_path: Path) -> None:
    """Told as credited at one moment, said by the bank at a later one: the gateway guessed right."""
    history = fresh(tmp_path)
    sent = history.send(1, "REF1")
    history.move(sent)
    history.tell(1, 1, "credited", "REF1")
    history.answer(sent, "CREDITED")
    assert "before its bank had said so" in history.check()[2]
    history.heard.clear()  # a reader that kept no times cannot tell
    assert history.check()[1]["counters"] == ZERO


@pytest.mark.parametrize("how", ["read", "acknowledged"])
def test_a_word_in_a_file_or_a_callback_counts_when_it_was_delivered(tmp_path: Path, how: str) -> None:
    """Read to the last byte, or acknowledged: then the gateway may say what stands in it."""
    history = fresh(tmp_path)
    sent = history.send(1, "REF1")
    history.move(sent)
    history.answer(sent, "CREDITED", channel="res", artefact=A_FILE)
    delivered(history, how)
    history.tell(1, 1, "credited", "REF1")
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_a_callback_may_be_acknowledged_after_finance_heard_of_it(tmp_path: Path) -> None:
    """The gateway takes a callback, acts and answers; the answer may be lost, and the callback come again."""
    history = fresh(tmp_path)
    sent = history.send(1, "REF1")
    history.move(sent)
    history.answer(sent, "CREDITED", channel="callback", artefact=A_FILE)
    history.tell(1, 1, "credited", "REF1")
    assert history.check("--running")[1]["counters"] == ZERO
    assert history.check()[1]["counters"]["RX"] == 1  # at rest it would have been acknowledged
    delivered(history, "acknowledged")
    assert history.check()[1]["counters"] == ZERO


def test_a_return_says_that_there_was_a_credit(tmp_path: Path) -> None:
    """A bank may tell of a credit and its return in one word: both receipts follow from it."""
    history = fresh(tmp_path)
    sent = history.send(1, "REF1")
    history.move(sent)
    history.move(sent, back=True)
    history.answer(sent, "RETURNED")
    history.tell(1, 1, "credited", "REF1")
    history.tell(1, 1, "returned", "REF1", reason="RETURNED_AFTER_CREDIT")
    status, summary, printed = history.check()
    assert (summary["counters"], status) == (ZERO, 0), printed


def test_a_return_that_no_bank_had_said_is_a_guess(tmp_path: Path) -> None:
    """Returned before the bank's word of it, although the money did come back."""
    history = fresh(tmp_path)
    sent = history.paid(1, "REF1")
    history.move(sent, back=True)
    history.tell(1, 1, "returned", "REF1", reason="RETURNED_AFTER_CREDIT")
    assert history.check()[1]["counters"]["RX"] == 1


@pytest.mark.parametrize("names", [("1-2", "1-1"), ("1-1", "1-1"), ("1-1", "7")])
def test_a_payout_has_one_id_and_it_is_its_own(tmp_path: Path, names: tuple[str, str]) -> None:
    """Ids of two payouts swapped, one id for both, an id that names no line: whoever asks by it hears of another."""
    history = fresh(tmp_path, 2)
    for line, name in enumerate(names, start=1):
        sent = history.send(line, f"REF{line}")
        history.move(sent)
        history.answer(sent, "CREDITED")
        history.tell(line, 1, "credited", f"REF{line}", payout_id=name)
    assert history.check()[1]["counters"]["RX"] > 0


def test_a_payout_keeps_its_id_over_all_attempts(tmp_path: Path) -> None:
    """A second attempt told under another id is nobody's payout."""
    history = fresh(tmp_path)
    history.rejected(1, "REF1")
    history.order("REISSUE", 1, 1)
    sent = history.send(1, "REF1B")
    history.move(sent)
    history.answer(sent, "CREDITED")
    history.tell(1, 2, "credited", "REF1B", payout_id="2-1")
    assert history.check()[1]["counters"] == {**ZERO, "RX": 1}


@pytest.mark.parametrize(
    ("code", "reason", "right"),
    [
        ("3018", "ACCOUNT_CLOSED", True),
        ("3018", "BENEFICIARY_DECEASED", False),
        ("AC06", "CARD_LOST_OR_EXPIRED", True),
        ("AC06", "ACCOUNT_FROZEN", True),
        ("ACCT_NAME_MISMATCH", "ACCOUNT_NOT_FOUND", False),
        ("3051", "DUPLICATE", False),  # it may be paid: a question, and no failure
        ("9876", "ACCOUNT_CLOSED", True),  # a code that no table lists is not judged
    ],
)
def test_a_failure_is_told_for_the_banks_own_reason(tmp_path: Path, code: str, reason: str, right: bool) -> None:
    """Who acts and whether the same account may work later follow from it: a wrong one sends people the wrong way."""
    history = fresh(tmp_path)
    history.answer(history.send(1, "REF1"), "REJECTED", code=code)
    history.tell(1, 1, "failed", "REF1", reason=reason)
    counters = history.check()[1]["counters"]
    assert counters == {**ZERO, "RX": 0 if right else 1}


@pytest.mark.parametrize(
    ("code", "reason", "right"),
    [
        ("3018", "ACCOUNT_CLOSED", True),
        ("3018", "RETURNED_AFTER_CREDIT", True),
        ("", "RETURNED_AFTER_CREDIT", True),
        ("", "ACCOUNT_CLOSED", False),
        ("3018", "NAME_MISMATCH", False),
    ],
)
def test_a_return_is_told_for_the_banks_own_reason(tmp_path: Path, code: str, reason: str, right: bool) -> None:
    """Or for none in particular, where the bank books it and gives none."""
    history = fresh(tmp_path)
    sent = history.paid(1, "REF1")
    history.move(sent, back=True)
    history.answer(sent, "RETURNED", code=code)
    history.tell(1, 1, "returned", "REF1", reason=reason)
    assert history.check()[1]["counters"] == {**ZERO, "RX": 0 if right else 1}


def test_what_was_sent_is_told_of_under_its_reference(tmp_path: Path) -> None:
    """A payout told as failed before it was sent, while bytes about it lie with a bank that never answered."""
    history = fresh(tmp_path)
    history.send(1, "REF1", verdict="lost")
    history.tell(1, 1, "failed", reason="FORMAT")
    assert history.check()[1]["counters"] == {**ZERO, "RX": 1}
    assert history.check("--running")[1]["counters"] == ZERO
