"""The walk of ``adapters/README.md``, as somebody takes it who adds a bank that nobody here has seen.

River Bank does not exist; ``tests/data/fifth_bank/MANUAL.md`` is its manual, and ``filled/`` what the newcomer writes
into the blanks. Nothing is installed: a distribution is a directory on the path with a ``.dist-info`` beside the
package, and one is made here from the scaffold's own pyproject.toml, which is all that ``pip install -e`` would add.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.conformance.run import check
from adapters.registry import load
from gateway.cli.adapters import CORE
from tests.unit.cli_kit import Installation, Ran, install

FILLED = Path(__file__).parents[1] / "data/fifth_bank/filled"
NAME = "river_bank"
SECTION = f"""
[banks.river]
profile = "{NAME}"
[banks.river.settings]
max_in_flight = 2
[banks.river.settings.sftp]
host = "sftp.river.example"
username = "payout"
private_key_file = "sftp.key"
known_hosts_file = "known_hosts"
"""


@dataclass(frozen=True)
class Newcomer:
    """Has a gateway, a directory elsewhere, and the bank's manual."""

    gateway: Installation
    project: Path

    @property
    def package(self) -> Path:
        return self.project / NAME

    def check(self, *arguments: object) -> Ran:
        forget()
        return self.gateway.gateway("adapter", "check", *arguments)

    def finds(self, *cases: str) -> list[str]:
        """What a few cases say, where the whole table would take long to show it."""
        forget()
        return check(load(NAME), CORE, only=cases).blanks

    def fills(self, *names: str) -> None:
        """Writes these modules as the manual has them."""
        for name in names:
            shutil.copy(FILLED / f"{name}.txt", self.package / name)

    def records(self) -> None:
        """Writes down what the bank answers, and removes the reminders."""
        for blank in (self.package / "recorded").glob("*.blank"):
            blank.unlink()
        shutil.copytree(FILLED / "recorded", self.package / "recorded", dirs_exist_ok=True)


def forget() -> None:
    """As in a new process: the package is read again."""
    for module in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[module]


def make_known(project: Path) -> None:
    """What an editable installation leaves behind: the metadata of a distribution, beside the package."""
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = project / f"{NAME}-{declared['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n", encoding="utf-8"
    )
    lines = []
    for group, entries in declared["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def newcomer(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Newcomer:
    elsewhere, configured = tmp_path / "elsewhere", tmp_path / "gateway"
    elsewhere.mkdir()
    configured.mkdir()
    here = install(configured, capsys, monkeypatch)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a module changes here within a second
    ran = here.gateway("adapter", "new", NAME, "--kind", "sftp")
    assert (ran.code, "BANK.md" in ran.out) == (0, True)
    project = elsewhere / NAME
    make_known(project)
    monkeypatch.syspath_prepend(str(project))
    return Newcomer(here, project)


def promises(ran: Ran) -> tuple[int, int]:
    """How many were kept, of how many; from the last line."""
    summary = json.loads(ran.out.splitlines()[-1])
    assert summary["adapter"] in (NAME, "river")
    return summary["passed"], summary["cases"]


def next_blank(ran: Ran) -> str:
    """The reminder that the check puts first, of those that it lists at its end."""
    lines = ran.out.splitlines()
    start = next(number for number, line in enumerate(lines) if "the first of these comes next" in line)
    return lines[start + 1].strip()


def test_newcomer_is_led_from_nothing_to_a_conforming_adapter(newcomer: Newcomer) -> None:
    """Each check of the unfinished adapter fails and says which blank comes next; filled, it keeps every promise,
    beside the shipped ones and as an operator configures it.
    """
    assert NAME in newcomer.gateway.gateway("adapter", "list").out.split()
    for filled, comes_next in (
        ("", "manual.py, capabilities(): "),
        ("manual.py", "rehearsal.py, directories: "),
        ("rehearsal.py", "wire.py, document(): "),
    ):
        if filled:
            newcomer.fills(filled)
        ran = newcomer.check(NAME)
        kept, cases = promises(ran)
        assert (ran.code, kept < cases, "Traceback" in ran.out + ran.err) == (1, True, False)
        assert next_blank(ran).startswith(f"a blank: {comes_next}")
    newcomer.fills("wire.py")
    assert newcomer.finds("taken") == [
        "a blank: recorded/TAKEN.txt: The bank has the submission: its answer to it (a bank of files: its"
        " acknowledgement). Nobody is paid by that."
    ]
    newcomer.records()
    assert [words.split(":")[1] for words in newcomer.finds("code-table", "taken")] == [
        " codes.py, SUBMISSION_CODES",
        " codes.py, LINE_CODES",
    ]
    newcomer.fills("codes.py")
    config = newcomer.gateway.config
    config.write_text(config.read_text(encoding="utf-8") + SECTION, encoding="utf-8")
    ran = newcomer.check("river", "--config", config)
    kept, cases = promises(ran)
    assert (ran.code, kept, cases > 40) == (0, cases, True)
    _goes_live(newcomer)


def _goes_live(newcomer: Newcomer) -> None:
    """``gateway check`` knows the profile and its section: it names the files that are missing, and then no fault."""
    directory = newcomer.gateway.directory
    ran = newcomer.gateway.gateway("check", newcomer.gateway.config)
    assert (ran.code, "banks.river" in ran.err, "sftp.key" in ran.err) == (1, True, True)
    for name in ("sftp.key", "known_hosts"):
        (directory / name).write_text("", encoding="utf-8")
    agreements = directory / "agreements.csv"
    rows = agreements.read_text(encoding="utf-8").splitlines()
    county, _, *rest = rows[-1].replace("rcc_file", "river").split(",")
    agreements.write_text("\n".join([*rows, ",".join([county, "402881000099", *rest])]) + "\n", encoding="utf-8")
    ran = newcomer.gateway.gateway("check", newcomer.gateway.config)
    assert (ran.code, ran.err) == (0, "")
