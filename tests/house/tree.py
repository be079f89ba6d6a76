"""The tree as the house tests see it: its Python modules with their syntax trees, and its text files."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("gateway", "adapters", "schemas")
FOLDERS = (*CODE, "deploy", "tests", ".ci", ".github")
_BINARY = frozenset({".png", ".ico", ".bin", ".gz", ".res", ".ack", ".ok", ".txt", ".pyc"})


@dataclass(frozen=True)
class Module:
    """One Python file: where it is (relative, with slashes), its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, path: str, text: str) -> Module:
        return cls(path, text, ast.parse(text))

    @property
    def name(self) -> str:
        """The dotted name; a package is named without ``__init__``."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")


def _walk(folder: str) -> Iterator[str]:
    for directory, inner, files in os.walk(ROOT / folder):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            yield (Path(directory) / name).relative_to(ROOT).as_posix()


@cache
def modules() -> tuple[Module, ...]:
    """Every Python module of the project, tests included."""
    paths = (path for folder in FOLDERS for path in _walk(folder) if path.endswith(".py"))
    return tuple(Module.of(path, (ROOT / path).read_text(encoding="utf-8")) for path in paths)


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Every text file of the project with its content: code, configuration, documents, data in UTF-8."""
    top = sorted(entry.name for entry in ROOT.iterdir() if entry.is_file())
    found = []
    for path in (*top, *(path for folder in FOLDERS for path in _walk(folder))):
        if Path(path).suffix in _BINARY:
            continue
        try:
            found.append((path, (ROOT / path).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue  # a list in GB18030 is data, not text of ours
    return tuple(found)
