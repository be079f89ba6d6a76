"""R11: whatever writers and relays do, no receipt is skipped, each payout's leave in order, one relay has a lane.

Two relays work on the same lanes. Either may be killed, or stand still beyond its lease and go on: then what it had
published and not marked is legally said again, byte for byte, by the other one, and by nobody else. So beside what was
skipped, invented or first said in the wrong order, two things are counted that only a lane with two relays can show:
publishes *outside the lease* (its relay had not just been granted the lane, by the database's own record of grants),
and repeats that nothing *explains* (more than one publish's records for each change of hands or doubt of that lane).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import secrets
import signal
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.receipts import RECORDS_AT_ONCE
from gateway.store.engine import sql
from gateway.store.outbox import Record, batch_key, lane_of, stage
from tests.conftest import Kafka
from tests.store import kit
from tests.store.kit import open_gateway
from tests.storm.leases import audit
from tests.storm.relay.process import IGNORES_THE_LEASE, LEASE_SECONDS
from tests.storm.relay.topic import PATIENCE, RelayProcess, relay_process, whole_topic
from tests.storm.scale import SEED, figure, size

WRITERS = 8
TRANSACTIONS = size(5, 40)  # at least, of each writer; they go on until every kill is done
LONGEST_MILLISECONDS = size(500, 2000)
KILLS, STOPS = size(2, 20), size(1, 20)
PUBLISHES_AT_LEAST = size(12, 200)  # of the last two relays together
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
    disorders: int  # by the first time that each record was said
    publishes: int
    changes_of_hands: int
    outside_the_lease: int
    unexplained: int  # repeats

    @property
    def kept(self) -> bool:
        wrong = (self.skipped, self.invented, self.disorders, self.outside_the_lease, self.unexplained)
        return not any(wrong)


def names_in_few_lanes() -> list[str]:
    """Batches that share lanes, so that open transactions of one stand between committed ones of another."""
    lanes: dict[int, list[str]] = defaultdict(list)
    for number in range(1000):
        name = f"659999-XJ-NY-01-2026-{number:04d}"
        lanes[lane_of(batch_key(kit.ISSUER, name))].append(name)
    return [name for lane in range(LANES) for name in lanes[lane][: BATCHES // LANES]]


async def judge(dsn: str, kafka: Kafka, relays: Sequence[RelayProcess]) -> Told:
    connection = await asyncpg.connect(dsn)
    rows = [bytes(row["value"]) for row in await connection.fetch("SELECT value FROM outbox")]
    counted: dict[str, int] = {row["payout"]: row["seq"] for row in await connection.fetch("SELECT * FROM told")}
    grants = await connection.fetch("SELECT name, owner, fence, at FROM storm_audit WHERE kind = 'lease'")
    await connection.close()
    assert len(rows) == sum(counted.values())  # the books of this test themselves
    seen: set[bytes] = set()
    last: dict[str, int] = defaultdict(int)
    repeats: Counter[int] = Counter()
    disorders = 0
    for key, value in await whole_topic(kafka):
        if value in seen:
            repeats[lane_of(key.decode())] += 1
            continue
        seen.add(value)
        said = json.loads(value)
        disorders += said["seq"] != last[said["payout"]] + 1
        last[said["payout"]] = said["seq"]
    publishes = [one for relay in relays for one in relay.told("publishing")]
    moments: dict[tuple[str, str, int], list[float]] = defaultdict(list)  # of grants; real, never money
    for grant in grants:
        moments[grant["name"], grant["owner"], grant["fence"]].append(grant["at"].timestamp())
    hands = Counter({lane: fences - 1 for lane, fences in _fences(grants).items()})
    legal = hands + Counter(one["lane"] for relay in relays for one in relay.told("in_doubt"))
    return Told(
        len(rows),
        repeats.total(),
        len(set(rows) - seen),
        len(seen - set(rows)),
        disorders,
        len(publishes),
        hands.total(),
        sum(not _granted(one, moments) for one in publishes),
        sum(max(0, count - legal[lane] * RECORDS_AT_ONCE) for lane, count in repeats.items()),
    )


def _fences(grants: Sequence[Any]) -> dict[int, int]:
    """How many different holders each lane has had, one after the other."""
    fences: dict[int, set[int]] = defaultdict(set)
    for grant in grants:
        fences[int(grant["name"].removeprefix("lane-"))].add(grant["fence"])
    return {lane: len(several) for lane, several in fences.items()}


def _granted(publish: Mapping[str, Any], moments: Mapping[tuple[str, str, int], Sequence[float]]) -> bool:
    """Whether the database granted the lane to this relay, under this fence, while the relay last asked for it."""
    if "fence" not in publish:
        return False
    grants = moments.get((f"lane-{publish['lane']}", publish["owner"], publish["fence"]), ())
    return any(publish["asked_at"] <= moment <= publish["answered_at"] for moment in grants)


async def until_quiet(dsn: str) -> None:
    """The relays have nothing more to do: nothing waits, or what waits has not changed for two leases."""
    connection = await asyncpg.connect(dsn)
    before, still = -1, 0
    async with asyncio.timeout(PATIENCE):
        while before != 0 and still < 20 * LEASE_SECONDS:
            waiting = await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            still = still + 1 if waiting == before else 0
            before = waiting
            await asyncio.sleep(0.1)
    await connection.close()


async def next_publisher(relays: Sequence[RelayProcess]) -> RelayProcess:
    """The relay that publishes next."""
    before = [relay.said("publishing") for relay in relays]
    async with asyncio.timeout(PATIENCE):
        while True:
            for relay, known in zip(relays, before, strict=True):
                if relay.said("publishing") > known:
                    return relay
            await asyncio.sleep(0.02)


async def stand_still(relay: RelayProcess, dsn: str) -> None:
    """Stopped in the middle of its work until another has one of the lanes; then it goes on where it was."""
    connection = await asyncpg.connect(dsn)
    fences = "SELECT coalesce(sum(fence), 0) FROM leases"
    before = await connection.fetchval(fences)
    relay.send(signal.SIGSTOP)
    try:
        for _ in range(30 * LEASE_SECONDS):
            await asyncio.sleep(0.1)
            if await connection.fetchval(fences) > before:
                break
    finally:
        relay.send(signal.SIGCONT)
        await connection.close()


async def storm(database: str, kafka: Kafka, directory: Path, build: str = "") -> Told:
    """Writers, two relays of which one is killed or stopped again and again, rest, and the verdict."""
    names = names_in_few_lanes()
    async with open_gateway(database) as gateway:
        for name in names:
            await gateway.batch([kit.line(1)], batch_id=name)
    connection = await asyncpg.connect(database)
    await connection.execute(_TABLE)
    await audit.install(connection)
    await connection.close()
    writers = Writers(database, names)
    chance = random.Random(SEED)
    options = ("--build", build) if build else ()
    troubles = ["stop"] * STOPS + ["kill"] * KILLS
    with (
        relay_process(directory, database, kafka, *options) as one,
        relay_process(directory, database, kafka, *options) as other,
    ):
        relays = (one, other)
        await asyncio.gather(*(relay.begin() for relay in relays))
        writing = asyncio.create_task(writers.all())
        for trouble in chance.sample(troubles, len(troubles)):
            relay = await next_publisher(relays)
            await asyncio.sleep(chance.uniform(0, 1))
            if trouble == "stop":
                await stand_still(relay, database)
            else:
                relay.kill()
                await relay.begin()
        async with asyncio.timeout(PATIENCE):  # at work beside the writers, and not after them
            while sum(relay.said("publishing") for relay in relays) < PUBLISHES_AT_LEAST:
                await asyncio.sleep(0.02)
        writers.kills_done.set()
        await asyncio.wait_for(writing, PATIENCE)
        await until_quiet(database)
        for relay in relays:
            relay.stop()
        assert writers.rolled_back > 0
        return await judge(database, kafka, relays)


async def test_no_receipt_is_skipped_and_each_payout_keeps_its_order(
    database: str, kafka: Kafka, tmp_path: Path
) -> None:
    """Eight writers, two relays on the same lanes, killed and stopped: every record, in order, from one at a time."""
    told = await storm(database, kafka, tmp_path)
    figure("R11", broker=kafka.broker.kind, writers=WRITERS, kills=KILLS, stops=STOPS, **dataclasses.asdict(told))
    assert told.committed >= WRITERS * TRANSACTIONS // 2
    assert told.changes_of_hands > 0
    assert told.kept


@pytest.mark.parametrize("build", ["greater_than_the_last", "newest_first", IGNORES_THE_LEASE])
async def test_a_relay_that_reads_or_shares_wrongly_is_caught(
    database: str, kafka: Kafka, tmp_path: Path, build: str
) -> None:
    """Controls: `id >` skips; newest first turns a story round; two on one lane say everything twice."""
    told = await storm(database, kafka, tmp_path, build)
    figure("R11", control=build, **dataclasses.asdict(told))
    match build:
        case "greater_than_the_last":
            assert told.skipped > 0
        case "newest_first":
            assert told.disorders > 0
        case _:
            assert told.outside_the_lease == told.publishes
            assert told.unexplained > 0
