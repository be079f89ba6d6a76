"""`make demo`: the main job on one machine, with everything around the gateway simulated, ending in a verdict.

PostgreSQL, a broker, two banks, an SMS centre, a finance desk and the gateway run as processes of their own under one
scaled clock. The desk publishes the county's list; lines fail, answers get lost, money comes back, the desk re-verifies
and orders again. When all of it has come to rest, an independent checker judges what the banks booked and what finance
heard. The very last line is one JSON object; the exit status is 1 when anything in it may not be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.world.demo_screen import Screen, show_outcome
from tests.world.plan import BREACHES, HONEST, LIST, SCALE, Plan, fresh_directory
from tests.world.postgres import execute
from tests.world.processes import birth, run_apart
from tests.world.report import Outcome, conclude
from tests.world.run import Run, random_moments
from tests.world.world import World

EXPECTED = LIST.with_name("expected.csv")
LIMIT_SECONDS = 115
SECONDS_PER_KILL = 8  # what a crash may cost on top: a lease and a session have to run out
FIRST_KILL, LAST_KILL = 1.0, 30.0


def parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--keep", action="store_true", help="leave everything running and print the addresses")
    asked.add_argument("--stop", type=Path, metavar="DIRECTORY", help="end what --keep left running, and nothing else")
    asked.add_argument("--lines", type=int, default=0, help="only the first lines of the list; 0 = all")
    asked.add_argument("--scale", type=int, default=SCALE, help="business seconds in a real second")
    asked.add_argument("--seed", type=int, default=1, help="the same seed asks for the same faults")
    asked.add_argument("--kill", type=int, default=0, help="kill the gateway so often, at random moments of the seed")
    asked.add_argument("--breaches", action="store_true", help="now and then a bank breaks its word")
    asked.add_argument("--broker", choices=("embedded", "best"), default="embedded", help="best: Apache Kafka if there")
    asked.add_argument("--directory", type=Path, help="where to work; default: a new one below .demo/")
    asked.add_argument("--remove", action="store_true", help="remove the whole directory after a clean run")
    return asked


def plan_of(asked: argparse.Namespace) -> Plan:
    county = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": asked.lines}
    return Plan(
        directory=asked.directory or fresh_directory(),
        lists=(county,),
        seed=asked.seed,
        scale=asked.scale,
        broker=asked.broker,
        faults=BREACHES if asked.breaches else HONEST,
        outlives=asked.keep,
    )


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    if asked.stop is not None:
        return stop(asked.stop)
    console = Console()
    started = time.monotonic()
    plan = plan_of(asked)
    console.print(f"seed {plan.seed}, working in {plan.directory}", highlight=False, soft_wrap=True)
    world = World(plan)
    try:
        world.start()
        rested = follow(world, asked, console)
        keep_metrics(world)
        if not asked.keep:
            world.stop()  # gently: what was only in memory is on the disk now, where the checker looks
        outcome = conclude(world, round(time.monotonic() - started), rested=rested, expected=EXPECTED)
    except BaseException:
        world.stop()
        raise
    return finish(world, asked, console, outcome)


def follow(world: World, asked: argparse.Namespace, console: Console) -> bool:
    moments = random_moments(asked.seed, asked.kill, FIRST_KILL, LAST_KILL) if asked.kill else []
    run = Run(world, kill_at=moments, limit_seconds=LIMIT_SECONDS + SECONDS_PER_KILL * asked.kill)
    with Screen(console) as screen:
        return asyncio.run(run.to_rest(screen.show))


def keep_metrics(world: World) -> None:
    """A dump of what the gateway exposes, for the scan; and the database's pages on the disk, for the same reason."""
    page = None
    for _ in range(100):  # the gateway may just have been killed
        page = run_apart(world.get("/metrics"))
        if page is not None and "payout_payouts{" in page:
            break
        time.sleep(0.1)
    (world.directory / "metrics.txt").write_text(page or "")
    run_apart(execute(world.postgres.dsn("payout"), "CHECKPOINT"))


def finish(world: World, asked: argparse.Namespace, console: Console, outcome: Outcome) -> int:
    show_outcome(console, outcome)
    if asked.keep:
        for name, where in world.addresses().items():
            shown = ", ".join(f"{who} {one['pid']}" for who, one in where.items()) if name == "processes" else where
            console.print(f"{name}: {shown}", highlight=False, soft_wrap=True, markup=False)
        console.print(f"stop it with: {sys.executable} -m tests.world.demo --stop {world.directory}", soft_wrap=True)
    elif outcome.clean:  # what is left of a clean run is small, and enough to read up on it
        shutil.rmtree(world.directory if asked.remove else world.directory / "postgres")
    print(json.dumps(outcome.summary), flush=True)
    return 0 if outcome.clean else 1


def stop(directory: Path) -> int:
    """End the processes of a kept run by their ids, each only while it is still the process that was started."""
    known: dict[str, dict[str, Any]] = json.loads((directory / "world.json").read_text())
    for name in ("desk", "gateway", "sms", "rcc_file", "json_https", "kafka", "postgres"):
        process = known["processes"].get(name)
        if process is None or birth(process["pid"]) != process["birth"]:
            continue
        os.kill(process["pid"], signal.SIGINT if name == "postgres" else signal.SIGTERM)
        deadline = time.monotonic() + 20
        while birth(process["pid"]) == process["birth"] and time.monotonic() < deadline:
            time.sleep(0.05)
        print(f"{name} ended" if birth(process["pid"]) != process["birth"] else f"{name} does not end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
