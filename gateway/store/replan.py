"""Moving lines to fresh submissions: when bytes must never travel (again), their lines still have to be paid.

Two cases that must not be mixed up. Lines of a submission of which the bank certainly has *nothing* keep their
references: no bank ever acted on them. A line that *alone* never reached the bank is closed, its reference burned, and
a new attempt with a new reference takes its place.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from gateway.store import ids
from gateway.store.engine import Connection, sql


async def fresh_submission(
    connection: Connection,
    like: int,
    lines: int,
    amount_fen: int,
    at: dt.datetime,
    limit_at: dt.datetime | None = None,
    hold_at: dt.datetime | None = None,
    set_aside_at: dt.datetime | None = None,
) -> int:
    """An unrendered submission with the head of ``like``; its key. The caller gives it its lines."""
    heads = (like, lines, amount_fen, at, limit_at, hold_at, set_aside_at)
    key = int(await connection.fetchval(sql("copy_submission"), *heads))
    await connection.execute(sql("name_submission"), key, ids.submission_reference(key, at))
    return key


async def retire_unsent(connection: Connection, submission_id: int, at: dt.datetime) -> int | None:
    """Retire a submission of which the bank has nothing; its remaining lines, references kept, await new bytes.

    The caller holds the locks of its batch and of the submission. Returns the new
    submission, or None when no line is left.
    """
    rows = await connection.fetch(sql("unspoken_lines"), submission_id)
    await connection.execute(sql("retire_submission"), submission_id)
    if not rows:
        return None
    fresh = await fresh_submission(connection, submission_id, len(rows), sum(row["amount_fen"] for row in rows), at)
    await connection.execute(sql("rebind_attempts"), submission_id, fresh, [row["reference"] for row in rows])
    return fresh


async def replan_lines(
    connection: Connection, submission_id: int, burned: Sequence[str], fresh: Sequence[str], due_at: dt.datetime
) -> int:
    """New attempts for closed lines (``burned``) under new references (``fresh``, same order); their submission.

    They travel from ``due_at`` on: a bank that was short of funds for a line will be so again at once.
    """
    total = int(await connection.fetchval(sql("amount_of_lines"), submission_id, list(burned)))
    key = await fresh_submission(connection, submission_id, len(burned), total, due_at)
    await connection.execute(sql("replan_attempts"), submission_id, key, list(burned), list(fresh))
    return key
