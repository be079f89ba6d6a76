"""``show`` and ``failures``: what the books say, with people masked."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from adapters.contract import Reason
from gateway import config as configuration
from gateway.cli.terminal import CommandFailed, ConfigFile, console, printable, say
from gateway.clock import SHANGHAI
from gateway.config import Config
from gateway.privacy import KeyFileFault, SealBroken
from gateway.reasons import reason_facts
from gateway.store import ids
from gateway.store.reads import BUCKETS, Count
from gateway.store.store import Store
from gateway.vault import Vault
from schemas.money import yuan_text_from_fen

T = TypeVar("T")
Row = Mapping[str, Any]

_PAYOUT_NAME = re.compile(r"[1-9][0-9]{0,12}-[1-9][0-9]{0,6}").fullmatch
_DEADLINES = ("limit_at", "target_at", "feedback_due_at")


def register(app: typer.Typer) -> None:
    app.command()(show)
    app.command()(failures)


def show(
    name: Annotated[str, typer.Argument(metavar="BATCH|PAYOUT", help="A batch's number or id, or <number>-<line>.")],
    config: ConfigFile,
    verify: Annotated[bool, typer.Option("--verify", help="Also check the batch's chain of history.")] = False,
) -> None:
    """Show a batch or a payout: states, attempts, evidence, deadlines."""
    known = configuration.load(config)
    _reading(known, lambda store: _show(store, known, name, verify))


def failures(
    config: ConfigFile,
    batch: Annotated[str | None, typer.Option("--batch", help="Only this batch, by number or id.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=100_000)] = 1_000,
) -> None:
    """List the payouts that failed and wait for a signed order, and whose move it is."""
    _reading(configuration.load(config), lambda store: _failures(store, batch, limit))


def _reading(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    async def read() -> T:
        store = await Store.open(config)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(read())


# --- A batch --------------------------------------------------------------------------------------------------------


async def _show(store: Store, config: Config, name: str, verify: bool) -> None:
    # A batch's id may look like a payout's name: whatever is there is shown.
    shown = bool(_PAYOUT_NAME(name)) and await _show_payout(store, config, ids.payout_from_name(name))
    for batch in await store.reads.find_batches(name) if name else []:
        await _show_batch(store, batch, verify)
        shown = True
    if not shown:
        raise CommandFailed(f"there is no batch and no payout {name}")


async def _show_batch(store: Store, batch: Row, verify: bool) -> None:
    number = batch["batch_no"]
    fields = [
        ("batch", f"{number}  {batch['batch_id']} of {batch['issuer']}"),
        ("state", batch["state"]),
        ("programme, period", f"{batch['programme']}  {batch['period']}  county {batch['county']}"),
        ("document", batch["document_no"]),
        ("list, money received", f"{_time(batch['list_received_at'])}, {_time(batch['funds_received_at'])}"),
        *_clocks(batch),
        ("lines", f"{batch['lines']} = {batch['refused_lines']} refused + {batch['approved_lines']} approved"),
        ("funds, approved", f"{_yuan(batch['funds_fen'])}, {_yuan(batch['approved_fen'])}"),
    ]
    if not batch["deadline_exact"]:
        fields.append(("calendar", "did not reach: the deadlines are counted in calendar days"))
    if verify:
        broken = await store.reads.verify_history(number)
        fields.append(("history", "the chain holds" if broken is None else f"THE CHAIN IS BROKEN at event {broken}"))
    _print_fields(fields)
    _print_identity(batch, await store.reads.count(number))
    fundings = await store.reads.fundings(number)
    _print(
        "funding",
        ("id", "yuan", "received", "key"),
        [(f["funding_id"], _yuan(f["amount_fen"]), _time(f["received_at"]), f["key_id"]) for f in fundings],
    )
    _print(
        "submissions",
        ("reference", "bank", "bank no", "state", "open", "lines", "yuan", "sent", "times", "asks again", "limit"),
        [
            (
                row["reference"],
                row["bank"],
                row["bank_no"],
                row["state"],
                row["open_lines"],
                row["lines"],
                _yuan(row["amount_fen"]),
                _time(row["sent_at"]),
                row["transmissions"],
                _time(row["probe_at"]),
                _deadline(row["limit_at"]),
            )
            for row in await store.reads.submissions(number)
        ],
    )


def _print_identity(batch: Row, count: Count) -> None:
    rows = [(name.replace("_", " "), count.payouts[name], _yuan(count.amount_fen[name])) for name in BUCKETS]
    rows.append(("approved", batch["approved_lines"], _yuan(batch["approved_fen"])))
    _print("identity", ("bucket", "payouts", "yuan"), rows)
    if batch["state"] not in ("COLLECTING", "JUDGING", "REFUSED"):
        gap, gap_fen = count.gap(batch["approved_lines"]), count.gap_fen(batch["approved_fen"])
        if gap or gap_fen:
            say(f"THE IDENTITY DOES NOT CLOSE: {gap} payouts and {gap_fen} fen are in no bucket")
    if count.late:
        say(f"late: {count.late} payouts, {_yuan(count.late_fen)} yuan")


# --- A payout -------------------------------------------------------------------------------------------------------


async def _show_payout(store: Store, config: Config, payout: int) -> bool:
    found = await store.reads.payout(payout)
    if found is None:
        refused = await store.reads.refused_line(payout)
        if refused is not None:
            _print_fields([("line", ids.payout_name(payout)), ("refused", f"{refused['reason']}: {refused['detail']}")])
        return refused is not None
    attempts = await store.reads.attempts(payout)
    _print_fields(
        [
            ("payout", f"{ids.payout_name(payout)}  of batch {found['batch_id']} of {found['issuer']}"),
            ("yuan", _yuan(found["amount_fen"])),
            ("programme, period", f"{found['programme']}  {found['period']}  county {found['county']}"),
            *_payee(config, payout, found, attempts),
            *_clocks(found),
            *([("CONFLICT since", _time(found["conflict_at"]))] if found["conflict_at"] else []),
            *([("cancelled", _time(found["cancelled_at"]))] if found["cancelled_at"] else []),
        ]
    )
    _print(
        "attempts",
        (
            "no",
            "state",
            "reason",
            "bank",
            "reference",
            "submission",
            "sent",
            "code",
            "host reference",
            "posted",
            "limit",
        ),
        [_attempt_row(attempt, found) for attempt in attempts],
    )
    _print(
        "evidence that moved nothing",
        ("recorded", "effect", "proof", "reason", "code", "yuan", "reference", "host reference", "posted"),
        [
            (
                _time(item["recorded_at"]),
                item["effect"],
                item["proof"],
                item["reason"],
                item["bank_code"],
                _yuan(item["amount_fen"]),
                item["reference"],
                item["host_reference"],
                item["post_date"],
            )
            for item in await store.reads.evidence(payout)
        ],
    )
    return True


def _attempt_row(attempt: Row, payout: Row) -> tuple[Any, ...]:
    return (
        attempt["attempt_no"],
        attempt["state"] or attempt["submission_state"],  # its own, where the bank spoke of this line
        attempt["reason"],
        attempt["bank"],
        attempt["reference"],
        attempt["submission_reference"],
        _time(attempt["sent_at"]),
        attempt["bank_code"],
        attempt["host_reference"],
        attempt["post_date"],
        _deadline(attempt["limit_at"] or payout["limit_at"]),
    )


def _payee(config: Config, payout: int, found: Row, attempts: list[Any]) -> list[tuple[str, str]]:
    """The payee as masked, of the latest details; where the keys are not at hand, that is said instead."""
    sealed, order_no = found["sealed"], 0
    for attempt in attempts:
        if attempt["sealed"] is not None:
            sealed, order_no = attempt["sealed"], attempt["order_no"]
    try:
        payee = Vault.load(config.path(config.files.privacy_keys)).payee(bytes(sealed), payout, order_no)
    except (KeyFileFault, SealBroken, OSError) as error:
        return [("payee", f"cannot be opened here ({type(error).__name__})")]
    return [
        ("payee", f"{payee.name}  ID {payee.id_no}  phone {payee.phone or 'none'}"),
        ("account", f"{payee.account}  {payee.account_kind}  at {payee.bank_no}"),
    ]


# --- Failures -------------------------------------------------------------------------------------------------------


async def _failures(store: Store, batch: str | None, limit: int) -> None:
    if batch is None:
        rows = await store.reads.failures(None, limit)
    else:
        batches = await store.reads.find_batches(batch) if batch else []
        if not batches:
            raise CommandFailed(f"there is no batch {batch}")
        rows = [row for found in batches for row in await store.reads.failures(found["batch_no"], limit)][:limit]
    if not rows:
        say("no payout waits for an order")
        return
    _print(
        "payouts that wait for an order",
        ("payout", "attempt", "yuan", "bank", "reason", "code", "since", "who acts", "way back"),
        [
            (
                ids.payout_name(row["payout_id"]),
                row["attempt_no"],
                _yuan(row["amount_fen"]),
                row["bank"],
                row["reason"],
                row["bank_code"],
                _time(row["returned_at"] or row["settled_at"]),
                *_facts(row["reason"]),
            )
            for row in rows
        ],
    )
    more = f"; there may be more, --limit is {limit}" if len(rows) == limit else ""
    say(f"{len(rows)} payouts, {_yuan(sum(row['amount_fen'] for row in rows))} yuan{more}")


def _facts(reason: str | None) -> tuple[str, str]:
    if reason is None or reason not in Reason.__members__:
        return "", ""
    facts = reason_facts(Reason(reason))
    return facts.who_acts.value, facts.way_back


# --- Printing -------------------------------------------------------------------------------------------------------


def _print_fields(fields: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        say(f"{name:<{width}}  {value}")


def _print(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table, or nothing where there are no rows. Cells are text, never markup."""
    if not rows:
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in ("yuan", "payouts", "lines", "open") else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print()
    console().print(table, markup=False)


def _clocks(row: Row) -> list[tuple[str, str]]:
    deadlines = [(name.removesuffix("_at").replace("_", " "), _deadline(row[name])) for name in _DEADLINES]
    return [("clock started", _time(row["clock_started_at"])), *deadlines]


def _cell(value: object) -> Text:
    return Text(printable("" if value is None else str(value)))


def _time(at: dt.datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def _deadline(at: dt.datetime | None) -> str:
    """Midnight ends a day: as 24:00 nobody takes it for the next one."""
    if at is None or at.astimezone(SHANGHAI).time() != dt.time(0):
        return _time(at)
    return f"{at.astimezone(SHANGHAI) - dt.timedelta(days=1):%Y-%m-%d} 24:00"


def _yuan(fen: int | None) -> str:
    return "" if fen is None else yuan_text_from_fen(fen)
