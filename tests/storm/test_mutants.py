"""R21: the tests see what they are there to see: twelve mistakes that cost money, one after another, turn them red."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storm.mutants import tree
from tests.storm.mutants.named import NAMED, Mutant
from tests.storm.scale import FULL, figure
from tests.world.postgres import Server

SLICE = ("settling_ignored", "fence_ignored", "stale_order_obeyed")  # in every run; the others with the whole row


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree.copy(tmp_path_factory.mktemp("mutants") / "project")


@pytest.fixture(scope="module")
def dsn(postgres: Server) -> Iterator[str]:
    """The session's server, whose databases the copy makes and drops for itself."""
    name = "mutants"
    yield postgres.create_database(name, None)
    postgres.drop_database(name)


@pytest.mark.parametrize("mutant", NAMED, ids=[mutant.name for mutant in NAMED])
def test_a_mutant_stands_where_its_rule_stands(mutant: Mutant) -> None:
    """Each mutant changes text that is there exactly once, and changes it."""
    assert tree.find(tree.ROOT, mutant)
    assert mutant.new != mutant.old


def test_the_guards_are_green_in_the_real_build(copied: Path, dsn: str) -> None:
    """What turns red below is green where nothing is broken."""
    guards = {guard for mutant in NAMED if FULL or mutant.name in SLICE for guard in mutant.guards}
    done = tree.run(copied, tuple(sorted(guards)), dsn)
    assert done.green, done.tail


@pytest.mark.parametrize("mutant", NAMED, ids=[mutant.name for mutant in NAMED])
def test_a_mistake_that_costs_money_turns_its_guards_red(mutant: Mutant, copied: Path, dsn: str) -> None:
    """A test fails; that the broken build cannot be imported would be no proof."""
    if not FULL and mutant.name not in SLICE:
        pytest.skip("all twelve take minutes: `make storm-row ROW=mutants`")
    done = tree.run_broken(copied, mutant, dsn)
    assert done.red, f"{mutant.name} survived: {mutant.costs}\n{done.tail}"
    figure("R21", mutant=mutant.name, killed_by=done.killer)
