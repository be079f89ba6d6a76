"""R17: clocks that somebody sets, and the calendar: each cut-off once, no wait shortened, no deadline moved.

The gateway's clock stands wrong by an hour or a day, ahead or behind, for a look or for good; the test knows the truth.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import chinese_calendar
import pytest

from adapters.contract import Evidence, Proof, Rendered
from gateway.calendar import WorkCalendar
from gateway.clock import SHANGHAI
from gateway.store import engine, submissions
from gateway.store.engine import sql
from tests.store import kit
from tests.store.kit import Gateway, HandClock, open_gateway
from tests.store.test_fencing import second
from tests.store.toy import ToyWire
from tests.storm import scale

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
STEPS = (HOUR, -HOUR, DAY, -DAY)
OPENS, CUT_OFF, LAST_LOOK = dt.time(9, 0), dt.time(16, 30), dt.time(16, 15)
HOURS: dict[str, Any] = {"opens": OPENS, "cut_off": CUT_OFF, "working_days_only": True, "max_lines": 1}
# The slice goes over the National Day and its two make-up days; the whole over the two years that the table knows.
FIRST_DAY = dt.date(2025, 1, 1) if scale.FULL else dt.date(2026, 9, 12)
DAYS = scale.size(35, 730)
SENT_IN_A_LOOK = 20  # a build that sends the same for ever is told by that, and not waited for
NO_MORE_DUE_DAYS = 12  # before the end: a longest holiday, and what was due in it still travels


@pytest.fixture
async def gateway(database: str) -> AsyncIterator[Gateway]:
    """Store and steps over a fresh database."""
    async with open_gateway(database) as opened:
        yield opened


def is_open(moment: dt.datetime) -> bool:
    return OPENS <= moment.time() < CUT_OFF and chinese_calendar.is_workday(moment.date())


def window_of(due: dt.datetime) -> dt.date:
    """The day in whose hours something due has to travel, counted on a calendar that is not the gateway's."""
    day = due.date() if due.time() < CUT_OFF else due.date() + DAY
    while not chinese_calendar.is_workday(day):
        day += DAY
    return day


@dataclass
class Walk:
    """A gateway over many days. Each day one submission becomes due at some hour."""

    gateway: Gateway
    luck: random.Random
    due: dict[str, dt.datetime] = field(default_factory=dict)  # by line: what is retired and written anew keeps them
    sent: list[tuple[str, dt.datetime, dt.datetime]] = field(default_factory=list)  # what, by its clock, in truth
    steps: Counter[str] = field(default_factory=Counter)
    _truth: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=SHANGHAI)

    async def begin(self) -> None:
        count = DAYS - NO_MORE_DUE_DAYS
        await self.gateway.batch([kit.line(number) for number in range(1, count + 1)])
        await self.gateway.fund(f"{count * 100}.00")
        await self.gateway.judge()
        while await self.gateway.dispatch.plan():
            pass
        self.gateway.bank.submits = self._take
        async with self.gateway.store.engine.connection() as connection:
            for day, row in enumerate(
                await connection.fetch("SELECT submission_id, reference FROM attempts ORDER BY 1")
            ):
                hour = self.luck.choice((3, 9, 11, 14, 15, 17, 22))
                due = dt.datetime.combine(FIRST_DAY + day * DAY, dt.time(hour, self.luck.randrange(30)), SHANGHAI)
                self.due[row["reference"]] = due
                await connection.execute("UPDATE submissions SET due_at = $2 WHERE submission_id = $1", row[0], due)

    def _take(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        wire.crossed = True
        lines = rendered.references
        self.sent += [(line, self.gateway.clock.now(), self._truth) for line in lines]
        return [Evidence(Proof.RECEIVED)]

    async def look(self, truth: dt.datetime, step: dt.timedelta = dt.timedelta(0)) -> None:
        """The gateway's steps look once at what is due, by a clock that is wrong by ``step``."""
        self._truth = truth
        object.__setattr__(self.gateway.clock, "at", truth + step)
        for _ in range(2):  # bytes dated for a day that passed are written anew, and then sent
            while await self.gateway.dispatch.render(self.gateway.entry):
                pass
            for _ in range(SENT_IN_A_LOOK):
                if not await self.gateway.dispatch.send(self.gateway.entry):
                    break

    async def go(self) -> None:
        for day in range(DAYS):
            date = FIRST_DAY + day * DAY
            moments = sorted(dt.time(self.luck.randrange(24), self.luck.randrange(60)) for _ in range(2))
            for time in moments:
                if time < LAST_LOOK:
                    await self._wrong_or_right(dt.datetime.combine(date, time, SHANGHAI))
            last = dt.datetime.combine(date, LAST_LOOK, SHANGHAI)
            await self.look(last)
            await self.look(last + dt.timedelta(minutes=5), -HOUR)

    async def _wrong_or_right(self, truth: dt.datetime) -> None:
        """A look by a right clock, which is then set back; or one by a wrong clock, which is then set right."""
        step = self.luck.choice(STEPS)
        self.steps[str(step)] += 1
        if self.luck.random() < 0.5:
            await self.look(truth)
            await self.look(truth + dt.timedelta(minutes=5), -abs(step))
        else:
            await self.look(truth, step)
            await self.look(truth + dt.timedelta(minutes=5))


async def faults_of_walk(database: str) -> tuple[list[str], Walk]:
    async with open_gateway(database, **HOURS) as gateway:
        walk = Walk(gateway, random.Random(scale.SEED))
        await walk.begin()
        await walk.go()
    times = Counter(line for line, _, _ in walk.sent)
    faults = [f"{line} travelled {times[line]} times" for line in walk.due if times[line] != 1]
    for line, by_clock, truth in walk.sent:
        due = walk.due[line]
        if not is_open(by_clock):
            faults.append(f"{line} was sent outside of hours, {by_clock:%a %F %T}")
        if by_clock < due:
            faults.append(f"{line} was sent before it was due")
        if truth.date() > window_of(due):
            faults.append(f"{line}, due {due:%a %F %T}, missed its window and travelled on {truth:%F}")
    return faults, walk


async def test_each_cut_off_comes_once_per_working_day(database: str) -> None:
    """Whatever the clock is set to in between: what is due travels once, in the first hours of a working day."""
    faults, walk = await faults_of_walk(database)
    if scale.FULL:
        scale.figure("R17", days=DAYS, sent=len(walk.sent), steps=dict(walk.steps), faults=len(faults))
    assert faults == []
    assert len(walk.sent) == DAYS - NO_MORE_DUE_DAYS
    assert len(walk.steps) == len(STEPS)


def calendar_days(patch: pytest.MonkeyPatch) -> None:
    """Every day is a working day."""
    patch.setattr(WorkCalendar, "is_working_day", lambda self, day: True)


def weekdays_alone(patch: pytest.MonkeyPatch) -> None:
    """Monday to Friday, whatever the State Council says."""
    patch.setattr(WorkCalendar, "is_working_day", lambda self, day: day.weekday() < 5)


def twice_after_a_step_back(patch: pytest.MonkeyPatch) -> None:
    """What was sent at a time that is still to come has not been sent."""

    def forgetful(name: str) -> str:
        text = sql(name)
        if name == "claim_to_send":
            fresh = "(s.state IN ('RENDERED', 'DEFERRED') OR (s.state = 'SUBMITTED' AND s.sent_at > $4))"
            text = text.replace("s.state IN ('RENDERED', 'DEFERRED')", fresh)
        if name == "write_sending":
            text = text.replace("state IN ('RENDERED', 'DEFERRED')", "state IN ('RENDERED', 'DEFERRED', 'SUBMITTED')")
        return text

    patch.setattr(engine, "sql", forgetful)
    patch.setattr(submissions, "sql", forgetful)


Break = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("build", [calendar_days, weekdays_alone, twice_after_a_step_back])
async def test_a_broken_build_misses_or_repeats_a_cut_off(database: str, build: Break) -> None:
    """The walk is worth something: days counted wrongly, or a cut-off repeated after a step back, turn it red."""
    with pytest.MonkeyPatch.context() as patch:
        build(patch)
        assert (await faults_of_walk(database))[0]


# --- deadlines


async def vectors_kept(gateway: Gateway) -> list[str]:
    """Lists and money come in on the days of the vectors; the clock is then set, and their own clocks start."""
    with (kit.DATA / "calendar_vectors.csv").open(encoding="utf-8") as file:
        vectors = list(csv.DictReader(file))
    wrong = []
    for number, vector in enumerate(vectors, start=1):
        received = dt.datetime.fromisoformat(f"{vector['received']}T10:00:00+08:00")
        if received.year != 2026:  # the keys of the tests hold for that year
            continue
        batch = f"B-{number}"
        object.__setattr__(gateway.clock, "at", received)
        parts = gateway.signed_parts([{**kit.line(number), "line": 1}], batch, list_received_at=received.isoformat())
        await gateway.intake.take_batch(*parts[0])
        while await gateway.intake.judge_next():
            pass
        await gateway.fund("100.00", batch, f"F-{number}")
        gateway.clock.forward(days=1 if number % 2 else -1)
        await gateway.intake.start_clocks()
        async with gateway.store.engine.connection() as connection:
            row = await connection.fetchrow("SELECT limit_at, target_at FROM batches WHERE batch_id = $1", batch)
        wanted = [
            dt.datetime.fromisoformat(f"{vector[name]}T00:00:00+08:00") + DAY
            for name in ("limit_3_working_days", "target_3_calendar_days_rolled")
        ]
        wrong += [vector["received"]] if list(row or ()) != wanted else []
    return wrong


async def test_deadlines_are_the_vectors_whatever_the_clock_is_set_to(gateway: Gateway) -> None:
    """A clock set by a day before a list's clock starts moves neither its limit nor its target."""
    assert await vectors_kept(gateway) == []


async def test_calendar_days_miss_the_vectors(gateway: Gateway) -> None:
    """The control: a build that counts every day keeps other deadlines."""
    with pytest.MonkeyPatch.context() as patch:
        calendar_days(patch)
        assert await vectors_kept(gateway)


# --- waits


@dataclass(frozen=True, slots=True)
class SetClock(HandClock):
    """A clock that can be set as well as pass, and that knows since when it has only passed."""

    since: dt.datetime = kit.START

    @property
    def steady_since(self) -> dt.datetime:
        return self.since

    def set_by(self, step: dt.timedelta) -> None:
        object.__setattr__(self, "at", self.at + step)
        object.__setattr__(self, "since", self.at)


class UnawareClock(SetClock):
    """The control: nobody notices that it was set."""

    __slots__ = ()

    @property
    def steady_since(self) -> dt.datetime:
        return kit.START - DAY


async def denied_after(gateway: Gateway, clock: SetClock, *steps: dt.timedelta) -> dict[str, int]:
    """A bank that has a file denies it; the clock is set, five minutes pass in truth; what the books say."""
    gateway.dispatch._clock = gateway.verify._clock = gateway.clock = clock
    gateway.bank.submits = kit.hang_up
    gateway.bank.probes = lambda rendered, wire: [Evidence(Proof.ABSENT)]
    await gateway.pay(1)
    for step in steps:
        clock.set_by(step)
    clock.forward(minutes=5)
    while await gateway.verify.probe(gateway.entry):
        clock.forward(minutes=5)
        if clock.at > clock.since + dt.timedelta(minutes=15):
            break
    return await gateway.buckets()


@pytest.mark.parametrize("steps", [(s,) for s in STEPS] + [(HOUR, -HOUR), (-DAY, DAY)], ids=str)
async def test_no_step_shortens_the_settling_time(gateway: Gateway, steps: tuple[dt.timedelta, ...]) -> None:
    """ "Not found", a few minutes after the call, is not believed because the clock was set: nothing travels again."""
    assert await denied_after(gateway, SetClock(), *steps) == {"in_doubt": 1}
    assert len(gateway.bank.sent) == 1


async def test_a_clock_that_does_not_notice_believes_too_early(gateway: Gateway) -> None:
    """The control: counted on two times of day with a step between them, the wait is over at once."""
    assert await denied_after(gateway, UnawareClock(), HOUR) == {"queued": 1}


@pytest.mark.parametrize("step", STEPS, ids=str)
async def test_no_step_ends_a_lease(gateway: Gateway, step: dt.timedelta) -> None:
    """Leases are PostgreSQL's business: whoever has one keeps it, whatever a gateway's clock says."""
    await gateway.batch([kit.line(1)])
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.cut_and_render()
    assert len(await gateway.store.submissions.claim_to_send("rcc_file", gateway.clock.now(), 10)) == 1
    moved = gateway.clock.now() + step
    assert await second(gateway).submissions.claim_to_send("rcc_file", moved + 2 * DAY, 10) == []
    assert await second(gateway).submissions.doubt_abandoned(moved) == 0
