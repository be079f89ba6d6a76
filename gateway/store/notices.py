"""Notices in the store: one row is one call to the SMS provider, with an outcome for each person in it.

Providers that report part by part over their own connection have a second table: one row is one part, known from the
answer to its sending, from its report, or from both, in either order.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.store.engine import Engine, Row, sql

DUE, ACCEPTED, UNKNOWN = "DUE", "ACCEPTED", "UNKNOWN"
FINAL = frozenset({"DELIVERED", "UNDELIVERED", "REFUSED", "NO_TEXT"})
SERIALS_PER_CALL = 100  # a serial is the call's number and, in its last two digits, the place in it


@dataclass(frozen=True, slots=True)
class Parts:
    """What a provider took: its id of each part with the place it belongs to, and how many parts each place has."""

    provider: str
    ids: Mapping[str, int]
    sizes: Mapping[int, int]


NO_PARTS = Parts("", {}, {})


@dataclass(frozen=True, slots=True)
class Pushed:
    """A report of one part. ``outcome`` is None while nothing final is known; ``phone`` is compared, never stored."""

    provider_id: str
    outcome: str | None
    serial: int | None
    modulus: int
    phone: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of an opened call: whom it went to, and in how many parts."""

    phone: str | None = field(repr=False)
    parts: int


def serial(notice_id: int, place: int) -> int:
    """One message as a number, for ever."""
    return notice_id * SERIALS_PER_CALL + place


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
        parts: Parts = NO_PARTS,
    ) -> None:
        """Record what became of a call. A final outcome that a report brought meanwhile stays, whatever we think.

        ``parts`` are the ids under which the provider will report: some of those reports may be here already.
        """
        merged = list(outcomes)
        async with self._engine.transaction() as connection:
            if parts.ids:
                names = sorted(parts.ids)
                places = [parts.ids[name] for name in names]
                await connection.execute(sql("note_parts"), parts.provider, names, notice["notice_id"], places)
            for row in await connection.fetch(sql("notice_outcomes"), [notice["notice_id"]]):
                _keep_final(merged, row["outcomes"])
            if parts.ids:
                _add_up(merged, await connection.fetch(sql("parts_of_notices"), [notice["notice_id"]]), parts.sizes)
            if all(outcome in FINAL for outcome in merged):
                state = "CLOSED"
            await connection.execute(
                sql("notice_outcome"), notice["notice_id"], notice["fence"], state, merged, look_again_at, ended_at
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

    async def pushed(
        self, provider: str, reports: Sequence[Pushed], opened: Callable[[Mapping[str, Any]], Mapping[int, Sent]]
    ) -> list[str]:
        """Take over reports of parts; the outcomes of messages that are new.

        A part is found by the provider's id, else by its serial: the newest message with that remainder, if it went to
        the phone that the report speaks of and lacks a part. A report that finds nothing waits: the answer that names
        its id may still be on the way (``forget`` tells of those that waited in vain). ``opened`` unseals a call.

        Parts are locked before calls, here and in ``outcome``, each in one order.
        """
        told = {report.provider_id: report for report in sorted(reports, key=lambda report: report.outcome is None)}
        finals = {report.provider_id: report.outcome for report in reversed(reports) if report.outcome}
        names = sorted(told)
        news: list[str] = []
        async with self._engine.transaction() as connection:
            rows = await connection.fetch(sql("take_reports"), provider, names, [finals.get(name) for name in names])
            home = {
                row["provider_id"]: (row["notice_id"], row["place"]) for row in rows if row["notice_id"] is not None
            }
            newest = serial(await connection.fetchval(sql("newest_notice")) or 0, SERIALS_PER_CALL - 1)
            guesses = _guesses(told, home, newest)
            wanted = sorted({notice for notice, _ in (*home.values(), *guesses.values())})
            calls = {row["notice_id"]: row for row in await connection.fetch(sql("notice_outcomes"), wanted)}
            messages = {notice: opened(dict(row)) for notice, row in calls.items()}
            known = await connection.fetch(sql("parts_of_notices"), wanted)
            filled = Counter((row["notice_id"], row["place"]) for row in known)
            for name, (notice, place) in guesses.items():
                sent = messages.get(notice, {}).get(place)
                if sent is None or sent.phone != told[name].phone or filled[notice, place] >= sent.parts:
                    continue
                filled[notice, place] += 1
                home[name] = (notice, place)
                await connection.execute(sql("note_parts"), provider, [name], notice, [place])
            known = await connection.fetch(sql("parts_of_notices"), wanted)
            for notice, row in calls.items():
                outcomes = list(row["outcomes"])
                sizes = {place: sent.parts for place, sent in messages[notice].items()}
                _add_up(outcomes, [part for part in known if part["notice_id"] == notice], sizes)
                if outcomes != row["outcomes"]:
                    news += [new for new, old in zip(outcomes, row["outcomes"], strict=True) if new != old]
                    state = "CLOSED" if all(outcome in FINAL for outcome in outcomes) else row["state"]
                    await connection.execute(sql("notice_reported"), notice, outcomes, state)
        return [new for new in news if new in FINAL]

    async def forget(self, provider: str, orphan_seconds: int, kept_seconds: int) -> int:
        """Drop what nobody will ask for again; the number of reports that matched no message in ``orphan_seconds``."""
        rows = await self._engine.fetch("forget_parts", provider, orphan_seconds, kept_seconds)
        return sum(1 for row in rows if row["orphan"])

    async def by_state(self) -> list[Row]:
        return await self._engine.fetch("notices_by_state")

    async def of_payout(self, payout: int, batch_no: int) -> list[Row]:
        return await self._engine.fetch("notices_of_payout", payout, batch_no)


def _guesses(told: Mapping[str, Pushed], home: Mapping[str, object], newest: int) -> dict[str, tuple[int, int]]:
    """Call and place of the newest message that has a report's serial, where no id says whose it is."""
    found: dict[str, tuple[int, int]] = {}
    for name, report in told.items():
        if name in home or report.serial is None or report.phone is None:
            continue
        exact = report.serial if not report.modulus else newest - (newest - report.serial) % report.modulus
        if exact > 0:
            found[name] = divmod(exact, SERIALS_PER_CALL)
    return found


def _keep_final(outcomes: list[str], stored: Sequence[str]) -> None:
    for place, outcome in enumerate(stored):
        if outcome in FINAL and outcomes[place] not in FINAL:
            outcomes[place] = outcome


def _add_up(outcomes: list[str], parts: Sequence[asyncpg.Record], sizes: Mapping[int, int]) -> None:
    """A message is delivered when all its parts are, and undelivered when one is; a part that is known was taken."""
    by_place: dict[int, list[str | None]] = {}
    for part in parts:
        by_place.setdefault(part["place"], []).append(part["outcome"])
    for place, told in by_place.items():
        if outcomes[place] in FINAL:
            continue
        if "UNDELIVERED" in told:
            outcomes[place] = "UNDELIVERED"
        elif place in sizes and told.count("DELIVERED") >= sizes[place]:
            outcomes[place] = "DELIVERED"
        elif outcomes[place] == UNKNOWN:
            outcomes[place] = ACCEPTED
