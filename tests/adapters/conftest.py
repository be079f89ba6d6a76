"""What the tests of rcc_file over real SFTP share: a server, settings that lead to it, an adapter, a wire, a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.banks.rcc_file import PROFILE
from adapters.banks.rcc_file.bank import RccFileAdapter, RccFileSettings
from adapters.contract import Rendered
from adapters.wire.sftp import SftpTransport, SftpWire
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
