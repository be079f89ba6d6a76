"""``gateway adapter``: the profiles that are installed, and a bank checked as an operator has configured it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.contract import Evidence, Proof
from gateway.cli.adapters import outcome
from tests.unit.cli_kit import Installation, install


@pytest.fixture
def here(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Installation:
    return install(tmp_path, capsys, monkeypatch)


def test_profiles_are_listed(here: Installation) -> None:
    """One a line, fit for a shell."""
    assert {"json_https", "rcc_file"} <= set(here.gateway("adapter", "list").out.split())


def test_bank_is_checked_as_it_is_configured(here: Installation) -> None:
    """The operator's limits and organisation are used; address and keys are the kit's, so that nobody is contacted."""
    text = here.config.read_text(encoding="utf-8")
    here.config.write_text(
        text.replace("[banks.rcc_file]", "[banks.county_bank]").replace("[banks.rcc_file.", "[banks.county_bank."),
        encoding="utf-8",
    )
    ran = here.gateway("adapter", "check", "county_bank", "--config", here.config)
    summary = json.loads(ran.out.splitlines()[-1])
    # Its known_hosts_file and keys do not even exist: the kit brings its own.
    assert (ran.code, summary["adapter"], summary["failed"]) == (0, "county_bank", [])


def test_limit_of_the_configuration_is_felt(here: Installation) -> None:
    """A bank that is configured to take two lines at once cannot be checked, and that is said; its section is read."""
    text = here.config.read_text(encoding="utf-8")
    here.config.write_text(text.replace('biz = "AG0801"', 'biz = "AG0801"\nmax_lines = 2'), encoding="utf-8")
    ran = here.gateway("adapter", "check", "rcc_file", "--config", here.config)
    assert (ran.code, "max_lines is 2" in ran.err) == (2, True)


def test_what_cannot_be_checked_is_said(here: Installation) -> None:
    """An unknown profile, a bank that the file lacks, and a section that does not hold end in words and status 2."""
    ran = here.gateway("adapter", "check", "nobodys")
    assert (ran.code, "no adapter profile 'nobodys'" in ran.err) == (2, True)
    ran = here.gateway("adapter", "check", "other_bank", "--config", here.config)
    assert (ran.code, "configures no bank other_bank" in ran.err) == (2, True)
    text = here.config.read_text(encoding="utf-8")
    here.config.write_text(text.replace('org = "402XJ0001"', 'org = "402-XJ"'), encoding="utf-8")
    ran = here.gateway("adapter", "check", "rcc_file", "--config", here.config)
    assert (ran.code, "org" in ran.err, "402-XJ" in ran.err) == (2, True, False)


def credit(amount_fen: int = 100, host_reference: str = "H1") -> Evidence:
    return Evidence(Proof.CREDITED, "R1", amount_fen=amount_fen, host_reference=host_reference)


@pytest.mark.parametrize(
    ("evidence", "state", "conflict"),
    [
        ([], "SENDING", False),
        ([Evidence(Proof.RECEIVED)], "SUBMITTED", False),
        ([Evidence(Proof.CREDITED, "R2")], "SENDING", False),
        ([credit(), credit()], "CREDITED", False),
        ([credit(), credit(host_reference="H2")], "CREDITED", True),
        ([credit(95)], "SENDING", True),
        ([Evidence(Proof.REJECTED, "R1"), credit()], "REJECTED", True),
        ([Evidence(Proof.ABSENT), credit()], "CREDITED", False),
    ],
)
def test_core_is_handed_to_the_kit(evidence: list[Evidence], state: str, conflict: bool) -> None:
    """What the kit is told of the core's reading is the core's own table, evidence by evidence."""
    read = outcome(evidence, "R1", 100)
    assert (read.state, read.conflict) == (state, conflict)
