"""A street without a desk: PostgreSQL, a broker, four banks and one gateway process, which may be traced or broken.

The proofs that look at processes from below publish lists of their own, through the operator's command, and wait for
what they need to see in the banks' ledgers.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.bank.ledger import read_only
from tests.store.kit import line
from tests.storm.posting import write_list
from tests.world import layout
from tests.world.faults import NO_FAULTS, Faults
from tests.world.layout_banks import BANKS
from tests.world.plan import Plan
from tests.world.processes import ChildError, python_module
from tests.world.world import READY_SECONDS, World, merged

SCALE: Final = 60  # a business minute a second: a street of ten minutes stays inside the banks' hours
BANK_NUMBERS: Final = {
    "rcc_file": "402881000015",
    "iso20022": "103881000011",
    "json_https": "403881000017",
    "xml_tcp": "104881000012",
}


class Street(World):
    """``with Street(directory) as street``. ``module`` is the gateway's program, ``prefix`` what it runs under."""

    def __init__(
        self,
        directory: Path,
        *,
        module: str = "gateway",
        prefix: Sequence[str] = (),
        banks: Sequence[str] = BANKS,
        gateway: Mapping[str, Mapping[str, Any]] | None = None,
        bank: Mapping[str, Any] | None = None,
        faults: Faults = NO_FAULTS,
        broker: str = "embedded",  # as in the plan
    ) -> None:
        plan = Plan(
            directory=directory,
            scale=SCALE,
            broker=broker,
            faults=faults,
            bank=bank or {},
            gateway=gateway or {},
        )
        super().__init__(plan)
        self.module, self.prefix, self.banks = module, list(prefix), tuple(banks)
        self._published = 0

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.postgres.start()
        self.broker.start()
        self._configure()
        self.prepare_database()
        self.epoch = time.time() + 1
        self.environment["GATEWAY_CLOCK"] = f"{self.plan.start}@{self.plan.scale}@{self.epoch}"
        for bank in self.banks:
            self._add(bank, "tests.bank", self.directory / bank / "bank.json")
            self.children[bank].start()
        self.set_gateway(self.module, self.prefix)
        for bank in self.banks:
            self.children[bank].wait_ready(READY_SECONDS)
        self.start_gateway()
        self.wait_for_gateway()

    def _configure(self) -> None:
        """As the world does, without the SMS centre that is not here."""
        super()._configure()
        document = tomllib.loads(self.config.read_text())
        del document["sms"]
        self.config.write_text(merged("", document))

    def set_gateway(self, module: str, prefix: Sequence[str] = ()) -> None:
        """Which program the next ``start_gateway`` starts, and under what."""
        run = [*prefix, *python_module(module), "run", "--config", str(self.config)]
        self.children["gateway"] = self._child("gateway", run)

    def publish(self, counts: Mapping[str, int]) -> str:
        """Publish and fund a list with so many lines for each bank; its batch id."""
        rows: list[dict[str, Any]] = []
        for bank, count in counts.items():
            for _ in range(count):
                self._published += 1
                rows.append({**line(self._published), "line": len(rows) + 1, "bank_no": BANK_NUMBERS[bank]})
        batch_id = f"659999-STORM-{self._published:05d}"
        listed, header = write_list(self.directory / "lists", batch_id, rows)
        key = ("--key", str(self.directory / "finance.pem"), "--kid", layout.KID)
        self.command("publish", str(listed), "--header", str(header), *key, "--funding")
        return batch_id

    def arrived(self, bank: str) -> list[dict[str, Any]]:
        """What reached a bank, as its own ledger says, in order."""
        ledger = read_only(self.directory / bank)
        try:
            names = ("n", "batch", "transmission", "size", "sha256", "count", "verdict", "wall_ms")
            rows = ledger.execute(f"SELECT {', '.join(names)} FROM submissions ORDER BY n").fetchall()
        finally:
            ledger.close()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def paid(self) -> int:
        """Lines that the banks have credited, by their ledgers."""
        total = 0
        for bank in self.banks:
            ledger = read_only(self.directory / bank)
            total += ledger.execute("SELECT count(*) FROM credits").fetchone()[0]
            ledger.close()
        return total

    def wait_until(self, what: str, happened: Callable[[], bool], timeout: float = 60) -> float:
        """Wait for something that is seen from outside; how long it took. ChildError when it does not happen."""
        began = time.monotonic()
        while not happened():
            if not self.children["gateway"].running:
                raise ChildError(f"the gateway ended: {self.children['gateway'].last_words()}")
            if time.monotonic() - began > timeout:
                raise ChildError(f"not within {timeout:g} s: {what}")
            time.sleep(0.05)
        return time.monotonic() - began


__all__ = ["BANK_NUMBERS", "SCALE", "Street"]
