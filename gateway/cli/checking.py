"""``check``: everything that is wrong with a configuration, told at once, without contacting anybody.

A section that does not hold must not hide the faults of the others, so each file and each bank is checked by itself
with whatever of the configuration can be read.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import tomllib
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from gateway import config as configuration
from gateway import reference
from gateway.approval import KeyRing, KeyRingFault
from gateway.banks import open_banks, settings_of
from gateway.calendar import WorkCalendar
from gateway.channels import unprotected
from gateway.cli.terminal import business_clock, clock_warning, say, say_faults
from gateway.config import BankSection, Config, ConfigError, FilesSection, SmsSection
from gateway.floors import TooOld, demand_floors
from gateway.kafka_security import KafkaRefused, client_arguments
from gateway.policy import Agreement
from gateway.privacy import KeyFileFault, load_keys
from gateway.tables import TableFault
from gateway.texts import TemplateError

HORIZON_WARNING_DAYS = 90
AGREEMENT_WARNING_DAYS = 60

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def register(app: typer.Typer) -> None:
    app.command()(check)


def check(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The configuration file.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", envvar="GATEWAY_CONFIG", help="The configuration file.")
    ] = None,
) -> None:
    """Print all faults of a configuration, and what will soon be one; exit status 1 when there is a fault."""
    path = _one_of(context, file, config)
    checked = Checked(path)
    say_faults(checked.faults)
    for warning in checked.warnings:
        say(f"warning: {warning}")
    if checked.faults:
        raise typer.Exit(1)
    say(f"{path.name}: no faults")


def _one_of(context: typer.Context, file: Path | None, config: Path | None) -> Path:
    """FILE, else what option or environment say; two that are both typed are a mistake, and none is one too."""
    if file is None:
        if config is None:
            raise typer.BadParameter("give FILE, --config or GATEWAY_CONFIG")
        return config
    source = context.get_parameter_source("config")
    if source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("give FILE or --config, not both")
    return file


class Checked:
    """The faults and warnings of one configuration file."""

    def __init__(self, path: Path) -> None:
        self._faults: dict[str, None] = {}  # in order, each once
        self.warnings = [warning] if (warning := clock_warning()) else []
        self._today = business_clock().now().date()
        self._named_banks: Set[str] = frozenset()  # configured, whether or not their sections hold
        self._collect(demand_floors)
        try:
            config: Config | None = configuration.load(path)
        except ConfigError as error:
            self._note(error.faults)
            config = self._readable_rest(path)
        if config is not None:
            self._named_banks |= config.banks.keys()
            self._check(config)

    @property
    def faults(self) -> list[str]:
        return list(self._faults)

    def _readable_rest(self, path: Path) -> Config | None:
        """What can be read of a configuration that does not hold as a whole; its own faults are told already."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        sections = document.get("banks")
        sections = sections if isinstance(sections, dict) else {}
        self._named_banks = frozenset(sections)
        rest: dict[str, Any] = {"base": path.resolve().parent, "banks": dict(_valid(BankSection, sections))}
        for name, model in (("files", FilesSection), ("sms", SmsSection)):
            rest.update(_valid(model, {name: document[name]} if name in document else {}))
        return Config.model_construct(**{"files": None, "sms": None, **rest})

    def _check(self, config: Config) -> None:
        # Imported here: the application loads every step, and only this command and `run` need it.
        from gateway.app import SMS_PROFILES

        kafka = getattr(config, "kafka", None)  # not there when its section does not hold
        self.warnings += unprotected(config, SMS_PROFILES)
        if kafka is not None:
            self._collect(lambda: client_arguments(kafka))
        if config.files is not None:
            self._check_files(config, config.files)
        self._note(_missing_settings_files(config))
        self._collect(lambda: asyncio.run(_try_banks(config)))
        self._collect(lambda: asyncio.run(_try_provider(config)), "sms: ")

    def _check_files(self, config: Config, files: FilesSection) -> None:
        self._note(
            f"files.{field}: {configuration.does_not_exist(named)}"
            for field in configuration.FILE_FIELDS
            if (named := getattr(files, field)) is not None and not config.path(named).is_file()
        )
        self._file(config, files.approval_keys, KeyRing.load)
        self._file(config, files.privacy_keys, load_keys)
        self._file(config, files.programmes, reference.load_programmes)
        self._file(config, files.templates, _load_templates)
        calendar = self._file(config, files.calendar, reference.load_calendar)
        if calendar is not None:
            self._warn_of_horizon(calendar)
        column = files.agreements_adapter_column
        agreements = self._file(config, files.agreements, lambda path: reference.load_agreements(path, column))
        if agreements is not None:
            self._check_agreements(agreements)

    def _check_agreements(self, agreements: tuple[Agreement, ...]) -> None:
        valid = [agreement for agreement in agreements if agreement.valid_on(self._today)]
        for bank in sorted({agreement.bank for agreement in valid} - self._named_banks):
            self._note([f"files.agreements: valid agreements name {bank}, which is no configured bank"])
        if not valid:
            self._note(["files.agreements: no agreement is valid today, so nothing can be paid"])
        soon = self._today + dt.timedelta(days=AGREEMENT_WARNING_DAYS)
        self.warnings += [
            f"the agreement of county {agreement.county} with bank {agreement.bank_no} ends on {agreement.valid_to}"
            for agreement in valid
            if agreement.valid_to < soon
        ]

    def _warn_of_horizon(self, calendar: WorkCalendar) -> None:
        horizon = calendar.horizon()
        if horizon is None or (horizon - self._today).days < HORIZON_WARNING_DAYS:
            self.warnings.append(
                f"the calendar ends {f'on {horizon}' if horizon else 'before it begins'}: "
                "later deadlines are counted in calendar days, which is earlier than the law asks"
            )

    def _file(self, config: Config, relative: Path | None, load: Callable[[Path], T]) -> T | None:
        """What a file holds; None, and its faults noted, when it does not hold. A missing file is noted already."""
        if relative is None or not (path := config.path(relative)).is_file():
            return None
        return self._collect(lambda: load(path), f"{path.name}: ")

    def _collect(self, work: Callable[[], T], prefix: str = "") -> T | None:
        try:
            return work()
        except (ConfigError, TableFault, TemplateError, TooOld) as error:
            self._note(error.faults)
        except (KeyRingFault, KeyFileFault, KafkaRefused) as error:
            self._note([f"{prefix}{error}"])
        except OSError as error:
            self._note([f"{prefix}cannot be read ({type(error).__name__})"])
        return None

    def _note(self, faults: Any) -> None:
        self._faults.update(dict.fromkeys(faults))


def _valid(model: type[M], sections: Mapping[str, object]) -> Iterator[tuple[str, M]]:
    for name, section in sections.items():
        try:
            yield name, model.model_validate(section)
        except ValidationError:
            continue


def _missing_settings_files(config: Config) -> Iterator[str]:
    """Files that settings of banks and of the SMS provider name; not every adapter opens its own before it is used."""
    sections = [(f"banks.{name}.settings", bank.settings) for name, bank in config.banks.items()]
    if config.sms is not None:
        sections.append(("sms.settings", config.sms.settings))
    for place, settings in sections:
        yield from _missing_files_below(place, settings_of(settings, config.base))


def _missing_files_below(place: str, settings: Mapping[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _missing_files_below(f"{place}.{key}", value)
        elif key.endswith("_file") and isinstance(value, str) and not Path(value).is_file():
            yield f"{place}.{key}: {configuration.does_not_exist(value)}"


async def _try_banks(config: Config) -> None:
    """Adapters and transports are built as the gateway would build them; nobody is contacted."""
    for bank in open_banks(config).values():
        await bank.transport.close()


async def _try_provider(config: Config) -> None:
    from gateway.app import open_provider

    if (provider := open_provider(config)) is not None:
        await provider.close()


def _load_templates(path: Path) -> None:
    from gateway.app import open_templates

    try:
        open_templates(path)
    except tomllib.TOMLDecodeError:
        raise TableFault([f"{path.name}: is not TOML"]) from None
    except UnicodeDecodeError:
        raise TableFault([f"{path.name}: is not UTF-8"]) from None
