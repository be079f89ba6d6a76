"""Imports only go down: the corridor of DESIGN section 2, read from the code's own import statements."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

import pytest

from tests.house.tree import CODE, Module, modules

# The floors, from the top. A module belongs to the longest name that it equals or lies under.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("gateway.__main__", "gateway.cli", "gateway.app"),
    ("gateway.kafka", "gateway.admin"),
    (
        "gateway.intake",
        "gateway.dispatch",
        "gateway.verify",
        "gateway.failures",
        "gateway.notices",
        "gateway.receipts",
        "gateway.watch",
    ),
    ("gateway.store", "gateway.routes"),
    (
        "gateway.approval",
        "gateway.approval_keys",
        "gateway.banks",
        "gateway.channels",
        "gateway.config",
        "gateway.deadlines",
        "gateway.dsn",
        "gateway.kafka_security",
        "gateway.lists",
        "gateway.log",
        "gateway.metrics",
        "gateway.privacy",
        "gateway.reference",
        "gateway.series",
        "gateway.sheets",
        "gateway.tables",
        "gateway.vault",
    ),
    (
        "gateway.calendar",
        "gateway.clock",
        "gateway.floors",
        "gateway.hardening",
        "gateway.loop",
        "gateway.names",
        "gateway.overdue",
        "gateway.pacing",
        "gateway.patience",
        "gateway.policy",
        "gateway.reasons",
        "gateway.resident_id",
        "gateway.states",
        "gateway.texts",
    ),
    ("adapters.banks", "adapters.sms"),
    (
        "adapters.contract",
        "adapters.wire",
        "adapters.registry",
        "adapters.conformance",
        "adapters.scaffold",
        "adapters.sm2",
        "adapters.sms.contract",
        "adapters.sms.link",
    ),
    ("schemas",),
)
# Rooms that never look into each other: steps meet in the store, banks and SMS providers meet nowhere.
STEPS = FLOORS[2]
LEAF = FLOORS.index(("adapters.banks", "adapters.sms"))
# The pure core: standard library and what lies below, nothing installed and no input or output.
PURE = (
    "gateway.states",
    "gateway.policy",
    "gateway.calendar",
    "gateway.names",
    "gateway.overdue",
    "gateway.reasons",
    "gateway.resident_id",
)
NOT_PURE = frozenset(
    {"asyncio", "socket", "subprocess", "threading", "urllib", "http", "os", "pathlib", "io", "random"}
)
# Ground truth: whoever shares an encoder with the gateway cannot contradict it.
WITNESSES = (
    "tests.bank",
    "tests.world.checker",
    "tests.world.clock",
    "tests.world.sms",
    "tests.world.sms_centre",
    "tests.world.sms_ledger",
)
DESK = "tests.world.desk"  # signs as the finance platform would: it may use the schemas and the signature
DESK_MAY = ("schemas", "gateway.approval")


def under(name: str, *rooms: str) -> str | None:
    """The room of ``rooms`` that ``name`` is or lies in; the innermost one."""
    found = [room for room in rooms if name == room or name.startswith(room + ".")]
    return max(found, key=len, default=None)


def floor(name: str) -> int | None:
    """The number of the floor, from the top; None for a module that no floor lists."""
    room = under(name, *(room for floor in FLOORS for room in floor))
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def is_module(name: str) -> bool:
    return any(module.name == name for module in modules())


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Every imported name with its line, wherever it stands: at the top, in a function, under TYPE_CHECKING."""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join((*parts[: len(parts) - node.level + 1], *(base.split(".") if base else ())))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if is_module(inner) or floor(inner) != floor(base) else base


def climbs(importer: str, imported: str) -> str | None:
    """Why ``importer`` may not import ``imported``, both of the project; None when it may."""
    here, there = floor(importer), floor(imported)
    if imported in CODE or here is None:
        return None  # the bare package holds nothing; a module without a floor is told once, by its own test
    if there is None:
        return "lies on no floor"
    if there < here:
        return "is above it"
    if under(importer, *STEPS) and under(imported, *STEPS) and under(importer, *STEPS) != under(imported, *STEPS):
        return "is another step: steps meet in the store"
    if there == LEAF and here == LEAF and _house(importer) != _house(imported):
        return "is another bank or provider"
    if there == LEAF and here != LEAF and not importer.startswith(("gateway.app", "gateway.cli")):
        return "is a leaf: it is found through the registry"
    return None


def _house(name: str) -> str:
    """The bank or provider that a module of a leaf belongs to: the first three names."""
    return ".".join(name.split(".")[:3])


def faults(module: Module) -> Iterator[str]:
    own = module.name.split(".")[0]
    for line, imported in imports(module):
        where = f"{module.path}:{line}: {imported}"
        top = imported.split(".")[0]
        if own in CODE and top in CODE:
            if why := climbs(module.name, imported):
                yield f"{where} {why}"
        elif own in CODE and top == "tests" and not under(module.name, "gateway.cli"):
            yield f"{where} is a test: only the demo's command starts one"
        if own == "tests" and top in CODE:
            if under(module.name, *WITNESSES):
                yield f"{where}: a witness shares no code with the accused"
            elif under(module.name, DESK) and not under(imported, *DESK_MAY):
                yield f"{where}: the desk knows schemas and signatures only"
        if under(module.name, *PURE):
            known = top in CODE or top in sys.stdlib_module_names
            if not known or top in NOT_PURE:
                yield f"{where}: the core is pure"


def test_imports_only_go_down() -> None:
    """No module imports from a floor above it, a step another step, a bank another bank, a witness the accused."""
    assert [fault for module in modules() for fault in faults(module)] == []


def test_every_module_has_a_floor() -> None:
    """A new module must be given its place before it is imported anywhere."""
    homeless = [
        module.path
        for module in modules()
        if module.name.split(".")[0] in CODE and module.name not in CODE and floor(module.name) is None
    ]
    assert homeless == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("gateway/states.py", "from gateway.store import engine"),
        ("gateway/states.py", "import pydantic"),
        ("gateway/calendar.py", "from pathlib import Path"),
        ("gateway/store/engine.py", "from gateway import dispatch"),
        ("gateway/store/engine.py", "from .. import app"),
        ("gateway/dispatch.py", "from gateway.verify import probe"),
        ("gateway/dispatch/claim.py", "from gateway.verify import probe"),
        ("gateway/verify.py", "def f():\n    from gateway.dispatch import claim"),
        ("gateway/dispatch.py", "from adapters.banks.rcc_file import PROFILE"),
        ("gateway/watch.py", "import gateway.kafka"),
        ("gateway/metrics.py", "from gateway.store.engine import sql"),
        ("gateway/admin.py", "if TYPE_CHECKING:\n    from gateway.app import App"),
        ("gateway/admin.py", "from gateway.nowhere import x"),
        ("gateway/dispatch.py", "from tests.world import clock"),
        ("adapters/banks/rcc_file/bank.py", "from gateway.clock import Clock"),
        ("adapters/banks/rcc_file/bank.py", "from adapters.banks.json_https import codes"),
        ("adapters/banks/rcc_file/bank.py", "from ..json_https import codes"),
        ("adapters/wire/http.py", "from adapters.banks.json_https import codes"),
        ("adapters/contract.py", "import gateway.states"),
        ("schemas/v1/receipt.py", "from adapters.contract import Reason"),
        ("tests/bank/ledger.py", "from schemas.money import x"),
        ("tests/world/checker.py", "import gateway.states"),
        ("tests/world/desk.py", "from gateway.store import ids"),
        ("tests/world/sms/cmpp_codec.py", "from adapters.sms import http_batch"),
    ],
)
def test_an_import_that_climbs_is_caught(path: str, text: str) -> None:
    """Each kind of forbidden import is found, however it is written."""
    assert list(faults(Module.of(path, text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("gateway/app.py", "from gateway import dispatch, kafka\nfrom adapters.banks.rcc_file import PROFILE"),
        ("gateway/dispatch/claim.py", "from gateway.dispatch import plan\nfrom gateway.store import engine"),
        ("gateway/notices.py", "from adapters.sms.contract import Notice"),
        ("gateway/states.py", "import datetime\nfrom adapters.contract import Proof"),
        ("gateway/cli/demo.py", "from tests.world import demo"),
        ("adapters/banks/rcc_file/bank.py", "from adapters.banks.rcc_file import codes\nfrom . import wire"),
        ("adapters/sms/http_batch.py", "from adapters.sms.contract import Report"),
        ("tests/world/desk.py", "from gateway.approval import sign\nimport schemas.v1"),
        ("tests/unit/test_x.py", "from gateway import app"),
    ],
)
def test_an_import_that_goes_down_is_allowed(path: str, text: str) -> None:
    """What the design allows is not refused: a check that cries wolf is switched off."""
    assert list(faults(Module.of(path, text))) == []
