"""The far side of cut connections: PostgreSQL notices in its own time, and only then lets go of their rows."""

from __future__ import annotations

import time
from collections.abc import Iterable

import asyncpg

from tests.storm.model.life import CountedEngine

# A backend that was never asked anything holds nothing; it may be of a process that stands still while it connects.
ORPHANED = """
SELECT pid, state, wait_event_type, wait_event FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND pid <> ALL($1::int[]) AND query <> ''
"""
NOTICED_SECONDS = 60  # real: PostgreSQL or the test is broken


async def until_gone(
    witness: asyncpg.Connection, engines: Iterable[CountedEngine], within_seconds: float = NOTICED_SECONDS
) -> None:
    """Wait until each backend that was asked anything belongs to a connection of ``engines``, the living ones.

    Raises TimeoutError, naming those that stay.
    """
    end = time.monotonic() + within_seconds
    while orphans := await witness.fetch(ORPHANED, [pid for engine in engines for pid in engine.backends]):
        if time.monotonic() > end:
            raise TimeoutError(f"PostgreSQL still holds what was cut: {[tuple(one) for one in orphans]}")
        time.sleep(0.0005)  # a clock that jumps must not pass the time here
