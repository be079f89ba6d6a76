"""One relay process over the real store and the real producer, and the builds of it that are broken on purpose.

`python -m tests.storm.relay.process --dsn-file F --bootstrap B --prefix P [--build B] [--die-after-ack]` prints a ready
line, then one JSON line for each publish, with the lane's lease as it was last granted, and one for each that is in
doubt. SIGTERM ends it as the application ends its relay.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.config import KafkaSection
from gateway.kafka import Outlet
from gateway.loop import Loop
from gateway.receipts import PublishInDoubt, Relay
from gateway.store.engine import Engine, Row, sql
from gateway.store.outbox import Outbox
from gateway.store.store import Store

IDLE_SECONDS = 1 / 50  # real, never money
LEASE_SECONDS = 2
SHUTDOWN_SECONDS = 15  # the application's own default

_AFTER = """SELECT outbox_id, topic, record_key, value, happened_at, due_at FROM outbox
WHERE lane = $1 AND outbox_id > $2 ORDER BY outbox_id LIMIT $3"""
_MARK = """UPDATE outbox SET published_at = clock_timestamp()
WHERE published_at IS NULL AND lane = $1 AND value = ANY($2)"""
_LAST = "SELECT coalesce(max(outbox_id), 0) FROM outbox WHERE lane = $1 AND published_at IS NOT NULL"


class GreaterThanTheLast(Outbox):
    """The relay of many a textbook: what is newer than the last published one. It skips open transactions."""

    async def waiting(self, lane: int, limit: int) -> list[Row]:
        async with self._engine.connection() as connection:
            last = await connection.fetchval(_LAST, lane)
            return [dict(row) for row in await connection.fetch(_AFTER, lane, last, limit)]


class NewestFirst(Outbox):
    """Takes what waits in the wrong order."""

    async def waiting(self, lane: int, limit: int) -> list[Row]:
        return list(reversed(await super().waiting(lane, limit)))


class MarksForAnybody(Outbox):
    """Marks what was published, whoever has the lane."""

    async def published(self, lane: int, owner: str, fence: int, ids: Sequence[int], at: dt.datetime) -> bool:
        async with self._engine.transaction() as connection:
            await connection.execute(sql("mark_published"), list(ids), at)
        return True


class LanesForEverybody:
    """Leases that nobody is asked for: every relay drains every lane."""

    async def lease(self, name: str) -> int | None:
        return 0


class WatchedLeases:
    """Keeps what the relay was granted of each lane, and when: between its question and the answer."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.granted: dict[int, dict[str, Any]] = {}

    async def lease(self, name: str) -> int | None:
        asked_at = Clock().wall().timestamp()
        fence: int | None = await self._real.lease(name)
        if fence is not None:
            times = {"asked_at": asked_at, "answered_at": Clock().wall().timestamp()}
            self.granted[int(name.removeprefix("lane-"))] = {"fence": fence, **times}
        return fence


class MarkedBeforeSent:
    """Publishes after the mark: what is killed or in doubt between the two is never said."""

    def __init__(self, store: Store, outlet: Any) -> None:
        self._store, self._outlet = store, outlet

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        async with self._store.engine.transaction() as connection:
            await connection.execute(
                _MARK,
                lane,
                [value for _, _, value in records],
            )
        await self._outlet.publish(lane, records)


class RenderedAnew:
    """Makes the bytes when they leave and not when they became true: a repeat differs."""

    def __init__(self, store: Store, outlet: Any) -> None:
        self._outlet = outlet

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        anew = [
            (topic, key, json.dumps({**json.loads(value), "issued_at": secrets.token_hex(4)}).encode())
            for topic, key, value in records
        ]
        await self._outlet.publish(lane, anew)


class DiesAfterTheAcknowledgement:
    """The broker has said yes, and nobody is left to write it down."""

    def __init__(self, outlet: Any) -> None:
        self._outlet = outlet

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        await self._outlet.publish(lane, records)
        os.kill(os.getpid(), signal.SIGKILL)


class TellsOfDoubt:
    """Says on standard output what it publishes and what was in doubt, so that a test knows that its fault fired."""

    def __init__(self, outlet: Any, owner: str, leases: WatchedLeases) -> None:
        self._outlet, self._owner, self._leases = outlet, owner, leases

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        about = {"lane": lane, "owner": self._owner}
        print(json.dumps({"publishing": len(records), **about, **self._leases.granted.get(lane, {})}), flush=True)
        try:
            await self._outlet.publish(lane, records)
        except PublishInDoubt:
            print(json.dumps({"in_doubt": len(records), **about}), flush=True)
            raise


IGNORES_THE_LEASE = "ignores_the_lease"
OUTBOXES = {
    "greater_than_the_last": GreaterThanTheLast,
    "newest_first": NewestFirst,
    IGNORES_THE_LEASE: MarksForAnybody,
}
PUBLISHERS = {"marked_before_sent": MarkedBeforeSent, "rendered_anew": RenderedAnew}


async def run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    engine = await Engine.open(Path(arguments.dsn_file).read_text().strip(), max_connections=3)
    store = Store(engine, f"relay-{os.getpid()}", LEASE_SECONDS)
    store.outbox = OUTBOXES.get(arguments.build, Outbox)(engine)
    leases = WatchedLeases(LanesForEverybody() if arguments.build == IGNORES_THE_LEASE else store.submissions)
    store.submissions = leases  # type: ignore[assignment] # the one thing of it that a relay needs
    section = KafkaSection(
        bootstrap_servers=arguments.bootstrap,
        topic_prefix=arguments.prefix,
        publish_timeout_seconds=arguments.publish_timeout,
    )
    outlet = Outlet(section)
    publisher: Any = outlet
    if arguments.build in PUBLISHERS:
        publisher = PUBLISHERS[arguments.build](store, publisher)
    if arguments.die_after_ack:
        publisher = DiesAfterTheAcknowledgement(publisher)
    relay = Relay(store, TellsOfDoubt(publisher, store.owner, leases), Clock.from_environment())
    loop = Loop(lambda name, error: None)
    loop.add("relay", relay.drain, IDLE_SECONDS)
    print(json.dumps({"ready": True}), flush=True)
    await stop.wait()
    outlet.hasten()
    await loop.stop(SHUTDOWN_SECONDS)
    await outlet.stop()
    await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("--dsn-file", "--bootstrap", "--prefix"):
        parser.add_argument(name, required=True)
    parser.add_argument("--build", default="", choices=["", *OUTBOXES, *PUBLISHERS])
    parser.add_argument("--publish-timeout", type=int, default=2)
    parser.add_argument("--die-after-ack", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
