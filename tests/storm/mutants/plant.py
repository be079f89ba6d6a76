"""Puts one mistake into the running process: nothing on the disk changes, and nothing is started again for it.

A mistake inside a function is planted by giving the function its broken code; one in a named query by answering with
its broken text. A table or a constant is made when its module is imported: that one needs the module read anew, which
``Anew`` does for whoever imports it next.
"""

from __future__ import annotations

import ast
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from functools import _lru_cache_wrapper
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from gateway.store import engine
from tests.storm.mutants.operators import mutated


class NotPlanted(Exception):
    """The function to be broken is nowhere in this process."""


class Queries:
    """Stands in front of the named queries: notes which were asked for, and answers with a broken text if told so."""

    def __init__(self) -> None:
        self._real = engine._queries()
        self.asked: set[str] = set()
        self.broken: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        if name in self.broken:
            return SimpleNamespace(sql=self.broken[name])
        return getattr(self._real, name)

    @classmethod
    def installed(cls) -> Queries:
        queries = cls()
        vars(engine)["_queries"] = lambda: queries
        engine.sql.cache_clear()
        return queries

    def names(self) -> list[str]:
        return [name for name in self._real.available_queries if not name.endswith("_cursor")]

    def forget(self) -> None:
        """Begin a new note of who asks."""
        self.asked.clear()
        engine.sql.cache_clear()


def plant_in_function(path: Path, function: str, number: int) -> None:
    """Give the outermost function around mistake ``number`` its broken code. NotPlanted if it is not there."""
    outermost = function.partition(".<locals>")[0]
    broken = compile(mutated(path.read_text(encoding="utf-8"), number), str(path), "exec")
    codes = {code.co_firstlineno: code for code in _codes(broken) if code.co_qualname == outermost}
    planted = 0
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == str(path):
            code = codes.get(one.__code__.co_firstlineno)
            if code is not None and one.__code__.co_qualname == outermost:
                one.__code__ = code
                planted += 1
    for one in gc.get_objects():  # what it answered before it was broken is forgotten
        if isinstance(one, _lru_cache_wrapper) and one.__wrapped__.__code__.co_filename == str(path):
            one.cache_clear()
    if not planted:
        raise NotPlanted(f"{path.name}: {function}")


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


class Anew(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with a mistake in it."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)


def plant_in_module(name: str, path: Path, number: int) -> None:
    """The next import of ``name``, and of all that is ours, brings mistake ``number`` with it."""
    sys.meta_path.insert(0, Anew(name, path, mutated(path.read_text(encoding="utf-8"), number)))
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] in ("gateway", "tests"):
            del sys.modules[loaded]
