"""Configuration: one TOML file, strict, every fault of it named at once.

Relative paths are relative to the file. Secrets never stand in it: it names files that hold them. Settings below
``[banks.<name>.settings]`` and ``[sms.settings]`` belong to the adapter and are checked against its own model.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from adapters.wire.clear import beyond_loopback

NAME = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,30}$")]
FILE_FIELDS = ("approval_keys", "privacy_keys", "programmes", "agreements", "calendar", "templates")
KAFKA_FILES = ("ca_file", "certificate_file", "private_key_file", "sasl_password_file")


_BANK_NAME_FORM = "a bank's name is 2 to 31 small letters, digits and underscores, a letter first"
# What people call files. Anything else may be the secret itself, typed where its file belongs, and is not repeated.
_PATH = re.compile(r"[\w./ -]+")
_SERVERS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
# pydantic's words for the commonest faults, said so that whoever writes the file understands them.
_PLAIN_WORDS = {"extra_forbidden": "is no setting that is known", "missing": "is missing"}
_NO_FILE = ("is no file", "Path does not point to a file")


class ConfigError(Exception):
    """Everything that is wrong with a configuration; ``faults`` has one readable line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySection(Section):
    """``instance`` names this process in leases. ``close_of_business`` ends a deadline's day (24:00 = midnight)."""

    instance: str = Field(default="gateway", pattern=r"^[A-Za-z0-9._-]{1,40}$")
    audience: str = "payout-gateway"
    close_of_business: str = Field(default="24:00", pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")
    greatest_message_age_days: int = Field(default=30, ge=1, le=3650)
    parts_wait_hours: int = Field(default=24, ge=1, le=720)
    hold_before_limit_working_hours: int = Field(default=4, ge=0, le=48)


class DatabaseSection(Section):
    """``dsn_file`` holds the DSN where it carries a password; exactly one of the two is given."""

    dsn: str | None = Field(default=None, repr=False)
    dsn_file: Path | None = None
    max_connections: int = Field(default=8, ge=2, le=64)


class KafkaSection(Section):
    """``security_protocol`` and the files of TLS and SASL. Relative files start from the configuration, as everywhere.

    Only ``ca_file`` is trusted, not the machine's store. ``sasl_without_tls`` allows SASL_PLAINTEXT, on loopback alone.
    """

    bootstrap_servers: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    sasl_mechanism: Literal["SCRAM-SHA-512", "PLAIN"] | None = None
    sasl_username: str | None = Field(default=None, min_length=1, max_length=200)
    sasl_password_file: Path | None = None
    sasl_without_tls: bool = False
    group: str = "payout-gateway"
    topic_prefix: str = Field(default="payout.", pattern=r"^[a-z0-9._-]{0,60}$")
    max_record_bytes: int = Field(default=1_000_000, ge=10_000, le=10_000_000)
    publish_timeout_seconds: int = Field(default=10, ge=1, le=120)
    session_timeout_seconds: int = Field(default=10, ge=2, le=300)
    stall_seconds: int = Field(default=35, ge=5, le=3600)  # and 20 to end in: gone within the minute

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers(cls, text: str) -> str:
        if not all(_SERVERS.fullmatch(server) for server in text.split(",")):
            raise ValueError("is not host:port[,host:port]")
        return text

    @property
    def tls(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    @property
    def on_loopback(self) -> bool:
        hosts = (server.rpartition(":")[0].strip("[]") for server in self.bootstrap_servers.split(","))
        return not beyond_loopback(*hosts)

    @model_validator(mode="after")
    def _secured_as_it_says(self) -> Self:
        """What belongs to a protocol is there, and nothing that the protocol would silently leave unused."""
        tls = {"ca_file": self.ca_file, "certificate_file": self.certificate_file}
        sasl = {"sasl_mechanism": self.sasl_mechanism, "sasl_username": self.sasl_username}
        sasl["sasl_password_file"] = None if self.sasl_password_file is None else "given"
        if self.tls and self.ca_file is None:
            raise ValueError(f"{self.security_protocol} needs ca_file")
        if (self.certificate_file is None) != (self.private_key_file is None):
            raise ValueError("certificate_file and private_key_file belong together")
        if not self.tls and (unused := [name for name, value in tls.items() if value is not None]):
            raise ValueError(f"{self.security_protocol} does not use {' and '.join(unused)}")
        if self.sasl and (missing := [name for name, value in sasl.items() if value is None]):
            raise ValueError(f"{self.security_protocol} needs {' and '.join(missing)}")
        if not self.sasl and (unused := [name for name, value in sasl.items() if value is not None]):
            raise ValueError(f"{self.security_protocol} does not use {' and '.join(unused)}")
        if self.security_protocol == "SASL_PLAINTEXT":
            if not (self.sasl_without_tls and self.on_loopback):
                raise ValueError("SASL_PLAINTEXT needs sasl_without_tls = true and servers on loopback alone")
            if self.sasl_mechanism == "PLAIN":
                raise ValueError("PLAIN sends the password itself: only within TLS")
        return self


class HttpSection(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    max_body_bytes: int = Field(default=1_048_576, ge=1024, le=16_777_216)


class FilesSection(Section):
    approval_keys: Path
    privacy_keys: Path
    programmes: Path
    agreements: Path
    agreements_adapter_column: str = "adapter"
    calendar: Path
    templates: Path | None = None  # SMS templates; the built-in approved texts where not given


class SmsSection(Section):
    provider: NAME = "http_batch"
    opens: dt.time = dt.time(9, 30)
    closes: dt.time = dt.time(21, 0)
    settings: dict[str, Any] = Field(default_factory=dict)


class TimingSection(Section):
    """Real seconds, whatever the clock's scale: they pace this program, not the payment calendar."""

    lease_seconds: int = Field(default=15, ge=2, le=600)
    idle_milliseconds: int = Field(default=200, ge=10, le=60_000)  # how long a step rests when it found nothing to do
    collect_milliseconds: int = Field(default=1_000, ge=20, le=600_000)
    watch_milliseconds: int = Field(default=2_000, ge=50, le=600_000)
    bank_call_seconds: int = Field(default=120, ge=1, le=3_600)
    shutdown_seconds: int = Field(default=15, ge=1, le=20)


class BankSection(Section):
    profile: NAME
    settings: dict[str, Any] = Field(default_factory=dict)


class LogSection(Section):
    level: str = Field(default="INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")


class Config(Section):
    """The whole configuration. ``base`` is the directory that relative paths start from."""

    base: Path
    gateway: GatewaySection = GatewaySection()
    database: DatabaseSection
    kafka: KafkaSection
    http: HttpSection = HttpSection()
    files: FilesSection
    sms: SmsSection | None = None
    timing: TimingSection = TimingSection()
    banks: dict[NAME, BankSection] = Field(min_length=1, max_length=64)
    log: LogSection = LogSection()

    @model_validator(mode="before")
    @classmethod
    def _kafka_files(cls, document: Any) -> Any:
        """Kafka's clients are made far from ``base``, so its files are made absolute here."""
        match document:
            case {"base": Path() as base, "kafka": dict() as kafka}:
                named = [key for key in KAFKA_FILES if isinstance(kafka.get(key), str)]
                return {**document, "kafka": {**kafka, **{key: base / str(kafka[key]) for key in named}}}
        return document

    @field_validator("database")
    @classmethod
    def _one_dsn(cls, section: DatabaseSection) -> DatabaseSection:
        if (section.dsn is None) == (section.dsn_file is None):
            raise ValueError("give either dsn or dsn_file")
        return section

    def path(self, relative: Path) -> Path:
        return relative if relative.is_absolute() else self.base / relative

    def dsn(self) -> str:
        """The DSN, from its file where one is named. OSError when that cannot be read."""
        if self.database.dsn_file is None:
            return str(self.database.dsn)
        return self.path(self.database.dsn_file).read_text(encoding="utf-8").strip()


def load(path: Path) -> Config:
    """Read a configuration; ConfigError with every fault found, never only the first, and never with a value in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([does_not_exist(path)]) from None
    except OSError as error:
        raise ConfigError([f"{path.name}: cannot be read ({type(error).__name__})"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path.name}: not TOML: {_position(str(error))}"]) from None
    document["base"] = path.resolve().parent
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(readable(error)) from None
    missing = missing_files(config)
    if missing:
        raise ConfigError(missing)
    return config


def readable(error: ValidationError, prefix: str = "") -> list[str]:
    """pydantic's findings as lines ``section.field: what is wrong``, without the input that caused them.

    Only the name of a file that is not there is told: it is what has to be mended.
    """
    return [
        f"{prefix}{'.'.join(str(part) for part in fault['loc'] if part != '[key]') or 'file'}: {_plain(fault)}"
        for fault in error.errors(include_url=False)
    ]


def _plain(fault: ErrorDetails) -> str:
    words = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_pattern_mismatch":
        named = fault["loc"][0] == "banks" and fault["loc"][-1] == "[key]"
        return _BANK_NAME_FORM if named else words.replace("String should match pattern", "is not of the form")
    if words in _NO_FILE and str(fault["loc"][-1]).endswith("_file"):
        return does_not_exist(fault["input"])
    return _PLAIN_WORDS.get(fault["type"], words)


def does_not_exist(path: object) -> str:
    """What is wrong with a setting that names a file; the name is told where it looks like one."""
    named = _PATH.fullmatch(str(path)) is not None and Path(str(path)).suffix[1:].isalpha()
    return f"{path if named else 'the file that it names'} does not exist"


def missing_files(config: Config) -> list[str]:
    """A line for each file that the configuration names and that is not there."""
    named = [(f"files.{field}", getattr(config.files, field)) for field in FILE_FIELDS]
    named.append(("database.dsn_file", config.database.dsn_file))
    named += [(f"kafka.{field}", getattr(config.kafka, field)) for field in KAFKA_FILES]
    return [
        f"{where}: {does_not_exist(relative)}"
        for where, relative in named
        if relative is not None and not _is_file(config.path(relative))
    ]


def _is_file(path: Path) -> bool:
    """False also for what cannot be a path: a key that was typed where its file belongs is longer than any name."""
    try:
        return path.is_file()
    except OSError:
        return False


def _position(message: str) -> str:
    match = re.search(r"at line [0-9]+, column [0-9]+", message)
    return match[0] if match else "unreadable"
