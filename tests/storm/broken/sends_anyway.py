"""A gateway that takes a failed commit of SENDING for a formality, and calls the bank all the same.

The same program otherwise: `python -m tests.storm.broken.sends_anyway run --config FILE`.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from gateway.__main__ import main
from gateway.dispatch import Dispatch
from gateway.store.engine import outage

_begin = Dispatch._begin


async def begin_anyway(self: Dispatch, bank: Any, claim: Any) -> dt.datetime | None:
    """What this build has in place of ``Dispatch._begin``."""
    try:
        return await _begin(self, bank, claim)
    except Exception as error:
        if not outage(error):
            raise
        return self._clock.now()


if __name__ == "__main__":
    Dispatch._begin = begin_anyway  # type: ignore[method-assign]
    main()
