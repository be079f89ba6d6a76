"""R5, its bound: how long a killed process takes to the first work, and who is excused from having done any.

A fake clock stands in for the storm's, and a fake bank and fake books for those of a cell.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, call

import pytest

from tests.bank.ledger import COLUMNS
from tests.storm.matrix.play import idle, slow
from tests.storm.matrix.recovery import (
    BOUND_SECONDS,
    GIVE_UP_SECONDS,
    IDLE_SECONDS,
    Life,
    Observer,
    p99,
    recovery,
    watch,
)
from tests.storm.matrix.storm import Storm


@pytest.mark.parametrize(
    ("ready", "ended", "work", "seconds"),
    [
        (None, 3.0, [2.0], None),  # killed before it was ready: the next start counts
        (2.0, None, [0.5, 2.5], 2.5),  # what was seen before readiness is somebody else's doing
        (2.0, 3.0, [4.0], None),  # killed before it was seen at work: that it was ready says nothing about its work
        (2.0, None, [], None),
        (2.0, None, [40.0], 40.0),  # nobody has said that it was idle
        (2.0, 50.0, [40.0], 40.0),
    ],
)
def test_recovery_lasts_from_the_start_to_readiness_and_to_the_first_work(
    ready: float | None, ended: float | None, work: list[float], seconds: float | None
) -> None:
    """The slower of the two counts; a life that was never ready counts in the next one, one without work in none."""
    assert recovery(Life(1, 0.0, ready, ended), work) == seconds
    assert recovery(Life(1, 0.0, ready, ended, restarted=False), work) is None


def test_only_the_time_in_which_no_bank_was_owed_anything_is_taken_off() -> None:
    """From readiness to the last look at books with nothing in them; a life that had nothing to do is not measured."""
    assert recovery(Life(1, 0.0, 2.0, quiet_until=9.0), [10.0]) == 3.0
    assert recovery(Life(1, 0.0, 2.0, quiet_until=1.0), [10.0]) == 10.0
    assert recovery(Life(1, 0.0, 2.0, quiet_until=9.0, idle=True), [10.0]) is None
    waited = Life(1, 5.0, 2.0, quiet_until=9.0)  # the database was back at 5
    assert recovery(waited, [4.0, 10.0]) == 1.0
    assert recovery(Life(1, 5.0, 2.0, quiet_until=4.0), [10.0]) == 5.0


def test_the_slowest_recovery_of_few_is_not_averaged_away() -> None:
    """By nearest rank: among a hundred or fewer the slowest or the one before it, of none zero."""
    assert p99([1.0] * 19 + [30.0]) == 30.0
    assert p99([float(n) for n in range(1, 201)]) == 198.0
    assert p99([]) == 0.0


def follow(
    owed: Callable[[float], bool | None], works_at: float, away: tuple[float, float] = (0, 0)
) -> tuple[Life, float]:
    """A life that is ready two seconds after its start, followed on a fake clock while the database is ``away`` from
    one second to another; and when the watch of it ended."""
    life, now = Life(1, 0.0), 0.0

    async def books() -> bool | None:
        return owed(now)

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now >= 2 and life.ready is None:
            life.ready = 2.0
        if 0 < away[1] <= now and life.began < away[1]:
            life.began = away[1]  # as `Observer.resumed` does

    def is_away() -> bool:
        return away[0] <= now < away[1]

    asyncio.run(watch(life, lambda _: now >= works_at, books, is_away, now=lambda: now, sleep=sleep))
    return life, now


def verdict(life: Life, works_at: float) -> list[str]:
    """What a cell says of such lives after four kills: timed they have to be, and within the bound."""
    lives = [life] * 4
    timed = [seconds for one in lives if (seconds := recovery(one, [works_at])) is not None]
    ready = [one.ready - one.began for one in lives if one.ready is not None]
    return [*idle(100, len(lives), len(ready), len(timed)), *slow(timed, ready, sum(one.overdue for one in lives))]


def test_a_build_that_sleeps_after_each_start_makes_its_cell_red() -> None:
    """The control: ready at once, and no step of any bank does anything for twenty seconds. Killed while it sleeps, or
    followed to its first work: red. The same life at work after three seconds is green."""
    life, ended = follow(lambda _: True, works_at=20.0)
    assert life.overdue
    assert BOUND_SECONDS < ended < BOUND_SECONDS + 1
    life.ended = ended + 0.5
    assert any("did nothing of what they owed" in fault for fault in verdict(life, 20.0))
    assert any("to their first work" in fault for fault in verdict(life, 20.0))
    life.ended = None
    assert any("recovery p99 is 20.0 s" in fault for fault in verdict(life, 20.0))
    awake, _ = follow(lambda _: True, works_at=3.0)
    assert verdict(awake, 3.0) == []


def test_who_lost_the_database_before_its_first_work_has_the_bound_from_its_return() -> None:
    """Nothing is held against it while the database is away; but a build that rests for twenty seconds afterwards is
    overdue, as is one that had already rested for the whole bound before."""
    life, _ = follow(lambda _: True, works_at=24.0, away=(4.0, 20.0))
    assert not life.overdue
    assert verdict(life, 24.0) == []
    life, ended = follow(lambda _: True, works_at=40.0, away=(4.0, 20.0))
    assert life.overdue
    assert 20 + BOUND_SECONDS < ended < 21 + BOUND_SECONDS
    life, ended = follow(lambda _: True, works_at=40.0, away=(17.0, 20.0))
    assert life.overdue
    assert ended < 17


def test_only_a_life_without_work_is_given_the_bound_again(tmp_path: Path) -> None:
    """And only by the return of what it needs to work: Kafka's is none of a bank's business."""
    observer = Observer(tmp_path)
    unready, ready, at_work = (observer.began(port) for port in (1, 2, 3))
    ready.ready, at_work.ready = ready.began, at_work.began
    observer.worked = lambda life: life is at_work  # type: ignore[method-assign]
    starts = [life.began for life in (unready, ready, at_work)]

    def moved(*, to_work: bool) -> list[bool]:
        for life, start in zip((unready, ready, at_work), starts, strict=True):
            life.began = start - 1
            observer.resumed(life.port, to_work=to_work)
        return [life.began >= start for life, start in zip((unready, ready, at_work), starts, strict=True)]

    assert moved(to_work=False) == [True, False, False]
    assert moved(to_work=True) == [True, True, False]


def test_it_is_the_return_of_the_database_that_gives_it() -> None:
    """What a cell says of Kafka's return gives nobody more time for work at a bank."""
    storm, observer = Storm.__new__(Storm), Mock()
    storm.world = SimpleNamespace(gateways=lambda: {"gateway": (None, 7)})  # type: ignore[assignment]
    storm.observer, storm.away = observer, {"postgres", "kafka"}
    storm.returned("postgres")
    storm.returned("kafka")
    assert observer.resumed.call_args_list == [call(7, to_work=True), call(7, to_work=False)]
    assert storm.away == set()


def test_a_cell_whose_lives_are_all_idle_proves_nothing() -> None:
    """Books without anything to do excuse a life, and soon; but of excuses alone no bound follows."""
    life, ended = follow(lambda _: False, works_at=100.0)
    assert (life.idle, life.overdue) == (True, False)
    assert IDLE_SECONDS < ended < IDLE_SECONDS + 3
    assert verdict(life, 100.0) == ["0 recoveries were timed to their first work after 4 kills"]


def test_books_that_do_not_answer_excuse_nobody() -> None:
    """A life that does nothing is overdue then as well; and the bound starts anew only when they say "nothing"."""
    assert follow(lambda _: None, works_at=100.0)[0].overdue
    life, ended = follow(lambda now: now > 6, works_at=100.0)
    assert life.overdue
    assert ended > 6 + BOUND_SECONDS - 3
    life, ended = follow(lambda now: now % 1 > 0.5, works_at=1000.0)
    assert not life.overdue
    assert ended < GIVE_UP_SECONDS + 4


def test_the_watch_of_a_life_that_was_killed_ends() -> None:
    """Before readiness or after it; nothing is held against who was not given the time."""
    life = Life(1, 0.0, ended=1.0)

    async def never() -> bool:
        raise AssertionError("nobody asks the books about the dead")

    asyncio.run(watch(life, lambda _: False, never))
    assert (life.idle, life.overdue) == (False, False)


def test_work_is_what_a_bank_has_written_down_since_readiness(tmp_path: Path) -> None:
    """A result that the bank laid out by itself, or work from before, is none; an upload after readiness is."""
    (tmp_path / "json_https").mkdir()
    observer, life = Observer(tmp_path), Life(1, 1.0, ready=10.0)
    with contextlib.closing(sqlite3.connect(tmp_path / "json_https" / "ledger.sqlite")) as ledger:
        for table in ("submissions", "answers", "deliveries"):
            ledger.execute(f"CREATE TABLE {table} ({COLUMNS[table]})")
        assert not observer.worked(life)
        ledger.execute("INSERT INTO submissions (n, wall_ms) VALUES (1, 9000)")
        ledger.execute("INSERT INTO answers (n, wall_ms, channel) VALUES (2, 11000, 'file')")
        ledger.execute("INSERT INTO deliveries (n, wall_ms, how) VALUES (3, 11000, 'sent')")
        ledger.commit()
        assert not observer.worked(life)
        assert not observer.worked(Life(1, 1.0))
        ledger.execute("INSERT INTO submissions (n, wall_ms) VALUES (4, 12000)")
        ledger.commit()
        assert observer.worked(life)
    observer.lives.append(life)
    assert observer.recoveries() == [11.0]
    assert observer.readiness() == [9.0]
