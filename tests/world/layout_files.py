"""Writing the files of a simulated street: whole or not at all, for their owner's eyes, secrets once for ever."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def once(path: Path, make: Callable[[], str]) -> None:
    """Make a secret unless it is there: a street that was stopped goes on with its keys."""
    if not path.exists():
        write(path, make())


def write_json(path: Path, value: dict[str, Any]) -> None:
    write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)
