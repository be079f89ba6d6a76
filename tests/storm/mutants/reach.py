"""Which tests reach which lines and which named queries: who does not reach a mistake need not be asked about it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tests.storm.mutants.sample import Mutant


class Reach:
    """``with reach.of(test)`` notes what runs meanwhile, in every thread."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = {str(path) for path in files}
        self._seen: set[tuple[str, int]] = set()
        self.lines: dict[str, frozenset[tuple[str, int]]] = {}
        self.queries: dict[str, frozenset[str]] = {}
        self.seconds: dict[str, float] = {}  # of the test, never money

    @contextmanager
    def of(self, test: str) -> Iterator[None]:
        self._seen = set()
        sys.settrace(self._call)
        threading.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.lines[test] = frozenset(self._seen)

    def forget(self, test: str) -> None:
        """A test that is not green as it is says nothing."""
        self.lines.pop(test, None)
        self.queries.pop(test, None)
        self.seconds.pop(test, None)

    def tests(self, mutant: Mutant, root: Path) -> list[str]:
        """The tests that reach a mistake: first the fastest of each file, then the second of each, and so on."""
        if mutant.query:
            reaching = [test for test, names in self.queries.items() if mutant.query in names]
        else:
            lines = {(str(root / mutant.module), line) for line in range(mutant.first, mutant.last + 1)}
            reaching = [test for test, seen in self.lines.items() if lines & seen]
        return self.in_turn(reaching)

    def in_turn(self, tests: Iterable[str]) -> list[str]:
        rank: dict[str, int] = {}
        placed = []
        for test in sorted(tests, key=lambda one: self.seconds[one]):
            file = test.partition("::")[0]
            rank[file] = rank.get(file, 0) + 1
            placed.append((rank[file], self.seconds[test], test))
        return [test for _, _, test in sorted(placed)]

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._seen.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line
