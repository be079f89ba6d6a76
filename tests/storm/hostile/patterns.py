"""Every regular expression of the gateway, whether it can be made slow, and texts that would make it slow.

They are found in the syntax tree, at each call of ``re``; a pattern is evaluated among the names of its module. Those
of pydantic's ``pattern=`` are left out: its engine does not backtrack.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]  # the parser of re itself: typeshed leaves it out
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = ("gateway", "adapters", "schemas")
_CALLS: Final = frozenset({"compile", "match", "fullmatch", "search", "sub", "split", "findall", "finditer"})
_REPEATS: Final = (op.MAX_REPEAT, op.MIN_REPEAT)
_MANY: Final = 16  # a repeat of fewer is not what makes a pattern slow
_ALPHABET: Final = [chr(n) for n in range(128)] + ["·", "测", "٣", "\ufeff", "\ud800", "\U00020000"]
Node = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A pattern at its place; ``uses`` are the methods it is used by."""

    place: str
    pattern: re.Pattern[Any]
    uses: frozenset[str]


def every_pattern() -> tuple[list[Found], list[str]]:
    """All of them, and the places at which none could be made out."""
    found: list[Found] = []
    unknown: list[str] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
            tree = ast.parse(path.read_text("utf-8"))
            calls = [node for node in ast.walk(tree) if _is_call_of_re(node)]
            if calls and not name.endswith("__main__"):
                names = vars(importlib.import_module(name))
                for call in calls:
                    place = f"{name}:{call.lineno}"  # type: ignore[attr-defined]
                    made = _evaluated(call, names)
                    if made is None:
                        unknown.append(place)
                    else:
                        found.append(Found(place, made, _uses(call, tree)))
    return found, unknown


def _is_call_of_re(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "matches":
        return True  # the tables' own way of saying re.compile(...).fullmatch
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in _CALLS:
        return False
    return isinstance(node.func.value, ast.Name) and node.func.value.id == "re"


def _method(call: Any) -> str:
    return "fullmatch" if isinstance(call.func, ast.Name) else str(call.func.attr)


def _evaluated(call: Any, names: dict[str, Any]) -> re.Pattern[Any] | None:
    def value(node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "<pattern>", "eval"), dict(names))

    flags = next((word.value for word in call.keywords if word.arg == "flags"), None)
    if flags is None and _method(call) == "compile" and len(call.args) > 1:
        flags = call.args[1]
    try:
        return re.compile(value(call.args[0]), value(flags) if flags is not None else 0)
    except NameError:
        return None


def _uses(call: Any, tree: ast.Module) -> frozenset[str]:
    """By which methods a pattern is used: at its own call, or wherever the name is that it was given."""
    if _method(call) != "compile":
        return frozenset({_method(call)})
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.value is call:
            return frozenset({node.attr})
        target = node.target if isinstance(node, ast.AnnAssign) else None
        targets = node.targets if isinstance(node, ast.Assign) else [target]
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is call:
            names |= {one.id for one in targets if isinstance(one, ast.Name)}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names
    }
    return frozenset(used & _CALLS) or frozenset({"search", "fullmatch"})


# -- by their shape ----------------------------------------------------------------------------------------------------


def ambiguous(pattern: str | bytes, flags: int = 0) -> bool:
    """Whether a long text can be cut up in very many ways: repeats right within repeats, or branches that overlap."""
    return any(_is_ambiguous(repeat, flags) for repeat in _repeats(parser.parse(pattern, flags & ~re.DEBUG)))


def rescanned(pattern: str | bytes, flags: int = 0) -> bool:
    """Whether a repeat is followed at once by another that takes the same letters: what they share is cut at each of
    its places, and read again from there, which takes the square of the length."""
    bodies = [list(parser.parse(pattern, flags & ~re.DEBUG))]
    for body in bodies:
        bodies += [list(child) for kind, value in body for child in _children(kind, value)]
    return any(_follows(list(_flat(body)), flags) for body in bodies)


def _follows(body: Sequence[Node], flags: int) -> bool:
    for at, (kind, value) in enumerate(body):
        if kind not in _REPEATS or value[1] < _MANY:
            continue
        taken = _first(list(value[2]), flags)
        for other, more in body[at + 1 :]:
            if other in _REPEATS and more[1] >= _MANY and taken & _first(list(more[2]), flags):
                return True
            if _width((other, more))[0]:
                break
    return False


def _flat(body: Sequence[Node]) -> Iterator[Node]:
    """A sequence without its groups, which change nothing of what follows what."""
    for kind, value in body:
        if kind is op.SUBPATTERN:
            yield from _flat(list(value[3]))
        else:
            yield kind, value


def _is_ambiguous(repeat: Any, flags: int) -> bool:
    body = list(repeat)
    for at, node in enumerate(body):
        rest = body[:at] + body[at + 1 :]
        empty = all(_width(one)[0] == 0 for one in rest)
        inner = node[1][3] if node[0] is op.SUBPATTERN else [node]
        for one in inner:
            if one[0] in _REPEATS and one[1][1] >= _MANY and empty:
                return True
            if one[0] is op.BRANCH and _overlap(one[1][1], flags):
                return True
            if one[0] in _REPEATS and one[1][1] >= _MANY and _swallows(list(one[1][2]), body, body[at + 1 :], flags):
                return True
    return False


def _swallows(inner: Sequence[Node], body: Sequence[Node], rest: Sequence[Node], flags: int) -> bool:
    """Whether a repeat takes what ends its round and begins the next one: then it may take any number of rounds."""
    taken = _first(inner, flags)
    return bool(taken & _first(rest, flags)) and bool(taken & _first(body, flags))


def _overlap(branches: Sequence[Any], flags: int) -> bool:
    firsts = [_first(list(branch), flags) for branch in branches]
    if sum(all(_width(node)[0] == 0 for node in branch) for branch in branches) > 1:
        return True  # ways of taking nothing
    return any(one & other for n, one in enumerate(firsts) for other in firsts[n + 1 :])


def _repeats(tree: Any) -> Iterator[Any]:
    """The bodies of all large repeats."""
    for kind, value in tree:
        if kind in _REPEATS and value[1] >= _MANY:
            yield value[2]
        for child in _children(kind, value):
            yield from _repeats(child)


def _children(kind: Any, value: Any) -> list[Any]:
    if kind in (*_REPEATS, op.POSSESSIVE_REPEAT):
        return [value[2]]
    if kind is op.SUBPATTERN:
        return [value[3]]
    if kind is op.BRANCH:
        return list(value[1])
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return [value[1]]
    return [value] if kind is op.ATOMIC_GROUP else []


def _width(node: Node) -> tuple[int, int]:
    state = parser.State()
    low, high = parser.SubPattern(state, [node]).getwidth()
    return int(low), int(high)


def _letters(node: Node, flags: int) -> set[str]:
    """Those letters of the small alphabet that a node of one character takes."""
    kind, value = node
    if kind is op.LITERAL:
        return {chr(value)}
    if kind is op.NOT_LITERAL:
        return {letter for letter in _ALPHABET if letter != chr(value)}
    if kind is op.ANY:
        return set(_ALPHABET)
    if kind is op.IN:
        return {letter for letter in _ALPHABET if _in(letter, value)}
    return set()


_CLASSES: Final = {
    op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S", op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip


def _in(letter: str, items: Sequence[Node]) -> bool:
    negated = items[0][0] is op.NEGATE
    hit = False
    for kind, value in items[1 if negated else 0 :]:
        hit |= (
            (kind is op.LITERAL and value == ord(letter))
            or (kind is op.RANGE and value[0] <= ord(letter) <= value[1])
            or (kind is op.CATEGORY and re.fullmatch(_CLASSES[value], letter) is not None)
        )
    return hit is not negated


def _first(body: Sequence[Node], flags: int) -> set[str]:
    """The letters that a text of this body can begin with."""
    letters: set[str] = set()
    for kind, value in body:
        if kind is op.BRANCH:
            letters |= set().union(*(_first(list(branch), flags) for branch in value[1]))
        elif children := _children(kind, value):
            letters |= _first(list(children[0]), flags)
        else:
            letters |= _letters((kind, value), flags)
        if _width((kind, value))[0]:
            break
    return letters


# -- texts against them ------------------------------------------------------------------------------------------------


def _grown(first: int, end: int, factor: float) -> Iterator[int]:  # lengths of texts, never money
    """From ``first`` up to ``end``, each longer by that factor, and by one at least."""
    length = first
    while length < end:
        yield length
        length = max(length + 1, int(length * factor))


# Near each other, for a pattern may take many times as long for each letter more: the first text that is too slow is
# then a matter of seconds, and never one that would outlast the machine.
LENGTHS: Final = (*_grown(8, 2_000, 1.12), *_grown(2_000, 100_000, 1.5), 100_000)


def attacks(pattern: re.Pattern[Any]) -> Iterator[Callable[[int], Any]]:
    """For each repeat, each sort of letter it takes, and each way of failing afterwards: the text of a given length."""
    tree = parser.parse(pattern.pattern, pattern.flags & re.DOTALL)
    seen: set[tuple[str, str, str]] = set()
    for before, pumps in _pumped(list(tree), ""):
        for pump in pumps:
            for end in ("", "\x00", "!", "\n"):
                if (before, pump, end) not in seen:
                    seen.add((before, pump, end))
                    yield _text(before, pump, end, isinstance(pattern.pattern, bytes))


def _text(before: str, pump: str, end: str, binary: bool) -> Callable[[int], Any]:
    def make(length: int) -> Any:
        text = before + pump * (length // len(pump)) + end
        return text.encode("latin-1", "replace") if binary else text

    return make


def _pumped(body: Sequence[Node], before: str) -> Iterator[tuple[str, list[str]]]:
    """What leads to each large repeat, and what can be repeated in it."""
    for at, (kind, value) in enumerate(body):
        here = before + "".join(_example(node) for node in body[:at])
        if kind in _REPEATS and value[1] >= _MANY:
            inner = list(value[2])
            one = len(inner) == 1 and bool(_letters(inner[0], 0))
            yield here, _sorts(_letters(inner[0], 0)) if one else [_example((op.MAX_REPEAT, (1, 1, inner)))]
        for child in _children(kind, value):
            yield from _pumped(list(child), here)


def _sorts(letters: set[str]) -> list[str]:
    """A few of them: one digit, one letter, one blank, one mark, one that is none of these."""
    sorts = {
        (letter.isdigit(), letter.isalpha(), letter.isspace(), letter.isascii()): letter for letter in sorted(letters)
    }
    return list(sorts.values())


def _example(node: Node) -> str:
    """A short text that a node takes."""
    kind, value = node
    if kind in _REPEATS:
        return "".join(_example(one) for one in value[2]) * int(max(value[0], 1 if value[1] else 0))
    if kind is op.BRANCH:
        return "".join(_example(one) for one in value[1][0])
    if kind in (op.ASSERT, op.ASSERT_NOT, op.AT, op.GROUPREF):
        return ""
    if children := _children(kind, value):
        return "".join(_example(one) for one in children[0])
    letters = _letters(node, 0)
    plain = sorted(letter for letter in letters if letter.isalnum()) or sorted(letters)
    return str(plain[0]) if plain else ""


def slowest(found: Found, lengths: Sequence[int], limit_seconds: float) -> tuple[float, int]:
    """Processor's seconds and length of the slowest text against a pattern; once one is too slow, none is longer."""
    worst, at = 0.0, 0
    for make in attacks(found.pattern):
        for length in lengths:
            text = make(length)
            began = time.thread_time()
            for use in found.uses:
                _used(found.pattern, use, text)
            took = time.thread_time() - began
            if took > worst:
                worst, at = took, length
            if took > limit_seconds:
                return worst, at
    return worst, at


def _used(pattern: re.Pattern[Any], use: str, text: Any) -> None:
    if use == "sub":
        pattern.sub(text[:0], text)
    elif use == "finditer":
        list(pattern.finditer(text))
    else:
        getattr(pattern, "search" if use == "compile" else use)(text)
