"""Verify: keeps asking the banks what happened, collects what they publish, takes their callbacks. Sends nothing.

Theory of operation
-------------------

Doubt ends only by evidence, and evidence comes in three ways that all end in ``store.evidence.record``:

* **probe**: a read-only question about one submission, on a front-loaded schedule (a minute, five, fifteen, an hour,
  then hourly), and daily inside the return horizon for banks that do not publish returns as files. A bank that gives
  no query is never asked: its doubt ends by what it publishes, or by people. Every question waits for its turn at the
  bank's login; where the transport cannot count them (``TakesTurns``), a conversation is one question;
* **collect**: result files and statements, one collector a bank at a time under a lease. The order is: fetch, archive
  (sealed), record, move the cursor, and only then settle at the bank's side. A crash anywhere reads a file twice, and
  reading twice is a no-op. One unreadable file is quarantined with a reason; the others go on. A statement is, once
  its evidence is recorded, held against the books as well (``store.statements``);
* **callback**: verified, archived, and (unless the agreement says that a signed callback is proof) used only as a
  reason to ask at once.

A probe that fails is not evidence of anything: it is asked again later. Three things here are not evidence but the
passing of time: a SENDING whose process is gone, silence past the bank's due time, and doubt close to the limit.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from adapters.contract import (
    AnswerKind,
    Artefact,
    Booking,
    CallbackRefused,
    Evidence,
    GivesStatements,
    NotFound,
    NoTurn,
    Proof,
    Reason,
    Rendered,
    Statement,
    TakesCallbacks,
    Unreadable,
)
from gateway import metrics
from gateway.banks import Bank
from gateway.clock import Clock
from gateway.config import Config
from gateway.log import get_logger
from gateway.pacing import RETURN_WATCH, deferral, probe_delay, turns_within
from gateway.store.evidence import Heard, Recorded
from gateway.store.foreign import foreign_name
from gateway.store.store import Store
from gateway.store.submissions import claim_of
from gateway.store.turns import Login
from gateway.vault import Vault

log = get_logger("verify")
PROBED_AT_ONCE = 4
UNMATCHED_TOLD = 10  # of one answer: a bank that names a thousand strangers shall not flood the log
DEBITED = "STATEMENT:DEBIT"  # what stands in the place of a bank's code for what its statement debited
PROBE_TRIES = 2  # a question may be repeated; a payment may not


def unread(error: Exception) -> str:
    """Why an artefact is set aside, without its content: only ``Unreadable`` promises not to quote it."""
    if isinstance(error, Unreadable):
        return str(error)[:200]
    # What the contract's own types refuse is a ValueError; anything else is a mistake of the adapter's.
    return "UNFIT" if isinstance(error, ValueError) else f"FAULT {type(error).__name__}"


class Verify:
    """Asks, collects and listens."""

    def __init__(self, store: Store, banks: Mapping[str, Bank], vault: Vault, clock: Clock, config: Config) -> None:
        self._store = store
        self._banks = banks
        self._vault = vault
        self._clock = clock
        self._call_seconds = config.timing.bank_call_seconds
        self._patience_seconds = config.timing.lease_seconds // 2  # a turn is waited for well inside a claim's lease

    # -- the passing of time

    async def doubt_abandoned(self) -> bool:
        """Fence off processes that died while sending; their submissions are asked about at once."""
        now = self._clock.now()
        # Fenced is not dead: it may be cut off from the books alone, with its call under way. That call is limited in
        # real time, which is longer on a scaled clock.
        call_over_at = now + dt.timedelta(seconds=self._call_seconds * self._clock.scale)
        count = await self._store.submissions.doubt_abandoned(now, call_over_at)
        if count:
            log.warning("abandoned sendings are in doubt", count=count)
        return count > 0

    async def watch_time(self, bank: Bank) -> bool:
        """Silence past the bank's due time is doubt; doubt close to the limit is held and pages."""
        now = self._clock.now()
        silent = await self._store.submissions.doubt_silent(bank.name, now)
        held = await self._store.submissions.hold_doubts(bank.name, now)
        if held:
            log.error("submissions held", bank=bank.name, count=held)
        return silent + held > 0

    # -- questions

    async def probe(self, bank: Bank) -> bool:
        """Ask about what is due; whether anything was."""
        if bank.capabilities.not_found is NotFound.NO_QUERY:
            return False
        interval = bank.capabilities.probe_interval_milliseconds
        questions = bank.capabilities.questions_at_once if bank.takes_turns else 1
        limit = turns_within(self._patience_seconds, interval * questions, PROBED_AT_ONCE)
        rows = await self._store.submissions.claim_to_probe(bank.name, self._clock.now(), limit)
        if not rows:
            return False
        outcomes = await asyncio.gather(*(self._probe_one(bank, row) for row in rows), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return any(outcomes)

    async def _probe_one(self, bank: Bank, row: Mapping[str, Any]) -> bool:
        """Whether it was dealt with; False: the bank's pace leaves no turn for this question now."""
        claim = claim_of(dict(row))
        if row["state"] == "CLOSED" and AnswerKind.FILE in bank.capabilities.answers:
            await self._store.submissions.schedule(claim, None)  # this bank publishes its returns as files
            return True
        rendered = await self._rendered(row)
        if not await self._turn(bank):
            await self._store.submissions.release(claim)
            return False
        asked_at = self._clock.now()
        try:
            async with self._store.submissions.kept(claim):
                evidence, artefacts = await self._ask(bank, rendered)
        except NoTurn:
            await self._store.submissions.release(claim)
            return False
        except Exception as error:
            metrics.PROBES.labels(bank=bank.name, outcome="unanswered").inc()
            log.warning("probe unanswered", bank=bank.name, submission=claim.submission_id, exc_info=error)
        else:
            metrics.PROBES.labels(bank=bank.name, outcome="answered").inc()
            news = await self._store.evidence.news(bank.name, evidence)
            await self._hear(bank, asked_at, news, artefacts, submission_id=claim.submission_id)
        await self._store.submissions.schedule(claim, self._next_question(bank, row))
        return True

    def _next_question(self, bank: Bank, row: Mapping[str, Any]) -> dt.datetime | None:
        if row["state"] == "CLOSED":
            tomorrow = self._clock.now() + RETURN_WATCH
            return tomorrow if row["watch_until"] is not None and tomorrow <= row["watch_until"] else None
        delay = probe_delay(row["probes"] + 1)
        if not bank.is_asked_early and row["state"] in ("SUBMITTED", "ACCEPTED"):
            delay = max(delay, dt.timedelta(seconds=bank.capabilities.acknowledgement_due_seconds))
        return self._clock.now() + delay

    async def _turn(self, bank: Bank) -> bool:
        """Wait for the turn of one question, outside any transaction; False when none comes within our patience.

        Where the transport takes turns, each question waits for its own, inside the call.
        """
        if bank.takes_turns:
            return True
        try:
            await Login(self._store.limits, bank, self._patience_seconds * 1000).conversation()()
        except NoTurn:
            return False
        return True

    async def _rendered(self, row: Mapping[str, Any]) -> Rendered:
        payload = self._vault.unseal(bytes(row["payload"]), "submissions", row["submission_id"])
        return Rendered(
            submission=row["reference"],
            payload=payload,
            sha256=hashlib.sha256(payload).hexdigest(),
            remote_name=row["remote_name"],
            references=await self._store.submissions.sent_references(row["submission_id"]),
            total_fen=row["amount_fen"],
            rendered_at=row["rendered_at"].astimezone(self._clock.now().tzinfo),
            transmission=row["transmissions"],
        )

    async def _ask(self, bank: Bank, rendered: Rendered) -> tuple[list[Evidence], Sequence[Artefact]]:
        """One question, repeated once when the connection failed and the bank's pace has room: asking is harmless."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(PROBE_TRIES),
            wait=wait_random_exponential(multiplier=0.1, max=1),
            retry=retry_if_exception_type((OSError, TimeoutError)),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    if attempt.retry_state.attempt_number > 1 and not await self._turn(bank):
                        raise TimeoutError
                    async with bank.transport.wire() as wire:
                        with metrics.BANK_CALL_SECONDS.labels(bank=bank.name, call="probe").time():
                            async with asyncio.timeout(self._call_seconds):
                                return await bank.adapter.probe(rendered, wire), wire.artefacts
        except RetryError as error:
            raise error.last_attempt.exception() or error from None
        raise RuntimeError("unreachable: the retry either returns or raises")

    # -- what banks publish

    async def collect(self, bank: Bank) -> bool:
        """Collect new artefacts of a bank that publishes files; whether there were any."""
        if AnswerKind.FILE not in bank.capabilities.answers:
            return False
        if await self._store.submissions.lease(f"collect-{bank.name}") is None:
            return False
        if not await self._turn(bank):
            return False
        try:
            return await self._collect(bank)
        except NoTurn:
            return False

    async def _collect(self, bank: Bank) -> bool:
        found = False
        cursor = await self._store.submissions.cursor(bank.name)
        async with bank.transport.wire() as wire:
            asked_at = self._clock.now()
            with metrics.BANK_CALL_SECONDS.labels(bank=bank.name, call="collect").time():
                async with asyncio.timeout(self._call_seconds):
                    async for artefact, reached in bank.adapter.collect(wire, cursor):
                        found = True
                        await self._take_artefact(bank, artefact, asked_at)
                        await self._store.submissions.move_cursor(bank.name, reached)
                        await bank.adapter.settle(artefact, wire)
                        if await self._store.submissions.lease(f"collect-{bank.name}") is None:
                            return True
        return found

    async def _take_artefact(self, bank: Bank, artefact: Artefact, asked_at: dt.datetime) -> None:
        """Archive and record one artefact. What cannot be trusted as a whole yields nothing and is set aside."""
        adapter = bank.adapter
        try:
            evidence = list(adapter.parse(artefact))
            statement = adapter.statement(artefact) if isinstance(adapter, GivesStatements) else None
        except Exception as error:  # readers are pure: whatever one raises is about these bytes, and holds no others up
            await self._keep(bank, artefact, quarantined=unread(error))
            return
        await self._keep(bank, artefact, quarantined=None)
        debits = [entry for entry in statement.entries if entry.booking is Booking.DEBIT] if statement else []
        debited = frozenset(name for entry in debits if (name := entry.reference or entry.submission))
        await self._hear(bank, asked_at, evidence, (), published=True, debited=debited)
        if statement is not None:
            await self._reconcile(bank, replace(statement, artefact=artefact.sha256), asked_at)

    async def _reconcile(self, bank: Bank, statement: Statement, asked_at: dt.datetime) -> None:
        """Hold a statement against the books. A debit of another amount than approved contradicts its line (D6)."""
        reconciled = await self._store.statements.reconcile(bank.name, statement, self._clock.now())
        # Also of a statement that was read before: the process may have died between the two.
        contradictions = [
            Evidence(
                Proof.CREDITED,  # of an amount that is not the line's: a contradiction in every state, never a credit
                reference=row["reference"],
                amount_fen=row["booked_fen"],
                code=DEBITED,
                host_reference=row["host_reference"],
                post_date=row["day"],
                artefact=statement.artefact,
            )
            for row in reconciled.wrong_debits
        ]
        await self._hear(bank, asked_at, contradictions, ())
        if not reconciled.is_new:
            return
        digest, differences = statement.artefact[:12], reconciled.differences.total()
        if differences:
            log.error("statement differs", bank=bank.name, at=statement.day, digest=digest, count=differences)
        log.info("statement reconciled", bank=bank.name, at=statement.day, digest=digest, lines=len(statement.entries))

    async def _keep(self, bank: Bank, artefact: Artefact, quarantined: str | None) -> None:
        sealed = self._vault.seal(artefact.content, "artefacts", bank.name, artefact.sha256)
        new = await self._store.evidence.keep_artefact(
            bank.name, bytes.fromhex(artefact.sha256), artefact.name, sealed, self._clock.now(), quarantined
        )
        if quarantined is not None and new:
            metrics.QUARANTINED.labels(bank=bank.name, reason="unreadable").inc()
            digest = artefact.sha256[:12]
            log.error("artefact quarantined", bank=bank.name, file=artefact.name, digest=digest, reason=quarantined)

    # -- what banks tell us

    async def callback(self, bank: Bank, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """Verify and store one callback; CallbackRefused when it is not believed. Returns when it is stored."""
        if not isinstance(bank.adapter, TakesCallbacks):
            raise CallbackRefused("NOT_AGREED")
        callback = bank.adapter.verify_callback(method, path, headers, body, self._clock.wall())
        digest = bytes.fromhex(callback.artefact.sha256)
        asked_at = self._clock.now()
        if await self._store.evidence.seen_otherwise(bank.name, callback.event_id, digest):
            raise CallbackRefused("REPLAYED")  # a known event with other content proves nothing, and is not read
        try:
            # Recorded before it is remembered: a crash in between makes a repeat, and repeats are no-ops.
            evidence = list(bank.adapter.parse(callback.artefact))
        except (Unreadable, ValueError):
            raise CallbackRefused("UNREADABLE") from None
        await self._keep(bank, callback.artefact, quarantined=None)
        if bank.capabilities.callback_is_proof:
            await self._hear(bank, asked_at, evidence, ())
        elif not evidence or await self._store.evidence.news(bank.name, evidence):
            await self._store.submissions.ask_now(bank.name, callback.submissions, asked_at)
        try:
            new = await self._store.evidence.first_seen(bank.name, callback.event_id, digest, asked_at)
        except ValueError:
            raise CallbackRefused("REPLAYED") from None
        metrics.CALLBACKS.labels(bank=bank.name, outcome="accepted" if new else "repeated").inc()

    # -- the common end

    async def _hear(
        self,
        bank: Bank,
        asked_at: dt.datetime,
        evidence: list[Evidence],
        artefacts: Sequence[Artefact],
        *,
        submission_id: int | None = None,
        published: bool = False,
        debited: frozenset[str] = frozenset(),
    ) -> Recorded | None:
        """Archive what proves money and record what it proves."""
        if not evidence:
            return None
        proving = {e.artefact for e in evidence if e.proof in (Proof.CREDITED, Proof.RETURNED, Proof.REJECTED)}
        for artefact in artefacts:
            if artefact.sha256 in proving:
                await self._keep(bank, artefact, quarantined=None)
        now = self._clock.now()
        can = bank.capabilities
        refused = next((e for e in evidence if e.reference is None and e.proof is Proof.NOT_TAKEN), None)
        wait = deferral(Proof.NOT_TAKEN, refused.reason if refused else None, 1)
        heard = Heard(
            bank.name,
            now,
            asked_at,
            settling_seconds=can.settling_seconds if can.not_found is NotFound.AUTHORITATIVE else None,
            submission_id=submission_id,
            deferred_until=now + wait,
            published=published,
            return_horizon_days=can.return_horizon_days,
            reference_length=can.reference_length,
            reference_alphabet=can.reference_alphabet,
            files_alone=bank.answers_by_files_alone,
            configuration=bank.configuration,
            debited=debited,
            steady_since=self._clock.steady_since,
        )
        recorded = await self._store.evidence.record(heard, evidence)
        if recorded.may_resolve:
            await self._store.statements.resolve(bank.name, now)
        unknown = sum(1 for e in evidence if e.proof is Proof.IN_DOUBT and e.reason is Reason.UNKNOWN)
        if unknown:
            metrics.UNKNOWN_CODES.labels(bank=bank.name).inc(unknown)
        if recorded.settled or recorded.conflicts:
            log.info("evidence recorded", bank=bank.name, count=recorded.settled, lines=len(evidence))
        for item in recorded.unmatched[:UNMATCHED_TOLD]:
            log.warning(
                "evidence unmatched",
                bank=bank.name,
                reference=foreign_name(item.reference),  # none of ours: a bank may have put anything there
                submission=foreign_name(item.submission),
                proof=item.proof.value,
                digest=(item.artefact or "")[:12],
            )
        for reference in recorded.unexplained[:UNMATCHED_TOLD]:
            log.error("money unexplained", bank=bank.name, reference=reference)
        if recorded.conflicts:
            log.error("payouts frozen", bank=bank.name, count=recorded.conflicts)
        if recorded.given_up:
            log.error("payouts wait for people", bank=bank.name, count=recorded.given_up)
        if recorded.paused:
            log.error("bank paused", bank=bank.name)
        return recorded
