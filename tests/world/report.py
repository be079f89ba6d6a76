"""What a run came to: three independent counts that must agree, the expected refusals, and the checker's verdict.

The gateway's own word (its gauges, and its batch reports where it issued any) is compared with the receipts as finance
read them and with the money as the banks booked it. None of the three is trusted alone.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.world.desk_hostile import EXPECTED
from tests.world.layout_banks import BANKS
from tests.world.processes import PROJECT, ChildError
from tests.world.world import World, parse_metrics

RESTING = ("credited", "failed", "cancelled")
STATES = (*RESTING, "in_doubt", "conflict")
OPEN = ("awaiting_funds", "queued", "in_flight")


@dataclass(slots=True)
class Heard:
    """The receipts of a run, each counted once."""

    refused: dict[tuple[str, int], str] = field(default_factory=dict)  # (batch, line) -> reason
    standing: Counter[str] = field(default_factory=Counter)  # payouts by what finance heard last
    outcomes: Counter[str] = field(default_factory=Counter)  # receipts about attempts, by outcome
    late: int = 0
    receipts: int = 0


def read_receipts(path: Path) -> Heard:
    heard = Heard()
    latest: dict[tuple[str, int], str] = {}
    seen: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        chunk = json.loads(json.loads(line)["value"])
        for receipt in chunk["receipts"]:
            if receipt["receipt_id"] in seen:
                continue
            seen.add(receipt["receipt_id"])
            key = (chunk["batch_id"], receipt["line"])
            if receipt["attempt"] == 0:
                heard.refused[key] = receipt["reason"]
                continue
            heard.outcomes[receipt["outcome"]] += 1
            heard.late += receipt["outcome"] == "credited" and receipt["late"]
            latest[key] = "failed" if receipt["outcome"] == "returned" else receipt["outcome"]
    heard.standing.update(latest.values())
    heard.receipts = len(seen)
    return heard


def paid_again(path: Path) -> str | None:
    """A payout worth looking at: money that came back and was then credited again; else one that failed at first."""
    heard: dict[str, set[str]] = {}
    credited_later: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        for receipt in json.loads(json.loads(line)["value"])["receipts"]:
            name = receipt["payout_id"]
            if name is None:
                continue
            heard.setdefault(name, set()).add(receipt["outcome"])
            if receipt["attempt"] > 1 and receipt["outcome"] == "credited":
                credited_later.add(name)
    by_number = sorted(credited_later, key=lambda name: [int(part) for part in name.split("-")])
    return next((name for name in by_number if "returned" in heard[name]), by_number[0] if by_number else None)


@dataclass(slots=True)
class Outcome:
    """Everything the last line says, and what does not fit together."""

    summary: dict[str, Any]
    faults: list[str]  # why the run failed, for people
    expected: str  # how the refused lines compare with what was expected
    checker: str  # what the checker printed

    @property
    def clean(self) -> bool:
        return not self.faults


def check(
    world: World, *, at_rest: bool = True, scan: bool = True, all_read: bool = False
) -> tuple[dict[str, Any], str]:
    """The checker over everything on disk, as a program of its own: its last line, and all it printed before."""
    desk = world.directory / "desk"
    command = [sys.executable, "-m", "tests.world.checker", "--inputs", str(desk / "inputs")]
    for bank in BANKS:
        command += ["--ledger", str(world.directory / bank / "ledger.sqlite")]
    for option, name in (("receipts", "receipts"), ("reports", "batch-reports"), ("refusals", "refusals")):
        command += [f"--{option}", str(desk / f"{name}.jsonl")]
    if (world.directory / "metrics.txt").exists():
        command += ["--metrics", str(world.directory / "metrics.txt")]
    command += ["--sms", str(world.directory / "sms" / "ledger.sqlite")]
    places = (world.logs, world.directory / "postgres", *sorted(world.directory.glob("metrics*.txt")))
    for place in places if scan else ():
        command += ["--scan", str(place)]
    command += [] if at_rest else ["--running"]
    command += ["--all-read"] if all_read else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    *printed, last = done.stdout.splitlines() or [""]
    if not last.startswith("{"):
        raise ChildError(f"the checker ended with status {done.returncode}: {done.stderr[-1000:]}")
    return dict(json.loads(last)), "\n".join(printed)


def conclude(
    world: World, seconds: int, *, rested: bool, expected: Path | None = None, all_read: bool = False
) -> Outcome:
    """Read everything once more, compare, and say what the run came to. ``all_read``: the run waited for every word
    of the banks (``Run.await_statements``), so that none of them may be left unread."""
    heard = read_receipts(world.directory / "desk" / "receipts.jsonl")
    verdict, printed = check(world, at_rest=rested, all_read=all_read)
    status = world.desk_status()
    told, differs = gateway_says(status, parse_metrics((world.directory / "metrics.txt").read_text()))
    wrong, hostile = compare_hostile(world.directory / "desk")
    summary = {
        "lines": status["lines"],
        "refused": len(heard.refused),
        "approved": told["approved"],
        **{name: told[name] for name in STATES},
        "reissued": verdict["reissued"],
        "returned": verdict["returns"],
        "notices": verdict["sms"]["messages"],
        "receipts": heard.receipts,
        "late": heard.late,
        "bank_broke_word": verdict["bank_broke_word"],
        "seconds": seconds,
        "counters": verdict["counters"],
    }
    faults = [*differs, *([] if rested else ["the run did not come to rest in its time"])]
    faults += [f"{name} is {count}" for name, count in verdict["counters"].items() if count]
    faults += [*verdict["problems"], *wrong]
    faults += list(disagreements(summary, told, heard, verdict))
    differences, compared = (
        compare_refusals(heard, expected, status["lines"]) if expected is not None else (0, "not compared")
    )
    if differences:
        faults.append(compared)
    return Outcome(summary, faults, f"{compared}; {hostile}", printed)


def gateway_says(status: dict[str, Any], metrics: dict[str, dict[str, float]]) -> tuple[dict[str, int], list[str]]:
    """Payouts by bucket: from the gauges, and, where every batch has its final report, the same from the reports.

    A batch with a frozen or undecided payout has none before its deadline, so the reports cannot be the only source.
    """
    gauges = metrics.get("payout_payouts", {})
    told = {name: round(gauges.get(f'bucket="{name}"', 0)) for name in (*STATES, *OPEN)}
    told["approved"] = sum(told.values())
    final = [report for report in status["reports"].values() if report["kind"] == "FINAL"]
    differs: list[str] = []
    if len(final) == status["lists"]:
        for name, count in told.items():
            reported = sum(report[name]["count"] for report in final)
            if reported != count:
                differs.append(f"{name}: {reported} by the final reports, {count} by the gauges")
    elif not told["conflict"] + told["in_doubt"]:
        differs.append(f"{len(final)} final reports for {status['lists']} batches")
    return told, differs


def disagreements(
    summary: dict[str, Any], told: dict[str, int], heard: Heard, verdict: dict[str, Any]
) -> Iterator[str]:
    """Where the identity does not close, by the gateway's reports, by the receipts, or by the banks' money."""
    if summary["lines"] != summary["refused"] + summary["approved"]:
        yield "lines are not refused and approved together"
    closed = sum(told[name] for name in (*STATES, *OPEN))
    if closed != summary["approved"]:
        yield f"the gateway accounts for {closed} of {summary['approved']} approved payouts"
    unsettled = told["conflict"] + told["in_doubt"] + sum(told[name] for name in OPEN)
    sources = {"receipts": dict(heard.standing), "banks and orders": verdict["standing"]}
    for source, standing in sources.items():
        # A frozen payout still counts where its receipts or its money say; it can only make a count too large.
        for name in RESTING:
            surplus = standing.get(name, 0) - told[name]
            if not 0 <= surplus <= unsettled:
                yield f"{name}: {told[name]} by the gateway, {standing.get(name, 0)} by {source}"
        if sum(standing.values()) > summary["approved"]:
            yield f"more payouts by {source} than were approved"
    if (verdict["payouts"], verdict["refused"]) != (summary["approved"], summary["refused"]):
        yield f"the checker approves {verdict['payouts']} lines and refuses {verdict['refused']}"
    if heard.outcomes["returned"] != verdict["returns"]:
        yield f"{heard.outcomes['returned']} returned receipts for {verdict['returns']} returns"


def compare_hostile(directory: Path) -> tuple[list[str], str]:
    """Each message that nobody may believe against the refusal it was answered with, by the digest of its bytes."""
    answered: dict[str, set[str]] = {}
    for line in (directory / "refusals.jsonl").read_text(encoding="utf-8").splitlines():
        refusal = json.loads(json.loads(line)["value"])
        answered.setdefault(refusal["digest"], set()).add(refusal["reason"])
    wrong: list[str] = []
    sent = 0
    for path in sorted((directory / "inputs").glob("[0-9]*.json")):
        about = json.loads(path.read_text())
        if not about["identity"].startswith("hostile-"):
            continue
        sent += 1
        kind = about["identity"].removeprefix("hostile-")
        digest = hashlib.sha256(path.with_suffix(f".{about['kind']}").read_bytes()).hexdigest()
        if answered.get(digest) != {EXPECTED[kind]}:
            wrong.append(f"hostile message {kind}: answered {sorted(answered.get(digest, set())) or 'by nothing'}")
    return wrong, f"{sent - len(wrong)} of {sent} hostile messages were refused for the expected reason"


def compare_refusals(heard: Heard, expected: Path, lines: int) -> tuple[int, str]:
    """Line by line, the code before the colon; lines beyond a shortened list are left out."""
    wanted: dict[int, str] = {}
    with expected.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["outcome"] == "refuse" and int(row["line"]) <= lines:
                wanted[int(row["line"])] = row["reason"].partition(":")[0]
    got = {line: reason for (_, line), reason in heard.refused.items()}
    different = sorted(line for line in wanted.keys() | got.keys() if wanted.get(line) != got.get(line))
    if not different:
        return 0, f"all {len(wanted)} refused lines are the expected ones, each for the expected reason"
    shown = ", ".join(f"{line} ({got.get(line, 'paid')}, not {wanted.get(line, 'paid')})" for line in different[:10])
    return len(different), f"{len(different)} lines differ from what was expected: {shown}"
