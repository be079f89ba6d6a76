"""The simulated bank killed at random commits under every fault at once: its ledger still closes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bank import hand, outlook
from tests.bank.held import HOUR_SECONDS, HeldBank, held_banks
from tests.bank.held_iso import HeldIso
from tests.bank.ledger import Ledger
from tests.bank.programme import FILES, LINE_OUTCOMES, RESULT_FAULTS
from tests.bank.timing import compact

Make = Callable[..., HeldBank]
KINDS: tuple[type[HeldBank], ...] = (HeldBank, HeldIso)
OPENING_FEN = 10**12
IN_THE_END = {
    "reject": "REJECTED",
    "reject_late": "REJECTED",
    "pending_for_ever": "IN_PROCESS",
    "credit_then_return": "RETURNED",
}
RATES = {
    **dict.fromkeys(LINE_OUTCOMES, 300),
    **{name: 400 for name, profiles in RESULT_FAULTS.items() if set(FILES) & set(profiles)},
    "ack_missing": 500,
    "ack_late": 500,
    "funds_short": 500,
    "refuse_format": 300,
    "refuse_duplicate": 300,
}


@pytest.fixture(params=KINDS, ids=lambda kind: str(kind.profile))
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch, request.param)


class Killed(Exception):
    """Stands for SIGKILL: nothing after it runs, nothing uncommitted survives."""


class Killer:
    """Ends the bank at its n-th commit, as often before the commit as after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.random = random.Random(seed)
        self.kills = 0
        self._commits_left = 0
        self._commit = Ledger.commit
        monkeypatch.setattr(Ledger, "commit", lambda ledger: self._maybe(ledger))

    def arm(self) -> None:
        self._commits_left = self.random.randint(1, 25)

    def disarm(self) -> None:
        self._commits_left = 0

    def _maybe(self, ledger: Ledger) -> None:
        self._commits_left -= 1
        if self._commits_left != 0:
            self._commit(ledger)
            return
        self.kills += 1
        if self.random.random() < 0.5:
            self._commit(ledger)
        raise Killed


def _storm(bank: HeldBank, killer: Killer) -> None:
    """Forty batches, a kill somewhere in most of their lives, and then a month of quiet."""
    for number in range(1, 41):
        bank.drop(hand.batch_number(number), hand.payments(15, start=number * 100))
        killer.arm()
        try:
            bank.desk.scan()
            bank.wait(killer.random.choice([60, 600, 2 * HOUR_SECONDS, 12 * HOUR_SECONDS]))
        except Killed:
            killer.disarm()
            bank.crash()
        killer.disarm()
    bank.desk.scan()
    bank.wait(20 * 24 * HOUR_SECONDS)


def _twice(bank: HeldBank, table: str, columns: str) -> list[tuple[object, ...]]:
    return bank.rows(f"SELECT {columns} FROM {table} WHERE reference <> '' GROUP BY {columns} HAVING count(*) > 1")


@pytest.mark.parametrize("seed", range(8))
def test_no_kill_moves_money_twice_or_loses_a_word(make: Make, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Every plan is carried out once, told truly in the end, logged once, and the balance is the sum of the moves."""
    killer = Killer(monkeypatch, seed)
    bank = make(seed=seed, programme={"rates": RATES}, balance_fen=OPENING_FEN)
    _storm(bank, killer)
    assert killer.kills >= 5
    assert bank.rows("SELECT batch FROM submissions GROUP BY batch HAVING count(*) > 1") == []
    still = outlook.read(bank.directory)
    assert (still["credits"], still["rejections"], still["returns"]) == (0, 0, 0)
    assert _twice(bank, "credits", "submission, line") == _twice(bank, "returns", "submission, line") == []
    assert _twice(bank, "faults", "fault, submission, reference") == []
    said: dict[tuple[int, int], str] = {}
    for n, no, status in bank.rows("SELECT submission, line, status FROM answers WHERE channel = 'res' ORDER BY n"):
        said[n, no] = status
    plans = bank.rows("SELECT submission, line, plan FROM lines WHERE plan <> ''")
    wrong = [plan for n, no, plan in plans if said.get((n, no)) != IN_THE_END.get(plan.partition(":")[0], "CREDITED")]
    assert wrong == []
    (moved,) = bank.column(
        "SELECT (SELECT sum(amount_fen) FROM credits) - (SELECT sum(amount_fen) FROM returns)"
        " + (SELECT sum(amount_fen) FROM lines WHERE plan = 'pending_for_ever')"
        " - (SELECT count(*) FROM lines WHERE plan = 'wrong_amount')"
    )
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [OPENING_FEN - moved]
    silent = bank.rows(
        "SELECT n FROM submissions WHERE fault <> 'ack_missing' AND n NOT IN"
        " (SELECT submission FROM artefacts WHERE channel = 'ack')"
    )
    assert silent == []
    today = compact(bank.at_ms)
    for table, status in (("credits", "CREDITED"), ("returns", "RETURNED")):
        booked = bank.rows(f"SELECT submission, line FROM {table} WHERE post_date < ?", today)
        stated = bank.rows("SELECT submission, line FROM answers WHERE channel = 'statement' AND status = ?", status)
        assert sorted(stated) == sorted(booked)
