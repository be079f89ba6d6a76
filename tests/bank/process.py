"""Starts a simulated bank as the process it is, for its own tests and for whoever needs one in two lines."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bank.ledger import Row, read_only
from tests.world.processes import Child, python_module

START = "2026-11-24T10:00:00+08:00"


PATIENCE_SECONDS = 30


async def until(what: Callable[[], Any]) -> Any:
    """Wait for something to be true, however loaded the machine is; the bound only ends a test that is broken."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := what()):
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        await asyncio.sleep(0.05)
    return value


def clock_from_now(scale: int) -> str:
    """A GATEWAY_CLOCK that starts now, Tuesday 2026-11-24 10:00 Shanghai, so many times faster."""
    return f"{START}@{scale}@{time.time()}"


class BankProcess:
    """One bank; `start` again after `kill` is its next life on the same disk and the same port."""

    def __init__(self, directory: Path, profile: str, scale: int = 600, **settings: Any) -> None:
        self.directory = directory
        self._settings = {"profile": profile, "directory": "bank", "synchronous": "NORMAL", **settings}
        self._config = directory / "bank.json"
        environment = {"GATEWAY_CLOCK": clock_from_now(scale)}
        self.child = Child(
            "bank", python_module("tests.bank", "--config", self._config), directory, environment=environment
        )  # fmt: skip
        self.port = 0
        self.ready: dict[str, Any] = {}

    @property
    def disk(self) -> Path:
        return self.directory / "bank"

    def borrow_keys(self, other: Path) -> None:
        """Use the keys that `certificates.prepare(other)` made: RSA keys are slow to make."""
        if not (self.disk / "keys").exists():
            shutil.copytree(other / "keys", self.disk / "keys")

    def begin(self, **changes: Any) -> None:
        """Begin a life, optionally with changed settings; returns when the bank listens."""
        self._settings |= changes
        self.directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(json.dumps({"port": self.port, **self._settings}))
        self.child.start()
        self.ready = self.child.wait_ready()
        self.port = self.ready["port"]

    async def start(self, **changes: Any) -> None:
        """`begin`, for those who stand in a loop: a bank needs less than a second."""
        self.begin(**changes)

    def rows(self, query: str) -> list[Row]:
        """Look into the ledger, whether or not the bank lives."""
        with read_only(self.disk) as ledger:
            rows = ledger.execute(query).fetchall()
        ledger.close()
        return rows

    def column(self, query: str) -> list[Any]:
        return [row[0] for row in self.rows(query)]
