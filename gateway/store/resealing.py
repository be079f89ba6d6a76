"""Sealing again under the active key: every sealed column, a few blocks at a time, while gateways run.

Theory of operation
-------------------

A round walks each table once, in the order in which it lies on the disk, a window of blocks a transaction. A row under
another key is opened, sealed again for the same row, and written only if it still holds the very bytes that were read:
who changed it meanwhile has sealed it under the active key already, or it is found in the next round. Nothing is
remembered between windows, because a blob says itself which key it is under: after an end at any moment, starting again
is all.

A row that does not open is left as it is and told of with the key it names; the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

import asyncpg

from gateway.privacy import SealBroken
from gateway.store.engine import Engine, StoreUnavailable, lost_race, sql, touched

# By table: how its rows are found, how they are written, and the blocks of a window. Where a row may hold megabytes,
# one block: the rows of a window are in memory together.
PLACES: Final[Mapping[str, tuple[str, str, int]]] = MappingProxyType(
    {
        "batch_parts": ("stale_batch_parts", "reseal_batch_parts", 1),
        "refused_lines": ("stale_refused_lines", "reseal_refused_lines", 32),
        "payouts": ("stale_payouts", "reseal_payouts", 32),
        "attempts": ("stale_attempts", "reseal_attempts", 64),
        "submissions": ("stale_submissions", "reseal_submissions", 1),
        "artefacts": ("stale_artefacts", "reseal_artefacts", 1),
        "orders": ("stale_orders", "reseal_orders", 8),
        "account_bindings": ("stale_account_bindings", "reseal_account_bindings", 32),
        "notices": ("stale_notices", "reseal_notices", 8),
    }
)
_TRIES: Final = 5


class Reseal(Protocol):
    """Seals a blob again for the row of the table that it lies in; SealBroken when it does not open there."""

    def __call__(self, sealed: bytes, table: str, *row: object) -> bytes: ...


@dataclass(slots=True)
class Resealed:
    """What one round did: rows by table, and those that do not open, by table, damage and the key they name."""

    rows: Counter[str] = field(default_factory=Counter)
    broken: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    missed: int = 0  # changed by somebody else in between


class Resealing:
    """The store's room for key rotation. It needs a role of its own: a gateway's may not touch what is sealed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def by_key(self) -> list[tuple[str, str, int]]:
        """How many rows of which table are sealed under which key."""
        return [(row["place"], row["key_id"], row["rows"]) for row in await self._engine.fetch("sealed_by_key")]

    async def round(self, head: bytes, reseal: Reseal) -> Resealed:
        """Walk through all tables once. StoreUnavailable when the role may not write what is sealed."""
        done = Resealed()
        for table, (_, _, window) in PLACES.items():
            found = await self._engine.fetchrow("table_blocks", table)
            blocks = 0 if found is None else int(found["blocks"])
            for first in range(0, blocks, window):
                for tried in range(1, _TRIES + 1):
                    try:
                        await self._window(table, first, first + window, head, reseal, done)
                    except asyncpg.InsufficientPrivilegeError:
                        raise StoreUnavailable(
                            "this role may not seal again: use one of `gateway migrate --sealing-role`"
                        ) from None
                    except asyncpg.PostgresError as error:
                        if not lost_race(error) or tried == _TRIES:
                            raise
                    else:
                        break
        return done

    async def _window(self, table: str, first: int, last: int, head: bytes, reseal: Reseal, done: Resealed) -> None:
        stale, write, _ = PLACES[table]
        async with self._engine.connection() as connection:
            rows = await connection.fetch(sql(stale), first, last, head)
        fresh: list[tuple[object, bytes, bytes]] = []
        broken: Counter[tuple[str, str, str]] = Counter()
        for row in rows:
            old = bytes(row["sealed"])
            try:
                fresh.append((row["place"], old, reseal(old, table, *row["context"])))
            except SealBroken as error:
                broken[table, str(error.reason), error.key_id] += 1
        if fresh:
            async with self._engine.transaction() as connection:
                columns = [list(column) for column in zip(*fresh, strict=True)]
                count = touched(await connection.execute(sql(write), *columns))
            done.rows[table] += count
            done.missed += len(fresh) - count
        done.broken.update(broken)
