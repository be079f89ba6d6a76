"""``gateway resume``: lifts the pause of a bank that is named and paused, and says what it did."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.unit.cli_kit import Installation, install


@pytest.fixture
def here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: str
) -> Installation:
    made = install(tmp_path, capsys, monkeypatch)
    made.write_config(dsn=database)
    asyncio.run(
        execute(
            database,
            "INSERT INTO banks (bank, paused_at, pause_reason) VALUES ('rcc_file', '2026-11-24T01:00Z', 'FORMAT'),"
            " ('iso20022', '2026-11-24T01:00Z', 'SIGNATURE')",
        )
    )
    return made


async def execute(dsn: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


def paused(database: str) -> list[str]:
    rows = asyncio.run(execute(database, "SELECT bank FROM banks WHERE paused_at IS NOT NULL ORDER BY bank"))
    return [row["bank"] for row in rows]


def test_a_paused_bank_is_resumed_once_and_no_other(here: Installation, database: str) -> None:
    """The pause that is lifted is told with its reason and its age; a second time there is none."""
    ran = here.gateway("resume", "rcc_file", "--config", here.config)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "rcc_file: resumed; paused for FORMAT since 2026-11-24 09:00\n"
    assert paused(database) == ["iso20022"]
    ran = here.gateway("resume", "rcc_file", "--config", here.config)
    assert (ran.code, ran.out) == (0, "rcc_file: was not paused\n")


def test_a_bank_that_is_not_configured_is_named_and_nothing_is_lifted(here: Installation, database: str) -> None:
    """A slip of the pen among several names resumes none of them."""
    ran = here.gateway("resume", "rcc_file", "rcc_flie", "--config", here.config)
    assert ran.code == 1
    assert "no such bank: rcc_flie; configured: rcc_file" in ran.err
    assert paused(database) == ["iso20022", "rcc_file"]
