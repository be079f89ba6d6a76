"""The store: one door to the books, with a room for each kind of work.

Steps never meet each other; they meet here. Every method is one transaction or less, no transaction is open across a
network call, and every transition is conditional on the state it leaves, so a duplicate trigger is a no-op.
"""

from __future__ import annotations

import os
import secrets
from typing import Self

from gateway.config import Config
from gateway.store.batches import Batches
from gateway.store.engine import Engine
from gateway.store.evidence import EvidenceBook
from gateway.store.limits import Limits
from gateway.store.notices import Notices
from gateway.store.orders import Orders
from gateway.store.outbox import Outbox
from gateway.store.pauses import Pauses
from gateway.store.planning import Planning
from gateway.store.reads import Reads
from gateway.store.resealing import Resealing
from gateway.store.statements import Statements
from gateway.store.submissions import Submissions


class Store:
    """All rooms over one engine. ``owner`` names this process in leases and is never used twice."""

    def __init__(self, engine: Engine, owner: str, lease_seconds: int) -> None:
        self.engine = engine
        self.owner = owner
        self.batches = Batches(engine)
        self.planning = Planning(engine)
        self.submissions = Submissions(engine, owner, lease_seconds)
        self.limits = Limits(engine)
        self.pauses = Pauses(engine)
        self.evidence = EvidenceBook(engine)
        self.statements = Statements(engine)
        self.orders = Orders(engine)
        self.notices = Notices(engine, owner, lease_seconds)
        self.outbox = Outbox(engine)
        self.reads = Reads(engine)
        self.resealing = Resealing(engine)

    @classmethod
    async def open(cls, config: Config) -> Self:
        """Connect to the configured database; StoreUnavailable names what is wrong with it."""
        engine = await Engine.open(config.dsn(), max_connections=config.database.max_connections)
        owner = f"{config.gateway.instance}-{os.getpid()}-{secrets.token_hex(4)}"
        return cls(engine, owner, config.timing.lease_seconds)

    async def close(self) -> None:
        await self.engine.close()
