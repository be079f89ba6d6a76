"""Looks at the checker's counters while a broken build plays, until it is caught by what it is about.

Never at a run that was cut off: what is merely still owed then would turn every build red. Either only wrong deeds are
counted, which need no rest (``--running``), or the gateway itself has to say that nothing is open any more, and nothing
more must have been told for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.world.report import check
from tests.world.run import Snapshot
from tests.world.world import World

FIRST_LOOK_SECONDS, LOOK_EVERY_SECONDS = 8, 4  # real


class Caught(Exception):
    """There is nothing more to wait for: it is red, or it is quiet."""


@dataclass
class Watch:
    """Follows a run (`Run.to_rest`) and raises Caught; ``counters`` are those of the last look."""

    world: World
    named: tuple[str, ...]  # the counters of which at least one has to rise
    at_rest: bool
    quiet_seconds: float = 6  # real, never money
    busy: Callable[[], bool] = lambda: False  # more is still to happen
    counters: dict[str, int] = field(default_factory=dict)
    quiet: bool = False
    _looked: float = field(default_factory=lambda: time.monotonic() + FIRST_LOOK_SECONDS - LOOK_EVERY_SECONDS)
    _quiet_since: float | None = None
    _told: int = -1
    _begun: bool = False

    @property
    def red(self) -> bool:
        return any(self.counters.get(name) for name in self.named)

    def __call__(self, seen: Snapshot) -> None:
        if not (self._is_quiet(seen) if self.at_rest else time.monotonic() > self._looked):
            return
        self.counters = dict(check(self.world, at_rest=self.at_rest, scan=False)[0]["counters"])
        self.quiet = self.at_rest
        if self.at_rest or self.red:
            raise Caught
        self._looked = time.monotonic() + LOOK_EVERY_SECONDS

    def _is_quiet(self, seen: Snapshot) -> bool:
        now, heard = time.monotonic(), sum(seen.receipts.values())
        open_ = seen.open != 0 or any(seen.to_come.values()) or seen.lists_waiting or seen.waiting
        self._begun = self._begun or bool(heard or seen.open)  # a build that loses every receipt is heard of never
        if not self._begun or heard != self._told or open_ or self.busy():
            self._quiet_since, self._told = None, heard
        elif self._quiet_since is None:
            self._quiet_since = now
        return self._quiet_since is not None and now - self._quiet_since > self.quiet_seconds
