"""Notices: one free SMS for each credit, in sending hours, and never a second one while nobody knows of the first."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.contract import NotFound
from adapters.sms.contract import (
    Billed,
    NeverSeen,
    NoAnswer,
    NotSent,
    SmsCapabilities,
    SmsMessage,
    SmsOutcome,
    SmsReport,
    SmsResult,
    SmsStatus,
    check_call,
)
from gateway import metrics
from gateway.config import SmsSection
from gateway.notices import Notifier
from gateway.texts import DEFAULT_TEMPLATES, Templates
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected

Answer = Callable[[str, Sequence[SmsMessage]], list[SmsResult]]


def accept(call: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
    return [SmsResult(m.ref, "OK", m.ref[::-1], SmsOutcome.ACCEPTED) for m in messages]


def unclear(call: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
    """The line went dead after the call had left."""
    return [SmsResult(m.ref, "NO_ANSWER", None, SmsOutcome.UNKNOWN) for m in messages]


@dataclass
class ToyProvider:
    """Keeps what people were sent; it does not deduplicate, and answers by script."""

    name: str = "toy"
    answers: Answer = accept
    asked: list[str] = field(default_factory=list)
    phones: list[tuple[str, str]] = field(default_factory=list)
    reported: Callable[[str], list[SmsReport]] = lambda call: []
    not_found: NotFound = NotFound.AUTHORITATIVE

    def capabilities(self) -> SmsCapabilities:
        return SmsCapabilities(max_messages=100, idempotent=False, not_found=self.not_found, settling_seconds=1800)

    async def send(self, batch_id: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
        check_call(batch_id, messages, self.capabilities())
        results = self.answers(batch_id, messages)
        self.phones += [(m.phone.reveal(), m.text) for m in messages]
        return results

    async def reports(self, batch_id: str) -> list[SmsReport]:
        self.asked.append(batch_id)
        return self.reported(batch_id)

    def verify_report_callback(self, headers: Mapping[str, str], body: bytes, wall: dt.datetime) -> list[SmsReport]:
        return [
            SmsReport(r["ref"], "", SmsStatus(r["status"]), Billed(r.get("billed", "SENDER")), r["call"])
            for r in json.loads(body)
        ]

    async def close(self) -> None:
        return None


def never_seen(call: str) -> list[SmsReport]:
    raise NeverSeen


def no_answer(call: str) -> list[SmsReport]:
    raise NoAnswer("TIMEOUT")


def delivered(*refs: str, status: SmsStatus = SmsStatus.DELIVERED, billed: Billed = Billed.SENDER) -> Any:
    return lambda call: [SmsReport(ref, "", status, billed, call) for ref in refs]


@dataclass
class People:
    """The notifier of one test, its provider, and the books below."""

    gateway: Gateway
    provider: ToyProvider
    notifier: Notifier

    async def work(self) -> None:
        while await self.notifier.work():
            pass

    async def later(self, **span: int) -> None:
        self.gateway.clock.forward(**span)
        await self.work()

    async def calls(self) -> list[tuple[str, list[str]]]:
        async with self.gateway.store.engine.connection() as connection:
            rows = await connection.fetch("SELECT state, outcomes FROM notices ORDER BY notice_id")
        return [(row["state"], list(row["outcomes"])) for row in rows]

    async def callback(self, *reports: Mapping[str, str]) -> None:
        await self.notifier.report({}, json.dumps(reports).encode())


def notifier(gateway: Gateway, provider: ToyProvider) -> Notifier:
    reference = gateway.intake._reference
    templates = Templates.parse(DEFAULT_TEMPLATES)
    return Notifier(gateway.store, provider, templates, reference, gateway.vault, gateway.clock, SmsSection())


@pytest.fixture
def people(gateway: Gateway) -> People:
    provider = ToyProvider()
    return People(gateway, provider, notifier(gateway, provider))


async def paid(people: People, count: int = 1, **fields: str) -> None:
    await people.gateway.pay(count, **fields)
    await people.gateway.answer(*(credited(people.gateway, seq) for seq in range(1, count + 1)))


async def test_each_credit_is_told_once_with_what_must_be_said(people: People) -> None:
    """Policy, period, amount, date, tail and that it is free, to the person's own phone; repeats write nobody again."""
    await paid(people, 2)
    await people.work()
    await people.gateway.answer(credited(people.gateway, 1), credited(people.gateway, 2))
    await people.later(days=1)
    phones = [phone for phone, _ in people.provider.phones]
    assert phones == [str(kit.line(n)["phone"]) for n in (1, 2)]
    text = people.provider.phones[0][1]
    tail = str(kit.line(1)["account"])[-4:]
    for said in (f"尾号{tail}", "11月24日", "100.00元", "2026年", "免费", "【"):
        assert said in text
    assert (await people.calls())[0][0] == "SENT"


async def test_a_hundred_and_one_people_are_two_calls(people: People) -> None:
    """A call names at most a hundred people, and each of them once."""
    await paid(people, 101)
    await people.work()
    assert [len(outcomes) for _, outcomes in await people.calls()] == [100, 1]
    assert len({phone for phone, _ in people.provider.phones}) == len(people.provider.phones) == 101


async def test_nobody_is_written_to_at_night(people: People) -> None:
    """A credit of the evening is told in the morning, at the opening and not before."""
    people.gateway.clock.forward(hours=11, minutes=30)
    await paid(people)
    await people.work()
    assert people.provider.phones == []
    await people.later(hours=11, minutes=59)
    assert people.provider.phones == []
    await people.later(minutes=1)
    assert len(people.provider.phones) == 1
    assert "11月24日" in people.provider.phones[0][1]


async def test_who_has_no_mobile_number_is_paid_and_not_written_to(people: People) -> None:
    """No phone, or a landline: no notice is made, and the receipt is the same."""
    gateway = people.gateway
    await gateway.batch([kit.line(1, phone=""), kit.line(2, phone="0991-1234567"), kit.line(3)])
    await gateway.fund("300.00")
    await gateway.judge()
    await gateway.send()
    await gateway.answer(*(credited(gateway, seq) for seq in (1, 2, 3)))
    await people.work()
    assert [phone for phone, _ in people.provider.phones] == [kit.line(3)["phone"]]
    assert len(await gateway.outcomes()) == 3


async def test_only_money_that_came_is_told(people: People) -> None:
    """A rejection, a doubt and a conflict are no business of the person's yet."""
    gateway = people.gateway
    await gateway.pay(3)
    doubt = {"proof": "IN_DOUBT", "reference": gateway.reference_of(2)}
    await gateway.answer(rejected(gateway, 1), doubt, credited(gateway, 3, amount_fen=1))
    await people.work()
    assert people.provider.phones == []


async def test_a_return_is_corrected_and_a_reissue_is_told_under_its_own_name(people: People) -> None:
    """Came, went back, came again: three texts, each once, the last to the corrected phone."""
    gateway = people.gateway
    await paid(people)
    await people.work()
    gateway.clock.forward(days=1)
    await gateway.answer({**credited(gateway, 1, host_reference="R"), "proof": "RETURNED"})
    await people.work()
    await gateway.order("REISSUE", "O-1", 1, 1, phone="13800009999")
    gateway.clock.forward(minutes=11)
    await gateway.send()
    await gateway.answer(credited(gateway, 1, host_reference="H2"))
    await people.work()
    texts = [text for _, text in people.provider.phones]
    assert ["退回" in text for text in texts] == [False, True, False]
    assert "11月25日" in texts[1]
    assert "补发入账" in texts[2]
    assert [phone for phone, _ in people.provider.phones][-1] == "13800009999"


async def test_a_call_that_never_left_goes_again_unchanged(people: People) -> None:
    """Nobody was written to for certain: the same texts a little later."""

    def refuse(call: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
        raise NotSent("CONNECT")

    people.provider.answers = refuse
    await paid(people)
    await people.work()
    assert await people.calls() == [("DUE", ["DUE"])]
    people.provider.answers = accept
    await people.later(minutes=4)
    assert people.provider.phones == []
    await people.later(minutes=1)
    assert len(people.provider.phones) == 1
    assert people.provider.asked == []


async def test_an_unknown_outcome_is_asked_about_and_never_sent_again_without_proof(people: People) -> None:
    """No answer, an empty list, or reports of others prove nothing: asked again and again, sent never."""
    people.provider.answers = unclear
    await paid(people)
    await people.work()
    people.provider.answers = accept
    unhelpful: list[Callable[[str], list[SmsReport]]] = [
        no_answer,
        lambda call: [],
        delivered("9-9-1-ARRIVAL"),
        no_answer,
    ]
    for reported in unhelpful:
        people.provider.reported = reported
        await people.later(hours=2)
    assert len(people.provider.phones) == 1
    assert len(people.provider.asked) == 4
    people.provider.reported = delivered("1-1-1-ARRIVAL")
    await people.later(hours=2)
    assert await people.calls() == [("CLOSED", ["DELIVERED"])]
    await people.later(hours=2)
    assert (len(people.provider.phones), len(people.provider.asked)) == (1, 5)


async def test_never_seen_permits_sending_again_only_after_the_settling_time(people: People) -> None:
    """NeverSeen ten minutes after the call is worth nothing; after the settling time the same text goes again."""
    people.provider.answers, people.provider.reported = unclear, never_seen
    await paid(people)
    await people.work()
    people.provider.answers = accept
    await people.later(minutes=10)
    assert (len(people.provider.asked), len(people.provider.phones)) == (1, 1)
    await people.later(hours=1)
    assert len(people.provider.phones) == 2
    assert people.provider.phones[0] == people.provider.phones[1]
    assert await people.calls() == [("SENT", ["ACCEPTED"])]


async def test_never_seen_of_a_provider_that_forgets_is_never_proof(people: People) -> None:
    """Where "not found" is meaningless an unclear call ends unsent rather than twice, after three days."""
    people.provider.not_found = NotFound.MEANINGLESS
    people.provider.answers, people.provider.reported = unclear, never_seen
    await paid(people)
    await people.work()
    for _ in range(4):
        await people.later(days=1)
    assert len(people.provider.phones) == 1
    assert (await people.calls())[0][0] == "CLOSED"


async def test_only_those_the_provider_never_saw_are_sent_to_again(people: People) -> None:
    """One refused, one accepted, one unclear: a second call, where it is allowed, carries the unclear one alone."""
    outcomes = [SmsOutcome.REFUSED, SmsOutcome.ACCEPTED, SmsOutcome.UNKNOWN]
    people.provider.answers = lambda call, messages: [
        SmsResult(m.ref, "", None, outcome) for m, outcome in zip(messages, outcomes, strict=True)
    ]
    await paid(people, 3)
    await people.work()
    assert await people.calls() == [("UNKNOWN", ["REFUSED", "ACCEPTED", "UNKNOWN"])]
    people.provider.answers, people.provider.reported = accept, never_seen
    await people.later(hours=1)
    assert [phone for phone, _ in people.provider.phones][3:] == [kit.line(3)["phone"]]
    assert await people.calls() == [("SENT", ["REFUSED", "ACCEPTED", "ACCEPTED"])]


async def test_a_crash_while_sending_is_asked_about_first(people: People) -> None:
    """SENDING on paper and the process gone: what the provider knows is learned, and only the others are open."""
    await paid(people, 2)
    (notice,) = await people.gateway.store.notices.claim(people.gateway.clock.now(), 8)
    _, sealed = await people.notifier._messages(notice, list(notice["outcomes"]))
    assert await people.gateway.store.notices.sending(notice, sealed, people.gateway.clock.now())
    await people.work()
    assert people.provider.asked == []  # its lease still runs
    async with people.gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE notices SET lease_until = clock_timestamp() - interval '1 second'")
    assert not await people.gateway.store.notices.sending(notice, sealed, people.gateway.clock.now())
    people.provider.reported = delivered("1-1-1-ARRIVAL", status=SmsStatus.PENDING)
    await people.work()
    assert (people.provider.asked, people.provider.phones) == ([str(notice["notice_id"])], [])
    assert (await people.calls())[0][0] == "UNKNOWN"
    people.provider.reported = never_seen
    await people.later(hours=1)
    assert [phone for phone, _ in people.provider.phones] == [kit.line(2)["phone"]]


async def test_two_processes_make_each_call_once(people: People) -> None:
    """A call claimed by one is not given to another, and a claim that was lost does not send."""
    await paid(people)
    (first,) = await people.gateway.store.notices.claim(people.gateway.clock.now(), 8)
    assert await people.gateway.store.notices.claim(people.gateway.clock.now(), 8) == []
    async with people.gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE notices SET lease_until = clock_timestamp() - interval '1 second'")
    await people.work()
    assert len(people.provider.phones) == 1
    await people.notifier._send(first)
    await people.gateway.store.notices.outcome(first, "DUE", ["DUE"], people.gateway.clock.now())
    await people.work()
    assert len(people.provider.phones) == 1


async def test_reports_come_by_callback_and_the_first_final_word_stays(people: People) -> None:
    """Delivered stays delivered; a repeated, later or foreign report changes nothing."""
    await paid(people, 2)
    await people.work()
    first = {"call": "1", "ref": "1-1-1-ARRIVAL", "status": "DELIVERED"}
    await people.callback(first)
    assert await people.calls() == [("SENT", ["DELIVERED", "ACCEPTED"])]
    await people.callback(first, {**first, "status": "UNDELIVERED"})
    await people.callback({**first, "call": "99"}, {**first, "call": "x"}, {**first, "ref": "7-7-1-ARRIVAL"})
    assert await people.calls() == [("SENT", ["DELIVERED", "ACCEPTED"])]
    await people.callback({"call": "1", "ref": "1-2-1-ARRIVAL", "status": "UNDELIVERED"})
    assert await people.calls() == [("CLOSED", ["DELIVERED", "UNDELIVERED"])]
    await people.later(days=1)
    assert (len(people.provider.phones), people.provider.asked) == (2, [])


async def test_an_sms_that_its_receiver_paid_is_counted(people: People) -> None:
    """The person is never charged; where one was, somebody hears of it."""
    before = metrics.SMS_BILLED_RECEIVER._value.get()
    await paid(people)
    await people.work()
    await people.callback({"call": "1", "ref": "1-1-1-ARRIVAL", "status": "DELIVERED", "billed": "RECEIVER"})
    assert metrics.SMS_BILLED_RECEIVER._value.get() == before + 1


async def test_an_sms_problem_delays_no_receipt(people: People) -> None:
    """The provider raises what it likes: the credit and its receipt stand, and the notice is found again."""

    def broken(call: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
        raise RuntimeError("anything")

    people.provider.answers = broken
    await paid(people)
    with pytest.raises(RuntimeError):
        await people.work()
    assert await people.gateway.buckets() == {"credited": 1}
    assert await people.gateway.outcomes() == [(1, 1, "credited", None)]
    assert (await people.calls())[0][0] == "SENDING"


async def test_texts_are_fixed_before_the_first_call_and_sealed(people: People) -> None:
    """What may have been sent is what is sent again: the stored texts, bound to their row and unreadable in it."""
    people.provider.answers, people.provider.reported = unclear, never_seen
    await paid(people)
    await people.work()
    async with people.gateway.store.engine.connection() as connection:
        sealed = bytes(await connection.fetchval("SELECT sealed FROM notices"))
    assert str(kit.line(1)["phone"]).encode() not in sealed
    clear = json.loads(people.gateway.vault.unseal(sealed, "notices", 1))
    assert clear == [[0, "1-1-1-ARRIVAL", *people.provider.phones[0]]]
