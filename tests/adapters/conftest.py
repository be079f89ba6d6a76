"""What the tests over real SFTP share: a server, and for each file profile settings, an adapter, a wire and a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.banks.iso20022 import PROFILE as ISO
from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.iso20022.settings import Iso20022Settings
from adapters.banks.rcc_file import PROFILE
from adapters.banks.rcc_file.bank import RccFileAdapter, RccFileSettings
from adapters.contract import Rendered
from adapters.wire.sftp import SftpTransport, SftpWire
from tests.adapters import iso20022_kit
from tests.adapters.rcc_file_kit import AT, SAMPLE_LINES, SUBMISSION
from tests.adapters.sftp_kit import Bank, new_bank, serving


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    async with serving(new_bank(tmp_path)) as bank:
        yield bank


@pytest.fixture
def settings(bank: Bank) -> RccFileSettings:
    return RccFileSettings(sftp=bank.settings(), org="402XJ0001", biz="AG0801", return_horizon_days=5)


@pytest.fixture
def adapter(settings: RccFileSettings) -> RccFileAdapter:
    made = PROFILE.adapter("rcc", settings)
    assert isinstance(made, RccFileAdapter)
    return made


@pytest.fixture
async def wire(settings: RccFileSettings) -> AsyncIterator[SftpWire]:
    transport: SftpTransport = PROFILE.transport(settings)
    async with transport.wire() as wire:
        yield wire
    await transport.close()


@pytest.fixture
def rendered(adapter: RccFileAdapter) -> Rendered:
    return adapter.render(SUBMISSION, SAMPLE_LINES, AT)


@pytest.fixture
def iso_settings(bank: Bank) -> Iso20022Settings:
    for directory in ("in", "out"):
        (bank.root / directory).mkdir()
    given = {"sftp": bank.settings(), "return_horizon_days": 5}
    return Iso20022Settings.model_validate(iso20022_kit.AGREED | given)


@pytest.fixture
def iso(iso_settings: Iso20022Settings) -> Iso20022Adapter:
    made = ISO.adapter("iso", iso_settings)
    assert isinstance(made, Iso20022Adapter)
    return made


@pytest.fixture
async def iso_wire(iso_settings: Iso20022Settings) -> AsyncIterator[SftpWire]:
    transport: SftpTransport = ISO.transport(iso_settings)
    async with transport.wire() as wire:
        yield wire
    await transport.close()


@pytest.fixture
def iso_rendered(iso: Iso20022Adapter) -> Rendered:
    return iso.render(iso20022_kit.SUBMISSION, iso20022_kit.SAMPLE_LINES, iso20022_kit.AT)
