"""The house rules that a program can check, each a function from a module or a text to its offences.

Each rule carries a sample that breaks it and one that keeps it, so that ``test_tidy`` can show that it bites. What
ruff already refuses (unused imports, naive datetimes, bare asserts) is not repeated here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.log import ALLOWED
from tests.house.danger import DANGERS, MORE_DANGERS, beyond
from tests.house.tree import CODE, Module

MODULE_LINES = 450
FUNCTION_LINES = 70

# Where a float may be named, because it is real seconds of a socket, a timer or a sample. Elsewhere a single line may
# hold one when its comment says that it is never money: that can be read, and searched for.
NEVER_MONEY = "never money"
FLOATS = frozenset({"gateway/clock.py", "gateway/log.py", "gateway/loop.py", "gateway/metrics.py"})
CLOCKS = frozenset({"gateway/clock.py", "tests/world/clock.py"})
SPOKEN = ("gateway/cli/", "gateway/cli.py", "gateway/__main__.py")  # where people are spoken to

_SQL = re.compile(
    r"\bselect\b.+\bfrom\b|\binsert\s+into\b|\bupdate\b.+\bset\b|\bdelete\s+from\b|\btruncate\s+table\b"
    r"|\b(?:create|alter|drop)\s+(?:unique\s+)?(?:table|index|view)\b",
    re.IGNORECASE | re.DOTALL,
)
_LOG_METHODS = frozenset({"debug", "info", "warning", "error", "critical", "exception"})
_LOGGERS = frozenset({"log", "_log", "logger", "_logger", "LOG", "_LOG"})
_SPAWNERS = frozenset({"create_task", "ensure_future"})
_RETRY = re.compile(r"retry|retrying|tenacity", re.IGNORECASE)

Offences = Iterator[str]


@dataclass(frozen=True)
class Rule:
    """A check, the modules it is for, and two samples: ``bad`` must offend and ``good`` must not."""

    check: Callable[[Module], Offences]
    bad: str
    good: str
    applies: Callable[[str], bool] = lambda _path: True

    @property
    def name(self) -> str:
        return self.check.__name__


def in_code(path: str) -> bool:
    return path.split("/")[0] in CODE


def at(module: Module, node: ast.AST, words: str) -> str:
    return f"{module.path}:{getattr(node, 'lineno', 1)}: {words}"


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute chain; a call or subscript inside shows as its own chain; else empty."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return dotted(node.func)
    return ""


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def docstrings(module: Module) -> set[ast.AST]:
    """The nodes that are docstrings: prose may say what code may not."""
    found: set[ast.AST] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(first.value)
    return found


def short_module(module: Module) -> Offences:
    lines = len(module.text.splitlines())
    if lines > MODULE_LINES:
        yield f"{module.path}: {lines} lines, at most {MODULE_LINES}"


def short_functions(module: Module) -> Offences:
    for function in functions(module):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            yield at(module, function, f"{function.name} has {lines} lines, at most {FUNCTION_LINES}")


def opens_with_its_purpose(module: Module) -> Offences:
    purpose = ast.get_docstring(module.tree)
    if purpose is None:
        if module.tree.body:  # an empty __init__ needs no purpose
            yield f"{module.path}: opens without a docstring"
    elif not purpose.partition("\n\n")[0].rstrip().endswith((".", "?", "!", ":")):
        yield f"{module.path}: the first paragraph of its docstring is no sentence"


def one_clock(module: Module) -> Offences:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today", "utcfromtimestamp"}:
            owner = dotted(node.value).rpartition(".")[2]
            if owner in {"datetime", "date"}:
                yield at(module, node, f"{owner}.{node.attr}: take the time from the clock that is passed in")


def no_float(module: Module) -> Offences:
    lines = module.text.splitlines()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id == "float" and NEVER_MONEY not in lines[node.lineno - 1]:
            yield at(
                module, node, f"float: money is an integer of fen; if it is no money, say '{NEVER_MONEY}' beside it"
            )


def no_print(module: Module) -> Offences:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in {"print", "pprint", "pprint.pprint"}:
            yield at(module, node, "print: log through gateway.log")


def no_sql(module: Module) -> Offences:
    prose = docstrings(module)
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Constant) or node in prose:
            continue
        if isinstance(node.value, str) and _SQL.search(node.value):
            yield at(module, node, "SQL in a string: it lives in gateway/store/sql, with a name and a purpose")


def tests_promise(module: Module) -> Offences:
    for function in functions(module):
        if function.name.startswith("test_") and not (ast.get_docstring(function) or "").strip():
            yield at(module, function, f"{function.name} does not say the promise it keeps")


def tasks_are_kept(module: Module) -> Offences:
    for node in ast.walk(module.tree):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            continue
        owner, _, name = dotted(node.value.func).rpartition(".")
        if name in _SPAWNERS and (owner in {"", "asyncio"} or owner.rpartition(".")[2].endswith("loop")):
            yield at(module, node, f"{name}: keep a reference, or the task may vanish half done")


def submit_is_never_retried(module: Module) -> Offences:
    """A decorated ``submit``, a retry loop around a call of one, and a ``submit`` handed to something that retries."""
    for node in ast.walk(module.tree):
        words = "submit is never retried: what it did is asked, not repeated"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if any(_RETRY.search(dotted(decorator)) for decorator in node.decorator_list) and _submits(node):
                yield at(module, node, words)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            if _RETRY.search(dotted(node.iter)) and any(_submits(inner) for inner in node.body):
                yield at(module, node, words)
        elif isinstance(node, ast.Call) and _RETRY.search(dotted(node.func)):
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(_submits(argument) for argument in arguments):
                yield at(module, node, words)


def _submits(node: ast.AST) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "submit":
        return True
    return any(isinstance(inner, ast.Attribute) and inner.attr == "submit" for inner in ast.walk(node))


def log_lines_are_constant(module: Module) -> Offences:
    """An event is a constant and its keys are on the allow-list; else the gate would cut what somebody needs."""
    for node in ast.walk(module.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOG_METHODS):
            continue
        if dotted(node.func.value).rpartition(".")[2] not in _LOGGERS:
            continue
        if len(node.args) != 1 or not isinstance(node.args[0], ast.Constant):
            yield at(module, node, "the event of a log line is one constant text; what varies has keys")
        for keyword in node.keywords:
            if keyword.arg not in ALLOWED | {"exc_info"}:
                yield at(module, node, f"{keyword.arg} is not on the allow-list of gateway.log")


RULES = (
    Rule(short_module, "#\n" * (MODULE_LINES + 1), "#\n" * MODULE_LINES),
    Rule(
        short_functions,
        "def f():\n" + "    x = 1\n" * FUNCTION_LINES,
        "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1),
    ),
    Rule(opens_with_its_purpose, "import os", '"""Says what it is for."""\nimport os'),
    Rule(
        one_clock,
        "import datetime as dt\nx = dt.datetime.now(dt.UTC)",
        "x = clock.now()",
        lambda path: path not in CLOCKS,
    ),
    Rule(
        no_float,
        "def pay(amount: float) -> None: ...",
        "def pay(amount_fen: int, timeout: float) -> None: ...  # real seconds, never money",
        lambda path: in_code(path) and path not in FLOATS,
    ),
    Rule(no_print, "print(1)", "log.info('x')", lambda path: in_code(path) and not path.startswith(SPOKEN)),
    Rule(no_sql, "x = f'update t set a = {b}'", '"""We update the set."""', in_code),
    Rule(
        tests_promise, "def test_x(): assert 1", "def test_x():\n  'It is one.'", lambda path: path.startswith("tests/")
    ),
    Rule(tasks_are_kept, "asyncio.create_task(f())", "t = asyncio.create_task(f())\ngroup.create_task(f())"),
    Rule(
        submit_is_never_retried,
        "async def f():\n  async for attempt in AsyncRetrying():\n    with attempt:\n      await bank.submit(x)",
        "async def f():\n  async for attempt in AsyncRetrying():\n    with attempt:\n      await bank.probe(x)",
        in_code,
    ),
    Rule(
        log_lines_are_constant,
        "_log.info(f'paid {name}')",
        "_log.info('paid', payout_id=x)\nlog.debug('x', exc_info=e)",
        in_code,
    ),
    *(Rule(check, bad, good, beyond(check)) for check, bad, good in DANGERS),
)
MORE_BAD = (
    *MORE_DANGERS,
    ("one_clock", "from datetime import date\nx = date.today()"),
    ("one_clock", "import datetime\nx = datetime.datetime.utcnow()"),
    ("no_float", "x = float('1.5')"),
    ("no_float", "x: list[float] = []"),
    ("no_sql", "x = 'DELETE FROM t'"),
    ("no_sql", "x = 'SELECT a\\n FROM t'"),
    ("no_sql", "x = 'create unique index i on t (a)'"),
    ("tasks_are_kept", "asyncio.get_running_loop().create_task(f())"),
    ("tasks_are_kept", "self._loop.create_task(f())"),
    ("submit_is_never_retried", "@retry\nasync def submit(self): ..."),
    ("submit_is_never_retried", "@tenacity.retry(wait=w)\nasync def f(): await a.submit(r)"),
    ("submit_is_never_retried", "await retrying(adapter.submit, r)"),
    ("log_lines_are_constant", "_log.info('paid', name=x)"),
    ("log_lines_are_constant", "log.info('paid %s', x)"),
    ("log_lines_are_constant", "self._log.info('paid', **values)"),
)
