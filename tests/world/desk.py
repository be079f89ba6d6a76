"""The simulated finance desk: publishes signed lists and money, hears what became of them, re-verifies, orders again.

    python -m tests.world.desk --config desk.json

A process of its own with its own disk (`tests/world/desk_disk.py`). It prints one ready line, obeys ``GATEWAY_CLOCK``
and survives kill -9: whatever it had signed is sent again byte for byte, whatever it had read is not read again, and
each failed or returned attempt gets exactly one order. Its standing is in ``status.json``, rewritten often.
``control.json`` beside it asks for faults: ``{"repeat": {"any-id": "all"}}`` publishes every message once more. Or for
silence: while it holds ``{"silent": true}``, nothing is published, and the standing says so once nothing is under way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from gateway.approval import AUDIENCE, SigningKey, sign
from schemas.v1 import Kind
from tests.world import clock, desk_list
from tests.world.broker import OUTPUTS, PREFIX
from tests.world.checker.signatures import milliseconds
from tests.world.desk_decisions import Case, Habits, decide, draw, due_ms, order_name
from tests.world.desk_disk import Journal, Outgoing, Signed
from tests.world.desk_flow import Flow
from tests.world.desk_hostile import hostile_messages

TOPIC_OF = {Kind.BATCH: "batches", Kind.FUNDING: "funding", Kind.ORDER: "orders"}
TICK_SECONDS = 0.05
STATUS_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list to publish; ``after_seconds`` (virtual) counts from the start of the desk's first life."""

    list: str
    header: str
    lines: int = 0
    after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class DeskConfig:
    directory: str
    bootstrap: str
    key_file: str
    kid: str
    issuer: str
    lists: tuple[ListFile, ...]
    prefix: str = PREFIX
    lines_per_part: int = 1000
    habits: Habits = field(default_factory=Habits)
    repeat_rate: int = 0  # messages published a second time, per ten thousand
    hostile: bool = False  # also publishes messages that nobody may believe
    bytes_in_flight: int = 0  # what a partition may hold unread; 0 = no bound (a real Kafka)
    group: str = "payout-gateway"

    @classmethod
    def read(cls, path: Path) -> DeskConfig:
        given = json.loads(path.read_text(encoding="utf-8"))
        given["lists"] = tuple(ListFile(**each) for each in given["lists"])
        habits = given.pop("habits", {})
        if "reverify_seconds" in habits:
            habits["reverify_seconds"] = tuple(habits["reverify_seconds"])
        return cls(**given, habits=Habits(**habits))


class Desk:
    """One desk over its disk."""

    def __init__(self, config: DeskConfig) -> None:
        self.config = config
        self.directory = Path(config.directory)
        self.outgoing = Outgoing(self.directory)
        self.journals = {name: Journal(self.directory / f"{name}.jsonl") for name in OUTPUTS}
        self._key = SigningKey.load(Path(config.key_file))
        self._lists = [(each, *self._read(each)) for each in config.lists]
        self._items = {(header["batch_id"], item["line"]): item for _, header, items in self._lists for item in items}
        self._lines = len(self._items)
        self._started_ms = self._first_start()
        self._cases: dict[str, tuple[int, Case]] = {}
        self._heard: Counter[str] = Counter()
        self._receipt_ids: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._reports: dict[str, dict[str, Any]] = {}
        self._notices_due = 0
        self._repeats: list[int] = []
        self._repeated: set[str] = set()
        self._silent = False
        self._decided: Counter[str] = Counter()
        self._answered: set[str] = set()
        for name, journal in self.journals.items():
            for value in journal.values():
                self._hear(name, value)

    @staticmethod
    def _read(each: ListFile) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        header = json.loads(Path(each.header).read_text(encoding="utf-8"))
        return header, desk_list.read_list(Path(each.list), each.lines)

    def _first_start(self) -> int:
        path = self.directory / "started"
        if not path.exists():
            path.write_text(str(clock.now_ms()))
        return int(path.read_text())

    # --- Reading -----------------------------------------------------------------------------------------------------

    def _hear(self, topic: str, value: str) -> None:
        document = json.loads(value)
        if topic == "receipts":
            for receipt in document["receipts"]:
                self._hear_receipt(document, receipt)
        elif topic == "batch-reports":
            known = self._reports.get(document["batch_id"])
            if known is None or known["revision"] <= document["revision"]:
                self._reports[document["batch_id"]] = document
        else:
            self._refused[document["reason"]] += 1
            self._answered.add(document["order_id"] or "")

    def _hear_receipt(self, chunk: dict[str, Any], receipt: dict[str, Any]) -> None:
        if receipt["receipt_id"] in self._receipt_ids:
            return
        self._receipt_ids.add(receipt["receipt_id"])
        outcome = receipt["outcome"] if receipt["attempt"] else "refused"
        self._heard[outcome] += 1
        if outcome != "returned":  # an order about one attempt is answered by the final receipt of the next
            self._answered.add(order_name(chunk["batch_id"], receipt["line"], receipt["attempt"] - 1))
        if outcome in ("credited", "returned"):
            self._notices_due += desk_list.has_mobile(self._items[chunk["batch_id"], receipt["line"]])
        if outcome not in ("failed", "returned") or receipt["who_acts"] == "nobody":
            return  # what never reached a bank is planned again without us
        case = Case(
            chunk["issuer"],
            chunk["batch_id"],
            receipt["line"],
            receipt["attempt"],
            outcome,
            receipt["reason"] or "",
            milliseconds(receipt["final_at"]),
        )
        if case.order_id not in self.outgoing.orders:
            self._cases[case.order_id] = (due_ms(self.config.habits, case), case)

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            found = await consumer.getmany(timeout_ms=200, max_records=500)
            for partition, records in found.items():
                name = partition.topic.removeprefix(self.config.prefix)
                self.journals[name].append(
                    [(record.topic, record.partition, record.offset, record.value) for record in records]
                )
                for record in records:
                    self._hear(name, record.value.decode())

    # --- Publishing --------------------------------------------------------------------------------------------------

    def _sign(self, kind: Kind, identity: str, key: str, raw: bytes) -> Signed:
        now = clock.now()
        jws = sign(raw, kind, self._key, self.config.kid, AUDIENCE, now)
        return self.outgoing.write(kind, identity, key, raw, jws, clock.now_ms(), clock.wall_ms())

    def _due_lists(self) -> Iterator[Signed]:
        """Lists whose time has come, with their money: first the money, or last, in turn."""
        # Looked at once: what comes due while these are sent is not dropped with them.
        passed_ms = clock.now_ms() - self._started_ms
        for number, (each, header, items) in enumerate(self._lists):
            if passed_ms < each.after_seconds * 1000:
                continue
            messages = [(Kind.BATCH, *part) for part in desk_list.parts(header, items, self.config.lines_per_part)]
            messages.insert(0 if number % 2 else len(messages), (Kind.FUNDING, *desk_list.funding(header, items)))
            for kind, identity, raw in messages:
                if identity not in self.outgoing.identities:
                    yield self._sign(kind, identity, header["batch_id"], raw)
            if self.config.hostile and number == 0:
                yield from hostile_messages(
                    self.outgoing, self._key, self.config.kid, header, items, self.config.lines_per_part
                )
        self._lists = [one for one in self._lists if passed_ms < one[0].after_seconds * 1000]

    def _due_orders(self) -> Iterator[Signed]:
        now_ms = clock.now_ms()
        for order_id in [order_id for order_id, (due, _) in self._cases.items() if due <= now_ms]:
            _, case = self._cases.pop(order_id)
            raw = decide(self.config.habits, case, self._items[case.batch_id, case.line])
            self._decided[json.loads(raw)["kind"]] += 1
            yield self._sign(Kind.ORDER, order_id, case.batch_id, raw)

    async def work(self, flow: Flow) -> None:
        for left_over in self.outgoing.unpublished():
            await self._publish(flow, [left_over])
        while True:
            self._obey()
            if not self._silent:
                await self._speak(flow)
            await asyncio.sleep(TICK_SECONDS)

    async def _speak(self, flow: Flow) -> None:
        """Everything that is due now."""
        for message in self._due_lists():
            await self._publish(flow, [message])
        await self._publish(flow, list(self._due_orders()))
        for number in self._repeats[:]:
            self._repeats.remove(number)
            await flow.send(TOPIC_OF, [self.outgoing.load(number)])

    async def _publish(self, flow: Flow, messages: list[Signed]) -> None:
        if not messages:
            return
        await flow.send(TOPIC_OF, messages)
        self.outgoing.note_published([message.number for message in messages])
        for message in messages:
            if draw(self.config.habits.seed, "repeat", message.number) % 10_000 < self.config.repeat_rate:
                self._repeats.append(message.number)

    def _obey(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            asked = json.loads((self.directory / "control.json").read_text())
            self._silent = asked.get("silent", False)
            for identity, what in asked.get("repeat", {}).items():
                if identity not in self._repeated:
                    self._repeated.add(identity)
                    self._repeats += sorted(self.outgoing.published) if what == "all" else what

    # --- Standing ----------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        return {
            "lists": len(self.config.lists),
            "lists_waiting": len(self._lists),
            "lines": self._lines,
            "published": len(self.outgoing.published),
            "receipts": dict(self._heard),
            "refusals": dict(self._refused),
            "reports": self._reports,
            "notices_due": self._notices_due,
            "waiting": len(self._cases),
            "next_due_ms": min((due for due, _ in self._cases.values()), default=None),
            "orders": dict(self._decided),
            "unanswered": len(self.outgoing.orders - self._answered),
            "silent": self._silent,
            "now_ms": clock.now_ms(),
        }

    async def report(self) -> None:
        path = self.directory / "status.json"
        while True:
            temporary = path.with_suffix(".new")
            temporary.write_text(json.dumps(self.status(), ensure_ascii=False))
            temporary.rename(path)
            await asyncio.sleep(STATUS_SECONDS)


async def run(config: DeskConfig) -> None:
    desk = Desk(config)
    producer = AIOKafkaProducer(
        bootstrap_servers=config.bootstrap,
        enable_idempotence=True,
        acks="all",
        max_request_size=4_000_000,
        request_timeout_ms=10_000,
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await producer.start()
    await consumer.start()
    partitions: list[TopicPartition] = []
    for name in OUTPUTS:
        topic = config.prefix + name
        partitions += [TopicPartition(topic, number) for number in sorted(await producer.partitions_for(topic))]
    consumer.assign(partitions)
    for partition in partitions:
        offset = desk.journals[partition.topic.removeprefix(config.prefix)].next_offsets.get(partition.partition)
        if offset is not None:  # else from the beginning, by ``auto_offset_reset``
            consumer.seek(partition, offset)
    flow = Flow(producer, config.bootstrap, config.prefix, config.group, config.bytes_in_flight)
    works = [asyncio.create_task(work) for work in (desk.listen(consumer), desk.work(flow), desk.report())]
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    print(json.dumps({"ready": True, "config": {"habits": asdict(config.habits)}}), flush=True)
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([*works, waiting], return_when=asyncio.FIRST_COMPLETED)
    broken = [work for work in works if work.done()]
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await flow.close()
            await consumer.stop()
            await producer.stop()
    for work in broken:
        work.result()  # what broke the desk breaks the process, visibly


def main() -> None:
    parser = argparse.ArgumentParser(prog="desk", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    asyncio.run(run(DeskConfig.read(parser.parse_args().config)))


if __name__ == "__main__":
    main()
