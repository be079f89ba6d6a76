"""The simulated finance desk: one order an attempt, the same bytes after a crash, nobody fooled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from gateway.approval import KeyRing, Refused, SigningKey
from gateway.clock import Clock
from schemas.codec import parse_message
from schemas.v1 import Kind
from tests.world import clock
from tests.world.broker import EmbeddedBroker
from tests.world.desk import Desk, DeskConfig, ListFile
from tests.world.desk_decisions import Case, Habits, decide, due_ms
from tests.world.desk_disk import Journal, Outgoing, Signed
from tests.world.desk_flow import Flow
from tests.world.desk_hostile import EXPECTED
from tests.world.desk_list import funding, parts, read_list
from tests.world.histories import DATA
from tests.world.processes import Child, python_module

LIST = DATA / "real_name_list/farmland_fertility_2026.csv"
HEADER: dict[str, Any] = json.loads(LIST.with_suffix(".json").read_text())


def case(line: int = 7, attempt: int = 1, outcome: str = "failed", reason: str = "ACCOUNT_CLOSED") -> Case:
    return Case(HEADER["issuer"], HEADER["batch_id"], line, attempt, outcome, reason, 1_795_485_600_000)


def test_the_countys_list_becomes_parts_that_agree() -> None:
    """Three thousand lines of GB18030 are three parts with one header, and the money covers every plain amount."""
    items = read_list(LIST)
    made = [parse_message(Kind.BATCH, raw) for _, raw in parts(HEADER, items, 1000)]
    assert [(part.part, part.parts, part.lines, len(part.items)) for part in made] == [
        (number, 3, 3000, 1000) for number in (1, 2, 3)
    ]
    assert len({part.amount for part in made}) == 1
    assert made[0].items[16].name.reveal().endswith("|")  # as written: nothing is mended here
    identity, raw = funding(HEADER, items)
    assert parse_message(Kind.FUNDING, raw).funding_id == identity


def test_decisions_replay_and_returns_are_never_cancelled() -> None:
    """The same seed decides the same; a return is always paid again, and only failures may be cancelled."""
    item = read_list(LIST, 7)[6]
    habits = Habits(seed=5, cancel_rate=3000)
    failed = [case(line) for line in range(1, 200)]
    assert [decide(habits, one, item) for one in failed] == [decide(habits, one, item) for one in failed]
    kinds = {parse_message(Kind.ORDER, decide(habits, one, item)).kind.value for one in failed}
    assert kinds == {"REISSUE", "CANCEL"}
    returned = [case(line, outcome="returned", reason="RETURNED_AFTER_CREDIT") for line in range(1, 200)]
    assert {parse_message(Kind.ORDER, decide(habits, one, item)).kind.value for one in returned} == {"REISSUE"}
    low, high = habits.reverify_seconds
    assert all(low * 1000 <= due_ms(habits, one) - one.final_ms <= high * 1000 for one in failed)


def test_corrections_fit_the_reason() -> None:
    """A healed account keeps its details, a wrong name is corrected, the dead are not paid."""
    item = read_list(LIST, 7)[6]
    habits = Habits(cancel_rate=0, same_details_rate=0)

    def order(reason: str) -> dict[str, Any]:
        return dict(json.loads(decide(habits, case(reason=reason), item)))

    assert order("ACCOUNT_DORMANT")["details"] is None
    assert order("ACCOUNT_CLOSED")["details"].keys() == {"account", "account_kind"}
    assert order("ACCOUNT_CLOSED")["details"]["account"].startswith("629999")
    assert order("NAME_MISMATCH")["details"]["name"] != item["name"]
    assert order("BENEFICIARY_DECEASED")["kind"] == "CANCEL"


def test_a_torn_journal_is_read_from_its_last_whole_record(tmp_path: Path) -> None:
    """A crash in the middle of a line costs that line alone, and Kafka is asked for it again."""
    journal = Journal(tmp_path / "receipts.jsonl")
    journal.append([("t", 0, 4, b"{}"), ("t", 1, 9, b"[]")])
    with (tmp_path / "receipts.jsonl").open("ab") as file:
        file.write(b'{"topic": "t", "partition": 0, "off')
    again = Journal(tmp_path / "receipts.jsonl")
    assert again.next_offsets == {0: 5, 1: 10}
    again.append([("t", 0, 5, b"{}")])
    assert list(Journal(tmp_path / "receipts.jsonl").values()) == ["{}", "[]", "{}"]


def test_what_was_signed_and_not_acknowledged_is_sent_again(tmp_path: Path) -> None:
    """A restarted desk knows exactly which messages Kafka has not acknowledged, and keeps their bytes."""
    first = Outgoing(tmp_path)
    first.write(Kind.BATCH, "b/1", "b", b"one", "a..b", 1, 1)
    kept = first.write(Kind.ORDER, "O-1", "b", b"two", None, 2, 2)
    first.note_published([1])
    again = Outgoing(tmp_path)
    assert again.unpublished() == [kept]
    assert again.orders == {"O-1"}
    assert again.write(Kind.ORDER, "O-2", "b", b"three", None, 3, 3).number == 3


async def test_a_list_that_comes_due_while_another_is_sent_is_sent_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending takes time, and the clock of a run is fast: no list falls between two looks at the clock."""
    virtual = SimpleNamespace(ms=clock.now_ms())
    monkeypatch.setattr(clock, "now_ms", lambda: virtual.ms)
    sent: list[str] = []

    class Slow:
        async def send(self, topic_of: Mapping[Kind, str], messages: list[Signed]) -> None:
            virtual.ms += 3_000
            sent.extend(f"{topic_of[message.kind]} {message.key}" for message in messages)

    key = tmp_path / "key.pem"
    key.write_bytes(SigningKey.generate("EdDSA").to_pem())
    header, lists = LIST.with_suffix(".json"), []
    for batch_id, after_seconds in (("LATER", 5), ("NOW", 0)):
        own = tmp_path / f"{batch_id}.json"
        own.write_text(json.dumps({**json.loads(header.read_text()), "batch_id": batch_id}))
        lists.append(ListFile(str(LIST), str(own), lines=3, after_seconds=after_seconds))
    named = {"bootstrap": "", "key_file": str(key), "kid": "k", "issuer": HEADER["issuer"]}
    work = asyncio.create_task(Desk(DeskConfig(str(tmp_path), lists=tuple(lists), **named)).work(cast(Flow, Slow())))
    async with asyncio.timeout(20):
        while len(sent) < 4:
            await asyncio.sleep(0)
    work.cancel()
    assert sorted(sent) == ["batches LATER", "batches NOW", "funding LATER", "funding NOW"]


async def test_a_desk_that_is_asked_for_silence_publishes_nothing_until_it_may_speak(tmp_path: Path) -> None:
    """Its standing says that it is silent when nothing is under way any more; what became due meanwhile comes then."""
    sent: list[str] = []

    class Wire:
        async def send(self, topic_of: Mapping[Kind, str], messages: list[Signed]) -> None:
            sent.extend(f"{topic_of[message.kind]} {message.key}" for message in messages)

    key, header = tmp_path / "key.pem", LIST.with_suffix(".json")
    key.write_bytes(SigningKey.generate("EdDSA").to_pem())
    named = {"bootstrap": "", "key_file": str(key), "kid": "k", "issuer": HEADER["issuer"]}
    quiet = Desk(DeskConfig(str(tmp_path), lists=(ListFile(str(LIST), str(header), lines=3),), **named))
    control = tmp_path / "control.json"
    control.write_text(json.dumps({"silent": True}))
    work = asyncio.create_task(quiet.work(cast(Flow, Wire())))
    async with asyncio.timeout(20):
        while not quiet.status()["silent"]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert (sent, quiet.status()["lists_waiting"]) == ([], 1)
        control.write_text(json.dumps({"silent": False}))
        while len(sent) < 2:
            await asyncio.sleep(0.01)
    work.cancel()
    assert sorted(sent) == [f"batches {HEADER['batch_id']}", f"funding {HEADER['batch_id']}"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Child, EmbeddedBroker, KeyRing]]:
    """A desk process with twenty lines to publish, its broker, and the key ring that a gateway would have."""
    broker = EmbeddedBroker(tmp_path / "broker")
    broker.start()
    key = SigningKey.generate("EdDSA")
    (tmp_path / "finance.pem").write_bytes(key.to_pem())
    ring = {
        "kid": "finance-2026",
        "alg": "EdDSA",
        "issuer": HEADER["issuer"],
        "kinds": ["batch", "funding", "order"],
        "not_before": "2026-01-01T00:00:00+08:00",
        "not_after": "2100-01-01T00:00:00+08:00",
        "public": key.public_jwk(),
    }
    config = {
        "directory": str(tmp_path / "desk"),
        "bootstrap": broker.bootstrap,
        "issuer": HEADER["issuer"],
        "key_file": str(tmp_path / "finance.pem"),
        "kid": "finance-2026",
        "hostile": True,
        "lists": [{"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": 20}],
        "habits": {"cancel_rate": 0, "reverify_seconds": [0, 0]},
    }
    (tmp_path / "desk.json").write_text(json.dumps(config))
    child = Child("desk", python_module("tests.world.desk", "--config", tmp_path / "desk.json"), tmp_path)
    child.start()
    child.wait_ready(30)
    yield child, broker, KeyRing.parse(json.dumps({"keys": [ring]}).encode())
    child.kill()
    broker.stop()


async def read(broker: EmbeddedBroker, topic: str, count: int) -> list[tuple[bytes, str | None]]:
    """Everything on a topic, once it is ``count`` records or more."""
    consumer = AIOKafkaConsumer(f"payout.{topic}", bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[tuple[bytes, str | None]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(one.value, dict(one.headers).get("jws", b"").decode() or None) for one in records]
    await consumer.stop()
    return found


def believed(ring: KeyRing, kind: Kind, record: tuple[bytes, str | None]) -> str:
    try:
        ring.verify(record[1], record[0], kind, Clock().wall())
        parse_message(kind, record[0])
    except Refused as error:
        return error.reason.value
    return "BELIEVED"


async def test_published_messages_verify_and_hostile_ones_do_not(desk: tuple[Child, EmbeddedBroker, KeyRing]) -> None:
    """What the desk signs passes the gateway's own gate; each hostile message fails it for its own reason."""
    _, broker, ring = desk
    verdicts = [believed(ring, Kind.BATCH, one) for one in await read(broker, "batches", 1 + len(EXPECTED))]
    # Content under a known id and another's issuer are only seen by somebody who reads and remembers.
    seen_at_the_gate = sorted(set(EXPECTED.values()) - {"CONFLICTING_CONTENT", "WRONG_ISSUER"})
    assert sorted({*verdicts} - {"BELIEVED"}) == seen_at_the_gate
    assert verdicts.count("BELIEVED") == 3
    assert [believed(ring, Kind.FUNDING, one) for one in await read(broker, "funding", 1)] == ["BELIEVED"]


async def test_everything_is_published_once_more_when_asked(
    desk: tuple[Child, EmbeddedBroker, KeyRing], tmp_path: Path
) -> None:
    """Repetition on request sends the same bytes, and nothing new is signed for it."""
    _, broker, _ = desk
    first = await read(broker, "batches", 1 + len(EXPECTED))
    control = tmp_path / "desk" / "control.new"
    control.write_text(json.dumps({"repeat": {"once": "all"}}))
    control.rename(control.with_suffix(".json"))
    again = await read(broker, "batches", 2 * len(first))
    assert sorted(again, key=repr) == sorted(first + first, key=repr)
    assert len(list((tmp_path / "desk" / "inputs").glob("[0-9]*.json"))) == len(first) + 1


async def test_a_failed_receipt_gets_one_order_even_across_a_crash(
    desk: tuple[Child, EmbeddedBroker, KeyRing],
) -> None:
    """The desk answers a failure once, killed and started again or not, and repeated receipts are nothing new."""
    child, broker, ring = desk
    receipt = {
        "receipt_id": "1-2/1/failed",
        "line": 2,
        "payout_id": "1-2",
        "attempt": 1,
        "outcome": "failed",
        "reason": "ACCOUNT_CLOSED",
        "who_acts": "payee",
        "final_at": "2026-01-01T00:00:00+08:00",
    }
    chunk = {"issuer": HEADER["issuer"], "batch_id": HEADER["batch_id"], "message_id": "m", "receipts": [receipt]}
    refused = {**receipt, "receipt_id": "1-1/0/failed", "attempt": 0, "line": 1}
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    for _ in range(2):
        await producer.send_and_wait("payout.receipts", json.dumps({**chunk, "receipts": [refused, receipt]}).encode())
    first = await read(broker, "orders", 1)
    child.kill()
    child.start()
    await child.ready(30)
    await producer.send_and_wait("payout.receipts", json.dumps(chunk).encode())
    await asyncio.sleep(1)
    await producer.stop()
    orders = await read(broker, "orders", 1)
    assert {raw for raw, _ in orders} == {first[0][0]}
    assert believed(ring, Kind.ORDER, orders[0]) == "BELIEVED"
    assert json.loads(orders[0][0])["line"] == 2
