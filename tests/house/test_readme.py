"""What the README tells people to type exists, and what it says about the checks is what they do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from gateway import cli
from tests.house.tree import ROOT
from tests.world.demo import parser

CHECKS = ("ruff check", "ruff format --check", "mypy --strict", "pytest tests/house")


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def typed() -> list[list[str]]:
    """Every command line of the README's shell blocks, without its comment."""
    blocks = re.findall(r"^```sh\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    return [words for block in blocks for line in block.splitlines() if (words := shlex.split(line, comments=True))]


def recipe(target: str) -> str:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    return str(found)


def commands(program: str) -> list[list[str]]:
    return [words for words in typed() if Path(words[0]).name == program]


def test_the_readmes_gateway_commands_are_understood() -> None:
    """Each one parses: the command exists, takes these options, and lacks none."""
    app = typer.main.get_group(cli.app)
    lines = commands("gateway")
    assert len(lines) > 3
    for _, name, *arguments in lines:
        app.commands[name].make_context(name, list(arguments))


def test_the_readmes_demonstrations_are_understood() -> None:
    """Options of the demonstration are its own, and each make target is in the Makefile."""
    lines = [words for words in commands("python") if words[1:3] == ["-m", "tests.world.demo"]]
    assert len(lines) > 1
    for words in lines:
        parser().parse_args(words[3:])
    targets = {words[1] for words in commands("make")} | set(re.findall(r"`make (\w+)", readme()))
    assert {"demo", "test", "check", "clean"} <= targets
    assert all(recipe(target) for target in targets)


def test_the_readmes_commands_work_in_their_order() -> None:
    """All of them look at the newest run; none starts another one before that one is stopped."""
    lines = [" ".join(words) for words in typed()]
    (stop,) = (number for number, line in enumerate(lines) if "--stop .demo/latest" in line)
    looks = [number for number, line in enumerate(lines) if ".demo/latest/gateway.toml" in line]
    starts = [number for number, line in enumerate(lines) if "tests.world.demo" in line and "--stop" not in line]
    assert looks
    assert max(looks) < stop < min(starts)


@pytest.mark.parametrize("check", CHECKS)
def test_make_check_runs_what_the_readme_says(check: str) -> None:
    """Each check stands in the README's sentence and in the recipe; nobody relies on one that is not run."""
    (sentence,) = re.findall(r"^`make check` runs (.*?);", readme(), re.MULTILINE | re.DOTALL)
    assert check in sentence
    assert check in recipe("check")


def asked(arguments: str) -> set[str]:
    """The files of tests that pytest reads with these arguments."""
    words = arguments.split()
    ignored = {ROOT / word.removeprefix("--ignore=") for word in words if word.startswith("--ignore=")}
    named = {ROOT / word for word in words if not word.startswith("-")} or {ROOT / "tests"}
    assert all(place.exists() for place in named | ignored)
    files = {path: {path, *path.parents} for path in (ROOT / "tests").glob("*/test_*.py")}
    return {
        path.relative_to(ROOT).as_posix() for path, places in files.items() if named & places and not ignored & places
    }


def test_ci_runs_every_check_and_every_test_and_installs_nothing() -> None:
    """The gate is `make check`, each other test once, and a slice of the storm; nothing of the system is installed."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lines = [line for line in script.splitlines() if not line.startswith("#")]
    assert [line for line in lines if line in ("make check", "make semgrep", "make storm QUICK=1")] == [
        *("make check", "make semgrep", "make storm QUICK=1")
    ]
    pairs = re.findall(r'^at_once "([^"]*)"(?: \\\n)? +"([^"]*)"$', script, re.MULTILINE)
    asked_for = [file for pair in pairs for arguments in pair for file in asked(arguments)]
    assert sorted(asked_for) == sorted(asked("--ignore=tests/house"))
    assert not re.search(r"\b(apt|apt-get|dnf|yum|apk|brew|sudo)\b", "\n".join(lines))


def test_the_map_leads_somewhere() -> None:
    """Every link of the README into the tree leads to a file."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme()) if "://" not in link]
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []
