"""What woven code calls: reports each point it passes, and ends the process, without a word, where it is told to.

A *cell* is a point and the bank whose step passes it (``-`` for steps of no bank). A transaction that wrote nothing is
no effect and passes no point; nor does a statement that touched no row.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

BANK: ContextVar[str] = ContextVar("bank", default="-")
FIRST, SECOND = "first", "second"
RECOVERY_SECONDS = 10  # of real time, in which a second death counts as one during recovery


class Reaper:
    """Ends one life at the first cell that is due. The diary is append-only and outlives every life."""

    def __init__(self, diary: Path, life: int, due: Callable[[str, str], str | None]) -> None:
        self._diary = os.open(diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._life = life
        self._due = due
        self._passed: set[tuple[str, str]] = set()
        self._committing = 0
        self._awaited: list[str] = []

    def note(self, **about: Any) -> None:
        line = json.dumps({"life": self._life, "at": time.monotonic(), **about})
        os.write(self._diary, f"{line}\n".encode())

    def reach(self, point: str) -> None:
        bank = BANK.get()
        order = self._due(point, bank)
        # While a commit is on its way nobody else dies: what happens once in a run would never reach its `after`.
        if order is not None and (not self._committing or point in self._awaited):
            self.note(died=point, bank=bank, order=order)
            os.kill(os.getpid(), signal.SIGKILL)
        if (point, bank) not in self._passed:
            self._passed.add((point, bank))
            self.note(passed=point, bank=bank)

    @contextmanager
    def committing(self, name: str) -> Iterator[None]:
        """From the point before a commit to the one after it."""
        after = f"{name}:after"
        due = self._due(after, BANK.get()) is not None
        self._committing += due
        self._awaited.append(after)
        try:
            yield
        finally:
            self._awaited.remove(after)
            self._committing -= due


_reaper: Reaper | None = None


def appoint(reaper: Reaper) -> None:
    global _reaper
    _reaper = reaper


def reach(point: str) -> None:
    if _reaper is not None:
        _reaper.reach(point)


def committing(name: str) -> AbstractContextManager[None]:
    return nullcontext() if _reaper is None else _reaper.committing(name)


@asynccontextmanager
async def transaction(name: str, engine: Any, _: str) -> AsyncIterator[Any]:
    """A transaction with a point on either side of its COMMIT."""
    async with AsyncExitStack() as stack:
        async with engine.transaction() as connection:
            yield connection
            wrote = await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text") is not None
            if wrote:
                reach(f"{name}:before")
                stack.enter_context(committing(name))
        if wrote:
            reach(f"{name}:after")


async def statement(name: str, engine: Any, method: str, query: str, *arguments: Any) -> Any:
    """A statement that commits by itself, here inside a transaction, so that one can die between it and its commit."""
    from gateway.store.engine import sql, touched

    async with AsyncExitStack() as stack:
        async with engine.transaction() as connection:
            if method == "execute":
                answer: Any = touched(await connection.execute(sql(query), *arguments))
            else:
                rows = [dict(row) for row in await connection.fetch(sql(query), *arguments)]
                answer = rows if method == "fetch" else (rows[0] if rows else None)
            if answer:
                reach(f"{name}:before")
                stack.enter_context(committing(name))
        if answer:
            reach(f"{name}:after")
    return answer


async def call(name: str, called: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """An effect outside: a bank, Kafka, the SMS provider."""
    reach(f"{name}:before")
    answer = await called(*arguments, **named)
    reach(f"{name}:after")
    return answer
