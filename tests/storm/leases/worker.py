"""One of the workers: the real dispatch and verify over the real store, towards a bank that is a file on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.contract import Evidence, Proof, Rendered
from gateway import dispatch as dispatching
from gateway.banks import Bank
from gateway.clock import Clock
from gateway.dispatch import Dispatch
from gateway.privacy import parse_keys
from gateway.store import engine as asking
from gateway.store import submissions as claiming
from gateway.store.engine import Engine, sql
from gateway.store.store import Store
from gateway.vault import Vault
from gateway.verify import Verify
from tests.store import kit
from tests.store.toy import ToyBank, ToyWire

LEASE_SECONDS = 4
SETTLING_SECONDS = 540  # of business time: nine real seconds at the clock's scale of 60, longer than anybody is stopped
LANE = "lane-3"
HOUR = 3600
LOOKED_AT: ContextVar[float] = ContextVar("looked_at")  # real seconds, never money
_FENCE = "fence = $2 AND state IN ('RENDERED', 'DEFERRED') AND lease_until > clock_timestamp()"


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a run share."""

    dsn: str
    directory: Path
    clock: str
    keys: str
    seed: int
    build: str = ""  # one of ``BUILDS``: broken on purpose

    @property
    def ledger(self) -> Path:
        return self.directory / "bank.jsonl"


class FileBank(ToyBank):
    """A toy whose ledger is a file that all workers append to. It deduplicates nothing and is believed by nobody."""

    def __init__(self, job: Job, owner: str) -> None:
        super().__init__(can={"settling_seconds": SETTLING_SECONDS, "max_in_flight": 8})
        self._job, self._owner = job, owner

    async def submit(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        if random.random() < 0.2:
            raise ConnectionRefusedError  # nobody opened: the same bytes travel later
        wire.crossed = True
        arrival = {"owner": self._owner, "submission": rendered.submission, "looked_at": LOOKED_AT.get()}
        append(self._job.ledger, {**arrival, "references": list(rendered.references)})
        await asyncio.sleep(random.random() / 4)
        if random.random() < 0.3:
            raise TimeoutError
        return [Evidence(Proof.RECEIVED)]

    async def probe(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        arrived = {line["submission"] for line in read(self._job.ledger)}
        return [Evidence(Proof.RECEIVED if rendered.submission in arrived else Proof.ABSENT)]


class SlowSubmissions:
    """A scheduler that takes its time between a claim and SENDING, which is where a stop hurts."""

    def __init__(self, real: claiming.Submissions) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def write_sending(self, *arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(random.random() * 0.6)
        return await self._real.write_sending(*arguments, **named)


def append(path: Path, line: dict[str, Any]) -> None:
    """One whole line at once: `O_APPEND` writes of several processes do not mix."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{json.dumps({**line, 'at': Clock().wall().timestamp()})}\n".encode())
    finally:
        os.close(handle)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def remember_looks() -> None:
    """Keep when a worker last looked whether it had stood still: nobody can see himself stop after that."""
    look = dispatching._uptime_seconds

    def remembered() -> int:
        LOOKED_AT.set(Clock().wall().timestamp())
        return look()

    dispatching._uptime_seconds = remembered


def _read_otherwise(module: Any, name: str, *changes: tuple[str, str]) -> None:
    """Let a module find another text under one query's name; each change has to find what it changes."""

    def otherwise(asked: str) -> str:
        text = sql(asked)
        if asked != name:
            return text
        for old, new in changes:
            if old not in text:
                raise RuntimeError(f"{name} reads otherwise by now: this control removes nothing")
            text = text.replace(old, new)
        return text

    module.sql = otherwise
    otherwise(name)


def no_fence() -> None:
    """Neither SENDING nor the last look asks whose the submission is."""
    _read_otherwise(claiming, "write_sending", (_FENCE, "fence >= $2 AND state IN ('RENDERED', 'DEFERRED')"))
    look = dispatching._uptime_seconds
    dispatching._uptime_seconds = lambda: look() and 0


def claims_what_is_held() -> None:
    """Whoever claims takes what is due, be it somebody's or nobody's: two hold one submission at once."""
    _read_otherwise(asking, "claim_to_send", ("AND (s.lease_until IS NULL OR s.lease_until < clock_timestamp())", ""))


def takes_the_lane() -> None:
    """Whoever asks for a named lease gets it, and the one who has it is not asked."""
    _read_otherwise(
        asking,
        "acquire_lease",
        ("WHERE leases.owner = EXCLUDED.owner OR leases.lease_until < clock_timestamp()", "WHERE true"),
    )


BUILDS: dict[str, Callable[[], None]] = {
    build.__name__: build for build in (no_fence, claims_what_is_held, takes_the_lane)
}


@asynccontextmanager
async def opened(job: Job, owner: str) -> AsyncIterator[tuple[Store, Dispatch, Verify, Bank]]:
    """The steps of one process."""
    usual = kit.config_of(job.dsn)
    # An abandoned call may last this long; its settling counts from then.
    config = usual.model_copy(
        update={"timing": usual.timing.model_copy(update={"bank_call_seconds": 3, "lease_seconds": LEASE_SECONDS})}
    )
    store = Store(await Engine.open(job.dsn, max_connections=4), owner, LEASE_SECONDS)
    store.submissions = SlowSubmissions(store.submissions)  # type: ignore[assignment]
    clock, vault = Clock.parse(job.clock), Vault.of(parse_keys(job.keys.encode()))
    bank = FileBank(job, owner)
    entry = Bank(bank.name, bank, bank, bank.capabilities())
    banks = {bank.name: entry}
    try:
        dispatch = Dispatch(store, banks, kit.tables_of_tests(), vault, clock, config)
        yield store, dispatch, Verify(store, banks, vault, clock, config), entry
    finally:
        await store.close()


async def work(job: Job, owner: str) -> None:
    """Send, ask, find what was abandoned and hold a lane, until killed. A step that fails comes again, as in `Loop`."""
    async with opened(job, owner) as (store, dispatch, verify, entry):

        async def hold_lane() -> None:
            await store.submissions.lease(LANE)

        steps: list[Callable[[], Awaitable[Any]]] = [
            lambda: dispatch.send(entry),
            lambda: verify.probe(entry),
            verify.doubt_abandoned,
            hold_lane,
        ]
        await asyncio.gather(*(_again(step) for step in steps))


async def _again(step: Callable[[], Awaitable[Any]]) -> None:
    while True:
        with contextlib.suppress(Exception):  # a cut line, a deadlock: it is what this proof is about
            await step()
        await asyncio.sleep(0.2 + random.random() / 2)


def main(job: Job, number: int) -> None:
    """The worker's process, after the fork."""
    random.seed(job.seed * 100 + number)
    dispatching.SENT_AT_ONCE = 1
    if job.build:
        BUILDS[job.build]()
    remember_looks()
    asyncio.run(work(job, f"worker-{number}"))
