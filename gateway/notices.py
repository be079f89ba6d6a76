"""Notices: one free SMS for each credited payout, in sending hours. A problem here never delays money or receipts.

Providers do not deduplicate, so an unclear answer is not repeated: the delivery reports are asked for first, and only
people whom the provider provably never saw are sent to again. The text is fixed (sealed) before the first call.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.contract import NotFound
from adapters.sms.contract import (
    Billed,
    NeverSeen,
    NoAnswer,
    NotSent,
    PushedReport,
    PushesReports,
    SmsMessage,
    SmsOutcome,
    SmsProvider,
    SmsReport,
    SmsResult,
    SmsStatus,
    mobile,
    never_seen_is_proof,
)
from gateway import metrics
from gateway.clock import SHANGHAI, Clock
from gateway.config import SmsSection
from gateway.log import get_logger
from gateway.reference import Reference
from gateway.store import ids
from gateway.store.notices import ACCEPTED, DUE, FINAL, NO_PARTS, UNKNOWN, Parts, Pushed, Sent, serial
from gateway.store.store import Store
from gateway.texts import NoticeFacts, NoticeKind, Templates, next_sending_time, notice_reference
from gateway.vault import Vault
from schemas.masked import Phone

log = get_logger("notices")
CALLS_AT_ONCE: Final = 12
ASK_AFTER: Final = dt.timedelta(minutes=10)
ASK_AGAIN: Final = dt.timedelta(hours=1)
RESEND_AFTER: Final = dt.timedelta(minutes=5)
WAIT_FOR_REPORT: Final = dt.timedelta(days=3)  # after that an unreported SMS stays as it is
REPORTS_AT_ONCE: Final = 200
SWEEP_SECONDS: Final = 600  # real
ORPHAN_SECONDS: Final = 3600  # real: how long the answer that explains a report may lag behind it
PARTS_KEPT_SECONDS: Final = 30 * 86400
_STATUS: Final = {SmsStatus.DELIVERED: "DELIVERED", SmsStatus.UNDELIVERED: "UNDELIVERED"}


class Notifier:
    """The step between credits and people's phones."""

    def __init__(
        self,
        store: Store,
        provider: SmsProvider,
        templates: Templates,
        reference: Reference,
        vault: Vault,
        clock: Clock,
        section: SmsSection,
    ) -> None:
        self._store = store
        self._provider = provider
        self._templates = templates
        self._reference = reference
        self._vault = vault
        self._clock = clock
        self._section = section
        self._swept_at = time.monotonic()
        self._unreadable = 0
        if isinstance(provider, PushesReports):
            metrics.SMS_CONNECTED.labels(provider=provider.name).set(0)

    async def work(self) -> bool:
        """Make or follow up the calls that are due; whether there were any."""
        claimed = await self._store.notices.claim(self._clock.now(), CALLS_AT_ONCE)
        works = [self._send(notice) if notice["state"] == "DUE" else self._follow_up(notice) for notice in claimed]
        for outcome in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome  # the others are done; this one's lease runs out and it is found again
        return bool(claimed)

    async def report(self, headers: Mapping[str, str], body: bytes) -> None:
        """Delivery reports by callback; CallbackRefused when they are not believed."""
        await self._apply(self._provider.verify_report_callback(headers, body, self._clock.wall()))

    async def take_pushed(self) -> bool:
        """Take over reports that came by the provider's own connection, and confirm them once they are committed."""
        provider = self._provider
        if not isinstance(provider, PushesReports):
            return False
        reports = await provider.take_reports(REPORTS_AT_ONCE)
        metrics.SMS_CONNECTED.labels(provider=provider.name).set(1 if provider.connected else 0)
        if (unreadable := provider.unreadable - self._unreadable) > 0:
            self._unreadable += unreadable
            log.error("sms reports unreadable", provider=provider.name, count=unreadable)
            metrics.SMS_REPORTS_UNREADABLE.labels(provider=provider.name).inc(unreadable)
        if reports:
            for report in reports:
                self._billing(report)
            pushed = [
                Pushed(
                    report.provider_id,
                    _STATUS.get(report.status),
                    report.serial,
                    report.modulus,
                    mobile(report.phone) if report.phone is not None else None,
                )
                for report in reports
            ]
            for outcome in await self._store.notices.pushed(provider.name, pushed, self._opened):
                self._count(outcome.lower())
            await provider.confirm_reports(len(reports))
        if (now := time.monotonic()) >= self._swept_at + SWEEP_SECONDS:
            self._swept_at = now
            await self.sweep()
        return bool(reports)

    async def sweep(self, orphan_seconds: int = ORPHAN_SECONDS) -> None:
        """Tell of reports that found no message, and forget them."""
        lost = await self._store.notices.forget(self._provider.name, orphan_seconds, PARTS_KEPT_SECONDS)
        if lost:
            log.warning("sms reports unmatched", provider=self._provider.name, count=lost)
            metrics.SMS_REPORTS_UNMATCHED.labels(provider=self._provider.name).inc(lost)

    async def _send(self, notice: Mapping[str, Any]) -> None:
        now = self._clock.now()
        opens_at = next_sending_time(now, self._section.opens, self._section.closes)
        if opens_at > now:
            await self._store.notices.outcome(notice, "DUE", notice["outcomes"], opens_at)
            return
        outcomes = list(notice["outcomes"])
        messages, sealed = await self._messages(notice, outcomes)
        due = [(place, message) for place, message in messages if outcomes[place] == DUE]
        if not due:
            await self._store.notices.outcome(notice, _state_after(outcomes), outcomes, now + ASK_AFTER)
            return
        if not await self._store.notices.sending(notice, sealed, now):
            return
        call = _call_id(notice)
        try:
            results = await self._provider.send(call, [message for _, message in due])
        except NotSent as error:
            level = log.error if error.hold else log.warning  # hold: our key or account is refused, a person must act
            level("sms not sent", provider=self._provider.name, code=error.code)
            await self._store.notices.outcome(notice, "DUE", outcomes, self._clock.now() + RESEND_AFTER)
            return
        for (place, _), result in zip(due, results, strict=True):
            outcomes[place] = _OUTCOMES[result.outcome]
            if result.outcome is SmsOutcome.NOT_TAKEN:
                log.warning("sms not sent", provider=self._provider.name, code=result.code)
            else:
                self._count(result.outcome.value.lower() if result.outcome is not SmsOutcome.UNKNOWN else "in_doubt")
        ended_at = self._clock.now()
        state = _state_after(outcomes)
        log.info("sms call made", provider=self._provider.name, count=len(due), status=state)
        # Reports of what was accepted come by themselves; only what is unknown is asked about soon.
        waits = {"DUE": RESEND_AFTER, "UNKNOWN": ASK_AFTER}
        parts = self._parts(due, results)
        await self._store.notices.outcome(
            notice, state, outcomes, ended_at + waits.get(state, ASK_AGAIN), ended_at, parts
        )

    def _parts(self, due: Sequence[tuple[int, SmsMessage]], results: Sequence[SmsResult]) -> Parts:
        if not isinstance(self._provider, PushesReports):
            return NO_PARTS
        return Parts(
            self._provider.name,
            {name: place for (place, _), result in zip(due, results, strict=True) for name in result.part_ids},
            {place: self._provider.parts(message) for place, message in due},
        )

    def _opened(self, notice: Mapping[str, Any]) -> dict[int, Sent]:
        """Whom the messages of a call went to, and in how many parts; nothing for a call that was never sent."""
        provider = self._provider
        if notice["sealed"] is None or not isinstance(provider, PushesReports):
            return {}
        return {place: Sent(mobile(m.phone), provider.parts(m)) for place, m in self._fixed(notice)}

    async def _follow_up(self, notice: Mapping[str, Any]) -> None:
        """Ask what became of a call: after a crash, an unclear answer, or when reports are slow."""
        asked_at = self._clock.now()
        call = _call_id(notice)
        outcomes = list(notice["outcomes"])
        sent_at = notice["sent_at"] or notice["created_at"]
        if notice["state"] == "SENDING":  # it ended in the middle: whoever has no outcome may have been written to
            outcomes = [UNKNOWN if outcome == DUE else outcome for outcome in outcomes]
        if self._provider.capabilities().not_found is NotFound.NO_QUERY:
            await self._wait(notice, outcomes, sent_at, asked_at)
            return
        try:
            reports = await self._provider.reports(call)
        except NeverSeen:
            if never_seen_is_proof(self._provider.capabilities(), sent_at, asked_at):
                outcomes = [DUE if outcome in (DUE, UNKNOWN) else outcome for outcome in outcomes]
                await self._store.notices.outcome(notice, "DUE", outcomes, asked_at)
                return
        except (NoAnswer, OSError, TimeoutError) as error:
            log.warning("sms reports unanswered", provider=self._provider.name, exc_info=error)
        else:
            self._fill(notice, outcomes, reports)
        await self._wait(notice, outcomes, sent_at, asked_at)

    async def _wait(
        self, notice: Mapping[str, Any], outcomes: list[str], sent_at: dt.datetime, asked_at: dt.datetime
    ) -> None:
        """Look again later; after three days an unknown outcome ends as it is: told of, and never sent again."""
        state = _state_after(outcomes)
        if asked_at > sent_at + WAIT_FOR_REPORT:
            state = "CLOSED"
            if unknown := outcomes.count(UNKNOWN):
                log.warning("sms outcome never learned", provider=self._provider.name, count=unknown)
                metrics.NOTICES.labels(provider=self._provider.name, outcome="unreported").inc(unknown)
        await self._store.notices.outcome(notice, state, outcomes, asked_at + ASK_AGAIN)

    def _fill(self, notice: Mapping[str, Any], outcomes: list[str], reports: Sequence[SmsReport]) -> None:
        places = _places(notice)
        for report in reports:
            self._billing(report)
            place = places.get(report.ref or "")
            if place is None:
                continue
            if report.status in _STATUS and outcomes[place] not in FINAL:
                outcomes[place] = _STATUS[report.status]
                self._count(_STATUS[report.status].lower())
            elif outcomes[place] in (DUE, UNKNOWN):
                outcomes[place] = ACCEPTED

    async def _apply(self, reports: Sequence[SmsReport]) -> None:
        """A report names its call and, in the reference, its person: both are ours, so no index on people is needed."""
        by_notice: dict[int, dict[str, str]] = {}
        for report in reports:
            self._billing(report)
            call = report.batch_id or ""
            if report.ref and report.status in _STATUS and call.isascii() and call.isdigit() and len(call) < 18:
                by_notice.setdefault(int(call), {})[report.ref] = _STATUS[report.status]
        if by_notice:
            for outcome in await self._store.notices.report(by_notice, _places):
                self._count(outcome.lower())

    def _billing(self, report: SmsReport | PushedReport) -> None:
        if report.billed is Billed.RECEIVER:
            metrics.SMS_BILLED_RECEIVER.inc()
            log.error("an sms was billed to its receiver", provider=self._provider.name)

    def _count(self, outcome: str) -> None:
        metrics.NOTICES.labels(provider=self._provider.name, outcome="sent" if outcome == "accepted" else outcome).inc()

    async def _messages(
        self, notice: Mapping[str, Any], outcomes: list[str]
    ) -> tuple[list[tuple[int, SmsMessage]], bytes]:
        """The messages of a call by place, from the sealed texts where they are fixed already; and the seal to keep."""
        if notice["sealed"] is not None:
            return self._fixed(notice), bytes(notice["sealed"])
        messages: list[tuple[int, SmsMessage]] = []
        for place, facts in enumerate(await self._store.notices.facts(notice)):
            message = self._message(notice, place, facts)
            if message is None:
                outcomes[place] = "NO_TEXT"
                self._count("no_phone")
            else:
                messages.append((place, message))
        rows = [(place, m.ref, m.phone.reveal(), m.text) for place, m in messages]
        clear = json.dumps(rows, ensure_ascii=False).encode()
        return messages, self._vault.seal(clear, "notices", notice["notice_id"])

    def _fixed(self, notice: Mapping[str, Any]) -> list[tuple[int, SmsMessage]]:
        """The messages of a call as they were fixed before it was first made."""
        clear = self._vault.unseal(bytes(notice["sealed"]), "notices", notice["notice_id"])
        return [
            (place, SmsMessage(ref, Phone(phone), text, serial(notice["notice_id"], place)))
            for place, ref, phone, text in json.loads(clear)
        ]

    def _message(self, notice: Mapping[str, Any], place: int, facts: Mapping[str, Any]) -> SmsMessage | None:
        payee = self._vault.payee(bytes(facts["sealed"]), facts["payout_id"], facts["order_no"])
        if payee.phone is None:
            return None
        kind = NoticeKind(notice["kind"])
        text = self._templates.build(
            kind,
            NoticeFacts(
                signature=notice["signature"],
                policy=self._reference.programmes[facts["programme"]].sms_name,
                period=facts["period"],
                amount_fen=facts["amount_fen"],
                on=_day(facts, kind),
                account_tail=payee.account.reveal()[-4:],
            ),
        )
        number = serial(notice["notice_id"], place)
        return SmsMessage(_reference(notice, place), payee.phone, text.text, number)


_OUTCOMES: Final = {
    SmsOutcome.ACCEPTED: ACCEPTED,
    SmsOutcome.REFUSED: "REFUSED",
    SmsOutcome.UNKNOWN: UNKNOWN,
    SmsOutcome.NOT_TAKEN: DUE,
}


def _day(facts: Mapping[str, Any], kind: NoticeKind) -> dt.date:
    """The day the money came, or in a correction the day it went back; by the bank's books where they say."""
    if kind is NoticeKind.CORRECTION:
        day: dt.date = facts["returned_at"].astimezone(SHANGHAI).date()
        return day
    booked: dt.date = facts["post_date"] or facts["credited_at"].astimezone(SHANGHAI).date()
    return booked


def _reference(notice: Mapping[str, Any], place: int) -> str:
    """``<payout>-<attempt>-<kind>``: the provider echoes it."""
    kind = NoticeKind(notice["kind"])
    return notice_reference(ids.payout_name(notice["payouts"][place]), notice["attempts"][place], kind)


def _places(notice: Mapping[str, Any]) -> dict[str, int]:
    return {_reference(notice, place): place for place in range(len(notice["payouts"]))}


def _call_id(notice: Mapping[str, Any]) -> str:
    """One row is one call under one id for ever: it goes again only when the provider provably never saw it."""
    return str(notice["notice_id"])


def _state_after(outcomes: Sequence[str]) -> str:
    """Where a call stands, by the outcomes of its people. DUE is certain: whoever is unknown is never sent to."""
    if DUE in outcomes:
        return "DUE"
    if UNKNOWN in outcomes:
        return "UNKNOWN"
    return "SENT" if ACCEPTED in outcomes else "CLOSED"
