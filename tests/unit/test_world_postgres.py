"""The embedded PostgreSQL: durable, private, restartable; fresh databases from the migrated template."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import asyncpg
import pytest

from tests.world import postgres as embedded
from tests.world.postgres import SETTINGS, EmbeddedPostgres, ExternalPostgres, Server

ROLES = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "roles.sql"


@pytest.fixture
def own_server(tmp_path: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(tmp_path / "pg", settings={"shared_buffers": "16MB"})


async def test_a_committed_row_survives_a_crash_of_the_server(own_server: EmbeddedPostgres) -> None:
    """SIGKILL and restart under the same address: what was committed is there, what was open is not."""
    own_server.start()
    dsn = own_server.create_database("crash")
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (n int)")
    await connection.execute("INSERT INTO kept VALUES (1)")
    open_transaction = connection.transaction()
    await open_transaction.start()
    await connection.execute("INSERT INTO kept VALUES (2)")
    own_server.kill()
    connection.terminate()
    own_server.start()
    again = await asyncpg.connect(dsn)
    assert [row["n"] for row in await again.fetch("SELECT n FROM kept")] == [1]
    await again.close()
    own_server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as somebody else, who may be shut out")
def test_root_may_have_its_checkout_where_nobody_else_enters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtualenv and data below a 0700 directory, as `mktemp -d` makes it: initdb and the server start all the same."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = embedded.binaries().parent
    place = closed / home.parent.name / home.name  # with the libraries where the binaries look for them: beside it
    shutil.copytree(home, place, symlinks=True)
    for libraries in home.parent.parent.glob(f"{home.parent.name}.libs"):
        shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.setattr(embedded, "binaries", lambda: place / "bin")
    server = EmbeddedPostgres(closed / "pg", settings={"shared_buffers": "16MB"})
    server.start()
    server.create_database("reached")
    server.stop()


async def test_the_server_is_as_durable_as_production_must_be(database: str) -> None:
    """fsync, synchronous_commit and full_page_writes are on, as the server itself reports them."""
    connection = await asyncpg.connect(database)
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await connection.fetchval(f"SELECT setting FROM pg_settings WHERE name = '{name}'") == "on"
    await connection.close()


async def test_a_wrong_password_is_refused(postgres: Server) -> None:
    """Another user of the machine cannot walk in through the loopback interface."""
    if not isinstance(postgres, EmbeddedPostgres):
        pytest.skip("an external server keeps its own door")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host="127.0.0.1", port=postgres.port, user="postgres", password="wrong")


async def test_each_database_is_fresh_and_migrated(database: str, empty_database: str) -> None:
    """A test's database has the gateway's tables and no rows; the empty one has no tables."""
    counts = []
    for dsn in (database, empty_database):
        connection = await asyncpg.connect(dsn)
        counts.append(await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
        await connection.close()
    assert counts[0] > 5
    assert counts[1] == 0


def test_statements_and_rows_never_reach_the_servers_log() -> None:
    """PostgreSQL's own log quotes parameters and rows unless it is told not to."""
    assert SETTINGS["log_parameter_max_length_on_error"] == "0"
    assert SETTINGS["log_error_verbosity"] == "terse"
    assert SETTINGS["log_min_error_statement"] == "panic"


def test_an_external_dsn_keeps_its_options() -> None:
    """Only the database's name is replaced in a given DSN."""
    given = ExternalPostgres("postgresql://u:p@h:1/first?sslmode=require")
    assert given.dsn() == "postgresql://u:p@h:1/first?sslmode=require"
    assert given.dsn("other") == "postgresql://u:p@h:1/other?sslmode=require"


async def test_the_compose_street_s_gateway_gets_a_login_of_its_own_once(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """The script of the service `roles`, by a real psql: repeated it changes nothing; the file's password works."""
    own_server.start()
    owner = own_server.create_database("payout")
    (tmp_path / "gateway password").write_text("quote'and-more")
    script = [str(embedded.binaries() / "psql"), owner, "-v", "ON_ERROR_STOP=1", "-f", str(ROLES)]
    for _ in range(2):
        subprocess.run([*script, "-v", f"password_file={tmp_path / 'gateway password'}"], check=True)
    connection = await asyncpg.connect(owner, user="payout_gateway", password="quote'and-more")
    assert await connection.fetchval("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = user") is False
    await connection.close()
    own_server.stop()
