"""R2: the real store and states, checked step by step against a bank whose ledger is the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.storm.model.backends import until_gone
from tests.storm.model.bugs import BUGS, Patch
from tests.storm.model.life import CountedEngine
from tests.storm.model.machine import Payouts, Violation, opened
from tests.storm.model.scenes import REFUSALS, SCENES, Scene, play
from tests.storm.model.world import TABLES, World
from tests.world.postgres import Server

LONG = "STORM_MODEL_EXAMPLES" in os.environ  # `make storm-model`
EXAMPLES = int(os.environ.get("STORM_MODEL_EXAMPLES", "60"))
STEPS = 40  # of which about half find something to do
REFUSED = asyncpg.IntegrityConstraintViolationError  # the schema is an invariant as well: "one live attempt"
BOUND = 300  # examples within which a planted bug has to be found


def check(examples: int, *phases: Phase, derandomize: bool = True) -> None:
    run_state_machine_as_test(
        Payouts,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize=derandomize,
            database=None,
            deadline=None,
            phases=phases or (Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.fixture(scope="module")
def world(postgres: Server, migrated_template: str) -> Iterator[World]:
    """One database for all examples of this module."""
    with opened(postgres, migrated_template, "storm_model") as world:
        yield world


def test_whatever_happens_nobody_is_paid_twice_or_missed(world: World) -> None:
    """No order of answers, silences, crashes and orders breaks an invariant, and everything comes to rest."""
    Payouts.examples = 0
    check(EXAMPLES, derandomize=not LONG)


@pytest.mark.parametrize(("bug", "scene"), list(zip(BUGS, SCENES, strict=True)), ids=[bug.__name__ for bug in BUGS])
def test_a_planted_bug_breaks_its_own_invariant(world: World, bug: Patch, scene: Scene) -> None:
    """The shortest story of each bug breaks the invariant that forbids it in the broken build, none in the real one.

    Two are refused by the schema before money could show them: they are told to their end without its triggers as well.
    """
    assert bug.__name__ == scene.__name__
    play(scene)
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        if scene in REFUSALS:
            with pytest.raises(REFUSED, match=REFUSALS[scene]):
                play(scene)
        with world.without_triggers("attempts"), pytest.raises(Violation) as found:
            play(scene)
    assert any(fault.startswith(SCENES[scene]) for fault in found.value.faults), found.value


@pytest.mark.skipif(not LONG, reason="the search for planted bugs takes minutes: `make storm-model`")
@pytest.mark.parametrize("bug", BUGS, ids=[bug.__name__ for bug in BUGS])
def test_a_planted_bug_is_found(world: World, bug: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    """The check is worth something: each of the broken builds breaks an invariant within a bounded search."""
    Payouts.examples = 0
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises((Violation, REFUSED)) as found:
            check(BOUND, Phase.generate)
    with capsys.disabled():
        print(f"\n{bug.__name__}: example {Payouts.examples}: {str(found.value).partition(chr(10))[0]}")


async def test_a_cut_connection_is_waited_for_and_one_that_was_never_used_is_not(database: str) -> None:
    """A process that stands still while it connects keeps nobody waiting; a backend that stays is named."""
    witness, connecting, cut = [await asyncpg.connect(database) for _ in range(3)]
    living = await CountedEngine.connect(database)
    try:
        async with living.connection() as connection:
            await connection.fetchval("SELECT 1")
        await until_gone(witness, [living])
        await cut.fetchval("SELECT 1")
        with pytest.raises(TimeoutError, match=str(cut.get_server_pid())):
            await until_gone(witness, [living], within_seconds=0.2)
        cut.terminate()
        await until_gone(witness, [living])
    finally:
        living.cut()
        for one in (witness, connecting, cut):
            one.terminate()


async def test_an_example_begins_with_empty_books(database: str) -> None:
    """Every table of the migrations is emptied between two examples, those that come with the next migration too."""
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    assert {row["tablename"] for row in rows} - {"schema_migrations"} == set(TABLES)
