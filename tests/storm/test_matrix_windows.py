"""R5, its two narrow windows: who holds what is not SENDING yet, by the books, and the build that holds it longer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from gateway.dispatch import Dispatch
from gateway.store.submissions import Submissions
from tests.store.kit import START, Gateway, line
from tests.storm.matrix import build, street
from tests.storm.matrix.books import Books, Held
from tests.storm.matrix.street import Street

PID = 4711
_REFUSE = """
CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE CONSTRAINT TRIGGER refuse_commit AFTER UPDATE ON submissions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'SENDING') EXECUTE FUNCTION refuse_commit();
"""


@pytest.fixture
async def books(gateway: Gateway) -> AsyncIterator[Books]:
    gateway.store.submissions._owner = f"gateway-2-{PID}-0a1b2c3d"  # as a process names itself
    found = Books(lambda: str(gateway.config.database.dsn), gateway.clock.now)
    yield found
    found.close()


async def _rendered(gateway: Gateway) -> None:
    await gateway.batch([line(1), line(2)])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.cut_and_render()


async def _claim(gateway: Gateway) -> int:
    (row,) = await gateway.store.submissions.claim_to_send(gateway.bank.name, gateway.clock.now(), 1)
    return int(row["submission_id"])


async def test_a_bank_is_owed_what_a_step_would_do_now(gateway: Gateway, books: Books) -> None:
    """Nothing in empty books and of lines without money; something as soon as they may be cut, until it was sent."""
    assert await books.owed() is False
    await gateway.batch([line(1)])
    assert await books.owed() is False
    await gateway.fund("100.00")
    await gateway.judge()
    assert await books.owed() is True
    await gateway.cut_and_render()
    assert await books.owed() is True
    await gateway.send()
    assert await books.owed() is False


async def test_a_claim_is_held_by_one_process_until_it_is_sending(gateway: Gateway, books: Books) -> None:
    """Found by the process alone that has it; not any more once the lease is over, when another may take it."""
    await _rendered(gateway)
    assert await books.held([PID]) is None
    submission = await _claim(gateway)
    held = await books.held([1, PID])
    assert held == Held(submission, 2, PID)  # the first claim was to render it
    assert await books.held([1]) is None
    assert (await books.is_unsent(held), await books.is_taken(held)) == (True, False)
    async with gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE submissions SET lease_until = clock_timestamp() - interval '1 second'")
    assert await books.held([PID]) is None
    assert (await books.is_unsent(held), await books.is_taken(held)) == (True, False)
    await _claim(gateway)
    assert (await books.is_unsent(held), await books.is_taken(held)) == (False, True)


async def test_books_that_are_away_say_nothing() -> None:
    """Neither yes nor no, at once; and nobody holds anything."""
    books = Books(lambda: "postgresql://nobody@127.0.0.1:1/none", lambda: START)
    assert await books.owed() is None
    assert await books.held([PID]) is None


class _Hanging:
    """A server that runs and does not answer, until it was killed and started again."""

    pid = 0  # of nobody

    def __init__(self) -> None:
        self.running, self.did = True, list[str]()

    def kill(self) -> None:
        self.running = False
        self.did.append("killed")

    def start(self) -> None:
        self.running = True
        self.did.append("started")


@pytest.mark.parametrize(("patience", "did"), [(0, ["killed", "started"]), (60, [])])
async def test_a_database_that_hangs_is_killed_and_one_that_takes_its_time_is_not(
    patience: int, did: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a supervisor would do; and it is counted, since it is not the gateway's doing."""
    child, looks = _Hanging(), iter((False, False, did == [], True))
    world = Street.__new__(Street)
    world.hung, world.postgres = 0, SimpleNamespace(child=child)  # type: ignore[assignment]
    monkeypatch.setattr(street, "HANGS_SECONDS", patience)
    monkeypatch.setattr(street, "tree", lambda pid: [])

    async def answers() -> bool:
        return "started" in child.did or next(looks)

    world.database_answers = answers  # type: ignore[method-assign]
    await world.revive_database()
    assert (child.did, world.hung, child.running) == (did, len(did) // 2, True)


async def test_a_slow_build_is_the_program_that_holds_its_claims_longer(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends what the program sends; and a SENDING that the database refused is written down, and not sent."""
    monkeypatch.setattr(Dispatch, "_begin", Dispatch._begin)  # both are put back afterwards
    monkeypatch.setattr(Submissions, "write_sending", Submissions.write_sending)
    monkeypatch.setattr(build, "SLOW_SECONDS", (0.3, 0.3))
    build.slow_down(tmp_path / "refused")
    await _rendered(gateway)
    async with gateway.store.engine.connection() as connection:
        await connection.execute(_REFUSE)
    with pytest.raises(asyncpg.DiskFullError):
        await gateway.send()
    assert gateway.bank.sent == []
    assert (tmp_path / "refused").read_text() == "DiskFullError\n"
    async with gateway.store.engine.connection() as connection:
        await connection.execute("DROP TRIGGER refuse_commit ON submissions")
        await connection.execute("UPDATE submissions SET lease_until = NULL")
    began = time.monotonic()
    await gateway.send()
    assert time.monotonic() - began > 0.3
    assert len(gateway.bank.sent) == 1
    assert (tmp_path / "refused").read_text() == "DiskFullError\n"
