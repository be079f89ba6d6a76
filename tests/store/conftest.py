"""A gateway with a toy bank for each test of the books, and the roles under which people see them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from gateway.store.engine import Engine
from tests.store.kit import Gateway, open_gateway
from tests.world.postgres import Server, execute
from tests.world.processes import run_apart


@pytest.fixture
async def gateway(database: str) -> AsyncIterator[Gateway]:
    """Store and steps over a fresh database."""
    async with open_gateway(database) as opened:
        yield opened


@dataclass(frozen=True, repr=False)
class Roles:
    """A migrated database as three people see it."""

    owner: str
    gateway: str
    auditor: str
    names: tuple[str, str]


@pytest.fixture
def roles(postgres: Server, database: str) -> Iterator[Roles]:
    """Two login roles on the server, granted by the code of `gateway migrate`."""
    names = (f"gate way-{secrets.token_hex(4)}", f"auditor_{secrets.token_hex(4)}")
    password = secrets.token_urlsafe(12)
    for name in names:
        run_apart(execute(postgres.dsn(), f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'"))
    run_apart(_grant(database, *names))
    parts = urlsplit(database)
    place = parts.netloc.rpartition("@")[2]
    gateway, auditor = (
        urlunsplit(parts._replace(netloc=f"{name.replace(' ', '%20')}:{password}@{place}")) for name in names
    )
    yield Roles(database, gateway, auditor, names)
    for name in names:
        run_apart(execute(database, f'DROP OWNED BY "{name}"'))
        run_apart(execute(postgres.dsn(), f'DROP ROLE "{name}"'))


async def _grant(dsn: str, gateway: str, auditor: str) -> None:
    engine = await Engine.open(dsn, max_connections=2)
    try:
        await engine.grant(gateway_role=gateway, auditor_role=auditor)
        await engine.grant(gateway_role=gateway, auditor_role=auditor)  # repeating it changes nothing
    finally:
        await engine.close()


@pytest.fixture
async def as_gateway(roles: Roles) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(roles.gateway)
    yield connection
    await connection.close()
