"""A gateway that asks the bank before SENDING is in the books, or (``unawaited``) while it is still being written.

The same program otherwise: `python -m tests.storm.broken.sends_first run --config FILE`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from typing import Any

from gateway.__main__ import main
from gateway.dispatch import Dispatch

_begin, _submit = Dispatch._begin, Dispatch._submit
UNAWAITED = "STORM_UNAWAITED"


async def _begin_nothing(self: Dispatch, bank: Any, claim: Any) -> dt.datetime:
    return self._clock.now()


async def _submit_and_begin(self: Dispatch, bank: Any, rendered: Any, claim: Any) -> Any:
    if os.environ.get(UNAWAITED):
        writing = asyncio.create_task(_begin(self, bank, claim))
        evidence = await _submit(self, bank, rendered, claim)
        await writing
        return evidence
    evidence = await _submit(self, bank, rendered, claim)
    await _begin(self, bank, claim)
    return evidence


if __name__ == "__main__":
    Dispatch._begin = _begin_nothing  # type: ignore[method-assign]
    Dispatch._submit = _submit_and_begin  # type: ignore[method-assign]
    main()
