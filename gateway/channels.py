"""What travels unprotected between this gateway and everybody else, in the words of `gateway check` and each start.

Nothing here refuses: a line may be guarded below us, by a tunnel or a leased line, and only people know that. What is
told are names of sections and hosts, never another value of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from adapters import registry
from adapters.sms.contract import SmsProfile
from adapters.wire.clear import hosts_in_the_clear
from gateway.banks import settings_of
from gateway.config import Config, KafkaSection
from gateway.dsn import has_password, verifies_server

_GUARD = "set up TLS, or have the line itself guarded"


def unprotected(config: Config, sms_profiles: Mapping[str, SmsProfile]) -> list[str]:
    """A line for whatever is in the clear or taken on trust. Sections that do not hold, or are not there at all in
    what `gateway check` could read, are passed over: whoever opens them tells what is wrong with them."""
    found = [*kafka_in_the_clear(getattr(config, "kafka", None)), *database_on_trust(config)]
    found += _password_in_the_open(config)
    for place, settings in _settings(config, sms_profiles):
        what = "notices and the login" if place == "sms" else "payments and answers"
        found += [f"{place}: {what} travel unencrypted to {host}; {_GUARD}" for host in hosts_in_the_clear(settings)]
    return found


def kafka_in_the_clear(kafka: KafkaSection | None) -> Iterator[str]:
    if kafka is not None and not kafka.tls and not kafka.on_loopback:
        yield "kafka: signed lists and receipts travel unencrypted; set security_protocol"


def database_on_trust(config: Config) -> Iterator[str]:
    if getattr(config, "database", None) is None:
        return
    try:
        verified = verifies_server(config.dsn())
    except (OSError, ValueError):
        verified = True  # a file that cannot be read, or is no DSN, is told by whoever connects
    if not verified:
        yield "database: whose server it is is not checked; add sslmode=verify-full and sslrootcert"


def _password_in_the_open(config: Config) -> Iterator[str]:
    if getattr(config, "database", None) is not None and has_password(config.database.dsn):
        yield "database.dsn carries a password in the open; put it into a file and name that as dsn_file"


def _settings(config: Config, sms_profiles: Mapping[str, SmsProfile]) -> Iterator[tuple[str, Any]]:
    """The settings of each bank and of the SMS provider, judged by their own models, where these accept them."""
    for name, bank in config.banks.items():
        with suppress(registry.RegistryError, OSError, ValueError):  # pydantic's is a ValueError
            model = registry.load(bank.profile).settings
            yield f"banks.{name}", model.model_validate(settings_of(bank.settings, config.base))
    if config.sms is not None and config.sms.provider in sms_profiles:
        with suppress(OSError, ValueError):
            model = sms_profiles[config.sms.provider].settings
            yield "sms", model.model_validate(settings_of(config.sms.settings, config.base))
