"""Configuration: strict, every fault named at once, and never a value in what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.banks import open_banks, settings_of
from gateway.config import Config, ConfigError, load
from tests.store.kit import config_of

GOOD = """
[database]
dsn = "postgresql://gateway:s3cret@db/payout"
[kafka]
bootstrap_servers = "broker:9092"
[files]
approval_keys = "keys.json"
privacy_keys = "privacy.json"
programmes = "programmes.csv"
agreements = "agreements.csv"
calendar = "calendar.csv"
[banks.rcc_file]
profile = "rcc_file"
"""
FILES = ("keys.json", "privacy.json", "programmes.csv", "agreements.csv", "calendar.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text("")
    return tmp_path


def read(folder: Path, text: str) -> Config:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    return error.value.faults


def test_a_small_file_is_enough_and_the_defaults_are_the_promises(folder: Path) -> None:
    """24 hours for missing parts, thirty days for a signature, two days for receipts, four working hours to hold."""
    config = read(folder, GOOD)
    promise = config.gateway
    assert (promise.parts_wait_hours, promise.greatest_message_age_days) == (24, 30)
    assert promise.hold_before_limit_working_hours == 4
    assert (promise.close_of_business, config.kafka.topic_prefix) == ("24:00", "payout.")
    assert config.timing.shutdown_seconds < 20
    assert config.path(Path("keys.json")) == folder / "keys.json"
    assert config.path(Path("/etc/keys.json")) == Path("/etc/keys.json")
    assert config.sms is None


def test_every_fault_is_named_at_once(folder: Path) -> None:
    """Whoever mends a configuration wants to mend it once: unknown, missing and wrong fields in one answer."""
    text = GOOD.replace('bootstrap_servers = "broker:9092"', "bootstrap = 1\nmax_record_bytes = 5")
    text += '[gateway]\nclose_of_business = "25:00"\n[timing]\nshutdown_seconds = 99\n[nonsense]\nx = 1\n'
    places = {fault.partition(":")[0] for fault in faults(folder, text)}
    assert places == {
        "gateway.close_of_business",
        "kafka.bootstrap",
        "kafka.bootstrap_servers",
        "kafka.max_record_bytes",
        "timing.shutdown_seconds",
        "nonsense",
    }


def test_no_fault_repeats_what_stood_there(folder: Path) -> None:
    """A configuration that is refused does not put its DSN or a mistyped secret into a log."""
    text = GOOD.replace("[kafka]", 'password = "hunter2"\n[kafka]').replace('"broker:9092"', "17")
    said = "\n".join(faults(folder, text))
    assert "s3cret" not in said
    assert "hunter2" not in said
    assert "database.password" in said
    broken = faults(folder, GOOD + 'secret = "hunter2\n')
    assert "hunter2" not in broken[0]
    assert broken[0].startswith("gateway.toml: not TOML: at line ")


def test_files_that_are_not_there_are_all_named(folder: Path) -> None:
    """Each file that the configuration names and that is missing has its line."""
    for name in ("keys.json", "calendar.csv"):
        (folder / name).unlink()
    dsn = GOOD.replace('dsn = "postgresql://gateway:s3cret@db/payout"', 'dsn_file = "dsn.txt"')
    assert faults(folder, dsn) == [
        "files.approval_keys: keys.json does not exist",
        "files.calendar: calendar.csv does not exist",
        "database.dsn_file: dsn.txt does not exist",
    ]
    with pytest.raises(ConfigError) as error:
        load(folder / "none.toml")
    assert error.value.faults == [f"{folder / 'none.toml'} does not exist"]


def test_the_dsn_stands_in_one_place(folder: Path) -> None:
    """Given in the file or in a file of its own, never both and never neither."""
    own = 'dsn_file = "dsn.txt"'
    given = 'dsn = "postgresql://gateway:s3cret@db/payout"'
    (folder / "dsn.txt").write_text("postgresql://other/db\n")
    assert read(folder, GOOD).dsn() == "postgresql://gateway:s3cret@db/payout"
    assert read(folder, GOOD.replace(given, own)).dsn() == "postgresql://other/db"
    for wrong in (f"{given}\n{own}", ""):
        assert [fault.partition(":")[0] for fault in faults(folder, GOOD.replace(given, wrong))] == ["database"]


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("gateway", "instance", "a b"),
        ("gateway", "close_of_business", "24:30"),
        ("gateway", "parts_wait_hours", 0),
        ("kafka", "stall_seconds", 0),
        ("kafka", "topic_prefix", "Payout"),
        ("timing", "lease_seconds", 1),
        ("timing", "shutdown_seconds", 21),
        ("http", "port", 65_536),
        ("log", "level", "debug"),
    ],
)
def test_what_would_break_a_promise_is_out_of_bounds(section: str, field: str, value: object) -> None:
    """No configuration may promise receipts later, end later than 20 seconds, or run without limits."""
    body = config_of("postgresql://nobody").model_dump()
    with pytest.raises(ValidationError):
        Config.model_validate({**body, section: {**body[section], field: value}})


@pytest.mark.parametrize("name", ["RCC", "1rcc", "rcc-file", "r"])
def test_a_bank_s_name_is_fit_for_the_books(folder: Path, name: str) -> None:
    """The name goes into metrics, leases and paths: small letters, digits and underscores; the fault says so."""
    assert faults(folder, GOOD.replace("banks.rcc_file", f'banks."{name}"')) == [
        f"banks.{name}: a bank's name is 2 to 31 small letters, digits and underscores, a letter first"
    ]


def test_faults_are_told_in_plain_words(folder: Path) -> None:
    """Whoever writes the file is no programmer of ours: what is unknown, missing or of another form is said so."""
    text = GOOD.replace('bootstrap_servers = "broker:9092"', "nonsense = 1\n[log]\nlevel = 'loud'")
    assert sorted(faults(folder, text)) == [
        "kafka.bootstrap_servers: is missing",
        "kafka.nonsense: is no setting that is known",
        "log.level: is not of the form '^(DEBUG|INFO|WARNING|ERROR)$'",
    ]
    assert "give either dsn or dsn_file" in faults(folder, GOOD.replace("dsn =", "max_connections = 2 #"))[0]


@pytest.mark.parametrize("servers", ["broker:9092", "a-1.local:1,10.0.0.2:65535", "[::1]:9092"])
def test_servers_of_kafka(folder: Path, servers: str) -> None:
    """Names and addresses, each with its port."""
    assert read(folder, GOOD.replace("broker:9092", servers)).kafka.bootstrap_servers == servers


@pytest.mark.parametrize("servers", ["", "broker", "broker:", "a:1,", "a:1;b:2", "kafka://a:9092", "a:1 b:2", "::1:9"])
def test_what_is_no_server_of_kafka(folder: Path, servers: str) -> None:
    """A server without its port would be looked for in vain until somebody reads the log."""
    assert faults(folder, GOOD.replace("broker:9092", servers)) == [
        "kafka.bootstrap_servers: is not host:port[,host:port]"
    ]


def test_a_configuration_without_banks_is_refused(folder: Path) -> None:
    """A gateway that can pay nobody does not start."""
    text = GOOD.replace('[banks.rcc_file]\nprofile = "rcc_file"\n', "[banks]\n")
    assert [fault.partition(":")[0] for fault in faults(folder, text)] == ["banks"]


def test_paths_of_an_adapter_s_settings_start_where_the_file_lies() -> None:
    """Every key that ends in _file, at any depth; what is absolute, or no path, stays."""
    settings = {"key_file": "k.pem", "tls": {"ca_file": "ca.pem", "name": "x_file"}, "other_file": "/a", "file": "f"}
    assert settings_of(settings, Path("/conf")) == {
        "key_file": "/conf/k.pem",
        "tls": {"ca_file": "/conf/ca.pem", "name": "x_file"},
        "other_file": "/a",
        "file": "f",
    }


def test_the_faults_of_all_banks_are_named_together(folder: Path) -> None:
    """An unknown profile and wrong settings are told in one answer, by bank."""
    text = GOOD + '[banks.other]\nprofile = "no_such_profile"\n[banks.rcc_file.settings]\nnonsense = "s3cret"\n'
    with pytest.raises(ConfigError) as error:
        open_banks(read(folder, text))
    said = error.value.faults
    assert any(fault.startswith("banks.other.profile:") for fault in said)
    assert any(fault.startswith("banks.rcc_file.settings.nonsense:") for fault in said)
    assert "s3cret" not in "".join(said)


@pytest.mark.parametrize(
    "secret", ["hunter2", "postgresql://gateway:s3cret@db/payout", "Qm9v/+9y=", "a b.c#d", "s3cret" * 100]
)
def test_a_secret_in_the_place_of_its_file_is_not_repeated(folder: Path, secret: str) -> None:
    """The setting is named, what stands there is not: it may be the password."""
    dsn = GOOD.replace('dsn = "postgresql://gateway:s3cret@db/payout"', f'dsn_file = "{secret}"')
    assert faults(folder, dsn) == ["database.dsn_file: the file that it names does not exist"]
