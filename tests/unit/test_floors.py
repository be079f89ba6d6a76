"""Version floors: what is installed reaches them, what would not is refused at start, and the project file agrees."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from gateway import floors
from gateway.floors import FLOORS, TooOld, at_least, demand_floors
from tests.house.tree import ROOT
from tests.unit.cli_kit import Installation, install


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


COMMANDS = ("run", "reseal", "migrate", "show 1", "publish batch list.csv", "adapter check rcc_file", "calendar export")


@pytest.fixture
def old(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation with a library below its floor."""
    monkeypatch.setattr(floors, "FLOORS", {"aiohttp": "999"})
    return install(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_below_a_floor(old: Installation, command: str) -> None:
    """It is refused before its own arguments are looked at, in one line that says what is needed."""
    ran = old.gateway(*command.split())
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"fault: aiohttp {version('aiohttp')} is too old; 999 or newer is needed\n"


def test_check_tells_it_among_the_other_faults(old: Installation) -> None:
    """Whoever mends an installation wants to mend it once."""
    old.config.write_text(old.config.read_text(encoding="utf-8") + "[nonsense]\nx = 1\n", encoding="utf-8")
    ran = old.gateway("check", old.config)
    assert ran.code == 1
    assert "is too old; 999 or newer is needed" in ran.err
    assert "fault: nonsense: " in ran.err


@pytest.mark.parametrize("command", ["show -c f -- --version", "publish list.csv --kid --help", "show 1 -c --help"])
def test_a_word_that_only_looks_like_a_question_opens_no_door(old: Installation, command: str) -> None:
    """As the value of an option, or behind `--`, it asks for nothing: such a command would run."""
    ran = old.gateway(*command.split())
    assert (ran.code, ran.out) == (1, "")
    assert "is too old" in ran.err


@pytest.mark.parametrize("asked", ["--version", "--help", "reseal --help", "adapter new --help"])
def test_what_it_is_and_does_is_told_all_the_same(old: Installation, asked: str) -> None:
    """Whoever finds out what is installed needs both, and neither opens a door."""
    ran = old.gateway(*asked.split())
    assert (ran.code, ran.err) == (0, "")
    assert ran.out
