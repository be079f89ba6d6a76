"""The configuration finds the SMS providers, checks their settings, and contacts nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.sms.contract import PushesReports
from gateway.app import open_provider
from gateway.config import Config, ConfigError, SmsSection

CMPP = {"host": "127.0.0.1", "port": 1, "source_addr": "900001", "secret_file": "s", "service_number": "10690001"}
SMPP = {"host": "127.0.0.1", "port": 1, "system_id": "payout", "password_file": "s", "service_number": "10690001"}


def config(base: Path, provider: str, settings: dict[str, Any], secret: bytes = b"secret\n") -> Config:
    (base / "s").write_bytes(secret)
    given: dict[str, Any] = {"base": base, "sms": SmsSection(provider=provider, settings=settings)}
    return Config.model_construct(**given)


@pytest.mark.parametrize(("name", "settings"), [("cmpp", CMPP), ("smpp", SMPP)])
async def test_a_configured_provider_is_built_and_not_contacted(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    """It has the ability to push reports, and stands unconnected until a step asks it."""
    provider = open_provider(config(tmp_path, name, settings))
    assert provider is not None
    assert provider.name == name
    pushing: object = provider
    assert isinstance(pushing, PushesReports)
    assert not pushing.connected
    await provider.close()


@pytest.mark.parametrize(
    ("name", "settings", "secret", "fault"),
    [
        ("cmpp", {**CMPP, "version": "4.0"}, b"x", "sms.settings.version"),
        ("cmpp", {**CMPP, "reference_digits": 3}, b"x", "reference_digits"),
        ("cmpp", CMPP, b"\n", "empty"),
        ("smpp", SMPP, b"longer than eight", "at most 8"),
        ("smpp", {**SMPP, "surprise": 1}, b"x", "surprise"),
        ("carrier_pigeon", {}, b"x", "cmpp, http_batch, smpp"),
    ],
)
def test_a_fault_is_told_without_the_secret(
    tmp_path: Path, name: str, settings: dict[str, Any], secret: bytes, fault: str
) -> None:
    """What is wrong is named by its key; what a secret's file holds is not."""
    with pytest.raises(ConfigError, match=fault) as caught:
        open_provider(config(tmp_path, name, settings, secret))
    assert "longer than eight" not in str(caught.value)
