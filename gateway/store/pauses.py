"""Pauses in the store: a bank that refused our form or signature is sent nothing until that is mended, on purpose.

A pause outlives every process: a restart alone mends nothing, and one that crashes and comes back, or a second process
beside it, would go on sending what is refused. It is lifted by whoever has looked (``gateway resume``), or by a process
that starts with another configuration of that bank than the one under which it was refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.store.engine import Engine, Row


class Pauses:
    """The store's room for pauses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def resume_mended(self, configurations: Mapping[str, bytes]) -> list[str]:
        """Lift the pauses of banks whose configuration (by its digest) has changed since; which."""
        rows = await self._engine.fetch("resume_mended", list(configurations), list(configurations.values()))
        return sorted(row["bank"] for row in rows)

    async def resume(self, banks: Sequence[str]) -> list[Row]:
        """Lift pauses on an operator's word: ``bank``, ``paused_at``, ``pause_reason`` of those that were paused."""
        return sorted(await self._engine.fetch("resume_banks", list(banks)), key=lambda row: str(row["bank"]))

    async def paused(self) -> dict[str, str]:
        """By paused bank the reason."""
        return {row["bank"]: row["pause_reason"] for row in await self._engine.fetch("paused_banks")}
