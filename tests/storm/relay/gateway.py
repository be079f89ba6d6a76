"""The whole gateway as a process of its own on a test's database and topics, with the product's own settings."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import Kafka
from tests.storm.matrix.recovery import answers_ready
from tests.storm.relay.topic import PATIENCE
from tests.world import layout
from tests.world.processes import Child, ChildError
from tests.world.world import merged


def configured(
    kafka: Kafka, database: str, directory: Path, sections: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Path, int]:
    """A configuration that leaves everything at its default but where things are, and ``sections``; the HTTP port."""
    at = dataclasses.replace(layout.Addresses.on_loopback(), kafka=kafka.bootstrap)
    config = layout.lay_out(directory, at, layout.Programmes({}, {}))
    (directory / "dsn").write_text(database + "\n")
    own: dict[str, dict[str, Any]] = {"kafka": {"topic_prefix": kafka.prefix, "group": kafka.prefix}}
    for name, section in (sections or {}).items():
        own.setdefault(name, {}).update(section)
    config.write_text(merged(config.read_text(), own))
    return config, at.gateway


async def until_ready(child: Child, port: int) -> None:
    """Until the gateway has its database, and its consumer has been seen to make progress."""
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(answers_ready, port):
            if not child.running:
                raise ChildError(child.last_words())
            await asyncio.sleep(0.05)
