"""A copy of the project that may be broken: mutants never touch the tree that somebody works in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.storm.mutants.named import Mutant

ROOT = Path(__file__).parents[3]
PARTS = ("gateway", "adapters", "schemas", "deploy", "tests", "pyproject.toml", "docker-compose.yml", "README.md")
_FAILED = re.compile(r"^FAILED (\S+)", re.MULTILINE)
RUN_SECONDS = 900


class NoSuchText(Exception):
    """The text that a mutant changes stands nowhere, or twice: its rule was rewritten, and it has to follow."""


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of tests ended: pytest's exit code, the first test that failed, the end of what it printed."""

    code: int
    killer: str
    tail: str

    @property
    def green(self) -> bool:
        return self.code == 0

    @property
    def red(self) -> bool:
        """Tests ran and one failed. A tree that cannot be imported or collected proves nothing."""
        return self.code == 1 and bool(self.killer)


def copy(to: Path) -> Path:
    """The project's own files under ``to``."""
    to.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / part)
    return to


def find(tree: Path, mutant: Mutant) -> Path:
    """The one file of ``gateway/`` with the mutant's text; NoSuchText otherwise."""
    files = [path for path in sorted((tree / "gateway").rglob("*")) if path.suffix in (".py", ".sql")]
    holding = [path for path in files if mutant.old in path.read_text(encoding="utf-8")]
    if len(holding) != 1 or holding[0].read_text(encoding="utf-8").count(mutant.old) != 1:
        raise NoSuchText(mutant.name)
    return holding[0]


def run(tree: Path, guards: tuple[str, ...], dsn: str) -> Run:
    """Run tests of the copy in a process of its own, up to the first failure."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *guards],
        cwd=tree,
        env=os.environ | {"TEST_POSTGRES_DSN": dsn, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
        text=True,
        timeout=RUN_SECONDS,
    )
    killer = _FAILED.search(done.stdout)
    return Run(done.returncode, killer[1] if killer else "", (done.stdout + done.stderr)[-2000:])


def run_broken(tree: Path, mutant: Mutant, dsn: str) -> Run:
    """Break the copy, run the mutant's guards, mend the copy."""
    path = find(tree, mutant)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return run(tree, mutant.guards, dsn)
    finally:
        path.write_text(whole, encoding="utf-8")
