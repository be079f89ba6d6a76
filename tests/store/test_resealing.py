"""Sealing again: what is under an old key comes under the active one, by a role that may do nothing else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.store.engine import Engine, StoreUnavailable, sql, touched
from gateway.store.resealing import PLACES, Resealed, Resealing
from gateway.vault import Vault
from tests.store.kit import Gateway
from tests.store.sealed_kit import COLUMNS, fill, opens, rows_of, with_key
from tests.world.postgres import Server, execute
from tests.world.processes import run_apart


@pytest.fixture
def sealer(postgres: Server, database: str) -> Iterator[str]:
    """The DSN of a role that was granted what sealing again needs, and nothing else."""
    name = f"sealer {secrets.token_hex(4)}"
    run_apart(execute(postgres.dsn(), f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'x'"))
    run_apart(_grant(database, name))
    place = urlsplit(database).netloc.rpartition("@")[2]
    yield urlunsplit(urlsplit(database)._replace(netloc=f"{quote(name)}:x@{place}"))
    run_apart(execute(database, f'DROP OWNED BY "{name}"'))
    run_apart(execute(postgres.dsn(), f'DROP ROLE "{name}"'))


async def _grant(dsn: str, name: str) -> None:
    engine = await Engine.open(dsn, max_connections=2)
    try:
        await engine.grant(sealing_role=name)
    finally:
        await engine.close()


async def _round(dsn: str, vault: Vault) -> Resealed:
    engine = await Engine.open(dsn, max_connections=2)
    try:
        return await Resealing(engine).round(vault.head, vault.reseal)
    finally:
        await engine.close()


async def test_every_sealed_column_comes_under_the_active_key(gateway: Gateway, sealer: str) -> None:
    """All nine of them, as the sealing role; what each row says is the same, and the old key is needed no more."""
    await fill(gateway)
    ahead = with_key(gateway.vault, "k2", active=True)
    alone = with_key(ahead, "k2", active=True, without="k1")
    before = {}
    async with gateway.store.engine.connection() as connection:
        for table in PLACES:
            found = await rows_of(connection, table)
            assert found, table
            before[table] = sorted(gateway.vault.unseal(r["sealed"], table, *r["context"]) for r in found)
        done = await _round(sealer, ahead)
        assert set(done.rows) == set(PLACES)
        assert (done.broken, done.missed) == ({}, 0)
        for table in PLACES:
            found = await rows_of(connection, table)
            assert sorted(alone.unseal(r["sealed"], table, *r["context"]) for r in found) == before[table]
    assert not (await _round(sealer, ahead)).rows
    assert {key for _, key, _ in await gateway.store.resealing.by_key()} == {"k2"}


async def test_a_row_that_somebody_changed_meanwhile_is_not_written_over(gateway: Gateway) -> None:
    """The bytes that were read must still be there: a binding that is loaded in between keeps its new content."""
    await fill(gateway)
    ahead = with_key(gateway.vault, "k2", active=True)
    newer = gateway.vault.seal(b"newer", "account_bindings", "x")

    def change_first(sealed: bytes, table: str, *row: object) -> bytes:
        if table == "account_bindings":
            run_apart(_set_bindings(gateway.config.dsn(), newer))
        return ahead.reseal(sealed, table, *row)

    done = await gateway.store.resealing.round(ahead.head, change_first)
    assert done.missed == 2
    async with gateway.store.engine.connection() as connection:
        assert {bytes(r["sealed"]) for r in await rows_of(connection, "account_bindings")} == {newer}


async def _set_bindings(dsn: str, sealed: bytes) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE account_bindings SET sealed = $1", sealed)
    await connection.close()


async def test_an_end_in_the_middle_loses_nothing_and_starting_again_finishes(gateway: Gateway) -> None:
    """The process dies at the tenth row: each row is under one key or the other, and a second start does the rest."""
    await fill(gateway)
    ahead = with_key(gateway.vault, "k2", active=True)
    done = 0

    def dies(sealed: bytes, table: str, *row: object) -> bytes:
        nonlocal done
        done += 1
        if done == 10:
            raise RuntimeError("killed")
        return ahead.reseal(sealed, table, *row)

    with pytest.raises(RuntimeError):
        await gateway.store.resealing.round(ahead.head, dies)
    async with gateway.store.engine.connection() as connection:
        for table in PLACES:
            assert all(opens(ahead, table, r["context"], r["sealed"]) for r in await rows_of(connection, table))
    assert {key for _, key, _ in await gateway.store.resealing.by_key()} == {"k1", "k2"}
    await gateway.store.resealing.round(ahead.head, ahead.reseal)
    assert {key for _, key, _ in await gateway.store.resealing.by_key()} == {"k2"}


async def test_the_sealing_role_writes_what_is_sealed_and_nothing_else(gateway: Gateway, sealer: str) -> None:
    """PostgreSQL refuses it everything else, and refuses the gateway's own login nothing it had before."""
    connection = await asyncpg.connect(sealer)
    try:
        for stale, write, _ in PLACES.values():
            await connection.execute(f"EXPLAIN (GENERIC_PLAN) {sql(stale)}")
            await connection.execute(f"EXPLAIN (GENERIC_PLAN) {sql(write)}")
        for statement in (
            "UPDATE payouts SET amount_fen = 1",
            "UPDATE submissions SET state = 'PLANNED'",
            "UPDATE history SET event = 'x'",
            "UPDATE batch_parts SET digest = ''",
            "INSERT INTO banks (bank) VALUES ('x')",
            *(f"DELETE FROM {table}" for table in COLUMNS),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_role_that_may_not_is_told_which_one_may(gateway: Gateway, sealer: str) -> None:
    """As somebody who only reads: an error in our words, and nothing is written."""
    await fill(gateway)
    name = unquote(urlsplit(sealer).username or "")
    await _execute(gateway, f'REVOKE UPDATE (sealed) ON batch_parts FROM "{name}"')
    with pytest.raises(StoreUnavailable, match="--sealing-role"):
        await _round(sealer, with_key(gateway.vault, "k2", active=True))


async def _execute(gateway: Gateway, statement: str) -> None:
    async with gateway.store.engine.connection() as connection:
        await connection.execute(statement)


@pytest.mark.parametrize("lost", [False, True])
async def test_the_command_says_what_it_did_and_what_it_could_not(
    gateway: Gateway, sealer: str, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """All sealed again: exit 0, and the key that is needed no more. A lost key: exit 1, its id, and the rest done."""
    await fill(gateway)
    ahead = with_key(gateway.vault, "k2", active=True)
    if lost:  # one row lies under a key that the file does not hold
        gone = with_key(gateway.vault, "k0", active=True)
        async with gateway.store.engine.connection() as connection:
            (row, *_) = await rows_of(connection, "payouts")
            blob = gone.reseal(row["sealed"], "payouts", *row["context"])
            await connection.execute("UPDATE payouts SET sealed = $1 WHERE ctid = $2", blob, row["place"])
    keys = ahead._keys
    section = gateway.config.database.model_copy(update={"dsn": sealer})
    config = gateway.config.model_copy(update={"database": section})
    monkeypatch.setattr("gateway.cli.resealing.configuration.load", lambda _: config)
    monkeypatch.setattr("gateway.cli.resealing.load_keys", lambda _: keys)
    said = await asyncio.to_thread(CliRunner().invoke, app, ["reseal", "-c", __file__])  # it runs a loop of its own
    assert said.exit_code == (1 if lost else 0)
    if lost:
        assert "payouts: 1 do not open (UNKNOWN_KEY, sealed under k0)" in said.output
        assert "1 rows are sealed under k0, which the key file does not hold" in said.output
    else:
        assert "no row needs k1" in said.output


@pytest.mark.parametrize("table", PLACES)
async def test_no_table_is_written_where_the_bytes_are_others(gateway: Gateway, table: str) -> None:
    """Place and old bytes both have to fit, in each of the nine: a row that was changed since is somebody's work."""
    await fill(gateway)
    _, write, _ = PLACES[table]
    async with gateway.store.engine.connection() as connection:
        before = {row["place"]: bytes(row["sealed"]) for row in await rows_of(connection, table)}
        place, sealed = next(iter(before.items()))
        for at, old in ((place, b"other bytes"), ((place[0], place[1] + 1_000), sealed)):
            assert touched(await connection.execute(sql(write), [at], [old], [b"fresh"])) == 0
        assert {row["place"]: bytes(row["sealed"]) for row in await rows_of(connection, table)} == before


@pytest.mark.parametrize(("races", "finished"), [(4, True), (5, False)])
async def test_a_window_that_lost_a_race_is_walked_again_five_times_at_most(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, races: int, finished: bool
) -> None:
    """A deadlock with a gateway at work undoes one window: it is walked again, and nothing of it is left out."""
    await fill(gateway)
    ahead = with_key(gateway.vault, "k2", active=True)
    lost = iter([asyncpg.DeadlockDetectedError("deadlock detected")] * races)
    really = Resealing._window

    async def races_first(self: Resealing, *arguments: Any) -> None:
        if (error := next(lost, None)) is not None:
            raise error
        await really(self, *arguments)

    monkeypatch.setattr(Resealing, "_window", races_first)
    walk = gateway.store.resealing.round(ahead.head, ahead.reseal)
    if finished:
        assert set((await walk).rows) == set(PLACES)
        assert {key for _, key, _ in await gateway.store.resealing.by_key()} == {"k2"}
    else:
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await walk
