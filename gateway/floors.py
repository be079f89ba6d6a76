"""The oldest versions of libraries that are safe to run: an older one is refused at start, in plain words.

Each floor is a release that mends something an attacker or a broken connection could use here; ``pyproject.toml`` asks
the installer for the same, and this asks the installation. A pre-release of a floor is older than the floor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Final

FLOORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aiohttp": "3.14.1",
        "aiokafka": "0.14",
        "asyncpg": "0.31",
        "asyncssh": "2.23.1",
        "cryptography": "48",
        "joserfc": "1.6",
        "lxml": "6",
    }
)
# Possessive: what was read as the release is not tried again in every shorter way when the rest does not fit.
_RELEASE = re.compile(r"([0-9]++(?:\.[0-9]++)*+)(.*)", re.ASCII)
_STABLE = re.compile(r"(?:\.?post[0-9]+)?(?:\+.*)?")


class TooOld(Exception):
    """Libraries that must not be run; ``faults`` has one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def demand_floors(installed: Callable[[str], str] = version) -> None:
    """TooOld with every library that is missing or below its floor."""
    faults = list(_faults(installed))
    if faults:
        raise TooOld(faults)


def _faults(installed: Callable[[str], str]) -> Iterator[str]:
    for name, floor in FLOORS.items():
        try:
            found = installed(name)
        except PackageNotFoundError:
            yield f"{name} is not installed; {floor} or newer is needed"
            continue
        if not at_least(found, floor):
            yield f"{name} {found} is too old; {floor} or newer is needed"


def at_least(found: str, floor: str) -> bool:
    """Whether a version reaches a floor; one that cannot be read does not."""
    match = _RELEASE.fullmatch(found)
    if match is None:
        return False
    wanted = _numbers(floor)
    numbers = _numbers(match[1])
    width = max(len(wanted), len(numbers))
    padded, least = (each + (0,) * (width - len(each)) for each in (numbers, wanted))
    return padded > least or (padded == least and _STABLE.fullmatch(match[2]) is not None)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
