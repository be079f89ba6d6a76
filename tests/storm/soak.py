"""A long run of one gateway process, looked at from outside: what it keeps in memory, and how many series it shows."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field

from tests.bench.processes import resident_megabytes
from tests.world.world import World

LOOK_SECONDS = 0.5
FIFTH = 0.2  # of a run, never money
LEAST_LOOKS = 3  # in a fifth: of fewer the median is a single look's word
FINISHED = ("credited", "failed", "refused")


class Stuck(Exception):
    """The run made no headway, or its gateway ended."""


class Blurred(Exception):
    """The run was too fast for the looks, or they were too slow: nothing can be said of its memory."""


@dataclass(frozen=True, slots=True)
class Look:
    """The process at one moment: how many payouts finance has heard of, resident MB, series of ``/metrics``."""

    done: int
    megabytes: float  # of memory, never money
    series: frozenset[str]


@dataclass(slots=True)
class Soak:
    """The looks of a run. ``warm`` is the share of its payouts after which it counts as warm."""

    payouts: int
    warm: float = FIFTH  # of the run, never money
    looks: list[Look] = field(default_factory=list)

    @property
    def medians(self) -> tuple[float, float]:
        """Resident MB in the fifth after warming up, and in the last fifth: medians, so that no single look decides."""
        early, late = (statistics.median(look.megabytes for look in self._fifth(at)) for at in (self.warm, 1 - FIFTH))
        return early, late

    @property
    def drift(self) -> float:
        """By how much memory grew between the two, as a share."""
        early, late = self.medians
        return late / early - 1

    @property
    def tenths(self) -> list[int]:
        """Resident MB by tenths of the run: whether it found its size, or grows for ever; -1 where nobody looked."""
        spans = [[look.megabytes for look in self._between(n / 10, (n + 1) / 10)] for n in range(10)]
        return [round(statistics.median(span)) if span else -1 for span in spans]

    @property
    def born(self) -> frozenset[str]:
        """The series that came to be after the warm-up."""
        known = _seen(self._between(0, self.warm + FIFTH))
        return _seen(self.looks) - known

    def _fifth(self, begin: float) -> list[Look]:  # of the run, never money
        looks = self._between(begin, begin + FIFTH)
        if len(looks) < LEAST_LOOKS:
            raise Blurred(f"{len(looks)} of {len(self.looks)} looks in the fifth from {begin:.0%} on")
        return looks

    def _between(self, begin: float, end: float) -> list[Look]:
        return [look for look in self.looks if begin * self.payouts <= look.done <= end * self.payouts]


def _seen(looks: list[Look]) -> frozenset[str]:
    return frozenset().union(*(look.series for look in looks))


def follow(world: World, payouts: int, patience_seconds: float) -> Soak:
    """Look until finance has heard of every payout. Stuck when nothing new was heard for so long."""
    soak = Soak(payouts)
    heard_at = time.monotonic()
    pid = world.children["gateway"].pid
    while True:
        heard = world.desk_status().get("receipts", {})
        done = sum(heard.get(outcome, 0) for outcome in FINISHED)
        if soak.looks and done > soak.looks[-1].done:
            heard_at = time.monotonic()
        if not world.children["gateway"].running or time.monotonic() - heard_at > patience_seconds:
            raise Stuck(f"{done} of {payouts}: {world.children['gateway'].last_words()}")
        soak.looks.append(Look(done, resident_megabytes(pid), series(world)))
        if done >= payouts:
            return soak
        time.sleep(LOOK_SECONDS)


def series(world: World) -> frozenset[str]:
    """Every series that the gateway shows, by name and labels; of a histogram each bucket is one."""
    page = asyncio.run(world.metrics())
    return frozenset(f"{name}{{{labels}}}" for name, samples in page.items() for labels in samples)
