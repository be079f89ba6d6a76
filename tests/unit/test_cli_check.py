"""``gateway check``: all faults at once, none of them with a secret in it."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from tests.unit.cli_kit import Installation, install


@pytest.fixture
def here(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Installation:
    made = install(tmp_path, capsys, monkeypatch)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "sftp.key"))
    (tmp_path / "sftp.key").chmod(0o600)
    (tmp_path / "known_hosts").write_bytes(b"[127.0.0.1]:22 " + key.export_public_key())
    return made


def change(here: Installation, old: str, new: str) -> None:
    text = here.config.read_text(encoding="utf-8")
    assert old in text
    here.config.write_text(text.replace(old, new), encoding="utf-8")


def test_a_sound_configuration_has_no_faults(here: Installation) -> None:
    """Nobody is contacted: the database and the broker it names do not exist."""
    ran = here.gateway("check", here.config)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "gateway.toml: no faults"


def test_the_file_is_named_as_elsewhere(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument, by option, or by the environment; typed twice, or nowhere, it is a wrong command line."""
    assert here.gateway("check", "--config", here.config).code == 0
    assert here.gateway("check", "-c", here.config).code == 0
    assert here.gateway("check").code == 2
    assert here.gateway("check", here.config, "-c", here.config).code == 2
    monkeypatch.setenv("GATEWAY_CONFIG", str(here.config))
    assert here.gateway("check").code == 0
    ran = here.gateway("check", here.directory / "other.toml")
    assert (ran.code, "other.toml does not exist" in ran.err) == (1, True)


def test_a_scaled_clock_is_a_warning(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever checks a configuration for production is told that another clock is in the environment."""
    scaled = "warning: GATEWAY_CLOCK is set: deadlines follow a scaled clock; never in production"
    assert scaled in here.gateway("check", here.config).out.splitlines()
    monkeypatch.delenv("GATEWAY_CLOCK")
    assert "GATEWAY_CLOCK" not in here.gateway("check", here.config).out


def test_files_of_a_bank_s_settings_are_named(here: Installation) -> None:
    """A key that an adapter would only look for when it connects is missed now, by its whole path, once."""
    (here.directory / "sftp.key").unlink()
    ran = here.gateway("check", here.config)
    assert ran.code == 1
    assert (
        ran.err == f"fault: banks.rcc_file.settings.sftp.private_key_file: {here.directory}/sftp.key does not exist\n"
    )


def test_what_will_soon_be_a_fault_is_a_warning(here: Installation) -> None:
    """The calendar's horizon and agreements that end are told before they matter, and are no failure."""
    table = here.directory / "agreements.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("2027-12-31", "2026-12-31", 1), encoding="utf-8")
    ran = here.gateway("check", here.config)
    assert ran.code == 0
    assert "warning: the calendar ends on 2026-12-31" in ran.out
    assert "warning: the agreement of county 659999 with bank 402881000015 ends on 2026-12-31" in ran.out


def test_faults_of_every_part_are_told_together(here: Installation) -> None:
    """A wrong section, a missing file, broken keys and tables, and a bank's settings: one line each, in one run."""
    change(here, "[kafka]", "[kafka]\npublish_timeout_seconds = 0\nnonsense = 1")
    change(here, 'org = "402XJ0001"', 'org = "402-XJ"')
    change(here, "[banks.rcc_file]", '[banks.other]\nprofile = "nobodys"\n[banks.rcc_file]')
    change(here, 'programmes = "programmes.csv"', 'programmes = "gone.csv"')
    (here.directory / "approval_keys.json").write_text('{"keys": []}', encoding="utf-8")
    (here.directory / "privacy_keys.json").write_text('{"active": "k1"}', encoding="utf-8")
    (here.directory / "calendar.csv").write_text("date,kind,name\n2026-13-01,OFF,x\n", encoding="utf-8")
    ran = here.gateway("check", here.config)
    assert ran.code == 1
    for fault in (
        "kafka.publish_timeout_seconds: ",
        "kafka.nonsense: ",
        "files.programmes: gone.csv does not exist",
        "approval_keys.json: ",
        "privacy_keys.json: ",
        "calendar.csv: line 2, date: ",
        "banks.other.profile: ",
        "banks.rcc_file.settings.org: ",
    ):
        assert sum(line.startswith(f"fault: {fault}") for line in ran.err.splitlines()) == 1, fault
    assert len(set(ran.err.splitlines())) == len(ran.err.splitlines())


def test_a_fault_does_not_cause_others(here: Installation) -> None:
    """A bank whose section does not hold is still a configured bank to its agreements."""
    change(here, 'profile = "rcc_file"', 'profile = "rcc_file"\nnonsense = 1')
    told = here.gateway("check", here.config).err
    assert told == "fault: banks.rcc_file.nonsense: is no setting that is known\n"


def test_agreements_must_lead_to_configured_banks(here: Installation) -> None:
    """A valid agreement with a bank that is not configured, or no valid agreement at all, cannot pay anybody."""
    table = here.directory / "agreements.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(",rcc_file,", ",elsewhere,"), encoding="utf-8")
    assert "valid agreements name elsewhere, which is no configured bank" in here.gateway("check", here.config).err
    table.write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    assert "no agreement is valid today" in here.gateway("check", here.config).err


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ('provider = "nobodys"', "sms.provider: not one of cmpp, http_batch, smpp"),
        ("[sms.settings]\norigin = 1", "sms.settings.account: is missing"),
    ],
)
def test_the_sms_section_is_checked(here: Installation, section: str, fault: str) -> None:
    """The provider must exist and its settings must hold."""
    here.config.write_text(here.config.read_text(encoding="utf-8") + f"\n[sms]\n{section}\n", encoding="utf-8")
    ran = here.gateway("check", here.config)
    assert ran.code == 1
    assert f"fault: {fault}" in ran.err


def test_templates_are_checked(here: Installation) -> None:
    """Unapproved texts are found before a message is sent."""
    change(here, 'calendar = "calendar.csv"', 'calendar = "calendar.csv"\ntemplates = "templates.toml"')
    templates = here.directory / "templates.toml"
    templates.write_text("x =", encoding="utf-8")
    assert "fault: templates.toml: is not TOML" in here.gateway("check", here.config).err
    templates.write_text("[en]\n", encoding="utf-8")
    assert "fault: en: is not one of" in here.gateway("check", here.config).err


@pytest.mark.parametrize(
    "content", [b"", b"[database", b"\xff", b"files = 3\nbanks = 4\nsms = 5\n", b"[banks]\nx = 1\n"]
)
def test_any_file_is_answered_with_faults(here: Installation, content: bytes) -> None:
    """Whatever the file holds, the answer is a list of faults."""
    here.config.write_bytes(content)
    ran = here.gateway("check", here.config)
    assert ran.code == 1
    assert all(line.startswith("fault: ") for line in ran.err.splitlines())
    assert ran.err


def test_no_secret_is_told(here: Installation) -> None:
    """A password in a DSN and key material never appear among the faults."""
    change(here, 'dsn = "', 'max_connections = "hunter2"\ndsn = "postgresql://u:hunter2@')
    (here.directory / "privacy_keys.json").write_text('{"active": "hunter2", "sealing": "hunter2"}', encoding="utf-8")
    ran = here.gateway("check", here.config)
    assert ran.code == 1
    assert "hunter2" not in ran.out + ran.err
