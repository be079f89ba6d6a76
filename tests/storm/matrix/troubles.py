"""What goes wrong beside the kills and is no habit of a bank: each strikes again and again, and counts where it struck.

A trouble is a coroutine that strikes until `Storm.rest` says that it is enough, heals what it broke, and counts in
``storm.fired`` how often its fault was *seen*, by what others wrote down: a closed port, PostgreSQL's log, the clock
that the gateway itself has read, refusals on their topic, the kernel's word about a stopped process.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from gateway.approval import AUDIENCE, SigningKey, sign
from schemas.v1 import Kind
from tests.storm.matrix.books import Held
from tests.storm.matrix.cells import BACKWARDS, FORWARDS
from tests.world import layout
from tests.world.broker import PREFIX, listens
from tests.world.processes import ChildError

if TYPE_CHECKING:
    from tests.storm.matrix.storm import Storm

HOUR, DAY = 3600, 86_400
_LOOK_SECONDS = 0.05
TAKEN_IN_SECONDS = 15  # longer than a process that was killed needs for what was said meanwhile
CLAIM_SECONDS = 8  # longer than two lists lie apart
TAKEN_SECONDS = 12  # more than a process needs to be there again
SLOWLY = 0.25  # the share of full disks of which the tables are told before the log is
_WAL_FILES = 40  # more than there can be room for
_BACK_SECONDS = 180


async def kafka(storm: Storm) -> None:
    """Kafka ends without a word and is started again, over the same records and under the same address."""
    broker = storm.world.broker
    while await storm.rest(5, 12):  # Kafka itself needs some of it until it serves again
        broker.down()
        storm.away.add("kafka")
        refused = not await listening(broker.bootstrap)
        await storm.pause(0.5, 3)
        broker.up()
        await until(lambda: listening(broker.bootstrap), "Kafka listens again")
        storm.returned("kafka")
        storm.fired += refused


async def listening(bootstrap: str) -> bool:
    try:
        return await listens(bootstrap)
    except TimeoutError:
        return False


async def database(storm: Storm) -> None:
    """PostgreSQL crashes (SIGKILL) or is restarted (SIGINT) in turn; its own log says how often it began anew."""
    world, round_ = storm.world, 0
    child = world.postgres.child
    assert child is not None
    while await storm.rest(3, 8):
        before = said(child.errors, "ready to accept connections")
        storm.away.add("postgres")
        if round_ % 2:
            child.send(signal.SIGINT)
            await until(is_true(lambda: not child.running), "PostgreSQL ends")
        child.kill()
        await storm.pause(0.2, 2)
        await world.revive_database()
        storm.returned("postgres")
        storm.fired += said(child.errors, "ready to accept connections") > before
        round_ += 1
        await storm.worked_again()
    storm.notes.append(f"work again at most {max(storm.waits, default=0):.1f} s after the database was back")


async def disk(storm: Storm) -> None:
    """The database's disk is full to the last byte as soon as something is claimed, and is not any more.

    It counts where PostgreSQL's log says that it was full, and a commit of SENDING failed meanwhile.
    """
    world, strikes = storm.world, 0
    child, room = world.postgres.child, world.disk
    assert child is not None
    assert room is not None
    while await storm.rest(1, 4):
        before, refused = full(child.errors), len(world.refusals())
        room.narrow()
        await claimed(storm)
        storm.away.add("postgres")
        room.fill(child.pid)
        if storm.chance.random() < SLOWLY:
            await storm.pause(1, 2)
        await use_up_wal(world.postgres.dsn())
        await storm.pause(1.5, 3)
        room.release(child.pid)
        await world.revive_database()
        storm.returned("postgres")
        is_full = full(child.errors) > before
        strikes += is_full
        storm.fired += is_full and len(world.refusals()) > refused
        await storm.worked_again()
    errors = Counter(world.refusals())
    storm.notes.append(f"{room.kind}, full {strikes} times; SENDING refused: {dict(errors)}")
    storm.notes.append(f"work again at most {max(storm.waits, default=0):.1f} s after there was room")
    if world.hung:
        storm.notes.append(f"PostgreSQL itself hung after a full disk and had to be killed {world.hung} times")


def full(log: Path) -> int:
    return said(log, "No space left on device") + said(log, "File too large")


async def use_up_wal(dsn: str) -> None:
    """Let the log of the database begin one file after another, of which it keeps some at hand, until it cannot."""
    try:
        connection = await asyncpg.connect(dsn, timeout=2)
        try:
            for _ in range(_WAL_FILES):
                await connection.execute("SELECT pg_logical_emit_message(true, 'storm', 'x')", timeout=2)
                await connection.execute("SELECT pg_switch_wal()", timeout=2)
        finally:
            connection.terminate()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return  # that is what a full disk does


async def clock(storm: Storm) -> None:
    """The gateway's clock is an hour or a day off, either way in turn, for some seconds; it writes down what it read.

    It counts where a running process found its clock wrong and the banks' word on payments was due all the while.
    While the clock is back finance is silent, and whatever it had said is in: what is signed in the gateway's future it
    refuses, and says so, and would be finance's to sign again.
    """
    world = storm.world
    assert world.clock_file is not None
    journal = world.clock_file.with_name("clock.read")
    jumps = [HOUR, -HOUR, DAY, -DAY]
    number = 0
    while await storm.rest(0.5, 3):
        seconds = jumps[number % len(jumps)]
        way = BACKWARDS if seconds < 0 else FORWARDS
        async with silence(storm) if way == BACKWARDS else nullcontext(True) as may_jump:
            if not may_jump:
                continue
            number += 1
            before, was_open = jumps_read(journal)[way], await storm.books.is_open()
            set_clock(world.clock_file, seconds // world.plan.scale)
            await storm.pause(1, 4)
            is_open = was_open and await storm.books.is_open()
            set_clock(world.clock_file, 0)
            await storm.pause(0.2, 0.2)
        storm.kinds[way] += is_open and jumps_read(journal)[way] > before
        storm.fired = storm.kinds.total()
    storm.notes.append(f"the clock was found wrong {dict(jumps_read(journal))} times, with or without open payments")


def jumps_read(journal: Path) -> Counter[str]:
    """How often a running process found its clock wrong that had been right, by the way it had gone; the way back is
    no jump of its own."""
    read = journal.read_text().split() if journal.exists() else []
    return Counter(BACKWARDS if seconds.startswith("-") else FORWARDS for seconds in read if seconds != "0")


@asynccontextmanager
async def silence(storm: Storm) -> AsyncIterator[bool]:
    """Finance says nothing; whether all that it had said was taken in within a reasonable time."""
    deadline = asyncio.get_running_loop().time() + TAKEN_IN_SECONDS
    ask_desk(storm, silent=True)
    try:
        while not (is_in := await all_is_in(storm)) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
        yield is_in
    finally:
        ask_desk(storm, silent=False)


def ask_desk(storm: Storm, *, silent: bool) -> None:
    path = storm.world.directory / "desk" / "control.json"
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps({"silent": silent}))
    unfinished.rename(path)


async def all_is_in(storm: Storm) -> bool:
    """The desk is silent, and each list, its money, and each order of its are in the gateway's books."""
    status = storm.world.desk_status()
    if not status.get("silent"):
        return False
    lists, orders = await storm.books.taken_in()
    said: dict[str, int] = status["orders"]
    return lists >= int(status["lists"]) - int(status["lists_waiting"]) and orders >= sum(said.values())


def set_clock(path: Path, seconds: int) -> None:
    temporary = path.with_name("clock.new")
    temporary.write_text(str(seconds))
    temporary.rename(path)


async def poison(storm: Storm) -> None:
    """Records that nobody can read or may believe, on each input topic; each has to be answered with its refusal."""
    world = storm.world
    sent: list[str] = []
    producer = AIOKafkaProducer(bootstrap_servers=world.broker.bootstrap, max_request_size=4_000_000)
    await producer.start()
    try:
        while await storm.rest(0.5, 2):
            raw, jws = draught(storm.chance, world.directory / "finance.pem", world.now())
            topic = PREFIX + storm.chance.choice(("batches", "funding", "orders"))
            headers = [("jws", jws)] if jws is not None else []
            try:
                await producer.send_and_wait(topic, raw, headers=headers)
            except (KafkaError, TimeoutError):
                continue
            sent.append(hashlib.sha256(raw).hexdigest())
            storm.fired = answered(world.directory, sent)
    finally:
        await producer.stop()
    await until(is_true(lambda: answered(world.directory, sent) == len(sent)), "every poison is refused")
    storm.fired = answered(world.directory, sent)


def draught(chance: random.Random, key_file: Path, now: dt.datetime) -> tuple[bytes, bytes | None]:
    """One bad record and its signature header; the signed ones are rightly signed nonsense."""
    unique = f"{chance.getrandbits(64):016x}".encode()
    raw = chance.choice(
        (
            unique,
            b'{"schema":"payout.batch-part/v1","x":"' + unique,
            b'{"a":1,"a":2,"u":"' + unique + b'"}',
            b"[" * 50_000 + unique,
            b'{"amount":NaN,"u":"' + unique + b'"}',
            b"\xff\xfe\x00" + unique,
            b'{"u":"' + unique + b'","x":"' + b"a" * 1_200_000 + b'"}',
            b'{"schema":"payout.order/v9","order_id":"' + unique + b'"}',
        )
    )
    if chance.random() < 0.5 or not raw.isascii():
        return raw, chance.choice((None, b"..", b"e30..AA", b"\xff" * 40, b"a" * 5000))
    key = SigningKey.load(key_file)
    kind = chance.choice((Kind.BATCH, Kind.FUNDING, Kind.ORDER))
    return raw, sign(raw, kind, key, layout.KID, AUDIENCE, now).encode()


def answered(directory: Path, digests: list[str]) -> int:
    path = directory / "desk" / "refusals.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    refused = {json.loads(json.loads(line)["value"])["digest"] for line in lines}
    return sum(digest in refused for digest in digests)


async def zombie(storm: Storm) -> None:
    """One instance is stopped (SIGSTOP) with what it has claimed and not sent, until its lease is over and the other
    has taken the claim, and woken up (SIGCONT), mostly while that one is about to send. It counts where all of that is
    so: by the books, and by the kernel."""
    world, stops, unsent = storm.world, 0, 0
    lease_seconds = int(world.plan.sections()["timing"]["lease_seconds"])
    while await storm.rest(1, 3):
        held = await claimed(storm)
        name = holder(storm, held) or storm.chance.choice(sorted(world.gateways()))
        child, _ = world.gateways()[name]
        if not child.running:
            continue
        pid = child.pid
        storm.stopped.add(name)
        child.send(signal.SIGSTOP)
        await storm.pause(0.2, 0.2)  # what it had said to the database by then, the database has done
        is_unsent = held is not None and held.pid == pid and await storm.books.is_unsent(held)
        await storm.pause(lease_seconds, lease_seconds + 0.2)
        is_taken = is_unsent and held is not None and await taken(storm, held)
        # Mostly in the very moment: later on the bank has answered, and then the books alone stop who wakes up.
        await storm.pause(*storm.chance.choice(((0, 0), (0, 0), (1, 3))))
        slept = child.running and child.pid == pid and is_stopped(pid)
        child.send(signal.SIGCONT)
        storm.awake(name)
        stops, unsent, storm.fired = stops + 1, unsent + is_unsent, storm.fired + (slept and is_taken)
    storm.notes.append(f"{stops} stops, {unsent} with an unsent claim, {storm.fired} of those taken by the other")


def holder(storm: Storm, held: Held | None) -> str:
    """Which instance that is; "" for none, and for one that has ended since."""
    running = {child.pid: name for name, (child, _) in storm.world.gateways().items() if child.running}
    return "" if held is None else running.get(held.pid, "")


async def taken(storm: Storm, held: Held) -> bool:
    """Whether another process claims it; who does it may just have been killed, and come again."""
    deadline = asyncio.get_running_loop().time() + TAKEN_SECONDS
    while not (is_taken := await storm.books.is_taken(held)) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
    return is_taken


async def claimed(storm: Storm) -> Held | None:
    """Wait until a gateway holds a claim that is not SENDING yet; None where none does for a while."""
    deadline = asyncio.get_running_loop().time() + CLAIM_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        running = [child.pid for child, _ in storm.world.gateways().values() if child.running]
        held = await storm.books.held(running)
        if held is not None:
            return held
        await asyncio.sleep(_LOOK_SECONDS)
    return None


def is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


TROUBLES: dict[str, Callable[[Storm], Awaitable[None]]] = {
    each.__name__: each for each in (kafka, database, disk, clock, poison, zombie)
}
TAKES_AWAY = frozenset({kafka.__name__, database.__name__, disk.__name__, zombie.__name__})


def said(log: Path, words: str) -> int:
    """How many lines of a log hold these words."""
    return log.read_text(encoding="utf-8", errors="replace").count(words) if log.exists() else 0


def is_true(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return holds()

    return asked


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that must come; ChildError when it does not."""
    deadline = asyncio.get_running_loop().time() + _BACK_SECONDS
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            raise ChildError(f"never: {what}")
        await asyncio.sleep(_LOOK_SECONDS)
