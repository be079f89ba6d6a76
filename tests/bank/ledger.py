"""The bank's own disk: append-only tables that survive a kill and tell, afterwards, what really happened.

Rows are collected in memory and written by `commit()` as one transaction; what a bank does in the outside world (an
answer, a file, a callback) it does after that commit, so the ledger never lags behind the truth.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]

COLUMNS: dict[str, str] = {
    "submissions": "n INTEGER PRIMARY KEY, at_ms INTEGER, wall_ms INTEGER, batch TEXT, source TEXT,"
    " transmission INTEGER, size INTEGER, sha256 TEXT, payload BLOB, verdict TEXT, code TEXT, count INTEGER,"
    " total_fen INTEGER, debit_account TEXT, programme TEXT, fault TEXT",
    "lines": "submission INTEGER, line INTEGER, reference TEXT, account TEXT, name TEXT, id_no TEXT,"
    " amount_fen INTEGER, programme TEXT, period TEXT, nth INTEGER, plan TEXT",
    "credits": "n INTEGER, at_ms INTEGER, submission INTEGER, line INTEGER, reference TEXT, account TEXT,"
    " amount_fen INTEGER, post_date TEXT, host_ref TEXT",
    "returns": "n INTEGER, at_ms INTEGER, submission INTEGER, line INTEGER, reference TEXT, account TEXT,"
    " amount_fen INTEGER, post_date TEXT, host_ref TEXT, code TEXT",
    "answers": "n INTEGER, at_ms INTEGER, wall_ms INTEGER, submission INTEGER, batch TEXT, line INTEGER,"
    " reference TEXT, status TEXT, code TEXT, amount_fen INTEGER, channel TEXT, artefact TEXT",
    "faults": "n INTEGER, at_ms INTEGER, wall_ms INTEGER, fault TEXT, batch TEXT, submission INTEGER,"
    " reference TEXT, detail TEXT",
    "balance": "n INTEGER, at_ms INTEGER, delta_fen INTEGER, balance_fen INTEGER, why TEXT, submission INTEGER",
    "artefacts": "id INTEGER PRIMARY KEY, n INTEGER, at_ms INTEGER, channel TEXT, name TEXT, batch TEXT,"
    " submission INTEGER, sound INTEGER, body BLOB",
    "deliveries": "n INTEGER, at_ms INTEGER, wall_ms INTEGER, artefact INTEGER, how TEXT, detail TEXT",
}
NUMBERED = tuple(table for table in COLUMNS if table != "lines")


def read_only(directory: Path) -> sqlite3.Connection:
    """The ledger of a bank, running or not, for those who only look."""
    return sqlite3.connect(f"file:{directory / 'ledger.sqlite'}?mode=ro", uri=True)


class Ledger:
    """One SQLite file in WAL mode. `put` collects, `commit` makes durable; `next` numbers the bank's events."""

    def __init__(self, directory: Path, synchronous: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(directory / "ledger.sqlite", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={synchronous}")
        self._db.execute("PRAGMA wal_autocheckpoint=4000")
        self._db.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT)")
        self._insert: dict[str, str] = {}
        self._pending: dict[str, list[Row]] = {}
        for table, columns in COLUMNS.items():
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            marks = ",".join("?" * (columns.count(",") + 1))
            self._insert[table] = f"INSERT INTO {table} VALUES ({marks})"
            self._pending[table] = []
        self._n = max(self._last(table, "n") for table in NUMBERED)
        self._artefact = self._last("artefacts", "id")

    def _last(self, table: str, column: str) -> int:
        # Rows are appended in the order of their numbers, so the last one holds the greatest.
        row = self._db.execute(f"SELECT {column} FROM {table} ORDER BY rowid DESC LIMIT 1").fetchone()
        return int(row[0]) if row else 0

    def next(self) -> int:
        """The number of the next event of this bank."""
        self._n += 1
        return self._n

    def next_artefact(self) -> int:
        self._artefact += 1
        return self._artefact

    def put(self, table: str, *rows: Row) -> None:
        self._pending[table].extend(rows)

    def put_all(self, table: str, rows: list[Row]) -> None:
        self._pending[table].extend(rows)

    @property
    def dirty(self) -> bool:
        return any(self._pending.values())

    def commit(self) -> None:
        """Write everything collected as one transaction; returns when it is as durable as `synchronous` says."""
        self._db.execute("BEGIN")
        for table, rows in self._pending.items():
            if rows:
                self._db.executemany(self._insert[table], rows)
        self._db.execute("COMMIT")
        for rows in self._pending.values():
            rows.clear()

    def describe(self, facts: dict[str, str]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())

    def rows(self, query: str, arguments: Row = ()) -> Iterator[Row]:
        """Look something up among what was committed."""
        yield from self._db.execute(query, arguments)

    def close(self, sound: bool = True) -> None:
        """Close; when something broke in the middle of a pass (not `sound`), its half is not written."""
        if sound and self.dirty:
            self.commit()
        self._db.close()
