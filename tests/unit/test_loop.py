"""The loop that runs the steps: nothing a step raises ends it, nothing idle spins, and stopping lets work finish."""

from __future__ import annotations

import asyncio

import pytest

from gateway.loop import _LONGEST_BACKOFF_SECONDS, Loop


class Heard:
    """What the loop reported, in order."""

    def __init__(self) -> None:
        self.news: list[tuple[str, str | None]] = []

    def __call__(self, name: str, error: BaseException | None) -> None:
        self.news.append((name, None if error is None else type(error).__name__))


async def test_a_busy_step_runs_on_and_an_idle_one_rests_until_it_is_stopped() -> None:
    """Work is taken up again at once; without any the step sleeps, and stopping wakes it at once."""
    turns: list[int] = []
    rested = asyncio.Event()

    async def step() -> bool:
        turns.append(len(turns))
        if len(turns) == 4:
            rested.set()
        return len(turns) < 4

    loop = Loop(Heard())
    loop.add("step", step, idle_seconds=3600)
    await rested.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert turns == [0, 1, 2, 3]
    assert await loop.stop(5) == []


async def test_what_a_step_raises_is_reported_and_the_step_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are heard of each, the first success after them once, and nobody else is held up."""
    heard = Heard()
    script = ["OSError", "OSError", "", "", "TimeoutError", ""]
    done, other = asyncio.Event(), asyncio.Event()

    async def step() -> bool:
        word = script.pop(0) if script else "end"
        if word == "OSError":
            raise OSError
        if word == "TimeoutError":
            raise TimeoutError
        if word == "end":
            done.set()
        return word != "end"

    async def neighbour() -> bool:
        other.set()
        return False

    monkeypatch.setattr(Loop, "_pause", staticmethod(lambda failures, idle: 0.001))
    loop = Loop(heard)
    loop.add("step", step, 0)
    loop.add("neighbour", neighbour, 60)
    await asyncio.wait_for(asyncio.gather(done.wait(), other.wait()), 10)
    await loop.stop(5)
    assert heard.news == [
        ("step", "OSError"),
        ("step", "OSError"),
        ("step", None),
        ("step", "TimeoutError"),
        ("step", None),
    ]


def test_failures_back_off_further_and_further_up_to_a_bound() -> None:
    """Never without a pause, never longer than the bound (unless idling is), and idling itself is not stretched."""
    assert Loop._pause(0, 0.2) == 0.2
    for failures in range(1, 40):
        longest = min(0.1 * 2 ** min(failures, 10), _LONGEST_BACKOFF_SECONDS)
        pause = Loop._pause(failures, 0)
        assert longest / 2 <= pause <= longest
    assert Loop._pause(3, 60) == 60


async def test_stopping_lets_a_turn_finish() -> None:
    """A step in the middle of its work ends that turn, and gets no further one."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    finished: list[str] = []

    async def step() -> bool:
        begun.set()
        await go_on.wait()
        finished.append("turn")
        return True

    loop = Loop(Heard())
    loop.add("step", step, 0)
    await begun.wait()
    stopping = asyncio.create_task(loop.stop(10))
    await asyncio.sleep(0)
    assert not stopping.done()
    go_on.set()
    assert await stopping == []
    assert finished == ["turn"]


async def test_who_does_not_finish_in_time_is_cut_off_and_named() -> None:
    """A step that hangs is cancelled after its time, by name; cancellation is no failure."""
    heard = Heard()
    cut: list[str] = []

    async def hanging() -> bool:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append("hanging")
            raise
        return False

    async def quick() -> bool:
        return False

    loop = Loop(heard)
    loop.add("hanging", hanging, 0)
    loop.add("quick", quick, 60)
    await asyncio.sleep(0)
    assert await loop.stop(0.01) == ["hanging"]
    assert (cut, heard.news) == (["hanging"], [])


async def test_an_empty_loop_stops() -> None:
    """A process that never reached its steps can still end."""
    assert await Loop(Heard()).stop(1) == []
