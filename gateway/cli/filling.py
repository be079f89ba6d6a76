"""``bindings load`` and ``calendar export``: the tables that come from outside."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from gateway import config as configuration
from gateway.cli.books import opened_books
from gateway.cli.calendar_export import calendar_csv, decreed_years
from gateway.cli.terminal import CommandFailed, ConfigFile, business_clock, say
from gateway.config import Config
from gateway.policy import Binding, Refused, judge_binding
from gateway.sheets import MOST_FAULTS, Sheet
from gateway.tables import TableFault
from gateway.vault import Vault
from schemas.masked import AccountNumber, IdNumber

_BINDING_COLUMNS = ("id_no", "account", "account_kind", "bank_no")
_ROWS_A_TRANSACTION = 1_000

bindings = typer.Typer(help="The accounts that the bank keeps for people.", no_args_is_help=True)
calendar = typer.Typer(help="The table of days off and make-up working days.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(bindings, name="bindings")
    app.add_typer(calendar, name="calendar")


@bindings.command("load")
def load(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with 身份证号, 银行账号, 账户类型, 行号.", dir_okay=False)
    ],
    config: ConfigFile,
) -> None:
    """Load the accounts kept for people, sealed; the newest row of a person replaces an older load."""
    known = configuration.load(config)
    clock = business_clock()
    vault = Vault.load(known.path(known.files.privacy_keys))
    sheet = Sheet.open(file, _BINDING_COLUMNS)
    count = _demand_sound(sheet, vault, clock.now().date())
    asyncio.run(_load(known, sheet, vault, clock.now()))
    say(f"loaded {count} accounts")


def _demand_sound(sheet: Sheet, vault: Vault, day: dt.date) -> int:
    """The number of rows. A file with a fault is not loaded by half; a person who stands twice has no one account."""
    faults: list[str] = []
    persons: set[UUID] = set()
    for row in sheet.rows():
        verdict = _judge(row.cells, day)
        if isinstance(verdict, Refused):
            faults.append(sheet.fault(row.row, f"{verdict.reason}: {verdict.detail}"))
        elif (person := vault.person(verdict[0])) in persons:
            faults.append(sheet.fault(row.row, "the person stands twice"))
        else:
            persons.add(person)
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise TableFault(faults)
    if not persons:
        raise TableFault([f"{sheet.path.name}: holds no rows"])
    return len(persons)


async def _load(config: Config, sheet: Sheet, vault: Vault, at: dt.datetime) -> None:
    async with opened_books(config) as store:
        rows = _sealed(sheet, vault, at.date())
        while chunk := list(islice(rows, _ROWS_A_TRANSACTION)):
            await store.batches.load_bindings(chunk, at)


def _sealed(sheet: Sheet, vault: Vault, day: dt.date) -> Iterator[tuple[UUID, bytes]]:
    for row in sheet.rows():
        verdict = _judge(row.cells, day)
        if isinstance(verdict, Refused):
            raise TableFault([sheet.fault(row.row, "was changed while the file was read")])
        id_no, binding = verdict
        person = vault.person(id_no)
        yield person, vault.seal_binding(binding, person)


def _judge(cells: Mapping[str, str], day: dt.date) -> tuple[IdNumber, Binding] | Refused:
    id_no, account = IdNumber(cells["id_no"]), AccountNumber(cells["account"])
    return judge_binding(day, id_no, account, cells["account_kind"], cells["bank_no"])


@calendar.command("export")
def export(
    target: Annotated[Path | None, typer.Argument(help="Where to write; standard output without it.")] = None,
    first_year: Annotated[int | None, typer.Option("--from", help="The first year; last year if not given.")] = None,
    last_year: Annotated[int | None, typer.Option("--to", help="The last year; the last one that is known.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write the calendar table of whole years from the installed chinesecalendar package."""
    first = first_year if first_year is not None else business_clock().now().year - 1
    last = last_year if last_year is not None else decreed_years()[-1]
    if first > last:
        raise CommandFailed(f"there is no year between {first} and {last}")
    try:
        table = calendar_csv(range(first, last + 1))
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    if target is None:
        typer.echo(table, nl=False)
        return
    try:
        with target.open("w" if force else "x", encoding="utf-8", newline="") as file:
            file.write(table)
    except FileExistsError:
        # Days may have been added by hand: they are not overwritten by accident.
        raise CommandFailed(f"{target} is there already; --force replaces it") from None
    say(f"wrote {target}: {first} to {last}")
