"""A database that goes away in the middle: no batch and no submission rests for it, and no process ends."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from unittest.mock import Mock

import asyncpg
import pytest

from gateway import dispatch as dispatching
from gateway.app import App, Parts
from gateway.store.batches import Judging
from gateway.store.engine import Engine, outage
from gateway.store.pauses import Pauses
from gateway.store.submissions import Submissions
from tests.store import kit
from tests.store.kit import Gateway


def gone() -> Exception:
    return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


async def test_a_batch_whose_line_was_lost_is_judged_in_the_next_turn(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step fails and comes again; the batch does not rest for ten minutes as one that cannot be judged."""
    await gateway.batch([kit.line(1)])

    async def cut(self: Judging, *_: Any) -> str:
        raise gone()

    with monkeypatch.context() as patched:
        patched.setattr(Judging, "finish", cut)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await gateway.intake.judge_next()
    assert await gateway.intake.judge_next()
    assert await gateway.buckets() == {"awaiting_funds": 1}


async def test_a_lost_line_is_not_told_as_a_submission_that_cannot_be_written(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is called to look at bytes that are sound; the others of the turn are rendered."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.dispatch.plan()

    async def cut(self: Submissions, *_: Any) -> None:
        raise gone()

    told = Mock()
    monkeypatch.setattr(dispatching, "log", told)
    monkeypatch.setattr(Submissions, "write_rendering", cut)
    assert await gateway.dispatch.render(gateway.entry)
    assert [call.args for call in told.warning.call_args_list] == [("rendering cut off",)]
    told.error.assert_not_called()


def starting(gateway: Gateway) -> App:
    """A process before it has its database."""
    parts = Parts.__new__(Parts)
    parts.banks = {}
    return App(gateway.config, parts)


@pytest.mark.parametrize(
    ("place", "lost"),
    [
        ((Engine, "assert_migrated"), gone()),
        ((Pauses, "paused"), gone()),
        ((Pauses, "paused"), asyncpg.InternalClientError("got result for unknown protocol state 3")),
        ((Engine, "rights_beyond_paying"), ConnectionResetError()),
        ((Engine, "assert_migrated"), asyncpg.LockNotAvailableError("canceling statement due to lock timeout")),
        ((Submissions, "ensure_banks"), asyncpg.DeadlockDetectedError("deadlock detected")),
    ],
)
async def test_a_start_whose_first_look_is_cut_off_goes_on_looking(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str], lost: Exception
) -> None:
    """Killed, or kept waiting by a lock: the process does not end, tells which in ``/ready``, and leaves none open."""
    kept, looks, told = getattr(*place), list[Any](), list[str | None]()

    async def first_time_lost(self: Any, *arguments: Any) -> Any:
        looks.append(self)
        if len(looks) == 1:
            raise lost
        told.append(app.readiness()["database"])
        return await kept(self, *arguments)

    monkeypatch.setattr(*place, first_time_lost)
    app = starting(gateway)
    store = await app._open_store()
    assert store is not None
    assert [getattr(looker, "_engine", looker)._pool.is_closing() for looker in looks] == [True, False]
    assert len(told) == 1
    assert type(lost).__name__ in str(told[0])
    assert app.readiness()["database"] is None
    await store.close()


async def test_a_stop_does_not_wait_for_a_database_that_hangs(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connected, and no answer to the first look: told to stop, the start ends and leaves no connection open."""
    app, looks = starting(gateway), list[Any]()

    async def hang(self: Any) -> None:
        looks.append(self)
        app._stop.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Pauses, "paused", hang)
    async with asyncio.timeout(30):
        assert await app._open_store() is None
    assert [looker._engine._pool.is_closing() for looker in looks] == [True]


async def test_a_start_that_no_waiting_helps_ends(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the first look is neither an outage nor a lock: the process ends with it."""

    async def broken(self: Any) -> None:
        raise asyncpg.UndefinedColumnError("no such column")

    monkeypatch.setattr(Pauses, "paused", broken)
    with pytest.raises(asyncpg.UndefinedColumnError):
        await starting(gateway)._open_store()


def test_an_unfit_argument_is_no_outage() -> None:
    """asyncpg raises both under one name; a batch that PostgreSQL cannot store has to rest."""
    assert outage(gone())
    assert outage(asyncpg.InterfaceError("connection is closed"))
    assert outage(asyncpg.InternalClientError("got result for unknown protocol state 3"))
    assert outage(ssl.SSLCertVerificationError("certificate verify failed"))
    assert not outage(asyncpg.DataError("invalid input"))
    assert not outage(asyncpg.exceptions.ClientConfigurationError("invalid DSN"))
    assert not outage(asyncpg.QueryCanceledError("statement timeout"))
