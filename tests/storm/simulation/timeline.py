"""Virtual time over a real PostgreSQL: a loop whose clock jumps, and a turn that makes transactions follow each other.

Theory of operation
-------------------

Time stands while anything can still be computed, and while PostgreSQL works on something; when nothing is left but
timers, the clock jumps to the next one. That alone would not repeat itself: replies of two sessions arrive in whatever
order the machine likes. So a session talks to PostgreSQL only while it holds the *turn*, for one transaction (or one
statement outside of any); who has it next is drawn by the seed; and a reply is read only when nothing else can go on.
Between transactions everything interleaves, within one nothing does: which locks two open transactions wait for each
other with is not seen here.

The turn also tells PostgreSQL what time it is: leases are counted by ``clock_timestamp()``, which in these databases is
a function of ours (``CLOCK``), found first by every session's search path.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import selectors
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from gateway.clock import SHANGHAI, Clock
from gateway.store.engine import SESSION_SETTINGS, Connection
from tests.storm.model.backends import until_gone
from tests.storm.model.life import LIFE, CountedEngine, ProcessGone

CLOCK = """
CREATE SCHEMA virtual;
CREATE TABLE virtual.clock (at timestamptz NOT NULL);
INSERT INTO virtual.clock VALUES ('2026-01-01T00:00:00+08:00');
CREATE FUNCTION virtual.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM virtual.clock';
"""
SEARCH_PATH = "virtual, public, pg_catalog"  # naming pg_catalog last is what lets ours be found first
RESOLUTION = dt.timedelta(seconds=1)
ANSWER_SECONDS = 60  # real: PostgreSQL or the test is broken


class Stuck(AssertionError):
    """Nothing can ever happen again, or PostgreSQL does not answer."""


class _Selector(selectors.SelectSelector):
    """Waits for PostgreSQL in real time, for everything else in virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:  # seconds, never money
        if timeout is not None and timeout <= 0:
            return []  # first whatever can go on without a reply
        if self._loop.database_works:
            found = super().select(ANSWER_SECONDS)
            if not found:
                raise Stuck("PostgreSQL does not answer")
            return found
        if timeout is None:
            found = super().select(0.05)
            if not found:
                raise Stuck("nobody waits for anything")
            return found
        self._loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of virtual seconds. ``database_works`` is kept by the turn."""

    def __init__(self) -> None:
        self._virtual_seconds = 0.0  # never money
        self.database_works = False
        super().__init__(_Selector(self))

    def time(self) -> float:  # seconds, never money
        return self._virtual_seconds

    def jump(self, seconds: float) -> None:  # never money
        self._virtual_seconds += seconds


@dataclass(frozen=True, slots=True)
class LoopClock(Clock):
    """The gateway's clock: the loop's time after ``begin``."""

    loop: VirtualLoop | None = None
    begin: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=SHANGHAI)

    def now(self) -> dt.datetime:
        assert self.loop is not None
        return self.begin + dt.timedelta(seconds=round(self.loop.time(), 3))

    def wall(self) -> dt.datetime:
        return self.now().astimezone(dt.UTC)


class Turn:
    """One transaction after the other, of all processes together, in an order that the seed draws."""

    def __init__(self, loop: VirtualLoop, luck: random.Random, clock: LoopClock, witness: asyncpg.Connection) -> None:
        self._loop = loop
        self._luck = luck
        self._clock = clock
        self._witness = witness
        self._waiting: list[tuple[asyncio.Future[None], Any]] = []
        self._taken = False
        self._halted = False
        self._told_at: dt.datetime | None = None
        self.engines: list[SimulatedEngine] = []
        self.count = 0

    @asynccontextmanager
    async def held(self, *, tell: bool = True) -> AsyncIterator[asyncpg.Connection]:
        """The turn, and the witness's connection for whoever has no session of its own.

        PostgreSQL is told the time where it is to ``tell`` it, to the second: its clock is not ours in production.
        """
        await self._take()
        try:
            self._loop.database_works = True
            now = self._clock.now()
            if tell and (self._told_at is None or now - self._told_at >= RESOLUTION):
                await self._witness.execute("UPDATE virtual.clock SET at = $1", now)
                self._told_at = now
            yield self._witness
        finally:
            self._loop.database_works = False
            self._pass_on()

    async def _take(self) -> None:
        self.count += 1
        if not self._taken and not self._halted:
            self._taken = True
            return
        wish: asyncio.Future[None] = self._loop.create_future()
        entry = (wish, LIFE.get())
        self._waiting.append(entry)
        try:
            await wish
        except BaseException:
            if wish.done() and not wish.cancelled():
                self._pass_on()
            elif entry in self._waiting:
                self._waiting.remove(entry)
            raise

    def _pass_on(self) -> None:
        self._taken = False
        self.give()

    def give(self) -> None:
        """To somebody who waits; not to a process that stands still, nor while one is being buried."""
        if self._taken or self._halted:
            return
        able = [entry for entry in self._waiting if entry[1] is None or not entry[1].still]
        if able:
            entry = self._luck.choice(able)
            self._waiting.remove(entry)
            self._taken = True
            entry[0].set_result(None)

    @asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """Nobody begins a transaction: a process is being buried, and PostgreSQL rolls back what it had open."""
        self._halted = True
        try:
            yield
            await self.until_backends_are_gone()
        finally:
            self._halted = False
            self.give()

    async def until_backends_are_gone(self) -> None:
        before, self._loop.database_works = self._loop.database_works, True
        await until_gone(self._witness, self.engines)
        self._loop.database_works = before


class SimulatedEngine(CountedEngine):
    """The real engine, one transaction at a time. ``away``: no line to PostgreSQL at present."""

    turn: Turn

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self.away = False
        self.gone = False
        self.lines_lost = 0

    @classmethod
    async def open_at(cls, dsn: str, turn: Turn) -> SimulatedEngine:
        async with turn.held():
            session = {**SESSION_SETTINGS, "synchronous_commit": "off", "search_path": SEARCH_PATH}
            engine = await cls.over(
                dsn,
                min_size=0,  # a pool with a floor connects whenever it likes
                max_size=2,
                max_inactive_connection_lifetime=0,
                server_settings=session,
                reset=_nothing,  # a session keeps nothing that the next transaction could see
            )
            engine.turn = turn
            turn.engines.append(engine)
            return engine

    async def ping(self) -> None:
        """Whether there is a line; durability is switched off here, see ``CountedEngine.connect``."""
        async with self.connection() as connection:
            await connection.fetchval("SELECT 1")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with self._alone(), super().connection() as connection:
            yield connection

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        self.open_transactions += 1
        try:
            self._demand_line()
            async with self.turn.held():
                self._demand_line()
                size = self.connections
                try:
                    yield
                finally:
                    if not self.gone and self.connections < size:
                        await self.turn.until_backends_are_gone()
        finally:
            self.open_transactions -= 1

    def _demand_line(self) -> None:
        if self.gone:
            raise ProcessGone
        if self.away:
            raise ConnectionRefusedError

    def lose_line(self) -> None:
        self.lines_lost += 1
        super().lose_line()

    def cut(self) -> None:
        self.gone = True
        if self in self.turn.engines:
            self.turn.engines.remove(self)
        super().cut()


async def _nothing(connection: object) -> None:
    return None
