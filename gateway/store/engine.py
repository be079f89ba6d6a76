"""The door to PostgreSQL: settings that money depends on, migrations, named queries, short shielded transactions."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import aiosql
import asyncpg

from gateway.log import get_logger

Connection = asyncpg.pool.PoolConnectionProxy
Row = dict[str, Any]
_SQL_DIRECTORY: Final = Path(__file__).parent / "sql"
_MIGRATIONS: Final = _SQL_DIRECTORY / "migrations"

# A commit that is acknowledged must be on the disk: on a server without these three no connection is used (R6).
DURABILITY: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
LEAST_SERVER_VERSION: Final = 180_000
STRONGER_COMMITS: Final = frozenset({"on", "remote_apply", "remote_write", "local"})
# Cancelled calls may keep row locks; the server must not keep them for ever.
SESSION_SETTINGS: Final = {
    "application_name": "payout-gateway",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "15s",
    "hash_mem_multiplier": "32",  # else a list of more than some 50,000 entries of a statement is read for each of them
    "jit": "off",
}
# Lost races, not faults: the whole transaction runs again.
_RACES: Final = (
    asyncpg.UniqueViolationError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
# The server is there and answers questions, but takes no more: its disk is full or failing, or it is a standby.
_UNWRITABLE: Final = (asyncpg.DiskFullError, asyncpg.PostgresIOError, asyncpg.ReadOnlySQLTransactionError)
# The line or the server is gone; what was asked may have been done. A statement that took too long is not among them:
# the next one of its kind takes as long.
_GONE: Final = (
    OSError,  # a timeout in waiting for a connection, too
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a server that is killed while it answers: the last message finds nobody waiting
)
# Longer than the longest pause of a failing step: who was refused has tried again within it, or has nothing to write.
UNWRITABLE_SECONDS: Final = 12
log = get_logger("store")


class StoreUnavailable(Exception):
    """PostgreSQL cannot be used: not reachable, not durable, or not migrated. The message names which."""


@cache
def _queries() -> Any:
    return aiosql.from_path(_SQL_DIRECTORY / "queries", "asyncpg", mandatory_parameters=False)


@cache
def sql(name: str) -> str:
    """The text of a named query from ``sql/queries``. Raises AttributeError for a name that is not there."""
    return str(getattr(_queries(), name).sql)


class Engine:
    """A bounded pool of connections. Every write goes through ``transaction``."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._unwritable = ""
        self._unwritable_at = 0.0  # of the monotonic clock, never money

    @classmethod
    async def open(cls, dsn: str, *, max_connections: int = 8, migrated: bool = True) -> Engine:
        """Connect, assert durability, and (``migrated``) that the schema is this program's. StoreUnavailable if not."""
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=max_connections,
                timeout=10,
                command_timeout=70,
                server_settings=SESSION_SETTINGS,
                init=_assert_durable,
            )
        except Exception as error:
            if isinstance(error, asyncpg.PostgresError) or outage(error):
                raise StoreUnavailable(f"PostgreSQL cannot be reached ({type(error).__name__})") from error
            raise
        engine = cls(pool)
        try:
            await engine._assert_version()
            if migrated:
                await engine.assert_migrated()
        except BaseException as error:
            await engine.close()
            if outage(error):
                raise StoreUnavailable(f"PostgreSQL went away ({type(error).__name__})") from error
            raise
        return engine

    async def close(self) -> None:
        """Give connections ten seconds to finish, then drop them: crash safety makes that legal."""
        try:
            async with asyncio.timeout(10):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.acquire(timeout=15) as connection:
                yield connection
        except _UNWRITABLE as error:
            self._unwritable, self._unwritable_at = type(error).__name__, time.monotonic()
            raise

    async def fetch(self, name: str, *arguments: Any) -> list[Row]:
        async with self.connection() as connection:
            return [dict(row) for row in await connection.fetch(sql(name), *arguments)]

    async def fetchrow(self, name: str, *arguments: Any) -> Row | None:
        async with self.connection() as connection:
            row = await connection.fetchrow(sql(name), *arguments)
            return None if row is None else dict(row)

    async def execute(self, name: str, *arguments: Any) -> int:
        """Run one statement in its own transaction; the number of rows it touched."""
        async with self.connection() as connection:
            return touched(await connection.execute(sql(name), *arguments))

    async def ping(self) -> None:
        """Ask for an answer; StoreUnavailable for a server that is not durable (any more), or has refused to write.

        Settings change with a reload, under open connections. Those are dropped then, and new ones are refused. A
        full disk still answers questions, so what the last writes met is remembered.
        """
        try:
            async with self.connection() as connection:
                await _assert_durable(connection)
        except StoreUnavailable:
            await self._pool.expire_connections()
            raise
        if self._unwritable and time.monotonic() - self._unwritable_at < UNWRITABLE_SECONDS:
            raise StoreUnavailable(f"PostgreSQL refuses to write ({self._unwritable})")

    async def _assert_version(self) -> None:
        async with self.connection() as connection:
            version = await connection.fetchval(sql("server_version"))
        if version < LEAST_SERVER_VERSION:
            raise StoreUnavailable(
                f"PostgreSQL {LEAST_SERVER_VERSION // 10_000} is needed; this is {version // 10_000}"
            )

    async def rights_beyond_paying(self) -> list[str]:
        """What the role we run as may do to the books beyond what ``grant`` gives a gateway: nothing, in production."""
        async with self.connection() as connection:
            if not await connection.fetchval(sql("role_is_ordinary"), None):
                return ["a superuser or an owner of the books, or a member of one"]
            given = await connection.fetch(sql("paying_rights"))
            columns = [[row[name] for row in given] for name in ("privilege", "table_name", "column_name")]
            return [row["beyond"] for row in await connection.fetch(sql("rights_beyond"), *columns)]

    async def grant(
        self, *, gateway_role: str | None = None, auditor_role: str | None = None, sealing_role: str | None = None
    ) -> None:
        """Give roles that exist what their work needs and nothing else. StoreUnavailable for a role nothing binds."""
        for role, grants in (
            (gateway_role, ("grant_reading", "grant_paying")),
            (auditor_role, ("grant_reading",)),
            (sealing_role, ("grant_reading", "grant_resealing")),
        ):
            if role is None:
                continue
            async with self.transaction() as connection:
                await connection.execute(sql("lock_migrations"))
                if not await connection.fetchval(sql("role_exists"), role):
                    raise StoreUnavailable(f"there is no role {role}: CREATE ROLE it first, with its password")
                if not await connection.fetchval(sql("role_is_ordinary"), role):
                    raise StoreUnavailable(
                        f"{role} is a superuser or an owner of the books, or a member of one: no grant would bind it"
                    )
                rights = [dict(row) for row in await connection.fetch(sql("paying_rights"))]
                await connection.execute(sql("name_role"), role, json.dumps(rights))
                for name in grants:
                    await connection.execute(sql(name))

    async def assert_migrated(self) -> None:
        """StoreUnavailable unless exactly this program's migrations are applied, unchanged."""
        async with self.connection() as connection:
            if not await connection.fetchval(sql("has_migrations_table")):
                raise StoreUnavailable("the database is empty: run `gateway migrate`")
            rows = await connection.fetch(sql("applied_migrations"))
        applied = {row["version"]: bytes(row["digest"]) for row in rows}
        for version, _, digest in migrations():
            if version not in applied:
                raise StoreUnavailable(f"migration {version} is not applied: run `gateway migrate`")
            if applied.pop(version) != digest:
                raise StoreUnavailable(f"migration {version} differs from the one that was applied")
        if applied:
            raise StoreUnavailable(f"the database is newer than this program (migration {max(applied)})")

    async def migrate(self) -> list[int]:
        """Apply what is missing, one transaction a migration, under a lock; the versions applied now."""
        done: list[int] = []
        async with self.transaction() as connection:
            await connection.execute(sql("create_migrations_table"))
        for version, text, digest in migrations():
            async with self.transaction() as connection:
                await connection.execute(sql("lock_migrations"))
                row = await connection.fetchrow(sql("applied_migration"), version)
                if row is None:
                    await connection.execute(text)
                    await connection.execute(sql("note_migration"), version, digest)
                    done.append(version)
                elif bytes(row["digest"]) != digest:
                    raise StoreUnavailable(f"migration {version} differs from the one that was applied")
        return done


async def _assert_durable(connection: Any) -> None:
    """StoreUnavailable unless what this session commits is on the disk when it is told so."""
    rows = await connection.fetch(sql("durability_settings"), list(DURABILITY))
    seen = {row["name"]: row["setting"] for row in rows}
    for name, wanted in DURABILITY.items():
        value = seen.get(name)
        if value != wanted and not (name == "synchronous_commit" and value in STRONGER_COMMITS):
            raise StoreUnavailable(f"PostgreSQL runs with {name}={value}; payments need {name}={wanted}")


@cache
def migrations() -> tuple[tuple[int, str, bytes], ...]:
    """All migrations in order: version, text, SHA-256. Versions are 1, 2, 3... without a gap."""
    found = []
    for path in sorted(_MIGRATIONS.glob("*.sql")):
        match = re.fullmatch(r"([0-9]{4})_[a-z0-9_]+\.sql", path.name)
        if match is None:
            raise ValueError(f"not a migration's name: {path.name}")
        text = path.read_text(encoding="utf-8")
        found.append((int(match[1]), text, hashlib.sha256(text.encode()).digest()))
    if [version for version, _, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations are numbered without a gap")
    return tuple(found)


def touched(status: str) -> int:
    """Rows touched, from PostgreSQL's command tag such as ``UPDATE 3``."""
    return int(status.rsplit(" ", 1)[-1])


def outage(error: BaseException) -> bool:
    """Whether the database failed, not what was asked of it: everybody fails alike, and nothing was decided."""
    # asyncpg's words for what can never work. (A certificate that does not hold is a ValueError as well.)
    unfit = isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    return isinstance(error, (*_UNWRITABLE, *_GONE)) and not unfit


def lost_race(error: BaseException) -> bool:
    """Whether a failed transaction only lost a race and may run again from its start."""
    return isinstance(error, _RACES)
