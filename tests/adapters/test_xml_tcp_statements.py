"""``xml_tcp`` collecting statements: a day is given whole or not at all, and every day in its turn."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Artefact, GivesStatements, Proof, Unreadable
from adapters.contract import Booking as Booked
from adapters.wire.tcp import AnswerUnusable, TcpFault
from schemas.masked import AccountNumber
from tests.adapters.xml_tcp_books_kit import DAY, Booking, Books, Collector, reading, returns, up_to_date
from tests.adapters.xml_tcp_kit import ACCOUNT, BATCH, KEY, Reply, Seen, adapter


@pytest.fixture
async def today(tmp_path: Path) -> AsyncIterator[Collector]:
    async with up_to_date(tmp_path) as collector:
        yield collector


async def test_a_day_is_one_artefact_of_all_its_pages(today: Collector) -> None:
    """A day of seven bookings on three pages is one statement, complete, with its entries as the bank booked them."""
    today.books.days[DAY] = [*(Booking(n) for n in range(1, 6)), Booking(6, kind="R"), Booking(7, "0.01")]
    today.books.today = dt.date(2026, 11, 25)
    today.cursor = json.dumps({key: ["20261123", *rest] for key, (_, *rest) in json.loads(today.cursor).items()})
    (artefact,) = await today.rest()
    statement = today.met.adapter.statement(artefact)
    assert statement is not None
    assert (statement.day, statement.artefact) == (dt.date(2026, 11, 24), artefact.sha256)
    assert statement.debit_account == AccountNumber(ACCOUNT)
    assert [entry.booking for entry in statement.entries] == [Booked.CREDIT] * 5 + [Booked.RETURN, Booked.CREDIT]
    assert [entry.amount_fen for entry in statement.entries] == [150_000] * 6 + [1]
    assert {entry.submission for entry in statement.entries} == {BATCH}
    assert [one.proof for one in today.met.adapter.parse(artefact)] == [Proof.CREDITED] * 5 + [
        Proof.RETURNED,
        Proof.CREDITED,
    ]
    assert isinstance(today.met.adapter, GivesStatements)
    assert ACCOUNT not in artefact.name


async def test_the_first_day_is_found_without_a_clock(tmp_path: Path) -> None:
    """From nothing, the days before the bank's today are found by asking, and no day that is not over is given."""
    async with reading(tmp_path, Books(days={DAY: [Booking(1)]})) as collector:
        await collector.rest()
        assert list(collector.statements()) == ["20261123", "20261124"]
        assert collector.statements()["20261123"].entries == ()
        assert len(collector.asked("DF1005")) < 25


@pytest.mark.parametrize("today", [dt.date(2000, 1, 4), dt.date(2026, 3, 1), dt.date(2099, 12, 31)])
async def test_any_today_is_found(tmp_path: Path, today: dt.date) -> None:
    """Whatever day the bank's clock shows, a virtual one included, the first days given are those before it."""
    async with reading(tmp_path, Books(today=today), first_statement_days=1) as collector:
        for _ in range(3):
            await collector.round()
        assert list(collector.statements()) == [f"{today - dt.timedelta(days=1):%Y%m%d}"]


async def test_the_search_survives_small_rounds_and_a_lie(tmp_path: Path) -> None:
    """A search cut into short rounds goes on where it was, and one wrong "not ready" does not lead it astray."""
    async with reading(tmp_path, questions_per_collection=5, first_statement_days=1) as collector:
        serve, lies = collector.books._day, [Reply("2007")]

        def lying(seen: Seen) -> Reply:
            return lies.pop() if lies and seen["DATE"] < DAY else serve(seen)

        collector.met.bank.says("DF1005", lying)
        for _ in range(30):
            await collector.round()
        assert not lies
        assert list(collector.statements()) == ["20261124"]


async def test_days_follow_each_other_as_the_bank_closes_them(today: Collector) -> None:
    """2007 is waited for, day after day; after a pause of three days each of them is read, the empty one too."""
    assert await today.rest() == []
    today.books.days |= {"20261125": [Booking(1)], "20261127": [Booking(2)]}
    assert await today.rest() == []  # 2007: nothing is read of a day that is not over
    today.books.today = dt.date(2026, 11, 28)
    await today.rest()
    assert {day: len(one.entries) for day, one in today.statements().items()} == {
        "20261125": 1,
        "20261126": 0,
        "20261127": 1,
    }


async def test_a_statement_not_made_yet_keeps_its_turn(today: Collector) -> None:
    """A day whose statement is not made holds back the later ones, and is read when it is made."""
    today.books.days |= {"20261125": [Booking(1)], "20261126": [Booking(2)]}
    today.books.today = dt.date(2026, 11, 27)
    serve, made = today.books._day, False

    def unmade(seen: Seen) -> Reply:
        return serve(seen) if made or seen["DATE"] != "20261125" else Reply("2007")

    today.met.bank.says("DF1005", unmade)
    assert await today.rest() == []
    made = True
    await today.rest()
    assert list(today.statements()) == ["20261125", "20261126"]


def change_count(books: Books) -> None:
    books.days["20261125"].append(Booking(9))
    books.totals.clear()


def change_sum(books: Books) -> None:
    books.totals["20261125"] = "7500.01"


def mend_sum(books: Books) -> None:
    books.totals.clear()


def change_order(books: Books) -> None:
    books.days["20261125"].reverse()


def lose_the_day(books: Books) -> None:
    books.days["20261125"] = []


@pytest.mark.parametrize("change", [change_count, change_sum, mend_sum, change_order, lose_the_day])
async def test_pages_that_change_under_our_hands_are_read_anew(today: Collector, change: Any) -> None:
    """When count, sum or order change between two pages nothing is given; the day as it is then is read whole."""
    today.books.days["20261125"] = [Booking(n) for n in range(1, 6)]
    today.books.today = dt.date(2026, 11, 26)
    today.books.totals["20261125"] = "7500.01" if change is mend_sum else "7500.00"
    serve, pages = today.books._day, 0

    def changing(seen: Seen) -> Reply:
        nonlocal pages
        pages += 1
        reply = serve(seen)
        if pages == 1:
            change(today.books)
        return reply

    today.met.bank.says("DF1005", changing)
    with pytest.raises(AnswerUnusable, match="STATEMENT_CHANGED"):
        await today.round()
    assert today.kept == []
    today.books.totals.clear()
    await today.rest()
    (statement,) = today.statements().values()
    assert [entry.host_reference for entry in statement.entries] == [
        f"C{b.number}" for b in today.books.days["20261125"]
    ]


@pytest.mark.parametrize(
    ("entries", "total"),
    [
        ([Booking(1), Booking(2)], "3000.01"),
        ([Booking(1), Booking(2)], "30"),
        ([Booking(1), Booking(1)], None),
        ([Booking(1, spoilt=True), Booking(2)], "3000.00"),
        ([Booking(1, kind="D"), Booking(2)], "3000.00"),
        ([Booking(1, day="2026-11-25"), Booking(2)], None),
        ([Booking(1, host=" "), Booking(2)], None),
    ],
)
async def test_a_wrong_statement_is_told_and_kept_back(
    today: Collector, entries: list[Booking], total: str | None
) -> None:
    """A sum that differs, a booking twice, an entry that cannot be read: a fault each round, and never a statement."""
    today.books.days["20261125"] = entries
    today.books.today = dt.date(2026, 11, 26)
    if total is not None:
        today.books.totals["20261125"] = total
    for _ in range(3):
        with pytest.raises(AnswerUnusable):
            await today.round()
    assert today.kept == []
    today.books.totals.clear()
    today.books.days["20261125"] = [Booking(1)]
    await today.rest()
    assert list(today.statements()) == ["20261125"]


async def test_a_day_of_returns_alone_has_a_negative_sum(today: Collector) -> None:
    """Credits minus returns may be less than nothing."""
    today.books.days["20261125"] = [Booking(1, kind="R"), Booking(2, "0.50")]
    today.books.today = dt.date(2026, 11, 26)
    await today.rest()
    assert len(today.statements()["20261125"].entries) == 2


async def test_a_long_day_is_read_over_many_rounds_and_faults(tmp_path: Path) -> None:
    """A day of many pages is completed although every round is short and every third question gets no answer."""
    books = Books(days={DAY: [Booking(n) for n in range(1, 30)]})
    short = {"items_per_page": 2, "questions_per_collection": 4, "first_statement_days": 1}
    async with reading(tmp_path, books, **short) as collector:
        serve, asked = books._day, 0

        def failing(seen: Seen) -> Reply:
            nonlocal asked
            asked += 1
            return Reply(hang_up=True) if asked % 3 == 0 else Reply("2000") if asked % 7 == 0 else serve(seen)

        collector.met.bank.says("DF1005", failing)
        for _ in range(80):
            with contextlib.suppress(TcpFault):
                await collector.round()
        assert len(collector.statements()[DAY].entries) == 29


async def test_a_statement_has_a_bound(tmp_path: Path) -> None:
    """A day beyond the bound is a fault, not memory without end."""
    books = Books(days={DAY: [Booking(n) for n in range(1, 30)]})
    async with reading(tmp_path, books, first_statement_days=1, max_statement_bytes=4_000) as collector:
        with pytest.raises(AnswerUnusable, match="STATEMENT_CHANGED"):
            for _ in range(3):
                await collector.round()
        assert collector.statements() == {}


def parts(content: bytes) -> list[bytes]:
    """The questions and answers of an artefact, each with its eight digits."""
    found = []
    while content:
        size = 8 + int(content[:8])
        found.append(content[:size])
        content = content[size:]
    return found


async def test_a_kept_page_is_believed_only_whole(today: Collector) -> None:
    """An artefact cut at any byte, of another key, or whose answer belongs to another question, proves nothing."""
    today.books.days["20261125"] = [Booking(n) for n in range(1, 5)]
    today.books.returns = returns(7)
    today.books.today = dt.date(2026, 11, 26)
    before = today.cursor
    back, day = await today.rest()
    today.cursor = before
    _, again = await today.rest()
    bank = today.met.adapter
    assert bank.statement(back) is None
    first, first_answer, *second = parts(day.content)
    spoilt = [day.content[:end] for end in range(len(day.content))]
    spoilt += [
        day.content + back.content,
        first_answer + first,
        first + first_answer,  # a page is missing
        b"".join([*second, first, first_answer]),  # the pages in another order
        b"".join([first, parts(again.content)[1], *second]),  # the same answer, but not to this question
        first + parts(back.content)[1],
        day.content.replace(b"1500.00", b"1500.01", 1),
        day.content.replace(b"20261125", b"20261126", 1),
        b"-0000001x" * 2,
    ]
    for content in spoilt:
        with pytest.raises(Unreadable):
            list(bank.parse(Artefact.of("x", content)))
        if not content.startswith(b"<?xml"):
            with pytest.raises(Unreadable):
                bank.statement(Artefact.of("x", content))


def test_entries_that_name_nothing_are_booked_and_prove_nothing(tmp_path: Path) -> None:
    """An entry without our reference stands in the statement, so that sums can be compared, and is no evidence."""
    bank = adapter(tmp_path)
    envelope = bank._envelope
    body = (
        f"<PAYACC>{ACCOUNT}</PAYACC><DATE>{DAY}</DATE><TOTALNUM>1</TOTALNUM><TOTALAMT>9.00</TOTALAMT><LIST><ITEM>"
        f"<BATCHNO></BATCHNO><REF></REF><AMT>9.00</AMT><KIND>C</KIND><POSTDATE>{DAY}</POSTDATE><HOSTREF>H</HOSTREF>"
        "</ITEM></LIST>"
    )
    at = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
    asked = envelope.document("DF1005", "91", at, f"<PAYACC>{ACCOUNT}</PAYACC><DATE>{DAY}</DATE><START>1</START>")
    told = envelope.document("DF1005", "91", at, body).replace(b"<RESEND>N</RESEND>", b"<RETCODE>0000</RETCODE>")
    artefact = Artefact.of("x", b"".join(b"%08d" % len(part) + part for part in (asked, told)))
    statement = bank.statement(artefact)
    assert statement is not None
    assert [(entry.reference, entry.amount_fen) for entry in statement.entries] == [(None, 900)]
    assert list(bank.parse(artefact)) == []
    assert KEY not in artefact.content
