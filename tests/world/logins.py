"""Who logs in to a world's books, as deploy/SECURITY.md has it: the owner migrates, the gateway pays, a sealer seals.

So whatever is played in a world (the demonstration, the journeys, most of the storm) is played by a gateway that may do
what paying needs, and nothing else.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.world.layout_files import write
from tests.world.postgres import Server, execute, migrate
from tests.world.processes import run_apart

GATEWAY = "payout_gateway"
SEALER = "payout_sealer"


def prepare_books(server: Server, directory: Path) -> None:
    """Migrate a fresh database ``payout`` as its owner, and let two roles in: their DSNs are in ``dsn``, which the
    configuration names, and ``sealer_dsn`` below ``directory``; the owner's is in ``owner_dsn``."""
    owner = server.create_database("payout")
    logins = {role: run_apart(_create(owner, role)) for role in (GATEWAY, SEALER)}
    migrate(owner, gateway_role=GATEWAY, sealing_role=SEALER)
    write(directory / "dsn", logins[GATEWAY] + "\n")
    write(directory / "sealer_dsn", logins[SEALER] + "\n")
    write(directory / "owner_dsn", owner + "\n")


async def _create(owner: str, role: str) -> str:
    """A role with a password of its own; the DSN it logs in by."""
    password = secrets.token_urlsafe(18)
    await execute(owner, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    parts = urlsplit(owner)
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))
