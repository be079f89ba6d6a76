"""``reseal``: what lies under an old sealing key is sealed again under the active one, while gateways run.

It changes no state: what a row says is the same before and after. It runs as a database role of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated, Final

import typer

from gateway import config as configuration
from gateway.cli.books import opened_books
from gateway.cli.terminal import CommandFailed, ConfigFile, pointing_to_check, say
from gateway.config import Config
from gateway.privacy import Keys, load_keys
from gateway.store.resealing import Resealed
from gateway.store.store import Store
from gateway.vault import Vault

_MOST_ROUNDS: Final = 5  # a gateway that still seals under an old key would keep us here for ever


def register(app: typer.Typer) -> None:
    app.command()(reseal)


def reseal(
    config: ConfigFile,
    count: Annotated[
        bool, typer.Option("--count", help="Only count which rows are under which key; nothing is written.")
    ] = False,
) -> None:
    """Seal again, under the active key of the key file, whatever lies under another one.

    Gateways may run meanwhile, once each has read the file that makes the key active (SIGHUP). It may be stopped at any
    moment and started again. Exit status 1 while rows remain that an old key is still needed for. The configuration's
    DSN names a role that `gateway migrate --sealing-role` has granted.
    """
    with pointing_to_check(config):
        known = configuration.load(config)
        keys = load_keys(known.path(known.files.privacy_keys))
    left = asyncio.run(_work(known, keys, count=count))
    for key, rows in sorted(left.items()):
        say(f"{rows} rows are sealed under {key}{'' if key in keys.sealing else ', which the key file does not hold'}")
    stale = {key: rows for key, rows in left.items() if key != keys.active}
    if not count and stale:
        raise CommandFailed(
            f"{sum(stale.values())} rows could not be sealed again: keep the keys they name, and start again"
        )
    unused = sorted(key for key in keys.sealing if key not in left and key != keys.active)
    if unused:
        say(f"no row needs {', '.join(unused)}; backups made before today do")


async def _work(config: Config, keys: Keys, *, count: bool) -> Counter[str]:
    """Rows by key, as they are when all is done."""
    async with opened_books(config) as store:
        if not count:
            await _rounds(store, Vault.of(keys))
        left: Counter[str] = Counter()
        for _, key, rows in await store.resealing.by_key():
            left[key] += rows
        return left


async def _rounds(store: Store, vault: Vault) -> None:
    """Round after round until one finds nothing more to do; what does not open is told of once."""
    done = Resealed()
    for _ in range(_MOST_ROUNDS):
        done = await store.resealing.round(vault.head, vault.reseal)
        for table, rows in done.rows.items():
            say(f"{table}: {rows} sealed again")
        if not done.rows and not done.missed:
            break
    for (table, damage, key), rows in sorted(done.broken.items()):
        say(f"{table}: {rows} do not open ({damage}, sealed under {key})")
