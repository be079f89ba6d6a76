"""Exactly once for careful readers: the code of schemas/README.md books each receipt once, in each payout's order.

The topic is what a relay leaves that is killed again and again: every so often it begins anew at an earlier record. The
readers end without having committed, come back, and share the group where the broker allows several members.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from gateway.config import KafkaSection
from gateway.kafka import Outlet
from gateway.store.outbox import batch_key
from gateway.store.staging import receipt_id
from tests.conftest import Kafka
from tests.store import kit
from tests.storm.relay.topic import PATIENCE, whole_topic
from tests.storm.scale import SEED, figure, size

BATCHES = size(3, 8)
PAYOUTS = size(10, 60)
STORY = ("failed", "credited", "returned", "credited")
LIVES = size(3, 15)
README = Path(__file__).parents[2] / "schemas" / "README.md"

Book = Callable[[sqlite3.Connection, bytes, Callable[[sqlite3.Connection, dict[str, Any]], None]], int]


def code_of_the_readme() -> dict[str, Any]:
    """``open_books`` and ``book`` exactly as the page shows them."""
    (block,) = (text for text in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "def book(" in text)
    names: dict[str, Any] = {}
    exec(compile(block, str(README), "exec"), names)
    return names


def book_outcome(books: sqlite3.Connection, receipt: dict[str, Any]) -> None:
    """The reader's own work: here, one row a booking."""
    row = (receipt["receipt_id"], receipt["payout_id"], receipt["seq"])
    books.execute("INSERT INTO bookings (receipt_id, payout, seq) VALUES (?, ?, ?)", row)


def without_remembering(
    books: sqlite3.Connection, value: bytes, outcome: Callable[[sqlite3.Connection, dict[str, Any]], None]
) -> int:
    """The control: books whatever comes."""
    receipts = json.loads(value)["receipts"]
    with books:
        for receipt in receipts:
            outcome(books, receipt)
    return len(receipts)


def stories(chance: random.Random) -> dict[str, list[bytes]]:
    """Records of each batch in the order in which they became true; a few receipts in each."""
    found = {}
    for number in range(BATCHES):
        told = [
            {
                "receipt_id": receipt_id(kit.ISSUER, f"batch-{number}", payout, seq, outcome),
                "payout_id": f"{number}-{payout}",
                "seq": seq,
                "outcome": outcome,
            }
            for seq, outcome in enumerate(STORY, start=1)
            for payout in range(PAYOUTS)
        ]
        records, begun = [], 0
        while begun < len(told):
            count = chance.randint(1, 5)
            records.append(json.dumps({"receipts": told[begun : begun + count]}).encode())
            begun += count
        found[batch_key(kit.ISSUER, f"batch-{number}")] = records
    return found


async def publish_with_repeats(kafka: Kafka, chance: random.Random, *, per_cent: int = 40) -> int:
    """As relays do that are killed between the acknowledgement and the mark; how many records were repeats."""
    outlet = Outlet(KafkaSection(bootstrap_servers=kafka.bootstrap, topic_prefix=kafka.prefix))
    repeats = 0
    for key, records in stories(chance).items():
        at = 0
        while at < len(records):
            chunk = records[at : at + 8]
            await outlet.publish(0, [("receipts", key, value) for value in chunk])
            if chance.randrange(100) < per_cent:
                repeats += len(chunk)  # the same chunk goes again, and perhaps more behind it
            else:
                at += len(chunk)
    await outlet.stop()
    return repeats


@dataclass
class Reader:
    """One member of the finance platform's group, with a life as short as its test wants it."""

    kafka: Kafka
    path: Path
    book: Book
    offset_first: bool = False

    async def live(self, records: float) -> None:
        """Read until ``records`` were booked (infinity: until nothing more comes), then end without a last commit."""
        consumer = AIOKafkaConsumer(
            self.kafka.topic("receipts"),
            bootstrap_servers=self.kafka.bootstrap,
            group_id=self.kafka.prefix + "finance",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
        )
        await consumer.start()
        silent = 0
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as books:
                while silent < 15 or not consumer.assignment():
                    fetched = await consumer.getmany(timeout_ms=200, max_records=10)
                    silent = 0 if fetched else silent + 1
                    for partition, batch in fetched.items():
                        for record in batch:
                            records -= 1
                            if self.offset_first:
                                await self._commit(consumer, partition, record.offset)
                                if records < 0:
                                    return  # between the commit and the booking
                            self.book(books, record.value, book_outcome)
                            if records < 0:
                                return  # between the booking and the commit
                            if not self.offset_first:
                                await self._commit(consumer, partition, record.offset)
        finally:
            await consumer.stop()

    @staticmethod
    async def _commit(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        try:
            await consumer.commit({partition: offset + 1})
        except (CommitFailedError, IllegalStateError):
            return  # the partition is another member's by now, who reads this record again


async def read_all(kafka: Kafka, path: Path, book: Book, *, offset_first: bool = False) -> None:
    """Lives that end in the middle, two members together where the broker allows it, then one that reads to the end."""
    with closing(sqlite3.connect(path)) as books:
        books.execute("CREATE TABLE bookings (at INTEGER PRIMARY KEY, receipt_id TEXT, payout TEXT, seq INTEGER)")
        books.commit()
    reader = Reader(kafka, path, book, offset_first)
    async with asyncio.timeout(PATIENCE * 2):
        for life in range(LIVES):
            lives = [reader.live(5 + 3 * life)]
            if kafka.limits.several_consumers:
                lives.append(reader.live(7 + 2 * life))
            await asyncio.gather(*lives)
        await reader.live(float("inf"))


def booked(path: Path) -> tuple[int, int, int]:
    """(bookings, receipts booked more than once, payouts booked out of order)."""
    with closing(sqlite3.connect(path)) as books:
        rows = books.execute("SELECT receipt_id, payout, seq FROM bookings ORDER BY at").fetchall()
    times: dict[str, int] = defaultdict(int)
    order: dict[str, list[int]] = defaultdict(list)
    for name, payout, seq in rows:
        times[name] += 1
        if times[name] == 1:
            order[payout].append(seq)
    twice = sum(1 for count in times.values() if count > 1)
    return len(rows), twice, sum(1 for seqs in order.values() if seqs != sorted(seqs))


async def test_the_reader_of_the_readme_books_each_receipt_once(kafka: Kafka, tmp_path: Path) -> None:
    """Repeats, restarts without a commit, members coming and going: each receipt once, and each payout in its order."""
    names = code_of_the_readme()
    repeats = await publish_with_repeats(kafka, random.Random(SEED))
    path = tmp_path / "books.sqlite"
    names["open_books"](str(path)).close()
    await read_all(kafka, path, names["book"])
    due = BATCHES * PAYOUTS * len(STORY)
    bookings, twice, disorders = booked(path)
    members = 2 if kafka.limits.several_consumers else 1
    figure(
        "item7",
        broker=kafka.broker.kind,
        receipts=due,
        repeated_records=repeats,
        records=len(await whole_topic(kafka)),
        lives=LIVES * members + 1,
        booked=bookings,
        twice=twice,
        disorders=disorders,
    )
    assert repeats > 0
    assert (bookings, twice, disorders) == (due, 0, 0)


def test_a_known_receipt_with_another_content_stops_the_reader(tmp_path: Path) -> None:
    """Somebody else wrote to the topic: neither is taken for the other, and nothing of that record is booked."""
    names = code_of_the_readme()
    booked_ids: list[str] = []
    with closing(names["open_books"](str(tmp_path / "books.sqlite"))) as books:

        def book_all(*receipts: dict[str, Any]) -> int:
            value = json.dumps({"receipts": receipts}).encode()
            return int(names["book"](books, value, lambda _, receipt: booked_ids.append(receipt["receipt_id"])))

        real = {
            "receipt_id": receipt_id(kit.ISSUER, "batch-1", 1, 1, "credited"),
            "outcome": "credited",
            "amount": "1.00",
        }
        assert (book_all(real), book_all(real)) == (1, 0)
        with pytest.raises(ValueError, match="another content"):
            book_all({"receipt_id": "new"}, real | {"amount": "2.00"})
        assert books.execute("SELECT count(*) FROM known_receipts").fetchone() == (1,)


def test_a_receipt_s_id_is_made_as_the_page_says() -> None:
    """The ids of the page's own example can be computed from what stands beside them."""
    (example,) = re.findall(r"```json\n(\{\"schema\": \"payout.receipts/v1\".*?)```", README.read_text(), re.S)
    record = json.loads(example)
    for one in record["receipts"]:
        text = "\n".join((record["issuer"], record["batch_id"], str(one["line"]), str(one["attempt"]), one["outcome"]))
        assert one["receipt_id"] == hashlib.sha256(text.encode()).hexdigest()[:32]
        about = (record["issuer"], record["batch_id"], one["line"], one["attempt"], one["outcome"])
        assert one["receipt_id"] == receipt_id(*about)


@pytest.mark.parametrize("careless", ["remembers nothing", "commits first"])
async def test_a_careless_reader_is_caught(kafka: Kafka, tmp_path: Path, careless: str) -> None:
    """Controls: without the ids a repeat is booked twice; with the offset committed first a crash loses receipts."""
    names = code_of_the_readme()
    first = careless == "commits first"
    await publish_with_repeats(kafka, random.Random(SEED), per_cent=0 if first else 40)  # a repeat would mend the loss
    path = tmp_path / "books.sqlite"
    names["open_books"](str(path)).close()
    await read_all(kafka, path, names["book"] if first else without_remembering, offset_first=first)
    bookings, twice, _ = booked(path)
    figure("item7", control=careless, booked=bookings, twice=twice)
    if first:
        assert bookings < BATCHES * PAYOUTS * len(STORY)
    else:
        assert twice > 0
