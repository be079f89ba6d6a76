"""Notices: one free SMS for each credited payout, in sending hours. A problem here never delays money or receipts.

Providers do not deduplicate, so an unclear answer is not repeated: the delivery reports are asked for first, and only
people whom the provider provably never saw are sent to again. The text is fixed (sealed) before the first call.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.sms.contract import (
    Billed,
    NeverSeen,
    NoAnswer,
    NotSent,
    SmsMessage,
    SmsOutcome,
    SmsProvider,
    SmsReport,
    SmsStatus,
    never_seen_is_proof,
)
from gateway import metrics
from gateway.clock import SHANGHAI, Clock
from gateway.config import SmsSection
from gateway.log import get_logger
from gateway.reference import Reference
from gateway.store import ids
from gateway.store.notices import ACCEPTED, DUE, FINAL, UNKNOWN
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
            self._count(result.outcome.value.lower() if result.outcome is not SmsOutcome.UNKNOWN else "in_doubt")
        ended_at = self._clock.now()
        log.info("sms call made", provider=self._provider.name, count=len(due), status=_state_after(outcomes))
        state = _state_after(outcomes)
        # Reports of what was accepted come by themselves; only what is unknown is asked about soon.
        ask_at = ended_at + (ASK_AFTER if state == "UNKNOWN" else ASK_AGAIN)
        await self._store.notices.outcome(notice, state, outcomes, ask_at, ended_at)

    async def _follow_up(self, notice: Mapping[str, Any]) -> None:
        """Ask what became of a call: after a crash, an unclear answer, or when reports are slow."""
        asked_at = self._clock.now()
        call = _call_id(notice)
        outcomes = list(notice["outcomes"])
        sent_at = notice["sent_at"] or notice["created_at"]
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
        state = _state_after([UNKNOWN if outcome == DUE else outcome for outcome in outcomes])
        if asked_at > sent_at + WAIT_FOR_REPORT:
            state = "CLOSED"
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

    def _billing(self, report: SmsReport) -> None:
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
            clear = self._vault.unseal(bytes(notice["sealed"]), "notices", notice["notice_id"])
            fixed = [(place, SmsMessage(ref, Phone(phone), text)) for place, ref, phone, text in json.loads(clear)]
            return fixed, bytes(notice["sealed"])
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
        return SmsMessage(_reference(notice, place), payee.phone, text.text)


_OUTCOMES: Final = {
    SmsOutcome.ACCEPTED: ACCEPTED,
    SmsOutcome.REFUSED: "REFUSED",
    SmsOutcome.UNKNOWN: UNKNOWN,
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
    """Where a call stands, by the outcomes of its people."""
    if UNKNOWN in outcomes:
        return "UNKNOWN"
    if ACCEPTED in outcomes:
        return "SENT"
    return "DUE" if DUE in outcomes else "CLOSED"
