"""A real PostgreSQL on a small file system, which is filled to the last byte while payouts are on their way."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from gateway.config import TimingSection
from tests.storm.disk.arrivals import unwritten
from tests.storm.street import Street
from tests.world.layout_banks import BANKS
from tests.world.processes import ChildError, run_apart
from tests.world.world import World

DISK_MEGABYTES: Final = 400
BALLAST: Final = "ballast"
RECOVERY_SECONDS: Final = 60
# How often the gateway looks at its database: as it ships, since how soon it tells of it is measured here.
AS_SHIPPED: Final = {"watch_milliseconds": TimingSection().watch_milliseconds}
# Each bank takes a few lines at a time, so that most of a list still waits for its turn when the disk is full.
WAITS: Final = {"max_lines": 5, "submit_interval_milliseconds": 500}
FIRST, SECOND = 10, 200  # lines of each bank


@dataclass(frozen=True, slots=True)
class Full:
    """What the banks' ledgers and the books say about the time without a byte of room."""

    waiting: int  # lines that no bank had when the disk was full
    failed: int  # times that the log tells of a step of sending that could not write, or had no server any more
    sent: int  # submissions that reached a bank while it was full: SENDING may still fit into a page that is there
    unwritten: int  # arrivals, then or later, of which the books know no transmission
    status_503_after_seconds: float  # real, never money
    recovery_seconds: float
    paid: int


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of a few hundred megabytes at ``place``; skipped where mounting is not permitted."""
    place.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=755", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def fill(disk: Path) -> None:
    """Take every last byte."""
    with (disk / BALLAST).open("wb") as ballast:
        for block in (1 << 20, 1 << 12):
            try:
                while True:
                    os.write(ballast.fileno(), b"\1" * block)
            except OSError:
                continue


def play_full(directory: Path, module: str = "gateway") -> Full:
    """The real processes: filled while three lists in four wait to be sent, room again, everybody paid."""
    settings: dict[str, Any] = {f"banks.{bank}.settings": WAITS for bank in BANKS}
    with (
        small_disk(directory / "postgres"),
        Street(directory, module=module, gateway={**settings, "timing": AS_SHIPPED}) as street,
    ):
        street.publish(dict.fromkeys(street.banks, FIRST))
        street.wait_until("the first list is paid", lambda: street.paid() >= len(BANKS) * FIRST)
        known = {bank: len(street.arrived(bank)) for bank in street.banks}
        street.publish(dict.fromkeys(street.banks, SECOND))
        street.wait_until(
            "every bank has the beginning", lambda: all(len(street.arrived(b)) > known[b] for b in street.banks), 180
        )
        fill(street.directory / "postgres")
        known = {bank: len(street.arrived(bank)) for bank in street.banks}
        waiting = len(BANKS) * (FIRST + SECOND) - sum(one["count"] for b in street.banks for one in street.arrived(b))
        fell = _until_status(street, HTTPStatus.SERVICE_UNAVAILABLE)
        _stay_full(street)
        sent = sum(len(street.arrived(bank)) - known[bank] for bank in street.banks)
        (street.directory / "postgres" / BALLAST).unlink()
        recovered = _recover(street)
        street.wait_until("everybody is paid", lambda: street.paid() >= len(BANKS) * (FIRST + SECOND), 300)
        street.wait_until("every answer is in the books", lambda: not run_apart(_sending(street)), 60)
        lost = unwritten(street)
        return Full(waiting, failed(street), sent, lost, round(fell, 1), round(recovered, 1), street.paid())


def failed(world: World) -> int:
    """How often the gateway's log tells of a step of sending that failed."""
    child = world.children["gateway"]
    lines = (child.output.read_text() + child.errors.read_text()).splitlines()
    told = [json.loads(line) for line in lines if '"step failed"' in line]
    return sum(one["step"].startswith("send ") for one in told)


def _until_status(street: Street, status: HTTPStatus) -> float:
    return street.wait_until(
        f"/ready answers {status}", lambda: run_apart(street.status("/ready")) == status, RECOVERY_SECONDS + 30
    )


def _stay_full(street: Street) -> None:
    """Long enough for every step to have tried, and for a server that could not go on to have ended."""
    with pytest.raises(ChildError, match="not within"):
        street.wait_until("never", lambda: False, 10)


def _recover(street: Street) -> float:
    """Start the server again where it ended, as its supervisor would; seconds until the gateway is ready."""
    if street.postgres.child is not None and not street.postgres.child.running:
        street.postgres.start()
    return _until_status(street, HTTPStatus.OK)


async def _sending(street: Street) -> int:
    """Submissions about whose last transmission the books know nothing yet."""
    connection: Any = await asyncpg.connect(street.postgres.dsn("payout"))
    try:
        return int(await connection.fetchval("SELECT count(*) FROM submissions WHERE state = 'SENDING'"))
    finally:
        await connection.close()
