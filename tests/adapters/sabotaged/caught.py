"""What the kit finds in an adapter that is wrong on purpose, and in the honest one that it was made of."""

from __future__ import annotations

from typing import Any

from adapters.conformance.run import check
from gateway.cli.adapters import CORE
from tests.adapters.sabotaged.six import HONEST, sabotaged


def failures(adapter: type[Any], *cases: str) -> dict[str, str]:
    """The cases that fail of these (of all, without any), each with its reason."""
    report = check(sabotaged(adapter), CORE, only=cases)
    return {each.case.id: each.reason for each in report.results if each.case.id in report.failed}


def honest(adapter: type[Any]) -> type[Any]:
    return next(parent for parent in HONEST if issubclass(adapter, parent))
