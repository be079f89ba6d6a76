"""What this bank has planned and not yet done, read from its ledger: `python -m tests.bank.outlook DIRECTORY`."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

from tests.bank.ledger import read_only

NEVER_PAID = ("reject", "reject_late", "pending_for_ever")


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
        rejected = count("faults WHERE fault IN ('reject', 'reject_late') AND reference <> ''")
        return {
            "credits": paid - count("credits"),
            "rejections": planned.get("reject", 0) + planned.get("reject_late", 0) - rejected,
            "returns": planned.get("credit_then_return", 0) - count("returns"),
            "pending_for_ever": planned.get("pending_for_ever", 0),
            "callbacks": count(
                "artefacts WHERE channel = 'callback' AND sound = 1 AND id NOT IN"
                " (SELECT artefact FROM deliveries WHERE how IN ('acknowledged', 'gave_up'))"
            ),
        }


if __name__ == "__main__":
    print(json.dumps(read(Path(sys.argv[1])), sort_keys=True))
