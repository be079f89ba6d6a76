"""R17: clocks that somebody sets, and the calendar: each cut-off once, no wait shortened, no deadline moved.

The gateway's clock stands wrong by an hour or a day, ahead or behind, for a look or for good; the test knows the truth.
A gateway has no other clock than its own, so by that clock it is judged, and by the truth wherever its clock was right.
What a wrong clock makes travel early is bounded by how wrong it is, and counted.
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
from gateway.overdue import Overdue
from gateway.store import engine, submissions
from gateway.store.engine import sql
from tests.store import kit
from tests.store.kit import Gateway, HandClock, open_gateway
from tests.store.test_fencing import second
from tests.store.toy import ToyWire
from tests.storm import scale

NOTHING, HOUR, DAY = dt.timedelta(0), dt.timedelta(hours=1), dt.timedelta(days=1)
STEPS = (HOUR, -HOUR, DAY, -DAY)
OPENS, CUT_OFF, LAST_LOOK = dt.time(9, 0), dt.time(16, 30), dt.time(16, 15)
HOURS: dict[str, Any] = {"opens": OPENS, "cut_off": CUT_OFF, "working_days_only": True, "max_lines": 1}
# The slice goes over the National Day and its two make-up days; the whole over the two years that the table knows.
FIRST_DAY = dt.date(2025, 1, 1) if scale.FULL else dt.date(2026, 9, 12)
DAYS = scale.size(35, 730)
SENT_IN_A_LOOK = 20  # a build that sends the same for ever is told by that, and not waited for
DUE_A_DAY = 2
NO_MORE_DUE_DAYS = 12  # before the end: a longest holiday, and what was due in it still travels


@pytest.fixture
async def gateway(database: str) -> AsyncIterator[Gateway]:
    """Store and steps over a fresh database."""
    async with open_gateway(database) as opened:
        yield opened


def is_open(moment: dt.datetime) -> bool:
    return OPENS <= moment.time() < CUT_OFF and chinese_calendar.is_workday(moment.date())


def window_of(due: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """From when until when something due has to travel, counted on a calendar that is not the gateway's."""
    day = due.date() if due.time() < CUT_OFF else due.date() + DAY
    while not chinese_calendar.is_workday(day):
        day += DAY
    return max(due, dt.datetime.combine(day, OPENS, SHANGHAI)), dt.datetime.combine(day, CUT_OFF, SHANGHAI)


@dataclass(frozen=True, slots=True)
class Sent:
    """A line travelled at ``truth``, by a clock that stood ``step`` ahead of it (behind: less than nothing)."""

    line: str
    due: dt.datetime
    truth: dt.datetime
    step: dt.timedelta

    @property
    def by_clock(self) -> dt.datetime:
        return self.truth + self.step

    @property
    def early(self) -> dt.timedelta:
        """How long before its own window began, in truth; nothing where it had begun."""
        return max(window_of(self.due)[0] - self.truth, NOTHING)

    @property
    def in_its_window(self) -> bool:
        begins, ends = window_of(self.due)
        return begins <= self.truth < ends

    def faults(self) -> list[str]:
        """What the gateway could have done better with the clock that it had."""
        found = []
        if not is_open(self.by_clock):
            found.append("was sent outside of hours by its clock")
        if self.by_clock < self.due:
            found.append("was sent before it was due by its clock")
        if self.truth.date() > window_of(self.due)[1].date():
            found.append("missed its window")
        if self.step == NOTHING and not self.in_its_window:
            found.append("was sent outside of its own window by a clock that was right")
        if self.early > max(self.step, NOTHING):
            found.append("was sent earlier than the clock was ahead")
        return [f"{self.line}, due {self.due:%a %F %T}, sent {self.truth:%a %F %T}: {fault}" for fault in found]


@dataclass
class Walk:
    """A gateway over many days. Each day ``DUE_A_DAY`` submissions become due at some hour."""

    gateway: Gateway
    luck: random.Random
    due: dict[str, dt.datetime] = field(default_factory=dict)  # by line: what is retired and written anew keeps them
    sent: list[Sent] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    _truth: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=SHANGHAI)
    _step: dt.timedelta = NOTHING

    async def begin(self) -> None:
        count = (DAYS - NO_MORE_DUE_DAYS) * DUE_A_DAY
        await self.gateway.batch([kit.line(number) for number in range(1, count + 1)], parts=DUE_A_DAY)
        await self.gateway.fund(f"{count * 100}.00")
        await self.gateway.judge()
        while await self.gateway.dispatch.plan():
            pass
        self.gateway.bank.submits = self._take
        async with self.gateway.store.engine.connection() as connection:
            rows = await connection.fetch("SELECT submission_id, reference FROM attempts ORDER BY 1")
            for number, row in enumerate(rows):
                hour = self.luck.choice((3, 9, 11, 14, 15, 17, 22))
                day, time = FIRST_DAY + number // DUE_A_DAY * DAY, dt.time(hour, self.luck.randrange(30))
                due = dt.datetime.combine(day, time, SHANGHAI)
                self.due[row["reference"]] = due
                await connection.execute("UPDATE submissions SET due_at = $2 WHERE submission_id = $1", row[0], due)

    def _take(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        wire.crossed = True
        self.sent += [Sent(line, self.due[line], self._truth, self._step) for line in rendered.references]
        return [Evidence(Proof.RECEIVED)]

    async def look(self, truth: dt.datetime, step: dt.timedelta = NOTHING) -> None:
        """The gateway's steps look once at what is due, by a clock that is wrong by ``step``."""
        self._truth, self._step = truth, step
        if len(self.sent) > 2 * len(self.due):
            return
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
            moments = sorted(dt.time(self.luck.randrange(24), self.luck.randrange(60)) for _ in range(4))
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

    def faults(self) -> list[str]:
        times = Counter(one.line for one in self.sent)
        again = [f"{line} travelled {times[line]} times" for line in self.due if times[line] != 1]
        return again + [fault for one in self.sent for fault in one.faults()]

    def figures(self) -> dict[str, Any]:
        """By which clock the lines travelled, and where a wrong one took them in truth."""
        wrong = [one for one in self.sent if one.step]
        early = [one for one in wrong if one.early]
        return {
            "sent": len(self.sent),
            "by_a_right_clock": len(self.sent) - len(wrong),
            "by_a_wrong_clock": len(wrong),
            "of_these_in_their_window": sum(one.in_its_window for one in wrong),
            "early": len(early),
            "early_on_a_day_off": sum(not chinese_calendar.is_workday(one.truth.date()) for one in early),
            "early_by_at_most_hours": max((one.early for one in early), default=NOTHING) // HOUR,
            "after_the_cut_off": sum(one.truth >= window_of(one.due)[1] for one in wrong),
        }


async def walk_over(database: str) -> Walk:
    async with open_gateway(database, **HOURS) as gateway:
        walk = Walk(gateway, random.Random(scale.SEED))
        await walk.begin()
        await walk.go()
    return walk


async def test_each_cut_off_comes_once_per_working_day(database: str) -> None:
    """Whatever the clock is set to in between: what is due travels once, in the first hours of a working day by the
    clock at hand. A right clock makes that its own day; one that is ahead is early, by no more than it is ahead."""
    walk = await walk_over(database)
    faults, figures = walk.faults(), walk.figures()
    if scale.FULL:
        scale.figure("R17", days=DAYS, **figures, steps=dict(walk.steps), faults=len(faults))
    assert faults == []
    assert len(walk.sent) == len(walk.due) == (DAYS - NO_MORE_DUE_DAYS) * DUE_A_DAY
    assert len(walk.steps) == len(STEPS)
    assert figures["by_a_right_clock"]
    assert figures["early"] or not scale.FULL  # the slice of another seed may have none


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


def before_it_is_due(patch: pytest.MonkeyPatch) -> None:
    """What is due some day may travel today."""

    def eager(name: str) -> str:
        return sql(name).replace("s.due_at <= $4", "s.due_at <= $4::timestamptz + interval '2 days'")

    patch.setattr(submissions, "sql", eager)
    patch.setattr(engine, "sql", eager)


Break = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (calendar_days, "outside of hours by its clock"),
        (calendar_days, "outside of its own window by a clock that was right"),
        (weekdays_alone, "missed its window"),
        (before_it_is_due, "earlier than the clock was ahead"),
        (twice_after_a_step_back, "times"),
    ],
)
async def test_a_broken_build_misses_or_repeats_a_cut_off(database: str, build: Break, reason: str) -> None:
    """The walk is worth something: days counted wrongly, what is not due yet, or a cut-off repeated turn it red."""
    with pytest.MonkeyPatch.context() as patch:
        build(patch)
        assert [fault for fault in (await walk_over(database)).faults() if reason in fault]


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


async def last_part_after(gateway: Gateway, clock: SetClock, restart_hours: int, *steps: dt.timedelta) -> str:
    """The first of two parts comes; for 23 and a half hours in truth the clock is set, and looked at; the second comes.

    What became of the list. A new process starts every ``restart_hours``.
    """
    gateway.clock = clock
    gateway.restart_intake()
    one, two = gateway.signed_parts([kit.line(1), kit.line(2)], parts=2)
    await gateway.intake.take_batch(*one)
    to_come = list(steps)
    for half_hours in range(48):
        if half_hours % (2 * restart_hours) == 2 * restart_hours - 1:
            object.__setattr__(clock, "since", clock.at)
            gateway.restart_intake()
        if half_hours % 5 == 3 and to_come:
            clock.set_by(to_come.pop(0))
        await gateway.intake.refuse_overdue()
        clock.forward(minutes=30 if half_hours < 47 else 0)
    clock.set_by(-sum(steps, NOTHING))  # right again
    await gateway.intake.take_batch(*two)
    return str((await gateway.store.reads.find_batches("1"))[0]["state"])


@pytest.mark.parametrize("restart_hours", [100, 3], ids=["one process", "restarts"])
@pytest.mark.parametrize("steps", [(s,) for s in STEPS] + [(HOUR, -HOUR), (-DAY, DAY), (DAY, DAY)], ids=str)
async def test_no_step_gives_a_list_up_early(
    gateway: Gateway, steps: tuple[dt.timedelta, ...], restart_hours: int
) -> None:
    """A part that comes within its 24 hours is taken, whatever the clock said meanwhile, and whoever it said it to."""
    assert await last_part_after(gateway, SetClock(), restart_hours, *steps) == "JUDGING"


@pytest.mark.parametrize("restart_hours", [100, 3], ids=["one process", "restarts"])
@pytest.mark.parametrize("step", [HOUR, DAY], ids=str)
async def test_a_list_given_up_by_the_time_of_day_is_lost_to_a_step(
    gateway: Gateway, step: dt.timedelta, restart_hours: int
) -> None:
    """The control: a build that only compares two times of day refuses the part of an approved list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Overdue, "look", lambda self, waiting, now, since: [b for b, due in waiting.items() if due <= now]
        )
        assert await last_part_after(gateway, SetClock(), restart_hours, step) == "REFUSED"


@pytest.mark.parametrize(("clock", "state"), [(SetClock, "JUDGING"), (UnawareClock, "REFUSED")])
async def test_a_small_step_is_no_time_watched(gateway: Gateway, clock: type[SetClock], state: str) -> None:
    """Half an hour that somebody set has not passed. The control is a process that does not notice."""
    assert await last_part_after(gateway, clock(), 100, HOUR / 2) == state


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
