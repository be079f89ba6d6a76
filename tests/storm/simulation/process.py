"""One gateway process of the simulation: `gateway.app.App` with its own steps, rung for instead of polling.

The steps are the ones that ``App`` starts, each in its own task, exactly as in production. Only their rest differs: a
step that found nothing to do sleeps until the bell rings for it, because thirty days of looking five times a second
cannot be simulated. Who rings is `look.py`; a look at books in which nothing is due is a no-op by construction.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.app import App, Parts
from gateway.config import Config
from gateway.loop import Loop, Step
from gateway.store.store import Store
from tests.storm.model.life import LIFE, Kind, Life, Mishap
from tests.storm.simulation.broker import Broker
from tests.storm.simulation.timeline import SimulatedEngine


class RungLife(Life):
    """A life in which rest does not count, and a line is lost only by who uses it."""

    resting = False

    def _is_due(self) -> bool:
        if self.resting:
            self.resting = False
            return False
        if self._mishap is not None and self._mishap.kind is Kind.LINE and not self.engine.in_use:
            return False
        return super()._is_due()


class RungLoop(Loop):
    """The gateway's loop; its steps rest until they are rung for."""

    def __init__(self, report: Callable[[str, BaseException | None], None], life: RungLife) -> None:
        super().__init__(report)
        self._life = life
        self.bells: dict[str, asyncio.Event] = {}

    def add(self, name: str, step: Step, idle_seconds: float) -> None:  # never money
        self.bells[name] = asyncio.Event()
        super().add(name, step, idle_seconds)

    async def _rest(self, seconds: float) -> None:  # never money
        task = asyncio.current_task()
        assert task is not None
        bell = self.bells[task.get_name()]
        self._life.resting = not bell.is_set()
        await bell.wait()
        bell.clear()


class Process:
    """From its start to its end."""

    def __init__(self, engine: SimulatedEngine, owner: str, config: Config, parts: Parts, broker: Broker) -> None:
        self.engine = engine
        self.life = RungLife(engine)
        self._parts = parts
        self._store = Store(engine, owner, config.timing.lease_seconds)
        self._broker = broker
        self.app = App(config, parts)
        self.loop = self.app._loop = RungLoop(self._report, self.life)
        self.failures: dict[str, int] = {}
        self.mishap: Mishap | None = None
        self.back_after = dt.timedelta(0)

    def _report(self, name: str, error: BaseException | None) -> None:
        if error is not None:
            what = f"{name}: {type(error).__name__}"
            self.failures[what] = self.failures.get(what, 0) + 1

    @property
    def up(self) -> bool:
        return not self.life.dead

    async def start(self) -> None:
        """As ``App.run`` does once its database answers."""
        await self._store.submissions.ensure_banks(list(self._parts.banks))
        self.app._store = self._store
        self._in_life(lambda: self.app._start_steps(self._store, self._broker))  # type: ignore[arg-type]

    def ring(self, name: str) -> None:
        self.loop.bells[name].set()

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something from outside that this process lives or dies with."""
        task: asyncio.Task[Any] = self._in_life(lambda: asyncio.create_task(work))
        return task

    def _in_life(self, work: Callable[[], Any]) -> Any:
        token = LIFE.set(self.life)
        try:
            return work()
        finally:
            LIFE.reset(token)
