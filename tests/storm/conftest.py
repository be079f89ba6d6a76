"""The fixtures that proofs share with the tests of the books, and what each proof puts back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from gateway import log
from tests.store.conftest import gateway

__all__ = ["gateway"]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Proofs send logs where they like, also to streams that end with them: nobody else's lines get lost there."""
    settings = structlog.get_config()
    yield
    structlog.configure(**settings)
    log._Lines.lost = 0
