"""The simulated front-end machine's answers to questions: lines, returns, statements, their faults, and restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand, outlook
from tests.bank.held import HOUR_SECONDS, HeldMachine, held_banks
from tests.bank.programme import QUERY_FAULTS, XML
from tests.bank.xml_answers import Manner

Make = Callable[..., HeldMachine]
DAY_SECONDS = 24 * HOUR_SECONDS
BATCH = hand.batch_number(1)
EVER = {"STARTDATE": "00010101", "ENDDATE": "99991231"}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch, HeldMachine)


def _programmed(*texts: str) -> dict[str, Any]:
    return {"accounts": {hand.account(number): [text] for number, text in enumerate(texts, 1)}}


def _returns(bank: HeldMachine, start: int = 1, count: int = 500, **changes: str) -> hand.XmlReply:
    return bank.ask("DF1004", **{"PAYACC": hand.DEBIT, **EVER, "START": str(start), "COUNT": str(count), **changes})


def _statement(
    bank: HeldMachine, date: str, start: int = 1, count: int = 500, account: str = hand.DEBIT
) -> hand.XmlReply:
    return bank.ask("DF1005", PAYACC=account, DATE=date, START=str(start), COUNT=str(count))


def _told(bank: HeldMachine) -> list[tuple[Any, ...]]:
    query = "SELECT line, status, code FROM answers WHERE channel = 'query' AND line > 0 ORDER BY n, line"
    return bank.rows(query)


# -- lines


def test_every_status_has_its_form(make: Make) -> None:
    """Rejected, pending, suspicious in four ways, another amount: as the manual says, and so in the ledger."""
    texts = [
        "reject:NAME_MISMATCH",
        "pending_for_ever",
        *["suspect_then_settle:7200"] * 4,
        "reject:7777",
        "wrong_amount",
    ]
    bank = make(programme=_programmed(*texts, "credit_then_return:7200"))
    bank.send(1, hand.payments(9))
    bank.wait()
    asked = bank.ask("DF1002", BATCHNO=BATCH)
    assert asked.column("STATUS") == ["3", "1", "9", "9", "9", "9", "3", "2", "2"]
    assert asked.column("CODE") == ["3031", "2007", "", "3999", "9999", "CICS", "7777", "0000", "0000"]
    assert asked.column("AMT")[-2:] == ["123.46", "123.45"]
    assert {item["POSTDATE"] + item["HOSTREF"] for item in asked.items if item["STATUS"] != "2"} == {""}
    words = ["REJECTED", "IN_PROCESS", *["UNKNOWN"] * 4, "REJECTED", "CREDITED", "CREDITED"]
    assert [status for _, status, _ in _told(bank)] == words
    assert bank.ask("DF1002", BATCHNO=BATCH).items == asked.items
    assert len(_told(bank)) == 9  # what was told is not told again


def test_a_line_that_came_back_stays_booked_here(make: Make) -> None:
    """DF1002 goes on showing the credit with its own date and reference; only DF1004 and DF1005 tell of the return."""
    bank = make(programme=_programmed("credit_then_return:172800:ACCOUNT_CLOSED"))
    bank.send(1, hand.payments(1))
    bank.wait()
    before = bank.ask("DF1002", BATCHNO=BATCH).items
    bank.wait(3 * DAY_SECONDS)
    for _ in range(2):
        assert bank.ask("DF1002", BATCHNO=BATCH).items == before
        bank.crash()
    (item,) = _returns(bank).items
    assert (item["REF"], item["POSTDATE"], item["CODE"]) == (hand.reference(1), "20261126", "3056")
    assert [item["HOSTREF"]] == bank.column("SELECT host_ref FROM returns") != [before[0]["HOSTREF"]]
    assert [status for _, status, _ in _told(bank)] == ["CREDITED", "CREDITED", "RETURNED"]


def test_a_wrong_reference_is_repaired(make: Make) -> None:
    """The unknown reference is told about no line, the right one is not denied meanwhile, and follows."""
    bank = make(programme=_programmed("wrong_reference"))
    bank.send(1, hand.payments(1))
    bank.wait()
    wrong = hand.reference(1)[::-1]
    asked = bank.ask("DF1002", BATCHNO=BATCH)
    assert asked.column("REF") == [wrong]
    assert bank.ask("DF1003", BATCHNO=BATCH, REF=hand.reference(1)).items == asked.items
    assert set(bank.rows("SELECT line, reference FROM answers WHERE channel = 'query'")) == {(0, wrong)}
    bank.wait(2 * HOUR_SECONDS)
    assert bank.ask("DF1003", BATCHNO=BATCH, REF=wrong).code == "1002"
    assert bank.ask("DF1003", BATCHNO=BATCH, REF=hand.reference(1)).column("STATUS") == ["2"]
    assert [status for _, status, _ in _told(bank)] == ["CREDITED"]


def test_a_line_that_is_not_executed_says_so_after_the_settling_time(make: Make) -> None:
    """In process at first, then STATUS 3 with 1002: absent, never paid, its money back in the balance."""
    bank = make(programme=_programmed("not_executed:60"), settling_seconds=HOUR_SECONDS, balance_fen=100_000)
    bank.send(1, hand.payments(2))
    bank.wait(HOUR_SECONDS - 1)
    assert bank.ask("DF1002", BATCHNO=BATCH).column("CODE") == ["2007", "0000"]
    bank.crash()
    bank.wait(1)
    assert bank.ask("DF1002", BATCHNO=BATCH).items[0].items() >= {"STATUS": "3", "CODE": "1002"}.items()
    assert [row for row in _told(bank) if row[0] == 1] == [(1, "IN_PROCESS", "2007"), (1, "ABSENT", "1002")]
    assert bank.column("SELECT line FROM credits") == [2]
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [100_000 - 12_345]
    assert bank.column("SELECT fault FROM faults") == ["not_executed"]
    assert set(outlook.read(bank.directory).values()) == {0}


# -- returns


def test_returns_are_paged_in_the_order_of_booking(make: Make) -> None:
    """TOTALNUM, pages, dates and payer; an item keeps its place when more come and when the bank starts again."""
    texts = [f"credit_then_return:{seconds}:ACCOUNT_CLOSED" for seconds in (172_800, 7_200, 86_400)]
    bank = make(programme=_programmed(*texts))
    assert _returns(bank).body["TOTALNUM"] == "0"
    bank.send(1, hand.payments(3))
    bank.wait(DAY_SECONDS + 2 * HOUR_SECONDS)
    listed = _returns(bank).items
    assert [item["REF"] for item in listed] == [hand.reference(2), hand.reference(3)]
    bank.crash()
    bank.wait(2 * DAY_SECONDS)
    bank.crash()
    whole = _returns(bank)
    assert (whole.body["TOTALNUM"], whole.items[:2], whole.column("REF")[2]) == ("3", listed, hand.reference(1))
    assert whole.column("CODE") == ["3018", "3056", "3056"]
    page = _returns(bank, start=2, count=1)
    assert (page.body["TOTALNUM"], page.items) == ("3", whole.items[1:2])
    assert _returns(bank, start=4).items == []
    assert _returns(bank, STARTDATE="20261125", ENDDATE="20261125").items == whole.items[1:2]
    assert _returns(bank, PAYACC="6599990000000018").body["TOTALNUM"] == "0"
    assert _returns(bank, count=501).code == _returns(bank, start=0).code == "1001"
    assert bank.column("SELECT count(DISTINCT reference) FROM answers WHERE status = 'RETURNED'") == [3]


@pytest.mark.parametrize(("fault", "lists"), [("return_late", [[], [1]]), ("return_repeated", [[1], [1, 1]])])
def test_returns_come_late_or_twice(make: Make, fault: str, lists: list[list[int]]) -> None:
    """Late: listed only after a while. Repeated: listed once more, behind; both logged, and told once."""
    bank = make(programme={**_programmed("credit_then_return:7200"), "results": {"*": [fault]}})
    bank.send(1, hand.payments(1))
    bank.wait(2 * HOUR_SECONDS + 1900)
    seen = [_returns(bank).column("REF")]
    bank.wait(2 * HOUR_SECONDS)
    seen.append(_returns(bank).column("REF"))
    assert seen == [[hand.reference(number) for number in each] for each in lists]
    assert bank.rows("SELECT fault, detail FROM faults WHERE reference = ''") == [(fault, f"{BATCH}.01")]
    bank.crash()
    bank.wait(DAY_SECONDS)
    assert _returns(bank).column("REF") == seen[-1]
    assert bank.column("SELECT count(DISTINCT reference) FROM answers WHERE status = 'RETURNED'") == [1]


def test_a_bank_that_dies_before_a_late_return_is_listed_lists_it(make: Make) -> None:
    """However often the bank dies, the return is listed once, and late once."""
    bank = make(programme={**_programmed("credit_then_return:7200"), "results": {"*": ["return_late"]}})
    bank.send(1, hand.payments(1))
    for _ in range(12):
        bank.wait(1900)
        bank.crash()
    assert _returns(bank).column("REF") == [hand.reference(1)]
    assert bank.column("SELECT count(*) FROM faults WHERE fault = 'return_late'") == [1]


# -- statements


def test_the_statement_of_a_day_is_its_credits_and_returns(make: Make) -> None:
    """Busy while the day lasts, then every move of that payer in pages with count and sum; 1002 for a quiet day."""
    texts = ["accept", "credit_then_return:7200", "reject", "wrong_amount", "credit_then_return:90000"]
    bank = make(programme=_programmed(*texts))
    bank.send(1, hand.payments(5))
    bank.send(2, hand.payments(1, start=7), more={"PAYACC": "6599990000000018"})
    bank.wait(4 * HOUR_SECONDS)
    assert _statement(bank, "20261124").code == "2007"
    bank.wait(2 * DAY_SECONDS)
    bank.crash()
    whole = _statement(bank, "20261124")
    moves = bank.rows(
        "SELECT m.reference, m.amount_fen, m.host_ref, 'C', m.n FROM credits m JOIN submissions s ON s.n = m.submission"
        f" WHERE m.post_date = '20261124' AND s.debit_account = '{hand.DEBIT}' UNION ALL"
        " SELECT reference, amount_fen, host_ref, 'R', n FROM returns WHERE post_date = '20261124' ORDER BY 5"
    )
    told = [(item["REF"], item["AMT"], item["HOSTREF"], item["KIND"]) for item in whole.items]
    assert told == [(ref, hand.yuan(fen), host, kind) for ref, fen, host, kind, _ in moves]
    assert len(moves) == 5
    total = sum(fen if kind == "C" else -fen for _, fen, _, kind, _ in moves)
    head = {"PAYACC": hand.DEBIT, "DATE": "20261124", "TOTALNUM": "5", "TOTALAMT": hand.yuan(total)}
    assert whole.body.items() >= head.items()
    pages = [_statement(bank, "20261124", start, 2) for start in (1, 3, 5)]
    assert [item for page in pages for item in page.items] == whole.items
    assert {page.body["TOTALAMT"] for page in pages} == {hand.yuan(total)}
    assert _statement(bank, "20261125").body["TOTALAMT"] == "-123.45"
    assert _statement(bank, "20261123").code == "1002"
    assert _statement(bank, "20261124", account="6599990000000018").body["TOTALNUM"] == "1"
    assert _statement(bank, "20261127").code == _statement(bank, "20991231").code == "2007"
    statuses = bank.rows("SELECT status, count(*) FROM answers WHERE channel = 'query' GROUP BY 1 ORDER BY 1")
    assert statuses == [("CREDITED", 5), ("RETURNED", 2)]


def test_a_bank_without_statements_makes_none(make: Make) -> None:
    """With statements off, every day stays unmade."""
    bank = make(statements=False)
    bank.send(1, hand.payments(1))
    bank.wait(2 * DAY_SECONDS)
    assert _statement(bank, "20261124").code == "2007"


# -- faults of questions

SPEAKS = {"query_9999": "9999", "query_stale": "0000", "query_not_found": "1002"}


@pytest.mark.parametrize("fault", [name for name, profiles in QUERY_FAULTS.items() if XML in profiles])
def test_each_query_fault_fires_and_tells_nothing_true(make: Make, fault: str) -> None:
    """Silence, half a frame, plain text, a system error, an old answer, a denial; the ledger has what was told."""
    bank = make(programme={"rates": {fault: 10_000}})
    bank.send(1, hand.payments(1))
    bank.wait()
    outcome = bank.put(bank.scribe.question("DF1002", BATCHNO=BATCH))
    manners = {"query_timeout": Manner.HANG, "query_drop": Manner.DROP, "query_short": Manner.SHORT}
    assert outcome.manner is manners.get(fault, Manner.WHOLE)
    if fault in SPEAKS:
        reply = bank.scribe.read(outcome.document)
        assert (reply.code, reply.genuine) == (SPEAKS[fault], True)
        assert [item["STATUS"] for item in reply.items] == (["0"] if fault == "query_stale" else [])
    elif fault == "query_garbage":
        assert not outcome.document.startswith(b"<")
    assert bank.column("SELECT fault FROM faults") == [fault]
    said = bank.column("SELECT status FROM answers WHERE channel = 'query'")
    assert said == (["NOT_FOUND"] if fault == "query_not_found" else [])


def test_an_honest_bank_does_not_deny_after_its_settling_time(make: Make) -> None:
    """Nor is there an old answer to a question about returns: faults that cannot bite do not fire."""
    bank = make(programme={"rates": {"query_not_found": 5_000, "query_stale": 5_000}}, settling_seconds=0)
    bank.send(1, hand.payments(1))
    bank.wait()
    codes = {bank.ask("DF1002", BATCHNO=BATCH).code for _ in range(20)} | {_returns(bank).code for _ in range(20)}
    assert codes == {"0000"}
    assert set(bank.column("SELECT fault FROM faults")) == {"query_stale"}
    assert not bank.rows("SELECT 1 FROM faults WHERE detail LIKE 'DF1004%'")
