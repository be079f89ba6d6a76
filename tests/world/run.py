"""Follows a running world from outside until it has come to rest, and kills the gateway on the way if asked to.

At rest means: the desk has published everything and decided every case; each bank has done everything it had planned;
nothing waits for funds, is queued, in flight or in doubt; every batch without a frozen payout has its final report;
every receipt that is owed has been read; and the notices have stopped coming. All of it has to hold for a moment, not
for an instant.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.world.layout_banks import BANKS
from tests.world.processes import ChildError
from tests.world.world import World

LOOK_SECONDS = 0.25
STEADY_SECONDS = 1.5
NOTICES_SILENT_SECONDS = 4
PLANNED = ("credits", "rejections", "returns", "callbacks")
UNDECIDED = "pending_for_ever"
OPEN_BUCKETS = ("awaiting_funds", "queued", "in_flight", "in_doubt")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What can be seen from outside at one moment."""

    seconds: float  # real seconds since the start, never money
    now: dt.datetime  # business time
    lines: int
    receipts: dict[str, int]
    refusals: dict[str, int]
    orders: dict[str, int]
    waiting: int  # cases the desk has not decided
    unanswered: int  # orders that neither a refusal nor the next attempt's receipt has answered
    open: int | None  # payouts neither credited, failed, cancelled nor frozen, by the gateway's metrics; None: away
    to_come: dict[str, int]  # what the banks have planned and not done
    undecided: int  # lines that a bank will never decide: they stay in doubt, and people are called
    returned: int  # returns in the banks' ledgers
    notices: int
    notices_due: int
    lives: int
    lists_waiting: int
    conflict: int  # frozen payouts, by the gateway's metrics: their batches issue no final report
    reports_open: int  # batches without a final report that is empty of open payouts
    paused: int  # banks to which nothing is sent, by the gateway's metrics, until somebody resumes them

    @property
    def settled(self) -> bool:
        """Everything but the notices is at rest."""
        return (
            self.lines > 0
            and not self.lists_waiting
            and not self.waiting
            and (not self.unanswered or self.conflict > 0)
            and self.open is not None
            and self.open <= self.undecided
            and (not self.reports_open or self.conflict + self.undecided > 0)
            and not any(self.to_come.values())
            and self.receipts.get("returned", 0) >= self.returned
        )

    @property
    def notices_may_travel(self) -> bool:
        return dt.time(9, 30) <= self.now.time() < dt.time(21)


@dataclass
class Run:
    """One run of a world. ``kill_at`` are real seconds after the start of the run at which the gateway dies."""

    world: World
    kill_at: Sequence[float] = ()  # real seconds, never money
    limit_seconds: float = 115
    restart_after: float = 0.3  # real seconds, never money
    steady_seconds: float = STEADY_SECONDS  # how long rest has to last; real, never money
    lift_pauses: bool = False  # whenever a bank is paused: start the gateway again, and resume them
    await_notices: bool = True  # they sleep from nine in the evening until half past nine
    await_statements: bool = False  # what a bank tells in its day's statement alone comes after midnight
    started: float = field(default_factory=time.monotonic)
    kills: int = 0

    async def to_rest(self, show: Callable[[Snapshot], None] = lambda _: None) -> bool:
        """Follow until rest; False when the time ran out before."""
        killer = asyncio.create_task(self._kill())
        try:
            return await self._follow(show, killer)
        finally:
            killer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await killer

    async def _follow(self, show: Callable[[Snapshot], None], killer: asyncio.Task[None]) -> bool:
        settled_at: float | None = None
        last_notice, notices = time.monotonic(), -1
        while time.monotonic() - self.started < self.limit_seconds:
            self._demand_everybody(killer)
            seen = await self.look()
            show(seen)
            now = time.monotonic()
            if seen.notices != notices or not seen.notices_may_travel:
                last_notice, notices = now, seen.notices
            if self.lift_pauses and seen.paused and killer.done():
                await self._start_again()
                await asyncio.to_thread(self.world.resume_banks)
            if not seen.settled or not killer.done() or (self.await_statements and self.world.unread()):
                settled_at = None
            elif settled_at is None:
                settled_at = now
            told = seen.notices >= seen.notices_due or now - last_notice > NOTICES_SILENT_SECONDS
            told = told or not self.await_notices
            if settled_at is not None and now - settled_at >= self.steady_seconds and told:
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    def _demand_everybody(self, killer: asyncio.Task[None]) -> None:
        """Who died by himself would make the run wait for nothing; the gateway may be dead while we kill it."""
        for name, child in self.world.everybody().items():
            if not child.running and (name != "gateway" or killer.done()):
                raise ChildError(f"{name} ended with status {child.returncode}: {child.last_words()}")

    async def _kill(self) -> None:
        gateway = self.world.children["gateway"]
        for moment in sorted(self.kill_at):
            await asyncio.sleep(max(0.0, self.started + moment - time.monotonic()))
            await self._start_again()
        while not gateway.running:
            await asyncio.sleep(LOOK_SECONDS)

    async def _start_again(self) -> None:
        self.world.kill_gateway()
        self.kills += 1
        try:
            await asyncio.sleep(self.restart_after)
        finally:  # a run whose time is over meanwhile does not leave a dead gateway to whoever looks at the world next
            self.world.start_gateway()

    async def look(self) -> Snapshot:
        status = self.world.desk_status()
        metrics = await self.world.metrics()
        buckets = metrics.get("payout_payouts", {})
        outlooks = self.world.outlooks()
        reports = status.get("reports", {}).values()
        return Snapshot(
            seconds=time.monotonic() - self.started,
            now=self.world.now(),
            lines=status.get("lines", 0),
            receipts=status.get("receipts", {}),
            refusals=status.get("refusals", {}),
            orders=status.get("orders", {}),
            waiting=status.get("waiting", 0),
            unanswered=status.get("unanswered", 0),
            open=sum(round(buckets.get(f'bucket="{name}"', 0)) for name in OPEN_BUCKETS) if buckets else None,
            to_come={key: sum(outlooks[bank][key] for bank in BANKS) for key in PLANNED},
            undecided=sum(outlooks[bank][UNDECIDED] for bank in BANKS),
            returned=sum(_count(self.world, f"{bank}/ledger.sqlite", "returns") for bank in BANKS),
            notices=_count(self.world, "sms/ledger.sqlite", "messages"),
            notices_due=status.get("notices_due", 0),
            lives=self.world.children["gateway"].lives,
            lists_waiting=status.get("lists_waiting", 1),
            conflict=round(buckets.get('bucket="conflict"', 0)),
            reports_open=sum(map(_is_open, reports)) + max(status.get("lists", 1) - len(reports), 0),
            paused=sum(map(round, metrics.get("payout_bank_paused", {}).values())),
        )


def random_moments(seed: int, count: int, first: float, last: float) -> list[float]:
    """Real seconds at which to kill, by a seed."""
    chance = random.Random(seed)
    return sorted(chance.uniform(first, last) for _ in range(count))


def _is_open(report: dict[str, Any]) -> bool:
    return report["kind"] != "FINAL" or any(report[bucket]["count"] for bucket in OPEN_BUCKETS)


def _count(world: World, ledger: str, table: str) -> int:
    path = world.directory / ledger
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
