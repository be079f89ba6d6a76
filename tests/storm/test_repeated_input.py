"""R15: finance says things again, elsewhere and in another order, or says something else under a known id."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from gateway.kafka import TOPICS
from gateway.store.batches import Batches, PartHead, Signed, Stored
from gateway.store.engine import sql
from schemas.v1 import Kind
from tests.conftest import Kafka
from tests.store import kit
from tests.store.kit import Gateway, open_gateway
from tests.storm.gate.doorway import Doorway, Letter, counted
from tests.storm.scale import SEED, figure, size
from tests.unit.test_kafka import section
from tests.world.broker import PARTITIONS

LISTS = size(2, 20)
PARTS = size(3, 5)
LINES_OF_A_PART = 2
Message = tuple[str, bytes, bytes]  # topic, value, signature


def other_amount(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "amount": "900.00"}


def other_payee(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "name": "测试甲", "account": "6299999999999999999"}


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"amount": other_amount, "payee": other_payee}


def batch_id(number: int) -> str:
    return f"659999-XJ-NY-01-2026-{number:04d}"


def lines_of(number: int) -> list[dict[str, Any]]:
    """People of their own in each list; the same period would make them duplicates of one another."""
    count = PARTS * LINES_OF_A_PART
    return [{**kit.line(number * count + n), "line": n} for n in range(1, count + 1)]


def originals(gateway: Gateway, number: int) -> list[Message]:
    lines = lines_of(number)
    found = [("batches", *part) for part in gateway.signed_parts(lines, batch_id=batch_id(number), parts=PARTS)]
    return [*found, ("funding", *funding(gateway, number, f"{100 * len(lines)}.00"))]


def funding(gateway: Gateway, number: int, amount: str) -> tuple[bytes, bytes]:
    body = {
        "schema": "payout.funding/v1",
        "issuer": kit.ISSUER,
        "funding_id": f"F-{number}",
        "batch_id": batch_id(number),
        "amount": amount,
        "received_at": "2026-11-24T09:30:00+08:00",
    }
    return gateway.signed(Kind.FUNDING, body)


def changed(gateway: Gateway, number: int) -> list[Message]:
    """Everything of a list under its known ids with another amount, another payee, or other counts."""
    lines = lines_of(number)
    found: list[Message] = []
    for change in CHANGES.values():
        found += [
            ("batches", *part)
            for part in gateway.signed_parts([change(one) for one in lines], batch_id=batch_id(number), parts=PARTS)
        ]
    longer = [*lines, {**kit.line(9999), "line": len(lines) + 1}]
    found += [("batches", *part) for part in gateway.signed_parts(longer, batch_id=batch_id(number), parts=PARTS)]
    return [*found, ("funding", *funding(gateway, number, "1.00"))]


async def take(gateway: Gateway, kafka: Kafka, messages: list[Message], chance: random.Random) -> None:
    """Publish in this order, each on any partition, and let the gateway's consumer handle everything."""
    letters = [Letter.signed(TOPICS[topic], value, signature) for topic, value, signature in messages]
    async with Doorway(gateway, section(kafka, max_record_bytes=1_000_000)) as door:
        await door.publish(kafka, letters, lambda: chance.randrange(PARTITIONS))


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Messages by what became of them, and what the bank was told to pay."""

    due: dict[str, int]
    found: dict[str, int]
    paid_wrongly: int  # lines that travelled twice, not at all, or with another amount

    @property
    def kept(self) -> bool:
        return self.due == self.found and not self.paid_wrongly


async def storm(database: str, kafka: Kafka) -> Verdict:
    chance = random.Random(SEED)
    async with open_gateway(database, lease_seconds=kit.PATIENT_SECONDS) as gateway:
        known = [message for number in range(LISTS) for message in originals(gateway, number)]
        first = [message for message in known for _ in range(chance.randint(1, 5))]
        second = [message for message in known for _ in range(chance.randint(1, 5))]
        other = [message for number in range(LISTS) for message in changed(gateway, number)]
        before = counted()
        chance.shuffle(first)
        await take(gateway, kafka, first, chance)
        late = second + other[::2]
        chance.shuffle(late)
        await take(gateway, kafka, late, chance)
        await gateway.judge()
        await gateway.send()
        await take(gateway, kafka, other[1::2] + known, chance)  # and once more, when everything is on its way
        await gateway.judge()
        await gateway.send()
        found = {outcome: count - before[outcome] for outcome, count in counted().items()}
        due = {
            "accepted": len(known),
            "repeated": len(first) + len(second),  # less the accepted, and each once more at the end
            "refused": len(other),
        }
        assert len(await gateway.published("refusals")) == found["refused"]
        lines = LISTS * PARTS * LINES_OF_A_PART
        travelled = gateway.bank.references()
        await gateway.answer(*(credited_anywhere(name) for name in travelled))
        wrong = abs(len(travelled) - lines) + len(travelled) - len(set(travelled))
        for number in range(LISTS):
            (batch,) = await gateway.store.reads.find_batches(batch_id(number))
            count = await gateway.store.reads.count(batch["batch_no"])
            here = PARTS * LINES_OF_A_PART
            wrong += abs(count.payouts["credited"] - here) + (count.amount_fen["credited"] != here * 10_000)
    return Verdict(due, found, wrong)


def credited_anywhere(reference: str) -> dict[str, Any]:
    return {"proof": "CREDITED", "reference": reference, "amount_fen": 10_000, "host_reference": f"H{reference}"}


async def test_the_same_bytes_change_nothing_and_others_are_refused(database: str, kafka: Kafka) -> None:
    """Parts and funding 1 to 5 times, anywhere, in any order: one payment each; other bytes: refused, every one."""
    verdict = await storm(database, kafka)
    figure("R15", broker=kafka.broker.kind, **verdict.found, paid_wrongly=verdict.paid_wrongly)
    assert verdict.kept, verdict


async def test_an_intake_that_does_not_compare_is_caught(
    database: str, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a build that takes any bytes under a known part for a repeat answers no change of it."""
    keep = Batches.keep_part

    async def trusting(self: Batches, head: PartHead, signed: Signed, *rest: Any) -> Stored:
        async with self._engine.connection() as connection:
            batch = await connection.fetch(sql("lock_batch_by_id"), head.issuer, head.batch_id)
            known = await connection.fetchval(sql("part_digest"), batch[0]["batch_no"], head.part) if batch else None
        if known is not None:
            signed = dataclasses.replace(signed, digest=bytes(known))
        return await keep(self, head, signed, *rest)

    monkeypatch.setattr(Batches, "keep_part", trusting)
    verdict = await storm(database, kafka)
    figure("R15", control="no comparison", refused=verdict.found["refused"], due=verdict.due["refused"])
    assert verdict.found["refused"] < verdict.due["refused"]
    assert not verdict.kept
