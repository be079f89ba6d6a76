"""R11: whatever the writers and the relay do, no committed receipt is skipped, and each payout's leave in its order."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.store.engine import sql
from gateway.store.outbox import Record, batch_key, lane_of, stage
from tests.conftest import Kafka
from tests.store import kit
from tests.store.kit import open_gateway
from tests.storm.relay.topic import PATIENCE, relay_process, whole_topic
from tests.storm.scale import SEED, figure, size

WRITERS = 8
TRANSACTIONS = size(5, 40)  # at least, of each writer; they go on until every kill is done
LONGEST_MILLISECONDS = size(500, 2000)
KILLS = size(2, 20)
PUBLISHES_AT_LEAST = size(12, 200)  # of the last relay
BATCHES, LANES = 6, 2
PAYOUTS_OF_A_BATCH = 3
_TABLE = "CREATE TABLE told (payout text PRIMARY KEY, seq integer NOT NULL)"
_NEXT = """INSERT INTO told VALUES ($1, 1) ON CONFLICT (payout) DO UPDATE SET seq = told.seq + 1 RETURNING seq"""


@dataclass
class Writers:
    """Transactions of random length over few batches in few lanes; one in eight rolls back."""

    dsn: str
    names: list[str]
    kills_done: asyncio.Event = field(default_factory=asyncio.Event)
    committed: int = 0
    rolled_back: int = 0

    async def all(self) -> None:
        await asyncio.gather(*(self._write(number) for number in range(WRITERS)))

    async def _write(self, number: int) -> None:
        chance = random.Random(f"{SEED}/{number}")
        connection = await asyncpg.connect(self.dsn)
        done = 0
        while done < TRANSACTIONS or not self.kills_done.is_set():
            await self._one(connection, chance)
            done += 1
        await connection.close()

    async def _one(self, connection: Any, chance: random.Random) -> None:
        place = chance.randrange(BATCHES)
        before = chance.uniform(0, LONGEST_MILLISECONDS / 2000)
        after = chance.uniform(0, LONGEST_MILLISECONDS / 2000)
        payout = f"{place + 1}-{chance.randint(1, PAYOUTS_OF_A_BATCH)}"
        transaction = connection.transaction()
        await transaction.start()
        await asyncio.sleep(before)
        # As each step of the store does: the batch's row first, and what is told of it afterwards.
        await connection.fetch(sql("lock_batches"), [place + 1])
        seq = await connection.fetchval(_NEXT, payout)
        value = json.dumps({"payout": payout, "seq": seq, "nonce": secrets.token_hex(8)}).encode()
        now = kit.START
        await stage(connection, [Record("receipts", batch_key(kit.ISSUER, self.names[place]), value, now, now)])
        await asyncio.sleep(after)
        if chance.randrange(8) == 0:
            await transaction.rollback()
            self.rolled_back += 1
        else:
            await transaction.commit()
            self.committed += 1


@dataclass(frozen=True, slots=True)
class Told:
    """What the topic says, set against what was committed."""

    committed: int
    repeats: int
    skipped: int
    invented: int
    disorders: int

    @property
    def kept(self) -> bool:
        return not (self.skipped or self.invented or self.disorders)


def names_in_few_lanes() -> list[str]:
    """Batches that share lanes, so that open transactions of one stand between committed ones of another."""
    lanes: dict[int, list[str]] = defaultdict(list)
    for number in range(1000):
        name = f"659999-XJ-NY-01-2026-{number:04d}"
        lanes[lane_of(batch_key(kit.ISSUER, name))].append(name)
    return [name for lane in range(LANES) for name in lanes[lane][: BATCHES // LANES]]


async def judge(dsn: str, kafka: Kafka) -> Told:
    connection = await asyncpg.connect(dsn)
    rows = [bytes(row["value"]) for row in await connection.fetch("SELECT value FROM outbox")]
    counted: dict[str, int] = {row["payout"]: row["seq"] for row in await connection.fetch("SELECT * FROM told")}
    await connection.close()
    assert len(rows) == sum(counted.values())  # the books of this test themselves
    seen: set[bytes] = set()
    last: dict[str, int] = defaultdict(int)
    disorders = repeats = 0
    for _, value in await whole_topic(kafka):
        if value in seen:
            repeats += 1
            continue
        seen.add(value)
        said = json.loads(value)
        disorders += said["seq"] != last[said["payout"]] + 1
        last[said["payout"]] = said["seq"]
    return Told(len(rows), repeats, len(set(rows) - seen), len(seen - set(rows)), disorders)


async def until_quiet(dsn: str) -> None:
    """The relay has nothing more to do: nothing waits, or what waits has not changed for two seconds."""
    connection = await asyncpg.connect(dsn)
    before, still = -1, 0
    async with asyncio.timeout(PATIENCE):
        while before != 0 and still < 20:
            waiting = await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            still = still + 1 if waiting == before else 0
            before = waiting
            await asyncio.sleep(0.1)
    await connection.close()


async def storm(database: str, kafka: Kafka, directory: Path, build: str = "") -> Told:
    """Writers, a relay that is killed and begun again, rest, and the verdict."""
    names = names_in_few_lanes()
    async with open_gateway(database) as gateway:
        for name in names:
            await gateway.batch([kit.line(1)], batch_id=name)
    connection = await asyncpg.connect(database)
    await connection.execute(_TABLE)
    await connection.close()
    writers = Writers(database, names)
    chance = random.Random(SEED)
    options = ("--build", build) if build else ()
    with relay_process(directory, database, kafka, *options) as relay:
        await relay.begin()
        writing = asyncio.create_task(writers.all())
        for _ in range(KILLS):
            await relay.until_it_says("publishing")
            await asyncio.sleep(chance.uniform(0, 1))
            relay.kill()
            await relay.begin()
        await relay.until_it_says("publishing", PUBLISHES_AT_LEAST)  # at work beside the writers, and not after them
        writers.kills_done.set()
        await asyncio.wait_for(writing, PATIENCE)
        await until_quiet(database)
        relay.stop()
    assert writers.rolled_back > 0
    return await judge(database, kafka)


async def test_no_receipt_is_skipped_and_each_payout_keeps_its_order(
    database: str, kafka: Kafka, tmp_path: Path
) -> None:
    """Eight writers with transactions of 0 to 2 s, a relay killed again and again: every record, in its order."""
    told = await storm(database, kafka, tmp_path)
    figure(
        "R11",
        broker=kafka.broker.kind,
        writers=WRITERS,
        kills=KILLS,
        committed=told.committed,
        repeats=told.repeats,
        skipped=told.skipped,
        invented=told.invented,
        disorders=told.disorders,
    )
    assert told.committed >= WRITERS * TRANSACTIONS // 2
    assert told.kept


@pytest.mark.parametrize("build", ["greater_than_the_last", "newest_first"])
async def test_a_relay_that_reads_wrongly_is_caught(database: str, kafka: Kafka, tmp_path: Path, build: str) -> None:
    """Controls: `id >` skips what an open transaction held back; newest first turns a payout's story round."""
    told = await storm(database, kafka, tmp_path, build)
    figure("R11", control=build, skipped=told.skipped, disorders=told.disorders)
    if build == "greater_than_the_last":
        assert told.skipped > 0
    else:
        assert told.disorders > 0
