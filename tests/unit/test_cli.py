"""The command line: what it says, how it fails, and that no failure prints a value."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway import config as configuration
from gateway.app import Parts
from gateway.cli import operating
from gateway.cli.terminal import CommandFailed, explain
from gateway.config import ConfigError
from gateway.reference import load_calendar
from gateway.store.engine import StoreUnavailable
from gateway.tables import TableFault
from tests.unit.cli_kit import ROOT, Installation, install

SCALED = "GATEWAY_CLOCK is set: deadlines follow a scaled clock; never in production"
SECRET = "659999197001010019"


@pytest.fixture
def here(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Installation:
    return install(tmp_path, capsys, monkeypatch)


def test_help_names_every_command(here: Installation) -> None:
    """The commands of the runbook are there, each with its own help."""
    commands = ["run", "migrate", "check", "publish", "reissue", "cancel", "recall", "show", "failures", "demo"]
    groups = [["bindings", "load"], ["calendar", "export"]]
    told = here.gateway("--help")
    assert told.code == 0
    for words in [[command] for command in commands] + groups:
        assert words[0] in told.out
        assert here.gateway(*words, "--help").code == 0


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("publish",), ("reissue", "B", "no-number"), ("cancel", "B", "0", "--attempt", "1"), ("show", "1")],
)
def test_a_wrong_command_line_is_status_2(here: Installation, arguments: tuple[str, ...]) -> None:
    """Misuse is told from failure by the exit status."""
    ran = here.gateway(*arguments)
    assert ran.code == 2
    assert ran.err


def test_an_unforeseen_error_shows_its_place_and_nothing_else(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug ends in one line with a class and a place; the message, which may quote a person, is not shown."""

    def broken(path: Path) -> None:
        raise RuntimeError(f"cannot pay {SECRET}")

    monkeypatch.setattr(configuration, "load", broken)
    ran = here.gateway("migrate", "--config", here.config)
    assert ran.code == 1
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert "RuntimeError" in ran.err
    assert SECRET not in ran.err


def test_errors_in_our_own_words_are_told() -> None:
    """Faults come one a line; of the system's errors the system's word and the file; of the rest only the class."""
    assert explain(TableFault(["a", "b"])) == ["fault: a", "fault: b"]
    assert explain(ConfigError(["c"])) == ["fault: c"]
    assert explain(CommandFailed("one", "two")) == ["error: one", "error: two"]
    assert explain(FileNotFoundError(2, "No such file", "x.csv")) == ["error: No such file: x.csv"]
    assert explain(StoreUnavailable("the database is empty")) == ["error: StoreUnavailable: the database is empty"]
    assert SECRET not in "".join(explain(ValueError(SECRET)))


def test_a_process_of_its_own_ends_with_the_status_and_no_traceback(tmp_path: Path) -> None:
    """`python -m gateway` behaves as the installed command does."""
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "check", str(tmp_path / "none.toml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines()[-1] == f"fault: {tmp_path / 'none.toml'} does not exist"


def test_the_version_is_told(here: Installation) -> None:
    """What runs here can be named in a ticket."""
    assert here.gateway("--version").out == f"gateway {version('payout-gateway')}\n"


@pytest.mark.parametrize("clock", ["yesterday", "2026-11-24T10:00:00@1@0", "2026-11-24T10:00:00+08:00@0@0"])
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_clock_is_told_in_the_clock_s_words(
    here: Installation, monkeypatch: pytest.MonkeyPatch, command: str, clock: str
) -> None:
    """A mistyped GATEWAY_CLOCK is one line that says how a clock is written, not an error nobody foresaw."""
    monkeypatch.setenv("GATEWAY_CLOCK", clock)
    ran = here.gateway(command, "--config", here.config)
    assert ran.code == 1
    assert ran.err.startswith(("error: GATEWAY_CLOCK: a clock is <ISO time", "error: GATEWAY_CLOCK: the clock's "))


def test_run_warns_of_a_scaled_clock(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that follow another clock are never taken for real ones in silence."""
    monkeypatch.setattr("gateway.app.main", lambda config: 7)
    ran = here.gateway("run", "--config", here.config)
    assert (ran.code, ran.err) == (7, f"warning: {SCALED}\n")
    monkeypatch.delenv("GATEWAY_CLOCK")
    assert here.gateway("run", "--config", here.config).err == ""


@pytest.mark.parametrize("command", ["run", "migrate"])
def test_a_refused_configuration_leads_to_check(here: Installation, command: str) -> None:
    """Starting tells the faults of one kind at most; where all are told stands beside them."""
    (here.directory / "calendar.csv").unlink()
    ran = here.gateway(command, "--config", here.config)
    assert ran.code == 1
    assert ran.err.splitlines()[-2:] == [
        "fault: files.calendar: calendar.csv does not exist",
        f"run `gateway check {here.config}` for every fault",
    ]


def test_run_leads_to_check_where_a_named_file_does_not_hold(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration holds and its key ring does not: that is a refused configuration as well."""
    (here.directory / "approval_keys.json").write_text("{}", encoding="utf-8")
    # Only what is loaded first: the rest would take over logging in this process.
    monkeypatch.setattr("gateway.app.main", Parts)
    ran = here.gateway("run", "--config", here.config)
    assert ran.code == 1
    assert ran.err.splitlines()[-2].startswith("error: keys: ")
    assert ran.err.splitlines()[-1] == f"run `gateway check {here.config}` for every fault"


def test_the_demo_takes_the_place_of_the_command(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demonstration is started from the checkout, in this process's place, with its arguments handed on."""
    started: list[list[str]] = []
    (here.directory / "tests/world").mkdir(parents=True)
    (here.directory / "tests/world/demo.py").touch()
    monkeypatch.setattr(operating, "checkout_directory", lambda: here.directory)
    monkeypatch.setattr(os, "chdir", lambda path: started.append([str(path)]))
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append(arguments))
    assert here.gateway("demo", "--keep", "--lines", "300").code == 0
    assert started == [[str(here.directory)], [sys.executable, "-m", "tests.world.demo", "--keep", "--lines", "300"]]


def test_the_demo_s_help_names_what_it_takes(here: Installation) -> None:
    """Options that are handed on are found without reading the demonstration."""
    told = here.gateway("demo", "--help").out
    assert all(option in told for option in ("--keep", "--lines", "--kill", "--seed"))


def test_without_a_checkout_the_demo_says_where_it_is(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package has no demonstration and says so in one line."""
    monkeypatch.setattr(operating, "checkout_directory", lambda: here.directory)
    ran = here.gateway("demo")
    assert (ran.code, ran.err) == (1, "error: the demonstration is part of the checkout: run `make demo` there\n")


def test_the_calendar_is_exported_as_it_is_shipped(here: Installation) -> None:
    """The shipped table is what the export writes; a table on disk, perhaps mended by hand, is not overwritten."""
    shipped = (ROOT / "deploy/reference/calendar.csv").read_text(encoding="utf-8")
    assert here.gateway("calendar", "export", "--from", "2025", "--to", "2026").out == shipped
    target = here.directory / "new.csv"
    assert here.gateway("calendar", "export", target).code == 0
    assert load_calendar(target).years == {2025, 2026}
    again = here.gateway("calendar", "export", target)
    assert (again.code, "is there already" in again.err) == (1, True)
    assert here.gateway("calendar", "export", target, "--from", "2026", "--force").code == 0
    assert load_calendar(target).years == {2026}


@pytest.mark.parametrize(("years", "fault"), [(("2026", "2027"), "not 2027"), (("2026", "2025"), "no year between")])
def test_a_year_that_nobody_decreed_is_not_exported(here: Installation, years: tuple[str, str], fault: str) -> None:
    """The export never guesses a year."""
    ran = here.gateway("calendar", "export", "--from", years[0], "--to", years[1])
    assert (ran.code, ran.out) == (1, "")
    assert fault in ran.err
