"""R3: the real gateway over thirty days of virtual time, seed by seed, and what each day of a seed must leave true."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.storm import scale
from tests.storm.model.bugs import Patch
from tests.storm.simulation.builds import BUILDS
from tests.storm.simulation.timeline import CLOCK
from tests.storm.simulation.verdict import Outcome
from tests.storm.simulation.world import STILL, Simulation
from tests.world.postgres import Server, execute

SLICE = 16
REPLAYED = "STORM_SEED" in os.environ
ORDERED_AFTER_ITS_RECALL = 40  # a seed in which that order's attempt is not taken, and the core makes the next one
SEEDS = [scale.SEED] if REPLAYED else list(range(1, 1 + scale.size(SLICE, 1_000)))


@pytest.fixture(scope="module")
def simulation(postgres: Server, migrated_template: str) -> Iterator[Simulation]:
    """One database, whose clock is ours."""
    name = "storm_simulation"
    dsn = postgres.create_database(name, migrated_template)
    asyncio.run(execute(dsn, CLOCK + STILL))
    yield Simulation(dsn)
    postgres.drop_database(name)


def told(outcome: Outcome) -> str:
    """What went wrong, and how to see it again."""
    faults = "\n  ".join(outcome.faults)
    return f"seed {outcome.seed}, again by STORM_SEED={outcome.seed} make storm-row ROW=simulation:\n  {faults}"


def test_after_any_thirty_days_everything_comes_to_rest(simulation: Simulation) -> None:
    """Whatever is lost, repeated, cut off or killed: nobody is paid twice or missed, and a quiet day ends all doubt."""
    fired: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    failed = []
    begun = time.process_time()
    for seed in SEEDS:
        outcome = simulation.play(seed)
        fired.update(outcome.fired)
        for name in ("payouts", "transmissions", "returns", "reissues", "held", "conflicts", "transactions"):
            sums[name] += getattr(outcome, name)
        if outcome.faults:
            failed.append(told(outcome))
    if scale.FULL:
        took = int(time.process_time() - begun)
        scale.figure(
            "R3", seeds=len(SEEDS), failed=len(failed), cpu_seconds=took, **sums, fired=dict(sorted(fired.items()))
        )
    assert not failed, "\n".join(failed)
    if not REPLAYED:  # a proof in which nothing happened proves nothing
        assert min(fired[what] for what in ("cut", "end", "line", "stop", "Broker True", "database away")) > 0
        assert min(fired[what] for what in ("LOST_BEFORE", "LOST_MIDWAY", "LOST_AFTER", "LATE", "BUSY")) > 0
        assert min(fired[what] for what in ("called back unsent", "recalled", "recalled too late")) > 0
        assert min(sums["reissues"], sums["returns"], fired["corrected"], fired["corrected bank"]) > 0


def test_the_same_seed_is_the_same_history(simulation: Simulation) -> None:
    """Two runs of a seed are equal to the byte and the millisecond; another seed's are another history."""
    one, other = SEEDS[0], SEEDS[0] + 1
    first, second = simulation.play(one).digest, simulation.play(other).digest
    assert simulation.play(one).digest == first != second


def test_what_was_ordered_after_a_recall_is_paid_although_its_first_attempt_was_not_taken(
    simulation: Simulation,
) -> None:
    """The later order counts, also for what the core sends again in its name; the recall reaches back only."""
    outcome = simulation.play(ORDERED_AFTER_ITS_RECALL)
    assert outcome.faults == []
    assert min(outcome.fired["LINE_NOT_TAKEN"], outcome.fired["recalled too late"], outcome.reissues) > 0


@pytest.mark.parametrize("build", list(BUILDS), ids=[build.__name__ for build in BUILDS])
def test_a_broken_build_does_not_survive_its_month(simulation: Simulation, build: Patch) -> None:
    """The proof is worth something: a seed that the real gateway survives turns red in each broken build, by name."""
    seed, word = BUILDS[build]
    assert seed in range(1, SLICE + 1)  # whose seeds are green in the real gateway: see above
    with pytest.MonkeyPatch.context() as patch:
        build(patch)
        outcome = simulation.play(seed)
    assert any(word in fault for fault in outcome.faults), told(outcome)
