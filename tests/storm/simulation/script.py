"""What the seed decides beforehand: lists, faults and for how long, and the days on which banks publish."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.clock import SHANGHAI
from tests.storm.model.life import Kind, Mishap
from tests.storm.simulation.bank import SimulatedBank

if TYPE_CHECKING:
    from tests.storm.simulation.month import Month

DAY = dt.timedelta(days=1)
DAYS = 60  # on which banks publish: a month, and as long as doubt may last after it


class Script:
    """Puts a month's events on its calendar."""

    def __init__(self, month: Month) -> None:
        self._month = month

    def write(self) -> None:
        month, luck, storm = self._month, self._month.luck, self._month.storm_seconds
        for number in range(1, luck.choice((1, 2, 2, 3)) + 1):
            lines = luck.randint(1, 4)
            at = storm * luck.random() * 0.8
            self._month.at_seconds(at, partial(month.finance.publish_list, number, lines))
        for _ in range(luck.randint(1, 6)):
            kind = luck.choice((Kind.CUT, Kind.CUT, Kind.END, Kind.LINE, Kind.STOP))
            mishap, who = Mishap(kind, luck.randint(1, 90 if kind in (Kind.CUT, Kind.LINE) else 20)), luck.randrange(2)
            back = dt.timedelta(seconds=luck.choice((5, 60, 3600, 36_000)) * luck.random())
            self._month.at_seconds(storm * luck.random(), partial(month.arm, who, mishap, back))
        for _ in range(luck.randint(0, 2)):
            self._spell(
                luck.choice(list(self._month.banks.values())), "away", luck.choice(("refuses", "swallows", "takes")), ""
            )
        for _ in range(luck.randint(0, 2)):
            self._spell(month.broker, "away", True, False)
        for _ in range(luck.randint(0, 1)):
            begin, length = storm * luck.random() * 0.9, luck.choice((60, 7200, 100_000)) * luck.random()
            for who in range(2):
                self._month.at_seconds(begin, partial(self._line, who, True))
                self._month.at_seconds(begin + length, partial(self._line, who, False))
        if luck.random() < 0.4:  # everything is down over a cut-off
            begin = storm * luck.random() * 0.9
            for who in range(2):
                self._month.at_seconds(begin, partial(self._stop, who))
                self._month.at_seconds(begin + luck.choice((7200, 100_000)) * luck.random(), partial(month.start, who))
        if luck.random() < 0.35:
            self._month.at_seconds(storm * luck.uniform(0.3, 0.8), self._break_word)
        for day in range(DAYS):
            self._business_day(day)
            if day % 15 == 7:
                self._month.at_seconds(day * 86_400 + 40_000, month.sweep)
            if day % 5 == 2:
                self._month.at_seconds(day * 86_400 + 50_000, month.verdict.check)

    def _spell(self, target: Any, name: str, on: Any, off: Any) -> None:
        """Something is away for a while."""
        begin = self._month.storm_seconds * self._month.luck.random() * 0.95
        length = self._month.luck.choice((600, 7200, 72_000)) * self._month.luck.random()

        def turn(value: Any) -> None:
            setattr(target, name, value)
            self._month.fire(f"{type(target).__name__} {value or 'back'}")

        self._month.at_seconds(begin, lambda: turn(on))
        self._month.at_seconds(min(begin + length, self._month.storm_seconds), lambda: turn(off))

    def _line(self, who: int, away: bool) -> None:
        process = self._month.processes[who]
        if process is not None:
            process.engine.away = away
            self._month.fire("database away" if away else "database back")

    async def _stop(self, who: int) -> None:
        process = self._month.processes[who]
        if process is not None:
            await self._month.bury(who, process)

    def _business_day(self, number: int) -> None:
        day = (self._month.clock.begin + number * DAY).date()
        for bank in self._month.banks.values():
            can = bank.capabilities()
            if can.working_days_only and not bank.is_open_on(day):
                continue
            if "FILE" in can.answers:
                self._on(day, 11 + 6 * (number % 2), 30, partial(self._publish, bank))
                self._on(day, 20, 0, partial(self._state, bank))

    def _on(self, day: dt.date, hour: int, minute: int, action: Callable[[], Any]) -> None:
        moment = dt.datetime.combine(day, dt.time(hour, minute), SHANGHAI)
        if moment >= self._month.clock.begin:
            self._month.at_seconds((moment - self._month.clock.begin).total_seconds(), action)

    def _publish(self, bank: SimulatedBank) -> bool:
        if bank.has_news():
            told = "once" if bank.calm else self._month.luck.choice(("once", "once", "once", "twice", "vaguely"))
            bank.publish(told)
            return True
        return False

    def _state(self, bank: SimulatedBank) -> bool:
        if bank.has_moved():
            bank.state_the_day()
            return True
        return False

    async def _break_word(self) -> None:
        bank = self._month.luck.choice(list(self._month.banks.values()))
        async with self._month.turn.held() as witness:
            rows = await witness.fetch("SELECT reference, state FROM attempts WHERE state IS NOT NULL")
        before = set(bank.broken)
        fate = self._month.luck.choice(("pay_rejected", "fee", "deny_credit"))
        bank.decide(self._month.luck.randrange(10), fate, {row["reference"]: row["state"] for row in rows})
        bank.moved()
        if bank.broken > before:
            self._month.fire(fate)
            bank.speak_of(bank.broken - before)
