"""The history of a batch: one chain that shows every change, and a table that takes none."""

from __future__ import annotations

import datetime as dt
import json

import asyncpg
import pytest

from gateway.clock import SHANGHAI
from gateway.store.history import GENESIS, canonical, link, verify_chain
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected

AT = dt.datetime(2026, 11, 24, 10, 0, tzinfo=SHANGHAI)


def chain(count: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    previous = GENESIS
    for seq in range(1, count + 1):
        body = canonical({"n": seq})
        previous = link(previous, seq, AT, "EVENT", body)
        rows.append({"seq": seq, "at": AT, "event": "EVENT", "body": body, "hash": previous})
    return rows


def head_of(rows: list[dict[str, object]]) -> tuple[int, bytes]:
    return (len(rows), bytes(rows[-1]["hash"])) if rows else (0, GENESIS)  # type: ignore[call-overload]


def test_a_whole_chain_fits() -> None:
    """An untouched chain, and an empty one, have no first misfit."""
    assert verify_chain(chain(5), head_of(chain(5))) is None
    assert verify_chain([], (0, GENESIS)) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", b'{"n":9}'),
        ("event", "OTHER"),
        ("at", AT + dt.timedelta(microseconds=1)),
        ("hash", bytes(32)),
        ("seq", 9),
    ],
)
def test_a_change_in_any_column_is_found_at_its_place(column: str, value: object) -> None:
    """Body, event, time, number and hash are all under the chain."""
    rows = chain(5)
    head = head_of(rows)
    rows[2][column] = value
    assert verify_chain(rows, head) == 3


def test_dropped_swapped_slipped_in_and_cut_off_events_are_found() -> None:
    """Every event has its place; the head says how many there are."""
    rows = chain(5)
    head = head_of(rows)
    assert verify_chain(rows[:2] + rows[3:], head) == 3
    assert verify_chain([rows[0], rows[2], rows[1], *rows[3:]], head) == 2
    assert verify_chain([rows[0], rows[0], *rows[1:]], head) == 2
    assert verify_chain(rows[:4], head) == 5
    assert verify_chain(chain(6), head) == 7


def test_a_time_is_the_same_in_every_zone() -> None:
    """The chain is over the instant, not over how a session shows it."""
    body = canonical({})
    assert link(GENESIS, 1, AT, "E", body) == link(GENESIS, 1, AT.astimezone(dt.UTC), "E", body)


def test_one_body_has_one_spelling() -> None:
    """Whatever order its members were given in: the chain is over bytes, and an auditor computes them again."""
    assert canonical({"b": [1, None], "a": "买"}) == '{"a":"买","b":[1,null]}'.encode()


async def test_every_step_of_a_payout_is_in_the_history(gateway: Gateway) -> None:
    """Part, list, money, cutting, bytes, sending and every outcome leave an event, in order, without personal data."""
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1), rejected(gateway, 2))
    await gateway.order("REISSUE", "O-1", 2, 1)
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT event, body FROM history WHERE batch_no = 1 ORDER BY seq")
    events = [row["event"] for row in rows]
    assert events == [
        "PART",
        "LIST_COMPLETE",
        "FUNDING",
        "JUDGED",
        "FUNDED",
        "PLANNED",
        "RENDERED",
        "SENDING",
        "EVIDENCE",
        "EVIDENCE",
        "REISSUED",
    ]
    outcome = json.loads(rows[-2]["body"])
    assert outcome["lines"] == [[1, 1, "CREDITED", "0000", "H1"], [2, 1, "REJECTED", "3018", None]]
    whole = b"".join(bytes(row["body"]) for row in rows)
    for number in (1, 2):
        person = kit.line(number)
        for field in ("name", "id_no", "account", "phone"):
            assert str(person[field]).encode() not in whole


async def test_a_repeat_leaves_no_event(gateway: Gateway) -> None:
    """What changes nothing is not history."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    before = await gateway.store.reads.find_batches("1")
    await gateway.answer(credited(gateway, 1), {"proof": "RECEIVED", "reference": gateway.reference_of(1)})
    after = await gateway.store.reads.find_batches("1")
    assert after[0]["history_seq"] == before[0]["history_seq"]
    assert after[0]["changed_at"] == before[0]["changed_at"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE history SET event = 'OTHER' WHERE seq = 2",
        "DELETE FROM history WHERE seq = 2",
        "TRUNCATE history",
    ],
)
async def test_the_table_takes_no_change(gateway: Gateway, change: str) -> None:
    """Update, delete and truncate are refused by the database itself."""
    await gateway.pay(1)
    async with gateway.store.engine.connection() as connection:
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(change)
    assert await gateway.store.reads.verify_history(1) is None


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("UPDATE history SET body = '{}' WHERE seq = 3", 3),
        ("UPDATE history SET at = at + interval '1 second' WHERE seq = 4", 4),
        ("DELETE FROM history WHERE seq = 2", 2),
        ("DELETE FROM history WHERE seq = (SELECT max(seq) FROM history)", 8),
        ("UPDATE batches SET history_hash = decode(repeat('00', 32), 'hex')", 9),
    ],
)
async def test_whoever_switches_the_trigger_off_is_found_by_the_chain(
    gateway: Gateway, change: str, first: int
) -> None:
    """Tampering by somebody who may alter tables is found, with the number of the first event that does not fit."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.cut_and_render()
    await gateway.order("CANCEL", "O-1", 1, 1)
    assert await gateway.store.reads.verify_history(1) is None
    async with gateway.store.engine.connection() as connection:
        await connection.execute("ALTER TABLE history DISABLE TRIGGER ALL")
        await connection.execute(change)
    assert await gateway.store.reads.verify_history(1) == first
