"""Receipts: drains the outbox to Kafka, and makes the batch reports that counting makes due.

The relay claims a lane under a fenced lease, publishes its oldest records in order, waits for the broker, and only then
marks them. Killed in between, the next one publishes the same bytes again: at least once, byte-identical, in order. A
publish that timed out is in doubt and goes again; readers deduplicate by ``receipt_id`` (see ``schemas/README.md``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gateway import metrics
from gateway.clock import Clock
from gateway.log import get_logger
from gateway.store.outbox import Record, batch_key
from gateway.store.reads import BUCKETS, Count
from gateway.store.staging import RECEIPT_PROMISE, head
from gateway.store.store import Store
from schemas.codec import encode
from schemas.money import billionths_of_sum, sum_text, yuan_text_from_fen
from schemas.v1 import BatchReport, RefusedTally, Tally

log = get_logger("receipts")
RECORDS_AT_ONCE = 50
BILLIONTHS_OF_A_FEN = 10**7
LONGEST_ID = 100  # of a message


class PublishInDoubt(Exception):
    """The broker did not acknowledge in time. The records stay where they are and go again, byte for byte."""


class Publisher(Protocol):
    """Kafka, as the relay sees it."""

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        """Publish (topic, key, value) in order and wait for all acknowledgements; PublishInDoubt otherwise."""


class Relay:
    """Drains lanes and stages reports."""

    def __init__(self, store: Store, publisher: Publisher, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def drain(self) -> bool:
        """Publish the oldest records of every lane that this process can claim; whether anything was published."""
        published = False
        failure: Exception | None = None
        for lane in await self._store.outbox.lanes():
            try:
                fence = await self._store.submissions.lease(f"lane-{lane}")
                if fence is not None:
                    published = await self._drain_lane(lane, fence) or published
            except Exception as error:  # one lane that cannot be drained holds no other up
                failure = error
        if failure is not None:
            raise failure
        return published

    async def _drain_lane(self, lane: int, fence: int) -> bool:
        rows = await self._store.outbox.waiting(lane, RECORDS_AT_ONCE)
        if not rows:
            return False
        try:
            await self._publisher.publish(
                lane, [(row["topic"], row["record_key"], bytes(row["value"])) for row in rows]
            )
        except PublishInDoubt:
            for row in rows:
                metrics.RECORDS_PUBLISHED.labels(topic=row["topic"], outcome="in_doubt").inc()
            raise
        if await self._store.submissions.lease(f"lane-{lane}") != fence:  # renewed: publishing may outlast a lease
            log.warning("lane fenced after publishing", lane=lane, count=len(rows))
            return False
        now = self._clock.now()
        ids = [row["outbox_id"] for row in rows]
        if not await self._store.outbox.published(lane, self._store.owner, fence, ids, now):
            log.warning("lane fenced after publishing", lane=lane, count=len(ids))
            return False
        log.info("records published", lane=lane, count=len(rows), bytes=sum(len(row["value"]) for row in rows))
        for row in rows:
            metrics.RECORDS_PUBLISHED.labels(topic=row["topic"], outcome="acknowledged").inc()
            if row["topic"] == "receipts":
                metrics.RECEIPT_SLACK_SECONDS.observe((row["due_at"] - now).total_seconds())
        return True

    async def report(self, batch_no: int) -> str | None:
        """Count one batch and stage the report that this makes due; its kind, or None."""
        now = self._clock.now()
        kind = await self._store.reads.count_and_report(
            batch_no,
            now,
            lambda batch, count, reasons, revision, kind: _report(batch, count, reasons, revision, kind, now),
        )
        if kind is not None:
            log.info("batch reported", batch=batch_no, kind=kind)
        return kind


def _report(
    batch: Mapping[str, Any], count: Count, reasons: Mapping[str, int], revision: int, kind: str, now: dt.datetime
) -> Record:
    """The control totals of a batch as a record for ``payout.batch-reports``."""
    tallies = {
        bucket: Tally(count=count.payouts[bucket], amount=yuan_text_from_fen(count.amount_fen[bucket]))
        for bucket in BUCKETS
    }
    message = BatchReport.model_validate(
        {
            "schema": "payout.batch-report/v1",
            "report_id": _report_id(batch["issuer"], batch["batch_id"], revision),
            **head(batch),
            "revision": revision,
            "kind": kind,
            "issued_at": now,
            "list_received_at": batch["list_received_at"],
            "funds_received_at": batch["funds_received_at"],
            "clock_started_at": batch["clock_started_at"],
            "limit_at": batch["limit_at"],
            "target_at": batch["target_at"],
            "feedback_due_at": batch["feedback_due_at"],
            "lines": batch["lines"],
            "refused": RefusedTally(count=batch["refused_lines"], amount=_refused_amount(batch)),
            "approved": Tally(count=batch["approved_lines"], amount=yuan_text_from_fen(batch["approved_fen"])),
            **tallies,
            "late": Tally(count=count.late, amount=yuan_text_from_fen(count.late_fen)),
            "reasons": dict(reasons),
        },
        strict=False,
    )
    due = now + RECEIPT_PROMISE
    return Record("batch-reports", batch_key(batch["issuer"], batch["batch_id"]), encode(message), now, due)


def _report_id(issuer: str, batch_id: str, revision: int) -> str:
    """Readable where it fits; never cut, or all revisions of a batch with a long name would be one report."""
    name = f"{issuer}/{batch_id}/{revision}"
    return name if len(name) <= LONGEST_ID else hashlib.sha256(name.encode()).hexdigest()


def _refused_amount(batch: Mapping[str, Any]) -> str:
    """What the refused lines ask for, as written: the list's exact sum less the approved amounts."""
    return sum_text(billionths_of_sum(batch["amount_written"]) - batch["approved_fen"] * BILLIONTHS_OF_A_FEN)
