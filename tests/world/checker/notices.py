"""What people were told by SMS, against what really happened to their money."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.world.checker.stories import Joined, Story


def judge(ledger: Path, joined: Joined, problems: list[str]) -> dict[str, int]:
    """Counts of the SMS centre's ledger; a notice to the wrong number or about no credit is a problem.

    A second copy is only counted: a provider without idempotency cannot always be spared one.
    """
    by_payout = {one.payout_id: story for story in joined.stories for one in story.receipts if one.payout_id}
    counts = dict.fromkeys(("messages", "twice", "wrong_number", "without_credit", "billed_receiver", "silent"), 0)
    heard: dict[str, int] = {}
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT ref, phone, billed FROM messages WHERE code = 'OK'").fetchall()
        refused = {ref for (ref,) in database.execute("SELECT ref FROM messages WHERE code <> 'OK'")}
    database.close()
    for ref, phone, billed in rows:
        payout, attempt, _ = ref.rsplit("-", 2)
        story = by_payout.get(payout)
        heard[ref] = heard.get(ref, 0) + 1
        counts["messages"] += 1
        counts["billed_receiver"] += billed == "RECEIVER"
        counts["wrong_number"] += story is None or phone != _mobile(story.details(int(attempt)).phone)
        counts["without_credit"] += story is None or not _credited(story, int(attempt))
    counts["twice"] = sum(count - 1 for count in heard.values())
    for payout, story in by_payout.items():
        for one in story.receipts:
            if one.outcome == "credited" and _mobile(story.details(one.attempt).phone):
                refs = {f"{payout}-{one.attempt}-{kind}" for kind in ("ARRIVAL", "REISSUE_ARRIVAL")}
                counts["silent"] += not refs & (heard.keys() | refused)
    for name in ("wrong_number", "without_credit"):
        if counts[name]:
            problems.append(f"{counts[name]} notices: {name.replace('_', ' ')}")
    return counts


def _credited(story: Story, attempt: int) -> bool:
    return any(rail.credits and story.attempt_of(rail) == attempt for rail in story.rails)


def _mobile(written: str) -> str:
    digits = "".join(written.split()).removeprefix("+86")
    return digits if len(digits) == 11 and digits.isascii() and digits.isdecimal() and digits[0] == "1" else ""
