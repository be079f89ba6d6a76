"""Fail-points: found in the source by its syntax tree, and woven in while a module is imported, in tests only.

Theory of operation
-------------------

A crash can tell apart only the states between two *effects*: a commit, a byte to a bank or an SMS centre, a name given
to a file, a record published, an offset committed. Each effect is a site, and each site has two points, ``before`` and
``after``. Calls of a ``reach("name")`` written into the gateway would have to be remembered by whoever writes the next
transaction, would run in production, and would stand between a reader and the code that moves money. So nobody
writes them: ``sites`` finds

* every ``self._engine.transaction()`` (before and after its COMMIT),
* every statement that commits by itself and whose SQL writes (read from ``store/sql/queries``),
* every awaited call of ``EFFECTS``: the bank's adapter, the wires below it, Kafka, the SMS provider,

and ``Weaver`` puts the same sites into the tree on import. In production nothing is imported from here and not a byte
of the gateway differs: compiled away in the strictest sense. A new transaction has its points from its first run, and
the sweep fails until something reaches them. What is awaited on an outside party and is no effect stands in
``HARMLESS``: a call that is in neither table fails the test of the tables.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[3]
QUERIES: Final = PROJECT / "gateway" / "store" / "sql" / "queries"
WOVEN: Final = ("gateway/*.py", "gateway/store/*.py", "adapters/wire/*.py")
UNWOVEN: Final = frozenset({"gateway.store.engine"})  # the transaction itself; `gateway migrate` pays nobody
RUNTIME: Final = "_points"

# Module and the end of what is awaited.
EFFECTS: Final = {
    ("gateway.dispatch", "adapter.submit"),
    ("gateway.verify", "adapter.probe"),
    ("gateway.verify", "adapter.settle"),
    ("gateway.receipts", "_publisher.publish"),
    ("gateway.kafka", "consumer.commit"),
    ("gateway.notices", "_provider.send"),
    ("gateway.notices", "_provider.reports"),
    ("gateway.notices", "provider.confirm_reports"),
    ("adapters.wire.sftp", "self._rename"),
    ("adapters.wire.tcp", "self._exchange"),
    ("adapters.wire.http", "session.request"),
}
SFTP_EFFECTS: Final = frozenset({"upload", "mkdir"})  # what `_call` names; a rename has its callers' sites
# Awaited on an outside party, and nothing anywhere differs afterwards, or the effect is a site further down.
HARMLESS: Final = {
    ("gateway.notices", "provider.take_reports"),  # kept by the provider until they are confirmed
    ("gateway.kafka", "consumer.getmany"),
    ("gateway.kafka", "consumer.start"),
    ("gateway.kafka", "consumer.position"),
    ("gateway.kafka", "consumer.end_offsets"),
    ("gateway.kafka", "producer.start"),
    ("gateway.kafka", "producer.send"),  # into a buffer; publishing as a whole is the effect
}
OUTSIDE: Final = re.compile(r"(?:^|\.)_?(?:adapter|provider|publisher|consumer|producer)\.[a-z_]+$")
_WRITES: Final = re.compile(r"\b(?:INSERT\s+INTO|UPDATE\s+[a-z_]+|DELETE\s+FROM)\b", re.IGNORECASE)
_STATEMENTS: Final = frozenset({"execute", "fetch", "fetchrow"})


@dataclass(frozen=True, slots=True)
class Site:
    """One effect. ``name`` is module, function and effect; ``node`` is ours to replace."""

    name: str
    kind: str  # transaction, statement, call
    node: ast.expr

    @property
    def points(self) -> tuple[str, str]:
        return f"{self.name}:before", f"{self.name}:after"


def writing_queries() -> frozenset[str]:
    """Names of the queries that change a row."""
    found = set()
    for path in QUERIES.glob("*.sql"):
        for part in re.split(r"^-- name:\s*", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            head, _, body = part.partition("\n")
            code = "\n".join(line.partition("--")[0] for line in body.splitlines())
            if _WRITES.search(code):
                found.add(re.split(r"[^a-z0-9_]", head.strip())[0])
    return frozenset(found)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts)


def woven_modules() -> list[str]:
    """Every module with sites, and those beside them."""
    paths = sorted(path for pattern in WOVEN for path in PROJECT.glob(pattern) if path.stem != "__init__")
    return [name for name in map(module_name, paths) if name not in UNWOVEN]


def source_of(module: str) -> str:
    return PROJECT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def all_sites() -> list[Site]:
    """Every site there is, from the source as it stands."""
    queries = writing_queries()
    return [site for module in woven_modules() for site in sites(ast.parse(source_of(module)), module, queries)]


def all_points() -> list[str]:
    return [point for site in all_sites() for point in site.points]


def sites(tree: ast.Module, module: str, queries: frozenset[str]) -> list[Site]:
    """The sites of one module in the order of its text."""
    seen: Counter[str] = Counter()
    found = []
    for function, node in _within_functions(tree):
        what = _effect(node, module, queries)
        if what is None:
            continue
        kind, label = what
        stem = f"{module.removeprefix('gateway.')}.{function}/{label}"
        seen[stem] += 1
        found.append(Site(stem if seen[stem] == 1 else f"{stem}#{seen[stem]}", kind, node))
    return found


def strangers() -> list[str]:
    """Awaited calls on outside parties that stand in neither table."""
    known = {name for _, name in EFFECTS | HARMLESS}
    found = []
    for module in woven_modules():
        for _, node in _within_functions(ast.parse(source_of(module))):
            if isinstance(node, ast.Await) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                if OUTSIDE.search(called) and not any(called.endswith(name) for name in known):
                    found.append(f"{module}: {called}")
    return found


def _within_functions(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.expr]]:
    for child in ast.iter_child_nodes(tree):
        inner = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        if isinstance(child, ast.expr) and function:
            yield function, child
        yield from _within_functions(child, inner)


def _effect(node: ast.expr, module: str, queries: frozenset[str]) -> tuple[str, str] | None:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._engine.transaction":
        return "transaction", "commit"
    if not (isinstance(node, ast.Await) and isinstance(node.value, ast.Call)):
        return None
    call = node.value
    called = ast.unparse(call.func)
    owner, _, method = called.rpartition(".")
    if owner == "self._engine" and method in _STATEMENTS:
        query = call.args[0]
        if isinstance(query, ast.Constant) and query.value in queries:
            return "statement", str(query.value)
        return None
    if (module, called) == ("adapters.wire.sftp", "self._call") and ast.literal_eval(call.args[0]) in SFTP_EFFECTS:
        return "call", str(ast.literal_eval(call.args[0]))
    for place, name in EFFECTS:
        if place == module and (called == name or called.endswith("." + name)):
            return "call", name.rpartition(".")[2].lstrip("_")
    return None


class _Rewriter(ast.NodeTransformer):
    def __init__(self, found: Sequence[Site]) -> None:
        self._sites = {id(site.node): site for site in found}

    def visit(self, node: ast.AST) -> ast.AST:
        site = self._sites.get(id(node))
        node = self.generic_visit(node)
        return node if site is None else ast.copy_location(self._woven(site, node), node)

    @staticmethod
    def _woven(site: Site, node: ast.AST) -> ast.expr:
        """``self._engine.transaction()`` becomes ``_points.transaction(name, self._engine)``, and so on."""
        call = node.value if isinstance(node, ast.Await) else node
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Attribute)
        arguments: list[ast.expr] = [ast.Constant(site.name)]
        if site.kind == "call":
            arguments += [call.func, *call.args]
        else:
            arguments += [call.func.value, ast.Constant(call.func.attr), *call.args]
        door = ast.Attribute(ast.Name(RUNTIME, ast.Load()), site.kind, ast.Load())
        woven: ast.expr = ast.Call(door, arguments, call.keywords)
        return ast.Await(woven) if isinstance(node, ast.Await) else woven


def weave(source: str, module: str, queries: frozenset[str]) -> ast.Module:
    """The tree of a module with its points."""
    tree = ast.parse(source)
    _Rewriter(sites(tree, module, queries)).visit(tree)
    after = 0
    for number, statement in enumerate(tree.body):
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        if future or (number == 0 and isinstance(statement, ast.Expr)):
            after = number + 1
    alias = ast.ImportFrom("tests.storm.points", [ast.alias("runtime", RUNTIME)], 0)
    tree.body.insert(after, alias)
    return ast.fix_missing_locations(tree)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the woven tree; never reads or writes a cache of bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        queries = writing_queries()
        return compile(weave(source_of(fullname), fullname, queries), self.path, "exec", dont_inherit=True)


class Weaver(importlib.abc.MetaPathFinder):
    """Put first on ``sys.meta_path`` before the gateway is imported."""

    def __init__(self) -> None:
        self._modules = frozenset(woven_modules())

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        spec.loader = _Loader(fullname, spec.origin)
        return spec


def install() -> None:
    """From here on the gateway is imported with its points. Too late where it was imported already."""
    early = sorted(set(woven_modules()) & set(sys.modules))
    if early:
        raise RuntimeError(f"imported before its points could be woven in: {early}")
    sys.meta_path.insert(0, Weaver())
