"""R1: lists come in, four banks pay, nothing goes wrong: every fen that was signed arrives once, where it was to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.bench.__main__ import plan_of
from tests.storm import to_the_fen
from tests.storm.matrix.bugs import MISCOUNTS
from tests.storm.matrix.street import Street
from tests.storm.scale import FULL, SEED, figure, size
from tests.world.demo import keep_metrics
from tests.world.layout_banks import BANKS
from tests.world.plan import Plan
from tests.world.report import check, conclude
from tests.world.run import Run

LISTS = size(4, 50)
LINES = size(50, 2_000)  # of a list
SCALE = 60  # slow: what is due within a bank's hour stays within it on a machine that has other things to do
LIMIT_SECONDS = size(120, 2_400)  # real; a bound for what is broken, not a promise
CONTROL_LISTS, CONTROL_LINES = 1, 24
# Real, as they ship: nobody hangs here, and what a slow machine answers late is still an answer.
CHANNEL = {
    "connect_timeout_milliseconds": 5_000,
    "silence_timeout_milliseconds": 20_000,
    "total_timeout_milliseconds": 60_000,
}
SFTP = {"connect_timeout_seconds": 20, "call_timeout_seconds": 60}
PATIENCE = {
    "banks.rcc_file.settings.sftp": SFTP,
    "banks.iso20022.settings.sftp": SFTP,
    "banks.json_https.settings.http": CHANNEL,
    "banks.xml_tcp.settings.tcp": CHANNEL,
}
# What each broken build has to be found by: here, and by the checker where that is its business.
FOUND_BY = {
    "amounts_exchanged": ({"paid another amount", "told of another amount"}, "AC"),
    "line_left_out": ({"never sent", "not paid", "not told", "sides that add up to another sum"}, "MP"),
    "paid_short": ({"paid another amount", "told of another amount", "sides that add up to another sum"}, "AC"),
}


def plan(directory: Path, lists: int, lines: int) -> Plan:
    """The whole runs on Apache Kafka where it is there, the slice on the broker that starts at once."""
    of_bench = plan_of(directory, lists * lines, "best" if FULL else "embedded", lines)
    timing = {**of_bench.gateway["timing"], "bank_call_seconds": 120}
    return replace(of_bench, scale=SCALE, seed=SEED, gateway={**of_bench.gateway, **PATIENCE, "timing": timing})


@dataclass(frozen=True, slots=True)
class Count:
    """What a world came to, counted twice."""

    faults: list[str]  # by the checker, the gateway's own word and the receipts
    counters: dict[str, int]
    sides: to_the_fen.Sides
    differences: dict[str, int]
    broker: str


def play(plan: Plan, bug: str = "") -> Count:
    """A world until it is at rest, and what is in it then."""
    with Street(plan, bug=bug) as world:
        run = Run(world, limit_seconds=LIMIT_SECONDS, await_notices=False)
        rested = asyncio.run(run.to_rest())
        keep_metrics(world)
        world.stop()
        if bug:
            assert rested, "the build did not come to rest"
            verdict, _ = check(world)
            faults, counters = list(verdict["problems"]), verdict["counters"]
        else:
            outcome = conclude(world, 0, rested=rested)
            faults, counters = outcome.faults, outcome.summary["counters"]
        sides = to_the_fen.read(plan.directory)
        return Count(faults, counters, sides, to_the_fen.differences(sides), world.broker.kind)


def one_payout(**paid: object) -> to_the_fen.Sides:
    """Three sides that agree about one person, but for what of the payment is given."""
    sides = to_the_fen.Sides({"person": to_the_fen.Due("batch", 1, "rcc_file", "name", "account", 12_345)})
    agreed = to_the_fen.Paid("rcc_file", "name", frozenset({"account"}), frozenset({12_345}), 12_345, "reference")
    sides.paid["person"] = [replace(agreed, **paid)]  # type: ignore[arg-type]
    sides.sent["person"] = 1
    sides.told["batch", 1] = [{"outcome": "credited", "amount": "123.45", "reference": "reference"}]
    return sides


@pytest.mark.parametrize(
    ("paid", "kinds"),
    [
        ({}, set()),
        ({"bank": "xml_tcp"}, {"paid at another bank"}),
        ({"name": "other"}, {"paid under another name"}),
        ({"accounts": frozenset({"account", "other"})}, {"paid to another account"}),
        ({"amounts_fen": frozenset({12_345, 12_344})}, {"paid another amount"}),
        ({"credited_fen": 12_344}, {"sides that add up to another sum"}),
        ({"reference": "other"}, {"told under another reference"}),
    ],
)
def test_each_difference_between_list_and_ledger_is_found(paid: dict[str, object], kinds: set[str]) -> None:
    """The comparison by itself: what is asked for and what is booked each have to be what was signed."""
    assert to_the_fen.differences(one_payout(**paid)).keys() == kinds


def test_what_only_one_side_knows_is_found() -> None:
    """Sent twice, told twice, paid twice, and everything about a person whom no list has."""
    sides = one_payout()
    sides.sent["person"] = 2
    sides.paid["person"] *= 2
    sides.told["batch", 1] *= 2
    kinds = {"sent more than once", "paid more than once", "told more than once", "sides that add up to another sum"}
    assert to_the_fen.differences(sides).keys() == kinds
    sides = one_payout()
    sides.due.clear()
    kinds = {"paid to nobody on a list", "sent for nobody on a list", "told of nothing signed"}
    assert to_the_fen.differences(sides).keys() == {*kinds, "sides that add up to another sum"}


def test_every_fen_that_was_signed_arrives_once_where_it_was_to(tmp_path: Path) -> None:
    """By person: one credit, with the signed amount, account, name and bank, and one receipt that says so."""
    count = play(plan(tmp_path / "world", LISTS, LINES))
    figure(
        "R1",
        broker=count.broker,
        payouts=len(count.sides.due),
        lists=len({due.batch for due in count.sides.due.values()}),
        banks=count.sides.payouts_at(),
        **count.sides.totals_fen(),
        differences=sum(count.differences.values()),
        counters=count.counters,
    )
    assert count.faults == []
    assert not any(count.counters.values())
    assert count.differences == {}
    assert len(count.sides.due) == LISTS * LINES
    assert count.sides.payouts_at().keys() == set(BANKS)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, marks=pytest.mark.skipif(not FULL and build != "amounts_exchanged", reason="STORM=1"))
        for build in MISCOUNTS
    ],
)
def test_a_build_that_miscounts_and_agrees_with_itself_is_caught(tmp_path: Path, build: str) -> None:
    """Controls: a line left out, a fen too little, two amounts exchanged; red in both counts, for that reason only."""
    kinds, counter = FOUND_BY[build]
    count = play(plan(tmp_path / "world", CONTROL_LISTS, CONTROL_LINES), build)
    figure("R1", control=build, differences=count.differences, counters=count.counters)
    assert count.differences.keys() == kinds
    assert count.counters[counter] > 0
