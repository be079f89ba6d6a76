"""A whole gateway process whose consumer stands still after its first records, as aiokafka's has been seen to do.

`python -m tests.storm.relay.stalled CONFIG [--no-watchdog]`. The control is the build without the look from outside.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer

from gateway import app, config
from gateway.kafka import Inbox

_getmany = AIOKafkaConsumer.getmany
_seen = 0


async def stands_still(self: AIOKafkaConsumer, *arguments: Any, **more: Any) -> Any:
    """The first records, and then none, however many wait."""
    global _seen
    if _seen:
        await asyncio.sleep(more.get("timeout_ms", 200) / 1000)
        return {}
    found = await _getmany(self, *arguments, **more)
    _seen += len(found)
    return found


def main() -> None:
    AIOKafkaConsumer.getmany = stands_still
    if "--no-watchdog" in sys.argv:
        Inbox.stalled = property(lambda inbox: False)  # type: ignore[assignment,method-assign]
    sys.exit(app.main(config.load(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
