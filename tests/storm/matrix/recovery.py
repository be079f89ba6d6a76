"""How long a killed process needs to be of use again, seen from outside: its readiness, and the first work after it.

Readiness is asked over HTTP by a thread of its own, so that nothing the storm does delays it. Work is what others have
written down: a bank's ledger (something arrived, was answered, read or acknowledged) or the finance desk's journals. A
life that was killed before it was ready has no recovery; it is the next one's start that counts.
"""

from __future__ import annotations

import http.client
import math
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.bank.ledger import read_only
from tests.world.layout_banks import BANKS

LOOK_SECONDS = 0.03
ANSWER_SECONDS = 1
BOUND_SECONDS = 15
_WORK = (
    "SELECT wall_ms FROM submissions UNION ALL SELECT wall_ms FROM answers WHERE channel IN ('query', 'reply')"
    " UNION ALL SELECT wall_ms FROM deliveries WHERE how IN ('read', 'acknowledged')"
)


@dataclass(slots=True)
class Life:
    """One life of a gateway process, in real unix seconds, never money; None: it never came to that."""

    port: int
    began: float  # real seconds, never money: the start, or, if it had to wait for others, the end of that wait
    ready: float | None = None  # likewise
    ended: float | None = None  # likewise
    restarted: bool = True  # not the first life, which waits for the first list

    @property
    def recovered(self) -> bool:
        return self.restarted and self.ready is not None


class Observer(threading.Thread):
    """Looks at every instance's `/ready` and at the desk's journals, thirty times a second."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True, name="observer")
        self.lives: list[Life] = []
        self._current: dict[int, Life] = {}
        self._journals = [directory / "desk" / f"{name}.jsonl" for name in ("receipts", "batch-reports", "refusals")]
        self._directory = directory
        self._heard: list[float] = []
        self._over = threading.Event()

    def began(self, port: int, *, restarted: bool = True) -> None:
        """A process was started behind ``port``."""
        life = Life(port, time.time(), restarted=restarted)
        self.lives.append(life)
        self._current[port] = life

    def ended(self, port: int) -> None:
        """It was killed."""
        life = self._current.pop(port, None)
        if life is not None:
            life.ended = time.time()

    def resumed(self, port: int) -> None:
        """What it stands on is back, or it was woken up: if it is not ready, it could not have been until now."""
        life = self._current.get(port)
        if life is not None and life.ready is None:
            life.began = time.time()

    @property
    def recovered(self) -> int:
        """How many lives were started again and came to be ready."""
        return sum(life.recovered for life in self.lives)

    def is_ready(self, port: int) -> bool:
        life = self._current.get(port)
        return life is not None and life.ready is not None

    def run(self) -> None:
        sizes = [0] * len(self._journals)
        while not self._over.wait(LOOK_SECONDS):
            for port, life in list(self._current.items()):
                if life.ready is None and answers_ready(port):
                    life.ready = time.time()
            seen = [path.stat().st_size if path.exists() else 0 for path in self._journals]
            if seen != sizes:
                sizes = seen
                self._heard.append(time.time())

    def close(self) -> None:
        self._over.set()
        self.join(5)

    def recoveries(self) -> list[float]:
        """Real seconds from start to readiness, and to the first work after it where there was any, of each life."""
        work = sorted([*self._heard, *banks_work(self._directory)])
        return [seconds for life in self.lives if (seconds := recovery(life, work)) is not None]


def recovery(life: Life, work: Sequence[float]) -> float | None:
    """Real seconds, never money; None for a life that ended before it was ready."""
    if life.ready is None or not life.restarted:
        return None
    end = math.inf if life.ended is None else life.ended
    first = next((at for at in work if life.ready <= at <= end), life.ready)
    idle = first - life.ready > BOUND_SECONDS and life.ended is None  # after the last kill, when all was done
    return (life.ready if idle else first) - life.began


def banks_work(directory: Path) -> Iterable[float]:
    """When the banks saw the gateway at work, in real unix seconds."""
    for bank in BANKS:
        try:
            with closing(read_only(directory / bank)) as ledger:
                yield from (wall_ms / 1000 for (wall_ms,) in ledger.execute(_WORK))
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
