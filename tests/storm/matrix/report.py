"""What `make storm` says to people: what comes and how long it takes, one line a cell as it ends, and a verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tests.storm.matrix.controls import Verdict
from tests.storm.matrix.play import Result
from tests.storm.matrix.recovery import BOUND_SECONDS
from tests.world.broker import Broker

_HEAD = f"{'cell':<20} {'fired':>6} {'kills':>5} {'payouts':>7} {'recovery p99':>12} {'time':>6}  counters"
_TIMELINE_LINES = 120


def say(text: str = "") -> None:
    print(text, flush=True)


def say_what_comes(cells: int, controls: int, kills: int, seed: int, broker: Broker, minutes: int) -> None:
    kind = {"jvm": "Apache Kafka on a JVM", "docker": "Apache Kafka in a container"}.get(broker.kind, broker.kind)
    say(f"storm: {cells} cells with {kills} kills each, {controls} sabotaged builds, seed {seed}")
    say(f"Kafka is {kind}{': ' + broker.limits.reason if broker.limits.reason else ''}")
    say(f"about {minutes} minutes on two quiet cores")
    if cells:
        say()
        say(_HEAD)


def say_skipped(name: str, reason: str) -> None:
    say(f"{name:<20} skipped: {reason}")


def say_result(result: Result, seed: int) -> None:
    counters = " ".join(f"{name}={count}" for name, count in result.counters.items()) or "none"
    fired = result.fired or sum(result.proof.values())
    figures = f"{fired:>6} {result.kills:>5} {result.payouts:>7} {result.recovery_p99:>10.1f} s {result.seconds:>4} s"
    say(f"{result.cell:<20} {figures}  {counters}{'  RED' if result.faults else ''}")
    about = [result.what, *(f"{name} {count}" for name, count in result.proof.items()), *result.notes]
    say(f"    {'; '.join(about)}")
    for fault in result.faults:
        say(f"    FAULT: {fault}")
    if result.timeline:
        lines = result.timeline.splitlines()
        say(textwrap.indent("\n".join(lines[:_TIMELINE_LINES]), "    | "))
    if result.directory is not None:
        say(f"    kept: {result.directory}; replay: make storm CELL={result.cell} SEED={seed}")


def say_controls(verdicts: Sequence[Verdict]) -> None:
    if verdicts:
        say()
        say(f"{'sabotaged build':<24} {'in cell':<18} {'caught':>6} {'kills':>5} {'time':>6}  counters")
    for one in verdicts:
        counters = " ".join(f"{name}={count}" for name, count in one.counters.items() if count) or "all zero"
        caught = "yes" if one.red else "NO"
        say(f"{one.bug:<24} {one.cell:<18} {caught:>6} {one.kills:>5} {one.seconds:>4} s  {counters}")
        if not one.red:
            say(f"    FAULT: a build that is broken on purpose passed: {one.why_not}")


def say_verdict(
    results: Sequence[Result], verdicts: Sequence[Verdict], skipped: Sequence[str], *, whole: bool = False
) -> None:
    """The one line that a summary of a run should show. A whole of which a part was not played proves nothing."""
    failed = [result.cell for result in results if result.faults]
    green = [one.bug for one in verdicts if not one.red]
    say()
    parts = []
    if failed or green:
        parts.append(f"FAILED in {', '.join([*failed, *green])}")
    if whole and skipped:
        parts.append(f"NOT THE WHOLE: {', '.join(skipped)} not played for want of Apache Kafka 4")
    if parts:
        say(f"storm: {'; '.join(parts)}")
        return
    if results:
        kills = sum(result.kills for result in results)
        parts.append(f"{len(results)} cells clean through {kills} kills, recovery within {BOUND_SECONDS} s")
    if verdicts:
        parts.append(f"{len(verdicts)} of {len(verdicts)} sabotaged builds caught")
    if skipped:
        parts.append(f"NOT PLAYED: {', '.join(skipped)}")
    say(f"storm: {'; '.join(parts)}")
