"""The books as commands open them, and what stands unprotected between the command and them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from gateway.channels import database_on_trust
from gateway.cli.terminal import say_error
from gateway.config import Config
from gateway.store.engine import Engine
from gateway.store.store import Store


def warn(lines: Iterable[str]) -> None:
    """On standard error: a script reads the results alone."""
    for line in lines:
        say_error(f"warning: {line}")


@asynccontextmanager
async def opened_books(config: Config) -> AsyncIterator[Store]:
    """The migrated books, closed afterwards. StoreUnavailable where they are not there or of another version."""
    warn(database_on_trust(config))
    store = await Store.open(config)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_database(config: Config) -> AsyncIterator[Engine]:
    """The database itself, migrated or not, closed afterwards."""
    warn(database_on_trust(config))
    engine = await Engine.open(config.dsn(), max_connections=2, migrated=False)
    try:
        yield engine
    finally:
        await engine.close()
