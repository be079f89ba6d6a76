"""When there is something to do: one look at the books that says for which steps, and when for the others.

What it overlooks is done late, at the next sweep (every step of every process is rung for), or never, and then things
do not come to rest: it can hide nothing, only turn the proof red.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from adapters.contract import NotFound
from gateway.banks import Bank
from gateway.calendar import WorkCalendar
from tests.storm.simulation.bank import SimulatedBank
from tests.storm.simulation.broker import Broker

DUE = """
WITH s AS (SELECT *, coalesce(lease_until, '2000-01-01T00:00Z') AS free_at FROM submissions
           WHERE state NOT IN ('RETIRED')),
     b AS (SELECT * FROM batches WHERE state <> 'REFUSED')
SELECT 'judge' AS step, '' AS bank, timestamptz '2000-01-01T00:00Z' AS at FROM b WHERE state = 'JUDGING'
UNION ALL SELECT 'fund', '', '2000-01-01T00:00Z' FROM b
          WHERE state = 'AWAITING_FUNDS' AND funds_fen >= approved_fen - cancelled_fen AND funds_received_at IS NOT NULL
UNION ALL SELECT 'parts', '', parts_due_at FROM b WHERE state = 'COLLECTING'
UNION ALL SELECT 'plan', '', '2000-01-01T00:00Z' FROM b WHERE state = 'PAYING' AND planned_line < lines
UNION ALL SELECT 'count', '', changed_at + interval '1 hour' FROM b
          WHERE (counted_at IS NULL OR changed_at > counted_at) AND state IN ('AWAITING_FUNDS', 'PAYING', 'COMPLETE')
UNION ALL SELECT 'count', '', limit_at FROM b
          WHERE state = 'PAYING' AND interim_sent_at IS NULL AND completed_at IS NULL
UNION ALL SELECT 'relay', '', '2000-01-01T00:00Z' FROM outbox WHERE published_at IS NULL
UNION ALL SELECT 'abandoned', '', lease_until FROM s WHERE state = 'SENDING'
UNION ALL SELECT 'render', bank, greatest(due_at, free_at) FROM s WHERE state = 'PLANNED'
UNION ALL SELECT 'send', bank, greatest(due_at, free_at) FROM s WHERE state IN ('RENDERED', 'DEFERRED')
          AND NOT EXISTS (SELECT 1 FROM banks p WHERE p.bank = s.bank AND p.paused_at IS NOT NULL)
UNION ALL SELECT 'probe', bank, greatest(probe_at, free_at) FROM s
          WHERE state IN ('SUBMITTED', 'ACCEPTED', 'IN_DOUBT', 'HELD', 'CLOSED') AND probe_at IS NOT NULL
UNION ALL SELECT 'time', bank, least(silent_at, acknowledgement_due_at) FROM s WHERE state IN ('SUBMITTED', 'ACCEPTED')
UNION ALL SELECT 'time', bank, silent_at FROM s WHERE state IN ('IN_DOUBT', 'HELD')
          AND EXISTS (SELECT 1 FROM attempts a WHERE a.submission_id = s.submission_id AND a.state = 'ACCEPTED')
UNION ALL SELECT 'time', bank, hold_at FROM s WHERE state = 'IN_DOUBT'
          OR (state <> 'CLOSED' AND EXISTS (SELECT 1 FROM attempts a
                                            WHERE a.submission_id = s.submission_id AND a.state = 'IN_DOUBT'))
UNION ALL SELECT 'cursor ' || collected_to, bank, '2000-01-01T00:00Z' FROM banks
UNION ALL SELECT 'frozen', payout_id::text, conflict_at FROM payouts WHERE conflict_at IS NOT NULL
UNION ALL SELECT 'sending', reference, sent_at FROM s WHERE state = 'SENDING'
"""


@dataclass
class Seen:
    """``due``: by name of a step, from when on it has something to do. Frozen payouts, submissions on the wire."""

    due: dict[str, dt.datetime] = field(default_factory=dict)
    frozen: set[int] = field(default_factory=set)
    sending: set[str] = field(default_factory=set)


async def look(
    witness: asyncpg.Connection,
    banks: Mapping[str, SimulatedBank],
    entries: Mapping[str, Bank],
    broker: Broker,
    calendar: WorkCalendar,
    now: dt.datetime,
) -> Seen:
    """What the books say at ``now``."""
    seen = Seen()

    def note(step: str, at: dt.datetime) -> None:
        seen.due[step] = min(at, seen.due.get(step, at))

    for step, bank, at in await witness.fetch(DUE):
        if step.startswith("cursor "):
            if len(banks[bank].files) > int(step[7:] or 0) and "FILE" in banks[bank].capabilities().answers:
                note(f"collect {bank}", now)
            continue
        if step == "frozen":
            seen.frozen.add(int(bank))
            continue
        if step == "sending":
            seen.sending.add(bank)
            continue
        if step == "probe" and entries[bank].capabilities.not_found is NotFound.NO_QUERY:
            continue
        moment = now if at <= now else at.astimezone(now.tzinfo)
        if step == "send":
            window = entries[bank].window(moment, calendar)
            moment = max(moment, window.opens_at)
        note(f"{step} {bank}".rstrip(), moment)
    if broker.waits:
        note("kafka", now)
    return seen
