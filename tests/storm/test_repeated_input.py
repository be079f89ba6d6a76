"""R15: finance says things again, elsewhere and in another order, or says something else under a known id.

Lists and money first; then, when the bank has rejected some lines, the orders about them: the one kind of message that
makes a second payment.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from gateway.kafka import TOPICS
from gateway.store.batches import Batches, PartHead, Signed, Stored
from gateway.store.engine import sql
from gateway.store.orders import OrderHead, Orders, Prepare
from schemas.v1 import Kind
from tests.conftest import Kafka
from tests.store import kit
from tests.store.kit import Gateway, open_gateway
from tests.storm import repeated_orders
from tests.storm.gate.doorway import Doorway, Letter, counted
from tests.storm.repeated_orders import ORDERED, Message, account_of
from tests.storm.scale import SEED, figure, size
from tests.unit.test_kafka import section
from tests.world.broker import PARTITIONS

LISTS = size(2, 20)
PARTS = size(3, 5)
LINES_OF_A_PART = 2
HERE = PARTS * LINES_OF_A_PART  # lines of a list
RECALLED, WAITING = LISTS, LISTS + 1  # two lists more: one is recalled, one waits for its money until the end


def other_amount(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "amount": "900.00"}


def other_payee(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "name": "测试甲", "account": "6299999999999999999"}


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"amount": other_amount, "payee": other_payee}


def batch_id(number: int) -> str:
    return f"659999-XJ-NY-01-2026-{number:04d}"


def lines_of(number: int) -> list[dict[str, Any]]:
    """People of their own in each list; the same period would make them duplicates of one another."""
    return [{**kit.line(person), "line": n} for n, person in enumerate(people_of(number), start=1)]


def people_of(number: int) -> list[int]:
    return [number * HERE + n for n in range(1, HERE + 1)]


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


@dataclasses.dataclass
class Play:
    """One run; ``due`` counts what each message that was published has to come to."""

    gateway: Gateway
    kafka: Kafka
    chance: random.Random = dataclasses.field(default_factory=lambda: random.Random(SEED))
    due: Counter[str] = dataclasses.field(default_factory=Counter)
    decided: set[str] = dataclasses.field(default_factory=set)  # references of which the bank has said what became

    async def say(self, new: list[Message], known: list[Message], other: list[Message]) -> None:
        """All of it 1 to 5 times, in any order; ``other`` bytes once."""
        said = [message for message in new + known for _ in range(self.chance.randint(1, 5))]
        self.due.update(accepted=len(new), repeated=len(said) - len(new), refused=len(other))
        said += other
        self.chance.shuffle(said)
        await take(self.gateway, self.kafka, said, self.chance)

    async def pay(self) -> None:
        """Whatever may travel does; re-issues have gathered by then."""
        self.gateway.clock.forward(minutes=11)
        await self.gateway.judge()
        await self.gateway.send()

    async def lists(self) -> None:
        known = [message for number in range(LISTS) for message in originals(self.gateway, number)]
        known += [message for number in (RECALLED, WAITING) for message in originals(self.gateway, number)[:-1]]
        other = [message for number in range(LISTS) for message in changed(self.gateway, number)]
        await self.say(known, [], [])
        await self.say([], known, other[::2])
        await self.pay()
        await self.say([], known, other[1::2])  # and again, when everything is on its way
        await self.pay()

    async def orders(self) -> None:
        people = [people_of(number) for number in range(LISTS)]
        await self._bank_rejects({account_of(person) for some in people for person in some[:ORDERED]})
        known = [repeated_orders.recall(self.gateway, batch_id(RECALLED))]
        other = [repeated_orders.changed_recall(self.gateway, batch_id(RECALLED), batch_id(WAITING))]
        for number in range(LISTS):
            known += repeated_orders.orders(self.gateway, batch_id(number), people[number])
            other += repeated_orders.changed(self.gateway, batch_id(number))
        await self.say(known, [], [])
        await self.pay()
        await self._bank_rejects({account_of(some[0]) for some in people})
        await self.say([], known, other)
        await self.say(originals(self.gateway, WAITING)[-1:], known, [])
        await self.pay()
        await self._bank_rejects(set())

    async def _bank_rejects(self, accounts: set[str]) -> None:
        await repeated_orders.bank_answers(self.gateway, accounts, self.decided)

    async def wrong(self) -> int:
        """Lines that travelled too often, too seldom or to another account, and lists that do not add up."""
        sent = list(repeated_orders.travelled(self.gateway))
        found = Counter(account for _, account in sent)
        due = repeated_orders.due_accounts([people_of(number) for number in range(LISTS)])
        due.update(map(account_of, people_of(WAITING)))
        wrong = sum(((found - due) + (due - found)).values()) + len(sent) - len({reference for reference, _ in sent})
        for number in range(LISTS + 2):
            (batch,) = await self.gateway.store.reads.find_batches(batch_id(number))
            count = await self.gateway.store.reads.count(batch["batch_no"])
            credited, cancelled = {RECALLED: (0, HERE), WAITING: (HERE, 0)}.get(number, (HERE - 2, 1))
            wrong += abs(count.payouts["credited"] - credited) + abs(count.payouts["cancelled"] - cancelled)
            wrong += count.amount_fen["credited"] != credited * 10_000
        return wrong


async def storm(database: str, kafka: Kafka) -> Verdict:
    async with open_gateway(database) as gateway:
        play, before = Play(gateway, kafka), counted()
        await play.lists()
        await play.orders()
        found = {outcome: count - before[outcome] for outcome, count in counted().items()}
        assert len(await gateway.published("refusals")) == found["refused"]
        return Verdict(dict(play.due), found, await play.wrong())


async def test_the_same_bytes_change_nothing_and_others_are_refused(database: str, kafka: Kafka) -> None:
    """Parts, money and orders 1 to 5 times, anywhere, in any order: one payment each; other bytes: refused, each."""
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


async def test_an_order_that_is_not_compared_is_caught(
    database: str, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a build that knows an order by its bytes alone takes what finance says twice for two orders."""
    decide = Orders.decide

    async def by_bytes(self: Orders, head: OrderHead, prepare: Prepare) -> Stored:
        name = f"{head.order_id[:24]}-{head.signed.digest.hex()[:16]}"
        return await decide(self, dataclasses.replace(head, order_id=name), prepare)

    monkeypatch.setattr(Orders, "decide", by_bytes)
    verdict = await storm(database, kafka)
    figure("R15", control="orders by their bytes", paid_wrongly=verdict.paid_wrongly)
    assert verdict.paid_wrongly >= LISTS
    assert not verdict.kept
