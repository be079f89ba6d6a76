"""What is unprotected is told: each line in the clear by its section and its host, and nothing of a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pydantic import BaseModel

from adapters.contract import TellsPlaintext
from adapters.wire.clear import beyond_loopback, hosts_in_the_clear, is_loopback, plain_http
from adapters.wire.tcp import TcpSettings
from gateway.app import SMS_PROFILES
from gateway.banks import open_banks
from gateway.channels import unprotected
from gateway.config import ConfigError
from tests.adapters.json_https_kit import Keys
from tests.adapters.pki_kit import Authority
from tests.unit.cli_kit import Installation, install
from tests.unit.test_config import FILES, GOOD, read

BANK = """
[banks.bank_b]
profile = "xml_tcp"
[banks.bank_b.settings]
encoding = "gbk"
channel = "YKT01"
corporation = "65999901"
mac_key_file = "mac.key"
debit_accounts = ["6599990000000001"]
private_line = true
[banks.bank_b.settings.tcp]
host = "HOST"
port = 9001
framing = "digits8"
"""
TLS = """
[banks.bank_b.settings.tcp.tls]
ca_file = "authority.pem"
certificate_file = "authority-gateway.pem"
private_key_file = "authority-gateway.key"
"""
CMPP = """
[sms]
provider = "cmpp"
[sms.settings]
host = "HOST"
source_addr = "900001"
secret_file = "mac.key"
service_number = "10690001"
"""
SMPP = CMPP.replace("cmpp", "smpp").replace("source_addr", "system_id").replace("secret_file", "password_file")
CENTRE_TLS = 'ca_file = "authority.pem"\n'
LINES = {  # a configuration's section, what makes it TLS, and whom a warning names
    "xml_tcp": (BANK, TLS, "banks.bank_b: payments"),
    "cmpp": (CMPP, CENTRE_TLS, "sms: notices and the login"),
    "smpp": (SMPP, CENTRE_TLS, "sms: notices and the login"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text("")
    (tmp_path / "mac.key").write_text("s3cret-of-sixteen\n")
    Authority(tmp_path, "authority").issue("gateway", client=True)
    return tmp_path


def told(folder: Path, section: str) -> list[str]:
    """What is said of a bank or a centre."""
    found = unprotected(read(folder, GOOD + section), SMS_PROFILES)
    return [line for line in found if not line.startswith(("kafka", "database"))]


@pytest.mark.parametrize("line", LINES)
def test_a_line_in_the_clear_to_another_machine_is_told(folder: Path, line: str) -> None:
    """The section, the host, and what to do about it."""
    section, _, who = LINES[line]
    for host in ("bank.example.invalid", "203.0.113.9"):
        (warning,) = told(folder, section.replace("HOST", host))
        assert warning.startswith(f"{who}")
        assert f"unencrypted to {host};" in warning
        assert "s3cret" not in warning


@pytest.mark.parametrize("line", LINES)
def test_tls_or_loopback_is_not_told(folder: Path, line: str) -> None:
    """There is nothing to warn of where TLS is configured, or where nobody else's machine is reached."""
    section, tls, _ = LINES[line]
    assert told(folder, section.replace("HOST", "bank.example.invalid") + tls) == []
    for host in ("localhost", "127.0.0.1", "::1"):
        assert told(folder, section.replace("HOST", host)) == []


def test_a_bank_that_calls_back_in_the_clear_is_told(tmp_path: Path) -> None:
    """The callback's host, without what else its URL may hold; a URL without a host is refused."""
    keys = Keys.make(tmp_path)
    far = keys.settings(callback_url="http://payout:s3cret@gateway.example.invalid:8080/callbacks/x?token=s3cret")
    assert hosts_in_the_clear(far) == ("gateway.example.invalid",)
    for url in ("https://gateway.example.invalid/callbacks/x", "http://127.0.0.1:8080/callbacks/x"):
        assert hosts_in_the_clear(keys.settings(callback_url=url)) == ()
    for url in ("http:///callbacks/x", "http://[::1/callbacks/x"):
        with pytest.raises(ValueError, match="callback_url"):
            keys.settings(callback_url=url)


def test_http_to_another_machine_is_no_setting_of_the_sms_provider(folder: Path) -> None:
    """There is nothing to warn of where it is refused."""
    given = {"origin": "http://sms.example.invalid", "account": "bank", "key_file": folder / "mac.key"}
    with pytest.raises(ValueError, match="this machine only"):
        SMS_PROFILES["http_batch"].settings.model_validate(given)


def test_a_section_that_does_not_hold_hides_no_other(folder: Path) -> None:
    """What is wrong with it is told elsewhere; the others' lines are told here."""
    broken = '[banks.other]\nprofile = "nobodys"\n[banks.third]\nprofile = "xml_tcp"\n'
    (warning,) = told(folder, broken + BANK.replace("HOST", "bank.example.invalid") + SMPP.replace("host", "hosts"))
    assert "bank.example.invalid" in warning
    assert told(folder, '[sms]\nprovider = "carrier_pigeon"\n') == []


def test_settings_without_a_word_of_their_own_tell_of_the_lines_they_hold() -> None:
    """An integrator who uses our wire writes nothing: each model inside is asked, however deep, each host once."""

    class Line(BaseModel):
        tcp: TcpSettings

    class Theirs(BaseModel):
        first: Line
        more: tuple[Line, ...]
        named: dict[str, TcpSettings]
        name: str = "nobody"

    def line(host: str) -> dict[str, Any]:
        return {"host": host, "port": 1, "framing": "digits8"}

    settings = Theirs.model_validate(
        {
            "first": {"tcp": line("a.example")},
            "more": [{"tcp": line("b.example")}, {"tcp": line("a.example")}],
            "named": {"x": line("c.example"), "y": line("127.0.0.1")},
        }
    )
    assert not isinstance(settings, TellsPlaintext)
    assert hosts_in_the_clear(settings) == ("a.example", "b.example", "c.example")
    assert hosts_in_the_clear(object()) == ()


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "127.8.8.8", "::1"])
def test_what_is_this_machine(host: str) -> None:
    """The names and addresses that no packet leaves the machine for."""
    assert is_loopback(host)
    assert beyond_loopback(host, "far.example") == ("far.example",)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "127.0.0.1.example", "0.0.0.0", "10.0.0.1", "[::1]", "2001:db8::1"]
)
def test_what_is_another_machine(host: str) -> None:
    """When in doubt it is one: nothing is resolved."""
    assert not is_loopback(host)


def test_of_urls_only_plain_http_is_in_the_clear() -> None:
    """An integrator's own URLs: by scheme, and by host alone."""
    assert plain_http(
        "http://u:p@a.example:80/x", "https://b.example", "http://localhost:1", "HTTP://[2001:db8::1]/"
    ) == (
        "a.example",
        "2001:db8::1",
    )


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("postgresql://gateway@127.0.0.1/payout", []),
        ("postgresql://gateway@db/payout?sslmode=verify-full", []),
        ("postgresql://gateway@db/payout", ["database: whose"]),
        ("postgresql://gateway:s3cret@127.0.0.1/payout", ["database.dsn carries"]),
        ("postgresql://gateway@127.0.0.1/payout?password=s3cret", ["database.dsn carries"]),
        ("postgresql://gateway:s3cret@[db/payout", ["database.dsn carries"]),  # no DSN: whoever connects tells that
    ],
)
def test_what_is_in_the_open_is_told(folder: Path, dsn: str, told: list[str]) -> None:
    """A password inside the configuration and a server that nobody checks: warnings at each start, in our own words."""
    config = read(folder, GOOD.replace("postgresql://gateway:s3cret@db/payout", dsn))
    found = [line for line in unprotected(config, SMS_PROFILES) if line.startswith("database")]
    assert [line.startswith(start) for line, start in zip(found, told, strict=True)] == [True] * len(told)
    assert "s3cret" not in repr(config) + "".join(found)


def test_lists_in_the_clear_to_another_machine_are_told(folder: Path) -> None:
    """Plaintext to Kafka is for one machine alone."""
    near, far = (
        read(folder, GOOD.replace("broker:9092", f"{server}:9092")) for server in ("127.0.0.1", "kafka.example")
    )
    assert any(line.startswith("kafka: signed lists") for line in unprotected(far, SMS_PROFILES))
    assert not any(line.startswith("kafka") for line in unprotected(near, SMS_PROFILES))


def test_check_tells_it_and_is_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning is no fault: the line may be guarded below us. With a fault elsewhere it is told all the same."""
    made = install(tmp_path, capsys, monkeypatch)
    section = SMPP.replace("HOST", "sms.example.invalid").replace("900001", "payout")
    (tmp_path / "mac.key").write_text("s3cret\n")
    with made.config.open("a", encoding="utf-8") as file:
        file.write(section)
    _private_files(made)
    ran = made.gateway("check", made.config)
    assert (ran.code, ran.err) == (0, "")
    warning = "warning: sms: notices and the login travel unencrypted to sms.example.invalid; "
    assert any(line.startswith(warning) for line in ran.out.splitlines())
    made.config.write_text(
        made.config.read_text(encoding="utf-8").replace("[kafka]", "[kafka]\nx = 1"), encoding="utf-8"
    )
    ran = made.gateway("check", made.config)
    assert ran.code == 1
    assert any(line.startswith(warning) for line in ran.out.splitlines())


def _private_files(made: Installation) -> None:
    """What the SFTP bank of the installation names."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(made.directory / "sftp.key"))
    (made.directory / "sftp.key").chmod(0o600)
    (made.directory / "known_hosts").write_bytes(b"[127.0.0.1]:22 " + key.export_public_key())


def test_without_tls_a_bank_whose_answers_can_be_forged_needs_a_private_line(folder: Path) -> None:
    """The MAC covers BODY alone: beyond this machine such a line is refused unless somebody says that it is private."""
    public = BANK.replace("private_line = true\n", "")
    for bank in (
        *(public.replace("HOST", host) for host in ("127.0.0.1", "localhost")),
        public.replace("HOST", "bank.example.invalid") + TLS,
        BANK.replace("HOST", "bank.example.invalid"),
    ):
        assert faults_of_bank_b(folder, bank) == []
    (fault,) = faults_of_bank_b(folder, public.replace("HOST", "bank.example.invalid"))
    assert "make us pay twice" in fault
    assert "private_line = true" in fault


def faults_of_bank_b(folder: Path, section: str) -> list[str]:
    """Of that bank alone: the other one of the configuration is not finished."""
    with pytest.raises(ConfigError) as error:
        open_banks(read(folder, GOOD + section))
    return [fault for fault in error.value.faults if fault.startswith("banks.bank_b")]
