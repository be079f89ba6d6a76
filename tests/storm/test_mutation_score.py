"""R21: of the small mistakes that can be made in states, policy, store and its queries, the tests see most."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import Mock

import pytest

from tests.storm.mutants.ask import BEGINS, PATIENCE_SECONDS, Asking, Questions
from tests.storm.mutants.operators import places
from tests.storm.mutants.queries import exchanges
from tests.storm.mutants.sample import QUERIES, Mutant, Score, queries_named, score, wilson
from tests.storm.scale import FULL, SEED, figure

LEAST_SHARE: Final = 0.85  # of mutants, never money
MUTANTS: Final = 300
SMALL: Final = ("--only", "gateway/store/ids.py::payout_from_name")  # what every run of the tests asks about
SMALL_MUTANTS: Final = 6
SMALL_TESTS: Final = tuple(
    f"tests/unit/test_ids.py::{name}"
    for name in ("test_a_payout_s_name_and_key_are_one", "test_what_is_no_name_is_refused")
)
SUITE: Final = (
    *("tests/unit/test_states.py", "tests/unit/test_policy.py", "tests/unit/test_policy_names.py"),
    *("tests/unit/test_policy_reasons.py", "tests/unit/test_ids.py", "tests/unit/test_start.py", "tests/store"),
    *("tests/unit/test_admin.py", "tests/unit/test_cli_books.py", "tests/unit/test_cli_resume.py"),
    "tests/unit/test_refusing.py",
    *("tests/storm/test_power_loss.py", "tests/storm/test_disk_full.py"),
)
JUMPY: Final = "tests/storm/mutants/jumpy.py"
TOOTHLESS: Final = "tests/storm/mutants/toothless.py"
ROOT: Final = Path(__file__).parents[2]
LIMIT_SECONDS: Final = 4 * 3600


def asked(*arguments: str, seed: int) -> dict[str, Any]:
    """What a run of the questions came to; it prints each verdict."""
    command = [sys.executable, "-m", "tests.storm.mutants.ask", "--seed", str(seed), *arguments]
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1].get("how") in ("survived", "unreached"):
                print(line, end="", flush=True)
    assert process.returncode == 0
    assert lines[-1]["what"] == "score"
    return lines[-1]


def strong_enough(found: dict[str, Any]) -> bool:
    return bool(found["asked"]) and found["score"] >= LEAST_SHARE


def test_the_tests_see_a_handful_of_mistakes() -> None:
    """The machine works: all that can be planted in one function is seen by the two tests of that function."""
    found = asked(*SMALL, *SMALL_TESTS, seed=SEED)
    figure("R21", **found)
    assert (found["asked"], found["killed"]) == (SMALL_MUTANTS, SMALL_MUTANTS)
    assert strong_enough(found)


def test_a_suite_that_asks_nothing_is_caught() -> None:
    """The control: tests that run the same lines and assert nothing kill nothing, and the score says so."""
    found = asked(*SMALL, TOOTHLESS, seed=SEED)
    assert (found["asked"], found["killed"]) == (SMALL_MUTANTS, 0)
    assert not strong_enough(found)


def test_a_test_that_is_red_by_itself_counts_nothing_and_hides_nothing() -> None:
    """What fails in every child kills no mutant; the tests that it stands before are asked all the same."""
    alone = asked(*SMALL, JUMPY, seed=SEED)
    assert alone["killed"] == 0
    beside = asked(*SMALL, JUMPY, *SMALL_TESTS, seed=SEED)
    assert (beside["asked"], beside["killed"]) == (SMALL_MUTANTS, SMALL_MUTANTS)


@pytest.mark.skipif(not FULL, reason="300 mutants take many minutes: `make storm-row ROW=mutation_score`")
def test_the_tests_see_most_mistakes_about_money() -> None:
    """A fresh sample over every module and query: at least 85 % are seen. `STORM_SEED` draws a sample again."""
    seed = SEED if "STORM_SEED" in os.environ else secrets.randbelow(10**6)
    found = asked("--count", str(MUTANTS), *SUITE, seed=seed)
    figure("R21", **found)
    assert strong_enough(found), found


# --- What the figures rest on -----------------------------------------------------------------------------------------


def test_words_for_people_and_types_are_no_mistakes() -> None:
    """Nothing that could never matter is counted: it would be a survivor for ever."""
    source = '''
"""Words."""
log = get_logger("x")
def f(a: int | None = None) -> int | None:
    """Words."""
    log.info("words", count=1 + 1)
    return a
class Seen(Protocol):
    def g(self) -> int: ...
class Shown(Exception):
    def __init__(self) -> None:
        super().__init__("words")
    def __repr__(self) -> str:
        return "a" + "b"
def g(a, b):
    for one, other in zip(a, b, strict=True):
        h(max(one, other))
'''
    assert [one.change for one in places(source)] == [
        *("return a -> return None", "super().__init__('words') -> pass"),
        *("zip(a, b, strict=True) -> zip(b, a, strict=True)", "h(max(one, other)) -> pass"),
    ]


def test_each_operator_finds_its_place() -> None:
    """One line for each operator, and the function and lines that it names are those of the mistake."""
    source = "def f(a, b):\n    if a < b and not g(a, b):\n        raise E('words')\n    return a + 1\n"
    found = {(one.operator, one.first, one.function) for one in places(source)}
    assert found == {
        *(("comparison", 2, "f"), ("boolean", 2, "f"), ("turned", 2, "f"), ("swapped", 2, "f")),
        *(("left out", 3, "f"), ("returns nothing", 4, "f"), ("arithmetic", 4, "f"), ("constant", 4, "f")),
    }


def test_comments_parameters_and_limits_of_a_query_stay() -> None:
    """SQL is exchanged word by word: not in a comment, not $2, not a LIMIT."""
    text = "-- a = b\nWHERE 1 = a AND a <= $2 AND b = 'X' LIMIT 100"
    assert exchanges("q", "ctid >= $1 ctid < $2") == []
    assert [(one.old, one.new) for one in exchanges("q", text)] == [
        *(("1", "2"), ("=", "<>"), ("AND", "OR"), ("<=", "<"), ("AND", "OR"), ("=", "<>"), ("'X'", "''")),
    ]


def test_one_query_may_be_asked_about_alone() -> None:
    """By its name, as a function by its module's; a name that is no query is said, and never a score of nothing."""
    known = ["lock_bank", "sending_count", "submit_wait"]
    assert queries_named(["gateway/states.py"], known) == []
    assert queries_named(["gateway/states.py", f"{QUERIES}::submit_wait", f"{QUERIES}::lock_bank"], known) == known[::2]
    assert queries_named([f"{QUERIES}::lock_bank", QUERIES], known) == known
    with pytest.raises(ValueError, match="lock_banks"):
        queries_named([f"{QUERIES}::lock_banks"], known)


def test_what_a_function_answered_before_it_was_broken_is_forgotten() -> None:
    """A cached answer of the sound code would let every mistake in it survive."""
    program = """
from pathlib import Path
from gateway.store import engine
from tests.storm.mutants.operators import places
from tests.storm.mutants.plant import plant_in_function
path = Path(engine.__file__)
assert engine.migrations()
(wanted,) = [one for one in places(path.read_text()) if one.change == "return tuple(found) -> return None"]
plant_in_function(path, "migrations", wanted.number)
assert engine.migrations() is None
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)


def test_patience_is_for_each_test_and_not_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that goes on from test to test is waited for; one that stays in a test is not."""
    questions, child = Questions([], 1, 1, 1), Mock()
    ours, theirs = Pipe(duplex=False)
    child.kill.side_effect = theirs.close
    now = 1000.0
    monkeypatch.setattr("tests.storm.mutants.ask.time", SimpleNamespace(monotonic=lambda: now))
    asking = Asking(Mutant("m", "left out", "f() -> pass"), ["one", "two"], child, ours, now + PATIENCE_SECONDS)
    for test in asking.tests:
        now += PATIENCE_SECONDS - 1
        assert questions.heard(asking) is None
        theirs.send((BEGINS, test))
        assert questions.heard(asking) is None
    now += PATIENCE_SECONDS - 1
    assert questions.heard(asking) is None
    child.kill.assert_not_called()
    now += 2
    verdict = questions.heard(asking)
    assert verdict is not None
    assert (verdict.how, verdict.killed) == ("endless", True)


def test_a_score_weighs_modules_by_their_mutants() -> None:
    """A large module with survivors is not outvoted by a small one without; nothing asked is no score."""
    verdicts = [("small", True), ("small", True), ("large", True), ("large", False)]
    assert score(verdicts, {"small": 10, "large": 90}).share == pytest.approx(0.55)
    assert score([], {}) == Score(0, 0, 0.0, 0.0, 1.0)
    low, high = wilson(0.85, 300)
    assert (round(low, 3), round(high, 3)) == (0.805, 0.886)
