"""Small mistakes in Python, found in the syntax tree: what each operator changes, and what is left alone by rule.

A place is a node and an operator that fits it. Places are numbered in the order of the walk, so that the same source
gives the same numbers. What cannot matter is left alone by rule and never by hand: annotations, docstrings, words for
people (logs, errors, ``__repr__``, a text with a blank in it), decorators, how long we are patient (``timeout=``), how
large a pool is, and the ``strict=`` of a zip, which is an assertion about our own lists. So are changes that no program
survives and that prove nothing: a key in square brackets, the name of a query, the arguments of ``isinstance`` the
wrong way round; and those of ``max`` and ``min``, which are the same either way.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NO_MATTER: Final = frozenset({"timeout", "command_timeout", "min_size", "max_size", "max_connections", "strict"})
_NEVER_SWAPPED: Final = frozenset({"isinstance", "max", "min"})
_NAMED_QUERY: Final = frozenset({"sql", "fetch", "fetchrow", "fetchval", "execute"})  # the first argument names it
_UNSEEN_FUNCTIONS: Final = frozenset({"__repr__", "__str__"})
_UNSEEN_NAMES: Final = frozenset({"__all__", "__slots__", "log"})
_UNSEEN_BASES: Final = frozenset({"Protocol"})
MODULE_LEVEL: Final = ""


@dataclass(frozen=True, slots=True)
class Place:
    """One mistake: ``number`` in its file, the function it is in (MODULE_LEVEL: none), the statement's lines."""

    number: int
    operator: str
    function: str  # as ``co_qualname`` says it
    first: int
    last: int
    change: str  # for people


@dataclass(frozen=True, slots=True)
class _Found:
    node: ast.AST
    operator: str
    replacement: ast.AST
    function: str
    statement: ast.stmt


Mutate = Callable[[ast.AST], Iterator[tuple[str, ast.AST]]]


def places(source: str) -> list[Place]:
    """Every mistake that the operators know for this source."""
    return [
        Place(
            number,
            one.operator,
            one.function,
            one.statement.lineno,
            _last_line(one.statement),
            f"{_short(one.node)} -> {_short(one.replacement)}",
        )
        for number, one in enumerate(_walk(ast.parse(source)))
    ]


def mutated(source: str, number: int) -> ast.Module:
    """The tree with mistake ``number`` in it, ready to be compiled."""
    tree = ast.parse(source)
    one = list(_walk(tree))[number]
    _Replace(one.node, one.replacement).visit(tree)
    return ast.fix_missing_locations(tree)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._old:
            return ast.copy_location(self._new, node)
        return self.generic_visit(node)


# --- Where ------------------------------------------------------------------------------------------------------------


def _walk(tree: ast.Module) -> Iterator[_Found]:
    for statement in tree.body:
        yield from _statement(statement, MODULE_LEVEL, inside_function=False)


def _statement(node: ast.stmt, function: str, *, inside_function: bool) -> Iterator[_Found]:
    if _unseen(node):
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from _defined(node, function, inside_function)
        return
    if isinstance(node, ast.ClassDef):
        for one in node.body:
            yield from _statement(one, _joined(function, node.name, inside_function), inside_function=False)
        return
    where = function if inside_function else MODULE_LEVEL
    for operator, replacement in _removals(node):
        yield _Found(node, operator, replacement, where, node)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _statement(child, function, inside_function=inside_function)
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            for one in child.body:
                yield from _statement(one, function, inside_function=inside_function)
        elif not (isinstance(node, ast.AnnAssign) and child is node.annotation):
            for found, operator, replacement in _expressions(child, words=_has_words(node)):
                yield _Found(found, operator, replacement, where, node)


def _defined(node: ast.FunctionDef | ast.AsyncFunctionDef, function: str, inside_function: bool) -> Iterator[_Found]:
    for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
        for found, operator, replacement in _expressions(default):
            where = function if inside_function else MODULE_LEVEL
            yield _Found(found, operator, replacement, where, node)
    inner = _joined(function, node.name, inside_function)
    for one in node.body:
        yield from _statement(one, inner, inside_function=True)


def _joined(outer: str, name: str, inside_function: bool) -> str:
    return f"{outer}.<locals>.{name}" if inside_function else f"{outer}.{name}" if outer else name


def _unseen(node: ast.stmt) -> bool:
    """Words for people, declarations without behaviour, and what only runs by hand."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name in _UNSEEN_FUNCTIONS
    if isinstance(node, ast.ClassDef):
        return any(isinstance(base, ast.Name) and base.id in _UNSEEN_BASES for base in node.bases)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_log(node.value)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(isinstance(one, ast.Name) and one.id in _UNSEEN_NAMES for one in targets)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Compare) and ast.unparse(node.test.left) == "__name__"
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.Assert))


def _has_words(node: ast.stmt) -> bool:
    """An error that is raised, or that makes itself of a text."""
    made = isinstance(node, ast.Expr) and ast.unparse(node.value).startswith("super().__init__(")
    return isinstance(node, ast.Raise) or made


def _is_log(node: ast.expr) -> bool:
    value = node.func if isinstance(node, ast.Call) else node
    return isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "log"


def _last_line(node: ast.stmt) -> int:
    """The last line of a statement's own expressions: of a compound one, its head."""
    body = getattr(node, "body", None)
    if isinstance(body, list) and body:
        return max(node.lineno, int(body[0].lineno) - 1)
    return node.end_lineno or node.lineno


# --- What -------------------------------------------------------------------------------------------------------------


def _removals(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """A statement that has an effect and no name is left out; a returned value is forgotten; a condition is turned."""
    names_only = isinstance(node, ast.Assign) and all(isinstance(one, (ast.Name, ast.Tuple)) for one in node.targets)
    if isinstance(node, (ast.Expr, ast.AugAssign, ast.Raise)) or (isinstance(node, ast.Assign) and not names_only):
        yield "left out", ast.Pass()
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield "returns nothing", ast.Return(ast.Constant(None))
    if isinstance(node, ast.If) and not isinstance(node.test, (ast.Compare, ast.UnaryOp)):
        turned = ast.UnaryOp(ast.Not(), node.test)
        yield "turned", ast.If(turned, node.body, node.orelse)


def _expressions(node: ast.AST, *, words: bool = False) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """``words``: string constants are for people, as in an error that is raised."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.expr) and _is_log(node)):
        return
    for operator, replacement in _fitting(node, words):
        yield node, operator, replacement
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.keyword) and node.arg in _NO_MATTER:
            return
        if isinstance(node, ast.Call) and child is node.func and isinstance(child, ast.Name):
            continue
        if isinstance(node, ast.Subscript) and child is node.slice and isinstance(child, ast.Constant):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("cast", "asyncio.timeout"):
            continue
        if isinstance(node, ast.Call) and node.args and child is node.args[0] and _names_query(node):
            continue
        yield from _expressions(child, words=words)


def _fitting(node: ast.AST, words: bool) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Compare):
        for position, op in enumerate(node.ops):
            other = copy.copy(node)
            other.ops = [*node.ops[:position], _COMPARISONS[type(op)](), *node.ops[position + 1 :]]
            yield "comparison", other
    elif isinstance(node, ast.BoolOp):
        yield "boolean", ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "boolean", node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield "arithmetic", ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.IfExp):
        yield "turned", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.comprehension) and node.ifs:
        other_one = copy.copy(node)
        other_one.ifs = node.ifs[1:]
        yield "left out", other_one
    elif isinstance(node, ast.Constant):
        yield from _constant(node.value, words)
    elif isinstance(node, ast.Call):
        yield from _swapped(node)


def _constant(value: object, words: bool) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1)
    elif isinstance(value, str) and not words and " " not in value:
        yield "constant", ast.Constant("" if value else "other")


def _swapped(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    """The first two arguments that are data."""
    first = 1 if _names_query(node) else 0
    pair = node.args[first : first + 2]
    if (
        len(pair) < 2
        or any(isinstance(one, ast.Starred) for one in node.args)
        or ast.unparse(node.func) in _NEVER_SWAPPED
    ):
        return
    if ast.dump(pair[0]) != ast.dump(pair[1]):
        swapped = [*node.args[:first], *reversed(pair), *node.args[first + 2 :]]
        yield "swapped", ast.Call(node.func, swapped, node.keywords)


def _names_query(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in _NAMED_QUERY


def _short(node: ast.AST) -> str:
    if isinstance(node, ast.comprehension):
        return "for ..." + "".join(f" if {ast.unparse(one)}" for one in node.ifs)
    text = ast.unparse(node).partition("\n")[0]
    return text if len(text) <= 70 else text[:67] + "..."
