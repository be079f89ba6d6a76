"""Builds with one mistake each, put into the imported gateway: the sweep has to turn red on every one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final


def send_before_sending() -> None:
    """The wire is touched first, and SENDING is committed when the answer is there."""
    from gateway.dispatch import Dispatch
    from gateway.store.submissions import Claim

    async def eager(self: Any, bank: Any, row: Mapping[str, Any], claimed_at: int) -> bool:
        claim = Claim(row["submission_id"], row["batch_no"], row["fence"])
        rendered = self._rendered(bank, row, await self._store.submissions.sent_references(claim.submission_id))
        evidence = await self._submit(bank, rendered, claim)
        sent_at = await self._begin(bank, claim)
        await self._hear(bank, claim, row["transmissions"] + 1, sent_at, evidence)
        return True

    Dispatch._send_one = eager  # type: ignore[method-assign]


def marked_before_acknowledged() -> None:
    """Records are marked published, and handed to the broker afterwards."""
    from gateway.receipts import RECORDS_AT_ONCE, Relay

    async def hasty(self: Any, lane: int, fence: int) -> bool:
        rows = await self._store.outbox.waiting(lane, RECORDS_AT_ONCE)
        ids = [row["outbox_id"] for row in rows]
        if not ids or not await self._store.outbox.published(lane, self._store.owner, fence, ids, self._clock.now()):
            return False
        records = [(row["topic"], row["record_key"], bytes(row["value"])) for row in rows]
        await self._publisher.publish(lane, records)
        return True

    Relay._drain_lane = hasty  # type: ignore[method-assign]


def offset_before_intake() -> None:
    """The offset of a record is committed before the record is in the books."""
    from gateway.kafka import Inbox

    async def careless(self: Any, consumer: Any, partition: Any, records: Sequence[Any]) -> None:
        await self._commit(consumer, partition, records[-1].offset + 1)
        for record in records:
            await self._one(self._topics[partition.topic], record)

    Inbox._handle = careless  # type: ignore[method-assign]


BUILDS: Final[Mapping[str, Callable[[], None]]] = {
    "send_before_sending": send_before_sending,
    "marked_before_acknowledged": marked_before_acknowledged,
    "offset_before_intake": offset_before_intake,
}
