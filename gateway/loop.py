"""Runs the steps: each in its own task, again and again, resting when idle, backing off when something is broken.

A step is a coroutine function that does one chunk of work and says whether there was any. What it raises is logged and
counted, never fatal: the work stays in the store and is found again. Only the end of the process stops a step.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Step = Callable[[], Awaitable[bool]]
Report = Callable[[str, BaseException | None], None]

_LONGEST_BACKOFF_SECONDS = 5


@dataclass(slots=True)
class Loop:
    """Named steps as tasks. ``report(name, error)`` hears of each failure, and of the first success after one."""

    report: Report
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, name: str, step: Step, idle_seconds: float) -> None:
        """Start running ``step``; it rests ``idle_seconds`` (real) after a turn that found nothing to do."""
        self._tasks[name] = asyncio.create_task(self._run(name, step, idle_seconds), name=name)

    async def _run(self, name: str, step: Step, idle_seconds: float) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                busy = await step()
                if failures:
                    self.report(name, None)
                failures = 0
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Somebody else's cancellation leaked out of a library: a failure of this turn, not the end of the step.
                failures += 1
                busy = False
                self.report(name, error)
            except Exception as error:  # the work is still in the store; the next turn finds it again
                failures += 1
                busy = False
                self.report(name, error)
            if not busy:
                await self._rest(self._pause(failures, idle_seconds))
            else:
                await asyncio.sleep(0)

    @staticmethod
    def _pause(failures: int, idle_seconds: float) -> float:
        if not failures:
            return idle_seconds
        longest: float = min(0.1 * 2 ** min(failures, 10), _LONGEST_BACKOFF_SECONDS)
        return max(idle_seconds, longest * (0.5 + random.random() / 2))  # noqa: S311 - jitter, not a secret

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def stop(self, seconds: float) -> list[str]:
        """Ask every step to finish its turn, cancel what has not after ``seconds``; the names of the cancelled."""
        self._stopping.set()
        if not self._tasks:
            return []
        _, late = await asyncio.wait(self._tasks.values(), timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2)
        return sorted(task.get_name() for task in late)
