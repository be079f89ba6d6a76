"""R5, its own logic: a cell whose fault did not fire is red, a control that passes is red, nothing is averaged away.

The cells themselves are `make storm`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bank import programme
from tests.storm.matrix import __main__ as matrix
from tests.storm.matrix import controls
from tests.storm.matrix.bugs import BUGS
from tests.storm.matrix.cells import CELLS, KILLS, named
from tests.storm.matrix.play import Result, idle, missing, total
from tests.storm.matrix.troubles import TROUBLES, jumps_read
from tests.world.broker import EMBEDDED_LIMITS, Limits
from tests.world.processes import PROJECT

ZERO = dict.fromkeys(("DP", "MP", "AC", "RX", "BR", "UB", "PII"), 0)


def test_the_matrix_has_every_fault_of_the_scorecard_and_twenty_kills() -> None:
    """Eleven cells, none without a kill, and each but the first with a fault that has to be proved."""
    assert len(CELLS) == 11
    assert KILLS >= 20
    assert [cell.name for cell in CELLS if not (cell.trouble or cell.proof)] == ["none"]
    assert {cell.trouble for cell in CELLS if cell.trouble} == set(TROUBLES)


def test_every_proof_names_a_fault_that_a_bank_of_the_cell_can_have() -> None:
    """What is looked for in the ledgers is asked for in the cell's rates, of a bank whose manual has it."""
    tables = (programme.LINE_OUTCOMES, programme.SUBMISSION_FAULTS, programme.RESULT_FAULTS, programme.QUERY_FAULTS)
    able = {name: banks for table in tables for name, banks in table.items()}
    for cell in CELLS:
        for name in cell.proof:
            assert [bank for bank, rates in cell.rates.items() if rates.get(name) and bank in able[name]], name


@pytest.mark.parametrize(
    ("cell", "fired", "proof", "red"),
    [
        ("none", 0, {}, False),
        ("kafka_restart", 3, {}, False),
        ("kafka_restart", 2, {}, True),
        ("accept_then_hang", 0, {"timeout_after_accept": 3}, False),
        ("accept_then_hang", 0, {"timeout_after_accept": 2}, True),
        ("truncated_results", 0, {"result_truncated": 9, "short_answer": 9, "query_short": 0}, True),
        ("clock_jump", 6, {"not_found_until_settled": 9, "forwards": 3, "backwards": 3}, False),
        ("clock_jump", 0, {"not_found_until_settled": 9, "forwards": 0, "backwards": 0}, True),
        ("clock_jump", 9, {"not_found_until_settled": 0, "forwards": 5, "backwards": 4}, True),
        ("clock_jump", 9, {"not_found_until_settled": 9, "forwards": 9, "backwards": 0}, True),
        ("clock_jump", 9, {"not_found_until_settled": 9, "forwards": 7, "backwards": 2}, True),
        ("clock_jump", 9, {"not_found_until_settled": 9, "forwards": 2, "backwards": 7}, True),
        ("clock_jump", 9, {"not_found_until_settled": 2, "forwards": 5, "backwards": 4}, True),
        ("zombie", 2, {}, True),
        ("disk_full", 2, {}, True),
    ],
)
def test_a_fault_that_did_not_fire_makes_its_cell_red(cell: str, fired: int, proof: dict[str, int], red: bool) -> None:
    """Each named fault must have fired at least once, and all of them, or the trouble, the least that the cell asks."""
    assert bool(missing(named(cell), fired, proof)) is red


@pytest.mark.parametrize(
    ("credited", "kills", "ready", "timed", "red"),
    [
        (400, 20, 18, 5, False),
        (0, 20, 18, 5, True),
        (400, 20, 0, 0, True),
        (400, 20, 9, 9, True),
        (400, 20, 18, 4, True),
        (400, 0, 0, 0, False),
    ],
)
def test_a_world_in_which_nothing_happens_proves_nothing(
    credited: int, kills: int, ready: int, timed: int, red: bool
) -> None:
    """Zero counters of a gateway that pays nobody, or of kills after which nobody looked or worked, are no verdict."""
    assert bool(idle(credited, kills, ready, timed)) is red


def test_the_last_line_is_the_sum_of_the_cells() -> None:
    """Kills, payouts and counters are added, recoveries are put together before the rank is taken."""
    one = Result("none", "", kills=20, payouts=480, recoveries=[1.0] * 50, counters=ZERO)
    two = Result("poison", "", kills=20, payouts=480, recoveries=[9.0], counters={**ZERO, "RX": 2})
    figures = total([one, two])
    assert figures == {
        "kills": 40,
        "cells": 2,
        "payouts": 960,
        "recovery_p99_seconds": 9.0,
        "counters": {**ZERO, "RX": 2},
    }


class Kafka:
    """A broker that nobody starts."""

    kind = "none"

    def __init__(self, limits: Limits) -> None:
        self.limits = limits


def verdict_of(
    monkeypatch: pytest.MonkeyPatch,
    faults: list[str],
    red: bool,
    arguments: tuple[str, ...] = ("--quick",),
    limits: Limits | None = None,
) -> tuple[int, list[str]]:
    """The exit status, and what was said."""

    def play(cell: object, **_: object) -> Result:
        return Result("none", "", kills=6, payouts=1, recoveries=[1.0], counters=ZERO, faults=list(faults))

    said: list[str] = []
    monkeypatch.setattr(matrix, "play", play)
    monkeypatch.setattr(matrix, "select_broker", lambda _: Kafka(limits or Limits()))
    monkeypatch.setattr(controls, "run", lambda control, _: controls.Verdict(control.bug, control.cell, red=red))
    monkeypatch.setattr("builtins.print", lambda text="", **_: said.append(str(text)))
    return matrix.main(arguments), said


def test_a_clean_matrix_with_red_controls_is_the_only_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 0 needs every cell clean and every sabotaged build caught; the line says how many were."""
    status, said = verdict_of(monkeypatch, [], red=True)
    figures = json.loads(said[-1])
    count = sum(control.quick for control in controls.CONTROLS)
    assert (status, figures["controls_red"]) == (0, f"{count}/{count}")
    assert list(figures) == ["kills", "cells", "payouts", "recovery_p99_seconds", "counters", "controls_red"]
    assert verdict_of(monkeypatch, ["kafka struck 0 times, not 3"], red=True)[0] == 1
    status, said = verdict_of(monkeypatch, [], red=False)
    assert (status, json.loads(said[-1])["controls_red"]) == (1, f"0/{count}")


def test_a_whole_of_which_a_cell_was_not_played_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Apache Kafka 4 a cell and its control are left out: the whole fails and says which, a slice does not."""
    status, said = verdict_of(monkeypatch, [], red=True, arguments=(), limits=EMBEDDED_LIMITS)
    assert status == 1
    assert said[-2] == "storm: NOT THE WHOLE: zombie, no_fence_asked not played for want of Apache Kafka 4"
    assert json.loads(said[-1])["skipped"] == ["zombie", "no_fence_asked"]
    assert verdict_of(monkeypatch, [], red=True, arguments=())[0] == 0
    assert verdict_of(monkeypatch, [], red=True, limits=EMBEDDED_LIMITS)[0] == 0
    status, said = verdict_of(monkeypatch, [], red=True, arguments=("--cell", "zombie"), limits=EMBEDDED_LIMITS)
    assert (status, said[-2]) == (0, "storm: NOT PLAYED: zombie")


def test_every_sabotaged_build_is_a_control() -> None:
    """Five bugs, each with the cell that must find it; the slice of the gate has one of them at least."""
    assert {control.bug for control in controls.CONTROLS} == set(BUGS)
    assert len(BUGS) == 5
    assert {control.cell for control in controls.CONTROLS} >= {cell.name for cell in CELLS if cell.slow}
    assert any(control.quick for control in controls.CONTROLS)
    assert all(named(control.cell) for control in controls.CONTROLS)


def test_a_bent_clock_is_read_by_the_process_and_says_so(tmp_path: Path) -> None:
    """`build.py` moves business and real time of its process by what the file says, and writes down each jump."""
    program = (
        "import pathlib, sys, time\n"
        "from tests.storm.matrix.build import bend_clock\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "bend_clock(path)\n"
        "from gateway.clock import Clock\n"
        "clock, before = Clock(), time.time()\n"
        "path.write_text('7200')\n"
        "print(round(time.time() - before, -1), round(clock.wall().timestamp() - before, -1))\n"
        "path.write_text('0')\n"
        "print(round(time.time() - before, -1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "clock")],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert done.stdout.split() == ["7200.0", "7200.0", "0.0"]
    assert (tmp_path / "clock.read").read_text().split() == ["7200", "0"]
    assert jumps_read(tmp_path / "clock.read") == {"forwards": 1}
