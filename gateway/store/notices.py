"""Notices in the store: one row is one call to the SMS provider, with an outcome for each person in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.store.engine import Engine, Row, sql

DUE, ACCEPTED, UNKNOWN = "DUE", "ACCEPTED", "UNKNOWN"
FINAL = frozenset({"DELIVERED", "UNDELIVERED", "REFUSED", "NO_TEXT"})


class Notices:
    """The store's room for notices."""

    def __init__(self, engine: Engine, owner: str, lease_seconds: int) -> None:
        self._engine = engine
        self._owner = owner
        self._lease_seconds = lease_seconds

    async def claim(self, at: dt.datetime, limit: int) -> list[Row]:
        return await self._engine.fetch("claim_notices", self._owner, self._lease_seconds, at, limit)

    async def facts(self, notice: Mapping[str, Any]) -> list[Row]:
        """What the texts say, in the order of the call."""
        return await self._engine.fetch("facts_for_notices", notice["submissions"], notice["seqs"])

    async def sending(self, notice: Mapping[str, Any], sealed: bytes, at: dt.datetime) -> bool:
        """Commit that the call is about to be made; False when another process holds it by now."""
        return await self._engine.execute("notice_sending", notice["notice_id"], notice["fence"], sealed, at) == 1

    async def outcome(
        self,
        notice: Mapping[str, Any],
        state: str,
        outcomes: Sequence[str],
        look_again_at: dt.datetime,
        ended_at: dt.datetime | None = None,
    ) -> None:
        await self._engine.execute(
            "notice_outcome", notice["notice_id"], notice["fence"], state, list(outcomes), look_again_at, ended_at
        )

    async def report(
        self, reports: Mapping[int, Mapping[str, str]], places: Callable[[Mapping[str, Any]], Mapping[str, int]]
    ) -> list[str]:
        """Apply delivery reports, given by notice and reference; ``places`` finds a reference's place in a row.

        Final outcomes stay, so a repeated report changes nothing. Returns the outcomes that are new.
        """
        news: list[str] = []
        async with self._engine.transaction() as connection:
            for row in await connection.fetch(sql("notice_outcomes"), sorted(reports)):
                outcomes, where, changed = list(row["outcomes"]), places(dict(row)), False
                for reference, outcome in reports[row["notice_id"]].items():
                    place = where.get(reference)
                    if place is not None and outcomes[place] not in FINAL:
                        outcomes[place], changed = outcome, True
                        news.append(outcome)
                if changed:
                    state = "CLOSED" if all(outcome in FINAL for outcome in outcomes) else row["state"]
                    await connection.execute(sql("notice_reported"), row["notice_id"], outcomes, state)
        return news

    async def by_state(self) -> list[Row]:
        return await self._engine.fetch("notices_by_state")

    async def of_payout(self, payout: int, batch_no: int) -> list[Row]:
        return await self._engine.fetch("notices_of_payout", payout, batch_no)
