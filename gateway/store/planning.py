"""Cutting approved lines into submissions, deterministically: by route, in line order, to the bank's limits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from gateway.store import ids
from gateway.store.engine import Connection, Engine, sql
from gateway.store.history import Ledger

CHUNK = 20_000  # lines looked at in one transaction; part of what "deterministically" means: never per process


@dataclass(frozen=True, slots=True)
class Route:
    """Where lines for one bank number go, and how large a submission may be there."""

    debit_account: str
    debit_name: str
    sms_signature: str
    max_lines: int
    max_total_fen: int
    reference_alphabet: str
    reference_length: int


class NoRoute(Exception):
    """Lines of a batch for which no agreement or configured bank can be found (any more)."""

    def __init__(self, batch_no: int) -> None:
        super().__init__(f"batch {batch_no} has lines without a route")
        self.batch_no = batch_no


class Router(Protocol):
    """The gateway's knowledge of agreements and capabilities."""

    def route(self, county: str, bank: str, bank_no: str, at: dt.datetime) -> Route:
        """Raises LookupError where no agreement or no configured bank fits."""


@dataclass(frozen=True, slots=True)
class Planned:
    batch_no: int
    submissions: int
    lines: int


class Planning:
    """The store's room for cutting."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def plan_next(
        self,
        router: Router,
        at: dt.datetime,
        hold_before: Callable[[dt.datetime], dt.datetime],
        skip: Sequence[int] = (),
    ) -> Planned | None:
        """Cut the next chunk of the most urgent batch that is not in ``skip``; None when nothing waits.

        ``hold_before(limit)`` is when doubt about these lines becomes a person's business. NoRoute names a batch whose
        lines lead nowhere: the caller skips it for a while, so that it holds no other batch up.
        """
        async with self._engine.transaction() as connection:
            batch = await connection.fetchrow(sql("next_to_plan"), list(skip))
            if batch is None:
                return None
            batch_no = batch["batch_no"]
            first, last = batch["planned_line"], batch["lines"]
            rows = await connection.fetch(
                sql("payouts_to_plan"),
                (batch_no << ids.LINE_BITS) | first,
                (batch_no << ids.LINE_BITS) | last,
                CHUNK,
            )
            ledger = await Ledger.lock(connection, [batch_no])
            made = []
            for (bank, bank_no), group in groupby(
                sorted(rows, key=lambda r: (r["bank"], r["bank_no"])), key=lambda r: (r["bank"], r["bank_no"])
            ):
                try:
                    route = router.route(batch["county"], bank, bank_no, batch["clock_started_at"])
                except LookupError:
                    raise NoRoute(batch_no) from None
                for lines in cut(list(group), route.max_lines, route.max_total_fen):
                    head = {"bank": bank, "bank_no": bank_no, "limit_at": batch["limit_at"]}
                    head["hold_at"] = hold_before(batch["limit_at"])
                    key = await insert_submission(
                        connection, {**head, "batch_no": batch_no, "county": batch["county"]}, route, lines, at
                    )
                    await _insert_attempts(connection, key, bank, route, lines, at)
                    made.append([key, len(lines)])
            reached = last if len(rows) < CHUNK else rows[-1]["payout_id"] & ids.MAX_LINES
            await connection.execute(sql("advance_planning"), batch_no, reached)
            ledger.add(batch_no, at, "PLANNED", {"to_line": reached, "submissions": made})
            await ledger.write(connection)
            return Planned(batch_no, len(made), len(rows))


def cut(lines: Sequence[Any], max_lines: int, max_total_fen: int) -> list[list[Any]]:
    """Split lines, in order, into runs that respect both limits. A line above the total limit travels alone."""
    runs: list[list[Any]] = []
    total = 0
    for line in lines:
        if not runs or len(runs[-1]) >= max_lines or total + line["amount_fen"] > max_total_fen:
            runs.append([])
            total = 0
        runs[-1].append(line)
        total += line["amount_fen"]
    return runs


async def insert_submission(
    connection: Connection, head: Mapping[str, Any], route: Route, lines: Sequence[Any], due_at: dt.datetime
) -> int:
    """A PLANNED submission under its own minted reference; its key."""
    key = int(
        await connection.fetchval(
            sql("insert_submission"),
            head["batch_no"],
            head["bank"],
            head["county"],
            head["bank_no"],
            route.debit_account,
            route.debit_name,
            route.sms_signature,
            len(lines),
            sum(line["amount_fen"] for line in lines),
            head["limit_at"],
            head["hold_at"],
            due_at,
        )
    )
    await connection.execute(sql("name_submission"), key, ids.submission_reference(key, due_at))
    return key


async def _insert_attempts(
    connection: Connection, key: int, bank: str, route: Route, lines: Sequence[Any], at: dt.datetime
) -> None:
    references = ids.mint_references(len(lines), at, route.reference_alphabet, route.reference_length)
    await connection.copy_records_to_table(
        "attempts",
        records=[
            (key, seq, line["payout_id"], 1, bank, reference, line["amount_fen"])
            for seq, (line, reference) in enumerate(zip(lines, references, strict=True), start=1)
        ],
        columns=["submission_id", "seq", "payout_id", "attempt_no", "bank", "reference", "amount_fen"],
    )
