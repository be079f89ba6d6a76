"""Receipts: their bytes are fixed with the change they tell of, they leave in order, and repeats are byte-identical."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway import metrics
from gateway.receipts import PublishInDoubt, Relay
from gateway.store.outbox import RECEIPTS_PER_RECORD, Record, batch_key, lane_of, stage
from gateway.store.reads import BUCKETS, Count
from gateway.store.staging import receipt_id
from gateway.store.store import Store
from schemas.codec import parse_message
from schemas.money import billionths_of_sum
from schemas.v1 import Kind
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected

Published = tuple[str, str, bytes]


@dataclass
class Topic:
    """A broker that keeps what it acknowledged, and fails on demand before or after it did."""

    records: list[Published] = field(default_factory=list)
    lanes: list[int] = field(default_factory=list)
    fail: str = ""

    async def publish(self, lane: int, records: Sequence[Published]) -> None:
        if self.fail != "before":
            self.records += records
            self.lanes.append(lane)
        if self.fail:
            raise PublishInDoubt(self.fail) if self.fail != "killed" else asyncio.CancelledError

    def read(self, topic: str = "receipts") -> list[dict[str, Any]]:
        return [json.loads(value) for name, _, value in self.records if name == topic]


def relay(gateway: Gateway, topic: Topic, store: Store | None = None) -> Relay:
    return Relay(store or gateway.store, topic, gateway.clock)


async def drained(gateway: Gateway, topic: Topic) -> Topic:
    while await relay(gateway, topic).drain():
        pass
    return topic


async def report(gateway: Gateway, batch_no: int = 1) -> str | None:
    return await relay(gateway, Topic()).report(batch_no)


async def expire_lanes(gateway: Gateway) -> None:
    async with gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE leases SET lease_until = clock_timestamp() - interval '1 second'")


async def test_receipts_leave_in_the_order_in_which_they_became_true(gateway: Gateway) -> None:
    """Failed before paid again, credited before returned: one key, one lane, one order; then nothing is left."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2))
    await gateway.order("REISSUE", "O-1", 1, 1)
    await gateway.answer({**credited(gateway, 2, host_reference="R"), "proof": "RETURNED"})
    gateway.clock.forward(minutes=11)
    await gateway.send()
    await gateway.answer(credited(gateway, 1))
    topic = await drained(gateway, Topic())
    told = [(r["line"], r["attempt"], r["outcome"]) for body in topic.read() for r in body["receipts"]]
    assert told == [
        (1, 1, "failed"),
        (2, 1, "credited"),
        (2, 1, "returned"),
        (1, 2, "credited"),
    ]
    assert {key for _, key, _ in topic.records} == {batch_key(kit.ISSUER, kit.BATCH)}
    assert set(topic.lanes) == {lane_of(batch_key(kit.ISSUER, kit.BATCH))}
    assert (await gateway.store.outbox.state())["pending"] == 0
    assert not await relay(gateway, topic).drain()


@pytest.mark.parametrize("fail", ["before", "after", "killed"])
async def test_a_relay_that_ends_between_publishing_and_marking_repeats_the_same_bytes(
    gateway: Gateway, fail: str
) -> None:
    """In doubt, or killed after the acknowledgement: the same bytes go again, and nothing is lost."""
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1), rejected(gateway, 2))
    topic = Topic(fail=fail)
    with pytest.raises((PublishInDoubt, asyncio.CancelledError)):
        await relay(gateway, topic).drain()
    first = list(topic.records)
    assert (await gateway.store.outbox.state())["pending"] == 1
    gateway.clock.forward(minutes=7)
    topic.fail = ""
    await drained(gateway, topic)
    assert topic.records == (first * 2 if fail != "before" else topic.records)
    assert len(topic.records) == (2 if fail != "before" else 1)


async def test_a_fenced_relay_marks_nothing(gateway: Gateway) -> None:
    """A relay that stood still while publishing has lost its lane: the new holder publishes again and marks."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    other = Store(gateway.store.engine, "second", gateway.config.timing.lease_seconds)
    topic = Topic()

    class Slow(Topic):
        async def publish(self, lane: int, records: Sequence[Published]) -> None:
            await super().publish(lane, records)
            await expire_lanes(gateway)
            assert await other.submissions.lease(f"lane-{lane}") == 2

    assert not await relay(gateway, Slow()).drain()
    assert (await gateway.store.outbox.state())["pending"] == 1
    assert not await relay(gateway, topic).drain()  # the lane is the other one's
    assert topic.records == []
    assert await relay(gateway, topic, other).drain()
    assert (len(topic.records), (await gateway.store.outbox.state())["pending"]) == (1, 0)


async def test_a_lane_s_records_are_marked_by_its_holder_alone(gateway: Gateway) -> None:
    """Lane, owner, fence and time have all to be right: any three of them mark nothing."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    outbox, owner, lane = gateway.store.outbox, gateway.store.owner, lane_of(batch_key(kit.ISSUER, kit.BATCH))
    ids, at = [row["outbox_id"] for row in await outbox.waiting(lane, 50)], gateway.clock.now()
    fence = await gateway.store.submissions.lease(f"lane-{lane}")
    assert ids
    assert fence is not None
    for tried in ((lane + 1, owner, fence), (lane, "another", fence), (lane, owner, fence + 1)):
        assert not await outbox.published(*tried, ids, at)
    await expire_lanes(gateway)
    assert not await outbox.published(lane, owner, fence, ids, at)
    again = await gateway.store.submissions.lease(f"lane-{lane}")
    assert again is not None
    assert await outbox.published(lane, owner, again, ids, at)


async def test_a_record_of_an_open_transaction_is_not_skipped(gateway: Gateway) -> None:
    """A transaction that commits late, with an older number, is published although newer ones already were."""

    def record(text: str) -> Record:
        return Record("receipts", "k", text.encode(), gateway.clock.now(), gateway.clock.now())

    topic = Topic()
    async with gateway.store.engine.transaction() as slow:
        await stage(slow, [record("old")])
        async with gateway.store.engine.transaction() as quick:
            await stage(quick, [record("new")])
        await drained(gateway, topic)
    await drained(gateway, topic)
    assert [value for _, _, value in topic.records] == [b"new", b"old"]


async def test_what_is_rolled_back_was_never_said(gateway: Gateway) -> None:
    """A record leaves with the state change it tells of, or not at all."""
    with pytest.raises(RuntimeError):
        async with gateway.store.engine.transaction() as connection:
            await stage(connection, [Record("receipts", "k", b"v", gateway.clock.now(), gateway.clock.now())])
            raise RuntimeError
    assert await gateway.store.outbox.lanes() == []


async def test_lanes_spread_and_stay(gateway: Gateway) -> None:
    """A batch has one lane for ever, and batches use all of them."""
    assert lane_of("659999-finance/659999-XJ-NY-01-2026-0001") == 4
    assert {lane_of(batch_key("a", str(n))) for n in range(500)} == set(range(16))


async def test_a_receipt_s_id_can_be_recomputed_by_its_reader(gateway: Gateway) -> None:
    """Ids are made of issuer, batch, line, attempt and outcome; all are different and none depends on time."""
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1), rejected(gateway, 2))
    receipts = await gateway.published()
    for one in receipts:
        text = "\n".join((kit.ISSUER, kit.BATCH, str(one["line"]), str(one["attempt"]), one["outcome"]))
        assert one["receipt_id"] == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert len({one["receipt_id"] for one in receipts}) == 2
    assert len({receipt_id("i", "b", *rest) for rest in ((1, 1, "failed"), (11, 1, "failed"), (1, 11, "failed"))}) == 3


async def test_receipts_carry_what_finance_needs_and_no_person(gateway: Gateway) -> None:
    """Amount, bank, reference, post date and limit are there; name, ID, account and phone are not."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1, post_date=None))
    topic = await drained(gateway, Topic())
    (one,) = topic.read()[0]["receipts"]
    assert (one["amount"], one["bank_no"], one["host_reference"]) == ("100.00", kit.BANK_NO, "H1")
    assert (one["reference"], one["payout_id"], one["late"]) == (gateway.reference_of(1), "1-1", False)
    assert one["limit_at"] == "2026-11-28T00:00:00+08:00"
    assert one["final_at"] == "2026-11-24T10:00:00+08:00"
    person = kit.line(1)
    for name in ("name", "id_no", "account", "phone", "address"):
        assert str(person[name]).encode() not in topic.records[0][2]


async def test_an_odd_code_of_a_bank_does_not_stop_the_receipt(gateway: Gateway) -> None:
    """What is unfit to be published is left out; the receipt itself is valid and leaves."""
    await gateway.pay(1)
    await gateway.answer({**rejected(gateway, 1), "code": "账户 不存在\n"})
    (one,) = await gateway.published()
    assert (one["outcome"], one["bank_code"], one["reason"]) == ("failed", None, "ACCOUNT_CLOSED")


async def test_many_receipts_are_few_records_and_each_is_valid(gateway: Gateway) -> None:
    """Receipts of a chunk travel together, at most 500 in a record, each once; every record fits the schema."""
    count = RECEIPTS_PER_RECORD + 7
    await gateway.pay(count)
    await gateway.answer(*(credited(gateway, seq) for seq in range(1, count + 1)))
    topic = await drained(gateway, Topic())
    bodies = topic.read()
    assert [len(body["receipts"]) for body in bodies] == [RECEIPTS_PER_RECORD, 7]
    assert len({body["message_id"] for body in bodies}) == 2
    assert sorted(r["line"] for body in bodies for r in body["receipts"]) == list(range(1, count + 1))
    for _, _, value in topic.records:
        parse_message(Kind.RECEIPTS, value)


async def test_late_is_said_of_the_day_the_bank_booked(gateway: Gateway) -> None:
    """Heard of after the limit but booked in time is in time; booked a day after the limit is late, and counted."""
    counted = metrics.LATE_CREDITS._value.get()
    await gateway.pay(3)
    gateway.clock.forward(days=10)
    in_time = {"post_date": "2026-11-27"}
    gateway.bank.parse = _dates(gateway.bank.parse)  # type: ignore[method-assign]
    await gateway.answer(
        credited(gateway, 1, **in_time), credited(gateway, 2, post_date="2026-11-28"), credited(gateway, 3)
    )
    assert {r["line"]: r["late"] for r in await gateway.published()} == {1: False, 2: True, 3: True}
    count = await gateway.store.reads.count(1)
    assert (count.late, count.late_fen) == (2, 20_000)
    assert metrics.LATE_CREDITS._value.get() - counted == 2


def _dates(parse: Any) -> Any:
    """The toy bank's rows with their post dates read."""

    def read(artefact: Any) -> Any:
        for one in parse(artefact):
            day = one.post_date
            yield (
                one
                if day is None
                else type(one)(
                    **{
                        name: getattr(one, name)
                        for name in ("proof", "reference", "amount_fen", "host_reference", "code", "artefact")
                    },
                    post_date=dt.date.fromisoformat(str(day)),
                )
            )

    return read


# -- reports


def control(body: dict[str, Any]) -> None:
    """The totals of a report close, in count and in money."""
    assert body["lines"] == body["refused"]["count"] + body["approved"]["count"]
    assert sum(body[bucket]["count"] for bucket in BUCKETS) == body["approved"]["count"]
    money = [billionths_of_sum(body[bucket]["amount"]) for bucket in BUCKETS]
    assert sum(money) == billionths_of_sum(body["approved"]["amount"])
    assert body["late"]["count"] <= body["credited"]["count"]


def test_a_count_that_is_remembered_is_the_count_that_was_made() -> None:
    """What the gauges and reports read later is, field for field, what was counted."""
    count = Count(
        late=1, late_fen=2, held={"a": 3}, doubt_since={"b": dt.datetime(2026, 11, 24, tzinfo=dt.UTC)}, stray=4
    )
    for number, bucket in enumerate(BUCKETS, start=5):
        count.payouts[bucket], count.amount_fen[bucket] = number, number * 100
    assert Count.of_json(count.as_json()) == count
    assert Count.of_json("{}") == Count()


def test_a_bank_s_oldest_doubt_is_the_oldest_of_its_rows() -> None:
    """Whatever the order of the rows; another bank's, and what is not in doubt, count for themselves."""
    noon = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    told = {"bucket": "in_doubt", "payouts": 1, "amount_fen": 100, "late": 0, "late_fen": None, "held": False}
    rows = [
        *({**told, "bank": "a", "since": noon + dt.timedelta(hours=n)} for n in (1, 0, 2)),
        *({**told, "bank": "b", "since": noon - dt.timedelta(hours=n)} for n in (1, 3)),
        {**told, "bucket": "queued", "bank": "a", "since": noon - dt.timedelta(days=1)},
        {**told, "bank": "c", "since": None, "held": True},
    ]
    count = Count.of_rows(rows)
    assert count.doubt_since == {"a": noon, "b": noon - dt.timedelta(hours=3)}
    assert (count.held, count.payouts["in_doubt"]) == ({"c": 1}, 6)


async def test_the_final_report_closes_and_each_later_change_is_the_next_revision(gateway: Gateway) -> None:
    """FINAL when nothing is open; after a return and its re-issue the next revisions, each with totals that close."""
    await gateway.batch([kit.line(1), kit.line(2), kit.line(3, amount="1.001")])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.send()
    assert await report(gateway) is None
    await gateway.answer(credited(gateway, 1), rejected(gateway, 2))
    assert await report(gateway) == "FINAL"
    assert await report(gateway) is None
    gateway.clock.forward(days=1)
    await gateway.answer({**credited(gateway, 1, host_reference="R"), "proof": "RETURNED"})
    assert await report(gateway) == "FINAL"
    await gateway.order("REISSUE", "O-1", 1, 1)
    assert await report(gateway) is None
    assert (await gateway.store.reads.find_batches("1"))[0]["state"] == "PAYING"
    gateway.clock.forward(minutes=11)
    await gateway.send()
    await gateway.answer(credited(gateway, 1, host_reference="H8"))
    assert await report(gateway) == "FINAL"
    reports = await gateway.published("batch-reports")
    assert [(r["revision"], r["kind"]) for r in reports] == [(1, "FINAL"), (2, "FINAL"), (3, "FINAL")]
    for body in reports:
        control(body)
    one, two, three = reports
    assert (one["credited"]["count"], one["failed"]["count"], one["refused"]) == (1, 1, {"count": 1, "amount": "1.001"})
    assert (two["credited"]["count"], two["failed"]["count"]) == (0, 2)
    assert (three["credited"]["count"], three["failed"]["count"]) == (1, 1)
    assert one["reasons"] == {"AMOUNT_INVALID": 1, "ACCOUNT_CLOSED": 1}
    assert two["reasons"] == {"AMOUNT_INVALID": 1, "ACCOUNT_CLOSED": 1, "RETURNED_AFTER_CREDIT": 1}
    assert len({r["report_id"] for r in reports}) == 3


async def test_a_change_at_the_instant_of_a_count_is_counted(gateway: Gateway) -> None:
    """The clock did not move between a count and the last outcome: the batch is counted again, the report is made."""
    await gateway.pay(1)
    await report(gateway)
    assert await gateway.store.reads.to_count() == []
    await gateway.answer(credited(gateway, 1))
    assert await gateway.store.reads.to_count() == [1]
    assert await report(gateway) == "FINAL"
    gateway.clock.forward(hours=-1)  # a process whose clock reading is older commits after the count
    await gateway.answer({**credited(gateway, 1, host_reference="R"), "proof": "RETURNED"})
    assert await gateway.store.reads.to_count() == [1]


async def test_the_interim_report_comes_once_at_the_limit(gateway: Gateway) -> None:
    """A batch that is open at its limit is reported INTERIM, once; when it is complete, FINAL is the next revision."""
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1))
    gateway.clock.forward(days=3, hours=13, minutes=59)
    assert await gateway.store.reads.past_limit(gateway.clock.now()) == []
    assert await report(gateway) is None
    gateway.clock.forward(minutes=1)
    assert await gateway.store.reads.past_limit(gateway.clock.now()) == [1]
    assert await report(gateway) == "INTERIM"
    assert await gateway.store.reads.past_limit(gateway.clock.now()) == []
    gateway.clock.forward(days=1)
    assert await report(gateway) is None
    await gateway.answer(credited(gateway, 2))
    assert await report(gateway) == "FINAL"
    reports = await gateway.published("batch-reports")
    assert [(r["revision"], r["kind"], r["in_flight"]["count"]) for r in reports] == [
        (1, "INTERIM", 1),
        (2, "FINAL", 0),
    ]
    for body in reports:
        control(body)
    assert reports[1]["late"]["count"] == 1


async def test_a_frozen_or_doubtful_batch_is_not_complete(gateway: Gateway) -> None:
    """Doubt and conflict keep a batch open: no final report while somebody has to ask or to decide."""
    await gateway.pay(2)
    await gateway.answer(
        credited(gateway, 1, amount_fen=1), {"proof": "IN_DOUBT", "reference": gateway.reference_of(2)}
    )
    assert await report(gateway) is None
    count = await gateway.store.reads.count(1)
    assert not count.is_complete
    assert await gateway.buckets() == {"conflict": 1, "in_doubt": 1}


async def test_a_refused_list_still_gets_its_final_report(gateway: Gateway) -> None:
    """All lines refused: revision 1 is final, its money is what the list asked for as written."""
    await gateway.batch([kit.line(1, amount="10.005"), kit.line(2, account_kind="现金")])
    await gateway.judge()
    assert await report(gateway) == "FINAL"
    (body,) = await gateway.published("batch-reports")
    control(body)
    assert (body["refused"], body["approved"]["count"]) == ({"count": 2, "amount": "110.005"}, 0)
    assert body["clock_started_at"] is None


async def test_long_names_do_not_make_two_revisions_one_report(gateway: Gateway) -> None:
    """A report's id is unique per revision however long the names are, and fits the schema."""
    name = "B" * 64
    ring = gateway.intake._keyring._entries["finance-1"]
    object.__setattr__(ring, "issuer", "I" * 64)
    await gateway.intake.take_batch(*gateway.signed_parts([kit.line(1, amount="0")], name, issuer="I" * 64)[0])
    await gateway.judge()
    assert await report(gateway) == "FINAL"
    async with gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE batches SET changed_at = changed_at + interval '1 hour'")
    assert await report(gateway) == "FINAL"
    one, two = await gateway.published("batch-reports")
    assert one["report_id"] != two["report_id"]


async def test_what_the_broker_acknowledged_is_marked_and_nothing_beside_it(gateway: Gateway) -> None:
    """Of two records of a lane one was acknowledged: the other waits on, and the first is not marked again."""
    now, outbox = gateway.clock.now(), gateway.store.outbox
    async with gateway.store.engine.transaction() as connection:
        await stage(connection, [Record("receipts", "k", text, now, now) for text in (b"1", b"2")])
    lane = lane_of("k")
    fence = await gateway.store.submissions.lease(f"lane-{lane}")
    assert fence is not None
    first, second = [row["outbox_id"] for row in await outbox.waiting(lane, 9)]
    assert await outbox.published(lane, gateway.store.owner, fence, [first], now)
    assert [row["outbox_id"] for row in await outbox.waiting(lane, 9)] == [second]
    assert not await outbox.published(lane, gateway.store.owner, fence, [first], now)
