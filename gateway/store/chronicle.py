"""What evidence did, as one event of each batch's history: lines that moved, submissions that moved, payouts frozen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gateway.store import ids
from gateway.store.consequences import Moving
from gateway.store.hearing import Heard
from gateway.store.history import Ledger


def chronicle(
    ledger: Ledger,
    heard: Heard,
    changed: Sequence[Moving],
    moves: Mapping[tuple[int, int], tuple[str, str]],
    frozen: Collection[int],
    given_up: Collection[int] = (),
) -> None:
    """``moves`` is by (batch, submission): the states before and after. Nothing is written where nothing moved."""
    events: dict[int, dict[str, Any]] = defaultdict(
        lambda: {"bank": heard.bank, "lines": [], "submissions": [], "frozen": []}
    )
    for attempt in changed:
        _, line = ids.batch_and_line(attempt.row["payout_id"])
        last = attempt.moved_by[-1]
        events[attempt.row["batch_no"]]["lines"].append(
            [line, attempt.row["attempt_no"], attempt.known.state.value, last.code, last.host_reference]
        )
    for (batch_no, submission_id), (before, after) in sorted(moves.items()):
        events[batch_no]["submissions"].append([submission_id, before, after])
    for payout in sorted(frozen):
        batch_no, line = ids.batch_and_line(payout)
        events[batch_no]["frozen"].append(line)
    for payout in sorted(given_up):
        batch_no, line = ids.batch_and_line(payout)
        events[batch_no].setdefault("given_up", []).append(line)
    for batch_no, body in sorted(events.items()):
        ledger.add(batch_no, heard.at, "EVIDENCE", body)
