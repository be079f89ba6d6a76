"""Dispatch: cuts, renders and sends. The one module from which bytes that move money leave.

Theory of operation
-------------------

For each bank, again and again: take PLANNED submissions, render them through the adapter (pure), persist bytes, digest,
name and references; take RENDERED and DEFERRED ones that are due inside the bank's hours, most urgent first; commit
SENDING; and only then touch the wire, once.

After the call there are exactly three cases, and the adapter decides none of them:

* it returned evidence: recorded as it is;
* it raised and the wire says that no byte the bank could act on had left: NOT_SENT, the same bytes travel later;
* it raised and the wire had passed the point of no return: IN_DOUBT. Nothing is sent; ``verify`` asks.

What a bank's manual allows is kept here and by ``store.limits``: lines, bytes and money of a submission before its
bytes are persisted (a larger one is halved until it fits), hours just before SENDING is committed, places on the wire
and the pace of the login inside that commit.

If this process dies anywhere after the commit of SENDING, the lease runs out and ``verify`` of any process turns the
submission into doubt. A lease lost before the commit makes the commit fail (``Fenced``), and nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from adapters.contract import Evidence, Line, Proof, Reason, Rendered, Submission, proof_of_raising
from gateway import metrics
from gateway.banks import Bank
from gateway.clock import SHANGHAI, Clock
from gateway.config import Config
from gateway.deadlines import Deadlines
from gateway.log import get_logger
from gateway.pacing import deferral, probe_delay, turns_within
from gateway.reference import Reference
from gateway.routes import route_of
from gateway.store.consequences import LOCAL_CODE
from gateway.store.engine import outage
from gateway.store.evidence import Heard
from gateway.store.limits import NoTurn, Pace
from gateway.store.planning import NoRoute, Route
from gateway.store.store import Store
from gateway.store.submissions import Claim, Fenced, Rendering, claim_of
from gateway.vault import Vault
from schemas.masked import AccountNumber

log = get_logger("dispatch")
RENDERED_AT_ONCE = 4
SENT_AT_ONCE = 4
NO_ROUTE_REST = dt.timedelta(minutes=10)
ID_TYPE_RESIDENT = "01"


class Dispatch:
    """Moves submissions from PLANNED to the bank's answer."""

    def __init__(
        self,
        store: Store,
        banks: Mapping[str, Bank],
        reference: Reference,
        vault: Vault,
        clock: Clock,
        config: Config,
    ) -> None:
        self._store = store
        self._banks = banks
        self._reference = reference
        self._vault = vault
        self._clock = clock
        self._timing = config.timing
        self._patience_seconds = config.timing.lease_seconds // 2  # a turn is waited for well inside the claim's lease
        self._deadlines = Deadlines(reference.calendar, config)
        self._no_route: dict[int, dt.datetime] = {}  # batches whose lines lead nowhere, until they are tried again

    # -- cutting

    def route(self, county: str, bank: str, bank_no: str, at: dt.datetime) -> Route:
        """Where lines for a bank number go: by today's agreement, or else the one of ``at``, when they were approved.

        LookupError where neither leads to that bank, or it is not configured (any more).
        """
        for day in (self._clock.now().date(), at.astimezone(SHANGHAI).date()):
            agreement = self._reference.valid_agreements(county, day).get(bank_no)
            if agreement is not None and agreement.bank == bank and bank in self._banks:
                return route_of(agreement, self._banks[bank])
        raise LookupError(f"no agreement leads to bank {bank}")

    async def plan(self) -> bool:
        """Cut the next chunk of approved lines; whether there was one."""
        now = self._clock.now()
        self._no_route = {batch: until for batch, until in self._no_route.items() if until > now}
        try:
            planned = await self._store.planning.plan_next(
                self, now, self._deadlines.hold_before, sorted(self._no_route)
            )
        except NoRoute as lost:
            self._no_route[lost.batch_no] = now + NO_ROUTE_REST
            log.error("no route", batch=lost.batch_no)
            return True
        if planned is None:
            return False
        log.info("lines planned", batch=planned.batch_no, lines=planned.lines, count=planned.submissions)
        return True

    # -- rendering

    async def render(self, bank: Bank) -> bool:
        """Render claimed submissions; whether there were any with something to write."""
        rows = await self._store.submissions.claim_to_render(bank.name, self._clock.now(), RENDERED_AT_ONCE)
        empty = 0
        for row in rows:
            claim = claim_of(row)
            try:
                empty += not await self._render_one(bank, claim, row)
            except Fenced:
                log.warning("rendering fenced", bank=bank.name, submission=claim.submission_id)
            except Exception as error:
                if outage(error):
                    log.warning("rendering cut off", bank=bank.name, submission=claim.submission_id, exc_info=error)
                    continue
                # It cannot be written at all: it stays cut, its lease runs out, somebody looks. The others go on.
                log.error("unrenderable", bank=bank.name, submission=claim.submission_id, exc_info=error)
        return len(rows) > empty

    async def _render_one(self, bank: Bank, claim: Claim, row: Mapping[str, Any]) -> bool:
        """False where there is nothing to write, so that nobody comes back to it at once, again and again."""
        now = self._clock.now()
        lines = await self._store.submissions.lines_to_render(claim.submission_id)
        unapproved = sorted({line["payout_id"] for line in lines if line["unapproved"]})
        if unapproved:
            # This program writes no such line: somebody with our login did. It waits, people are called, others go on.
            log.error("lines pay what nobody approved", bank=bank.name, lines=unapproved, count=len(unapproved))
        if unapproved or any(line["held"] for line in lines):
            await self._store.submissions.set_held_aside(claim, now, unapproved)
            metrics.CONFLICTS.labels(bank=bank.name).inc(len(unapproved))
            return True
        if any(line["recalled"] for line in lines):
            await self._store.submissions.call_back(claim, now)
            log.info("lines called back", bank=bank.name, submission=claim.submission_id)
            return True
        if not lines:
            return False  # taken away since the claim, or never there: its lease runs out, others have their turn
        written = [self._line(line) for line in lines]
        refusals = [(line, bank.refusal(line)) for line in written]
        payable = [line for line, reason in refusals if reason is None]
        await self._refuse_lines(bank, claim, [(line, reason) for line, reason in refusals if reason is not None])
        if not payable:
            return True
        rendered = bank.fitting(self._head(row, lines[0]), payable, now)
        if rendered is None:
            await self._make_smaller(bank, claim, payable)
            return True
        if hashlib.sha256(rendered.payload).hexdigest() != rendered.sha256:
            raise ValueError("the adapter's digest is not that of its bytes")
        await self._store.submissions.write_rendering(
            claim,
            Rendering(
                payload=self._vault.seal(rendered.payload, "submissions", claim.submission_id),
                digest=bytes.fromhex(rendered.sha256),
                remote_name=rendered.remote_name,
                at=now,
                lines=len(payable),
                amount_fen=rendered.total_fen,
                expected_lines=row["lines"],
            ),
        )
        return True

    async def _make_smaller(self, bank: Bank, claim: Claim, payable: list[Line]) -> None:
        """More than the bank takes at once: two halves, or, for one line alone, a refusal that hurts nobody else."""
        if len(payable) == 1:
            await self._refuse_lines(bank, claim, [(payable[0], Reason.FORMAT)])
            return
        fresh = await self._store.limits.split(claim, self._clock.now())
        log.info("submission split", bank=bank.name, submission=claim.submission_id, size=fresh, lines=len(payable))

    def _line(self, row: Mapping[str, Any]) -> Line:
        payee = self._vault.payee(bytes(row["sealed"]), row["payout_id"], row["order_no"] or 0)
        return Line(
            reference=row["reference"],
            name=payee.name,
            id_type=ID_TYPE_RESIDENT,
            id_no=payee.id_no,
            account=payee.account,
            account_kind=payee.account_kind.value,
            bank_no=payee.bank_no,
            amount_fen=row["amount_fen"],
            programme=row["programme"],
            purpose=self._reference.programmes[row["programme"]].bank_purpose,
            period=row["period"],
        )

    def _head(self, row: Mapping[str, Any], line: Mapping[str, Any]) -> Submission:
        return Submission(
            reference=row["reference"],
            county=row["county"],
            debit_account=AccountNumber(row["debit_account"]),
            debit_name=row["debit_name"],
            programme=line["programme"],
            purpose=self._reference.programmes[line["programme"]].bank_purpose,
            period=line["period"],
        )

    async def _refuse_lines(self, bank: Bank, claim: Claim, refused: list[tuple[Line, Reason]]) -> None:
        """Lines this bank's encoding cannot hold fail before sending, each with its reason; nobody mends a name."""
        if not refused:
            return
        now = self._clock.now()
        evidence = [
            Evidence(Proof.REJECTED, reference=line.reference, reason=reason, code=f"{LOCAL_CODE}{reason.value}")
            for line, reason in refused
        ]
        heard = Heard(bank.name, now, now, submission_id=claim.submission_id)
        recorded = await self._store.evidence.record(heard, evidence)
        if recorded.may_resolve:
            await self._store.statements.resolve(bank.name, now)

    # -- sending

    async def send(self, bank: Bank) -> bool:
        """Send what is due and fits into the bank's hours, its wire and its pace; whether there was any."""
        now = self._clock.now()
        if not self._is_open(bank):
            return False
        room = await self._store.limits.room(bank.name, _pace(bank))
        if room.wait_milliseconds > self._patience_seconds * 1000:
            return False
        interval = bank.capabilities.submit_interval_milliseconds
        limit = min(room.places, turns_within(self._patience_seconds, interval, SENT_AT_ONCE))
        if limit <= 0:
            return False
        claimed_at = _uptime_seconds()
        rows = await self._store.submissions.claim_to_send(bank.name, now, limit)
        if not rows:
            return False
        # Gathered, not grouped: a task group would cancel one submission's call because another one failed.
        outcomes = await asyncio.gather(
            *(self._send_one(bank, row, claimed_at) for row in rows), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return any(outcomes)

    async def _send_one(self, bank: Bank, row: Mapping[str, Any], claimed_at: int) -> bool:
        """Whether it was dealt with; False: the bank did not take one more now."""
        claim = Claim(row["submission_id"], row["batch_no"], row["fence"])
        rendered = self._rendered(bank, row, await self._store.submissions.sent_references(claim.submission_id))
        if rendered is None:
            return True
        try:
            stale = rendered.rendered_at.date() < self._clock.now().date()
            if row["transmissions"] == row["unsent"] and (stale or bank.is_too_large(rendered)):
                # Dated for a day that has passed, which a strict bank refuses, or cut for limits that were lowered
                # since. What may have travelled travels again as it is: the bank's own defence against doing things
                # twice stands on equal bytes.
                await self._store.limits.take_back(claim, self._clock.now())
                return True
            sent_at = await self._begin(bank, claim)
        except Fenced:
            now = self._clock.now()
            with contextlib.suppress(Fenced):  # then it is somebody else's by now
                await self._store.submissions.set_held_aside(claim, now)
            log.warning("sending fenced", bank=bank.name, submission=claim.submission_id)
            return True
        if sent_at is None:
            await self._store.submissions.release(claim)
            return False
        if _uptime_seconds() - claimed_at >= self._timing.lease_seconds:
            # This process stood still between its claim and now: somebody may have put the submission in doubt, heard
            # that the bank has nothing, and sent it. What is in SENDING here is asked about, not sent.
            log.error("stood still before sending", bank=bank.name, submission=claim.submission_id)
            return True
        if not self._is_open(bank):
            # The cut-off passed while a lock was waited for: no byte has left, and only this process could say so.
            await self._hear(bank, claim, row["transmissions"] + 1, sent_at, [Evidence(Proof.NOT_SENT, code="CUT_OFF")])
            return True
        evidence = await self._submit(bank, rendered, claim)
        await self._hear(bank, claim, row["transmissions"] + 1, sent_at, evidence)
        return True

    async def _begin(self, bank: Bank, claim: Claim) -> dt.datetime | None:
        """Commit SENDING in the bank's turn, waited for outside any transaction; None where no turn came in time."""
        can = bank.capabilities
        waited_milliseconds = 0
        while self._is_open(bank):
            now = self._clock.now()
            try:
                return await self._store.submissions.write_sending(
                    claim,
                    now,
                    now + dt.timedelta(seconds=can.result_due_seconds),
                    now + dt.timedelta(days=can.return_horizon_days),
                    acknowledgement_due_at=now + dt.timedelta(seconds=can.acknowledgement_due_seconds),
                    pace=_pace(bank),
                )
            except NoTurn as full:
                wait = full.wait_milliseconds
            if wait is None or waited_milliseconds + wait > self._patience_seconds * 1000:
                return None
            waited_milliseconds += wait
            await asyncio.sleep(wait / 1000)
        return None

    def _is_open(self, bank: Bank) -> bool:
        """A call may begin up to the cut-off. That it could end after it is no reason to wait a day: what the bank
        does not take any more it says so, or is asked about, and a day's wait would be certain to be late."""
        now = self._clock.now()
        return bank.window(now, self._reference.calendar).is_open(now)

    def _rendered(self, bank: Bank, row: Mapping[str, Any], references: tuple[str, ...]) -> Rendered | None:
        payload = self._vault.unseal(bytes(row["payload"]), "submissions", row["submission_id"])
        if hashlib.sha256(payload).digest() != bytes(row["digest"]):
            log.error("payload differs from its digest", bank=bank.name, submission=row["submission_id"])
            return None
        return Rendered(
            submission=row["reference"],
            payload=payload,
            sha256=bytes(row["digest"]).hex(),
            remote_name=row["remote_name"],
            references=references,
            total_fen=row["amount_fen"],
            rendered_at=row["rendered_at"].astimezone(self._clock.now().tzinfo),
            transmission=row["transmissions"] + 1,
        )

    async def _submit(self, bank: Bank, rendered: Rendered, claim: Claim) -> list[Evidence]:
        """Touch the wire, once. What was raised is read through the wire: before or after the point of no return."""
        wire: Any = None
        evidence: list[Evidence] | None = None
        try:
            async with self._store.submissions.kept(claim), bank.transport.wire() as wire:
                with metrics.BANK_CALL_SECONDS.labels(bank=bank.name, call="submit").time():
                    async with asyncio.timeout(self._timing.bank_call_seconds):
                        evidence = await bank.adapter.submit(rendered, wire)
        except Exception as error:
            # An answer that was already there when closing the wire failed is still the answer.
            proof = proof_of_raising(wire)
            log.warning(
                "submit raised", bank=bank.name, submission=claim.submission_id, proof=proof.value, exc_info=error
            )
            evidence = evidence if evidence is not None else [Evidence(proof, code=type(error).__name__)]
        return _as_the_wire_says(wire, evidence)

    async def _hear(
        self, bank: Bank, claim: Claim, transmissions: int, sent_at: dt.datetime, evidence: list[Evidence]
    ) -> None:
        """Record the answer to a transmission, and decide when to ask about it."""
        now = self._clock.now()
        first = evidence[0] if evidence else Evidence(Proof.IN_DOUBT, code="NO_EVIDENCE")
        wait = deferral(first.proof, first.reason, transmissions)
        heard = Heard(
            bank.name,
            now,
            sent_at,
            submission_id=claim.submission_id,
            deferred_until=now + wait,
            ends_call=True,
            return_horizon_days=bank.capabilities.return_horizon_days,
            reference_length=bank.capabilities.reference_length,
            reference_alphabet=bank.capabilities.reference_alphabet,
            files_alone=bank.answers_by_files_alone,
            ask_at=now + first_question(bank, first.proof),
            configuration=bank.configuration,
        )
        recorded = await self._store.evidence.record(heard, evidence or [first])
        metrics.SUBMISSIONS.labels(bank=bank.name, proof=first.proof.value).inc()
        if recorded.given_up:
            log.error("payouts wait for people", bank=bank.name, count=recorded.given_up)
        if recorded.paused:
            log.error("bank paused", bank=bank.name, reason=first.reason.value if first.reason else "", code=first.code)
        await self._store.submissions.schedule_first(claim, now + first_question(bank, first.proof))
        if recorded.may_resolve:
            await self._store.statements.resolve(bank.name, now)
        log.info(
            "submission answered",
            bank=bank.name,
            submission=claim.submission_id,
            proof=first.proof.value,
            code=first.code,
            attempt=transmissions,
        )


def _as_the_wire_says(wire: Any, evidence: list[Evidence]) -> list[Evidence]:
    """That no byte had left is the wire's to say, not an adapter's: beyond the point of no return it is doubt."""
    if wire is None or not wire.crossed:
        return evidence
    return [replace(item, proof=Proof.IN_DOUBT) if item.proof is Proof.NOT_SENT else item for item in evidence]


def _pace(bank: Bank) -> Pace:
    return Pace(bank.capabilities.max_in_flight, bank.capabilities.submit_interval_milliseconds)


def _uptime_seconds() -> int:
    """Seconds that pass also while the process, or the whole machine, stands still."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def first_question(bank: Bank, proof: Proof) -> dt.timedelta:
    """How long to wait before asking. Doubt is asked about early; a file that is being processed is not in a hurry."""
    if proof is Proof.IN_DOUBT or bank.is_asked_early:
        return probe_delay(0)
    return dt.timedelta(seconds=bank.capabilities.acknowledgement_due_seconds)
