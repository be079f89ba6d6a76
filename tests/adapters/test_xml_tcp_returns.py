"""``xml_tcp`` collecting returns: one list, read from where it was left, and nothing in it lost."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Proof, Reason, Unreadable
from adapters.wire.tcp import AnswerUnusable
from tests.adapters.xml_tcp_books_kit import Books, Collector, reading, returns, up_to_date
from tests.adapters.xml_tcp_kit import ACCOUNT, BATCH, Reply, Seen


@pytest.fixture
async def today(tmp_path: Path) -> AsyncIterator[Collector]:
    async with up_to_date(tmp_path) as collector:
        yield collector


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
    books = Books(returns=returns(*range(1, 8)))
    books.returns[poisoned].spoilt = True
    async with reading(tmp_path, books, items_per_page=100) as collector:
        bank = collector.met.adapter
        unreadable, good = 0, set()
        for artefact in await collector.rest():
            try:
                good |= {e.host_reference for e in bank.parse(artefact) if e.proof is Proof.RETURNED}
            except Unreadable:
                unreadable += 1
        assert unreadable == 1
        assert good == {f"R{n}" for n in range(1, 8)} - {f"R{poisoned + 1}"}
        books.returns += returns(8)
        (artefact,) = await collector.rest()
        assert "R8" in {e.host_reference for e in bank.parse(artefact)}


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
