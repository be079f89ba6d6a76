"""`make demo`: the main job on one machine, with everything around the gateway simulated, ending in a verdict.

PostgreSQL, a broker, four banks, an SMS centre, a finance desk and the gateway run as processes of their own under one
scaled clock. The desk publishes the county's list; lines fail, answers get lost, money comes back, the desk re-verifies
and orders again. When all of it has come to rest, an independent checker judges what the banks booked and what finance
heard. The very last line is one JSON object; the exit status is 1 when anything in it may not be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from tests.world.demo_screen import Screen, show_outcome
from tests.world.faults import BREACHES, HONEST
from tests.world.kept import stop
from tests.world.layout_sms import SMS_PROTOCOLS
from tests.world.plan import LIST, SCALE, Plan, fresh_directory, point_to_latest
from tests.world.postgres import execute
from tests.world.processes import ChildError, run_apart
from tests.world.report import Outcome, conclude, paid_again
from tests.world.run import Run, random_moments
from tests.world.world import World

EXPECTED = LIST.with_name("expected.csv")
LIMIT_SECONDS = 115
SECONDS_PER_KILL = 8  # what a crash may cost on top: a lease and a session have to run out
FIRST_KILL, LAST_KILL = 1.0, 30.0
INTERRUPTED = 130  # as a shell says it


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
    asked.add_argument("--sms", choices=SMS_PROTOCOLS, default="http_batch", help="how notices go to the SMS centre")
    asked.add_argument("--directory", type=Path, help="where to work; default: a new one below .demo/")
    asked.add_argument("--remove", action="store_true", help="remove the whole directory after a clean run")
    return asked


def plan_of(asked: argparse.Namespace) -> Plan:
    county = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": asked.lines}
    return Plan(
        directory=asked.directory.resolve() if asked.directory else fresh_directory(),
        lists=(county,),
        seed=asked.seed,
        scale=asked.scale,
        broker=asked.broker,
        faults=BREACHES if asked.breaches else HONEST,
        sms_protocol=asked.sms,
        outlives=asked.keep,
    )


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    if asked.stop is not None:
        return stop(asked.stop)
    console = Console()
    try:
        plan = plan_of(asked)
        if asked.directory is None and not asked.remove:
            point_to_latest(plan.directory)
        console.print(f"seed {plan.seed}, working in {plan.directory}", highlight=False, soft_wrap=True)
        return perform(World(plan), asked, console)
    except (OSError, ChildError) as error:  # no PostgreSQL, no list, a full disk, a child that died: said, not dumped
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def perform(world: World, asked: argparse.Namespace, console: Console) -> int:
    started = time.monotonic()
    try:
        world.start()
        rested = follow(world, asked, console)
        keep_metrics(world)
        if not asked.keep:
            world.stop()  # gently: what was only in memory is on the disk now, where the checker looks
        seconds = round(time.monotonic() - started)
        outcome = conclude(world, seconds, rested=rested, expected=EXPECTED, all_read=asked.breaches)
    except BaseException:
        world.stop()
        raise
    return finish(world, asked, console, outcome)


def follow(world: World, asked: argparse.Namespace, console: Console) -> bool:
    moments = random_moments(asked.seed, asked.kill, FIRST_KILL, LAST_KILL) if asked.kill else []
    limit = LIMIT_SECONDS + SECONDS_PER_KILL * asked.kill
    run = Run(world, kill_at=moments, limit_seconds=limit, await_statements=asked.breaches)
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
        for line in kept_lines(world):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    elif outcome.clean:  # what is left of a clean run is small, and enough to read up on it
        shutil.rmtree(world.directory if asked.remove else world.directory / "postgres")
    print(json.dumps(outcome.summary), flush=True)
    return 0 if outcome.clean else 1


def kept_lines(world: World) -> Iterator[str]:
    """Where everything is, and commands ready to be pasted. Passwords stay in their files."""
    for name, where in world.addresses().items():
        if name == "processes":  # without "run", which is this one and about to end
            where = ", ".join(f"{who} {one['pid']}" for who, one in where.items() if who != "run")
        yield f"{name}: {where}"
    gateway = Path(sys.executable).with_name("gateway")
    yield "look at it with:"
    yield f"    {gateway} show --config {world.config} 1"
    payout = paid_again(world.directory / "desk" / "receipts.jsonl")
    if payout is not None:
        yield f"    {gateway} show --config {world.config} {payout}    # failed or came back, and was paid again"
    yield f"    {gateway} failures --config {world.config}"
    yield "stop it with:"
    yield f"    {sys.executable} -m tests.world.demo --stop {world.directory}"


if __name__ == "__main__":
    sys.exit(main())
