"""Eight workers, and somebody who stops them, cuts their backends and locks rows in the wrong order.

    python -m tests.storm.leases JOB.json

JOB is ``{"dsn", "directory", "seed", "submissions", "workers", "build", "limit_seconds"}``; the last line is the
verdict. A program of its own, because it forks: workers share one import and nothing else.

A worker is stopped while it holds a claim that is not SENDING yet, and goes on the moment somebody else has taken the
claim over: the meanest moment there is, because the other one is about to send.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg

from gateway.privacy import fresh_key_file, parse_keys
from gateway.vault import Vault
from tests.store import kit
from tests.storm.leases import audit, worker
from tests.world.processes import die_with_parent

STOP_SECONDS = 6.0  # longer than a lease, shorter than settling; real, never money
SCALE = 60
_UNDONE = "SELECT count(*) FROM submissions WHERE state <> 'SUBMITTED'"
_HELD = (
    "SELECT lease_owner, reference, fence FROM submissions WHERE state IN ('RENDERED', 'DEFERRED')"
    " AND lease_until > clock_timestamp()"
)


async def prepare(job: worker.Job, submissions: int) -> None:
    """A list whose submissions of one line each are rendered, and the audit's triggers."""
    async with kit.open_gateway(job.dsn, max_lines=1) as gateway:
        mine = kit.assemble(
            gateway.store,
            gateway.bank,
            gateway.config,
            kit.tables_of_tests(),
            gateway.clock,
            Vault.of(parse_keys(job.keys.encode())),
            gateway.key,
        )
        await mine.batch([kit.line(number) for number in range(1, submissions + 1)])
        await mine.fund(f"{submissions * 100}.00")
        await mine.judge()
        await mine.cut_and_render()
    connection = await asyncpg.connect(job.dsn)
    await audit.install(connection)
    await connection.close()


class Storm:
    """What happens to the workers."""

    def __init__(self, connection: asyncpg.Connection, job: worker.Job, workers: dict[str, int], budget: int) -> None:
        self._connection = connection
        self._job = job
        self._workers = workers
        self._stopped: dict[str, tuple[str, int, float]] = {}  # who stands still: submission, fence, since when
        self.stops = self.cuts = self.deadlocks = 0
        self._least = max(
            5, budget // 4
        )  # cuts, and attempts at a deadlock; then it calms down, and work comes to its end
        self._most_stops = budget

    async def until_done(self, limit_seconds: int) -> bool:
        """Storm until every submission is at the bank; False when the time ran out."""
        ends = time.monotonic() + limit_seconds
        locking = asyncio.create_task(self._lock_in_the_wrong_order())
        turn = 0
        try:
            while time.monotonic() < ends:
                turn += 1
                if not await self._connection.fetchval(_UNDONE) and not self._stopped:
                    return True
                await self._stop_some()
                if turn % 5 == 0 and self.cuts < self._least:
                    await self._cut_one()
                await asyncio.sleep(0.1)
            return False
        finally:
            for owner in list(self._stopped):
                self._go_on(owner)
            locking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await locking

    async def _stop_some(self) -> None:
        rows = {row["reference"]: row for row in await self._connection.fetch(_HELD)}
        for owner, (reference, fence, since) in list(self._stopped.items()):
            taken = reference in rows and rows[reference]["fence"] > fence
            if taken or time.monotonic() - since > STOP_SECONDS:
                self._go_on(owner)
        for row in rows.values():
            owner = row["lease_owner"]
            if len(self._stopped) >= len(self._workers) // 2 or owner in self._stopped or random.random() < 0.7:
                continue
            if self.stops >= self._most_stops:
                return
            os.kill(self._workers[owner], signal.SIGSTOP)
            self._stopped[owner] = (row["reference"], row["fence"], time.monotonic())
            self.stops += 1

    def _go_on(self, owner: str) -> None:
        os.kill(self._workers[owner], signal.SIGCONT)
        del self._stopped[owner]

    async def _cut_one(self) -> None:
        self.cuts += await self._connection.fetchval(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'payout-gateway' AND datname = current_database() ORDER BY random() LIMIT 1) one"
        )

    async def _lock_in_the_wrong_order(self) -> None:
        """A submission first, its batch afterwards: whoever is between the two the other way round is in a deadlock."""
        while self.deadlocks < self._least:
            await asyncio.sleep(0.3)
            connection = await asyncpg.connect(self._job.dsn, server_settings={"deadlock_timeout": "100ms"})
            try:
                async with connection.transaction():
                    await connection.execute(
                        "SELECT 1 FROM submissions WHERE state IN ('RENDERED', 'DEFERRED', 'SENDING') FOR UPDATE"
                    )
                    await asyncio.sleep(0.1)
                    await connection.execute("SELECT 1 FROM batches FOR UPDATE")
            except asyncpg.DeadlockDetectedError:
                self.deadlocks += 1
            except asyncpg.PostgresError:
                pass
            finally:
                connection.terminate()


def start(job: worker.Job, count: int) -> dict[str, int]:
    """Fork the workers, before this process has a loop or a connection; their process ids by owner."""
    workers = {}
    bind = die_with_parent()
    for number in range(count):
        child = os.fork()
        if child == 0:
            if bind is not None:
                bind()
            try:
                worker.main(job, number)
            finally:
                os._exit(0)
        workers[f"worker-{number}"] = child
    return workers


async def storm(job: worker.Job, workers: dict[str, int], budget: int, limit_seconds: int) -> dict[str, Any]:
    connection = await asyncpg.connect(job.dsn)
    try:
        weather = Storm(connection, job, workers, budget)
        done = await weather.until_done(limit_seconds)
        for child in workers.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        verdict = await audit.judge(connection, worker.read(job.ledger))
        deadlocks = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()
    fired = {"stops": weather.stops, "cuts": weather.cuts, "deadlocks": max(deadlocks, weather.deadlocks)}
    return {"done": done, **fired, **dataclasses.asdict(verdict), "violations": verdict.violations}


def main(path: Path) -> None:
    asked = json.loads(path.read_text())
    clock = f"2026-11-24T10:00:00+08:00@{SCALE}@{time.time()}"
    job = worker.Job(
        asked["dsn"], Path(asked["directory"]), clock, fresh_key_file(), asked["seed"], asked.get("build", "")
    )
    random.seed(job.seed)
    asyncio.run(prepare(job, asked["submissions"]))
    workers = start(job, asked["workers"])
    print(json.dumps(asyncio.run(storm(job, workers, asked["submissions"], asked["limit_seconds"]))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
