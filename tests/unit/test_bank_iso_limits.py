"""The limits of the simulated ISO 20022 bank: hours that refuse, bytes, funds that run out in mid-file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand, hand_iso, outlook
from tests.bank.held import HOUR_SECONDS, held_banks
from tests.bank.held_iso import HeldIso, plain, told

Make = Callable[..., HeldIso]
BATCH = hand.batch_number(1)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch, HeldIso)


def test_a_closed_bank_lets_a_file_lie_until_it_opens(make: Make) -> None:
    """No code says "closed": the file stays where it is, also over a restart, and is taken in the morning."""
    bank = make(hours={"refuses": True})
    bank.wait(10 * HOUR_SECONDS)
    bank.send(1, hand.payments(1))
    bank.desk.scan()
    assert bank.column("SELECT fault FROM faults") == ["outside_hours"]
    assert not bank.rows("SELECT * FROM submissions")
    assert not bank.files()
    bank.crash()
    bank.wait(13 * HOUR_SECONDS)
    bank.desk.scan()
    assert bank.rows("SELECT batch, verdict FROM submissions") == [(BATCH, "taken")]


def test_too_many_bytes_refuse_a_file(make: Make) -> None:
    """One byte too many is FF01, the most itself is taken."""
    most = len(hand_iso.pain001(BATCH, hand.payments(2)))
    bank = make(max_bytes=most)
    bank.send(1, hand.payments(2))
    bank.send(2, [hand.Payment(1), hand.Payment(2, name="张珅珅")])
    assert [bank.groups(number)[0][1] for number in (1, 2)] == ["", "FF01"]


def _in_order(make: Make, **settings: Any) -> HeldIso:
    """A bank that pays lines as far as the money goes: two of three."""
    bank = make(balance_fen=2 * 12_345 + 1, funds="in_order", **settings)
    bank.send(1, hand.payments(3))
    return bank


def test_funds_that_run_out_fail_the_later_lines(make: Make) -> None:
    """The file is taken; lines that the money does not reach are RJCT AM04, told as not taken, and nothing is owed."""
    bank = _in_order(make)
    bank.wait()
    (body,) = [body for body in bank.files().values() if told(body)]
    assert [(line.status, line.code) for line in told(body)] == [("ACCC", ""), ("ACCC", ""), ("RJCT", "AM04")]
    rows = bank.rows("SELECT line, status, code FROM answers WHERE channel = 'res' ORDER BY line")
    assert rows == [(1, "CREDITED", "ACCC"), (2, "CREDITED", "ACCC"), (3, "NOT_TAKEN", "AM04")]
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [1]
    assert outlook.read(bank.directory)["credits"] == 0


def test_a_line_without_funds_is_paid_under_its_own_reference_later(make: Make) -> None:
    """Topped up, and over a restart, the line that was not reached may come again and is paid once."""
    bank = _in_order(make, deduplicate="by_reference")
    bank.wait()
    bank.crash()
    bank.book.move_balance(12_345, "top up x", 0)
    bank.send(2, hand.payments(1, start=3))
    bank.wait()
    assert bank.statuses(2) == [["ACCC"]]
    assert bank.column("SELECT reference FROM credits ORDER BY n") == [hand.reference(number) for number in (1, 2, 3)]


def test_the_statement_knows_nothing_of_lines_without_funds(make: Make) -> None:
    """Only what was paid is booked, and the closing balance is what is left."""
    bank = _in_order(make)
    bank.wait(15 * HOUR_SECONDS)
    (statement,) = plain(bank.files()["camt053_20261124.xml"]).iter("Stmt")
    assert len(list(statement.iter("TxDtls"))) == 2
    assert [each.findtext("Amt") for each in statement.iter("Bal")] == ["246.91", "0.01"]
