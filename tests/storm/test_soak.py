"""R19, second half: one gateway process pays list after list, and is at the end what it was when it was warm."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import counters, plan_of
from tests.storm.scale import FULL, figure, size
from tests.storm.soak import Blurred, Look, Soak, follow
from tests.world.processes import Child, python_module
from tests.world.world import World

PAYOUTS = size(2_000, 1_000_000)
LINES_PER_BATCH = size(100, 10_000)
# Business: in the slice lists come one by one, a second apart, so that each fifth of the run lasts for several looks.
LIST_EVERY_SECONDS = size(120, 0)
SCALE = size(120, 30)  # a million in the opening hours of one day
PATIENCE_SECONDS = size(240, 900)
# A share, never money. A process of a few seconds has not found its size yet, but a leak is larger than that.
MOST_DRIFT = 0.05 if FULL else 0.20


class Build(World):
    """A world whose gateway is the program of another module."""

    module = "gateway"

    def _child(self, name: str, argv: list[str]) -> Child:
        program = python_module(self.module) if name == "gateway" else argv[:3]
        return super()._child(name, [*program, *argv[3:]])


class Leaky(Build):
    module = "tests.storm.leaky"


def soaked(directory: Path, build: type[Build]) -> tuple[Soak, dict[str, int]]:
    """One run to its last receipt, and what the independent checker counts then."""
    plan = plan_of(directory, PAYOUTS, "best" if FULL else "embedded", LINES_PER_BATCH)
    lists = [{**one, "after_seconds": n * LIST_EVERY_SECONDS} for n, one in enumerate(plan.lists)]
    with build(dataclasses.replace(plan, lists=tuple(lists), scale=SCALE)) as world:
        soak = follow(world, PAYOUTS, PATIENCE_SECONDS)
        world.children["gateway"].stop()
        return soak, counters(world)


def faults(soak: Soak) -> list[str]:
    """Why a process may not run for ever; nothing is a clean run."""
    found = [] if soak.drift <= MOST_DRIFT else [f"memory grew by {soak.drift:.1%}"]
    return [*found, *([f"{len(soak.born)} series were born after the warm-up"] if soak.born else [])]


def told(soak: Soak) -> dict[str, Any]:
    early, late = soak.medians
    about = {"payouts": soak.payouts, "looks": len(soak.looks), "series": len(soak.looks[-1].series)}
    return about | {
        "born": len(soak.born),
        "mb_early": round(early),
        "mb_late": round(late),
        "mb_by_tenths": soak.tenths,
        "drift": f"{soak.drift:.1%}",
    }


def test_a_gateway_that_pays_for_long_stays_what_it_was(tmp_path: Path) -> None:
    """Memory and series after warming up and at the end are the same, and the checker counts zero of seven."""
    soak, seen = soaked(tmp_path / "world", Build)
    figure("R19", **told(soak), counters=seen)
    assert not any(seen.values())
    assert faults(soak) == []


@pytest.mark.skipif(FULL, reason="a leak of a million receipts is not needed to see one")
def test_a_build_that_leaks_is_caught(tmp_path: Path) -> None:
    """The control: it pays as well as the other, and both its leaks are seen."""
    soak, seen = soaked(tmp_path / "world", Leaky)
    figure("R19 control", **told(soak))
    assert not any(seen.values())
    assert [fault.partition(" ")[0] for fault in faults(soak)] == ["memory", f"{len(soak.born)}"]


def looks(*megabytes: int, series: tuple[str, ...] = ("a",)) -> Soak:
    return Soak(10, looks=[Look(done, size_, frozenset(series)) for done, size_ in enumerate(megabytes)])


def test_one_look_at_a_bad_moment_is_no_drift() -> None:
    """Medians: what is given back does not count, what stays does."""
    assert looks(50, 80, 100, 100, 100, 100, 100, 100, 100, 300, 100).drift == pytest.approx(0)
    assert looks(50, 80, 100, 100, 100, 100, 100, 100, 110, 110, 110).drift == pytest.approx(0.1)


@pytest.mark.parametrize("begin", [2, 8])
def test_a_fifth_that_was_hardly_seen_is_said_to_be_blurred(begin: int) -> None:
    """A run that jumps over a fifth between two looks has neither drift nor none: too little was seen."""
    soak = looks(*[100] * 11)
    soak.looks = [look for look in soak.looks if not begin < look.done <= begin + 2]
    with pytest.raises(Blurred, match=f"1 of 9 looks in the fifth from {begin * 10}%"):
        _ = soak.drift


def test_a_series_born_late_is_named() -> None:
    """What appeared while the process warmed up is its own; what appears after that is a label that grows."""
    soak = looks(*[100] * 11)
    assert soak.born == frozenset()
    soak.looks.append(Look(9, 100, frozenset({"a", "b"})))
    assert soak.born == {"b"}
