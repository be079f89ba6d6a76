"""Intake: signed batch parts and fundings are verified and stored once; whole lists are judged line by line.

A message is answered before its offset is committed: stored, recognised as identical bytes (a counted no-op), or
refused with a reason on ``payout.refusals``. Lines are judged only when every part is in, in line order, so the first
of a duplicate pair stays whatever order the parts arrived in.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from gateway import metrics
from gateway.approval import LAPSED, KeyRing, Verified, demand_issuer
from gateway.clock import Clock
from gateway.config import Config
from gateway.deadlines import Deadlines
from gateway.log import get_logger
from gateway.overdue import Overdue
from gateway.policy import DUPLICATE, Approved, Binding, Rules, judge, person_without_account
from gateway.policy import Refused as Unpaid
from gateway.reference import Reference
from gateway.store.batches import ApprovedLine, Judging, PartHead, RefusedLine, Signed, Stored
from gateway.store.engine import lost_race, outage
from gateway.store.ids import payout_id
from gateway.store.refusing import refusal
from gateway.store.store import Store
from gateway.vault import Vault
from schemas.codec import Refused, parse_accepted, parse_message
from schemas.masked import Masked
from schemas.money import AS_WRITTEN_PATTERN, fen_from_yuan_text, sum_as_written
from schemas.v1 import BatchPart, Kind, LineReason, ListLine, RefusalReason

log = get_logger("intake")
REST_AFTER_FAILURE = dt.timedelta(minutes=10)
RACES_ALLOWED = 20  # of one part, in a row: whoever loses more often has met something else
_AS_WRITTEN = re.compile(AS_WRITTEN_PATTERN).fullmatch


class Intake:
    """The step between Kafka and the books."""

    def __init__(
        self, store: Store, keyring: KeyRing, reference: Reference, vault: Vault, clock: Clock, config: Config
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._reference = reference
        self._vault = vault
        self._clock = clock
        self._overdue = Overdue(dt.timedelta(hours=config.gateway.parts_wait_hours))
        self._deadlines = Deadlines(reference.calendar, config)
        self._resting: dict[int, dt.datetime] = {}  # batches whose judging failed, until it is tried again
        self._races: Counter[int] = Counter()  # by batch: judgings in a row that another one overtook

    async def take_batch(self, raw: bytes, signature: bytes | None) -> Stored:
        """One record of ``payout.batches``; raises Refused for what cannot be believed or read."""
        now = self._clock.now()
        verified = await self._verified(Kind.BATCH, raw, signature, now)
        if verified is None:
            return Stored(repeated=True)
        part = parse_message(Kind.BATCH, raw)
        demand_issuer(verified, part.issuer)
        head = _part_head(part)
        if part.programme not in self._reference.programmes:
            raise Refused(RefusalReason.UNKNOWN_PROGRAMME, "no such programme in the table of programmes")
        signed = _signed(raw, verified, signature, now)
        return await self._store.batches.keep_part(
            head,
            signed,
            now + self._overdue.wait,
            lambda batch_no: self._vault.seal(raw, "batch_parts", batch_no, part.part),
        )

    async def take_funding(self, raw: bytes, signature: bytes | None) -> Stored:
        """One record of ``payout.funding``; raises Refused."""
        now = self._clock.now()
        verified = await self._verified(Kind.FUNDING, raw, signature, now)
        if verified is None:
            return Stored(repeated=True)
        funding = parse_message(Kind.FUNDING, raw)
        demand_issuer(verified, funding.issuer)
        amount_fen = fen_from_yuan_text(funding.amount)
        if amount_fen == 0:
            raise Refused(RefusalReason.FUNDS_MISMATCH, "a funding of nothing")
        return await self._store.batches.keep_funding(
            funding.issuer,
            funding.funding_id,
            funding.batch_id,
            amount_fen,
            min(funding.received_at, now),
            _signed(raw, verified, signature, now),
            raw,
        )

    async def _verified(
        self, kind: Literal[Kind.BATCH, Kind.FUNDING], raw: bytes, signature: bytes | None, now: dt.datetime
    ) -> Verified | None:
        """Who approved a message; None for one that was accepted before and whose key has lapsed since."""
        try:
            return self._keyring.verify(signature, raw, kind, now)
        except Refused as refused:
            if refused.reason in LAPSED and await self._is_known(kind, raw):
                return None
            raise

    async def _is_known(self, kind: Literal[Kind.BATCH, Kind.FUNDING], raw: bytes) -> bool:
        """Whether these bytes were accepted while their key was good: a record read again, not a new approval."""
        known = self._store.batches.is_known
        try:
            if kind is Kind.BATCH:
                part = parse_message(Kind.BATCH, raw)
                return await known(part.issuer, part.batch_id, part.part, _digest(raw))
            funding = parse_message(Kind.FUNDING, raw)
            return await known(funding.issuer, funding.funding_id, None, _digest(raw))
        except Refused:
            return False

    async def judge_next(self) -> bool:
        """Judge one part of the oldest complete list; whether there was one."""
        now = self._clock.now()
        self._resting = {batch: until for batch, until in self._resting.items() if until > now}
        batch_no = 0
        try:
            async with self._store.batches.judging(sorted(self._resting)) as judging:
                if judging is None:
                    return False
                batch_no = judging.batch["batch_no"]
                await self._judge(judging)
        except Exception as error:
            if lost_race(error):  # another batch approved one of these people meanwhile: judge the part again
                self._races[batch_no] += 1
                if self._races[batch_no] < RACES_ALLOWED:
                    return True
            if outage(error):  # nothing is wrong with the batch: the step comes again when the database does
                raise
            self._resting[batch_no] = now + REST_AFTER_FAILURE  # so that it holds no other batch up
            log.error("batch cannot be judged", batch=batch_no, exc_info=error)
        self._races.pop(batch_no, None)
        return True

    async def start_clocks(self) -> bool:
        """Start the clock of every batch whose money covers its approved lines."""
        started = await self._store.batches.start_clocks(self._clock.now(), self._deadlines.of_batch)
        for batch_no in started:
            log.info("batch funded", batch=batch_no)
        return bool(started)

    async def refuse_overdue(self) -> bool:
        """Answer batches whose parts never all came with PART_MISSING; ``gateway.overdue`` says when."""
        waiting = await self._store.batches.waiting_for_parts()
        now = self._clock.now()
        given_up = self._overdue.look(waiting, now, self._clock.steady_since)
        if not given_up:
            return False
        count = await self._store.batches.refuse_overdue(
            given_up,
            now,
            lambda row: refusal(
                Kind.BATCH,
                RefusalReason.PART_MISSING,
                "not all parts of the batch arrived in time",
                now,
                issuer=row["issuer"],
                batch_id=row["batch_id"],
            ),
        )
        if count:
            metrics.REFUSALS.labels(reason=RefusalReason.PART_MISSING.value).inc(count)
            log.error("parts missing", count=count, reason=RefusalReason.PART_MISSING.value)
        return count > 0

    async def _judge(self, judging: Judging) -> None:
        batch = judging.batch
        now = self._clock.now()
        raw = self._vault.unseal(judging.sealed, "batch_parts", batch["batch_no"], judging.part)
        part = parse_accepted(raw)
        verdicts = await self._verdicts(judging, part.items, now.date())
        people = {
            line.line: self._vault.person(verdict.payee.id_no)
            for line, verdict in verdicts
            if isinstance(verdict, Approved)
        }
        taken = await judging.already_approved(list(people.values()))
        approved: list[ApprovedLine] = []
        refused: list[RefusedLine] = []
        for line, verdict in verdicts:
            if isinstance(verdict, Unpaid):
                refused.append(self._refused(batch["batch_no"], line, verdict))
                continue
            person = people[line.line]
            if person in taken:
                refused.append(self._refused(batch["batch_no"], line, _duplicate()))
                continue
            taken.add(person)
            approved.append(self._approved(batch["batch_no"], line, person, verdict))
        state = await judging.finish(approved, refused, now)
        metrics.LINES.labels(outcome="approved", reason=metrics.NO_REASON).inc(len(approved))
        for one in refused:
            metrics.LINES.labels(outcome="refused", reason=one.reason).inc()
        no = batch["batch_no"]
        log.info("part judged", batch=no, part=judging.part, state=state, lines=len(approved), refused=len(refused))

    async def _verdicts(
        self, judging: Judging, lines: Sequence[ListLine], day: dt.date
    ) -> list[tuple[ListLine, Approved | Unpaid]]:
        """Each line with what is to become of it, but for duplicates."""
        programme = self._reference.programmes.get(judging.batch["programme"])
        if programme is None:  # taken out of the table after the batch was accepted
            return [(line, Unpaid(LineReason.OUT_OF_SCOPE, "unknown programme")) for line in lines]
        rules = self._reference.rules(programme, judging.batch["county"], day)
        bindings = await self._bindings(judging, rules, lines)
        return [(line, judge(rules, line, bindings.get(line.line))) for line in lines]

    async def _bindings(self, judging: Judging, rules: Rules, lines: Sequence[ListLine]) -> dict[int, Binding]:
        """Accounts kept for people whose line names none, by line number."""
        people: dict[int, UUID] = {}
        for line in lines:
            id_no = person_without_account(rules, line)
            if id_no is not None:
                people[line.line] = self._vault.person(id_no)
        if not people:
            return {}
        kept = await judging.bindings(list(people.values()))
        return {line: self._vault.binding(kept[person], person) for line, person in people.items() if person in kept}

    def _approved(self, batch_no: int, line: ListLine, person: UUID, verdict: Approved) -> ApprovedLine:
        key = payout_id(batch_no, line.line)
        return ApprovedLine(
            line=line.line,
            beneficiary=person,
            bank=verdict.agreement.bank,
            bank_no=verdict.payee.bank_no,
            amount_fen=verdict.amount_fen,
            has_phone=verdict.payee.phone is not None,
            sealed=self._vault.seal_payee(verdict.payee, key),
        )

    def _refused(self, batch_no: int, line: ListLine, verdict: Unpaid) -> RefusedLine:
        return RefusedLine(
            line=line.line,
            reason=verdict.reason.value,
            detail=verdict.detail,
            amount_text=line.amount if _AS_WRITTEN(line.amount) else "0.00",
            sealed=self._vault.seal(_raw_fields(line), "refused_lines", batch_no, line.line),
        )


def _duplicate() -> Unpaid:
    return Unpaid(LineReason.DUPLICATE_BENEFICIARY, DUPLICATE)


def _raw_fields(line: ListLine) -> bytes:
    """A refused line exactly as it was written; sealed at once."""
    fields = {name: value.reveal() if isinstance(value, Masked) else value for name, value in line}
    return json.dumps(fields, ensure_ascii=False).encode()


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def _signed(raw: bytes, verified: Verified, signature: bytes | None, now: dt.datetime) -> Signed:
    return Signed(_digest(raw), verified.kid, (signature or b"").decode("ascii"), now)


def _part_head(part: BatchPart) -> PartHead:
    """What the store keeps of a part; Refused where its line numbers do not run on."""
    numbers = [line.line for line in part.items]
    first = numbers[0]
    if numbers != list(range(first, first + len(numbers))):
        raise Refused(RefusalReason.DUPLICATE_LINE, "line numbers in a part run on without gap or repetition")
    shared: dict[str, Any] = part.model_dump(mode="json", by_alias=True, exclude={"part", "items"})
    return PartHead(
        issuer=part.issuer,
        batch_id=part.batch_id,
        county=part.county,
        programme=part.programme,
        period=part.period,
        document_no=part.document_no,
        finance_bureau=part.finance_bureau,
        line_department=part.line_department,
        list_received_at=part.list_received_at,
        parts=part.parts,
        lines=part.lines,
        amount=part.amount,
        head_digest=hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).digest(),
        part=part.part,
        first_line=first,
        lines_here=len(numbers),
        amount_here=sum_as_written(line.amount for line in part.items),
    )
