"""``xml_tcp`` collecting: returns and statements page by page, nothing lost, nothing read as complete that is not."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Artefact, Evidence, GivesStatements, Proof, Reason, Statement, Unreadable
from adapters.contract import Booking as Booked
from adapters.wire.tcp import AnswerLost, AnswerUnusable, NotReached, TcpFault
from schemas.masked import AccountNumber
from tests.adapters.xml_tcp_kit import ACCOUNT, BATCH, KEY, Booking, Books, Reply, Seen, World, adapter, world

OTHER = "6599990000000041"
DAY = "20261124"


@dataclasses.dataclass
class Collector:
    """Collects as the core does: artefact after artefact, keeping the cursor of each."""

    met: World
    books: Books
    cursor: str = ""
    kept: list[Artefact] = dataclasses.field(default_factory=list)

    async def round(self, stop_after: int | None = None) -> list[Artefact]:
        new: list[Artefact] = []
        async with self.met.transport.wire() as wire:
            async for artefact, cursor in self.met.adapter.collect(wire, self.cursor):
                self.cursor = cursor
                new.append(artefact)
                await self.met.adapter.settle(artefact, wire)
                if len(new) == stop_after:
                    break
            assert not wire.crossed
        self.kept += new
        return new

    async def rest(self) -> list[Artefact]:
        """Rounds until one gives nothing."""
        start = len(self.kept)
        while await self.round():
            pass
        return self.kept[start:]

    def evidence(self) -> list[Evidence]:
        return [one for artefact in self.kept for one in self.met.adapter.parse(artefact)]

    def statements(self) -> dict[str, Statement]:
        found = [self.met.adapter.statement(artefact) for artefact in self.kept]
        return {f"{one.day:%Y%m%d}": one for one in found if one is not None}

    def returned(self) -> list[str]:
        return [one.host_reference or "" for one in self.evidence() if one.proof is Proof.RETURNED]

    def asked(self, trade: str) -> list[Seen]:
        return [seen for seen in self.met.bank.seen if seen["TRCODE"] == trade]


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    async with world(tmp_path, items_per_page=3, questions_per_collection=60, first_statement_days=2) as met:
        books = Books()
        books.serve(met.bank)
        yield Collector(met, books)


@pytest.fixture
async def today(collector: Collector) -> Collector:
    """A collector that has read everything up to yesterday."""
    await collector.rest()
    collector.kept.clear()
    collector.met.bank.seen.clear()
    return collector


def returns(*numbers: int, **more: Any) -> list[Booking]:
    return [Booking(number, kind="R", **more) for number in numbers]


# Returns


async def test_returns_are_read_page_by_page(today: Collector) -> None:
    """Every return is read once, whatever the pages; what it proves carries the bank's booking and reason."""
    today.books.returns = returns(*range(1, 9))
    today.books.returns[1].code = "3018"
    today.books.returns[2].code = "4711"
    artefacts = await today.rest()
    assert set(today.returned()) == {f"R{n}" for n in range(1, 9)}
    first, second, third = list(today.met.adapter.parse(artefacts[0]))
    assert (first.proof, first.reason, first.code) == (Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT, "3056")
    assert (second.reason, third.reason) == (Reason.ACCOUNT_CLOSED, Reason.RETURNED_AFTER_CREDIT)
    assert (first.submission, first.amount_fen, first.post_date) == (BATCH, 150_000, dt.date(2026, 11, 24))
    assert first.artefact == artefacts[0].sha256
    assert {seen["PAYACC"] for seen in today.asked("DF1004")} == {ACCOUNT}
    assert {(seen["STARTDATE"], seen["ENDDATE"]) for seen in today.asked("DF1004")} == {("00010101", "99991231")}


async def test_a_quiet_round_gives_nothing_and_moves_nothing(today: Collector) -> None:
    """Where nothing is new, nothing is given, and one question per list is all it costs."""
    today.books.returns = returns(1, 2)
    await today.rest()
    cursor, asked = today.cursor, len(today.met.bank.seen)
    assert await today.round() == []
    assert today.cursor == cursor
    assert len(today.met.bank.seen) - asked == 2
    assert len(json.loads(cursor)) == 1
    assert len(cursor) < 80


async def test_a_return_booked_late_is_not_missed(today: Collector) -> None:
    """A return that appears under a date long past is read: the list is followed, and not the date."""
    today.books.returns = returns(1, day="20261124")
    await today.rest()
    today.books.returns += returns(2, day="20261101")
    await today.rest()
    assert today.returned()[-1] == "R2"


async def test_a_list_that_grows_between_pages_loses_nothing(today: Collector) -> None:
    """Returns booked while the pages are read are read too."""
    today.books.returns = returns(1, 2, 3, 4)
    serve = today.books._returns

    def growing(seen: Seen) -> Reply:
        reply = serve(seen)
        if len(today.books.returns) < 12:
            today.books.returns += returns(len(today.books.returns) + 1)
        return reply

    today.met.bank.says("DF1004", growing)
    await today.rest()
    assert set(today.returned()) == {f"R{n}" for n in range(1, 13)}


@pytest.mark.parametrize(
    "change",
    [
        lambda old: returns(9) + old,  # an item squeezed in
        lambda old: old[:2] + returns(9) + old[2:],
        lambda old: [*old[1:], *returns(9)],  # one dropped
        lambda old: returns(9),
        lambda old: [*old[:-1], dataclasses.replace(old[-1], amount="1500.01"), *returns(9)],
    ],
)
async def test_a_list_changed_against_the_banks_word_is_read_anew(today: Collector, change: Any) -> None:
    """When the last return known is not where it was, the whole list is read again and the new one found."""
    today.books.returns = returns(1, 2, 3, 4)
    await today.rest()
    today.books.returns = change(today.books.returns)
    await today.rest()
    assert "R9" in today.returned()


async def test_a_list_that_is_empty_again_is_no_loop(today: Collector) -> None:
    """A list that vanished gives nothing and ends the round; when it is back, it is read from its start."""
    today.books.returns = returns(1, 2)
    await today.rest()
    today.met.bank.says("DF1004", Reply("1002"))
    assert await today.round() == []
    today.books.serve(today.met.bank)
    today.books.returns = returns(7, 8, 9)
    await today.rest()
    assert today.returned()[-3:] == ["R7", "R8", "R9"]


@pytest.mark.parametrize("poisoned", [0, 1, 3, 6])
async def test_a_poisoned_return_hides_no_other(tmp_path: Path, poisoned: int) -> None:
    """One return that cannot be read is given alone, to be set aside; those before and behind it are read."""
    async with world(tmp_path, items_per_page=100, questions_per_collection=40) as met:
        books = Books(returns=returns(*range(1, 8)))
        books.returns[poisoned].spoilt = True
        books.serve(met.bank)
        collector = Collector(met, books)
        unreadable, good = 0, set()
        for artefact in await collector.rest():
            try:
                good |= {e.host_reference for e in met.adapter.parse(artefact) if e.proof is Proof.RETURNED}
            except Unreadable:
                unreadable += 1
        assert unreadable == 1
        assert good == {f"R{n}" for n in range(1, 8)} - {f"R{poisoned + 1}"}
        books.returns += returns(8)
        (artefact,) = await collector.rest()
        assert "R8" in {e.host_reference for e in met.adapter.parse(artefact)}


@pytest.mark.parametrize(
    "body", ["<BODY/>", "<BODY><TOTALNUM>x</TOTALNUM><LIST/></BODY>", "<BODY><TOTALNUM>5</TOTALNUM><LIST/></BODY>"]
)
async def test_a_page_that_cannot_be_told_apart_is_a_fault(today: Collector, body: str) -> None:
    """A reply without a count, or with a count and no items, is told as a fault and moves nothing."""
    today.met.bank.says("DF1004", Reply(body=body))
    cursor = today.cursor
    with pytest.raises(AnswerUnusable):
        await today.round()
    assert today.cursor == cursor


# Statements


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


async def test_the_first_day_is_found_without_a_clock(collector: Collector) -> None:
    """From nothing, the days before the bank's today are found by asking, and no day that is not over is given."""
    collector.books.days[DAY] = [Booking(1)]
    await collector.rest()
    assert list(collector.statements()) == ["20261123", "20261124"]
    assert collector.statements()["20261123"].entries == ()
    assert len(collector.asked("DF1005")) < 25


@pytest.mark.parametrize("today", [dt.date(2000, 1, 4), dt.date(2026, 3, 1), dt.date(2099, 12, 31)])
async def test_any_today_is_found(tmp_path: Path, today: dt.date) -> None:
    """Whatever day the bank's clock shows, a virtual one included, the first days given are those before it."""
    async with world(tmp_path, first_statement_days=1) as met:
        books = Books(today=today)
        books.serve(met.bank)
        collector = Collector(met, books)
        for _ in range(3):
            await collector.round()
        assert list(collector.statements()) == [f"{today - dt.timedelta(days=1):%Y%m%d}"]


async def test_the_search_survives_small_rounds_and_a_lie(tmp_path: Path) -> None:
    """A search cut into short rounds goes on where it was, and one wrong "not ready" does not lead it astray."""
    async with world(tmp_path, questions_per_collection=5, first_statement_days=1) as met:
        books = Books()
        books.serve(met.bank)
        serve, lies = books._day, [Reply("2007")]

        def lying(seen: Seen) -> Reply:
            return lies.pop() if lies and seen["DATE"] < "20200101" else serve(seen)

        met.bank.says("DF1005", lying)
        collector = Collector(met, books)
        for _ in range(30):
            await collector.round()
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


def change_sum(books: Books) -> None:
    books.totals["20261125"] = "7500.01"


def change_order(books: Books) -> None:
    books.days["20261125"].reverse()


def lose_the_day(books: Books) -> None:
    books.days["20261125"] = []


@pytest.mark.parametrize("change", [change_count, change_sum, change_order, lose_the_day])
async def test_pages_that_change_under_our_hands_are_read_anew(today: Collector, change: Any) -> None:
    """When count, sum or order change between two pages nothing is given; the day as it is then is read whole."""
    today.books.days["20261125"] = [Booking(n) for n in range(1, 6)]
    today.books.today = dt.date(2026, 11, 26)
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
    async with world(tmp_path, items_per_page=2, questions_per_collection=4, first_statement_days=1) as met:
        books = Books(days={DAY: [Booking(n) for n in range(1, 30)]})
        books.serve(met.bank)
        serve, asked = books._day, 0

        def failing(seen: Seen) -> Reply:
            nonlocal asked
            asked += 1
            return Reply(hang_up=True) if asked % 3 == 0 else Reply("2000") if asked % 7 == 0 else serve(seen)

        met.bank.says("DF1005", failing)
        collector = Collector(met, books)
        for _ in range(80):
            with contextlib.suppress(TcpFault):
                await collector.round()
        assert len(collector.statements()[DAY].entries) == 29


async def test_a_statement_has_a_bound(tmp_path: Path) -> None:
    """A day beyond the bound is a fault, not memory without end."""
    async with world(tmp_path, items_per_page=2, first_statement_days=1, max_statement_bytes=4_000) as met:
        books = Books(days={DAY: [Booking(n) for n in range(1, 30)]})
        books.serve(met.bank)
        collector = Collector(met, books)
        with pytest.raises(AnswerUnusable, match="STATEMENT_CHANGED"):
            for _ in range(3):
                await collector.round()
        assert collector.statements() == {}


# Both


async def test_every_account_is_asked_about_and_hides_no_other(tmp_path: Path) -> None:
    """Each configured account has its own place in the lists; one that cannot be read does not hide the others."""
    async with world(tmp_path, debit_accounts=[ACCOUNT, OTHER], first_statement_days=1) as met:
        books = Books(days={DAY: [Booking(1)]}, returns=returns(5))
        books.serve(met.bank)
        day, back = books._day, books._returns
        met.bank.says("DF1005", lambda seen: Reply("9999") if seen["PAYACC"] == ACCOUNT else day(seen))
        met.bank.says("DF1004", lambda seen: Reply("9999") if seen["PAYACC"] == ACCOUNT else back(seen))
        collector = Collector(met, books)
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
    async with world(tmp_path, debit_accounts=accounts, questions_per_collection=3, first_statement_days=1) as met:
        books = Books()
        books.serve(met.bank)
        collector = Collector(met, books)
        for _ in range(100):
            await collector.round()
        assert len({seen["PAYACC"] for seen in met.bank.seen}) == 6
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
    async with world(tmp_path, first_statement_days=0, collect_interval_milliseconds=86_400_000) as met:
        books = Books()
        books.serve(met.bank)
        collector = Collector(met, books)
        await collector.round()
        asked = len(met.bank.seen)
        books.returns = returns(1)
        assert await collector.round() == []
        assert len(met.bank.seen) == asked


async def test_a_kept_page_is_believed_only_whole(today: Collector) -> None:
    """An artefact cut at any byte, of another key, or whose answer belongs to another question, proves nothing."""
    today.books.days["20261125"] = [Booking(n) for n in range(1, 5)]
    today.books.returns = returns(7)
    today.books.today = dt.date(2026, 11, 26)
    back, day = await today.rest()
    bank = today.met.adapter
    assert bank.statement(back) is None
    size = int(day.content[:8])
    question, answer = day.content[: 8 + size], day.content[8 + size :]
    first_answer = answer[: 8 + int(answer[:8])]
    spoilt = [day.content[:end] for end in range(len(day.content))]
    spoilt += [
        day.content + back.content,
        answer + question,
        question + first_answer,  # a page is missing
        question + back.content[8 + int(back.content[:8]) :],
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
