"""How large a proof is: the slice that every run of the tests plays, or the whole of it (`make storm-row`)."""

from __future__ import annotations

import json
import os
from typing import TypeVar

T = TypeVar("T")
FULL = os.environ.get("STORM") == "1"
SEED = int(os.environ.get("STORM_SEED", "20261125"))


def size(slice_: T, whole: T) -> T:
    """The slice in every run of the tests, the whole where `make storm-row` asks for it."""
    return whole if FULL else slice_


def figure(row: str, **figures: object) -> None:
    """One JSON line for `tests/storm/README.md`: ``{"row": "R11", "seed": …, …}``. Figures only, no personal data."""
    print(json.dumps({"row": row, "seed": SEED, "full": FULL, **figures}), flush=True)
