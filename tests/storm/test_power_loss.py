"""R6, power loss: whatever PostgreSQL acknowledged to the gateway was on the disk before.

Two halves. The gateway uses no connection to a server whose settings would let an acknowledged commit be lost. And a
PostgreSQL with the right settings, under strace, really calls fdatasync between being asked to commit and saying yes:
each backend's socket is read as protocol, and each acknowledged transaction that wrote must have a write to the log
that began after it was asked, and a sync of that file that began after the write and ended before the answer. (Another
backend may have done both: group commit.) What the disk itself does with a sync is out of sight.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from gateway.store import engine
from gateway.store.engine import Engine, StoreUnavailable
from tests.store.kit import open_gateway
from tests.storm.scale import figure, size
from tests.storm.traced import pgwire, strace
from tests.world.postgres import EmbeddedPostgres, execute, migrate
from tests.world.processes import run_apart

CALLS: Final = ("sendto", "recvfrom", "pwrite64", "pwritev", "write", "fdatasync", "fsync")
LINES: Final = size(12, 500)
SIDE_BY_SIDE: Final = size(2, 4)
RELOAD_SECONDS: Final = 60
OFF: Final = ({"fsync": "off"}, {"synchronous_commit": "off"}, {"full_page_writes": "off"})


@dataclass
class Acknowledged:
    """What a trace of a server shows: commits that wrote, and how many were told before they were on the disk."""

    commits: int = 0
    early: int = 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of its own, stopped: each test starts it with the settings and the tracer that it needs."""
    made = EmbeddedPostgres(tmp_path_factory.mktemp("power-loss") / "postgres")
    made.start()
    migrate(made.create_database("template"))
    made.stop()
    yield made
    made.stop()


def test_every_acknowledged_commit_was_synced_before(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Lists paid side by side through the real store: no commit is told before its log record is on the disk."""
    seen = _traced(server, tmp_path, {})
    assert seen.commits > SIDE_BY_SIDE * 10
    assert seen.early == 0
    figure("R6", commits=seen.commits, early=seen.early)


@pytest.mark.parametrize("settings", OFF[:2], ids=lambda each: "-".join(each))
def test_a_build_that_does_not_ask_for_durability_is_caught(
    server: EmbeddedPostgres, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without the assertion it would run on such a server, and the trace shows the early answers."""

    async def believes(_: object) -> None:
        return None

    monkeypatch.setattr(engine, "_assert_durable", believes)
    seen = _traced(server, tmp_path, settings)
    assert seen.commits > SIDE_BY_SIDE * 10
    assert seen.early > seen.commits // 2


@pytest.mark.parametrize("settings", OFF, ids=lambda each: "-".join(each))
async def test_a_server_that_could_lose_a_commit_is_refused(server: EmbeddedPostgres, settings: dict[str, str]) -> None:
    """The gateway says which setting it is, and what payments need."""
    name = next(iter(settings))
    with _running(server, settings), pytest.raises(StoreUnavailable, match=f"{name}=off; payments need {name}=on"):
        await Engine.open(server.dsn("template"), max_connections=2)


async def test_durability_turned_off_under_a_running_gateway_is_found_and_nothing_more_is_written(
    server: EmbeddedPostgres,
) -> None:
    """A reload changes the settings of open connections: the next look drops them all, and no new one is used."""
    with _running(server, {}, without="fsync"):
        opened = await Engine.open(server.dsn("template"), max_connections=2)
        try:
            await opened.ping()
            await _reload(server, "off", "ALTER SYSTEM SET fsync = off")
            with pytest.raises(StoreUnavailable, match="fsync=off"):
                await opened.ping()
            with pytest.raises(StoreUnavailable, match="fsync=off"):
                await opened.execute("ensure_banks", ["rcc_file"])
            await _reload(server, "on", "ALTER SYSTEM RESET fsync")
            await opened.ping()
        finally:
            await opened.close()


async def _reload(server: EmbeddedPostgres, fsync: str, statement: str) -> None:
    """Change the setting, and wait until it is the postmaster's, who passes the signal on before letting anybody in:
    a connection that is older than the one which sees the new value reads it before its own next statement."""
    await execute(server.dsn(), statement)
    await execute(server.dsn(), "SELECT pg_reload_conf()")
    async with asyncio.timeout(RELOAD_SECONDS):
        while await _setting(server, "fsync") != fsync:
            await asyncio.sleep(0.05)


async def _setting(server: EmbeddedPostgres, name: str) -> str:
    """As a new connection has it."""
    connection = await asyncpg.connect(server.dsn(), timeout=10)
    try:
        return str(await connection.fetchval("SELECT current_setting($1)", name))
    finally:
        await connection.close()


class _running:  # noqa: N801 - reads as what it is
    """The server, running with other settings for a while."""

    def __init__(self, server: EmbeddedPostgres, settings: dict[str, str], *, without: str = "") -> None:
        self._server, self._settings = server, {**server.settings, **settings}
        self._settings.pop(without, None)

    def __enter__(self) -> None:
        self._before, self._server.settings = self._server.settings, self._settings
        self._server.start()

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._server.settings, self._server.prefix = self._before, []


def _traced(server: EmbeddedPostgres, directory: Path, settings: dict[str, str]) -> Acknowledged:
    """Pay lists side by side on a traced server; what was acknowledged, and when."""
    if strace.missing():
        pytest.skip(strace.missing())
    output = directory / "postgres.strace"
    names = [f"storm_{secrets.token_hex(4)}" for _ in range(SIDE_BY_SIDE)]
    with _running(server, {}):  # untraced: a new database is copied page by page
        for name in names:
            server.create_database(name, "template")
    server.prefix = strace.traced(output, *CALLS)
    with _running(server, settings):
        run_apart(_pay([server.dsn(name) for name in names]))
    return judge(output)


async def _pay(dsns: list[str]) -> None:
    async def one(dsn: str) -> None:
        async with open_gateway(dsn) as gateway:
            await gateway.pay(LINES)
            outcomes = ("CREDITED", "REJECTED")
            for number in range(1, LINES + 1):
                told = {"proof": outcomes[number % 5 == 0], "amount_fen": 10_000, "reason": "ACCOUNT_CLOSED"}
                await gateway.answer({"reference": gateway.reference_of(number), **told})

    await asyncio.gather(*(one(dsn) for dsn in dsns))


def judge(output: Path) -> Acknowledged:
    """Hold every acknowledged transaction that wrote against the writes and syncs of the log."""
    seen = Acknowledged()
    sessions: dict[str, pgwire.Session] = defaultdict(pgwire.Session)
    written: dict[str, tuple[int, int]] = {}  # by path: the write that began last
    synced = 0  # the latest "began" of a write that a finished sync covers
    for call in strace.read(output):
        if "pg_wal" in call.path:
            if call.name.startswith(("pwrite", "write")):
                written[call.path] = (call.began, call.ended)
            elif call.result == 0 and call.path in written and written[call.path][1] < call.began:
                synced = max(synced, written[call.path][0])
        elif call.socket and call.name == "recvfrom":
            sessions[call.socket].from_client(call.data, call.ended)
        elif call.socket and call.name == "sendto":
            for done in sessions[call.socket].from_server(call.data, call.began):
                seen.commits += done.wrote
                seen.early += done.wrote and synced <= done.asked
    return seen
