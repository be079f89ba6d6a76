"""``xml_tcp`` collecting: rounds are short, accounts take turns, and what got no answer is asked again."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.wire.tcp import AnswerLost, AnswerUnusable, NotReached
from schemas.masked import AccountNumber
from tests.adapters.xml_tcp_books_kit import DAY, Booking, Books, Collector, reading, returns, up_to_date
from tests.adapters.xml_tcp_kit import ACCOUNT, Reply

OTHER = "6599990000000041"


@pytest.fixture
async def today(tmp_path: Path) -> AsyncIterator[Collector]:
    async with up_to_date(tmp_path) as collector:
        yield collector


async def test_every_account_is_asked_about_and_hides_no_other(tmp_path: Path) -> None:
    """Each configured account has its own place in the lists; one that cannot be read does not hide the others."""
    books = Books(days={DAY: [Booking(1)]}, returns=returns(5))
    async with reading(tmp_path, books, debit_accounts=[ACCOUNT, OTHER], first_statement_days=1) as collector:
        bank, day, back = collector.met.bank, books._day, books._returns
        bank.says("DF1005", lambda seen: Reply("9999") if seen["PAYACC"] == ACCOUNT else day(seen))
        bank.says("DF1004", lambda seen: Reply("9999") if seen["PAYACC"] == ACCOUNT else back(seen))
        for _ in range(6):
            with contextlib.suppress(AnswerUnusable):
                await collector.round()
        assert {one.debit_account for one in collector.statements().values()} == {AccountNumber(OTHER)}
        assert collector.returned() == ["R5"]
        with pytest.raises(AnswerUnusable, match="CODE_9999"):
            await collector.round()


async def test_short_rounds_starve_no_account(tmp_path: Path) -> None:
    """With fewer questions a round than there are lists, every account is read in the end."""
    accounts = [f"65999900000000{n:02d}" for n in range(10, 16)]
    short = {"debit_accounts": accounts, "questions_per_collection": 3, "first_statement_days": 1}
    async with reading(tmp_path, Books(), **short) as collector:
        for _ in range(100):
            await collector.round()
        assert len({seen["PAYACC"] for seen in collector.met.bank.seen}) == 6
        assert sum(name.endswith(DAY) for name in (artefact.name for artefact in collector.kept)) == 6


async def test_what_was_not_committed_is_given_again(today: Collector) -> None:
    """A round cut off after one artefact goes on behind it; a cursor that was not kept gives the same again."""
    today.books.returns = returns(*range(1, 9))
    before = today.cursor
    (first,) = await today.round(stop_after=1)
    assert [e.host_reference for e in today.met.adapter.parse(first)] == ["R1", "R2", "R3"]
    await today.rest()
    assert set(today.returned()) == {f"R{n}" for n in range(1, 9)}
    today.kept.clear()
    today.cursor = before
    await today.rest()
    assert set(today.returned()) == {f"R{n}" for n in range(1, 9)}


@pytest.mark.parametrize("trade", ["DF1004", "DF1005"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(hang_up=True),
        Reply("9999"),
        Reply(""),
        Reply("1000"),
        Reply(mac="0" * 64),
        Reply(number="1"),
        Reply(unframed=b"SYSTEM ERROR"),
    ],
)
async def test_no_answer_loses_nothing(today: Collector, trade: str, reply: Reply) -> None:
    """A question without an answer is a fault that moves no cursor; afterwards everything is still there."""
    today.met.bank.says(trade, reply)
    cursor = today.cursor
    with pytest.raises((AnswerLost, AnswerUnusable)):
        await today.round()
    assert today.cursor == cursor
    today.books.serve(today.met.bank)
    today.books.returns = returns(1)
    today.books.days["20261125"] = [Booking(2)]
    today.books.today = dt.date(2026, 11, 26)
    await today.rest()
    assert today.returned() == ["R1"]
    assert list(today.statements()) == ["20261125"]


@pytest.mark.parametrize("code", ["2000", "2007", "3028"])
async def test_busy_is_waited_for(today: Collector, code: str) -> None:
    """Busy ends the round without a fault and without a word about the list."""
    today.met.bank.says("DF1004", Reply(code))
    assert await today.round() == []
    today.books.serve(today.met.bank)
    today.books.returns = returns(1)
    await today.rest()
    assert today.returned() == ["R1"]


async def test_an_unreachable_bank_ends_the_round(today: Collector) -> None:
    """A bank that cannot be reached is asked once, not for every account and list."""
    await today.met.transport.close()
    with pytest.raises(NotReached):
        await today.round()


async def test_a_quiet_bank_may_be_left_alone(tmp_path: Path) -> None:
    """With an interval agreed, a round that gave nothing is followed by rounds that ask nothing."""
    rare = {"first_statement_days": 0, "collect_interval_milliseconds": 86_400_000}
    async with reading(tmp_path, Books(), **rare) as collector:
        await collector.round()
        asked = len(collector.met.bank.seen)
        collector.books.returns = returns(1)
        assert await collector.round() == []
        assert len(collector.met.bank.seen) == asked
