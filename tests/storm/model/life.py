"""The life of one process of the model: its awaits are counted, and at any of them it can end or stand still.

Theory of operation
-------------------

A process of the model is an engine with connections of its own and the real steps over it. Its work runs in tasks
whose coroutines are driven by ``_driven``, one suspension at a time; tasks that the work starts are driven as well
(the loop's task factory sees to that). At the chosen await, and when what it waited for *has arrived*, the process

* **ends**: the answer is there and was never read. All connections are cut (PostgreSQL rolls back what was open), the
  bank hears no more of it, and its tasks are unwound against closed doors. What was asked before is done, what would
  have been asked next is not: with every await as a place to end, that is every state a kill -9 can leave;
* or **loses its line** to PostgreSQL and lives: the answer (of a COMMIT, too) is lost, the work fails, and the same
  process finds out later what came of it;
* or **stands still** until it is told to go on, outside transactions only (PostgreSQL ends a session that idles in
  one, which is the case above) and never between its last look at its lease and the wire: no gateway can see itself
  stop there.

Statements are not cached by the connections, so that the n-th await is the same await when an example is replayed.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import asyncpg

from gateway.store.engine import SESSION_SETTINGS, Connection, Engine

LIFE: ContextVar[Life | None] = ContextVar("life", default=None)
_UNWINDING_SECONDS = 5


class Kind(StrEnum):
    CUT = "cut"  # ends at the n-th await
    END = "end"  # ends at the n-th await outside a transaction
    LINE = "line"  # loses its connections at the n-th await
    STOP = "stop"  # stands still at the n-th await outside a transaction


@dataclass(frozen=True, slots=True)
class Mishap:
    """What happens to a process at its ``at``-th await (from 1) of that kind, and whether its leases then run out."""

    kind: Kind
    at: int
    leases_pass: bool = False


class Ended(StrEnum):
    DONE = "DONE"
    DEAD = "DEAD"
    FAILED = "FAILED"  # it lost its line; what it was at is found again later
    STILL = "STILL"


class ProcessGone(Exception):
    """A process that has ended tried to speak."""


class CountedEngine(Engine):
    """The real engine that knows how many of its transactions are open."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self.open_transactions = 0
        self._in_use: set[Connection] = set()
        self._opened: set[asyncpg.Connection] = set()

    @classmethod
    async def connect(cls, dsn: str) -> CountedEngine:
        # It is processes that end here, never the server: a commit need not wait for the disk.
        session = {**SESSION_SETTINGS, "synchronous_commit": "off"}
        options = {"min_size": 1, "max_size": 4, "statement_cache_size": 0, "command_timeout": 30}
        return await cls.over(dsn, server_settings=session, **options)

    @classmethod
    async def over(cls, dsn: str, **options: Any) -> Self:
        """An engine that knows each connection of its pool from the moment it can be used."""
        opened: set[asyncpg.Connection] = set()

        async def note(connection: asyncpg.Connection) -> None:
            opened.add(connection)

        engine = cls(await asyncpg.create_pool(dsn, init=note, **options))
        engine._opened = opened
        return engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        self.open_transactions += 1
        try:
            async with super().transaction() as connection:
                with self._used(connection):
                    yield connection
        finally:
            self.open_transactions -= 1

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with super().connection() as connection:
            with self._used(connection):
                yield connection

    @contextmanager
    def _used(self, connection: Connection) -> Iterator[None]:
        self._in_use.add(connection)
        try:
            yield
        finally:
            self._in_use.discard(connection)

    @property
    def connections(self) -> int:
        return self._pool.get_size()

    @property
    def backends(self) -> list[int]:
        """The server's process ids behind the connections that are open."""
        self._opened -= {one for one in self._opened if one.is_closed()}
        return [one.get_server_pid() for one in self._opened]

    @property
    def in_use(self) -> bool:
        return bool(self._in_use)

    def lose_line(self) -> None:
        """Drop the connections in use; the pool makes new ones."""
        for connection in list(self._in_use):
            connection.terminate()

    def cut(self) -> None:
        """Close every connection without a word, for ever."""
        self._pool.terminate()


class Life:
    """One process from its start to its end."""

    def __init__(self, engine: CountedEngine) -> None:
        self.engine = engine
        self.dead = False
        self.on_the_wire = False  # kept by the bank: a conversation was opened, and no byte has left yet
        self.wires = 0  # kept by a bank that holds several at once: how many of those there are
        self._mishap: Mishap | None = None
        self._awaits = self._outside = 0
        self._line_lost = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._work: asyncio.Task[Any] | None = None
        self._halted = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()

    @property
    def still(self) -> bool:
        return not self._going.is_set()

    def arm(self, mishap: Mishap | None) -> None:
        """Let ``mishap`` happen to whatever the process does from now on."""
        self._mishap, self._awaits, self._outside, self._line_lost = mishap, 0, 0, False
        self._halted.clear()

    def resume(self) -> None:
        """Let a process that stood still go on by itself."""
        self.arm(None)
        self._going.set()

    async def wait_halted(self) -> None:
        """Until an armed mishap has ended the process or made it stand still."""
        await self._halted.wait()
        self._halted.clear()

    async def run(self, work: Coroutine[Any, Any, Any], mishap: Mishap | None = None) -> Ended:
        """Do one piece of work until it is done, or the mishap happens. What the work raises is raised."""
        self.arm(mishap)
        token = LIFE.set(self)
        try:
            self._work = asyncio.create_task(work)
        finally:
            LIFE.reset(token)
        return await self._until_halted()

    async def go_on(self) -> Ended:
        """Let a process that stood still finish its work."""
        self._mishap = None
        self._halted.clear()
        self._going.set()
        return await self._until_halted()

    async def _until_halted(self) -> Ended:
        assert self._work is not None
        halted = asyncio.create_task(self._halted.wait())
        await asyncio.wait([self._work, halted], return_when=asyncio.FIRST_COMPLETED)
        halted.cancel()
        if self._work.done():
            if self._line_lost and self._work.exception() is not None:
                return Ended.FAILED
            self._work.result()
            return Ended.DONE
        if self.still:
            return Ended.STILL
        await self.end()
        return Ended.DEAD

    async def end(self) -> None:
        """Kill it: connections first, so that nothing it does while it unwinds reaches anybody."""
        self.dead = True
        self.engine.cut()
        self._going.set()
        dying = list(self._tasks)
        for task in dying:
            task.cancel()
        if dying:
            await asyncio.wait(dying, timeout=_UNWINDING_SECONDS)
        for task in dying:
            if task.done() and not task.cancelled():
                task.exception()  # it ran against closed doors: nobody is interested

    def start(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        async def driven() -> Any:
            return await self._driven(work)

        task = asyncio.Task(driven(), loop=loop, **more)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @types.coroutine
    def _driven(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        while True:
            try:
                awaited = work.send(None) if thrown is None else work.throw(thrown)
            except StopIteration as stop:
                return stop.value
            thrown = None
            due = self._is_due()
            try:
                yield awaited
                if due and not self.dead:
                    if self._mishap is not None and self._mishap.kind is Kind.LINE:
                        self._line_lost = True
                        self.engine.lose_line()
                        raise ConnectionResetError
                    if self._mishap is not None and self._mishap.kind is Kind.STOP:
                        self._going.clear()
                    else:
                        self._mishap = None
                        self._halted.set()
                        yield from asyncio.get_running_loop().create_future()  # for ever: it is cancelled
                    self._halted.set()
                while self.still:
                    yield from self._going.wait().__await__()
            except BaseException as error:  # what is thrown into a coroutine is thrown on
                thrown = error

    def _is_due(self) -> bool:
        """Whether this await is the one."""
        mishap = self._mishap
        self._awaits += 1
        if mishap is None or self.dead:
            return False
        if mishap.kind in (Kind.CUT, Kind.LINE):
            return self._awaits == mishap.at
        if self.engine.open_transactions or (self.on_the_wire and mishap.kind is Kind.STOP):
            return False
        self._outside += 1
        return self._outside == mishap.at


def task_factory(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    """Tasks that a process starts live and die with it."""
    life = LIFE.get()
    return asyncio.Task(work, loop=loop, **more) if life is None else life.start(loop, work, **more)
