"""A real PostgreSQL whose writes, reads and syncs fail for a while, again and again, while lists come in and are paid.

What PostgreSQL makes of it is its own affair: it refuses a statement, it ends one of its processes and with it all of
them (PANIC, where its log cannot be written or synced), it recovers, or it cannot and ends for good. Then it is started
again, as its supervisor would, and fails again until the spell is over. (Seen with 18.4: when a process that recovers
ends of an error, the server may wait for it for ever. `revive_database` kills it when it has not answered for 30 s.)
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from tests.storm.disk import fiu
from tests.storm.disk.arrivals import unwritten
from tests.storm.disk.full import AS_SHIPPED, RECOVERY_SECONDS, failed
from tests.storm.matrix.books import Books
from tests.storm.matrix.play import TIMING, lists_in_turn
from tests.storm.matrix.street import Street
from tests.storm.matrix.troubles import said
from tests.world.demo import keep_metrics
from tests.world.faults import NO_FAULTS
from tests.world.plan import Plan
from tests.world.processes import ChildError
from tests.world.report import conclude
from tests.world.run import Run

LISTS, LINES, EVERY_SECONDS = 30, 20, 6  # a list comes every six seconds (real), so that each spell finds work
LIMIT_SECONDS: Final = 420
SPELL_SECONDS: Final = 8
BEFORE_SECONDS, CLAIM_SECONDS = 3, 6  # of quiet before each spell, and then until something is claimed and not SENDING
SUPERVISOR_SECONDS: Final = 0.5  # until it starts a server again that has ended
_LOOK_SECONDS: Final = 0.05
_ERRORS: Final = (os.strerror(errno.EIO), os.strerror(errno.ENOSPC))  # PostgreSQL's own words in its log


@dataclass(frozen=True, slots=True)
class Spell:
    """Which calls fail, with what, and how often. Of those that fail always readiness has to tell."""

    name: str
    points: tuple[str, ...]
    error: int = errno.EIO
    probability: float = 1  # never money


# Reads fail by themselves: in a spell that makes PostgreSQL recover, one that fails costs what it had acknowledged. It
# takes a page of its log that it cannot read for the end of the log, and goes on from there (seen with 18.4).
SPELLS: Final = (
    Spell("one write and sync in fifty fails", (*fiu.WRITES, *fiu.SYNCS), probability=0.02),
    Spell("no write succeeds", fiu.WRITES),
    Spell("one read in ten fails", fiu.READS, probability=0.1),
    Spell("no sync succeeds", fiu.SYNCS),
    Spell("no write finds room", fiu.WRITES, errno.ENOSPC),
    Spell("no read succeeds", fiu.READS),
)
FEW_BUFFERS: Final = {"shared_buffers": "4MB"}  # so that tables are read from the disk at all


@dataclass(frozen=True, slots=True)
class Failing:
    """What came of it: figures of the row, and what the world's own judgement finds wrong."""

    spells: int
    io_errors: int  # lines of PostgreSQL's log with EIO or ENOSPC in its words
    panics: int
    started_again: int  # how often PostgreSQL had ended for good
    hung: int  # how often it did neither, and was killed when it had not answered for a while
    failed: int  # times that the gateway's log tells of a step of sending that failed
    unwritten: int  # arrivals of which the books know no transmission
    status_503_after_seconds: list[float]  # of each spell in which every call fails; real, never money
    recovery_seconds: list[float]  # of each spell, from its end to readiness
    payouts: int
    credited: int
    counters: dict[str, int]
    faults: list[str] = field(default_factory=list)  # why it is not clean, for people

    def figures(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "faults"}


@dataclass
class Weather(Run):
    """A run under whose database the disk fails, spell by spell; nobody is killed but by that."""

    world: Street
    disk: fiu.Faults = field(kw_only=True)
    told: list[float] = field(default_factory=list)  # seconds to each 503; real, never money
    recovered: list[float] = field(default_factory=list)  # seconds to each readiness
    started_again: int = 0

    async def _kill(self) -> None:
        """The place of the kills in a run: what happens beside it, until it is over."""
        books = Books(lambda: self.world.postgres.dsn("payout"), self.world.now)
        try:
            for spell in SPELLS:
                await asyncio.sleep(BEFORE_SECONDS)
                await self._claimed(books)
                await self._pass(spell)
        finally:
            books.close()

    async def _claimed(self, books: Books) -> None:
        """Wait until something is claimed and not SENDING yet, where that can be seen at all."""
        deadline = time.monotonic() + CLAIM_SECONDS
        while time.monotonic() < deadline and await books.held([self.world.children["gateway"].pid]) is None:
            await asyncio.sleep(_LOOK_SECONDS)

    async def _pass(self, spell: Spell) -> None:
        began = time.monotonic()
        await self._switch(spell)
        if spell.probability >= 1:
            self.told.append(await self._until_status(HTTPStatus.SERVICE_UNAVAILABLE, began))
        while time.monotonic() - began < SPELL_SECONDS:
            if not self._postgres.running:
                await asyncio.sleep(SUPERVISOR_SECONDS)
                self.started_again += 1
                self._postgres.start()
                await self._switch(spell)
            await asyncio.sleep(_LOOK_SECONDS)
        ended = time.monotonic()
        if self._postgres.running:
            await asyncio.to_thread(self.disk.off, self._postgres.pid, spell.points)
        self.started_again += not self._postgres.running
        await self.world.revive_database()
        self.recovered.append(await self._until_status(HTTPStatus.OK, ended))

    async def _switch(self, spell: Spell) -> None:
        if self._postgres.running:
            pid = self._postgres.pid
            await asyncio.to_thread(self.disk.on, pid, spell.points, spell.error, spell.probability)

    @property
    def _postgres(self) -> Any:
        return self.world.postgres.child

    async def _until_status(self, status: HTTPStatus, since: float) -> float:  # seconds, never money
        while await self.world.status("/ready") != status:
            if time.monotonic() - since > RECOVERY_SECONDS + 30:
                raise ChildError(f"/ready does not answer {status}")
            await asyncio.sleep(_LOOK_SECONDS)
        return round(time.monotonic() - since, 1)

    def _demand_everybody(self, killer: asyncio.Task[None]) -> None:
        """PostgreSQL may end while its disk fails; nobody else, and not the gateway."""
        if killer.done():
            killer.result()
        for name, child in self.world.everybody().items():
            if not child.running and (name != "postgres" or killer.done()):
                raise ChildError(f"{name} ended with status {child.returncode}: {child.last_words()}")


def play_failing(directory: Path, *, bug: str = "", slow: bool = False) -> Failing:
    """Lists for four banks through six spells, until all has come to rest; then everybody's word about it."""
    disk = fiu.Faults(directory / "fiu", "postgres")
    world = Street(_plan(directory / "world"), bug=bug, slow=slow)
    world.postgres.prefix = disk.prefix
    world.postgres.settings |= FEW_BUFFERS
    with world:
        steady = 3 * AS_SHIPPED["watch_milliseconds"] / 1000  # what the gauges say is that old
        run = Weather(world, disk=disk, limit_seconds=LIMIT_SECONDS, await_notices=False, steady_seconds=steady)
        rested = asyncio.run(run.to_rest())
        keep_metrics(world)
        lost = unwritten(world)
        world.stop()
        log = world.postgres.child.errors if world.postgres.child else directory
        outcome = conclude(world, 0, rested=rested)
        return Failing(
            spells=len(run.recovered),
            io_errors=sum(said(log, words) for words in _ERRORS),
            panics=said(log, "PANIC:"),
            started_again=run.started_again,
            hung=world.hung,
            failed=failed(world),
            unwritten=lost,
            status_503_after_seconds=run.told,
            recovery_seconds=run.recovered,
            payouts=outcome.summary["approved"],
            credited=outcome.summary["credited"],
            counters=outcome.summary["counters"],
            faults=outcome.faults,
        )


def _plan(directory: Path) -> Plan:
    """Banks that do nothing wrong: what goes wrong here is the disk's."""
    return Plan(
        directory=directory,
        lists=lists_in_turn(directory / "lists", LISTS, LINES, EVERY_SECONDS),
        faults=NO_FAULTS,
        hostile=False,
        repeat_rate=0,
        gateway={"timing": {**TIMING, **AS_SHIPPED}},
    )
