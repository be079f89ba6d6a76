"""Asks the tests about mutants: one pytest session that runs its tests once, and then forks itself for each mutant.

    python -m tests.storm.mutants.ask --count 200 --seed 7 [--only gateway/states.py] tests/unit/test_states.py ...
    python -m tests.storm.mutants.ask --count 500 --only gateway/store/sql/queries::find_missing_entries tests/store

What costs time in mutation testing is to start again: interpreter, imports, collection, a server with a schema. Here
all of that stands when a mutant comes. The session runs each test once as it is (a test that is red then is asked
nothing), and notes which lines and queries it reaches. Then, for each mutant, a child of the session plants it and runs
the tests that reach it until one is red. What said no is asked again without the mutant, in a fresh child: only what is
green then, or ends then, has killed it, so a test that fails by itself on a crowded machine raises no score. That test
is asked no more (roles, say, belong to the whole server: no two children can make the same one); the others are. Lines
of JSON come out: a verdict each, and the score.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

import asyncpg
import pytest
from _pytest.runner import runtestprotocol

from gateway.store import engine
from tests.storm.mutants.plant import Queries, plant_in_function, plant_in_module
from tests.storm.mutants.reach import Reach
from tests.storm.mutants.sample import (
    QUERIES,
    ROOT,
    Mutant,
    drawn,
    module_of,
    modules,
    mutants_of,
    mutants_of_queries,
    queries_named,
    score,
)
from tests.world.postgres import Server
from tests.world.processes import run_apart

MOST_TESTS: Final = 300  # of one mutant, beside the quick ones: whoever is not killed by so many survives
QUICK_SECONDS: Final = 0.05  # of a test that needs no server
PATIENCE_SECONDS: Final = 60  # beyond ten times what a test took without it: whoever takes longer never ends
BEGINS: Final = "begins"  # a child's word before each of its tests; the others are a verdict's
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``how``: killed, endless (killed, too), survived, unreached (survived, too), unborn (counts nowhere)."""

    mutant: Mutant
    how: str
    killer: str = ""

    @property
    def killed(self) -> bool:
        return self.how in ("killed", "endless")


@dataclass(slots=True)
class Asking:
    """A child at work; without ``mutant`` planted when it checks how that was killed (``claim``)."""

    mutant: Mutant
    tests: list[str]
    child: BaseProcess
    answer: Connection
    until: float  # of the monotonic clock, never money
    claim: str = ""


class Questions:
    """The plugin. ``verdicts`` when its session is over."""

    def __init__(self, only: Sequence[str], count: int, seed: int, workers: int) -> None:
        self.only, self.count, self.seed, self.workers = only, count, seed, workers
        self.reach = Reach(ROOT / module_of(one) for one in only if module_of(one) != QUERIES)
        self.queries = Queries.installed()
        self.verdicts: list[Verdict] = []
        self.sizes: dict[str, int] = {}
        self.red: list[str] = []
        self._items: dict[str, pytest.Item] = {}
        self._template = ""
        self._server: Server | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        for item, following in zip(session.items, [*session.items[1:], *session.items[:1]], strict=True):
            self._as_it_is(item, following)
        sample = self._sample()
        say("asking", tests=len(self.reach.seconds), red=self.red, mutants=len(sample))
        for verdict in self._ask(sample):
            self.verdicts.append(verdict)
            say("verdict", how=verdict.how, mutant=str(verdict.mutant), killer=verdict.killer)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
        """Remember the session's server and the schema on it: children use them, statements are prepared there."""
        value = yield
        if fixturedef.argname == "postgres":
            self._server = value
        if fixturedef.argname == "migrated_template":
            self._template = value
        return value

    def _as_it_is(self, item: pytest.Item, following: pytest.Item) -> None:
        self.queries.forget()
        began = time.monotonic()
        with self.reach.of(item.nodeid):
            reports = runtestprotocol(item, log=False, nextitem=following)
        self.reach.seconds[item.nodeid] = time.monotonic() - began
        self.reach.queries[item.nodeid] = frozenset(self.queries.asked)
        if not all(report.passed for report in reports):
            self.red.append(item.nodeid)  # or skipped: it says nothing here
            self.reach.forget(item.nodeid)

    # --- Which ------------------------------------------------------------------------------------------------------

    def _sample(self) -> list[Mutant]:
        pools = [mutants_of(one) for one in self.only if module_of(one) != QUERIES]
        pools = [pool for pool in [*pools, self._prepared()] if pool]
        self.sizes = {pool[0].module: len(pool) for pool in pools}
        return drawn(pools, self.count, self.seed)

    def _prepared(self) -> list[Mutant]:
        """The mistakes in the queries asked about that PostgreSQL would not refuse at once."""
        if self._server is None or not self._template:
            return []
        names = [(name, engine.sql(name)) for name in queries_named(self.only, self.queries.names())]
        dsn = self._server.dsn(self._template)
        found: list[Mutant] = []

        async def keep() -> None:
            connection = await asyncpg.connect(dsn)
            try:
                for mutant in mutants_of_queries(names):
                    with contextlib.suppress(asyncpg.PostgresError):
                        await connection.prepare(mutant.text)
                        found.append(mutant)
            finally:
                await connection.close()

        run_apart(keep())
        return found

    # --- Asking -----------------------------------------------------------------------------------------------------

    def _ask(self, sample: Sequence[Mutant]) -> Iterator[Verdict]:
        waiting, asking = list(reversed(sample)), list[Asking]()
        while waiting or asking:
            while waiting and len(asking) < self.workers:
                mutant = waiting.pop()
                tests = self._tests(mutant)
                if tests:
                    asking.append(self._begin(mutant, tests))
                else:
                    yield Verdict(mutant, "unreached")
            wait([one.answer for one in asking], timeout=1)
            for one in list(asking):
                verdict = self.heard(one)
                if verdict is None:
                    continue
                asking.remove(one)
                if one.claim and not verdict.killed and one.mutant.traced and len(one.tests) == 1:
                    self.reach.forget(one.tests[0])
                    say("left aside", test=one.tests[0])
                    waiting.append(one.mutant)
                elif verdict.killed and not one.claim:
                    tests = [verdict.killer] if verdict.killer else one.tests
                    asking.append(self._begin(one.mutant, tests, claim=verdict.how))
                else:
                    yield verdict

    def _tests(self, mutant: Mutant) -> list[str]:
        if mutant.traced:
            return self._most(self.reach.tests(mutant, ROOT))
        # Read when the module is imported: whoever sits beside a test that enters it, one parameter of each.
        path = str(ROOT / mutant.module)
        entering = [test for test, seen in self.reach.lines.items() if any(file == path for file, _ in seen)]
        files = {test.partition("::")[0] for test in entering}
        beside = [test for test in self.reach.seconds if test.partition("::")[0] in files]
        one_of_each = {test.partition("[")[0]: test for test in beside}
        return self._most(self.reach.in_turn(one_of_each.values()))

    def _most(self, tests: list[str]) -> list[str]:
        """All that take next to nothing, and as many of the others as can be waited for."""
        slow = [test for test in tests if self.reach.seconds[test] >= QUICK_SECONDS]
        return [*(test for test in tests if self.reach.seconds[test] < QUICK_SECONDS), *slow[:MOST_TESTS]]

    def _begin(self, mutant: Mutant, tests: list[str], *, claim: str = "") -> Asking:
        ours, theirs = _FORK.Pipe(duplex=False)
        child = _FORK.Process(target=self._child, args=(None if claim else mutant, tests, theirs))
        child.start()
        theirs.close()
        return Asking(mutant, tests, child, ours, self._until(*tests), claim)

    def _until(self, *tests: str) -> float:  # of the monotonic clock, never money
        return time.monotonic() + PATIENCE_SECONDS + 10 * sum(self.reach.seconds.get(test, 0) for test in tests)

    def heard(self, one: Asking) -> Verdict | None:
        """What came of a child; None while it is at work."""
        if not one.answer.poll():
            if time.monotonic() < one.until:
                return None
            one.child.kill()
        try:
            how, what = one.answer.recv()
        except EOFError:
            how, what = "endless", ""  # killed, or it ended the whole process
        if how == BEGINS:
            one.until = self._until(what)
            return None
        one.child.join()
        one.answer.close()
        if one.claim:
            return Verdict(one.mutant, one.claim if how == "survived" else "survived", one.tests[0])
        return Verdict(one.mutant, how, what)

    def _child(self, mutant: Mutant | None, tests: list[str], answer: Connection) -> None:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        answer.send(self._run(mutant, tests, answer))
        answer.close()
        os._exit(0)  # the session's fixtures are the parent's

    def _run(self, mutant: Mutant | None, tests: list[str], answer: Connection) -> tuple[str, str]:
        if mutant is not None and mutant.query:
            self.queries.broken[mutant.query] = mutant.text
            self.queries.forget()
        elif mutant is not None and mutant.function:
            plant_in_function(ROOT / mutant.module, mutant.function, mutant.number)
        elif mutant is not None:
            return self._run_anew(mutant, tests)
        known = [test for test in tests if test in self._items]
        first = self._items[known[0]]
        first.session._setupstate.teardown_exact(first)  # what the session's last test left standing for its first one
        for test, following in zip(known, [*known[1:], *known[:1]], strict=True):
            answer.send((BEGINS, test))
            reports = runtestprotocol(self._items[test], log=False, nextitem=self._items[following])
            if any(report.failed for report in reports):
                return "killed", test
        return "survived", ""

    def _run_anew(self, mutant: Mutant, tests: list[str]) -> tuple[str, str]:
        """A session of its own, which imports the broken module. One that cannot be collected proves nothing."""
        plant_in_module(mutant.module.removesuffix(".py").replace("/", "."), ROOT / mutant.module, mutant.number)
        if self._server is not None:
            os.environ["TEST_POSTGRES_DSN"] = self._server.dsn()
        first = _FirstRed()
        functions = dict.fromkeys(
            test.partition("[")[0] for test in tests
        )  # a parameter may be named by what is broken
        code = pytest.main(["-x", "-p", "no:cacheprovider", *functions], plugins=[first])
        if code == pytest.ExitCode.OK:
            return "survived", ""
        return ("killed", first.test) if first.test else ("unborn", "")


class _FirstRed:
    def __init__(self) -> None:
        self.test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid


def say(what: str, **about: object) -> None:
    sys.__stdout__.write(json.dumps({"what": what, **about}, ensure_ascii=False) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def main() -> int:
    parser = argparse.ArgumentParser(prog="ask", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help=f"a module, or module::function; {QUERIES}, or that::query; else all and the queries",
    )
    parser.add_argument("tests", nargs="*")
    given = parser.parse_args()
    asked = Questions(given.only or [*modules(), QUERIES], given.count, given.seed, given.workers)
    with contextlib.redirect_stdout(sys.stderr):
        # Hundreds of children, and a server's directory for some of their tests: those of green ones are not kept.
        pytest.main(["-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=failed", *given.tests], plugins=[asked])
    born = [one for one in asked.verdicts if one.how != "unborn"]
    found = score(((one.mutant.module, one.killed) for one in born), asked.sizes)
    say(
        "score",
        seed=given.seed,
        mutants=sum(asked.sizes.values()),
        asked=found.asked,
        killed=found.killed,
        score=round(found.share, 3),
        interval=[round(found.low, 3), round(found.high, 3)],
        how=dict(Counter(one.how for one in asked.verdicts)),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
