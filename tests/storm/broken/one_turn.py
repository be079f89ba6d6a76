"""A gateway whose banks take turns with each other: one step of one bank at a time.

The same program otherwise: `python -m tests.storm.broken.one_turn run --config FILE`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.__main__ import main
from gateway.app import App
from gateway.loop import Loop, Step

_start_bank = App._start_bank
TURN = asyncio.Lock()


class _InTurn:
    """A loop that lets only one of its steps run."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def add(self, name: str, step: Step, idle_seconds: float) -> None:  # never money
        async def in_turn() -> bool:
            async with TURN:
                return await step()

        self._loop.add(name, in_turn, idle_seconds)


def start_bank_in_turn(self: App, *rest: Any) -> None:
    """What this build has in place of ``App._start_bank``."""
    loop = self._loop
    self._loop = _InTurn(loop)  # type: ignore[assignment]
    _start_bank(self, *rest)
    self._loop = loop


if __name__ == "__main__":
    App._start_bank = start_bank_in_turn  # type: ignore[method-assign, assignment]
    main()
