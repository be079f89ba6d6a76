"""One cell in one world: lists come in, gateways are killed at random moments, trouble strikes, all comes to rest.

Every third kill waits until a bank has seen its victim at work, so that recoveries are measured to their end. Of the
others one in four comes soon after the restart, ready or not, so that recoveries are killed as well. Where Kafka, the
database or another instance goes away, two of five come while it is away. The rest find a process that is ready.
Whoever ends by himself with the status that asks for a fresh process (75) is given one, as by any supervisor; any
other end is a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from tests.bank.ledger import read_only
from tests.storm.matrix.books import Books
from tests.storm.matrix.cells import Cell
from tests.storm.matrix.recovery import WORK_LOOK_SECONDS, Observer, banks_work, watch
from tests.storm.matrix.street import SECOND, Street
from tests.storm.matrix.troubles import TAKES_AWAY, TROUBLES
from tests.world.layout_banks import BANKS
from tests.world.processes import ChildError
from tests.world.run import Run

READY_SECONDS = 120
SOON = 0.25  # the share of kills that do not wait for readiness
STRUCK = 0.4  # and of those that come while something is away, in cells where something is
AT_WORK = 3  # every so-manieth kill waits for the first work
STRIKE_SECONDS = 15  # real: longer than two strikes lie apart
EXIT_STALLED = 75
BOOKS = "postgres"  # without them no gateway gives any bank any work
_LOOK_SECONDS = 0.03


@dataclass
class Storm(Run):
    """A run with kills (``wanted``) and one trouble; ``fired`` says afterwards how often the trouble struck."""

    world: Street
    cell: Cell = field(default_factory=lambda: Cell("", ""))
    seed: int = 1
    wanted: int = 20
    fired: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # the same by kind, where the cell tells kinds apart
    ended_alone: int = 0
    notes: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)  # real seconds, never money: from the books' return to work
    away: set[str] = field(default_factory=set)  # what the trouble has taken away just now
    stopped: set[str] = field(default_factory=set)  # instances that stand still just now

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed * 1000 + sum(map(ord, self.cell.name)))
        self.observer = Observer(self.world.directory)
        self.books = Books(lambda: self.world.postgres.dsn("payout"), self.world.now)
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._over = asyncio.Event()
        self._late = 0  # strikes after the last kill
        self._dead: set[str] = set()  # killed by us and not started again yet

    # --- What a trouble asks -----------------------------------------------------------------------------------------

    async def rest(self, low: float, high: float) -> bool:  # real seconds, never money
        """Let everybody work for a while; False when the kills are over and the trouble has been seen its least."""
        seconds = self.chance.uniform(low, high)
        if self._over.is_set():
            self._late += 1
            await asyncio.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), seconds)
        least = self.cell.least
        seen = self.fired >= least and all(self.kinds[kind] >= least for kind in self.cell.kinds)
        return not self._over.is_set() or (not seen and self._late < 2 * least)

    async def pause(self, low: float, high: float) -> None:  # real seconds, never money
        await asyncio.sleep(self.chance.uniform(low, high))

    def returned(self, what: str) -> None:
        """What everybody stands on is back."""
        for _, port in self.world.gateways().values():
            self.observer.resumed(port, to_work=what == BOOKS)
        self.away.discard(what)

    async def worked_again(self) -> None:
        """Until a bank has seen work since now; not for ever. Who is struck sooner is given no time to recover, so that
        nobody could tell whether he would have."""
        since, deadline = time.time(), time.monotonic() + STRIKE_SECONDS
        while time.monotonic() < deadline and not any(True for _ in banks_work(self.world.directory, since)):
            await asyncio.sleep(WORK_LOOK_SECONDS)
        self.waits.append(time.time() - since)

    def awake(self, name: str) -> None:
        """An instance goes on."""
        self.stopped.discard(name)
        self.observer.resumed(self.world.gateways()[name][1])

    # --- The kills ---------------------------------------------------------------------------------------------------

    async def _kill(self) -> None:
        if self.world.instances > 1:
            self.world.start_second()
        for name in self.world.gateways():
            self._began(name, restarted=False)
        self.observer.start()
        trouble = asyncio.create_task(self._trouble())
        try:
            for number in range(self.wanted):
                await self._kill_one(number)
                if trouble.done():
                    await trouble  # it broke: nothing here proves anything any more
            self._over.set()
            await trouble
            await self._everybody_is_at_work()
        finally:
            for task in (trouble, *self._watches.values()):
                task.cancel()
            self.books.close()

    def _began(self, name: str, *, restarted: bool = True) -> None:
        """A life begins, and is followed to its first work."""
        life = self.observer.began(self.world.gateways()[name][1], restarted=restarted)
        books_are_away = partial(self.away.__contains__, BOOKS)
        self._watches[name] = asyncio.create_task(watch(life, self.observer.worked, self.books.owed, books_are_away))

    async def _trouble(self) -> None:
        if self.cell.trouble:
            await TROUBLES[self.cell.trouble](self)
        else:
            await self._over.wait()

    async def _kill_one(self, number: int) -> None:
        gateways = set(self.world.gateways())
        name = self.chance.choice(sorted(gateways - self.stopped or gateways))
        child, port = self.world.gateways()[name]
        moment = self.chance.random()
        enough = self.observer.recovered * 2 > number  # a life that is killed before it is ready is no recovery
        if number % AT_WORK == 1:
            await self._wait_at_work(name, port)
            await self.pause(0.2, 1)
        elif enough and moment < SOON:
            await self.pause(0.1, 2.5)
        elif enough and self.cell.trouble in TAKES_AWAY and moment < SOON + STRUCK:
            await self._wait_struck()
            await self.pause(0.1, 2.5 if self.cell.slow else 1)  # some see first what became of their claims
        else:
            await self._wait_ready(name, port)
            await self.pause(0.2, 3)
        child.kill()
        self.observer.ended(port)
        self._dead.add(name)
        self.kills += 1
        await self.pause(0.05, 0.5)
        child.start()
        self._dead.discard(name)
        self._began(name)

    async def _wait_ready(self, name: str, port: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.observer.is_ready(port):
            if self.away or name in self.stopped:
                deadline = time.monotonic() + READY_SECONDS
            if time.monotonic() > deadline:
                raise ChildError(f"{name} was not ready {READY_SECONDS} s after its start")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _wait_at_work(self, name: str, port: int) -> None:
        """Until a bank has seen it at work, or its watch has ended without."""
        await self._wait_ready(name, port)
        await self._watches[name]

    async def _wait_struck(self) -> None:
        """Until something is away, or somebody stands still, just now; not for ever."""
        deadline = time.monotonic() + STRIKE_SECONDS
        while not self.away and not self.stopped and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)

    async def _everybody_is_at_work(self) -> None:
        for name, (_, port) in self.world.gateways().items():
            await self._wait_at_work(name, port)

    def _demand_everybody(self, killer: asyncio.Task[None]) -> None:
        if killer.done():
            killer.result()  # what broke the storm breaks the cell
        for name, child in self.world.everybody().items():
            if child.running or name in self._dead or name in self.away:
                continue
            if name not in ("gateway", SECOND) or child.returncode != EXIT_STALLED:
                raise ChildError(f"{name} ended with status {child.returncode}: {child.last_words()}")
            self.ended_alone += 1
            port = self.world.gateways()[name][1]
            self.observer.ended(port)
            child.start()
            self._began(name)


def faults_fired(world: Street, names: tuple[str, ...]) -> Mapping[str, int]:
    """How often each fault bit, by the banks' own ledgers."""
    found = dict.fromkeys(names, 0)
    for bank in BANKS:
        with contextlib.closing(read_only(world.directory / bank)) as ledger:
            for name, count in ledger.execute("SELECT fault, count(*) FROM faults GROUP BY 1"):
                if name in found:
                    found[name] += count
    return found
