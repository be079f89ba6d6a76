"""A file of very many lines that is debited in one sum: what is asked of it stays in proportion to its lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.store.engine import Connection, sql
from tests.store.kit import Gateway
from tests.store.test_statements import TODAY, entry, state
from tests.store.test_statements_sums import submissions

LINES = 300
READINGS = 20  # how often a question may read all lines; asked anew for each line it would be hundreds of times
QUESTIONS = ("find_wrong_totals", "find_sums_of_unpaid", "find_unknown_returns")


async def grown(gateway: Gateway, lines: int, now: str) -> str:
    """A file of so many lines, in this state; its name. The lines beyond the first are in the books alone."""
    await gateway.pay(1)
    async with gateway.store.engine.connection() as connection:
        await connection.execute(
            "UPDATE submissions SET state = $2, due_at = due_at + interval '1 year', lines = $1, open_lines = $1, "
            "amount_fen = 10000 * $1",
            lines,
            now,
        )
        await connection.execute(
            "INSERT INTO attempts (submission_id, seq, payout_id, attempt_no, bank, reference, amount_fen) "
            "SELECT 1, n, 1000000000 + n, 1, 'rcc_file', 'R' || n, 10000 FROM generate_series(2, $1::int) n",
            lines,
        )
    ((_, name),) = await submissions(gateway)
    return name


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


async def rows_read(connection: Connection, question: str, *arguments: Any) -> int:
    """How many rows this query reads, of tables and of what it put together itself; what it changes stays changed."""
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql(question)}", *arguments)
    scans = [node for node in nodes(json.loads(explained)[0]["Plan"]) if node["Node Type"].endswith("Scan")]
    return sum(int((n["Actual Rows"] + n.get("Rows Removed by Filter", 0)) * n["Actual Loops"]) for n in scans)


@pytest.mark.parametrize(
    ("now", "back", "found"),
    [("DEFERRED", 0, "NOT_PAID"), ("SUBMITTED", LINES, "NOT_RETURNED")],
)
async def test_the_lines_of_a_sum_are_added_up_once_and_not_once_for_each(
    gateway: Gateway, now: str, back: int, found: str
) -> None:
    """Never sent and debited, or sent and put back in small sums: a difference for each, and few readings of the file.

    A large file would otherwise take longer than a query may: its statement could never be compared, and nothing of
    that bank be collected behind it.
    """
    name = await grown(gateway, LINES, now)
    returns = [entry(None, "RETURN", 100, submission=name, host_reference=f"H{n}") for n in range(back)]
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=LINES * 10_000), *returns)
    at = gateway.clock.now()
    async with gateway.store.engine.connection() as connection:
        key = await connection.fetchval("SELECT statement_no FROM statements")
        kinds = await connection.fetch("SELECT kind, count(*) FROM statement_differences GROUP BY kind")
        assert [tuple(row) for row in kinds] == [(found, LINES)]
        await connection.execute("DELETE FROM statement_differences")
        transaction = connection.transaction()
        await transaction.start()
        read = {question: await rows_read(connection, question, key, at) for question in QUESTIONS}
        assert await connection.fetchval("SELECT count(*) FROM statement_differences") == LINES
        read["resolve_differences"] = await rows_read(connection, "resolve_differences", "rcc_file", at)
        await transaction.rollback()
    assert {question: rows for question, rows in read.items() if rows > READINGS * LINES} == {}


async def test_bookings_line_by_line_are_looked_up_once_and_not_once_for_each(gateway: Gateway) -> None:
    """Never sent, and each line is debited by itself: a difference for each, and few readings of the day."""
    await grown(gateway, LINES, "DEFERRED")
    await state(gateway, TODAY, *(entry(f"R{n}") for n in range(2, LINES + 1)))
    assert await gateway.store.statements.open_differences() == {("rcc_file", "NOT_PAID"): LINES - 1}
    async with gateway.store.engine.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        read = await rows_read(connection, "resolve_differences", "rcc_file", gateway.clock.now())
        await transaction.rollback()
    assert read <= READINGS * LINES


async def test_what_gives_way_to_one_account_is_found_without_holding_each_against_each(gateway: Gateway) -> None:
    """All accounts show each line of a file, another one shows them again: all of them give way, in few readings."""
    await grown(gateway, LINES, "DEFERRED")
    await state(gateway, TODAY, *(entry(f"R{n}") for n in range(2, LINES + 1)))
    async with gateway.store.engine.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO statement_entries (statement_no, entry, bank, booking, reference, amount_fen, post_date) "
            "SELECT statement_no + 1, entry, bank, booking, reference, amount_fen, post_date FROM statement_entries"
        )
        key = await connection.fetchval("SELECT statement_no FROM statements")
        read = {
            "drop_given_way": await rows_read(connection, "drop_given_way", key, key + 1, "ANOTHER"),
            "close_given_way": await rows_read(connection, "close_given_way", key, "ANOTHER", gateway.clock.now()),
        }
        assert await connection.fetchval("SELECT count(*) FROM statement_entries") == LINES - 1
        assert await connection.fetchval("SELECT count(*) FROM statement_differences WHERE resolved_at IS NULL") == 0
        await transaction.rollback()
    assert {question: rows for question, rows in read.items() if rows > READINGS * LINES} == {}


async def test_what_a_large_sum_left_open_is_settled_by_what_comes_back_of_it(gateway: Gateway) -> None:
    """All of a never sent file debited, then all of it put back: each line was told, and each is settled."""
    name = await grown(gateway, LINES, "DEFERRED")
    debit = entry(None, submission=name, amount_fen=LINES * 10_000)
    await state(gateway, TODAY, debit)
    assert await gateway.store.statements.open_differences() == {("rcc_file", "NOT_PAID"): LINES}
    await state(gateway, TODAY, debit, entry(None, "RETURN", LINES * 10_000, submission=name))
    assert await gateway.store.statements.open_differences() == {}


async def test_the_entries_of_the_largest_statements_are_looked_up_by_hash(gateway: Gateway) -> None:
    """Also where the planner knows how many they are: read for each difference, they would never be through."""
    async with gateway.store.engine.connection() as connection:
        await connection.execute(
            "INSERT INTO statements (bank, day, debit_account, digest, credits, credits_fen, debits, debits_fen, "
            "returns, returns_fen, read_at) VALUES ('rcc_file', $1, '', '', 0, 0, 0, 0, 0, 0, now())",
            TODAY,
        )
        await connection.execute(
            "INSERT INTO statement_entries (statement_no, entry, bank, booking, reference, amount_fen, post_date, "
            "host_reference) SELECT 1, n, 'rcc_file', 'DEBIT', '1M85MG280SCC4AKM3RCK' || 100000 + n, 10000, $1, "
            "'202611240000' || 100000 + n FROM generate_series(1, 100000) n",
            TODAY,
        )
        await connection.execute(
            "INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, booked_fen, "
            "host_reference, artefact, found_at) SELECT bank, post_date, '', 'UNKNOWN', booking, reference, "
            "amount_fen, host_reference, '', now() FROM statement_entries WHERE entry % 20 = 0"
        )
        await connection.execute("ANALYZE statements, statement_entries, statement_differences")
        lines = await connection.fetch(f"EXPLAIN {sql('resolve_differences')}", "rcc_file", gateway.clock.now())
    plan = " ".join(line for (line,) in lines)
    assert (plan.count("(day = (hashed SubPlan"), plan.count("(day = (SubPlan")) == (2, 0)
