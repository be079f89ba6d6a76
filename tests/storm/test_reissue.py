"""R20: a payout is paid again only after its last attempt is known to have failed; a late success stops everything."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from tests.storm import scale
from tests.storm.model.bugs import Patch, late_success_overwrites_failed, reissue_while_in_doubt
from tests.storm.model.machine import Violation, opened
from tests.storm.model.scenes import late_success, play
from tests.storm.model.world import World
from tests.storm.reissue.programme import Programme, Told
from tests.world.postgres import Server

SEEDS = scale.size(8, 300)
CONTROL_SEEDS = 40  # within which a broken build has to show itself
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yml"
CONFLICT = 'payout_payouts{bucket="conflict"}'
STALE, FROZEN, DOUBT = "STALE_ATTEMPT", "CONFLICT", "IN_DOUBT"


@pytest.fixture(scope="module")
def world(postgres: Server, migrated_template: str) -> Iterator[World]:
    """One database for all seeds."""
    with opened(postgres, migrated_template, "storm_reissue") as world:
        yield world


@pytest.fixture(scope="module")
def seasons(world: World) -> list[Told]:
    """Every seed played to its rest; a violation ends them all."""
    return [Programme(scale.SEED + number).play() for number in range(SEEDS)]


def test_no_payout_ever_has_two_attempts_that_may_pay(seasons: list[Told]) -> None:
    """Failures, orders (right, stale, doubled), late successes and crashes in any order break no invariant."""
    orders: Counter[str] = sum((told.orders for told in seasons), Counter())
    late, overtaken = sum(told.late for told in seasons), sum(told.overtaken for told in seasons)
    stopped, reissued = sum(told.stopped for told in seasons), sum(told.reissued for told in seasons)
    scale.figure(
        "R20", seeds=SEEDS, orders=dict(orders), reissued=reissued, late=late, overtaken=overtaken, stopped=stopped
    )
    # What did not happen was not proved.
    assert min(reissued, late, overtaken, orders[STALE], orders[FROZEN], orders[DOUBT]) > 0, orders
    assert stopped > 0, "no attempt was waiting when its payout was frozen"


def test_a_late_success_freezes_its_payout_and_nobody_elses(seasons: list[Told]) -> None:
    """Each payout that the bank paid after rejecting it is in conflict; no other is."""
    assert [told.frozen for told in seasons] == [told.late for told in seasons]


def test_a_late_success_is_on_the_gauge_that_pages(seasons: list[Told]) -> None:
    """As many payouts as are frozen stand in conflict on the metrics page, also of a process started afterwards."""
    assert [told.after[CONFLICT] for told in seasons] == [told.frozen for told in seasons]
    counted = [
        sum(value - told.before.get(name, 0) for name, value in told.after.items() if "bank" in name)
        for told in seasons
    ]
    assert counted == [told.frozen for told in seasons], "a page that a counter's increase raises as well"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_shipped_alert_fires_for_a_late_success_and_is_quiet_without(seasons: list[Told], tmp_path: Path) -> None:
    """PayoutConflict, evaluated by Prometheus's own tool over what each process exposed, says how many are frozen."""
    assert {bool(told.frozen) for told in seasons} == {True, False}, "both are needed"
    shutil.copyfile(RULES, tmp_path / "rules.yml")
    path = tmp_path / "seen.yml"
    tests = [_alert_test(told) for told in seasons]
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _alert_test(told: Told) -> dict[str, Any]:
    """Half an hour of what was exposed before, half an hour of what was exposed after."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    rule = next(rule for rule in rules if rule.get("alert") == "PayoutConflict")
    summary = rule["annotations"]["summary"].replace("{{ $value }}", str(told.frozen))
    fired = {"exp_labels": rule["labels"], "exp_annotations": {**rule["annotations"], "summary": summary}}
    series = [
        {"series": name, "values": f"{told.before.get(name, 0):g}x30 {value:g}x30"}
        for name, value in told.after.items()
        if "_total" in name or name == CONFLICT
    ]
    expected = {"eval_time": "60m", "alertname": "PayoutConflict", "exp_alerts": [fired] if told.frozen else []}
    return {"interval": "1m", "input_series": series, "alert_rule_test": [expected]}


@pytest.mark.parametrize("bug", [reissue_while_in_doubt, late_success_overwrites_failed], ids=lambda bug: bug.__name__)
def test_a_broken_build_is_found(world: World, bug: Patch) -> None:
    """A build that re-issues in doubt, and one in which a late success is a success, go wrong soon.

    The schema itself refuses a further attempt after none that failed, and a failure that becomes a success.
    """
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises((Violation, asyncpg.UniqueViolationError, asyncpg.RestrictViolationError)) as found:
            for number in range(CONTROL_SEEDS):
                Programme(scale.SEED + number).play()
    scale.figure("R20 control", build=bug.__name__, found_in_seed=number + 1, violation=str(found.value)[:200])


def test_a_late_success_that_overwrites_its_failure_is_refused(world: World) -> None:
    """Also where no further attempt exists whose uniqueness would stop it: the schema keeps what has failed failed."""
    play(late_success)
    with pytest.MonkeyPatch.context() as patch:
        late_success_overwrites_failed(patch)
        with pytest.raises(asyncpg.RestrictViolationError, match="a settled attempt is not undone"):
            play(late_success)
