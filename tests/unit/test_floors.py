"""Version floors: what is installed reaches them, what would not is refused at start, and the project file agrees."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError

import pytest

from gateway import floors
from gateway.floors import FLOORS, TooOld, at_least, demand_floors
from tests.house.tree import ROOT


def test_what_is_installed_here_is_new_enough() -> None:
    """The lock's own versions pass."""
    demand_floors()


def test_every_library_that_is_too_old_is_named_at_once() -> None:
    """Old, missing and unreadable: each in a line with what is needed."""

    def installed(name: str) -> str:
        if name == "lxml":
            raise PackageNotFoundError(name)
        return {"aiohttp": "3.14.0", "asyncssh": "unknown"}.get(name, "99.0")

    with pytest.raises(TooOld) as error:
        demand_floors(installed)
    assert error.value.faults == [
        "aiohttp 3.14.0 is too old; 3.14.1 or newer is needed",
        "asyncssh unknown is too old; 2.23.1 or newer is needed",
        "lxml is not installed; 6 or newer is needed",
    ]


@pytest.mark.parametrize(
    ("found", "reaches"),
    [
        ("2.23.1", True),
        ("2.23.1.0", True),
        ("2.23.1.post1", True),
        ("2.23.1+local", True),
        ("2.24", True),
        ("10.0", True),
        ("2.23.0", False),
        ("2.23", False),
        ("2.3.99", False),
        ("2.23.1rc1", False),
        ("2.23.1.dev3", False),
        ("", False),
        ("v2.24", False),
    ],
)
def test_versions_are_compared_by_number(found: str, reaches: bool) -> None:
    """10 is newer than 2, a pre-release is older than its release, and nonsense reaches nothing."""
    assert at_least(found, "2.23.1") is reaches


def test_the_project_file_asks_for_the_same_floors() -> None:
    """An installer that obeys the project file never meets the refusal."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {f"{name}>={floor}" for name, floor in FLOORS.items()} <= set(asked)


def test_the_gateway_does_not_start_below_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` refuses before it opens a door."""
    from gateway import app
    from tests.store.kit import config_of

    monkeypatch.setattr(floors, "FLOORS", {"aiohttp": "999"})
    with pytest.raises(TooOld, match="999 or newer"):
        app.main(config_of("postgresql://nowhere"))
