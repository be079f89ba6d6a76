"""The simulated front-end machine killed at random commits under every outcome at once: its ledger still closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bank import hand, outlook
from tests.bank.held import HOUR_SECONDS, HeldMachine, held_banks
from tests.bank.programme import LINE_OUTCOMES, RESULT_FAULTS, XML
from tests.unit.test_bank_survival import IN_THE_END, OPENING_FEN, Killed, Killer

Make = Callable[..., HeldMachine]
BATCHES = 30
MONTH_SECONDS = 30 * 24 * HOUR_SECONDS
SHOWN = {"REJECTED": "3", "IN_PROCESS": "1", "CREDITED": "2", "RETURNED": "2", "ABSENT": "3"}
RATES = {
    **dict.fromkeys(LINE_OUTCOMES, 300),
    **{name: 2_000 for name, profiles in RESULT_FAULTS.items() if XML in profiles},
    "timeout_after_accept": 500,
    "drop_before_accept": 500,
    "busy_2007_before_accept": 500,
    "hidden": 500,
    "funds_short": 500,
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch, HeldMachine)


def _storm(bank: HeldMachine, killer: Killer) -> None:
    """Batches sent until the bank has them, a kill somewhere in most of their lives, and then a month of quiet."""
    for number in range(1, BATCHES + 1):
        batch = hand.batch_number(number)
        document = bank.scribe.batch(batch, hand.payments(15, start=number * 100), RESEND="Y")
        killer.arm()
        while batch not in bank.book.batches:
            try:
                bank.put(document)
                bank.wait(killer.random.choice([60, 600, 2 * HOUR_SECONDS, 12 * HOUR_SECONDS]))
            except Killed:
                killer.disarm()
                bank.crash()
        killer.disarm()
    bank.wait(MONTH_SECONDS)


def _pages(bank: HeldMachine, trade: str, **fields: str) -> list[dict[str, str]]:
    items: list[dict[str, str]] = []
    while True:
        reply = bank.ask(trade, PAYACC=hand.DEBIT, **fields, START=str(len(items) + 1), COUNT="7")
        items += reply.items
        if len(items) >= int(reply.body.get("TOTALNUM", "0")):
            return items


@pytest.mark.parametrize("seed", range(5))
def test_no_kill_moves_money_twice_or_loses_a_word(make: Make, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Every plan is carried out once, shown truly in the end, its return listed, and the statements are the moves."""
    killer = Killer(monkeypatch, seed)
    bank = make(seed=seed, programme={"rates": RATES}, balance_fen=OPENING_FEN)
    _storm(bank, killer)
    assert killer.kills >= 5
    assert bank.rows("SELECT batch FROM submissions WHERE verdict = 'taken' GROUP BY batch HAVING count(*) > 1") == []
    still = outlook.read(bank.directory)
    assert (still["credits"], still["rejections"], still["returns"]) == (0, 0, 0)
    for table in ("credits", "returns"):
        assert bank.rows(f"SELECT reference FROM {table} GROUP BY reference HAVING count(*) > 1") == []
    shown = {}
    for number in range(1, BATCHES + 1):
        for item in bank.ask("DF1002", BATCHNO=hand.batch_number(number)).items:
            shown[item["REF"]] = item["STATUS"]
    plans = bank.rows("SELECT reference, plan FROM lines WHERE plan <> ''")
    ends = {**IN_THE_END, "not_executed": "ABSENT"}
    wrong = [
        plan for ref, plan in plans if shown[ref] != SHOWN[ends.get(plan.partition(":")[0], "CREDITED")]
    ]  # fmt: skip
    assert wrong == []
    listed = {item["REF"] for item in _pages(bank, "DF1004", STARTDATE="00010101", ENDDATE="99991231")}
    assert listed == set(bank.column("SELECT reference FROM returns"))
    moved = []
    for (date,) in bank.rows("SELECT post_date FROM credits UNION SELECT post_date FROM returns"):
        for item in _pages(bank, "DF1005", DATE=date):
            moved.append((item["REF"], item["KIND"], item["AMT"], item["HOSTREF"], item["POSTDATE"]))
    wanted = [
        (ref, kind, hand.yuan(fen), host, date)
        for kind, table in (("C", "credits"), ("R", "returns"))
        for ref, fen, host, date in bank.rows(f"SELECT reference, amount_fen, host_ref, post_date FROM {table}")
    ]
    assert sorted(moved) == sorted(wanted)
    (delta,) = bank.column(
        "SELECT (SELECT sum(amount_fen) FROM credits) - (SELECT sum(amount_fen) FROM returns)"
        " + (SELECT sum(amount_fen) FROM lines WHERE plan = 'pending_for_ever')"
        " - (SELECT count(*) FROM lines WHERE plan = 'wrong_amount')"
    )
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [OPENING_FEN - delta]
