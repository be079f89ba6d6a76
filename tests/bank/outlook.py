"""What this bank has planned and not yet done, read from its ledger: `python -m tests.bank.outlook DIRECTORY`."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path, PurePosixPath

from tests.bank.ledger import read_only

REJECTED = ("reject", "reject_late", "not_executed")
NEVER_PAID = (*REJECTED, "pending_for_ever")


def read(directory: Path) -> dict[str, int]:
    """Credits, rejections and returns still to come, lines pending for ever, callbacks not yet delivered."""
    with closing(read_only(directory)) as db:
        kind = "substr(plan, 1, instr(plan || ':', ':') - 1)"
        planned: dict[str, int] = dict(
            db.execute(f"SELECT {kind}, count(*) FROM lines WHERE plan <> '' GROUP BY 1").fetchall()
        )

        def count(query: str) -> int:
            return int(db.execute(f"SELECT count(*) FROM {query}").fetchone()[0])

        paid = sum(number for plan, number in planned.items() if plan not in NEVER_PAID)
        rejected = count(f"faults WHERE fault IN {REJECTED} AND reference <> ''")
        return {
            "credits": paid - count("credits"),
            "rejections": sum(planned.get(plan, 0) for plan in REJECTED) - rejected,
            "returns": planned.get("credit_then_return", 0) - count("returns"),
            "pending_for_ever": planned.get("pending_for_ever", 0),
            "callbacks": count(
                "artefacts WHERE channel = 'callback' AND sound = 1 AND id NOT IN"
                " (SELECT artefact FROM deliveries WHERE how IN ('acknowledged', 'gave_up'))"
            ),
        }


def unread_days(directory: Path) -> int:
    """Days on which money moved at a bank of files and whose sound statement nobody has read yet."""
    with closing(read_only(directory)) as db:
        if not db.execute("SELECT 1 FROM deliveries WHERE how = 'published'").fetchone():
            return 0  # a bank that is asked keeps no files
        moved = {day for (day,) in db.execute("SELECT post_date FROM credits UNION SELECT post_date FROM returns")}
        read = db.execute(
            "SELECT name FROM artefacts WHERE channel = 'statement' AND sound = 1"
            " AND id IN (SELECT artefact FROM deliveries WHERE how = 'read')"
        )
        return len(moved - {PurePosixPath(name).stem[-8:] for (name,) in read})


def untold_credits(directory: Path) -> int:
    """Credits of which this bank has told nobody yet: one after a rejection stands in the day's statement alone."""
    with closing(read_only(directory)) as db:
        told = "SELECT submission, reference FROM answers WHERE status IN ('CREDITED', 'RETURNED')"
        query = f"SELECT count(*) FROM (SELECT submission, reference FROM credits EXCEPT {told})"
        return int(db.execute(query).fetchone()[0])


if __name__ == "__main__":
    print(json.dumps(read(Path(sys.argv[1])), sort_keys=True))
