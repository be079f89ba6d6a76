"""The configured banks at run time: adapter, transport and capabilities of each, by the name the books use."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adapters import registry
from adapters.contract import BankAdapter, Capabilities, Transport
from gateway.calendar import Window, WorkCalendar, next_window
from gateway.config import Config, ConfigError, readable


@dataclass(frozen=True, slots=True)
class Bank:
    name: str
    adapter: BankAdapter
    transport: Transport
    capabilities: Capabilities

    def window(self, at: dt.datetime, calendar: WorkCalendar) -> Window:
        """The bank's hours that contain ``at``, or the next ones."""
        can = self.capabilities
        return next_window(at, can.opens, can.cut_off, can.working_days_only, calendar)


def open_banks(config: Config) -> dict[str, Bank]:
    """Every configured bank, not yet contacted. ConfigError with the faults of all of them."""
    faults: list[str] = []
    banks: dict[str, Bank] = {}
    for name, section in config.banks.items():
        try:
            profile = registry.load(section.profile)
            settings = profile.settings.model_validate(settings_of(section.settings, config.base))
            adapter = profile.adapter(name, settings)
            banks[name] = Bank(name, adapter, profile.transport(settings), adapter.capabilities())
        except ValidationError as error:
            faults += readable(error, f"banks.{name}.settings.")
        except registry.RegistryError as error:
            faults.append(f"banks.{name}.profile: {error}")
        except (OSError, ValueError) as error:
            faults.append(f"banks.{name}: {type(error).__name__}: {_harmless(error)}")
    if faults:
        raise ConfigError(faults)
    return banks


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
