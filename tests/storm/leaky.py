"""The gateway as a build that leaks: it keeps what it has told, and has a series for each list.

    python -m tests.storm.leaky run --config ...

Both are mistakes that no test of a single list sees: each receipt keeps the record that it travelled in, many times
over, and a label is made of a key.
"""

from __future__ import annotations

import json
from typing import Any

from gateway import metrics
from gateway.__main__ import main
from gateway.store.outbox import Outbox

_KEPT: list[bytearray] = []


def plant() -> None:
    honest = Outbox.waiting

    async def waiting(self: Outbox, lane: int, count: int) -> list[dict[str, Any]]:
        rows = await honest(self, lane, count)
        for row in rows:
            metrics.RECORDS_PUBLISHED.labels(topic=row["record_key"], outcome="acknowledged").inc()
            for _ in json.loads(row["value"]).get("receipts", ()):
                _KEPT.append(bytearray(row["value"] * 16))
        return rows

    setattr(Outbox, "waiting", waiting)  # noqa: B010 - mypy refuses the plain assignment to a method


if __name__ == "__main__":
    plant()
    main()
