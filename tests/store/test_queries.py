"""Every named query is understood by the database it is meant for."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg
import pytest

from gateway.store import engine
from tests.store.kit import Gateway
from tests.store.test_statements_hold import later, not_taken_but_debited


async def test_every_named_query_fits_the_schema(database: str) -> None:
    """Each query in the .sql files can be prepared against the migrated schema: none names what is not there."""
    connection = await asyncpg.connect(database)
    try:
        names = [name for name in engine._queries().available_queries if not name.endswith("_cursor")]
        faults = {}
        for name in names:
            try:
                await connection.prepare(engine.sql(name))
            except asyncpg.PostgresError as error:
                faults[name] = str(error)
        assert not faults
        assert len(names) > 100
    finally:
        await connection.close()


async def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    """`gateway migrate` may be repeated: the second run applies nothing and the schema is accepted."""
    first = await engine.Engine.open(empty_database, migrated=False)
    try:
        assert await first.migrate() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert await first.migrate() == []
        await first.assert_migrated()
    finally:
        await first.close()


_BEFORE_WHO_WAITS = """
    ALTER TABLE batches DROP COLUMN recalled_by;
    ALTER TABLE submissions DROP COLUMN set_aside_at;
    DROP FUNCTION held_in_submission, files_at_the_bank;
    DROP INDEX moved_lines_of_line;
    ALTER TABLE statement_differences DROP CONSTRAINT statement_differences_once;
    ALTER TABLE statement_differences ADD UNIQUE NULLS NOT DISTINCT
        (bank, day, debit_account, kind, booking, reference, booked_fen, host_reference);
    DELETE FROM schema_migrations WHERE version = 7
"""


async def test_books_from_before_migration_7_know_what_was_recalled_and_who_waits(gateway: Gateway) -> None:
    """A recalled list with a line that is held: what the columns would have said is what the migration finds."""
    remembered = """SELECT recalled_by, set_aside_at FROM submissions JOIN batches USING (batch_no)
                    WHERE submissions.state = 'PLANNED'"""
    await not_taken_but_debited(gateway)
    await gateway.order("RECALL", "O-1", None, None)
    assert await later(gateway) == 1
    async with gateway.store.engine.connection() as connection:
        (before,) = await connection.fetch(remembered)
        assert None not in tuple(before)
        await connection.execute(_BEFORE_WHO_WAITS)
    assert await gateway.store.engine.migrate() == [7]
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetch(remembered) == [before]


@pytest.mark.parametrize("name", ["0010_gap.sql", "9_short.sql", "0009-dash.sql", "0008_twice.sql"])
def test_a_migration_that_is_misnamed_or_leaves_a_gap_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What stands among the migrations is never passed over: the program says so instead of running without it."""
    kept = tmp_path / "migrations"
    shutil.copytree(engine._MIGRATIONS, kept)
    monkeypatch.setattr(engine, "_MIGRATIONS", kept)
    read = engine.migrations.__wrapped__  # as if for the first time: what was read before is remembered
    assert [version for version, _, _ in read()] == [1, 2, 3, 4, 5, 6, 7, 8]
    (kept / name).write_text("SELECT 1;", encoding="utf-8")
    with pytest.raises(ValueError, match="migration"):
        read()
