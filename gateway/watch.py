"""Watch: counts what changed, reports what became due, and keeps the gauges that page people.

Business deadlines are read from the books, so a gauge is right after a restart; every process computes the same ones.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from adapters.contract import AnswerKind, GivesStatements
from gateway import metrics
from gateway.banks import Bank
from gateway.calendar import WorkCalendar
from gateway.clock import Clock
from gateway.log import get_logger
from gateway.store.reads import Count
from gateway.store.store import Store

log = get_logger("watch")
BATCH_STATES: Final = ("COLLECTING", "JUDGING", "AWAITING_FUNDS", "PAYING", "COMPLETE", "REFUSED")
COUNTING_SHARE: Final = 20  # counting may take one twentieth of the time, however large a batch is


class Watch:
    """The step that looks at everything and changes nothing but reports and gauges."""

    def __init__(
        self,
        store: Store,
        calendar: WorkCalendar,
        clock: Clock,
        banks: Mapping[str, Bank],
        report: Callable[[int], Awaitable[str | None]],
    ) -> None:
        self._store = store
        self._calendar = calendar
        self._clock = clock
        self._report = report
        self._bank_names = tuple(banks)
        self._stating = tuple(
            name
            for name, bank in banks.items()
            if AnswerKind.FILE in bank.capabilities.answers and isinstance(bank.adapter, GivesStatements)
        )
        self._not_before: dict[int, float] = {}  # real seconds, never money

    async def count(self) -> bool:
        """Count the batches that changed and report those that are due. Large batches are counted less often."""
        due = await self._store.reads.to_count()
        due += [no for no in await self._store.reads.past_limit(self._clock.now()) if no not in due]
        for batch_no in due:
            begun = time.monotonic()
            if begun < self._not_before.get(batch_no, 0):
                continue
            await self._report(batch_no)
            ended = time.monotonic()
            self._not_before[batch_no] = ended + COUNTING_SHARE * (ended - begun)
            await asyncio.sleep(0)
        self._not_before = {no: at for no, at in self._not_before.items() if no in due}
        return False

    async def gauges(self) -> bool:
        """Set every gauge that is read from the books."""
        now = self._clock.now()
        await self._identity(now)
        nearest = await self._store.reads.nearest_deadlines()
        for clock in metrics.CLOCKS:
            at = nearest.get(clock)
            metrics.OLDEST_DUE_SECONDS.labels(clock=clock).set(
                metrics.NO_DEADLINE if at is None else (at - now).total_seconds()
            )
        differences = await self._store.statements.open_differences()
        for bank in self._bank_names:
            for kind in metrics.DIFFERENCES:
                metrics.STATEMENT_DIFFERENCES.labels(bank=bank, kind=kind).set(differences.get((bank, kind), 0))
        await self._unstated(now.date())
        batches = await self._store.reads.batches_by_state()
        for state in BATCH_STATES:
            metrics.BATCHES.labels(state=state).set(batches.get(state, 0))
        outbox = await self._store.outbox.state()
        metrics.OUTBOX_PENDING.set(outbox["pending"])
        waiting = 0 if outbox["oldest_at"] is None else self._clock_seconds(now - outbox["oldest_at"])
        metrics.OUTBOX_OLDEST_SECONDS.set(waiting)
        horizon = self._calendar.horizon()
        metrics.CALENDAR_HORIZON_DAYS.set((horizon - now.date()).days if horizon else 0)
        metrics.WATCHED_AT_SECONDS.set_to_current_time()
        return False

    async def _unstated(self, today: dt.date) -> None:
        """How many bank days a statement is waited for that covers the oldest day on which we sent and none does."""
        since = await self._store.statements.unstated_since()
        for bank in self._stating:
            waited = 0
            if bank in since:
                span = range(1, (today - since[bank]).days + 1)
                waited = sum(1 for n in span if self._calendar.is_bank_day(since[bank] + dt.timedelta(days=n)))
            metrics.STATEMENT_WAIT_BANKDAYS.labels(bank=bank).set(waited)

    def _clock_seconds(self, span: dt.timedelta) -> int:
        """Business time back to real seconds: a relay that is stuck is stuck in real time."""
        return max(0, int(span.total_seconds()) // self._clock.scale)

    async def _identity(self, now: dt.datetime) -> None:
        payouts = dict.fromkeys(metrics.BUCKETS, 0)
        amounts = dict.fromkeys(metrics.BUCKETS, 0)
        gap = gap_fen = 0
        held: dict[str, int] = {}
        since: dict[str, dt.datetime] = {}
        for row in await self._store.reads.all_counts():
            if row["state"] in ("COLLECTING", "JUDGING"):
                continue
            count = Count.of_json(row["buckets"])
            if not any(count.payouts.values()) and row["approved_lines"]:
                continue  # judged a moment ago, counted in the next turn
            gap += abs(count.gap(row["approved_lines"]))
            gap_fen += abs(count.gap_fen(row["approved_fen"]))
            for bucket in metrics.BUCKETS:
                payouts[bucket] += count.payouts[bucket]
                amounts[bucket] += count.amount_fen[bucket]
            for bank, lines in count.held.items():
                held[bank] = held.get(bank, 0) + lines
            for bank, at in count.doubt_since.items():
                since[bank] = min(at, since.get(bank, at))
        for bucket in metrics.BUCKETS:
            metrics.PAYOUTS.labels(bucket=bucket).set(payouts[bucket])
            metrics.AMOUNT_FEN.labels(bucket=bucket).set(amounts[bucket])
        if gap or gap_fen:
            log.error("the identity does not close", count=gap, amount_fen=gap_fen)
        metrics.IDENTITY_GAP.set(gap)
        metrics.IDENTITY_GAP_FEN.set(gap_fen)
        self._doubt(held, since, await self._store.pauses.paused(), now)

    def _doubt(
        self,
        held: Mapping[str, int],
        since: Mapping[str, dt.datetime],
        paused: Mapping[str, str],
        now: dt.datetime,
    ) -> None:
        for bank in self._bank_names:
            metrics.HELD.labels(bank=bank).set(held.get(bank, 0))
            age = (now - since[bank]).total_seconds() if bank in since else 0
            metrics.IN_DOUBT_OLDEST_SECONDS.labels(bank=bank).set(max(age, 0))
            metrics.BANK_PAUSED.labels(bank=bank).set(1 if bank in paused else 0)
