"""What reached the banks, by their own ledgers, against the transmissions that the gateway's books know of."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Any

import asyncpg

from tests.bank.ledger import read_only
from tests.world.layout_banks import BANKS
from tests.world.processes import run_apart
from tests.world.world import World

Transmissions = Counter[tuple[str, str]]  # by bank and digest
_SENT = "SELECT bank, encode(digest, 'hex') AS sha256, transmissions FROM submissions WHERE transmissions > 0"


def unwritten(world: World) -> int:
    """Arrivals of which the books know no transmission: sent, although SENDING was never committed."""
    arrived: Transmissions = Counter()
    for bank in BANKS:
        with closing(read_only(world.directory / bank)) as ledger:
            arrived.update((bank, sha256) for (sha256,) in ledger.execute("SELECT sha256 FROM submissions"))
    return (arrived - run_apart(_written(world))).total()


async def _written(world: World) -> Transmissions:
    connection: Any = await asyncpg.connect(world.postgres.dsn("payout"))
    try:
        rows = await connection.fetch(_SENT)
    finally:
        await connection.close()
    written: Transmissions = Counter()
    for row in rows:
        written[row["bank"], row["sha256"]] += row["transmissions"]
    return written
