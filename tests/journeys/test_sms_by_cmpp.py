"""The main job with its notices by CMPP 3.0: everybody is told once, free of charge, and the money does not notice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.world.demo import EXPECTED, keep_metrics
from tests.world.faults import HONEST
from tests.world.plan import LIST, Plan
from tests.world.report import check, conclude
from tests.world.run import Run
from tests.world.sms_ledger import breaches, read_only
from tests.world.world import World

LINES = 250
LIMIT_SECONDS = 240


def test_the_world_tells_its_people_by_cmpp(tmp_path: Path) -> None:
    """All comes to rest with all counters zero; one SMS each, of right words, and no receiver ever billed."""
    county = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": LINES}
    plan = Plan(directory=tmp_path / "world", lists=(county,), seed=21, faults=HONEST, sms_protocol="cmpp")
    with World(plan) as world:
        rested = asyncio.run(Run(world, limit_seconds=LIMIT_SECONDS).to_rest())
        keep_metrics(world)
        world.stop()
        outcome = conclude(world, 0, rested=rested, expected=EXPECTED)
        verdict, _ = check(world)
    assert outcome.faults == []
    assert not any(outcome.summary["counters"].values())
    told = verdict["sms"]
    assert told["messages"] >= LINES * 3 // 4  # refused lines and lost SUBMITs aside
    wrong = ("twice", "wrong_number", "without_credit", "billed_receiver", "would_bill")
    assert {name: told[name] for name in wrong} == dict.fromkeys(wrong, 0)
    with read_only(world.directory / "sms") as ledger:
        assert breaches(ledger) == 0
        protocols = ledger.execute("SELECT DISTINCT protocol FROM messages").fetchall()
        assert [tuple(row) for row in protocols] == [("CMPP",)]
        assert ledger.execute("SELECT count(*) FROM events WHERE code IN ('WINDOW', 'SEQUENCE')").fetchone()[0] == 0
