"""``run``, ``migrate``, ``resume``, ``demo``: what starts the gateway, prepares its books, and shows it at work."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import gateway
from gateway import config as configuration
from gateway.cli.books import opened_books, opened_database
from gateway.cli.printing import moment
from gateway.cli.terminal import (
    CommandFailed,
    ConfigFile,
    business_clock,
    clock_warning,
    pointing_to_check,
    say,
    say_error,
)
from gateway.store.engine import Row

_DEMO = "tests.world.demo"


def register(app: typer.Typer) -> None:
    app.command()(run)
    # What the demonstration itself can be asked (`--lines`, `--seed`...) is handed on; it knows it better.
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(demo)
    app.command()(migrate)
    app.command()(resume)


def run(config: ConfigFile) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    # Imported here: the application loads every step and adapter, the other commands need none of them.
    from gateway.app import main as run_gateway

    business_clock()
    if warning := clock_warning():
        say_error(f"warning: {warning}")
    with pointing_to_check(config):
        status = run_gateway(configuration.load(config))
    raise typer.Exit(status)


def migrate(
    config: ConfigFile,
    gateway_role: Annotated[
        str | None, typer.Option(help="Grant this role what `gateway run` needs, and take back the rest.")
    ] = None,
    auditor_role: Annotated[str | None, typer.Option(help="Grant this role to read, and take back the rest.")] = None,
    sealing_role: Annotated[
        str | None, typer.Option(help="Grant this role what `gateway reseal` needs, and take back the rest.")
    ] = None,
) -> None:
    """Bring the database to this program's schema, as its owner. Repeating it changes nothing."""
    with pointing_to_check(config):
        known = configuration.load(config)
    applied = asyncio.run(_migrate(known, gateway_role, auditor_role, sealing_role))
    say(f"applied migrations {', '.join(map(str, applied))}" if applied else "the database is up to date")
    for role in filter(None, (gateway_role, auditor_role, sealing_role)):
        say(f"granted {role}")


async def _migrate(
    config: configuration.Config, gateway_role: str | None, auditor_role: str | None, sealing_role: str | None
) -> list[int]:
    async with opened_database(config) as engine:
        applied = await engine.migrate()
        await engine.grant(gateway_role=gateway_role, auditor_role=auditor_role, sealing_role=sealing_role)
        return applied


def resume(
    banks: Annotated[list[str], typer.Argument(metavar="BANK...", help="As named in the configuration.")],
    config: ConfigFile,
) -> None:
    """Send to a paused bank again, once what it refused is mended. The running processes see it at once."""
    with pointing_to_check(config):
        known = configuration.load(config)
    unknown = sorted(set(banks) - set(known.banks))
    if unknown:
        raise CommandFailed(f"no such bank: {', '.join(unknown)}; configured: {', '.join(sorted(known.banks))}")
    lifted = {row["bank"]: row for row in asyncio.run(_resume(known, banks))}
    for bank in sorted(set(banks)):
        row = lifted.get(bank)
        say(
            f"{bank}: was not paused"
            if row is None
            else f"{bank}: resumed; paused for {row['pause_reason']} since {moment(row['paused_at'])}"
        )


async def _resume(config: configuration.Config, banks: list[str]) -> list[Row]:
    async with opened_books(config) as store:
        return await store.pauses.resume(banks)


def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running and print the addresses.")] = False,
) -> None:
    """Run the main job on this machine: PostgreSQL, a broker, four simulated banks, an SMS centre, a finance desk.

    It also takes, among others, `--lines N` (only the first N lines of the list), `--kill N` (kill the gateway N times)
    and `--seed N` (the same seed asks for the same faults and kills); `python -m tests.world.demo --help` tells all.
    """
    checkout = checkout_directory()
    if not (checkout / "tests" / "world" / "demo.py").is_file():
        raise CommandFailed("the demonstration is part of the checkout: run `make demo` there")
    command = [sys.executable, "-m", _DEMO, *(["--keep"] if keep else []), *context.args]
    sys.stdout.flush()
    os.chdir(checkout)
    # In place of this process, so that signals and the exit status are the demonstration's own.
    os.execv(command[0], command)  # noqa: S606


def checkout_directory() -> Path:
    """Where the package lies: a checkout when it was installed from one, else the place of installed packages."""
    return Path(gateway.__file__).resolve().parents[1]
