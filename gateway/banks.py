"""The configured banks at run time: adapter, transport and capabilities of each, by the name the books use."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adapters import registry
from adapters.contract import (
    AnswerKind,
    BankAdapter,
    Capabilities,
    Line,
    Reason,
    Rendered,
    Submission,
    TakesTurns,
    TooLarge,
    Transport,
)
from gateway.calendar import Window, WorkCalendar, next_window
from gateway.config import BankSection, Config, ConfigError, readable


@dataclass(frozen=True, slots=True)
class Bank:
    name: str
    adapter: BankAdapter
    transport: Transport
    capabilities: Capabilities
    configuration: bytes | None = None  # what it was configured with, as a digest; None: nobody asked

    def window(self, at: dt.datetime, calendar: WorkCalendar) -> Window:
        """The bank's hours that contain ``at``, or the next ones."""
        can = self.capabilities
        return next_window(at, can.opens, can.cut_off, can.working_days_only, calendar)

    def refusal(self, line: Line) -> Reason | None:
        """Why a line is not written for this bank: more money than it takes at once, or letters it cannot hold."""
        if line.amount_fen > self.capabilities.max_total_fen:
            return Reason.AMOUNT
        return self.adapter.refuse(line)

    def fitting(self, head: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered | None:
        """The bytes of these lines, or None where they are more than the bank takes at once."""
        can = self.capabilities
        if len(lines) > can.max_lines or sum(line.amount_fen for line in lines) > can.max_total_fen:
            return None
        try:
            rendered = self.adapter.render(head, lines, at)
        except TooLarge:
            return None
        return None if self.is_too_large(rendered) else rendered

    def is_too_large(self, rendered: Rendered) -> bool:
        can = self.capabilities
        return (
            len(rendered.payload) > can.max_bytes
            or len(rendered.references) > can.max_lines
            or rendered.total_fen > can.max_total_fen
        )

    @property
    def takes_turns(self) -> bool:
        """Whether its transport takes the turn of each question itself; else a call takes one for all of it."""
        return isinstance(self.transport, TakesTurns)

    @property
    def answers_by_files_alone(self) -> bool:
        """Nothing comes back to a call: what ``submit`` and ``probe`` report is what we see of our own upload."""
        return self.capabilities.answers == {AnswerKind.FILE}

    @property
    def is_asked_early(self) -> bool:
        """Whether its answers are had by asking; a bank that publishes them is asked when they are overdue."""
        answers = self.capabilities.answers
        return AnswerKind.POLL in answers or AnswerKind.FILE not in answers


def open_banks(config: Config) -> dict[str, Bank]:
    """Every configured bank, not yet contacted. ConfigError with the faults of all of them."""
    faults: list[str] = []
    banks: dict[str, Bank] = {}
    for name, section in config.banks.items():
        try:
            profile = registry.load(section.profile)
            settings = profile.settings.model_validate(settings_of(section.settings, config.base))
            adapter = profile.adapter(name, settings)
            banks[name] = Bank(
                name, adapter, profile.transport(settings), adapter.capabilities(), digest_of(section, config.base)
            )
            faults += _unfit_pace(banks[name], config.timing.bank_call_seconds)
        except ValidationError as error:
            faults += readable(error, f"banks.{name}.settings.")
        except registry.RegistryError as error:
            faults.append(f"banks.{name}.profile: {error}")
        except (OSError, ValueError) as error:
            faults.append(f"banks.{name}: {type(error).__name__}: {_harmless(error)}")
    if faults:
        raise ConfigError(faults)
    return banks


def _unfit_pace(bank: Bank, call_seconds: int) -> list[str]:
    """A call that the pace of its own questions alone would fill is cut off, and what it has heard is lost with it."""
    can = bank.capabilities
    if can.questions_at_once * can.probe_interval_milliseconds <= call_seconds * 500:
        return []
    return [
        f"banks.{bank.name}.settings.probe_interval_milliseconds: {can.questions_at_once} questions of one call at this"
        f" pace take more than half of timing.bank_call_seconds ({call_seconds}): ask less at once or give calls longer"
    ]


def digest_of(section: BankSection, base: Path) -> bytes:
    """What a bank is configured with, its files and the release of its adapter included.

    Secrets are part of it, so it is slow to compute on purpose: who reads the books tries few passwords against it.
    """
    settings = settings_of(section.settings, base)
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(settings) if path.is_file()]
    what = [section.profile, registry.release(section.profile), section.settings, files]
    written = json.dumps(what, sort_keys=True, default=str).encode()
    return hashlib.scrypt(written, salt=section.profile.encode(), n=2**14, r=8, p=1, dklen=16)


def _files(settings: Mapping[str, Any]) -> list[Path]:
    found: list[Path] = []
    for key, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            found += _files(value)
        elif key.endswith("_file") and isinstance(value, str):
            found.append(Path(value))
    return found


def settings_of(settings: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """An adapter's settings with its files (every key that ends in ``_file``) made relative to the configuration."""
    resolved: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            resolved[key] = settings_of(value, base)
        elif key.endswith("_file") and isinstance(value, str) and not Path(value).is_absolute():
            resolved[key] = str(base / value)
        else:
            resolved[key] = value
    return resolved


def _harmless(error: Exception) -> str:
    """An OSError quotes a path, which is ours; anything else may quote what a key file holds."""
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else "unusable"
