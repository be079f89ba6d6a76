"""The SMS centre's own disk: an append-only record of every call, every message, who paid for it, and every report.

`SMS_CENTRE.md` documents the tables for those who only read them. Rows hold numbers and texts in clear, because this is
the provider's disk and the ground truth about who got what; nothing of them is ever printed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.world import clock

LEDGER = """
CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, batch_id TEXT NOT NULL, verdict TEXT NOT NULL, code TEXT NOT NULL, count INTEGER NOT NULL,
  fault TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (msg_id TEXT PRIMARY KEY, n INTEGER NOT NULL, batch_id TEXT NOT NULL,
  ref TEXT NOT NULL, phone TEXT NOT NULL, text TEXT NOT NULL, units INTEGER NOT NULL, code TEXT NOT NULL,
  billed TEXT NOT NULL, taken_at_ms INTEGER NOT NULL, status TEXT NOT NULL, status_at_ms INTEGER NOT NULL,
  callback_at_ms INTEGER, callbacks INTEGER NOT NULL, fault TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS messages_batch ON messages (batch_id);
CREATE TABLE IF NOT EXISTS reported (n INTEGER NOT NULL, msg_id TEXT NOT NULL);
"""
APPEND_ONLY = """
CREATE TRIGGER IF NOT EXISTS {table}_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


class Row(NamedTuple):
    """One line of `messages`."""

    msg_id: str
    n: int
    batch_id: str
    ref: str
    phone: str
    text: str
    units: int
    code: str
    billed: str
    taken_at_ms: int
    status: str
    status_at_ms: int
    callback_at_ms: int | None
    callbacks: int
    fault: str

    def result(self) -> dict[str, str]:
        return {"ref": self.ref, "code": self.code, "msgId": self.msg_id}

    def report(self, at_ms: int) -> dict[str, str]:
        """What the centre says about it at a moment; who pays is only certain once its fate is."""
        known = {"ref": self.ref, "msgId": self.msg_id, "batchId": self.batch_id}
        if at_ms < self.status_at_ms:
            return {**known, "status": "ACCEPTD"}
        return {**known, "status": self.status} | ({} if self.billed == "NOBODY" else {"billed": self.billed})


def read_only(directory: Path) -> sqlite3.Connection:
    """The ledger of a centre, running or not, for those who only look; columns by name."""
    ledger = sqlite3.connect(f"file:{directory / 'ledger.sqlite'}?mode=ro", uri=True)
    ledger.row_factory = sqlite3.Row
    return ledger


class Ledger:
    """The centre's own disk: append-only, written in one transaction before anything is answered."""

    def __init__(self, directory: Path, synchronous: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(directory / "ledger.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={synchronous}")
        self._db.executescript(LEDGER)
        for table in ("events", "messages", "reported"):
            for verb in ("UPDATE", "DELETE"):
                self._db.executescript(APPEND_ONLY.format(table=table, verb=verb))
        self.n = int(self._db.execute("SELECT coalesce(max(n), 0) FROM events").fetchone()[0])

    def write(
        self,
        kind: str,
        batch_id: str,
        verdict: str,
        *,
        code: str = "",
        count: int = 0,
        fault: str = "",
        messages: Sequence[Row] = (),
        reported: Sequence[str] = (),
    ) -> int:
        """One event with all its rows, durable when this returns; its number. Rows carry the number `n + 1`."""
        self.n += 1
        event = (self.n, clock.now_ms(), clock.wall_ms(), kind, batch_id, verdict, code, count, fault)
        self._db.execute("BEGIN")
        self._db.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?)", event)
        if messages:
            self._db.executemany(f"INSERT INTO messages VALUES ({','.join('?' * len(Row._fields))})", messages)
        if reported:
            self._db.executemany("INSERT INTO reported VALUES (?, ?)", [(self.n, msg_id) for msg_id in reported])
        self._db.execute("COMMIT")
        return self.n

    def batch(self, batch_id: str, at_ms: int) -> list[Row]:
        found = self._db.execute("SELECT * FROM messages WHERE batch_id = ? AND taken_at_ms <= ?", (batch_id, at_ms))
        return [Row(*row) for row in found]

    def arrivals(self) -> Counter[str]:
        found = self._db.execute("SELECT batch_id, count(*) FROM events WHERE kind = 'CALL' GROUP BY batch_id")
        return Counter(dict(found.fetchall()))

    def unreported(self) -> list[tuple[Row, int]]:
        """Messages with callbacks still owed, and how many: what a restart goes on with."""
        found = self._db.execute(
            "SELECT m.*, m.callbacks - count(r.n) FROM messages m LEFT JOIN reported r USING (msg_id)"
            " WHERE m.callback_at_ms IS NOT NULL GROUP BY m.msg_id HAVING count(r.n) < m.callbacks"
        )
        return [(Row(*row[:-1]), int(row[-1])) for row in found]

    def close(self) -> None:
        self._db.close()
