"""All mutants of the modules that decide about money, a seeded sample of them, and what a sample says of the whole."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.storm.mutants.operators import places
from tests.storm.mutants.queries import exchanges

ROOT = Path(__file__).parents[3]
QUERIES = "gateway/store/sql/queries"
LEAST_OF_A_MODULE = 2
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake. ``module`` is a path below the project; a query's mistake has ``query`` and its broken ``text``."""

    module: str
    operator: str
    change: str
    number: int = -1
    function: str = ""
    first: int = 0
    last: int = 0
    query: str = ""
    text: str = ""

    @property
    def traced(self) -> bool:
        """Whether it lies where a trace sees who reaches it; what is done at an import it sees once."""
        return bool(self.query or self.function)

    def __str__(self) -> str:
        where = self.query or f"{self.first} {self.function or 'module'}"
        return f"{self.module}:{where}: {self.operator}: {self.change}"


@dataclass(frozen=True, slots=True)
class Score:
    """``share`` of the asked mutants that were killed, each module weighted with its mutants; its interval (95 %)."""

    asked: int
    killed: int
    share: float  # of mutants, never money
    low: float
    high: float


def modules() -> list[str]:
    """States, policy and the store's modules, as paths below the project."""
    store = sorted((ROOT / "gateway/store").glob("*.py"))
    return ["gateway/states.py", "gateway/policy.py", *(str(path.relative_to(ROOT)) for path in store)]


def module_of(what: str) -> str:
    """Of ``gateway/store/ids.py::payout_id``, or of a query named the same way."""
    return what.partition("::")[0]


def queries_named(only: Iterable[str], known: Sequence[str]) -> list[str]:
    """The queries asked about: all that are known, or ``gateway/store/sql/queries::NAME``. ValueError for no query."""
    found: set[str] = set()
    for one in only:
        if module_of(one) == QUERIES:
            name = one.partition("::")[2]
            if name and name not in known:
                raise ValueError(f"no such query: {name}")
            found.update([name] if name else known)
    return [name for name in known if name in found]


def mutants_of(what: str) -> list[Mutant]:
    """Of a module, or of one function in it: ``gateway/store/ids.py::payout_id``."""
    module, function = module_of(what), what.partition("::")[2]
    source = (ROOT / module).read_text(encoding="utf-8")
    return [
        Mutant(module, one.operator, one.change, one.number, one.function, one.first, one.last)
        for one in places(source)
        if function in ("", one.function)
    ]


def mutants_of_queries(queries: Iterable[tuple[str, str]]) -> list[Mutant]:
    """Of (name, text) pairs."""
    return [
        Mutant(QUERIES, "query", f"{one.old} -> {one.new} in {one.place(text)}", query=name, text=one.text(text))
        for name, text in queries
        for one in exchanges(name, text)
    ]


def drawn(pools: Sequence[Sequence[Mutant]], count: int, seed: int) -> list[Mutant]:
    """About ``count`` mutants, from each pool in proportion to its size and never fewer than two."""
    chance = random.Random(seed)
    total = sum(map(len, pools))
    found: list[Mutant] = []
    for pool in pools:
        wanted = max(LEAST_OF_A_MODULE, round(count * len(pool) / max(total, 1)))
        found += chance.sample(list(pool), min(wanted, len(pool)))
    chance.shuffle(found)
    return found


def score(verdicts: Iterable[tuple[str, bool]], sizes: dict[str, int]) -> Score:
    """Of (module, killed) pairs and how many mutants each module has. Nothing asked is a score of nought."""
    asked: dict[str, list[bool]] = {}
    for module, killed in verdicts:
        asked.setdefault(module, []).append(killed)
    number = sum(map(len, asked.values()))
    weight = sum(sizes[module] for module in asked)
    if not number:
        return Score(0, 0, 0.0, 0.0, 1.0)
    share = sum(sizes[module] * sum(found) / len(found) for module, found in asked.items()) / weight
    low, high = wilson(share, number)
    return Score(number, sum(map(sum, asked.values())), share, low, high)


def wilson(share: float, number: int) -> tuple[float, float]:
    """Wilson's interval of a share seen in ``number`` trials, at 95 %."""
    middle = share + Z_95**2 / (2 * number)
    half = Z_95 * math.sqrt(share * (1 - share) / number + Z_95**2 / (4 * number**2))
    return (middle - half) / (1 + Z_95**2 / number), (middle + half) / (1 + Z_95**2 / number)
