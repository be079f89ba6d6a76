"""Reports that a provider pushes part by part: found by id or serial, in any order, through a restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from adapters.contract import NotFound
from adapters.sms.contract import PushedReport, SmsMessage, SmsOutcome, SmsResult, SmsStatus
from gateway import metrics
from schemas.masked import Phone
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_notices import People, ToyProvider, notifier, paid

MODULUS = 10**8


@dataclass
class Pusher(ToyProvider):
    """Takes each message in two parts, and reports when the test says so."""

    not_found: NotFound = NotFound.NO_QUERY
    queue: list[PushedReport] = field(default_factory=list)
    confirmed: int = 0
    connected: bool = True
    unreadable: int = 0

    def parts(self, message: SmsMessage) -> int:
        return 2

    async def take_reports(self, most: int) -> list[PushedReport]:
        return self.queue[:most]

    async def confirm_reports(self, count: int) -> None:
        del self.queue[:count]
        self.confirmed += count


def in_two_parts(call: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
    return [
        SmsResult(m.ref, "OK", f"{m.serial}a", SmsOutcome.ACCEPTED, (f"{m.serial}a", f"{m.serial}b")) for m in messages
    ]


def lost(call: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
    return [SmsResult(m.ref, "TIMEOUT", None, SmsOutcome.UNKNOWN) for m in messages]


class Pushed(People):
    async def push(self, *reports: PushedReport) -> None:
        assert isinstance(self.provider, Pusher)
        self.provider.queue += reports
        await self.notifier.take_pushed()

    def restart(self) -> None:
        self.notifier = notifier(self.gateway, self.provider)


@pytest.fixture
def people(gateway: Gateway) -> Pushed:
    provider = Pusher(answers=in_two_parts)
    return Pushed(gateway, provider, notifier(gateway, provider))


def by_id(name: str, status: SmsStatus = SmsStatus.DELIVERED) -> PushedReport:
    return PushedReport(name, status)


def by_serial(name: str, serial: int, line: int, status: SmsStatus = SmsStatus.DELIVERED) -> PushedReport:
    return PushedReport(name, status, serial, MODULUS, Phone(str(kit.line(line)["phone"])))


async def test_a_message_is_delivered_when_all_its_parts_are(people: Pushed) -> None:
    """One part of two is not enough, nor is it twice; the second is. Confirmed after the commit, across a restart."""
    await paid(people)
    await people.work()
    people.restart()
    await people.push(by_id("100a"), by_id("100a"))
    assert await people.calls() == [("SENT", ["ACCEPTED"])]
    delivered = metrics.NOTICES.labels(provider="toy", outcome="delivered")._value
    before = delivered.get()
    await people.push(by_id("100b"))
    assert await people.calls() == [("CLOSED", ["DELIVERED"])]
    assert delivered.get() == before + 1
    assert isinstance(people.provider, Pusher)
    assert people.provider.confirmed == 3


async def test_one_part_undelivered_makes_the_message_undelivered(people: Pushed) -> None:
    """Whatever the other part did, before or after; a later word changes nothing."""
    await paid(people)
    await people.work()
    await people.push(by_id("100a"), by_id("100b", SmsStatus.UNDELIVERED))
    assert await people.calls() == [("CLOSED", ["UNDELIVERED"])]
    await people.push(by_id("100b"))
    assert await people.calls() == [("CLOSED", ["UNDELIVERED"])]


async def test_a_lost_answer_is_found_by_the_serial_and_the_phone(people: Pushed) -> None:
    """No id was learned: the digits find the message, another phone does not, and nothing is sent again."""
    people.provider.answers = lost
    await paid(people, 2)
    await people.work()
    await people.push(by_serial("x", 100, 2))
    assert await people.calls() == [("UNKNOWN", ["UNKNOWN", "UNKNOWN"])]
    await people.push(by_serial("y", 100, 1))
    assert await people.calls() == [("UNKNOWN", ["ACCEPTED", "UNKNOWN"])]
    await people.push(by_serial("z", 100, 1), by_serial("v", 101, 2), by_serial("w", 101, 2))
    assert await people.calls() == [("CLOSED", ["DELIVERED", "DELIVERED"])]
    await people.later(hours=2)
    assert len(people.provider.phones) == 2


async def test_a_serial_takes_no_more_parts_than_the_message_has(people: Pushed) -> None:
    """Both ids are known: a stranger's id with the same digits and phone is no part of it."""
    await paid(people)
    await people.work()
    await people.push(by_serial("stranger", 100, 1, SmsStatus.UNDELIVERED))
    assert await people.calls() == [("SENT", ["ACCEPTED"])]


async def test_a_report_may_come_before_the_answer_to_its_sending(people: Pushed) -> None:
    """It waits for the id, and the message is delivered as soon as the answer names it."""
    await people.push(by_id("100a"), by_id("100b"))
    await paid(people)
    await people.work()
    assert await people.calls() == [("CLOSED", ["DELIVERED"])]


async def test_a_report_that_finds_nothing_is_told_after_its_wait(people: Pushed) -> None:
    """Not at once, because its answer may be on the way; then counted once and forgotten."""
    counter = metrics.SMS_REPORTS_UNMATCHED.labels(provider="toy")._value
    before = counter.get()
    await people.push(by_id("nobody's"))
    await people.notifier.sweep()
    assert counter.get() == before
    await people.notifier.sweep(orphan_seconds=0)
    await people.notifier.sweep(orphan_seconds=0)
    assert counter.get() == before + 1


async def test_reports_that_nobody_can_read_are_told_and_counted_once_each(people: Pushed) -> None:
    """The provider refused them; somebody hears of it, and the same number again is no news."""
    counter = metrics.SMS_REPORTS_UNREADABLE.labels(provider="toy")._value
    before = counter.get()
    assert isinstance(people.provider, Pusher)
    for unreadable in (0, 2, 2, 3):
        people.provider.unreadable = unreadable
        await people.push()
    assert counter.get() == before + 3


async def test_an_outcome_that_is_never_learned_ends_visibly_and_unsent(people: Pushed) -> None:
    """Three days without a report: closed, counted, and the person was written to once."""
    counter = metrics.NOTICES.labels(provider="toy", outcome="unreported")._value
    before = counter.get()
    people.provider.answers = lost
    await paid(people)
    await people.work()
    for _ in range(4):
        await people.later(days=1)
    assert await people.calls() == [("CLOSED", ["UNKNOWN"])]
    assert (len(people.provider.phones), counter.get() - before, people.provider.asked) == (1, 1, [])


async def test_what_was_not_taken_goes_later_and_what_is_unknown_does_not(people: Pushed) -> None:
    """One unknown, one that never left: the second call carries the latter alone."""
    outcomes = [SmsOutcome.UNKNOWN, SmsOutcome.NOT_TAKEN]
    people.provider.answers = lambda call, messages: [
        SmsResult(m.ref, "", None, outcome) for m, outcome in zip(messages, outcomes, strict=True)
    ]
    await paid(people, 2)
    await people.work()
    people.provider.answers = in_two_parts
    await people.later(minutes=6)
    phones = [phone for phone, _ in people.provider.phones]
    assert phones == [kit.line(1)["phone"], kit.line(2)["phone"], kit.line(2)["phone"]]
    assert await people.calls() == [("UNKNOWN", ["UNKNOWN", "ACCEPTED"])]


async def test_a_report_during_the_call_is_not_overwritten_by_its_end(people: Pushed) -> None:
    """The call ends with what it knew when it began; a final word that came meanwhile stays."""
    await paid(people)
    (notice,) = await people.gateway.store.notices.claim(people.gateway.clock.now(), 8)
    _, sealed = await people.notifier._messages(notice, list(notice["outcomes"]))
    assert await people.gateway.store.notices.sending(notice, sealed, people.gateway.clock.now())
    await people.push(by_serial("p", 100, 1), by_serial("q", 100, 1))
    await people.gateway.store.notices.outcome(notice, "UNKNOWN", ["UNKNOWN"], people.gateway.clock.now())
    assert await people.calls() == [("CLOSED", ["DELIVERED"])]
