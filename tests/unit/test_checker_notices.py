"""The checker reads the SMS centre's ledger: who was told what about which payout, whatever protocol carried it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.histories import History, item
from tests.world.sms_ledger import Ledger, Row, identity

ZERO = dict.fromkeys(
    ("messages", "twice", "wrong_number", "without_credit", "billed_receiver", "silent", "would_bill"), 0
)


def words(line: int, amount: str = "", tail: str = "") -> str:
    return f"【某某农商银行】您尾号{tail or f'{line:04d}'}账户11月25日入账{amount or f'100.{line:02d}'}元。本短信免费。"


class Told:
    """A centre's ledger, message by message."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "sms" / "ledger.sqlite"
        self.ledger = Ledger(self.path.parent, "OFF")

    def tell(
        self, line: int, text: str = "", *, protocol: str = "CMPP", phone: str = "", code: str = "OK", ref: str = ""
    ) -> None:
        n = self.ledger.n + 1
        phone = phone or f"1380013{line:04d}"
        text = text or words(line)
        name = (ref or f"1-{line}-1-ARRIVAL") if protocol == "HTTP" else identity(phone, text)
        billed = "SENDER" if code == "OK" else "NOBODY"
        row = Row(f"M{n}", n, "b", name, phone, text, 9, code, billed, 0, "DELIVRD", 0, 0, 1, "", protocol)
        self.ledger.write("CALL", "b", "taken", code=code, count=1, messages=[row], protocol=protocol)

    def refuse(self, code: str) -> None:
        self.ledger.write("CALL", "", "refused", code=code, protocol="CMPP")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Two payouts that were credited, one that was refused by its bank."""
    history = History(tmp_path, [item(line) for line in range(1, 4)])
    history.approve()
    history.paid(1, "REF1")
    history.paid(2, "REF2")
    history.rejected(3, "REF3")
    return history


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def sms(history: History, told: Told) -> tuple[dict[str, int], list[str]]:
    told.ledger.close()
    _, summary, _ = history.check("--sms", told.path)
    return summary["sms"], [problem for problem in summary["problems"] if "notices" in problem]


@pytest.mark.parametrize("protocol", ["HTTP", "CMPP", "SMPP"])
def test_a_notice_for_each_credit_is_sound(history: History, told: Told, protocol: str) -> None:
    """By reference or by its words, each notice finds the payout that it speaks of, and nobody stays silent."""
    told.tell(1, protocol=protocol)
    told.tell(2, protocol=protocol)
    assert sms(history, told) == (ZERO | {"messages": 2}, [])


@pytest.mark.parametrize(
    ("line", "text", "phone", "name"),
    [
        (1, words(1), "13800139999", "wrong_number"),
        (1, words(1, amount="100.10"), "", "wrong_number"),
        (1, words(1, tail="0002"), "", "wrong_number"),
        (1, words(1).replace("100.01", "1100.01"), "", "wrong_number"),
        (3, words(3), "", "without_credit"),
    ],
    ids=["stranger", "amount", "tail", "longer-amount", "not-credited"],
)
def test_wrong_words_are_found(history: History, told: Told, line: int, text: str, phone: str, name: str) -> None:
    """A message without a reference to somebody else's number, of another amount or account, or about money that never
    came is a problem."""
    told.tell(1)
    told.tell(2)
    told.tell(line, text, phone=phone)
    counts, problems = sms(history, told)
    assert counts[name] == 1
    assert f"1 notices: {name.replace('_', ' ')}" in problems


def test_the_same_words_again_are_a_second_copy(history: History, told: Told) -> None:
    """Two copies of one text to one number are counted as twice; whoever was told nothing, as silent."""
    told.tell(1)
    told.tell(1)
    assert sms(history, told) == (ZERO | {"messages": 2, "twice": 1, "silent": 1}, [])


def test_a_refused_number_is_not_silence(history: History, told: Told) -> None:
    """Where the centre would not deliver, nobody was told and nobody is to blame."""
    told.tell(1, code="BAD_NUMBER")
    told.tell(2, protocol="HTTP", code="BAD_NUMBER")
    assert sms(history, told) == (ZERO, [])


@pytest.mark.parametrize("code", ["BILLS_RECEIVER", "NO_REPORT", "MSG_FMT"])
def test_an_attempt_to_bill_people_is_a_problem(history: History, told: Told, code: str) -> None:
    """What the centre refused because the receiver would have paid, or nobody would have known, fails the run."""
    told.tell(1)
    told.tell(2)
    told.refuse(code)
    told.refuse("THROTTLED")
    assert sms(history, told) == (ZERO | {"messages": 2, "would_bill": 1}, ["1 notices: would bill"])


def test_a_text_is_about_the_attempt_that_was_paid(tmp_path: Path) -> None:
    """After a rejection and a re-issue to the same account, the one text is about the money that came."""
    history = History(tmp_path, [item(1)])
    history.approve()
    history.rejected(1, "REF1")
    history.order("REISSUE", 1, 1)
    history.paid(1, "REF1B", 2)
    told = Told(tmp_path)
    told.tell(1)
    assert sms(history, told) == (ZERO | {"messages": 1}, [])


def test_equal_amounts_to_one_account_are_told_apart_by_count(tmp_path: Path) -> None:
    """Two payouts of one amount to one number and account need two different texts; one text leaves one silent."""
    same = {"phone": "13800130001", "account": "6299990000000000001", "amount": "100.01"}
    history = History(tmp_path, [item(1), item(2, **same)])
    history.approve()
    history.paid(1, "REF1")
    history.paid(2, "REF2")
    told = Told(tmp_path)
    told.tell(1, words(1) + "甲")
    half = sms(history, told)[0]
    told.ledger = Ledger(told.path.parent, "OFF")
    told.tell(1, words(1) + "乙")
    assert (half["silent"], sms(history, told)[0]["silent"]) == (1, 0)
