"""Failures: signed orders to pay a failed payout again, to cancel one, or to recall what was not sent.

Nothing is parked. An order is decided when it is read, against the latest attempt, and is either applied or refused
with a reason; whoever sent it too early sends a new one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from gateway import metrics
from gateway.approval import LAPSED, KeyRing, demand_issuer
from gateway.banks import Bank
from gateway.clock import Clock
from gateway.config import Config
from gateway.deadlines import Deadlines
from gateway.log import get_logger
from gateway.pacing import GATHERING
from gateway.policy import Changes, Corrected, Payee, Refused, judge_details
from gateway.privacy import SealBroken
from gateway.reference import Reference
from gateway.routes import route_of
from gateway.store.batches import Signed, Stored
from gateway.store.orders import OrderHead, OrderRefused, Reissue, StillJudging
from gateway.store.store import Store
from gateway.vault import Vault
from schemas.codec import Refused as Unbelieved
from schemas.codec import parse_message
from schemas.v1 import Kind, Order, OrderKind, RefusalReason

log = get_logger("failures")
_JUDGING_POLLS = 25
_JUDGING_POLL_SECONDS = 0.2


class _Nothing:
    """No change at all: the same details, the account was repaired."""

    name = id_no = phone = account = account_kind = bank_no = None


class Failures:
    """The step between signed orders and new attempts."""

    def __init__(
        self,
        store: Store,
        keyring: KeyRing,
        banks: Mapping[str, Bank],
        reference: Reference,
        vault: Vault,
        clock: Clock,
        config: Config,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._banks = banks
        self._reference = reference
        self._vault = vault
        self._clock = clock
        self._deadlines = Deadlines(reference.calendar, config)

    async def take_order(self, raw: bytes, signature: bytes | None) -> Stored:
        """One record of ``payout.orders``; raises schemas' Refused for what cannot be believed or read."""
        now = self._clock.now()
        digest = hashlib.sha256(raw).digest()
        try:
            verified = self._keyring.verify(signature, raw, Kind.ORDER, now)
        except Unbelieved as refused:
            if refused.reason in LAPSED and await self._is_known(raw, digest):
                return Stored(repeated=True)
            raise
        order = parse_message(Kind.ORDER, raw)
        demand_issuer(verified, order.issuer)
        signed = Signed(digest, verified.kid, (signature or b"").decode("ascii"), now)
        head = OrderHead(
            issuer=order.issuer,
            order_id=order.order_id,
            kind=order.kind,
            batch_id=order.batch_id,
            line=order.line,
            attempt=order.attempt,
            signed=signed,
            sealed=self._vault.seal(raw, "orders", order.issuer, order.order_id),
        )
        stored = await self._decide(head, order)
        outcome = "repeated" if stored.repeated else "refused" if stored.refused else "applied"
        metrics.ORDERS.labels(kind=order.kind.value, outcome=outcome).inc()
        if order.kind is not OrderKind.REISSUE or stored.refused:
            log.info("order decided", kind=order.kind.value, outcome=outcome, order_id=order.order_id)
        return stored

    async def _is_known(self, raw: bytes, digest: bytes) -> bool:
        """Whether these bytes were decided while their key was good: a record read again, not a new order."""
        try:
            order = parse_message(Kind.ORDER, raw)
        except Unbelieved:
            return False
        return await self._store.batches.is_known(order.issuer, order.order_id, None, digest)

    async def _decide(self, head: OrderHead, order: Order) -> Stored:
        for _ in range(_JUDGING_POLLS):
            try:
                return await self._store.orders.decide(
                    head, lambda batch, payout, latest: self._prepare(order, batch, payout, latest)
                )
            except StillJudging:
                await asyncio.sleep(_JUDGING_POLL_SECONDS)
        raise TimeoutError("the batch is still being judged; the order is read again")

    def _prepare(
        self, order: Order, batch: Mapping[str, Any], payout: Mapping[str, Any], latest: Mapping[str, Any]
    ) -> Reissue:
        """Where and with which details the next attempt goes; OrderRefused when it cannot."""
        now = self._clock.now()
        key = payout["payout_id"]
        try:
            before = self._before(payout, latest)
        except SealBroken:
            log.error("kept details do not open", batch=batch["batch_no"], order_id=order.order_id)
            raise OrderRefused(RefusalReason.DETAILS_INVALID, "the kept details do not open") from None
        changes: Changes = order.details or _Nothing()
        programme = self._reference.programmes.get(batch["programme"])
        if programme is None:
            raise OrderRefused(RefusalReason.DETAILS_INVALID, "the programme is not in the table any more")
        verdict = judge_details(self._reference.rules(programme, batch["county"], now.date()), before, changes)
        if isinstance(verdict, Refused):
            raise OrderRefused(RefusalReason.DETAILS_INVALID, f"{verdict.reason.value}: {verdict.detail}")
        bank = self._banks.get(verdict.agreement.bank)
        if bank is None:
            raise OrderRefused(RefusalReason.DETAILS_INVALID, "no configured bank serves that agreement")
        person = self._vault.person(verdict.payee.id_no)
        limit_at = self._deadlines.limit(now)
        return Reissue(
            bank=bank.name,
            bank_no=verdict.payee.bank_no,
            county=batch["county"],
            route=route_of(verdict.agreement, bank),
            has_phone=verdict.payee.phone is not None,
            person=person if order.details is not None and order.details.id_no is not None else None,
            seal=lambda order_no: self._seal(verdict, before, latest, key, order_no),
            limit_at=limit_at,
            hold_at=self._deadlines.hold_before(limit_at),
            gather_until=now + GATHERING,
        )

    def _before(self, payout: Mapping[str, Any], latest: Mapping[str, Any]) -> Payee:
        """The details of the latest attempt: corrected ones where an order brought any."""
        if latest["sealed"] is not None:
            return self._vault.payee(bytes(latest["sealed"]), payout["payout_id"], latest["order_no"])
        return self._vault.payee(bytes(payout["sealed"]), payout["payout_id"])

    def _seal(
        self, verdict: Corrected, before: Payee, latest: Mapping[str, Any], key: int, order_no: int
    ) -> bytes | None:
        """None where the payout's own details still hold."""
        if verdict.payee == before and latest["sealed"] is None:
            return None
        return self._vault.seal_payee(verdict.payee, key, order_no)
