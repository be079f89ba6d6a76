"""What one SMS centre is told, and the closed sets of faults that it can be asked for."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CALL_FAULTS = (
    "drop_before",
    "timeout_before",
    "error_before",
    "throttle",
    "accept_later",
    "drop_after",
    "timeout_after",
    "error_after",
    "garble_after",
)
# CMPP and SMPP know two more; they stand last, so that the draws of the others do not depend on them.
PDU_FAULTS = (*CALL_FAULTS, "unknown_sequence", "report_first")
TAKES_NOTHING = {"drop_before", "timeout_before", "error_before", "throttle"}
MESSAGE_FAULTS = ("undelivered", "report_lost", "report_late", "report_twice", "bill_receiver")
QUERY_FAULTS = ("query_drop", "query_error")
OTHER_FAULTS = ("refuse_number", "callback_forged")
PROTOCOLS = ("cmpp", "smpp")
VERSIONS = {"2.0": 0x20, "3.0": 0x30}


@dataclass(frozen=True, slots=True)
class Door:
    """One protocol of connections, as its customer knows it. ``version`` is CMPP's, the highest one spoken."""

    account: str
    secret_file: Path
    port: int = 0
    source: str = ""
    version: str = "3.0"

    @property
    def secret(self) -> bytes:
        return self.secret_file.read_bytes().rstrip(b"\r\n")

    @classmethod
    def of(cls, protocol: str, given: dict[str, Any], beside: Path) -> Door:
        unknown = set(given) - {entry.name for entry in dataclasses.fields(cls)}
        if unknown or protocol not in PROTOCOLS:
            raise ValueError(f"unknown keys or protocols: {', '.join(sorted(unknown) or [protocol])}")
        door = cls(**{**given, "secret_file": beside / given["secret_file"]})
        if door.version not in VERSIONS or (protocol == "cmpp" and len(door.account) != 6):
            raise ValueError("CMPP is 2.0 or 3.0, and its account has six characters")
        if protocol == "smpp" and not (1 <= len(door.account) <= 15 and len(door.secret) <= 8):
            raise ValueError("SMPP has a system_id of up to 15 characters and a password of up to 8")
        return door


@dataclass(frozen=True, slots=True)
class Config:
    """What one centre is told; `SMS_CENTRE.md` says what each key means. Unknown keys are refused."""

    directory: Path
    account: str
    key_file: Path
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    synchronous: str = "NORMAL"
    signatures: list[str] = field(default_factory=list)
    callback_url: str | None = None
    callback_every_real_milliseconds: int = 100
    callback_retry_real_milliseconds: int = 500
    hang_real_seconds: int = 30
    accept_later_seconds: int = 300
    report_seconds: list[int] = field(default_factory=lambda: [5, 600])
    late_seconds: int = 7_200
    rates: dict[str, int] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    protocols: dict[str, Door] = field(default_factory=dict)
    answer_real_milliseconds: int = 5
    report_repeat_real_milliseconds: int = 5_000
    idle_real_milliseconds: int = 60_000
    incomplete_seconds: int = 3_600

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a configuration file; relative paths in it start from the file. Raises ValueError."""
        given = json.loads(path.read_bytes())
        unknown = set(given) - {entry.name for entry in dataclasses.fields(cls)}
        doors = given.get("protocols", {})
        call_faults = PDU_FAULTS if doors else CALL_FAULTS
        unknown |= set(given.get("rates", {})) - {*call_faults, *MESSAGE_FAULTS, *QUERY_FAULTS, *OTHER_FAULTS}
        unknown |= {fault for planned in given.get("calls", {}).values() for fault in planned} - {*call_faults, "none"}
        unknown |= set(given.get("numbers", {}).values()) - {*MESSAGE_FAULTS, "refuse_number"}
        if unknown:
            raise ValueError(f"unknown keys or faults: {', '.join(sorted(unknown))}")
        for key in ("directory", "key_file"):
            given[key] = path.parent / given[key]
        given["protocols"] = {name: Door.of(name, door, path.parent) for name, door in doors.items()}
        return cls(**given)
