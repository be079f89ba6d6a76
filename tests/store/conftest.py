"""A gateway with a toy bank for each test of the books."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.store.kit import Gateway, open_gateway


@pytest.fixture
async def gateway(database: str) -> AsyncIterator[Gateway]:
    """Store and steps over a fresh database."""
    async with open_gateway(database) as opened:
        yield opened
