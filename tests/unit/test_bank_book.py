"""The simulated bank's book: what each programmed outcome moves, tells and logs, and what survives a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand, outlook
from tests.bank.held import HOUR_SECONDS, HeldBank, held_banks

Make = Callable[..., HeldBank]
MONTH_SECONDS = 30 * 24 * HOUR_SECONDS
FEN = 12_345
# outcome -> (credits, returns, statuses told by result file in their order, logged as)
OUTCOMES: dict[str, tuple[list[int], list[int], list[str], list[str]]] = {
    "accept": ([FEN], [], ["CREDITED"], []),
    "reject:NAME_MISMATCH": ([], [], ["REJECTED"], ["reject"]),
    "reject:7777": ([], [], ["REJECTED"], ["reject"]),
    "reject_late:7200": ([], [], ["IN_PROCESS", "REJECTED"], ["reject_late"]),
    "settle_late:172800": ([FEN], [], ["IN_PROCESS", "CREDITED"], ["settle_late"]),
    "suspect_then_settle:7200": ([FEN], [], ["UNKNOWN", "CREDITED"], ["suspect_then_settle"]),
    "credit_then_return:259200": ([FEN], [FEN], ["CREDITED", "RETURNED"], ["credit_then_return"]),
    "pending_for_ever": ([], [], ["IN_PROCESS"], ["pending_for_ever"]),
    "duplicate_answer": ([FEN], [], ["CREDITED", "CREDITED"], ["duplicate_answer"]),
    "wrong_reference": ([FEN], [], ["CREDITED", "CREDITED"], ["wrong_reference"]),
    "wrong_amount": ([FEN + 1], [], ["CREDITED"], ["wrong_amount"]),
    "credit_after_reject:7200": ([FEN], [], ["REJECTED", "CREDITED"], ["credit_after_reject"]),
    "contradiction": ([FEN], [], ["CREDITED", "REJECTED", "CREDITED"], ["contradiction"]),
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch)


def _programmed(*texts: str) -> dict[str, Any]:
    return {"accounts": {hand.account(number): [text] for number, text in enumerate(texts, 1)}}


def _history(bank: HeldBank) -> tuple[list[int], list[int], list[str], list[str]]:
    told = bank.column("SELECT status FROM answers WHERE channel = 'res' ORDER BY n")
    credits_ = bank.column("SELECT amount_fen FROM credits")
    return credits_, bank.column("SELECT amount_fen FROM returns"), told, bank.column("SELECT fault FROM faults")


@pytest.mark.parametrize("text", OUTCOMES)
def test_each_outcome_moves_money_tells_and_is_logged(make: Make, text: str) -> None:
    """Credits, returns, result files and the log of faults are those that the programme names."""
    bank = make(programme=_programmed(text), statements=False)
    bank.send(1, hand.payments(1))
    bank.wait(MONTH_SECONDS)
    assert _history(bank) == OUTCOMES[text]
    assert len(bank.files()) == len(OUTCOMES[text][2])


@pytest.mark.parametrize("text", OUTCOMES)
def test_each_outcome_survives_a_crash_at_any_time(make: Make, text: str) -> None:
    """A bank that loses its memory after every hour moves the same money, once, and tells the same in the end."""
    bank = make(programme=_programmed(text), statements=False)
    bank.send(1, hand.payments(1))
    for _ in range(80):
        bank.wait(HOUR_SECONDS)
        bank.crash()
    credits_, returns, told, faults = _history(bank)
    assert (credits_, returns, faults) == (OUTCOMES[text][0], OUTCOMES[text][1], OUTCOMES[text][3])
    assert told[-1] == OUTCOMES[text][2][-1]
    assert set(told) == set(OUTCOMES[text][2])


def test_what_fell_due_while_the_bank_was_dead_happens_at_its_start(make: Make) -> None:
    """A bank that was away for a month settles, returns and reports when it is back."""
    bank = make(programme=_programmed("settle_late:7200", "credit_then_return:7200", "reject"), statements=False)
    bank.send(1, hand.payments(3))
    bank.at_ms += MONTH_SECONDS * 1000
    bank.crash()
    bank.wait(HOUR_SECONDS)
    assert len(bank.rows("SELECT * FROM credits")) == 2
    assert len(bank.rows("SELECT * FROM returns")) == 1
    assert bank.statuses()[0] == ["S", "R", "F"]
    assert outlook.read(bank.directory)["credits"] == 0


def test_a_plan_stays_what_it_was_when_the_configuration_changes(make: Make) -> None:
    """The decision is in the ledger with the line: a new seed or programme cannot rewrite history."""
    bank = make(programme=_programmed("settle_late:7200"))
    bank.send(1, hand.payments(1))
    bank.wait()
    bank.crash(seed=99, programme={"rates": {"reject": 10_000}})
    bank.wait(3 * HOUR_SECONDS)
    assert bank.column("SELECT amount_fen FROM credits") == [FEN]


def test_a_blind_resend_pays_twice_and_shows(make: Make) -> None:
    """Without deduplication the same bytes again are paid again: two submissions, two credits of one reference."""
    bank = make()
    for _ in range(2):
        bank.send(1, hand.payments(3))
        bank.wait()
    assert bank.rows("SELECT transmission, verdict FROM submissions") == [(1, "taken"), (2, "taken")]
    assert set(bank.column("SELECT count(*) FROM credits GROUP BY reference")) == {2}
    assert bank.column("SELECT count(*) FROM lines") == [6]


@pytest.mark.parametrize("mode", ["by_reference", "by_file_id", "window"])
def test_deduplication_pays_once_and_the_resend_still_shows(make: Make, mode: str) -> None:
    """Whatever the bank recognises is answered F003 and paid once, and its second arrival stands in the ledger."""
    bank = make(deduplicate=mode)
    for _ in range(2):
        bank.send(1, hand.payments(3))
        bank.crash()
        bank.wait()
    assert bank.column("SELECT verdict FROM submissions") == ["taken", "duplicate"]
    assert bank.column("SELECT count(*) FROM credits") == [3]
    assert bank.column("SELECT status FROM answers WHERE channel = 'ack'") == ["RECEIVED", "DUPLICATE"]
    assert bank.column("SELECT count(*) FROM lines") == [6]


def test_a_window_forgets(make: Make) -> None:
    """Past its window the bank takes the same file as a new one."""
    bank = make(deduplicate="window", window_seconds=HOUR_SECONDS)
    for _ in range(2):
        bank.send(1, hand.payments(1))
        bank.wait(2 * HOUR_SECONDS)
    assert bank.column("SELECT verdict FROM submissions") == ["taken", "taken"]


def test_a_known_reference_in_another_batch_is_refused_line_by_line(make: Make) -> None:
    """By reference: the known line is rejected as a duplicate, its neighbour is paid."""
    bank = make(deduplicate="by_reference")
    bank.send(1, hand.payments(1))
    bank.send(2, hand.payments(2))
    bank.wait()
    assert bank.statuses(2) == [["F", "S"]]
    assert bank.column("SELECT count(*) FROM credits") == [2]


def test_short_funds_take_nothing_until_topped_up(make: Make) -> None:
    """F007 moves nothing, rejected and returned money comes back, and the balance is the sum of its moves."""
    bank = make(balance_fen=3 * FEN, programme=_programmed("reject", "credit_then_return:7200"))
    bank.send(1, hand.payments(2))
    bank.send(2, hand.payments(2, start=3))
    assert bank.column("SELECT code FROM answers WHERE channel = 'ack'") == ["0000", "F007"]
    bank.wait(MONTH_SECONDS)
    bank.crash()
    bank.send(2, hand.payments(2, start=3))
    bank.wait()
    assert bank.column("SELECT verdict FROM submissions") == ["taken", "refused", "taken"]
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [FEN]
    assert bank.column("SELECT sum(delta_fen) FROM balance") == [FEN]


def test_late_results_gather_into_runs(make: Make) -> None:
    """Many lines that settle at odd times are reported in few files, and P lines come again as S."""
    bank = make(programme={"rates": {"settle_late": 10_000}, "late_seconds": [600, 14_400]}, report_every_seconds=3600)
    bank.send(1, hand.payments(200))
    bank.wait(24 * HOUR_SECONDS)
    first, *later = bank.statuses()
    assert first == ["P"] * 200
    assert 2 <= len(later) <= 5
    assert sorted(status for run in later for status in run) == ["S"] * 200


def test_the_statement_of_a_day_is_its_credits_and_returns(make: Make) -> None:
    """After midnight the statement of the day stands, sealed, and its total is credits minus returns."""
    bank = make(programme=_programmed("credit_then_return:7200"))
    bank.send(1, hand.payments(2))
    bank.wait(15 * HOUR_SECONDS)
    (name,) = [name for name in bank.files(".txt") if name.startswith("DZ_")]
    assert name == "DZ_402XJ0001_20261124.txt"
    rows = [row.split("|") for row in bank.files(".txt")[name].decode("gb18030").split("\r\n")]
    assert rows[0] == ["H", "1.0", "402XJ0001", "20261124", "3", str(FEN)]
    assert [row[5] for row in rows if row[0] == "D"] == ["C", "C", "R"]
    bank.crash()
    bank.wait(2 * 24 * HOUR_SECONDS)
    assert len([name for name in bank.files(".txt") if name.startswith("DZ_")]) == 1


def test_hours_hold_processing_back(make: Make) -> None:
    """After the cut-off a file is taken, and paid at the next opening."""
    bank = make(hours={"opens": "09:00", "closes": "10:00", "days": [0, 1, 2, 3, 4]})
    bank.send(1, hand.payments(1))
    bank.wait(22 * HOUR_SECONDS)
    assert bank.column("SELECT status FROM answers") == ["RECEIVED"]
    bank.wait(HOUR_SECONDS + 600)
    assert bank.column("SELECT post_date FROM credits") == ["20261125"]


def test_the_outlook_counts_what_is_still_to_come(make: Make) -> None:
    """Planned credits, rejections and returns are counted until they have happened."""
    bank = make(programme=_programmed("credit_then_return:7200", "settle_late:7200", "reject", "pending_for_ever"))
    bank.send(1, hand.payments(5))
    assert {**outlook.read(bank.directory), "callbacks": 0} == {
        "credits": 3,
        "rejections": 1,
        "returns": 1,
        "pending_for_ever": 1,
        "callbacks": 0,
    }
    bank.wait(MONTH_SECONDS)
    assert set(outlook.read(bank.directory).values()) == {0, 1}
    assert outlook.read(bank.directory)["pending_for_ever"] == 1


def test_events_are_numbered_in_their_order(make: Make) -> None:
    """Over all tables a later event has a greater number, across a crash too: the checker orders by it."""
    bank = make()
    bank.send(1, hand.payments(1))
    bank.wait()
    bank.crash()
    bank.send(2, hand.payments(1, start=2))
    bank.wait()
    union = " UNION ALL ".join(f"SELECT n, '{table}' FROM {table}" for table in ("submissions", "answers", "credits"))
    order = [table for _, table in bank.rows(f"SELECT * FROM ({union}) ORDER BY 1")]
    assert order == ["submissions", "answers", "credits", "answers"] * 2


def test_a_seed_gives_the_same_history_twice(make: Make) -> None:
    """Two banks of one seed move the same money at the same virtual times and answer the same."""
    rates = {"reject": 2000, "settle_late": 2000, "credit_then_return": 2000, "wrong_reference": 500}
    histories = []
    for _ in range(2):
        bank = make(seed=5, programme={"rates": {**rates, "result_truncated": 2000, "ack_missing": 2000}})
        start_ms = bank.at_ms
        for number in range(1, 6):
            bank.send(number, hand.payments(40, start=number * 100))
            bank.wait()
        bank.wait(MONTH_SECONDS)
        moves = bank.rows(
            "SELECT at_ms, reference, amount_fen FROM credits UNION ALL SELECT at_ms, reference, 0 FROM returns"
        )
        told = bank.rows("SELECT at_ms, reference, status, artefact FROM answers")
        histories.append(
            ([(at - start_ms, *rest) for at, *rest in moves], [(at - start_ms, *rest) for at, *rest in told])
        )
    assert histories[0] == histories[1]
    assert len(histories[0][0]) > 150
