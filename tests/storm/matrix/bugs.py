"""Three builds broken on purpose, planted into a gateway process by `build.py`: what misses one proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway import metrics
from gateway.receipts import Relay
from tests.storm.model.bugs import commit_after_the_call, resend_on_timeout


def published_before_sent(patch: pytest.MonkeyPatch) -> None:
    """Records are marked as published and then published: what happens in between is lost."""

    async def drain_lane(self: Relay, lane: int, fence: int) -> bool:
        rows = await self._store.outbox.waiting(lane, 50)
        if not rows:
            return False
        ids = [row["outbox_id"] for row in rows]
        if not await self._store.outbox.published(lane, self._store.owner, fence, ids, self._clock.now()):
            return False
        await self._publisher.publish(lane, [(row["topic"], row["record_key"], bytes(row["value"])) for row in rows])
        for row in rows:
            metrics.RECORDS_PUBLISHED.labels(topic=row["topic"], outcome="acknowledged").inc()
        return True

    patch.setattr(Relay, "_drain_lane", drain_lane)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug for bug in (commit_after_the_call, resend_on_timeout, published_before_sent)
}


def plant(name: str) -> None:
    """Lay one bug over this process, for good."""
    BUGS[name](pytest.MonkeyPatch())
