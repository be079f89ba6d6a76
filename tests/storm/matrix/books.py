"""What the gateway's own books say just now, asked from outside over a line of the harness's own.

Whether a bank is owed something: a life that does nothing may be excused where it is not. Who holds a claim that has
not become SENDING yet: that is the moment at which a stop, or a disk without room, can hurt. And how much has come in,
and whether a bank's word is still due: a clock may go back when the one is all of it, and can hurt while the other is.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import asyncpg

ANSWER_SECONDS = 2
# A line to cut, bytes to make or to send, or a question to ask: what a step of the gateway's would do now.
_OWED = """
SELECT EXISTS (SELECT 1 FROM batches WHERE state = 'PAYING' AND planned_line < lines)
    OR EXISTS (SELECT 1 FROM submissions s LEFT JOIN banks b USING (bank)
               WHERE s.state IN ('PLANNED', 'RENDERED', 'DEFERRED') AND s.due_at <= $1 AND b.paused_at IS NULL)
    OR EXISTS (SELECT 1 FROM submissions
               WHERE state IN ('SUBMITTED', 'ACCEPTED', 'IN_DOUBT', 'HELD', 'CLOSED') AND probe_at <= $1)
"""
# An owner's name ends with its process and a random word: gateway2-4711-0a1b2c3d.
_HELD = """
SELECT submission_id, fence, split_part(lease_owner, '-', -2)::int AS pid FROM submissions
WHERE state IN ('RENDERED', 'DEFERRED') AND lease_until > clock_timestamp()
  AND split_part(lease_owner, '-', -2)::int = ANY($1::int[])
ORDER BY lease_until DESC LIMIT 1
"""
_TAKEN_IN = (
    "SELECT least((SELECT count(*) FROM batch_parts), (SELECT count(*) FROM fundings)), (SELECT count(*) FROM orders)"
)
_OPEN = "SELECT EXISTS (SELECT 1 FROM submissions WHERE state IN ('SENDING', 'SUBMITTED', 'ACCEPTED', 'IN_DOUBT'))"
_UNSENT = "SELECT 1 FROM submissions WHERE submission_id = $1 AND fence = $2 AND state IN ('RENDERED', 'DEFERRED')"
_TAKEN = "SELECT 1 FROM submissions WHERE submission_id = $1 AND fence > $2"


class Held(NamedTuple):
    """A claim to send that is not SENDING yet, and the process that has it."""

    submission_id: int
    fence: int
    pid: int


class Books:
    """Answers None where the books do not answer: they are away, or have no room."""

    def __init__(self, dsn: Callable[[], str], now: Callable[[], dt.datetime]) -> None:
        self._dsn, self._now = dsn, now
        self._connection: Any = None
        self._one_at_a_time = asyncio.Lock()

    async def owed(self) -> bool | None:
        """Whether a bank could be given, or asked, something now."""
        row = await self._row(_OWED, self._now())
        return None if row is None else bool(row[0])

    async def held(self, pids: Collection[int]) -> Held | None:
        """The youngest claim of one of these processes that has not become SENDING."""
        row = await self._row(_HELD, list(pids))
        return None if row is None else Held(*row)

    async def is_unsent(self, held: Held) -> bool:
        """It is still as it was."""
        return await self._row(_UNSENT, held.submission_id, held.fence) is not None

    async def is_taken(self, held: Held) -> bool:
        """Somebody else has claimed the submission since."""
        return await self._row(_TAKEN, held.submission_id, held.fence) is not None

    async def taken_in(self) -> tuple[int, int]:
        """How many lists of one part are there with their money, and how many orders; none by books that do not
        answer."""
        row = await self._row(_TAKEN_IN)
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    async def is_open(self) -> bool:
        """Payments have gone to a bank, or may have, and what became of them is not known yet."""
        row = await self._row(_OPEN)
        return row is not None and bool(row[0])

    async def _row(self, query: str, *arguments: Any) -> Any:
        async with self._one_at_a_time:
            try:
                if self._connection is None:
                    self._connection = await asyncpg.connect(self._dsn(), timeout=ANSWER_SECONDS)
                return await self._connection.fetchrow(query, *arguments, timeout=ANSWER_SECONDS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self.close()
                return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
