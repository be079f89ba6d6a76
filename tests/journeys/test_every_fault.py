"""Everything that four simulated banks can do wrong, each at one in ten: nobody is paid twice, missed or told wrongly.

Some of it pauses a bank (a refusal for form or signature), and a pause outlives a restart: whenever a bank is paused,
the gateway is killed and started again, and an operator resumes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.bank.ledger import read_only
from tests.world.demo import EXPECTED, keep_metrics
from tests.world.faults import PARTS, Faults, broken_word, every_fault
from tests.world.layout_banks import BANKS
from tests.world.plan import LIST, Plan
from tests.world.report import Outcome, conclude
from tests.world.run import Run
from tests.world.world import World

LINES = 200
LIMIT_SECONDS = 300
# A bank that credits what it refused leaves nothing open to wait for: what it publishes last is read by then.
BREACHES_READ_SECONDS = 15


def run_with(
    faults: Faults, directory: Path, seed: int, *, steady_seconds: int = 2, await_statements: bool = False
) -> tuple[Outcome, Mapping[str, set[str]]]:
    """What a run came to, and by bank the faults that really fired."""
    county: dict[str, Any] = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": LINES}
    plan = Plan(directory=directory, lists=(county,), seed=seed, faults=faults)
    with World(plan) as world:
        run = Run(
            world,
            lift_pauses=True,
            limit_seconds=LIMIT_SECONDS,
            steady_seconds=steady_seconds,
            await_statements=await_statements,
        )
        rested = asyncio.run(run.to_rest())
        keep_metrics(world)
        world.stop()
        outcome = conclude(world, 0, rested=rested, expected=EXPECTED, all_read=await_statements)
        fired = {bank: set(_fired(world.directory / bank)) for bank in BANKS}
    return outcome, fired


def _fired(directory: Path) -> list[str]:
    ledger = read_only(directory)
    try:
        return [name for (name,) in ledger.execute("SELECT DISTINCT fault FROM faults")]
    finally:
        ledger.close()


@pytest.mark.parametrize("part", range(PARTS))
def test_every_honest_fault_at_one_in_ten(tmp_path: Path, part: int) -> None:
    """A quarter of all faults at a time, one in ten each: all comes to rest, seven counters zero, no word broken."""
    outcome, fired = run_with(every_fault(part), tmp_path / "world", seed=part + 21)
    assert outcome.faults == [], outcome.checker
    assert not any(outcome.summary["counters"].values())
    assert outcome.summary["bank_broke_word"] == 0
    assert all(fired[bank] & every_fault(part).banks[bank].keys() for bank in BANKS)


def test_every_broken_word_at_one_in_ten(tmp_path: Path) -> None:
    """Banks that break their word, or never decide: counted apart, frozen and paged, and seven counters zero."""
    outcome, fired = run_with(
        broken_word(),
        tmp_path / "world",
        seed=31,
        steady_seconds=BREACHES_READ_SECONDS,
        # The ISO 20022 bank's results carry no amounts: that it paid another one stands in its statement alone.
        await_statements=True,
    )
    assert outcome.faults == [], outcome.checker
    assert not any(outcome.summary["counters"].values())
    assert outcome.summary["bank_broke_word"] > 0
    assert outcome.summary["conflict"] >= outcome.summary["bank_broke_word"]
    assert all(fired[bank] & broken_word().banks[bank].keys() for bank in BANKS)
