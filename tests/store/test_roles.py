"""Least privilege in PostgreSQL: the gateway's role does the whole job, and cannot rewrite what happened.

What it may write and still must not undo is refused by the schema; what it may add and nobody approved is never sent.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.store.engine import Engine, StoreUnavailable, sql
from gateway.store.resealing import PLACES
from tests.house.test_tidy import queries
from tests.store.conftest import Roles
from tests.store.kit import BANK_NO, Gateway, line, open_gateway
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

# What the role has the right to write, and the schema refuses: of five lines, 1 is credited and 2 has come back, 3 is
# rejected, 4 is cancelled, and 5 is on its way.
UNDOING = (
    "UPDATE attempts SET live = false, state = 'REJECTED' WHERE state = 'CREDITED'",
    "UPDATE attempts SET live = false, state = 'NOT_EXECUTED' WHERE state = 'CREDITED'",
    "UPDATE attempts SET live = false, state = 'VOID' WHERE state = 'CREDITED'",
    "UPDATE attempts SET state = 'IN_DOUBT' WHERE state = 'CREDITED'",
    "UPDATE attempts SET state = NULL WHERE state = 'CREDITED'",
    "UPDATE attempts SET submission_id = submission_id + 99 WHERE state = 'CREDITED'",
    "UPDATE attempts SET state = 'CREDITED', live = true WHERE state = 'RETURNED'",
    "UPDATE attempts SET state = 'REJECTED' WHERE state = 'RETURNED'",
    "UPDATE attempts SET state = NULL, live = true WHERE state = 'REJECTED'",
    "UPDATE attempts SET state = 'NOT_EXECUTED' WHERE state = 'REJECTED'",
    "UPDATE attempts SET state = 'RETURNED', credited_at = now(), returned_at = now() WHERE state = 'REJECTED'",
    "UPDATE attempts SET state = NULL, live = true WHERE state = 'VOID'",
    "MERGE INTO attempts a USING payouts p ON a.payout_id = p.payout_id AND a.state = 'CREDITED'"
    " WHEN MATCHED THEN UPDATE SET live = false, state = 'REJECTED'",
    "UPDATE batches SET planned_line = 0, state = 'PAYING'",
    "UPDATE batches SET planned_line = planned_line - 1",
    "UPDATE payouts SET cancelled_at = NULL WHERE cancelled_at IS NOT NULL",
    "UPDATE submissions SET transmissions = 0 WHERE transmissions > 0",
    "UPDATE submissions SET unsent = transmissions WHERE transmissions > 0",
    "UPDATE submissions SET unsent = -1",
    "UPDATE submissions SET state = 'PLANNED' WHERE state = 'RETIRED'",
    "UPDATE submissions SET state = 'RENDERED' WHERE state = 'CLOSED'",
)
ANOTHER = "659999-XJ-NY-01-2026-0002"
# Line, number of the attempt, its amount, its state: a further attempt that nothing founds.
UNFOUNDED = (
    (1, 2, 10_000, None),
    (1, 2, 10_000, "REJECTED"),
    (2, 2, 10_001, None),
    (2, 3, 10_000, None),
    (2, 2, 10_000, "CREDITED"),
    (3, 2, 999_999, None),
    (4, 2, 10_000, None),
    (5, 2, 10_000, None),
    (6, 2, 10_000, None),
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


def payout(number: int, batch_no: int = 1) -> int:
    return (batch_no << 20) + number


async def forge(role: asyncpg.Connection, number: int, attempt_no: int, amount_fen: int, **fields: Any) -> None:
    """Insert an attempt of a payout, and the submission in which it is to travel unless one is named."""
    submission = fields.get("submission") or await role.fetchval(
        "INSERT INTO submissions (batch_no, bank, reference, county, bank_no, debit_account, debit_name, sms_signature,"
        " lines, open_lines, amount_fen, limit_at, hold_at, due_at) VALUES (1, 'rcc_file', 'F' || $1, '659999', $2,"
        " '6599990000000017', '专户', '银行', 1, 1, $3, now(), now(), '2026-01-01T00:00:00Z') RETURNING submission_id",
        secrets.token_hex(8),
        BANK_NO,
        amount_fen,
    )
    state = fields.get("state")
    await role.execute(
        "INSERT INTO attempts (submission_id, seq, payout_id, attempt_no, bank, reference, amount_fen, live, state,"
        " credited_at) VALUES ($1, 900, $2, $3, 'rcc_file', $4, $5, $6, $7, now())",
        submission,
        payout(number, fields.get("batch_no", 1)),
        attempt_no,
        f"FORGED{secrets.token_hex(8)}".upper(),
        amount_fen,
        state != "REJECTED",
        state,
    )


async def five_lines(gateway: Gateway) -> None:
    """Credited, come back, rejected, cancelled before it was sent, on its way."""
    await gateway.batch([line(number) for number in range(1, 6)])
    await gateway.fund("500.00")
    await gateway.judge()
    await gateway.cut_and_render()
    await gateway.order("CANCEL", "O-1", 4, 1)
    await gateway.send()
    credited = [{"reference": gateway.reference_of(n), "proof": "CREDITED", "amount_fen": 10_000} for n in (1, 2)]
    await gateway.answer(
        *credited, {"reference": gateway.reference_of(3), "proof": "REJECTED", "reason": "ACCOUNT_CLOSED"}
    )
    await gateway.answer({"reference": gateway.reference_of(2), "proof": "RETURNED", "amount_fen": 10_000})


async def test_what_is_settled_is_not_undone_by_who_may_write_it(roles: Roles, as_gateway: asyncpg.Connection) -> None:
    """No outcome, no cancellation, no cut, no transmission: each refused by the schema, and nothing travels again."""
    async with open_gateway(roles.gateway) as gateway:
        await five_lines(gateway)
        await gateway.batch([{**line(6), "line": 1}], ANOTHER)
        await gateway.fund("100.00", ANOTHER, "F-2")
        await gateway.judge()
        await gateway.send()
        await gateway.answer({"reference": gateway.reference_of(1), "proof": "CREDITED", "amount_fen": 10_000})
        sent = len(gateway.bank.sent)
        undone = []
        for statement in UNDOING:
            try:
                undone.append((statement, await as_gateway.execute(statement)))
            except asyncpg.RestrictViolationError:
                continue
        assert undone == []
        await gateway.send()
        assert len(gateway.bank.sent) == sent
        await gateway.buckets()


@pytest.mark.parametrize(("number", "attempt_no", "amount_fen", "state"), UNFOUNDED)
async def test_a_further_attempt_needs_one_that_failed(
    roles: Roles, as_gateway: asyncpg.Connection, number: int, attempt_no: int, amount_fen: int, state: str | None
) -> None:
    """Not after a credit, a cancellation or none at all, not of another amount, not with an outcome: refused.

    Also where the session puts tables of its own before the books.
    """
    async with open_gateway(roles.gateway) as gateway:
        await five_lines(gateway)
        sent = len(gateway.bank.sent)
        await as_gateway.execute("CREATE TEMP TABLE payouts AS SELECT * FROM public.payouts")
        await as_gateway.execute("UPDATE pg_temp.payouts SET cancelled_at = NULL, amount_fen = $1", amount_fen)
        with pytest.raises((asyncpg.RestrictViolationError, asyncpg.UniqueViolationError)):
            async with as_gateway.transaction():
                await forge(as_gateway, number, attempt_no, amount_fen, state=state)
        await gateway.send()
        assert len(gateway.bank.sent) == sent


async def test_a_further_attempt_after_one_that_failed_is_the_role_s_work(
    roles: Roles, as_gateway: asyncpg.Connection
) -> None:
    """The control: with the approved amount, after a rejection or a return, the same insertions are taken."""
    async with open_gateway(roles.gateway) as gateway:
        await five_lines(gateway)
        for number in (2, 3):
            await forge(as_gateway, number, 2, 10_000)


@pytest.mark.parametrize(("amount_fen", "cancelled"), [(999_999, False), (10_000, True)])
async def test_what_nobody_approved_is_never_sent(
    roles: Roles, as_gateway: asyncpg.Connection, amount_fen: int, cancelled: bool
) -> None:
    """A first attempt of another amount, or of a cancelled payout: frozen before it has bytes, told, and kept."""
    async with open_gateway(roles.gateway) as gateway:
        await gateway.batch([line(1), line(2)])
        await gateway.judge()
        if cancelled:
            await gateway.order("CANCEL", "O-1", 1, 1)
        await forge(as_gateway, 1, 1, amount_fen)
        await gateway.cut_and_render()
        await gateway.send()
        assert gateway.bank.sent == []
        (frozen,) = await as_gateway.fetch("SELECT payout_id FROM payouts WHERE conflict_at IS NOT NULL")
        assert frozen["payout_id"] == payout(1)
        (kept,) = await as_gateway.fetch(
            "SELECT a.amount_fen, a.state, s.state AS waits FROM attempts a JOIN submissions s USING (submission_id)"
        )
        assert dict(kept) == {"amount_fen": amount_fen, "state": None, "waits": "PLANNED"}
        body = await as_gateway.fetchval("SELECT convert_from(body, 'UTF8') FROM history WHERE event = 'SET_ASIDE'")
        assert f'"unapproved":[{payout(1)}]' in body


async def test_a_line_slipped_in_stops_nobody_else_s(roles: Roles, as_gateway: asyncpg.Connection) -> None:
    """Another amount among honest lines that are about to be rendered: they travel, it does not."""
    async with open_gateway(roles.gateway) as gateway:
        await gateway.batch([{**line(9), "line": 1}], ANOTHER)
        await gateway.judge()
        await gateway.batch([line(1), line(2)])
        await gateway.fund("200.00")
        await gateway.judge()
        await gateway.dispatch.plan()
        cut = await as_gateway.fetchval("SELECT submission_id FROM submissions")
        await forge(as_gateway, 1, 1, 999_999, submission=cut)
        await gateway.send()
        (sent,) = gateway.bank.sent
        assert sent.total_fen == 20_000
        assert len(sent.references) == 2
        assert (await gateway.buckets(2)) == {"in_flight": 2}


@pytest.mark.parametrize("state", ["DEFERRED", "RENDERED"])
async def test_bytes_with_a_credited_line_do_not_travel_again(
    roles: Roles, as_gateway: asyncpg.Connection, state: str
) -> None:
    """Whoever says that a submission may be sent again: not while the outcome of one of its lines is known."""
    async with open_gateway(roles.gateway) as gateway:
        await gateway.pay(2)
        await gateway.answer({"reference": gateway.reference_of(1), "proof": "CREDITED", "amount_fen": 10_000})
        await as_gateway.execute(
            "UPDATE submissions SET state = $1, due_at = '2026-01-01T00:00:00Z', lease_until = NULL", state
        )
        await gateway.dispatch.send(gateway.entry)
        assert len(gateway.bank.sent) == 1


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
