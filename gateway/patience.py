"""How long calls on one outside party may take, and how much shorter that gets when the process is about to end.

A call has a time limit of its own. ``hasten`` gives all calls together one more limit, those that are open and those
that are still made: a process that waits for one party several times in a row (one lane after the other, then a look,
then the farewell) would otherwise wait for the sum of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Patience:
    """Time limits that can be shortened together; real seconds, never money."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._until: float | None = None  # never money

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:  # never money
        """TimeoutError when what is done inside takes longer, or longer than is left."""
        async with asyncio.timeout(self.left(seconds)) as limit:
            self._open.add(limit)
            try:
                yield
            finally:
                self._open.discard(limit)

    def left(self, seconds: float) -> float:  # never money
        """So long, or what is left of it."""
        return seconds if self._until is None else max(0.0, min(seconds, self._until - _now()))

    @property
    def over(self) -> bool:
        """Nothing may be begun any more."""
        return self._until is not None and self._until <= _now()

    def hasten(self, seconds: float) -> None:  # never money
        """From now on there are so many seconds more, for everything together."""
        self._until = until = _now() + seconds
        for limit in self._open:
            when = limit.when()
            if not limit.expired() and (when is None or when > until):
                with contextlib.suppress(RuntimeError):  # it has ended, or ends in this moment
                    limit.reschedule(until)


def _now() -> float:  # real seconds, never money
    return asyncio.get_running_loop().time()
