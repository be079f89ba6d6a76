"""The simulated ISO 20022 bank's daily statement: what was booked, with balances that add up, and its faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bank import hand, hand_iso, outlook
from tests.bank.held import HOUR_SECONDS, held_banks
from tests.bank.held_iso import HeldIso, plain
from tests.unit.iso_kit import offences

Make = Callable[..., HeldIso]
DAY_SECONDS = 24 * HOUR_SECONDS
FUNDS_FEN = 1_000_000
TUESDAY = "camt053_20261124.xml"
OTHER_DEBIT = "6599990000000025"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch, HeldIso)


def _fen(element: ElementTree.Element | None, path: str = ".") -> int:
    """An amount with the sign that its CdtDbtInd gives it: what it does to the account."""
    assert element is not None
    yuan = element.findtext(f"{path}/Amt", "")
    return int(yuan.replace(".", "")) * (1 if element.findtext(f"{path}/CdtDbtInd") == "CRDT" else -1)


def _balance(statement: ElementTree.Element, kind: str) -> int:
    (found,) = (each for each in statement.iter("Bal") if each.findtext("Tp/CdOrPrtry/Cd") == kind)
    return _fen(found)


def _entries(statement: ElementTree.Element) -> list[int]:
    return [_fen(entry) for entry in statement.iter("Ntry")]


def _ledger(bank: HeldIso, date: str) -> int:
    """Credits minus returns of a day, as the ledger has them."""
    query = "SELECT ifnull((SELECT sum(amount_fen) FROM {} WHERE post_date = ?), 0)"
    credits_, returns = (bank.column(query.format(table), date)[0] for table in ("credits", "returns"))
    return int(credits_) - int(returns)


def test_a_statement_is_credits_minus_returns(make: Make) -> None:
    """After the day: an entry a submission and one a return, line by line, between balances that they explain."""
    accounts = {
        hand.account(1): ["credit_then_return:7200:ACCOUNT_CLOSED"],
        hand.account(2): ["reject"],
        hand.account(3): ["wrong_amount"],
        hand.account(4): ["pending_for_ever"],
    }
    bank = make(balance_fen=FUNDS_FEN, programme={"accounts": accounts})
    bank.send(1, hand.payments(6))
    bank.send(2, hand.payments(2, start=11))
    bank.wait(13 * HOUR_SECONDS)
    assert not bank.files("camt053")
    bank.wait(2 * HOUR_SECONDS)
    ((name, body),) = bank.files("camt053").items()
    assert name == TUESDAY
    assert offences(body) == []
    (statement,) = plain(body).iter("Stmt")
    assert _entries(statement) == [-4 * 12_345 - 1, -2 * 12_345, 12_345]
    assert _balance(statement, "OPBD") == FUNDS_FEN
    assert _balance(statement, "CLBD") == FUNDS_FEN - _ledger(bank, "20261124") == FUNDS_FEN + sum(_entries(statement))
    batches = [(each.findtext("MsgId"), each.findtext("NbOfTxs")) for each in statement.iter("Btch")]
    assert batches == [(hand.batch_number(1), "4"), (hand.batch_number(2), "2")]
    paid = {
        each.findtext("Refs/EndToEndId"): (each.findtext("Refs/AcctSvcrRef"), -_fen(each))
        for each in statement.iter("TxDtls")
        if each.findtext("CdtDbtInd") == "DBIT"
    }
    booked = bank.rows("SELECT reference, host_ref, amount_fen FROM credits")
    assert paid == {reference: (host, fen) for reference, host, fen in booked}
    assert paid[hand.reference(3)][1] == 12_346


def test_what_a_statement_says_is_an_answer_with_an_amount(make: Make) -> None:
    """A wrong amount is told by the statement and by nothing before it."""
    bank = make(programme={"accounts": {hand.account(1): ["wrong_amount"]}})
    bank.send(1, hand.payments(1))
    bank.wait(15 * HOUR_SECONDS)
    query = "SELECT channel, amount_fen FROM answers WHERE status = 'CREDITED' ORDER BY n"
    assert bank.rows(query) == [("res", None), ("statement", 12_346)]


def test_a_day_counts_as_unread_until_its_sound_statement_was_fetched(make: Make) -> None:
    """What only a statement tells is known to nobody before: a run that waits for it asks this."""
    bank = make()
    bank.send(1, hand.payments(1))
    assert outlook.unread_days(bank.directory) == 0
    bank.wait(HOUR_SECONDS)
    assert outlook.unread_days(bank.directory) == 1
    bank.wait(15 * HOUR_SECONDS)
    assert outlook.unread_days(bank.directory) == 1
    (artefact,) = bank.column("SELECT id FROM artefacts WHERE channel = 'statement'")
    bank.book.delivered(int(artefact), "read", TUESDAY)
    bank.book.commit()
    assert outlook.unread_days(bank.directory) == 0


def test_the_balances_of_days_follow_each_other(make: Make) -> None:
    """Each day opens as the last one closed, over top-ups, returns of earlier days and days of nothing."""
    accounts = {hand.account(1): ["credit_then_return:180000"]}
    bank = make(balance_fen=FUNDS_FEN, programme={"accounts": accounts})
    bank.send(1, hand.payments(3))
    bank.wait(2 * DAY_SECONDS)
    bank.book.move_balance(77_777, "top up x", 0)
    bank.wait(2 * DAY_SECONDS)
    bank.send(2, hand.payments(1, start=11))
    bank.wait(2 * DAY_SECONDS)
    statements = [plain(body).find("*/Stmt") for body in bank.files("camt053").values()]
    assert list(bank.files("camt053")) == [TUESDAY, "camt053_20261126.xml", "camt053_20261128.xml"]
    closing = FUNDS_FEN
    for statement in statements:
        assert statement is not None
        assert _balance(statement, "OPBD") == closing
        closing += sum(_entries(statement))
        assert _balance(statement, "CLBD") == closing
    assert closing == FUNDS_FEN + 77_777 - 3 * 12_345
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [closing]
    assert statements[1] is not None
    assert _entries(statements[1]) == [12_345, 77_777]


def test_unlimited_funds_are_an_overdraft(make: Make) -> None:
    """Without a balance to watch, the account goes below nought, and the balance says so by its indicator."""
    bank = make()
    bank.send(1, hand.payments(1))
    bank.wait(15 * HOUR_SECONDS)
    (statement,) = plain(bank.files()[TUESDAY]).iter("Stmt")
    assert (_balance(statement, "OPBD"), _balance(statement, "CLBD")) == (0, -12_345)


def test_each_debit_account_has_its_own(make: Make) -> None:
    """Two fiscal accounts: a Stmt each, nobody's entry in the other's, and the funds are the first one's."""
    bank = make(balance_fen=FUNDS_FEN)
    bank.send(1, hand.payments(1))
    other = hand.batch_number(2)
    hand_iso.drop(bank.directory, other, hand_iso.pain001(other, hand.payments(2, start=11), debit=OTHER_DEBIT))
    bank.desk.scan()
    bank.wait(15 * HOUR_SECONDS)
    found = {
        each.findtext("Acct/Id/Othr/Id"): (_balance(each, "OPBD"), _entries(each), _balance(each, "CLBD"))
        for each in plain(bank.files()[TUESDAY]).iter("Stmt")
    }
    assert found == {
        hand.DEBIT: (FUNDS_FEN, [-12_345], FUNDS_FEN - 12_345),
        OTHER_DEBIT: (0, [-24_690], -24_690),
    }


def test_late_statements_are_caught_up(make: Make) -> None:
    """A bank that was down for days writes each day's statement once, when it is back."""
    bank = make(programme={"accounts": {hand.account(1): ["settle_late:90000"]}})
    bank.send(1, hand.payments(2))
    bank.wait(2 * HOUR_SECONDS)
    bank.ledger.close(sound=False)
    bank.at_ms += 4 * DAY_SECONDS * 1000
    bank.open()
    bank.wait(600)
    assert list(bank.files("camt053")) == [TUESDAY]
    bank.crash()
    bank.wait(2 * DAY_SECONDS)
    written = bank.column("SELECT name FROM artefacts WHERE channel = 'statement' ORDER BY id")
    assert written == [f"20261128/{TUESDAY}", "20261129/camt053_20261128.xml"]


@pytest.mark.parametrize(
    ("fault", "there", "sound"),
    [
        ("result_truncated", 1, False),
        ("result_wrong_totals", 1, True),
        ("result_wrong_version", 1, False),
        ("hostile_entities", 1, False),
        ("result_late", 0, False),
    ],
)
@pytest.mark.parametrize("crash", [False, True])
def test_each_fault_of_a_statement_fires_once_and_the_truth_follows(
    make: Make, fault: str, there: int, sound: bool, crash: bool
) -> None:
    """First an unsound statement or none, then under the same name the sound one; also when the bank died meanwhile."""
    bank = make(programme={"results": {TUESDAY: [fault]}})
    bank.send(1, hand.payments(2))
    bank.wait(14 * HOUR_SECONDS)
    assert len(bank.files("camt053")) == there
    for body in bank.files("camt053").values():
        assert (offences(body) == []) == sound
    assert not bank.rows("SELECT * FROM answers WHERE channel = 'statement'")
    if crash:
        bank.crash()
    bank.wait(2 * HOUR_SECONDS)
    ((name, body),) = bank.files("camt053").items()
    assert name == TUESDAY
    assert offences(body) == []
    (statement,) = plain(body).iter("Stmt")
    assert _balance(statement, "CLBD") == _balance(statement, "OPBD") + sum(_entries(statement))
    assert bank.column("SELECT count(*) FROM answers WHERE channel = 'statement'") == [2]
    assert bank.column("SELECT fault FROM faults") == [fault]


def test_a_late_statement_that_the_next_days_overtook_survives_a_crash(make: Make) -> None:
    """What is missing after a restart is found by its day, not by what was written last."""
    programme = {"results": {TUESDAY: ["result_late"]}, "repair_seconds": 2 * DAY_SECONDS}
    bank = make(programme=programme)
    bank.send(1, hand.payments(1))
    bank.wait(DAY_SECONDS)
    bank.send(2, hand.payments(1, start=11))
    bank.wait(DAY_SECONDS)
    assert list(bank.files("camt053")) == ["camt053_20261125.xml"]
    bank.crash()
    bank.wait(600)
    assert list(bank.files("camt053")) == [TUESDAY, "camt053_20261125.xml"]
    assert bank.column("SELECT count(*) FROM artefacts WHERE channel = 'statement'") == [2]


def test_wrong_totals_of_a_statement_are_its_balances(make: Make) -> None:
    """The closing balance is a fen off what the entries make of the opening one."""
    bank = make(programme={"results": {TUESDAY: ["result_wrong_totals"]}})
    bank.send(1, hand.payments(2))
    bank.wait(14 * HOUR_SECONDS)
    (statement,) = plain(bank.files()[TUESDAY]).iter("Stmt")
    assert _balance(statement, "CLBD") == _balance(statement, "OPBD") + sum(_entries(statement)) + 1


def test_a_bank_without_statements_writes_none(make: Make) -> None:
    """`statements: false` is honoured."""
    bank = make(statements=False)
    bank.send(1, hand.payments(1))
    bank.wait(2 * DAY_SECONDS)
    assert not bank.files("camt053")
