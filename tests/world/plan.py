"""What a run of the world looks like: its size, its clock, what goes wrong in it, and how patient everybody is.

All times of the simulated houses are business time. At the demonstration's scale one real second is half an hour, so
what is real (a hanging connection, a lease) is made short, and what is promised in business time (settling) long enough
that no machine is too slow to keep it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.world.faults import HONEST, Faults
from tests.world.histories import DATA
from tests.world.kept import LATEST
from tests.world.processes import PROJECT

LIST = DATA / "real_name_list" / "farmland_fertility_2026.csv"
START = "2026-11-24T10:00:00+08:00"
SCALE = 1800
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. ``directory`` is fresh, or that of a run that is to go on."""

    directory: Path
    lists: tuple[Mapping[str, Any], ...] = ({"list": str(LIST), "header": str(LIST.with_suffix(".json"))},)
    seed: int = 1
    scale: int = SCALE
    start: str = START
    broker: str = "embedded"  # or "best": whatever this machine has
    faults: Faults = HONEST
    hostile: bool = True
    repeat_rate: int = 500
    habits: Mapping[str, Any] = field(
        default_factory=lambda: {"cancel_rate": 500, "reverify_seconds": [1 * HOUR, 3 * HOUR]}
    )
    settling_seconds: int = 2 * HOUR
    late_seconds: tuple[int, int] = (600, 6 * HOUR)
    return_seconds: tuple[int, int] = (1 * HOUR, 8 * HOUR)
    repair_seconds: int = HOUR
    hang_real_seconds: int = 2
    bank: Mapping[str, Any] = field(default_factory=dict)  # further settings of all banks
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # and of one, by profile
    gateway: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # sections that replace the defaults below
    sms_protocol: str = "http_batch"  # or "cmpp" (3.0), "smpp"
    outlives: bool = False  # leave the processes running when this one ends

    def programme(self, profile: str) -> dict[str, Any]:
        return {
            "rates": dict(self.faults.banks.get(profile, {})),
            "late_seconds": list(self.late_seconds),
            "return_seconds": list(self.return_seconds),
            "repair_seconds": self.repair_seconds,
            "not_found_seconds": max(1, self.settling_seconds // 2),
            "ack_late_seconds": 1800,
        }

    def sections(self) -> dict[str, dict[str, Any]]:
        """Sections of the gateway's configuration, by dotted name, as this run needs them."""
        bank = {"acknowledgement_due_seconds": HOUR, "result_due_seconds": 12 * HOUR}
        bank["settling_seconds"] = self.settling_seconds
        sftp = {"connect_timeout_seconds": 2, "call_timeout_seconds": 2}
        channel = {
            "connect_timeout_milliseconds": 1000,
            "silence_timeout_milliseconds": 1500,
            "total_timeout_milliseconds": 6000,
        }
        # A bank's pause of a second between two calls would be half an hour here.
        no_pause = {"submit_interval_milliseconds": 0, "probe_interval_milliseconds": 0}
        sections: dict[str, dict[str, Any]] = {
            "timing": {
                "lease_seconds": 4,
                "idle_milliseconds": 50,
                "collect_milliseconds": 150,
                "watch_milliseconds": 300,
                "bank_call_seconds": 20,
            },
            "banks.rcc_file.settings": dict(bank),
            "banks.rcc_file.settings.sftp": dict(sftp),
            "banks.iso20022.settings": dict(bank),
            "banks.iso20022.settings.sftp": dict(sftp),
            "banks.json_https.settings": dict(bank),
            "banks.json_https.settings.http": dict(channel),
            "banks.xml_tcp.settings": {**bank, **no_pause},
            "banks.xml_tcp.settings.tcp": dict(channel),
        }
        if self.sms_protocol == "http_batch":
            sections["sms.settings"] = {"settling_seconds": HOUR}
        else:  # a minute's wait for an answer would be more than a day here
            limits = {"connect_seconds": 2, "answer_seconds": 3, "idle_seconds": 10, "longest_backoff_seconds": 1}
            sections["sms.settings.limits"] = limits
            sections["sms.settings"] = {"parts_per_second": 1000}
        for name, extra in self.gateway.items():
            sections.setdefault(name, {}).update(extra)
        return sections


def point_to_latest(directory: Path) -> None:
    """Let `.demo/latest` lead to the newest run, so that a command can be written down before its run exists."""
    unfinished = directory.parent / f"{LATEST}.{directory.name}"
    unfinished.symlink_to(directory.name)
    unfinished.replace(directory.parent / LATEST)


def fresh_directory(name: str = "demo") -> Path:
    """A new directory below `.demo/`, numbered."""
    parent = PROJECT / ".demo"
    parent.mkdir(exist_ok=True)
    number = 1
    while True:
        directory = parent / f"{name}-{number:03d}"
        try:
            directory.mkdir()
        except FileExistsError:
            number += 1
        else:
            return directory
