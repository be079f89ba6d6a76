"""`make bench N=100000`: the whole pipeline at full speed, the floor under it, and one line of JSON.

Everything runs on this machine: the broker (Apache Kafka on a JVM where Java and Maven are, else the embedded one),
PostgreSQL with fsync, both simulated banks, the SMS centre, the finance desk and one gateway. The clock that business
time follows runs 120 times faster, so that a bank's minute of processing lasts half a second. The run ends when the
desk has every receipt and every person an SMS; the independent checker then counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.lists import LINES_PER_BATCH, write_lists
from tests.bench.processes import cpu_seconds, peak_megabytes
from tests.world.faults import NO_FAULTS
from tests.world.layout_banks import BANKS
from tests.world.plan import Plan
from tests.world.processes import PROJECT, run_apart
from tests.world.world import World

SCALE = 120
PATIENCE_SECONDS = 600
POLL_SECONDS = 0.25
PREFIX = "payout."


def plan_of(directory: Path, payouts: int, broker: str, lines_per_batch: int = LINES_PER_BATCH) -> Plan:
    """Four banks that do nothing wrong, and nothing that slows anybody down on purpose."""
    return Plan(
        directory=directory,
        lists=tuple(write_lists(directory / "lists", payouts, lines_per_batch)),
        scale=SCALE,
        broker=broker,
        faults=NO_FAULTS,
        hostile=False,
        repeat_rate=0,
        bank={"processing_seconds": 60, "keep_payload": False},
        gateway={
            "timing": {
                "idle_milliseconds": 30,
                "watch_milliseconds": 2_000,
                "lease_seconds": 15,
                "collect_milliseconds": 100,
            },
            "kafka": {"session_timeout_seconds": 10},
            "database": {"max_connections": 8},
            "log": {"level": "WARNING"},
        },
    )


def run(world: World, payouts: int) -> dict[str, Any]:
    """From the first byte published to the last receipt and SMS."""
    everybody = {name: child.pid for name, child in world.everybody().items()}
    before = {name: cpu_seconds(pid) for name, pid in everybody.items()}
    begun = time.monotonic()
    shown = 0
    while True:
        heard = world.desk_status().get("receipts", {})
        done = sum(heard.get(outcome, 0) for outcome in ("credited", "failed", "refused"))
        sent = _sent(world)
        if done >= payouts and sent >= heard.get("credited", 0):
            break
        if time.monotonic() - begun > PATIENCE_SECONDS or not world.children["gateway"].running:
            raise SystemExit(f"not finished: {done} receipts, {sent} SMS of {payouts}")
        if done - shown >= payouts / 10:
            shown = done
            print(f"{done} of {payouts} after {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - begun
    spent = {name: cpu_seconds(pid) - before[name] for name, pid in everybody.items()}
    each = ", ".join(f"{name} {value * 1e6 / payouts:.0f}" for name, value in sorted(spent.items()))
    print(f"CPU us a payout: {each}", file=sys.stderr, flush=True)
    return {
        "seconds": seconds,
        "cpu_seconds": spent["gateway"] + spent["postgres"],
        "rss_mb_peak": round(peak_megabytes(everybody["gateway"]), 1),
    }


def _sent(world: World) -> int:
    notices = run_apart(world.metrics()).get("payout_notices_total", {})
    return int(sum(value for labels, value in notices.items() if 'outcome="sent"' in labels))


def floor(world: World) -> dict[str, Any]:
    """The floor, in a process of its own, on the same broker and the same PostgreSQL."""
    postgres = world.everybody()["postgres"].pid
    before = cpu_seconds(postgres)
    command = [sys.executable, "-m", "tests.bench.floor", "--prefix", PREFIX]
    command += ["--dsn", world.postgres.dsn("payout"), "--bootstrap", world.broker.bootstrap]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result["cpu_seconds"] += cpu_seconds(postgres) - before
    return result


def counters(world: World) -> dict[str, int]:
    """What the independent checker counts."""
    command = [sys.executable, "-m", "tests.world.checker", "--inputs", str(world.directory / "desk" / "inputs")]
    for bank in BANKS:
        command += ["--ledger", str(world.directory / bank / "ledger.sqlite")]
    command += ["--receipts", str(world.directory / "desk" / "receipts.jsonl")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    for text in reversed(done.stdout.splitlines()):
        if text.startswith("{"):
            found: dict[str, int] = json.loads(text)["counters"]
            if any(found.values()):
                print(done.stdout, file=sys.stderr)  # which payouts or files: names and places, nobody's data
            return found
    raise SystemExit(f"the checker failed: {done.stderr[-500:]}")


def measure(payouts: int, broker: str) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(prefix="payout-bench-"))
    try:
        with World(plan_of(directory, payouts, broker)) as world:
            measured = run(world, payouts)
            world.children["gateway"].stop()
            bottom = floor(world)
            seen = counters(world)
            kind = world.broker.kind
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    rate, floor_rate = payouts / measured["seconds"], bottom["payouts"] / bottom["seconds"]
    cost, floor_cost = measured["cpu_seconds"] * 1e6 / payouts, bottom["cpu_seconds"] * 1e6 / bottom["payouts"]
    return {
        "payouts": payouts,
        "seconds": round(measured["seconds"], 1),
        "payouts_per_second": round(rate),
        "floor_per_second": round(floor_rate),
        "ratio": round(rate / floor_rate, 3),
        "cpu_us_per_payout": round(cost, 1),
        "floor_cpu_us_per_payout": round(floor_cost, 1),
        "cpu_ratio": round(cost / floor_cost, 2),
        "rss_mb_peak": measured["rss_mb_peak"],
        "broker": kind,
        "counters": seen,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--payouts", type=int, default=100_000)
    parser.add_argument("--broker", choices=("best", "embedded"), default="best")
    given = parser.parse_args()
    result = measure(given.payouts, given.broker)
    print(json.dumps(result), flush=True)
    return 0 if not any(result["counters"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
