"""Four banks of which one may be a black hole, with lists for all of them, and how long each line took to be paid.

A line's time runs from the moment in which Kafka acknowledged the last record of its list to the moment in which its
receipt was published: both real, both seen from outside. Everybody's habits are fixed, so that a line's time is the
gateway's and the banks' fixed one, and nothing drawn.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from schemas.v1 import Kind
from tests.bank.ledger import read_only
from tests.store.kit import line
from tests.storm.matrix.troubles import draught
from tests.storm.posting import Posting, Record
from tests.storm.relay.topic import whole_topics
from tests.storm.scale import FULL
from tests.storm.street import BANK_NUMBERS, Street
from tests.world.broker import PARTITIONS, PREFIX
from tests.world.faults import NO_FAULTS, Faults
from tests.world.plan import HOUR
from tests.world.processes import run_apart

ALWAYS: Final = 10_000
GOOD_PER_POISON: Final = 9  # one record in ten cannot be read or believed
LINES_PER_PART: Final = 4
# What a bank at rest adds to every line: a minute of business to process, and results as soon as they are there.
PUNCTUAL: Final = {"processing_seconds": 60, "report_every_seconds": 60, "hang_real_seconds": HOUR}
# As patient with every bank as in production: the longer a call may hang, the more it could hold up.
CALL_SECONDS: Final = 60
_CHANNEL: Final = {
    "connect_timeout_milliseconds": CALL_SECONDS * 500,
    "silence_timeout_milliseconds": CALL_SECONDS * 1000,
    "total_timeout_milliseconds": CALL_SECONDS * 1000,
}
_SFTP: Final = {"connect_timeout_seconds": CALL_SECONDS // 2, "call_timeout_seconds": CALL_SECONDS}
PATIENT: Final[dict[str, dict[str, Any]]] = {
    "timing": {"bank_call_seconds": CALL_SECONDS, "lease_seconds": 8},
    "banks.rcc_file.settings.sftp": _SFTP,
    "banks.iso20022.settings.sftp": _SFTP,
    "banks.json_https.settings.http": _CHANNEL,
    "banks.xml_tcp.settings.tcp": _CHANNEL,
}


@dataclass(frozen=True, slots=True)
class Load:
    """``lists`` lists with ``lines`` lines for each bank, one every ``every_seconds`` (real)."""

    lists: int
    lines: int
    every_seconds: float  # never money
    seed: int = 1


@dataclass
class Neighbours(Street):
    """A street in which ``black`` (one bank's profile, or none) takes connections and never says anything."""

    directory: Path
    black: str = ""
    build: str = "gateway"
    patience: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: PATIENT)  # the gateway's
    sent: dict[str, float] = field(default_factory=dict)  # list -> real unix seconds, never money
    lines: dict[tuple[str, int], str] = field(default_factory=dict)  # list, line -> bank

    def __post_init__(self) -> None:
        # A submission that arrives and is not taken, and questions that hang: no callback says what became of it.
        silent = {"timeout_before_accept": ALWAYS, "query_timeout": ALWAYS}
        by_rates = self.black == "json_https"
        Street.__init__(
            self,
            self.directory,
            module=self.build,
            bank=PUNCTUAL,
            faults=Faults({self.black: silent}, {}) if by_rates else NO_FAULTS,
            gateway=self.patience,
            broker="best" if FULL else "embedded",
        )

    @contextlib.contextmanager
    def hole(self) -> Iterator[None]:
        """The other banks have no such habits: their process stands still, and the kernel takes their connections."""
        frozen = self.children[self.black] if self.black and self.black != "json_https" else None
        if frozen is not None:
            frozen.send(signal.SIGSTOP)
        try:
            yield
        finally:
            if frozen is not None:
                frozen.send(signal.SIGCONT)

    # --- Lists -------------------------------------------------------------------------------------------------------

    def publish_load(self, load: Load) -> None:
        """All lists in their time; where one bank is black, with poison between their parts."""
        post, chance = Posting(self), random.Random(load.seed)
        begun = time.monotonic()
        for number in range(load.lists):
            time.sleep(max(0.0, begun + number * load.every_seconds - time.monotonic()))
            batch_id = f"659999-NEXT-{len(self.sent) + 1:04d}"
            records = post.list(batch_id, self._items(batch_id, load.lines), LINES_PER_PART)
            post.send(self._poisoned(records, chance) if self.black else records)
            self.sent[batch_id] = time.time()

    def _items(self, batch_id: str, count: int) -> list[dict[str, Any]]:
        items = []
        for number in range(1, count * len(BANK_NUMBERS) + 1):
            self._published += 1
            bank = list(BANK_NUMBERS)[number % len(BANK_NUMBERS)]
            self.lines[batch_id, number] = bank
            items.append({**line(self._published), "line": number, "bank_no": BANK_NUMBERS[bank]})
        return items

    def _poisoned(self, records: list[Record], chance: random.Random) -> list[Record]:
        mixed: list[Record] = []
        for number, record in enumerate(records):
            if number % GOOD_PER_POISON == GOOD_PER_POISON // 2:
                kind = chance.choice((Kind.BATCH, Kind.FUNDING, Kind.ORDER))
                mixed.append(Record(kind, *draught(chance, self.directory / "finance.pem", self.now())))
            mixed.append(record)
        return mixed

    # --- Seen from outside -------------------------------------------------------------------------------------------

    def paid_by_others(self) -> bool:
        """Whether every line of the other banks is credited in their ledgers and in the gateway's gauges."""
        due = sum(bank != self.black for bank in self.lines.values())
        return self.bucket("credited") >= due

    def bucket(self, name: str) -> int:
        """Payouts in a bucket of the identity, by the gateway's own gauge."""
        return round(run_apart(self.metrics()).get("payout_payouts", {}).get(f'bucket="{name}"', 0))

    def black_lines(self) -> int:
        return sum(bank == self.black for bank in self.lines.values())

    def transmissions_of_black(self) -> dict[str, int]:
        """How often each submission reached the black hole, by its own ledger."""
        found: dict[str, int] = defaultdict(int)
        with contextlib.closing(read_only(self.directory / self.black)) as ledger:
            for (batch,) in ledger.execute("SELECT batch FROM submissions"):
                found[batch] += 1
        return dict(found)

    def times(self) -> dict[str, list[float]]:
        """Real seconds from list to receipt, by bank, of every line that is credited."""
        partitions = [TopicPartition(PREFIX + "receipts", number) for number in range(PARTITIONS)]
        found: dict[str, list[float]] = defaultdict(list)
        for record in run_apart(whole_topics(self.broker.bootstrap, partitions)):
            chunk = json.loads(record.value)
            for receipt in chunk["receipts"]:
                if receipt["outcome"] == "credited":
                    bank = self.lines[chunk["batch_id"], receipt["line"]]
                    found[bank].append(record.timestamp / 1000 - self.sent[chunk["batch_id"]])
        return found


__all__ = ["Load", "Neighbours"]
