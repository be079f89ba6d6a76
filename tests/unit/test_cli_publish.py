"""``publish``, ``reissue``, ``cancel``, ``recall``: what arrives in Kafka is signed, complete and repeatable."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from gateway import kafka_security
from gateway.approval import KeyRing, SigningKey, signature_header
from gateway.clock import Clock
from schemas.codec import parse_message
from schemas.v1 import INBOUND_TOPICS, Kind, OrderKind
from tests.conftest import Kafka
from tests.unit.cli_kit import HEADER, ISSUER, KID, LIST, Installation, install

TOPIC = {kind: topic.value for kind, topic in INBOUND_TOPICS.items()}
CLEAR = "kafka: signed lists and receipts travel unencrypted; set security_protocol"
ORDER = ("--issuer", ISSUER, "--document", "某某财农〔2026〕21号")


@pytest.fixture
def here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kafka: Kafka
) -> Installation:
    made = install(tmp_path, capsys, monkeypatch)
    made.write_config(bootstrap=f'{kafka.bootstrap}"\ntopic_prefix = "{kafka.prefix}')
    return made


def signed_by(here: Installation) -> tuple[object, ...]:
    return ("--key", here.key, "--kid", KID, "--config", here.config)


async def _records(kafka: Kafka, topic: str, count: int) -> list[Any]:
    reader = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await reader.start()
    try:
        found: list[Any] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                for records in (await reader.getmany(timeout_ms=200)).values():
                    found += records
        return found
    finally:
        await reader.stop()


def messages(here: Installation, kafka: Kafka, kind: Kind, count: int) -> list[tuple[bytes, Any]]:
    """What stands in the topic: every record verified as the gateway would, then read strictly."""
    topic = kafka.topic(TOPIC[kind].removeprefix("payout."))
    ring = KeyRing.load(here.directory / "approval_keys.json")
    now = Clock.from_environment().now()
    found = []
    for record in asyncio.run(_records(kafka, topic, count)):
        assert ring.verify(signature_header(record.headers), record.value, kind, now).issuer == ISSUER
        found.append((record.value, parse_message(kind, record.value)))
    assert len(found) == count
    return found


def test_a_list_is_published_in_signed_parts_with_its_funding(here: Installation, kafka: Kafka) -> None:
    """The county's list arrives whole: three parts under one key of Kafka, and the money that covers them."""
    ran = here.gateway("publish", LIST, "--header", HEADER, *signed_by(here), "--funding")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "published 659999-XJ-NY-01-2026-0001: 3000 lines in 3 parts (gb18030)",
        "published the funding 659999-XJ-NY-01-2026-0001-F1: 15733737.55 yuan",
        "the answer comes as receipts or a refusal",
    ]
    parts = [part for _, part in messages(here, kafka, Kind.BATCH, 3)]
    assert sorted(item.line for part in parts for item in part.items) == list(range(1, 3001))
    assert [(part.lines, part.amount) for part in parts] == [(3000, "15808442.85")] * 3
    ((_, funding),) = messages(here, kafka, Kind.FUNDING, 1)
    assert (funding.batch_id, funding.amount) == ("659999-XJ-NY-01-2026-0001", "15733737.55")


def test_a_list_in_the_clear_to_another_machine_is_told_before_it_leaves(here: Installation) -> None:
    """Without a configuration a bootstrap server is spoken to in plain text: whoever types that is warned."""
    key = ("--key", here.key, "--kid", KID)
    ran = here.gateway("publish", LIST, "--header", HEADER, *key, "--bootstrap", "kafka.example.invalid:9092")
    first, *_ = ran.err.splitlines()
    assert (ran.code, first) == (1, f"warning: {CLEAR}")


def test_a_broker_that_sends_us_on_to_another_machine_is_told(
    here: Installation, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reached through a forwarded port, a broker names where it is, and there the records go."""
    monkeypatch.setattr(kafka_security, "beyond_loopback", lambda *hosts: hosts)  # as if 127.0.0.1 were elsewhere
    ran = here.gateway("publish", LIST, "--header", HEADER, *signed_by(here))
    assert ran.code == 0
    assert "warning: kafka: the list travels unencrypted to 127.0.0.1" in ran.err


def test_publishing_again_sends_the_same_bytes(here: Installation, kafka: Kafka) -> None:
    """A county that is not sure repeats the command, and intake sees nothing new."""
    for _ in range(2):
        assert here.gateway("publish", LIST, "--header", HEADER, *signed_by(here)).code == 0
    raw = [value for value, _ in messages(here, kafka, Kind.BATCH, 6)]
    assert len(set(raw)) == 3


def test_a_list_with_a_fault_is_not_published_at_all(here: Installation, kafka: Kafka) -> None:
    """Nothing is sent of a list that cannot be sent whole, or whose money is to be confirmed and is not there."""
    header = here.directory / "header.json"
    values = json.loads(HEADER.read_text(encoding="utf-8"))
    header.write_text(json.dumps({name: values[name] for name in values if name != "funds_received_at"}))
    ran = here.gateway("publish", LIST, "--header", header, *signed_by(here), "--funding")
    assert (ran.code, "funds_received_at is missing" in ran.err) == (1, True)
    broken = here.directory / "broken.csv"
    broken.write_bytes(LIST.read_bytes() + b"x,y\n")
    ran = here.gateway("publish", broken, "--header", HEADER, *signed_by(here))
    assert (ran.code, "row 3002" in ran.err) == (1, True)
    gap = here.directory / "gap.csv"
    first, *rest = LIST.read_bytes().splitlines(keepends=True)
    gap.write_bytes(first + b"".join(rest[1:]))
    ran = here.gateway("publish", gap, "--header", HEADER, *signed_by(here))
    assert (ran.code, "numbers run from 1 without gap" in ran.err) == (1, True)
    here.gateway("publish", LIST, "--header", HEADER, *signed_by(here), "--lines-per-part", "1000")
    assert len(messages(here, kafka, Kind.BATCH, 3)) == 3


def test_a_part_that_is_too_large_is_told(here: Installation) -> None:
    """A message above the limit is not sent, and the way out is named."""
    row = ["测试", "1", "某" * 400, "某" * 400, "1.00"]
    table = here.directory / "large.csv"
    table.write_text("姓名,身份证号,住址,备注,金额\n" + (",".join(row) + "\n") * 1000, encoding="utf-8")
    ran = here.gateway("publish", table, "--header", HEADER, *signed_by(here))
    assert (ran.code, "try a smaller --lines-per-part" in ran.err) == (1, True)
    assert here.gateway("publish", table, "--header", HEADER, *signed_by(here), "--lines-per-part", "100").code == 0


def test_a_reissue_with_corrected_details(here: Installation, kafka: Kafka) -> None:
    """Corrections are read from a file, so that no process list shows them, and arrive as the county gave them."""
    details = here.directory / "details.json"
    details.write_text(json.dumps({"account": "6299990000007000031", "bank_no": "402881000015"}), encoding="utf-8")
    ran = here.gateway("reissue", "B-1", "17", "--attempt", "2", *ORDER, *signed_by(here), "--details", details)
    assert (ran.code, ran.err) == (0, "")
    assert "6299990000007000031" not in ran.out
    ((_, order),) = messages(here, kafka, Kind.ORDER, 1)
    assert (order.kind, order.batch_id, order.line, order.attempt) == (OrderKind.REISSUE, "B-1", 17, 2)
    assert order.details is not None
    assert order.details.account is not None
    assert order.details.account.reveal() == "6299990000007000031"
    assert order.details.name is None
    assert order.order_id in ran.out


def test_orders_about_same_details_cancellation_and_recall(here: Installation, kafka: Kafka) -> None:
    """Each kind names what it is about and nothing else; an id that is given is used, others are new."""
    assert here.gateway("reissue", "B-1", "1", "--attempt", "1", *ORDER, *signed_by(here)).code == 0
    assert here.gateway("cancel", "B-1", "2", "--attempt", "1", *ORDER, *signed_by(here), "--order-id", "O-9").code == 0
    assert here.gateway("recall", "B-1", *ORDER, *signed_by(here)).code == 0
    orders = {order.kind: order for _, order in messages(here, kafka, Kind.ORDER, 3)}
    assert orders[OrderKind.REISSUE].details is None
    assert orders[OrderKind.CANCEL].order_id == "O-9"
    assert (orders[OrderKind.RECALL].line, orders[OrderKind.RECALL].attempt) == (None, None)
    assert len({order.order_id for order in orders.values()}) == 3


@pytest.mark.parametrize(
    ("details", "fault"),
    [
        ("{}", "nothing is corrected"),
        ('{"account": 1}', "account: "),
        ('{"测试甲": "6299990000007000031"}', "?: Extra inputs"),
        ('{"name": "甲", "name": "乙"}', "is not JSON without repeated members"),
        ("x" * 20_000, "larger than"),
    ],
)
def test_details_that_cannot_be_ordered(here: Installation, details: str, fault: str) -> None:
    """A wrong file is told by member, never by value, and no order leaves."""
    file = here.directory / "details.json"
    file.write_text(details, encoding="utf-8")
    ran = here.gateway("reissue", "B-1", "1", "--attempt", "1", *ORDER, *signed_by(here), "--details", file)
    assert ran.code == 1
    assert fault in ran.err
    assert "6299990000007000031" not in ran.err
    assert "测试甲" not in ran.err


def test_an_order_that_the_schema_refuses_is_not_sent(here: Installation) -> None:
    """An id outside the alphabet of ids is told before anything is signed."""
    ran = here.gateway("recall", "no such/id", *ORDER, *signed_by(here))
    assert (ran.code, ran.err.startswith("error: batch_id: ")) == (1, True)


def test_keys_with_passwords_and_keys_that_are_none(here: Installation, kafka: Kafka) -> None:
    """A password comes from a file; a wrong one, and a file that is no key, fail without their content."""
    secret = here.directory / "password"
    secret.write_text("hunter2\n", encoding="utf-8")
    here.key.write_bytes(SigningKey.load(here.key).to_pem("hunter2"))
    assert here.gateway("recall", "B-1", *ORDER, *signed_by(here), "--password-file", secret).code == 0
    assert len(messages(here, kafka, Kind.ORDER, 1)) == 1
    secret.write_text("hunter3\n", encoding="utf-8")
    ran = here.gateway("recall", "B-1", *ORDER, *signed_by(here), "--password-file", secret)
    assert (ran.code, ran.err.startswith("error: finance.pem: ")) == (1, True)
    assert "hunter" not in ran.err
    here.key.write_text("{}", encoding="utf-8")
    assert here.gateway("recall", "B-1", *ORDER, *signed_by(here)).code == 1


def test_without_a_broker_nothing_was_sent(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is not there is one clear line, and so is a command that names none."""
    monkeypatch.setattr("gateway.cli.publisher._CONTACT_SECONDS", 2)
    key = ("--key", here.key, "--kid", KID)
    ran = here.gateway("recall", "B-1", *ORDER, *key, "--bootstrap", "127.0.0.1:1", "--order-id", "O-1")
    assert ran.code == 1
    told = ran.err.splitlines()
    assert told[0].startswith("error: no Kafka answers at 127.0.0.1:1")
    assert told[1:] == ["error: to repeat this order safely, add --order-id O-1"]
    missing = here.gateway("recall", "B-1", *ORDER, *key)
    assert (missing.code, "--bootstrap" in missing.err) == (2, True)
