"""How long a killed process needs to be of use again, seen from outside: its readiness, and the first work after it.

Readiness is asked over HTTP by a thread of its own, so that nothing the storm does delays it. Work is what a bank has
written down in its ledger: something arrived, was answered, read or acknowledged. (What reaches finance is no work of
this kind: a receipt that was left in the outbox is told by a process that pays nobody.) A life that was killed before
it was ready has no recovery; it is the next one's start that counts. One that was killed before a bank saw it at work
was ready, and is not measured. A life is idle only where the books say that no bank is owed anything; one that does
nothing of what it owes, for as long as the bound, has not recovered. What takes the database away strikes the first
work as well: for a life that had done none by then, the bound begins anew when it is back.
"""

from __future__ import annotations

import asyncio
import http.client
import math
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.bank.ledger import read_only
from tests.world.layout_banks import BANKS

LOOK_SECONDS = 0.03
ANSWER_SECONDS = 1
BOUND_SECONDS = 15
IDLE_SECONDS = 6  # longer than two lists lie apart
GIVE_UP_SECONDS = 60  # what is owed now and then, and done by what no bank writes down
WORK_LOOK_SECONDS = 0.2
_WORK = (
    "SELECT wall_ms FROM submissions WHERE wall_ms >= :since"
    " UNION ALL SELECT wall_ms FROM answers WHERE channel IN ('query', 'reply') AND wall_ms >= :since"
    " UNION ALL SELECT wall_ms FROM deliveries WHERE how IN ('read', 'acknowledged') AND wall_ms >= :since"
)


@dataclass(slots=True)
class Life:
    """One life of a gateway process, in real unix seconds, never money; None: it never came to that."""

    port: int
    began: float  # real seconds, never money: the start, or the end of the last wait for others before its first work
    ready: float | None = None  # likewise
    ended: float | None = None  # likewise
    restarted: bool = True  # not the first life, which waits for the first list
    quiet_until: float | None = None  # likewise: when the books last said that no bank is owed anything
    idle: bool = False  # no bank was owed anything, so that nothing can be measured
    overdue: bool = False  # a bank was owed something for the whole bound, and none saw any work

    @property
    def recovered(self) -> bool:
        return self.restarted and self.ready is not None

    def lost_at(self, now: float) -> bool:  # real seconds, never money
        """The bound is over: what it needed to be ready, and what it left undone since then."""
        return self.ready is not None and now - self.began - self.excused(now) > BOUND_SECONDS

    def excused(self, until: float) -> float:  # real seconds, never money
        """What passed between readiness and the last time that no bank was owed anything is nobody's delay."""
        if self.ready is None or self.quiet_until is None:
            return 0.0
        return max(0.0, min(self.quiet_until, until) - max(self.ready, self.began))


class Observer(threading.Thread):
    """Looks at every instance's `/ready`, thirty times a second."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True, name="observer")
        self.lives: list[Life] = []
        self._current: dict[int, Life] = {}
        self._directory = directory
        self._over = threading.Event()

    def began(self, port: int, *, restarted: bool = True) -> Life:
        """A process was started behind ``port``."""
        life = Life(port, time.time(), restarted=restarted)
        self.lives.append(life)
        self._current[port] = life
        return life

    def ended(self, port: int) -> None:
        """It was killed."""
        life = self._current.pop(port, None)
        if life is not None:
            life.ended = time.time()

    def resumed(self, port: int, *, to_work: bool = False) -> None:
        """What it stands on is back, or it was woken up: if it is not ready, it could not have been until now; and
        without what it needs ``to_work``, it could not have done anything either."""
        life = self._current.get(port)
        if life is not None and (life.ready is None or (to_work and not self.worked(life))):
            life.began = time.time()

    @property
    def recovered(self) -> int:
        """How many lives were started again and came to be ready."""
        return sum(life.recovered for life in self.lives)

    def is_ready(self, port: int) -> bool:
        life = self._current.get(port)
        return life is not None and life.ready is not None

    def run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for port, life in list(self._current.items()):
                if life.ready is None and answers_ready(port):
                    life.ready = time.time()

    def close(self) -> None:
        self._over.set()
        self.join(5)

    def worked(self, life: Life) -> bool:
        """A bank has seen work since this life was ready."""
        return life.ready is not None and any(True for _ in banks_work(self._directory, life.ready))

    def recoveries(self) -> list[float]:
        """Real seconds from start to readiness and to the first work after it, of each life in which there was any."""
        work = sorted(banks_work(self._directory))
        return [seconds for life in self.lives if (seconds := recovery(life, work)) is not None]

    def readiness(self) -> list[float]:
        """Real seconds from start to readiness, of each life that came to it."""
        return [life.ready - life.began for life in self.lives if life.restarted and life.ready is not None]

    @property
    def idle(self) -> int:
        """In how many nothing could be measured, because no bank was owed anything."""
        return sum(life.idle for life in self.lives if life.restarted)

    @property
    def overdue(self) -> int:
        """How many did nothing of what they owed within the bound."""
        return sum(life.overdue for life in self.lives if life.restarted)


async def watch(
    life: Life,
    worked: Callable[[Life], bool],
    owed: Callable[[], Awaitable[bool | None]],
    away: Callable[[], bool] = lambda: False,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Follow a life to its first work, and write down in it what the books say as long as there is none. While they
    are ``away`` nothing is held against it."""
    quiet_since: float | None = None
    while life.ended is None and not worked(life):
        if life.ready is not None:
            at, is_owed = now(), await owed()
            if is_owed is False:
                life.quiet_until = at
                quiet_since = at if quiet_since is None else quiet_since
            else:  # they owe, or do not answer, which excuses nobody
                quiet_since = None
            life.idle = quiet_since is not None and at - quiet_since > IDLE_SECONDS
            lost = not away() and life.lost_at(at)
            life.overdue = lost and life.ready - life.began <= BOUND_SECONDS  # else it was its readiness that was late
            if lost or life.idle or at - life.ready > GIVE_UP_SECONDS:
                return
        await sleep(WORK_LOOK_SECONDS)


def recovery(life: Life, work: Sequence[float]) -> float | None:
    """Real seconds, never money, to readiness and to the first work, less what the books excuse; None for a life in
    which it cannot be measured."""
    if life.ready is None or not life.restarted or life.idle:
        return None
    end = math.inf if life.ended is None else life.ended
    first = next((at for at in work if max(life.ready, life.began) <= at <= end), None)
    return None if first is None else first - life.began - life.excused(first)


def banks_work(directory: Path, since: float = 0) -> Iterable[float]:
    """When the banks saw the gateway at work, in real unix seconds, never money."""
    for bank in BANKS:
        try:
            with closing(read_only(directory / bank)) as ledger:
                found = ledger.execute(_WORK, {"since": since * 1000})
                yield from (wall_ms / 1000 for (wall_ms,) in found)
        except sqlite3.OperationalError:
            continue  # the bank never began


def answers_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def p99(seconds: Sequence[float]) -> float:
    """The value that 99 of a hundred do not exceed, by nearest rank; 0 for none."""
    ordered = sorted(seconds)
    return ordered[math.ceil(len(ordered) * 0.99) - 1] if ordered else 0.0
