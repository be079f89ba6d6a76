"""Builds with one mistake each, put into the imported gateway: the sweep has to turn red on every one of them.

Where a mistake is the kill matrix's too, it is that one. The gateway is imported inside, after it was woven.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def plant(build: str) -> None:
    """Lay one build over this process, for good."""
    if build == "offset_before_intake":
        _offset_before_intake()
        return
    from tests.storm.matrix import bugs

    bugs.plant(build)


def _offset_before_intake() -> None:
    """The offset of a record is committed before the record is in the books."""
    from gateway.kafka import Inbox

    async def careless(self: Any, consumer: Any, partition: Any, records: Sequence[Any]) -> None:
        await self._commit(consumer, partition, records[-1].offset + 1)
        for record in records:
            await self._one(self._topics[partition.topic], record)

    Inbox._handle = careless  # type: ignore[method-assign]
