"""Thirty virtual days of one seed: two processes, two banks, finance, faults, then quiet.

Theory of operation
-------------------

Everything that happens is drawn from one generator: what is published when, what each bank does with each
transmission, what it decides and when, who loses what and for how long. The driver jumps from event to event: it looks
at the books (`look.py`), rings for the steps that have something to do in one process or in both, and sleeps until the
next thing is due. The steps, their transactions, leases and calls then run in the loop's own virtual time.

*Converging.* At ``storm_seconds`` the last fault is over: everything works again and the banks decide what they still
have to. 24 hours later, not counting days on which a bank is closed, each payout is credited, failed and left to
finance, cancelled, in conflict or held; or it is in doubt with a bank whose word cannot end it, and the hour at which
people are called (``hold_at``) is still ahead: then it is held when that hour has come.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.app import Parts
from gateway.banks import Bank
from gateway.clock import SHANGHAI
from gateway.store import ids
from gateway.texts import DEFAULT_TEMPLATES, Templates
from tests.store import kit
from tests.storm.model.life import Mishap
from tests.storm.simulation.bank import CHARACTERS, SimulatedBank
from tests.storm.simulation.broker import Broker, SimulatedInbox
from tests.storm.simulation.finance import BANK_NUMBERS, LINES_A_LIST, Finance
from tests.storm.simulation.look import look
from tests.storm.simulation.process import Process
from tests.storm.simulation.script import Script
from tests.storm.simulation.timeline import LoopClock, SimulatedEngine, Turn, VirtualLoop
from tests.storm.simulation.verdict import Outcome, Verdict
from tests.world.checker.ledgers import Ledgers

if TYPE_CHECKING:
    from tests.storm.simulation.world import Simulation

HOUR = dt.timedelta(hours=1)
BANK_NAMES = ("rcc_file", "json_https")
# Spring Festival, Labour Day, an ordinary month, National Day with its make-up days, a quiet autumn.
BEGINS = ("2026-02-03", "2026-04-20", "2026-06-29", "2026-09-17", "2026-10-27")


class Month:
    """One seed."""

    def __init__(self, simulation: Simulation, loop: VirtualLoop, seed: int, days: int, witness: asyncpg.Connection):
        self._simulation = simulation
        self.loop = loop
        self.luck = luck = random.Random(seed)
        begin = dt.datetime.fromisoformat(f"{luck.choice(BEGINS)}T{luck.randrange(24):02d}:00:00+08:00")
        self.clock = LoopClock(loop=loop, begin=begin.astimezone(SHANGHAI))
        self.turn = Turn(loop, luck, self.clock, witness)
        self._witness = witness
        self._heap: list[tuple[float, int, Callable[[], Any]]] = []  # virtual seconds, never money
        self._numbers = itertools.count()
        self._background: set[asyncio.Task[Any]] = set()
        self._rung: dict[str, tuple[int, float]] = {}
        self._starts = 0
        self._graves: list[Process] = []  # or their last tasks would be collected while they wait
        self.storm_seconds = int(days * 86_400 * luck.uniform(0.65, 0.85))
        self.broker = SimulatedInbox.broker = Broker(luck)
        self.finance = Finance(self.broker, self.clock, simulation.key, luck, self.at, random.Random(f"orders {seed}"))
        self.banks = self._open_banks()
        self.processes: list[Process | None] = [None, None]
        self.lists: dict[int, int] = {}  # by the books' number of a batch: the number of the list
        self.verdict = Verdict(self, seed, simulation.keys, simulation.checker_tables)

    def _open_banks(self) -> dict[str, SimulatedBank]:
        shared: dict[str, Any] = {}
        banks = {}
        routes = dict(zip(BANK_NUMBERS, BANK_NAMES, strict=True))
        ledgers = Ledgers([f"{name}/ledger" for name in BANK_NAMES], routes=routes)
        for number, name in enumerate(BANK_NAMES):
            character = self.luck.choice(sorted(CHARACTERS))
            can = {**CHARACTERS[character], "max_lines": self.luck.choice((1, 2, 1000))}
            can.setdefault("return_horizon_days", 12)
            bank = SimulatedBank(
                name=name, can=can, clock=self.clock, luck=self.luck, number=number, ledgers=ledgers, at=self.at,
                tell=self._tell, **shared,
            )  # fmt: skip
            shared = {n: getattr(bank, n) for n in ("items", "open", "broken", "frozen", "sending", "violations")}
            banks[name] = bank
        self.entries = {name: Bank(name, bank, bank, bank.capabilities()) for name, bank in banks.items()}
        self.ledgers = ledgers
        return banks

    # -- the driver

    async def play(self) -> Outcome:
        Script(self).write()
        for who in range(2):
            await self.start(who)
        await self.until(self.storm_seconds)
        await self._calm_down()
        await self.until(self._rest_by())
        await self.verdict.judge()
        return self.verdict.outcome

    def at(self, span: dt.timedelta, action: Callable[[], Any]) -> None:
        self.at_seconds(self.loop.time() + span.total_seconds(), action)

    def at_seconds(self, seconds: float, action: Callable[[], Any]) -> None:  # never money
        heapq.heappush(self._heap, (seconds, next(self._numbers), action))

    async def until(self, end: float) -> None:  # virtual seconds, never money
        wake, look_again = 0.0, True
        while self.loop.time() < end:
            while self._heap and self._heap[0][0] <= self.loop.time():
                _, _, action = heapq.heappop(self._heap)
                done = action()
                if asyncio.iscoroutine(done):
                    await done
                look_again = look_again or done is not False
            self.finance.read_receipts()
            if look_again or self.loop.time() >= wake:
                wake = await self._ring()
            look_again = False
            until = wake
            if self._heap:
                until = min(until, self._heap[0][0])
            until = min(max(until, self.loop.time() + 0.01), end)
            await asyncio.sleep(max(until - self.loop.time(), 0))

    async def _ring(self) -> float:
        """Ring for what is due; until when nothing else is (virtual seconds)."""
        async with self.turn.held(tell=False) as witness:
            now, calendar = self.clock.now(), self._simulation.tables.calendar
            seen = await look(witness, self.banks, self.entries, self.broker, calendar, now)
        found = seen.due
        bank = self.banks[BANK_NAMES[0]]  # what both share
        bank.frozen.clear()
        bank.frozen.update(self._key(*ids.batch_and_line(payout)) for payout in seen.frozen)
        bank.sending.clear()
        bank.sending.update(seen.sending)
        time = self.loop.time()
        wake = time + 86_400
        for name in list(self._rung):
            if name not in found or found[name] > now:
                del self._rung[name]
        rung = False
        for name, moment in sorted(found.items()):
            if moment > now:
                wake = min(wake, time + (moment - now).total_seconds() + 0.01)
                continue
            count, not_before = self._rung.get(name, (0, 0.0))
            if not_before > time:
                wake = min(wake, not_before)
                continue
            self._rung[name] = (count + 1, time + min(0.2 * 2 ** min(count, 20), 900))
            rung = True
            both = self.luck.random() < 0.15
            first = self.luck.randrange(2)
            for process in (self.processes[first], self.processes[1 - first]) if both else (self.processes[first],):
                if process is not None and process.up:
                    process.ring(name)
        return time + 0.2 if rung else wake

    def _key(self, batch_no: int, line: int) -> int:
        return self.lists.get(batch_no, 0) * LINES_A_LIST + line

    # -- processes

    async def start(self, who: int) -> None:
        if self.processes[who] is not None:
            return
        engine = await SimulatedEngine.open_at(self._simulation.dsn, self.turn)
        self._starts += 1
        parts = Parts.__new__(Parts)
        parts.clock, parts.vault, parts.reference = self.clock, self._simulation.vault, self._simulation.tables
        parts.keyring, parts.banks = kit.approval(self._simulation.key), self.entries
        parts.templates, parts.provider = Templates.parse(DEFAULT_TEMPLATES), None
        process = Process(engine, f"process-{self._starts}", self._simulation.config, parts, self.broker)
        self.processes[who] = process
        task = asyncio.ensure_future(self._attend(who, process))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        await process.start()

    async def bury(self, who: int, process: Process) -> None:
        if not process.up:
            return
        self.fire("ended")
        async with self.turn.halted():
            await process.life.end()
        self.processes[who] = None
        self._graves.append(process)

    def arm(self, who: int, mishap: Mishap, back_after: dt.timedelta) -> None:
        process = self.processes[who]
        if process is not None and process.up and not process.life.still:
            process.mishap, process.back_after = mishap, back_after
            process.life.arm(mishap)

    async def _attend(self, who: int, process: Process) -> None:
        """Wait for what was armed: who stands still goes on later, who has ended is buried and started anew."""
        while process.up:
            await process.life.wait_halted()
            assert process.mishap is not None
            self.fire(process.mishap.kind.value)
            if process.life.still:
                self.at(process.back_after, partial(self._go_on, process))
            else:
                await self.bury(who, process)
                self.at(process.back_after, partial(self.start, who))

    def _go_on(self, process: Process) -> None:
        process.life.resume()
        self.turn.give()

    def _tell(self, bank: SimulatedBank, headers: dict[str, str], body: bytes) -> None:
        living = [p for p in self.processes if p is not None and p.up and not p.life.still]
        if not living or bank.away:
            return
        process = self.luck.choice(living)

        async def deliver() -> None:
            try:
                await process.app.bank_callback(bank.name, "POST", "/", headers, body)
            except Exception:
                self.fire("callback refused")

        process.begin(deliver())

    def fire(self, what: str) -> None:
        self.verdict.outcome.fired[what] = self.verdict.outcome.fired.get(what, 0) + 1

    def sweep(self) -> None:
        for process in self.processes:
            if process is not None and process.up:
                for name in process.loop.bells:
                    process.ring(name)

    # -- quiet

    async def _calm_down(self) -> None:
        """The last fault is over: everything works, and the banks decide what they have."""
        self.finance.silent = True
        self.broker.away = False
        for bank in self.banks.values():
            bank.calm, bank.away = True, ""
            for item in bank.latest.values():
                if item.fate == "PENDING":
                    bank._decide_later(item)
        for process in self.processes:
            if process is not None:
                process.life.arm(None)
                process.engine.away = False
                if process.life.still:
                    self._go_on(process)
        for who in range(2):
            await self.start(who)
            process = self.processes[who]
            assert process is not None
            await process._store.pauses.resume(list(BANK_NAMES))  # an operator has looked at what was refused
        self._rung.clear()
        self.sweep()

    def _rest_by(self) -> float:
        """24 hours on, days off not counted."""
        moment, left = self.clock.now(), 24
        while left:
            moment += HOUR
            left -= all(
                bank.is_open_on(moment.date()) or not bank.capabilities().working_days_only
                for bank in self.banks.values()
            )
        return self.loop.time() + (moment - self.clock.now()).total_seconds()

    def lines_lost(self) -> int:
        return sum(p.engine.lines_lost for p in [*self._graves, *self.processes] if p is not None)

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        for process in self.processes:
            if process is not None and process.up:
                async with self.turn.halted():
                    await process.life.end()
