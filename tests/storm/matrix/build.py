"""Starts the gateway as a build that is not the shipped one: sabotaged on purpose, slow, or with a clock to set.

    python -m tests.storm.matrix.build [--clock FILE] [--slow FILE] [--bug NAME] -- run --config gateway.toml

Nothing of this is in `gateway/`: a bug of `bugs.py` is laid over the imported program before it starts. The clock is
the process's own real time plus the seconds in FILE, looked at again with every reading; each time it answers with
other seconds than before it says in FILE.read which, and so a test knows that the jump arrived. What a process finds
when it first looks is no jump: nothing jumped under it. A slow build is the program otherwise: it takes its time
between a claim and SENDING, and says in FILE which failure of the database's a commit of SENDING met.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLOW_SECONDS = (0.4, 1.4)  # well inside a lease of four seconds, and long enough to be met


def bend_clock(path: Path) -> None:
    """`time.time`, `time.time_ns` and the gateway's own reading of real time follow ``path`` from now on."""
    real = time.time_ns
    journal = path.with_name(path.name + ".read")
    seen: int | None = None

    def ahead_ns() -> int:
        nonlocal seen
        try:
            seconds = int(path.read_text() or "0")
        except (FileNotFoundError, ValueError):
            seconds = seen or 0
        if seen is not None and seconds != seen:
            with journal.open("a") as file:
                file.write(f"{seconds}\n")
        seen = seconds
        return seconds * 1_000_000_000

    def time_ns() -> int:
        return real() + ahead_ns()

    def seconds() -> float:
        return time_ns() / 1_000_000_000

    time.time_ns = time_ns
    time.time = seconds
    # C code asks the system itself, so that what reads real time through `datetime` has to be told as well.
    from gateway.clock import Clock

    def wall(self: Clock) -> dt.datetime:
        return dt.datetime.fromtimestamp(seconds(), dt.UTC)

    setattr(Clock, "wall", wall)  # noqa: B010 - mypy refuses the plain assignment to a method


def slow_down(journal: Path) -> None:
    """Claims wait before they become SENDING; a SENDING that cannot be committed is written down in ``journal``."""
    import asyncio

    from gateway.dispatch import Dispatch
    from gateway.store.engine import outage
    from gateway.store.submissions import Submissions

    begin, write = Dispatch._begin, Submissions.write_sending

    async def begin_late(self: Dispatch, *arguments: Any) -> dt.datetime | None:
        await asyncio.sleep(random.uniform(*SLOW_SECONDS))
        return await begin(self, *arguments)

    async def write_sending(self: Submissions, *arguments: Any, **named: Any) -> dt.datetime:
        try:
            return await write(self, *arguments, **named)
        except Exception as error:
            if outage(error):
                with journal.open("a") as file:
                    file.write(f"{type(error).__name__}\n")
            raise

    setattr(Dispatch, "_begin", begin_late)  # noqa: B010 - as above
    setattr(Submissions, "write_sending", write_sending)  # noqa: B010


def main() -> None:
    split = sys.argv.index("--")
    asked = argparse.ArgumentParser(prog="build", description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--clock", type=Path)
    asked.add_argument("--slow", type=Path)
    asked.add_argument("--bug")
    given = asked.parse_args(sys.argv[1:split])
    if given.clock is not None:
        bend_clock(given.clock)
    if given.bug is not None:
        from tests.storm.matrix.bugs import plant

        plant(given.bug)
    if given.slow is not None:  # over the bug, so that its window is as wide
        slow_down(given.slow)
    from gateway.__main__ import main as gateway

    sys.argv = ["gateway", *sys.argv[split + 1 :]]
    start: Callable[[], object] = gateway
    sys.exit(start())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
