"""`make storm`: every cell, one after another, and the builds that must not pass; the last line is for machines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.storm.matrix import controls, report
from tests.storm.matrix.cells import CELLS, KILLS, QUICK_KILLS, Cell, named
from tests.storm.matrix.play import Result, play, total
from tests.storm.scale import SEED
from tests.world.broker import Broker, select_broker

CELL_SECONDS, QUICK_SECONDS, CONTROL_SECONDS = 170, 60, 50  # about, on two cores


def parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(prog="storm", description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--quick", action="store_true", help="a slice of at most five minutes")
    asked.add_argument("--seed", type=int, default=SEED, help="the same seed kills and fails alike")
    asked.add_argument("--cell", help="only this one, without the controls; or a control's name")
    asked.add_argument(
        "--kills", type=int, default=0, help=f"in each cell; default {KILLS}, {QUICK_KILLS} with --quick"
    )
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    broker = select_broker(Path("unused"))
    cells, broken = chosen(asked.cell, asked.quick)
    kills = asked.kills or (QUICK_KILLS if asked.quick else KILLS)
    seconds = len(cells) * (QUICK_SECONDS if asked.quick else CELL_SECONDS) + len(broken) * CONTROL_SECONDS
    report.say_what_comes(len(cells), len(broken), kills, asked.seed, broker, seconds // 60 + 1)
    results: list[Result] = []
    skipped: list[str] = []
    for cell in cells:
        if can_be_played(cell, broker):
            results.append(play(cell, seed=asked.seed, kills=kills))
            report.say_result(results[-1], asked.seed)
        else:
            report.say_skipped(cell.name, broker.limits.reason)
            skipped.append(cell.name)
    red: list[controls.Verdict] = []
    for control in broken:
        if can_be_played(named(control.cell), broker):
            red.append(controls.run(control, asked.seed))
        else:
            report.say_skipped(control.bug, broker.limits.reason)
            skipped.append(control.bug)
    report.say_controls(red)
    figures = total(results) | {"controls_red": f"{sum(one.red for one in red)}/{len(red)}"}
    if skipped:
        figures["skipped"] = skipped
    good = all(not result.faults for result in results) and all(one.red for one in red)
    whole = not asked.quick and asked.cell is None
    report.say_verdict(results, red, skipped, whole=whole)
    print(json.dumps(figures), flush=True)
    return 0 if good and not (whole and skipped) else 1


def can_be_played(cell: Cell, broker: Broker) -> bool:
    return broker.limits.several_consumers or not cell.needs_kafka


def chosen(name: str | None, quick: bool) -> tuple[list[Cell], list[controls.Control]]:
    """The cells and controls that are asked for."""
    if name is None:
        return (
            [cell for cell in CELLS if cell.quick or not quick],
            [control for control in controls.CONTROLS if control.quick or not quick],
        )
    control = [control for control in controls.CONTROLS if control.bug == name]
    return ([], control) if control else ([named(name)], [])


if __name__ == "__main__":
    sys.exit(main())
