"""The audit: who held what, by triggers of the test's own, and what of that the bank's ledger contradicts."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import asyncpg

# Times are the database's own clock; the bank's ledger carries the same machine's.
_TRIGGERS = """
CREATE TABLE storm_audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY, kind text NOT NULL, name text NOT NULL, fence bigint NOT NULL,
    owner text, lease_until timestamptz, state text, at timestamptz NOT NULL);

CREATE FUNCTION storm_note_submission() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO storm_audit (kind, name, fence, owner, lease_until, state, at)
    VALUES ('submission', NEW.reference, NEW.fence, NEW.lease_owner, NEW.lease_until, NEW.state, clock_timestamp());
    RETURN NULL; END $$;
CREATE TRIGGER storm_submissions AFTER UPDATE ON submissions FOR EACH ROW EXECUTE FUNCTION storm_note_submission();

CREATE FUNCTION storm_note_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO storm_audit (kind, name, fence, owner, lease_until, state, at)
    VALUES ('lease', NEW.name, NEW.fence, NEW.owner, NEW.lease_until, NULL, clock_timestamp());
    RETURN NULL; END $$;
CREATE TRIGGER storm_leases AFTER INSERT OR UPDATE ON leases FOR EACH ROW EXECUTE FUNCTION storm_note_lease();
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit came to. All but the last three must be zero."""

    concurrent_holders: int
    sent_by_fenced: int
    sent_twice: int
    takeovers: int  # a lease that passed while its holder stood still, and went to somebody else
    fenced_after_the_look: int  # seen by nobody: the settling time is what stands against it
    arrivals: int

    @property
    def violations(self) -> int:
        return self.concurrent_holders + self.sent_by_fenced + self.sent_twice


async def install(connection: asyncpg.Connection) -> None:
    await connection.execute(_TRIGGERS)


async def judge(connection: asyncpg.Connection, ledger: Sequence[Mapping[str, Any]]) -> Verdict:
    """Hold the ledger against who held what."""
    stories: dict[tuple[str, str], list[asyncpg.Record]] = defaultdict(list)
    for row in await connection.fetch("SELECT * FROM storm_audit ORDER BY audit_id"):
        stories[row["kind"], row["name"]].append(row)
    concurrent = takeovers = 0
    for story in stories.values():
        for before, after in pairwise(story):
            taken = after["fence"] > before["fence"]
            other = after["owner"] is not None and before["owner"] is not None and after["owner"] != before["owner"]
            held = before["lease_until"] is not None and before["lease_until"] > after["at"]
            concurrent += (taken or other) and held
            takeovers += taken and other
            concurrent += other and not taken  # another owner under the same fence
    fenced = unseen = 0
    for line in ledger:
        story = stories["submission", line["submission"]]
        fenced += not _holds(story, line["owner"], line["looked_at"])
        unseen += _holds(story, line["owner"], line["looked_at"]) and not _holds(story, line["owner"], line["at"])
    arrived = Counter(reference for line in ledger for reference in line["references"])
    twice = sum(count - 1 for count in arrived.values())
    return Verdict(concurrent, fenced, twice, takeovers, unseen, len(ledger))


def _holds(story: Sequence[asyncpg.Record], owner: str, at: float) -> bool:  # real seconds, never money
    """Whether a submission was ``owner``'s at that moment, in SENDING."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    before = [row for row in story if row["at"] <= moment]
    return bool(before) and before[-1]["owner"] == owner and before[-1]["state"] == "SENDING"
