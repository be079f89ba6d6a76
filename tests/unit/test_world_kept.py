"""What a kept run prints, how it is ended, and which runs `make clean` removes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.demo import kept_lines, main
from tests.world.kept import LATEST, RECORD, remove_finished
from tests.world.plan import Plan
from tests.world.processes import Child, birth
from tests.world.world import World

GONE = {"pid": 1, "birth": "never"}


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Child]:
    child = Child("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "logs")
    child.start()
    yield child
    child.kill()


def record(directory: Path, **processes: object) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / RECORD).write_text(json.dumps({"processes": processes}))
    return directory


def test_a_kept_run_prints_commands_and_no_password(tmp_path: Path) -> None:
    """Whoever pastes the lines finds batch, payout and failures; whoever reads over a shoulder gets no password."""
    world = World(Plan(tmp_path))
    (tmp_path / "desk").mkdir()
    receipts = [
        {"receipt_id": "a", "payout_id": "1-7", "attempt": 1, "outcome": "returned"},
        {"receipt_id": "b", "payout_id": "1-7", "attempt": 2, "outcome": "credited"},
    ]
    value = json.dumps({"batch_id": "b", "receipts": receipts})
    (tmp_path / "desk" / "receipts.jsonl").write_text(json.dumps({"value": value}) + "\n")
    lines = list(kept_lines(world))
    password = world.postgres.dsn().partition("postgres:")[2].partition("@")[0]
    assert len(password) > 16
    assert password not in "\n".join(lines)
    assert f"dsn_file: {tmp_path / 'dsn'}" in lines
    for words in ("show", "failures"):
        assert any(f"gateway {words} --config {tmp_path / 'gateway.toml'}" in line for line in lines)
    assert any("gateway.toml 1-7 " in line for line in lines)


@pytest.mark.parametrize("content", [None, "", "[]", '{"processes": {"gateway": 5}}'])
def test_stopping_a_wrong_directory_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    """A mistyped directory, or one with a strange record, is named; there is no traceback and nothing is signalled."""
    if content is not None:
        (tmp_path / RECORD).write_text(content)
    assert main(["--stop", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert str(tmp_path) in said.err


def test_stop_ends_what_was_started_and_nothing_else(
    tmp_path: Path, sleeper: Child, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process id that meanwhile belongs to somebody else is left alone."""
    mine = {"pid": sleeper.pid, "birth": birth(sleeper.pid)}
    directory = record(tmp_path / "run", gateway={**mine, "birth": "1"}, run=GONE)
    assert main(["--stop", str(directory)]) == 0
    assert sleeper.running
    assert "nothing of" in capsys.readouterr().out
    assert main(["--stop", str(record(directory, gateway=mine, run=GONE))]) == 0
    assert birth(sleeper.pid) != mine["birth"]
    assert capsys.readouterr().out == "gateway ended\n"


def test_what_hinders_the_start_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that cannot be made ends the demonstration with what the system said, not with a traceback."""
    place = tmp_path / "file"
    place.touch()
    assert main(["--directory", str(place)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("demo: ")
    assert said.count("\n") == 1
    assert str(place) in said


def test_clean_removes_runs_that_are_over_and_no_others(tmp_path: Path, sleeper: Child) -> None:
    """A run that still runs, or that does not say, stays and is named; a link that leads nowhere goes."""
    over = record(tmp_path / "demo-001", gateway=GONE, run=GONE)
    (over / "postgres").mkdir()
    running = record(tmp_path / "demo-002", gateway=GONE, run={"pid": os.getpid(), "birth": birth(os.getpid())})
    kept = record(tmp_path / "demo-003", gateway={"pid": sleeper.pid, "birth": birth(sleeper.pid)}, run=GONE)
    silent = tmp_path / "demo-004"
    silent.mkdir()
    (tmp_path / LATEST).symlink_to("demo-001")
    left = remove_finished(tmp_path)
    assert not over.exists()
    assert [line.split(" ")[0] for line in left] == [str(running), str(kept), str(silent)]
    assert all(path.is_dir() for path in (running, kept, silent))
    assert not (tmp_path / LATEST).is_symlink()
