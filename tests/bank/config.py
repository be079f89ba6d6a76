"""What one simulated bank is told: a JSON file read strictly, every key with its default."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

PROFILES = ("rcc_file", "json_https", "xml_tcp", "iso20022")
DEDUPLICATION = ("none", "by_reference", "by_file_id", "window")
SYNCHRONOUS = ("FULL", "NORMAL", "OFF")
FUNDS = ("whole", "in_order")
FRAMINGS = ("digits8", "spaces8", "flag1_6")
ENCODINGS = ("GBK", "GB18030")
NO_WORD_FOR_ONE_LINE = ("json_https",)  # profiles whose manual has no code for a line without funds
T = TypeVar("T")


class ConfigurationError(Exception):
    """The configuration says something this bank does not understand."""


@dataclass(frozen=True, slots=True)
class ProgrammeConfig:
    """Rates per ten thousand and overrides; see the README for the names."""

    rates: dict[str, int] = field(default_factory=dict)
    again_rates: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, list[str]] = field(default_factory=dict)
    submissions: dict[str, list[str]] = field(default_factory=dict)
    results: dict[str, list[str]] = field(default_factory=dict)
    reject_reasons: list[str] = field(
        default_factory=lambda: [
            "ACCOUNT_NOT_FOUND",
            "NAME_MISMATCH",
            "ACCOUNT_CLOSED",
            "ACCOUNT_FROZEN",
            "ACCOUNT_DORMANT",
            "SSCARD_NOT_ACTIVATED",
        ]
    )
    late_seconds: list[int] = field(default_factory=lambda: [600, 172_800])
    return_seconds: list[int] = field(default_factory=lambda: [7_200, 259_200])
    repair_seconds: int = 3_600
    ack_late_seconds: int = 900
    not_found_seconds: int = 300
    hidden_seconds: int = 7_200


@dataclass(frozen=True, slots=True)
class FileAccess:
    """What every bank needs that is spoken to in files over SFTP."""

    user: str = "gateway"
    password: str = "gateway"
    authorized_keys: list[str] = field(default_factory=list)
    debit_accounts: list[str] = field(default_factory=list)
    date_tolerance_days: int = 30
    poll_real_milliseconds: int = 60
    host_key: str = "keys/host_key"


@dataclass(frozen=True, slots=True)
class RccConfig(FileAccess):
    """What only the file bank needs."""

    org: str = "402XJ0001"


@dataclass(frozen=True, slots=True)
class IsoConfig(FileAccess):
    """What only the ISO 20022 bank needs."""

    member_id: str = ""  # of this bank, as the debtor's agent; "" = any
    whole_file: bool = False


@dataclass(frozen=True, slots=True)
class JsonConfig:
    """What only the HTTPS bank needs."""

    app_id: str = "payout-gateway"
    gateway_public_key: str = "keys/gateway_signing.pub.pem"
    signing_key: str = "keys/bank_signing.pem"
    id_cipher_key: str = "keys/id_cipher.key"
    ca: str = "keys/ca.pem"
    certificate: str = "keys/server.pem"
    key: str = "keys/server.key"
    server_names: list[str] = field(default_factory=list)
    callback_url: str | None = None
    callback_ca: str | None = None
    callback_connections: int = 4
    callback_give_up_real_seconds: int = 300
    callback_items: int = 500
    debit_accounts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class XmlConfig:
    """What only the front-end machine needs."""

    framing: str = "digits8"
    encoding: str = "GBK"
    channel: str = "YKT01"
    corporation: str = "65999901"
    mac_key: str = "keys/mac.key"
    tls: bool = False
    ca: str = "keys/ca.pem"
    certificate: str = "keys/server.pem"
    key: str = "keys/server.key"
    server_names: list[str] = field(default_factory=list)
    debit_accounts: list[str] = field(default_factory=list)
    date_tolerance_days: int = 30
    idle_real_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Hours:
    """When this bank works: "HH:MM" to "HH:MM" on these weekdays (0 = Monday); what it does with the rest of time."""

    opens: str = "08:30"
    closes: str = "17:00"
    days: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    refuses: bool = False
    cut_off: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One bank."""

    profile: str
    directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    synchronous: str = "FULL"
    keep_payload: bool = True
    clock_offset_seconds: int = 0
    processing_seconds: int = 60
    report_every_seconds: int = 1_800
    settling_seconds: int = 600
    hours: Hours | None = None
    balance_fen: int | None = None
    deduplicate: str = "none"
    window_seconds: int = 86_400
    max_lines: int = 5_000
    max_bytes: int | None = None
    funds: str = "whole"
    submit_interval_real_milliseconds: int = 0
    query_interval_real_milliseconds: int = 0
    statements: bool = True
    hang_real_seconds: int = 30
    programme: ProgrammeConfig = field(default_factory=ProgrammeConfig)
    rcc_file: RccConfig = field(default_factory=RccConfig)
    json_https: JsonConfig = field(default_factory=JsonConfig)
    xml_tcp: XmlConfig = field(default_factory=XmlConfig)
    iso20022: IsoConfig = field(default_factory=IsoConfig)

    def path(self, name: str) -> Path:
        """A configured path; relative ones belong to this bank's directory."""
        return self.directory / name


def _section(kind: type[T], given: object, where: str) -> T:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{where} must be an object")
    known = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigurationError(f"{where}: unknown keys {', '.join(unknown)}")
    return kind(**given)


def _check(config: Config) -> None:
    for value, allowed in (
        (config.profile, PROFILES),
        (config.deduplicate, DEDUPLICATION),
        (config.synchronous, SYNCHRONOUS),
        (config.funds, FUNDS),
        (config.xml_tcp.framing, FRAMINGS),
        (config.xml_tcp.encoding, ENCODINGS),
    ):
        if value not in allowed:
            raise ConfigurationError(f"{value!r} is none of {', '.join(allowed)}")
    if config.funds == "in_order" and config.profile in NO_WORD_FOR_ONE_LINE:
        raise ConfigurationError(f"{config.profile} has no word for one line without funds")
    if config.hours is not None and config.hours.cut_off is not None and not config.hours.refuses:
        raise ConfigurationError("a cut_off needs hours that refuse")


def programme_of(given: object) -> ProgrammeConfig:
    """The `programme` section alone, as control.json may replace it."""
    return _section(ProgrammeConfig, given, "programme")


def parse(given: dict[str, Any], base: Path) -> Config:
    """A configuration from its JSON object; relative directories are relative to `base`. Raises ConfigurationError."""
    raw = dict(given)
    if "profile" not in raw or "directory" not in raw:
        raise ConfigurationError("profile and directory are needed")
    raw["directory"] = (base / str(raw["directory"])).resolve()
    raw["programme"] = programme_of(raw.get("programme", {}))
    raw["rcc_file"] = _section(RccConfig, raw.get("rcc_file", {}), "rcc_file")
    raw["json_https"] = _section(JsonConfig, raw.get("json_https", {}), "json_https")
    raw["xml_tcp"] = _section(XmlConfig, raw.get("xml_tcp", {}), "xml_tcp")
    raw["iso20022"] = _section(IsoConfig, raw.get("iso20022", {}), "iso20022")
    if raw.get("hours") is not None:
        raw["hours"] = _section(Hours, raw["hours"], "hours")
    config = _section(Config, raw, "configuration")
    _check(config)
    return config


def load(path: Path) -> Config:
    """Read a configuration file. Raises ConfigurationError."""
    try:
        given = json.loads(path.read_bytes())
    except ValueError as problem:
        raise ConfigurationError(f"{path.name} is no JSON") from problem
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path.name} must hold one object")
    return parse(given, path.parent)
