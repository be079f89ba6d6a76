"""Thirty virtual days of one seed: two processes, two banks, finance, faults, then quiet; and what must be true after.

Theory of operation
-------------------

Everything that happens is drawn from one generator: what is published when, what each bank does with each
transmission, what it decides and when, who loses what and for how long. The driver jumps from event to event: it looks
at the books (`look.py`), rings for the steps that have something to do in one process or in both, and sleeps until the
next thing is due. The steps, their transactions, leases and calls then run in the loop's own virtual time.

*Converging.* At ``last_fault`` everything works again and the banks decide what they still have to. 24 hours later,
not counting days on which a bank is closed, each payout is credited, failed and left to finance, cancelled, in
conflict or held; or it is in doubt with a bank whose word cannot end it, and the hour at which people are called
(``hold_at``) is still ahead: then it is held when that hour has come.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import heapq
import itertools
import json
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from gateway import app, dispatch, watch
from gateway.app import Parts
from gateway.approval import SigningKey
from gateway.banks import Bank
from gateway.clock import SHANGHAI
from gateway.privacy import fresh_key_file, parse_keys
from gateway.states import OPEN, State
from gateway.store import ids
from gateway.texts import DEFAULT_TEMPLATES, Templates
from gateway.vault import Vault
from tests.store import kit
from tests.storm.model.books import Books, faults_at_rest, faults_of
from tests.storm.model.life import Kind, Mishap
from tests.storm.model.world import TABLES
from tests.storm.simulation.bank import CHARACTERS, SimulatedBank
from tests.storm.simulation.broker import Broker, SimulatedInbox
from tests.storm.simulation.finance import LINES_A_LIST, Finance, batch_id
from tests.storm.simulation.look import look
from tests.storm.simulation.process import Process
from tests.storm.simulation.timeline import SEARCH_PATH, LoopClock, SimulatedEngine, Turn, VirtualLoop
from tests.world.checker import inputs, receipts, rules, stories
from tests.world.checker.ledgers import Ledgers
from tests.world.checker.lines import Tables

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
DAYS = 30
# Fresh tables, not emptied ones: where rows lie, and so in which order they come, has to be the same every time.
EMPTY = f"""
ALTER TABLE history DISABLE TRIGGER USER;
TRUNCATE {", ".join(TABLES)} RESTART IDENTITY;
ALTER TABLE history ENABLE TRIGGER USER;
"""
STILL = "; ".join(f"ALTER TABLE {table} SET (autovacuum_enabled = false)" for table in TABLES)
BANK_NAMES = ("rcc_file", "json_https")
# Spring Festival, Labour Day, an ordinary month, National Day with its make-up days, a quiet autumn.
BEGINS = ("2026-02-03", "2026-04-20", "2026-06-29", "2026-09-17", "2026-10-27")


@dataclass
class Outcome:
    """What one seed came to. ``digest`` is of everything that happened, to the millisecond."""

    seed: int
    digest: str = ""
    faults: list[str] = field(default_factory=list)
    payouts: int = 0
    transmissions: int = 0
    returns: int = 0
    reissues: int = 0
    held: int = 0
    conflicts: int = 0
    fired: dict[str, int] = field(default_factory=dict)
    rest_hours: int = 0
    transactions: int = 0


class Simulation:
    """One database for any number of seeds, one after the other."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.vault = Vault.of(parse_keys(fresh_key_file().encode()))
        self.key = SigningKey.generate("EdDSA")
        self.tables = kit.tables_of_tests()
        self.checker_tables = Tables.read(kit.DATA / "agreements.csv", kit.DATA / "programmes.csv", None)
        self.keys = kit.key_file(self.key)
        config = kit.config_of(dsn)
        timing = config.timing.model_copy(update={"lease_seconds": 15})
        self.config = config.model_copy(update={"timing": timing})

    def play(self, seed: int, days: int = DAYS) -> Outcome:
        loop = VirtualLoop()
        loop.set_task_factory(kit_task_factory())
        try:
            with patched(loop, seed):
                return loop.run_until_complete(self._play(loop, seed, days))
        finally:
            _cancel_all(loop)
            loop.close()

    async def _play(self, loop: VirtualLoop, seed: int, days: int) -> Outcome:
        loop.database_works = True
        witness = await asyncpg.connect(self._dsn, server_settings={"search_path": SEARCH_PATH, "jit": "off"})
        await witness.execute(EMPTY)
        loop.database_works = False
        month = Month(self, loop, seed, days, witness)
        try:
            return await month.play()
        finally:
            await month.close()
            loop.database_works = True
            await witness.close()


class Month:
    """One seed."""

    def __init__(self, simulation: Simulation, loop: VirtualLoop, seed: int, days: int, witness: asyncpg.Connection):
        self._simulation = simulation
        self._loop = loop
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
        self._end_seconds = days * 86_400
        self.storm_seconds = int(self._end_seconds * luck.uniform(0.65, 0.85))
        self.broker = SimulatedInbox.broker = Broker(luck)
        self.finance = Finance(self.broker, self.clock, simulation.key, luck, self.at)
        self.banks = self._open_banks()
        self.processes: list[Process | None] = [None, None]
        self.books: dict[int, Books] = {}
        self.outcome = Outcome(seed)
        global LAST
        LAST = self
        self._all = []

    def _open_banks(self) -> dict[str, SimulatedBank]:
        shared: dict[str, Any] = {}
        banks = {}
        ledgers = Ledgers(list(BANK_NAMES))
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
        self._script()
        for who in range(2):
            await self._start(who)
        await self._until(self.storm_seconds)
        await self._calm_down()
        quiet = self._rest_by()
        await self._until(quiet)
        await self._judge(quiet)
        return self.outcome

    def at(self, span: dt.timedelta, action: Callable[[], Any]) -> None:
        self._at_seconds(self._loop.time() + span.total_seconds(), action)

    def _at_seconds(self, seconds: float, action: Callable[[], Any]) -> None:  # never money
        heapq.heappush(self._heap, (seconds, next(self._numbers), action))

    async def _until(self, end: float) -> None:  # virtual seconds, never money
        wake, look_again = 0.0, True
        while self._loop.time() < end:
            while self._heap and self._heap[0][0] <= self._loop.time():
                _, _, action = heapq.heappop(self._heap)
                done = action()
                if asyncio.iscoroutine(done):
                    await done
                look_again = look_again or done is not False
            self.finance.read_receipts()
            if look_again or self._loop.time() >= wake:
                wake = await self._ring()
            look_again = False
            until = wake
            if self._heap:
                until = min(until, self._heap[0][0])
            until = min(max(until, self._loop.time() + 0.01), end)
            await asyncio.sleep(max(until - self._loop.time(), 0))

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
        time = self._loop.time()
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
        return self._lists.get(batch_no, 0) * LINES_A_LIST + line

    # -- processes

    async def _start(self, who: int) -> None:
        if self.processes[who] is not None:
            return
        engine = await SimulatedEngine.open_at(self._simulation._dsn, self.turn)
        self._starts += 1
        parts = Parts.__new__(Parts)
        parts.clock, parts.vault, parts.reference = self.clock, self._simulation.vault, self._simulation.tables
        parts.keyring, parts.banks = kit.approval(self._simulation.key), self.entries
        parts.templates, parts.provider = Templates.parse(DEFAULT_TEMPLATES), None
        process = Process(engine, f"process-{self._starts}", self._simulation.config, parts, self.broker)
        self.processes[who] = process
        self._all.append(process)
        await process.start()

    async def _bury(self, who: int, process: Process) -> None:
        if not process.up:
            return
        self._fire("ended")
        async with self.turn.halted():
            await process.life.end()
        self.processes[who] = None

    def _arm(self, who: int, mishap: Mishap, back_after: dt.timedelta) -> None:
        process = self.processes[who]
        if process is None or not process.up or process.life.still:
            return
        process.life.arm(mishap)
        task = asyncio.ensure_future(self._await_mishap(who, process, mishap, back_after))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _await_mishap(self, who: int, process: Process, mishap: Mishap, back_after: dt.timedelta) -> None:
        await process.life.wait_halted()
        self._fire(mishap.kind.value)
        if mishap.kind is Kind.STOP:
            self.at(back_after, lambda: self._go_on(process))
            return
        await self._bury(who, process)
        self.at(back_after, lambda: self._start(who))

    def _go_on(self, process: Process) -> None:
        process.life.arm(None)
        process.life._going.set()
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
                self._fire("callback refused")

        process.begin(deliver())

    def _fire(self, what: str) -> None:
        self.outcome.fired[what] = self.outcome.fired.get(what, 0) + 1

    # -- what the seed decides

    def _script(self) -> None:
        luck, storm = self.luck, self.storm_seconds
        self._lists: dict[int, int] = {}
        for number in range(1, luck.choice((1, 2, 2, 3)) + 1):
            lines = luck.randint(1, 4)
            at = storm * luck.random() * 0.8
            self._at_seconds(at, lambda n=number, k=lines: self.finance.publish_list(n, k))
        for _ in range(luck.randint(1, 6)):
            kind = luck.choice((Kind.CUT, Kind.CUT, Kind.END, Kind.LINE, Kind.STOP))
            mishap, who = Mishap(kind, luck.randint(1, 90 if kind in (Kind.CUT, Kind.LINE) else 20)), luck.randrange(2)
            back = dt.timedelta(seconds=luck.choice((5, 60, 3600, 36_000)) * luck.random())
            self._at_seconds(storm * luck.random(), lambda w=who, m=mishap, b=back: self._arm(w, m, b))
        for _ in range(luck.randint(0, 2)):
            self._spell(luck.choice(list(self.banks.values())), "away", luck.choice(("refuses", "swallows", "takes")), "")
        for _ in range(luck.randint(0, 2)):
            self._spell(self.broker, "away", True, False)
        for _ in range(luck.randint(0, 1)):
            begin, length = storm * luck.random() * 0.9, luck.choice((60, 7200, 100_000)) * luck.random()
            for who in range(2):
                self._at_seconds(begin, lambda w=who: self._line(w, True))
                self._at_seconds(begin + length, lambda w=who: self._line(w, False))
        if luck.random() < 0.4:  # everything is down over a cut-off
            begin = storm * luck.random() * 0.9
            for who in range(2):
                self._at_seconds(begin, lambda w=who: self._stop(w))
                self._at_seconds(begin + luck.choice((7200, 100_000)) * luck.random(), lambda w=who: self._start(w))
        if luck.random() < 0.35:
            self._at_seconds(storm * luck.uniform(0.3, 0.8), self._break_word)
        for day in range(DAYS * 2):
            self._business_day(day)
            if day % 15 == 7:
                self._at_seconds(day * 86_400 + 40_000, self._sweep)
            if day % 5 == 2:
                self._at_seconds(day * 86_400 + 50_000, self._check)

    def _spell(self, target: Any, name: str, on: Any, off: Any) -> None:
        """Something is away for a while."""
        begin = self.storm_seconds * self.luck.random() * 0.95
        length = self.luck.choice((600, 7200, 72_000)) * self.luck.random()

        def turn(value: Any) -> None:
            setattr(target, name, value)
            self._fire(f"{type(target).__name__} {value or 'back'}")

        self._at_seconds(begin, lambda: turn(on))
        self._at_seconds(min(begin + length, self.storm_seconds), lambda: turn(off))

    def _line(self, who: int, away: bool) -> None:
        process = self.processes[who]
        if process is not None:
            process.engine.away = away
            self._fire("database away" if away else "database back")

    async def _stop(self, who: int) -> None:
        process = self.processes[who]
        if process is not None:
            await self._bury(who, process)

    def _business_day(self, number: int) -> None:
        day = (self.clock.begin + number * DAY).date()
        for bank in self.banks.values():
            can = bank.capabilities()
            if can.working_days_only and not bank.is_open_on(day):
                continue
            if "FILE" in can.answers:
                self._on(day, 11 + 6 * (number % 2), 30, lambda b=bank: self._publish(b))
                self._on(day, 20, 0, lambda b=bank: self._state(b))

    def _on(self, day: dt.date, hour: int, minute: int, action: Callable[[], Any]) -> None:
        moment = dt.datetime.combine(day, dt.time(hour, minute), SHANGHAI)
        if moment >= self.clock.begin:
            self._at_seconds((moment - self.clock.begin).total_seconds(), action)

    def _publish(self, bank: SimulatedBank) -> bool:
        if bank.has_news():
            told = "once" if bank.calm else self.luck.choice(("once", "once", "once", "twice", "vaguely"))
            bank.publish(told)
            return True
        return False

    def _state(self, bank: SimulatedBank) -> bool:
        if bank.has_moved():
            bank.state_the_day()
            return True
        return False

    async def _break_word(self) -> None:
        bank = self.luck.choice(list(self.banks.values()))
        async with self.turn.held() as witness:
            rows = await witness.fetch("SELECT reference, state FROM attempts WHERE state IS NOT NULL")
        before = len(bank.broken)
        fate = self.luck.choice(("pay_rejected", "fee", "deny_credit"))
        bank.decide(self.luck.randrange(10), fate, {row["reference"]: row["state"] for row in rows})
        bank.moved()
        if len(bank.broken) > before:
            self._fire(fate)
            bank.maybe_call()

    def _sweep(self) -> None:
        for process in self.processes:
            for name in process.loop.bells if process is not None and process.up else ():
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
            await self._start(who)
            process = self.processes[who]
            assert process is not None
            await process._store.submissions.ensure_banks(list(BANK_NAMES))
        self._rung.clear()
        self._sweep()

    def _rest_by(self) -> float:
        """24 hours on, days off not counted."""
        moment, left = self.clock.now(), 24
        while left:
            moment += HOUR
            left -= all(
                bank.is_open_on(moment.date()) or not bank.capabilities().working_days_only
                for bank in self.banks.values()
            )
        return self._loop.time() + (moment - self.clock.now()).total_seconds()

    # -- what must be true

    async def _check(self) -> None:
        """The books against each other and against the bank, at any moment."""
        async with self.turn.held() as witness:
            for row in await witness.fetch("SELECT batch_no, batch_id FROM batches"):
                self._lists[row["batch_no"]] = int(row["batch_id"][-4:])
            for batch_no, number in self._lists.items():
                now = await Books.read(witness, batch_no)
                before = self.books.get(batch_no, Books())
                self._complain(number, faults_of(before, now, self._of_list(number)))
                self.books[batch_no] = now

    def _complain(self, number: int, faults: Iterator[str]) -> None:
        for fault in faults:
            text = f"list {number}: {fault}"
            if text not in self.outcome.faults:
                self.outcome.faults.append(text)

    def _of_list(self, number: int) -> Any:
        return BankOfList(self.banks[BANK_NAMES[0]], number)

    async def _judge(self, quiet: float) -> None:
        for _ in range(60):
            await self._check()
            waiting = await self._undone()
            if not waiting:
                break
            late = [text for text, hold_at in waiting if hold_at is None or hold_at + HOUR < self.clock.now()]
            if late:
                self.outcome.faults += [f"not at rest: {text}" for text in late]
                break
            await self._until(min((h - self.clock.begin).total_seconds() for _, h in waiting if h is not None) + 600)
        self._sweep()
        await asyncio.sleep(30)
        await self._check()
        for batch_no, number in self._lists.items():
            self._complain(number, faults_at_rest(self.books[batch_no], self._of_list(number)))
        self.outcome.rest_hours = int((self._loop.time() - self.storm_seconds) // 3600)
        await self._checked()
        await self._count()

    async def _undone(self) -> list[tuple[str, dt.datetime | None]]:
        """What is not at rest, and when it will be by itself (None: it should be)."""
        found: list[tuple[str, dt.datetime | None]] = []
        async with self.turn.held() as witness:
            holds = dict(
                await witness.fetch("SELECT a.reference, s.hold_at FROM attempts a JOIN submissions s USING (submission_id)")
            )
        for batch_no, books in self.books.items():
            for key, state in books.states.items():
                row = books.attempts[key]
                if state in OPEN and state is not State.HELD and row["live"] and key[0] not in books.frozen:
                    doubtful = state is State.IN_DOUBT
                    found.append((f"{batch_id(self._lists[batch_no])}{key} {state}", holds[row["reference"]] if doubtful else None))
            if books.count.payouts["queued"] and not found:
                found.append((f"list {self._lists[batch_no]} has queued payouts", None))
        if self.broker.waits:
            found.append(("records are not consumed", None))
        return found

    async def _checked(self) -> None:
        """The independent checker, from the signed inputs, the banks' ledgers and the receipts alone."""
        resting = {
            f"{batch_id(self._lists[no])}/{line}"
            for no, books in self.books.items()
            for (line, number), state in books.states.items()
            if state is State.HELD or line in books.frozen
        }
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            self.finance.write_down(directory, self._simulation.keys)
            values = {
                topic: "".join(json.dumps({"value": v.decode()}) + "\n" for t, _, v in self.broker.published if t == topic)
                for topic in ("receipts", "batch-reports", "refusals")
            }
            for topic, text in values.items():
                (directory / topic).write_text(text)
            told = receipts.read(*(directory / topic for topic in values))
            approved = inputs.read(directory, cancelled=told.cancelled, tables=self._simulation.checker_tables)
        joined = stories.join(approved, self.ledgers, told)
        frozen = sum(len(books.frozen) for books in self.books.values())
        verdict = rules.judge(joined, self.ledgers, told, frozen=frozen)
        for finding in verdict.findings:
            owed = finding.counter == "MP" or finding.what == "no receipt at all" or "no final receipt" in finding.what
            owed = owed or "was answered by nothing" in finding.what
            if not (owed and finding.subject in resting):
                self.outcome.faults.append(f"checker: {finding.counter} {finding.subject}: {finding.what}")
        self.outcome.faults += [f"checker: {problem}" for problem in verdict.problems]

    async def _count(self) -> None:
        out, digest = self.outcome, hashlib.sha256()
        async with self.turn.held() as witness:
            for row in await witness.fetch("SELECT batch_no, seq, at, event, body, hash FROM history ORDER BY 1, 2"):
                digest.update(repr(tuple(row)).encode())
        for record in self.broker.published:
            digest.update(repr(record).encode())
        for rail in self.ledgers.rails.values():
            digest.update(repr(rail).encode())
            out.transmissions += len(rail.transmissions)
            out.returns += len(rail.returns)
        digest.update(repr((self.turn.count, self._loop.time())).encode())
        out.digest = digest.hexdigest()
        out.transactions = self.turn.count
        for books in self.books.values():
            out.payouts += len(books.payouts)
            out.reissues += sum(number > 1 for _, number in books.states)
            out.held += sum(s is State.HELD and books.attempts[k]["live"] for k, s in books.states.items())
            out.conflicts += len(books.frozen)
        for bank in self.banks.values():
            for fault, count in bank.faults.items():
                out.fired[fault] = out.fired.get(fault, 0) + count

    def failed(self):
        from collections import Counter
        c = Counter()
        for p in self._all: c.update(p.failures)
        return dict(c)

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        for process in self.processes:
            if process is not None and process.up:
                async with self.turn.halted():
                    await process.life.end()


class BankOfList:
    """The bank as the books of one list see it: their lines alone, under their own numbers."""

    def __init__(self, bank: SimulatedBank, number: int) -> None:
        low = number * LINES_A_LIST
        self._lines = range(low + 1, low + LINES_A_LIST)
        self._low = low
        self.violations = bank.violations
        self._items = [item for item in bank.items if item.line in self._lines]
        self.items = [_Named(item.line - low, item) for item in self._items]
        self.broken = {line - low for line in bank.broken if line in self._lines}

    def net(self, line: int) -> int:
        return sum(item.net for item in self._items if item.line == line + self._low)


@dataclass
class _Named:
    line: int
    item: Any


def kit_task_factory() -> Any:
    from tests.storm.model.life import task_factory

    return task_factory


@contextmanager
def patched(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """The loop's time for every clock, the seed's luck for every draw, silence for the log."""

    class Time:
        @staticmethod
        def monotonic() -> float:  # seconds, never money
            return loop.time()

    noise = random.Random(seed)
    before = structlog.get_config()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "Inbox", SimulatedInbox)
        patch.setattr(app, "time", Time)
        patch.setattr(watch, "time", Time)
        patch.setattr(dispatch, "_uptime_seconds", lambda: int(loop.time()))
        patch.setattr(ids, "os", _Noise(noise))
        state = random.getstate()
        random.seed(seed)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            yield
        finally:
            structlog.configure(**before)
            random.setstate(state)


class _Noise:
    def __init__(self, noise: random.Random) -> None:
        self._noise = noise

    def urandom(self, count: int) -> bytes:
        return self._noise.randbytes(count)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def seed_of_environment() -> int | None:
    text = os.environ.get("STORM_SEED")
    return None if text is None else int(text)
LAST = None
