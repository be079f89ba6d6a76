"""Least privilege in PostgreSQL: the gateway's role does the whole job, and cannot rewrite what happened."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.store.engine import Engine, StoreUnavailable, sql
from gateway.store.resealing import PLACES
from tests.house.test_tidy import queries
from tests.store.conftest import Roles
from tests.store.kit import line, open_gateway
from tests.world.postgres import Server, execute

# What only the owner runs while migrating (DO blocks and DDL cannot be explained), and what only the sealing role may.
OWNERS = frozenset(
    {"create_migrations_table", "note_migration", "grant_reading", "grant_paying", "grant_resealing"}
    | {write for _, write, _ in PLACES.values()}
)
FORBIDDEN = (
    "UPDATE history SET event = 'x'",
    "DELETE FROM history",
    "TRUNCATE history",
    "ALTER TABLE history DISABLE TRIGGER ALL",
    "DROP TRIGGER history_is_append_only ON history",
    "SET session_replication_role = replica",
    "UPDATE payouts SET amount_fen = 1",
    "UPDATE attempts SET amount_fen = 1",
    "UPDATE payouts SET sealed = ''",
    "UPDATE batch_parts SET signature = 'x'",
    "UPDATE orders SET outcome = 'APPLIED'",
    "UPDATE outbox SET value = ''",
    "DELETE FROM attempts",
    "DELETE FROM payouts",
    "DELETE FROM outbox",
    "TRUNCATE callback_events",
    "DELETE FROM callback_events",
    "INSERT INTO schema_migrations (version, digest) VALUES (99, '')",
    "DELETE FROM schema_migrations",
    "CREATE TABLE mine (x integer)",
    "ALTER TABLE payouts ADD COLUMN x integer",
    "DROP INDEX attempts_one_live",
)


async def test_the_gateway_s_role_does_the_whole_job(roles: Roles) -> None:
    """Take, judge, pay, fail, order again, count: the real store as the role, and its books close."""
    async with open_gateway(roles.gateway) as gateway:
        await gateway.pay(3)
        await gateway.answer(
            *({"reference": gateway.reference_of(n), "proof": "CREDITED", "amount_fen": 10_000} for n in (1, 2)),
            {"reference": gateway.reference_of(3), "proof": "REJECTED", "reason": "ACCOUNT_CLOSED"},
        )
        await gateway.order("REISSUE", "O-1", 3, 1)
        await gateway.send()
        await gateway.watch.count()
        assert sum((await gateway.buckets()).values()) == 3
        assert [line_no for line_no, *_ in await gateway.outcomes()]
        assert await gateway.store.engine.rights_beyond_paying() == []


async def test_every_query_is_within_the_gateway_s_rights(as_gateway: asyncpg.Connection) -> None:
    """PostgreSQL checks the rights of each named query when it explains it: none is refused for want of a right."""
    refused = {}
    for name in queries():
        if name in OWNERS:
            continue
        try:
            await as_gateway.execute(f"EXPLAIN (GENERIC_PLAN) {sql(name)}")
        except asyncpg.InsufficientPrivilegeError as error:
            refused[name] = str(error)
    assert refused == {}


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_what_the_gateway_s_role_may_not_do_is_refused_by_postgresql(
    as_gateway: asyncpg.Connection, statement: str
) -> None:
    """History, amounts, signatures, the replay store, sent records and the schema are out of its reach."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_gateway.execute(statement)


async def test_the_auditor_reads_everything_and_writes_nothing(roles: Roles) -> None:
    """Every table can be read; none can be written, and none created."""
    connection = await asyncpg.connect(roles.auditor)
    try:
        tables = [
            row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        for table in tables:
            await connection.execute(f"SELECT * FROM {table} LIMIT 1")
            for verb in (f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(verb)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (x integer)")
    finally:
        await connection.close()
    assert len(tables) > 15


async def test_a_role_that_nothing_binds_is_not_granted_anything(roles: Roles) -> None:
    """A role that is not there or that no grant binds: an error, not a false sense of safety."""
    engine = await Engine.open(roles.owner, max_connections=2)
    try:
        assert await engine.rights_beyond_paying() == ["a superuser or an owner of the books, or a member of one"]
        with pytest.raises(StoreUnavailable, match="there is no role"):
            await engine.grant(gateway_role="nobody_here", auditor_role=None)
        with pytest.raises(StoreUnavailable, match="superuser or an owner of the books, or a member of one"):
            await engine.grant(gateway_role="postgres", auditor_role=None)
    finally:
        await engine.close()


@pytest.mark.parametrize("what", ["DATABASE", "SCHEMA"])
async def test_a_role_that_owns_what_the_books_lie_in_is_not_granted_anything(
    postgres: Server, roles: Roles, what: str
) -> None:
    """Who owns the database or the schema can drop the history that he may not change: refused, and told at start."""
    gateway, _ = roles.names
    name = urlsplit(roles.owner).path.strip("/") if what == "DATABASE" else "public"
    await execute(roles.owner, f'ALTER {what} "{name}" OWNER TO "{gateway}"')
    owner, bound = [await Engine.open(dsn, max_connections=1) for dsn in (roles.owner, roles.gateway)]
    try:
        assert await bound.rights_beyond_paying()
        with pytest.raises(StoreUnavailable, match="superuser or an owner of the books, or a member of one"):
            await owner.grant(gateway_role=gateway)
    finally:
        await owner.close()
        await bound.close()
        await execute(roles.owner, f'ALTER {what} "{name}" OWNER TO "{urlsplit(roles.owner).username}"')


@pytest.mark.parametrize("mighty", ["pg_write_all_data", "pg_write_server_files", "pg_execute_server_program"])
async def test_a_role_that_the_server_itself_lets_write_is_not_granted_anything(
    postgres: Server, roles: Roles, mighty: str
) -> None:
    """Whoever may write every table, or files and programs of the server, is bound by no grant on ours."""
    gateway, _ = roles.names
    await execute(postgres.dsn(), f'GRANT {mighty} TO "{gateway}"')
    owner, bound = [await Engine.open(dsn, max_connections=1) for dsn in (roles.owner, roles.gateway)]
    try:
        assert await bound.rights_beyond_paying()
        with pytest.raises(StoreUnavailable, match="superuser or an owner of the books, or a member of one"):
            await owner.grant(gateway_role=gateway)
    finally:
        await owner.close()
        await bound.close()


@pytest.mark.parametrize("how", ["INHERIT TRUE", "INHERIT FALSE"])
async def test_a_member_of_a_superuser_is_not_granted_anything(postgres: Server, roles: Roles, how: str) -> None:
    """Whoever may become a superuser by SET ROLE, be it through a role between, is bound by no grant."""
    gateway, _ = roles.names
    mighty, between = f"mighty_{secrets.token_hex(4)}", f"between_{secrets.token_hex(4)}"
    await execute(postgres.dsn(), f"CREATE ROLE {mighty} SUPERUSER")
    await execute(postgres.dsn(), f"CREATE ROLE {between}")
    await execute(postgres.dsn(), f"GRANT {mighty} TO {between} WITH {how}")
    await execute(postgres.dsn(), f'GRANT {between} TO "{gateway}" WITH {how}')
    owner, bound = [await Engine.open(dsn, max_connections=1) for dsn in (roles.owner, roles.gateway)]
    try:
        assert await bound.rights_beyond_paying() == ["a superuser or an owner of the books, or a member of one"]
        with pytest.raises(StoreUnavailable, match="or a member of one"):
            await owner.grant(gateway_role=gateway)
    finally:
        await owner.close()
        await bound.close()
        await execute(postgres.dsn(), f"DROP ROLE {between}")
        await execute(postgres.dsn(), f"DROP ROLE {mighty}")


BEYOND = (
    ("GRANT UPDATE ON payouts TO PUBLIC", ["UPDATE ON payouts"]),
    ("GRANT UPDATE (amount_fen, sealed) ON payouts TO PUBLIC", ["UPDATE (amount_fen, sealed) ON payouts"]),
    ("GRANT ALL ON evidence TO PUBLIC", [f"{what} ON evidence" for what in ("DELETE", "MAINTAIN", "REFERENCES")]),
    ("GRANT UPDATE (outcome) ON orders TO {role}", ["UPDATE (outcome) ON orders"]),
    ("GRANT UPDATE ON batch_parts TO {other}", ["UPDATE ON batch_parts"]),
    ("GRANT DELETE ON callback_events TO {other}", ["DELETE ON callback_events"]),
    ("GRANT TRUNCATE ON leases TO {role}", ["TRUNCATE ON leases"]),
    ("GRANT UPDATE ON history TO PUBLIC", ["UPDATE ON history"]),
    ("GRANT INSERT ON schema_migrations TO PUBLIC", ["INSERT ON schema_migrations"]),
    ("GRANT UPDATE ON SEQUENCE orders_order_no_seq TO PUBLIC", ["USAGE or UPDATE ON orders_order_no_seq"]),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", ["CREATE ON SCHEMA"]),
    ('GRANT CREATE ON DATABASE "{database}" TO {role}', ["CREATE ON DATABASE"]),
    ("GRANT SET ON PARAMETER session_replication_role TO {role}", ["SET session_replication_role"]),
)


@pytest.mark.parametrize(("grant", "found"), BEYOND)
async def test_whatever_the_role_may_do_beyond_paying_is_found(
    postgres: Server, roles: Roles, grant: str, found: list[str]
) -> None:
    """Granted to it, to everybody, or to a role it is a member of without inheriting: each right is named."""
    gateway, _ = roles.names
    other, database = f"other_{secrets.token_hex(4)}", urlsplit(roles.owner).path.strip("/")
    await execute(postgres.dsn(), f"CREATE ROLE {other}")
    await execute(postgres.dsn(), f'GRANT {other} TO "{gateway}" WITH INHERIT FALSE')
    bound = await Engine.open(roles.gateway, max_connections=1)
    try:
        assert await bound.rights_beyond_paying() == []
        await execute(roles.owner, grant.format(role=f'"{gateway}"', other=other, database=database))
        assert (await bound.rights_beyond_paying())[: len(found)] == found
    finally:
        await bound.close()
        await execute(roles.owner, f"DROP OWNED BY {other}")
        await execute(postgres.dsn(), f"DROP ROLE {other}")


async def test_the_owner_s_reach_shows_that_the_refusals_are_the_role_s(roles: Roles) -> None:
    """The control: as the owner the amount can be changed, so it is the missing right that refuses the gateway."""
    async with open_gateway(roles.gateway) as gateway:
        await gateway.batch([line(1)])
        await gateway.fund("100.00")
        await gateway.judge()
    connection = await asyncpg.connect(roles.owner)
    assert await connection.execute("UPDATE payouts SET amount_fen = 1") == "UPDATE 1"
    await connection.close()
