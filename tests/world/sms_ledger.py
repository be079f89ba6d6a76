"""The SMS centre's own disk: an append-only record of every call, every message, who paid for it, and every report.

One shape serves all protocols. A call is an HTTP batch or one SUBMIT; a message is what one person reads, whole,
however many SUBMITs carried it (those are `submits`). CMPP and SMPP carry no reference of the customer's, so there a
call is named by what it says to whom (`identity`), and a message likewise: the same name twice is the same words twice.

`SMS_CENTRE.md` documents the tables for those who only read them. Rows hold numbers and texts in clear, because this is
the provider's disk and the ground truth about who got what; nothing of them is ever printed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.world import clock

LEDGER = """
CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, batch_id TEXT NOT NULL, verdict TEXT NOT NULL, code TEXT NOT NULL, count INTEGER NOT NULL,
  fault TEXT NOT NULL, protocol TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (msg_id TEXT PRIMARY KEY, n INTEGER NOT NULL, batch_id TEXT NOT NULL,
  ref TEXT NOT NULL, phone TEXT NOT NULL, text TEXT NOT NULL, units INTEGER NOT NULL, code TEXT NOT NULL,
  billed TEXT NOT NULL, taken_at_ms INTEGER NOT NULL, status TEXT NOT NULL, status_at_ms INTEGER NOT NULL,
  callback_at_ms INTEGER, callbacks INTEGER NOT NULL, fault TEXT NOT NULL, protocol TEXT NOT NULL,
  source TEXT NOT NULL, parts INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS messages_batch ON messages (batch_id);
CREATE TABLE IF NOT EXISTS submits (wire_id TEXT PRIMARY KEY, n INTEGER NOT NULL, protocol TEXT NOT NULL,
  assembly TEXT NOT NULL, source TEXT NOT NULL, phones TEXT NOT NULL, reference TEXT NOT NULL, number INTEGER NOT NULL,
  total INTEGER NOT NULL, content BLOB NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS submits_assembly ON submits (assembly);
CREATE TABLE IF NOT EXISTS sent (n INTEGER NOT NULL, msg_id TEXT NOT NULL, wire_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reported (n INTEGER NOT NULL, msg_id TEXT NOT NULL, wire_id TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS reported_message ON reported (msg_id);
"""
HTTP = "HTTP"
BREACHES = ("BILLS_RECEIVER", "NO_REPORT", "MSG_FMT")
"""Refusals that are attempts to charge people, or to leave nobody knowing: a test asserts that there are none."""
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
    protocol: str = HTTP
    source: str = ""  # the sender's address, where the reports go to
    parts: int = 1

    def result(self) -> dict[str, str]:
        return {"ref": self.ref, "code": self.code, "msgId": self.msg_id}

    def report(self, at_ms: int) -> dict[str, str]:
        """What the centre says about it at a moment; who pays is only certain once its fate is."""
        known = {"ref": self.ref, "msgId": self.msg_id, "batchId": self.batch_id}
        if at_ms < self.status_at_ms:
            return {**known, "status": "ACCEPTD"}
        return {**known, "status": self.status} | ({} if self.billed == "NOBODY" else {"billed": self.billed})


class Submit(NamedTuple):
    """One line of `submits`: a SUBMIT that was taken. ``wire_id`` is what its response and its report name it by."""

    wire_id: str
    n: int
    protocol: str
    assembly: str  # the wire id of the first SUBMIT of the message that this one is a part of
    source: str
    phones: tuple[str, ...]  # as they were written
    reference: str  # of the user data header, hexadecimal; "" without one
    number: int
    total: int
    content: bytes  # UTF-16 big-endian, without the header
    at_ms: int


def identity(*said: object) -> str:
    """A name for what has none of its own on the wire: equal for equal words to equal people."""
    return hashlib.blake2b(repr(said).encode(), digest_size=8).hexdigest()


def breaches(ledger: sqlite3.Connection) -> int:
    """How often somebody tried to charge the receiver, to get no report, or to send what bills otherwise."""
    marks = ",".join("?" * len(BREACHES))
    return int(ledger.execute(f"SELECT count(*) FROM events WHERE code IN ({marks})", BREACHES).fetchone()[0])


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
        for table in ("events", "messages", "submits", "sent", "reported"):
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
        sent: Sequence[str] = (),
        wire_id: str = "",
        submit: Submit | None = None,
        protocol: str = HTTP,
    ) -> int:
        """One event with all its rows, durable when this returns; its number. Rows carry the number `n + 1`."""
        self.n += 1
        event = (self.n, clock.now_ms(), clock.wall_ms(), kind, batch_id, verdict, code, count, fault, protocol)
        self._db.execute("BEGIN")
        self._db.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", event)
        if submit is not None:
            values = (*submit[:5], json.dumps(submit.phones), *submit[6:])
            self._db.execute(f"INSERT INTO submits VALUES ({','.join('?' * len(values))})", values)
        if messages:
            self._db.executemany(f"INSERT INTO messages VALUES ({','.join('?' * len(Row._fields))})", messages)
        for table, msg_ids in (("reported", reported), ("sent", sent)):
            rows = [(self.n, msg_id, wire_id) for msg_id in msg_ids]
            self._db.executemany(f"INSERT INTO {table} VALUES (?,?,?)", rows)
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
            " WHERE m.callback_at_ms IS NOT NULL AND m.protocol = 'HTTP'"
            " GROUP BY m.msg_id HAVING count(r.n) < m.callbacks"
        )
        return [(Row(*row[:-1]), int(row[-1])) for row in found]

    def unreported_parts(self, protocol: str) -> list[tuple[Row, str, str, int]]:
        """The same for a protocol that reports each SUBMIT of a message: message, wire id, number as it was written,
        reports still owed."""
        found = self._db.execute(
            "SELECT * FROM (SELECT m.*, s.wire_id, s.phones, m.callbacks - (SELECT count(*) FROM reported r WHERE"
            " r.msg_id = m.msg_id AND r.wire_id = s.wire_id) AS owed FROM messages m JOIN submits s"
            " ON s.assembly = substr(m.msg_id, 1, instr(m.msg_id, '/') - 1)"
            " WHERE m.protocol = ? AND m.callback_at_ms IS NOT NULL) WHERE owed > 0",
            (protocol,),
        )
        owed = [(Row(*row[:-3]), str(row[-3]), json.loads(row[-2]), int(row[-1])) for row in found]
        return [(row, wire_id, phones[int(row.msg_id.split("/")[1])], left) for row, wire_id, phones, left in owed]

    def unfinished(self, protocol: str) -> list[Submit]:
        """SUBMITs of messages that still lack a part, in the order in which they came."""
        found = self._db.execute(
            "SELECT * FROM submits s WHERE protocol = ? AND NOT EXISTS"
            " (SELECT 1 FROM messages m WHERE m.msg_id = s.assembly || '/0') ORDER BY n",
            (protocol,),
        )
        return [Submit._make((*row[:5], tuple(json.loads(row[5])), *row[6:])) for row in found]

    def told(self) -> Counter[str]:
        """How often each message was taken before, where the customer gives it no name."""
        found = self._db.execute("SELECT ref, count(*) FROM messages WHERE protocol <> 'HTTP' GROUP BY ref")
        return Counter(dict(found.fetchall()))

    def of_wire(self, wire_id: str, at_ms: int) -> Row | None:
        """The message that a SUBMIT belongs to, once it is whole; of several receivers, the first."""
        found = self._db.execute(
            "SELECT m.* FROM submits s JOIN messages m ON m.msg_id = s.assembly || '/0'"
            " WHERE s.wire_id = ? AND m.taken_at_ms <= ?",
            (wire_id, at_ms),
        ).fetchone()
        return Row(*found) if found else None

    def close(self) -> None:
        self._db.close()
