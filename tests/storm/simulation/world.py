"""The world of the simulation: one PostgreSQL whose clock is ours, and one virtual loop a seed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest
import structlog

from gateway import app, dispatch, watch
from gateway.approval import SigningKey
from gateway.privacy import fresh_key_file, parse_keys
from gateway.store import ids
from gateway.vault import Vault
from tests.store import kit
from tests.storm.model.life import task_factory
from tests.storm.model.world import TABLES
from tests.storm.simulation.broker import SimulatedInbox
from tests.storm.simulation.month import Month
from tests.storm.simulation.timeline import SEARCH_PATH, VirtualLoop
from tests.storm.simulation.verdict import Outcome
from tests.world.checker.lines import Tables

# Fresh tables, not emptied ones: where rows lie, and so in which order they come, has to be the same every time.
EMPTY = f"""
ALTER TABLE history DISABLE TRIGGER USER;
TRUNCATE {", ".join(TABLES)} RESTART IDENTITY;
ALTER TABLE history ENABLE TRIGGER USER;
"""
STILL = "; ".join(f"ALTER TABLE {table} SET (autovacuum_enabled = false)" for table in TABLES)


class Simulation:
    """One database for any number of seeds, one after the other."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.vault = Vault.of(parse_keys(fresh_key_file().encode()))
        self.key = SigningKey.generate("EdDSA")
        self.tables = kit.tables_of_tests()
        self.checker_tables = Tables.read(kit.DATA / "agreements.csv", kit.DATA / "programmes.csv", None)
        self.keys = kit.key_file(self.key)
        config = kit.config_of(dsn)
        timing = config.timing.model_copy(update={"lease_seconds": 15})
        self.config = config.model_copy(update={"timing": timing})

    def play(self, seed: int, days: int = 30) -> Outcome:
        loop = VirtualLoop()
        loop.set_task_factory(task_factory)
        try:
            with patched(loop, seed):
                return loop.run_until_complete(self._play(loop, seed, days))
        finally:
            _cancel_all(loop)
            loop.close()

    async def _play(self, loop: VirtualLoop, seed: int, days: int) -> Outcome:
        loop.database_works = True
        witness = await asyncpg.connect(self.dsn, server_settings={"search_path": SEARCH_PATH, "jit": "off"})
        await witness.execute(EMPTY)
        loop.database_works = False
        month = Month(self, loop, seed, days, witness)
        try:
            return await month.play()
        finally:
            await month.close()
            loop.database_works = True
            await witness.close()


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
