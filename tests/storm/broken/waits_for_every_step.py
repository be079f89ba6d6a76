"""A gateway that is too polite: asked to end, it waits until every step has ended, however long a bank takes to answer.

The same program otherwise: `python -m tests.storm.broken.waits_for_every_step run --config FILE`.
"""

from __future__ import annotations

import asyncio

from gateway.__main__ import main
from gateway.loop import Loop


async def wait_for_every_step(self: Loop, seconds: float) -> list[str]:
    """What this build has in place of ``Loop.stop``."""
    self._stopping.set()
    await asyncio.gather(*self._tasks.values())
    return []


if __name__ == "__main__":
    Loop.stop = wait_for_every_step  # type: ignore[method-assign]
    main()
