"""``show``, ``failures`` and ``differences``: what the books say, with people masked."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from adapters.contract import Reason
from gateway import config as configuration
from gateway.cli.books import opened_books
from gateway.cli.printing import clock_fields, deadline, moment, print_fields, print_table, yuan
from gateway.cli.terminal import CommandFailed, ConfigFile, say
from gateway.config import Config
from gateway.log import plain
from gateway.privacy import KeyFileFault, SealBroken
from gateway.reasons import reason_facts
from gateway.store import ids
from gateway.store.reads import BUCKETS, Count
from gateway.store.store import Store
from gateway.vault import Vault

T = TypeVar("T")
Row = Mapping[str, Any]

_PAYOUT_NAME = re.compile(r"[1-9][0-9]{0,12}-[1-9][0-9]{0,6}").fullmatch


def register(app: typer.Typer) -> None:
    app.command()(show)
    app.command()(failures)
    app.command()(differences)


def show(
    name: Annotated[str, typer.Argument(metavar="BATCH|PAYOUT", help="A batch's number or id, or <number>-<line>.")],
    config: ConfigFile,
    verify: Annotated[bool, typer.Option("--verify", help="Also check the batch's chain of history.")] = False,
) -> None:
    """Show a batch or a payout: states, attempts, evidence, notices, deadlines."""
    known = configuration.load(config)
    _reading(known, lambda store: _show(store, known, name, verify))


def failures(
    config: ConfigFile,
    batch: Annotated[str | None, typer.Option("--batch", help="Only this batch, by number or id.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=100_000)] = 1_000,
) -> None:
    """List the payouts that failed and wait for a signed order, and whose move it is."""
    _reading(configuration.load(config), lambda store: _failures(store, batch, limit))


def differences(
    config: ConfigFile,
    settled: Annotated[bool, typer.Option("--settled", help="Also those that were settled since.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=100_000)] = 1_000,
) -> None:
    """List where the banks' statements and the books do not agree."""
    _reading(configuration.load(config), lambda store: _differences(store, settled, limit))


def _reading(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    async def read() -> T:
        async with opened_books(config) as store:
            return await work(store)

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
        ("list, money received", f"{moment(batch['list_received_at'])}, {moment(batch['funds_received_at'])}"),
        *clock_fields(batch),
        ("lines", f"{batch['lines']} = {batch['refused_lines']} refused + {batch['approved_lines']} approved"),
        ("funds, approved", f"{yuan(batch['funds_fen'])}, {yuan(batch['approved_fen'])}"),
    ]
    if not batch["deadline_exact"]:
        fields.append(("calendar", "did not reach: the deadlines are counted in calendar days"))
    if verify:
        broken = await store.reads.verify_history(number)
        fields.append(("history", "the chain holds" if broken is None else f"THE CHAIN IS BROKEN at event {broken}"))
    print_fields(fields)
    _print_identity(batch, await store.reads.count(number))
    fundings = await store.reads.fundings(number)
    print_table(
        "funding",
        ("id", "yuan", "received", "key"),
        [(f["funding_id"], yuan(f["amount_fen"]), moment(f["received_at"]), f["key_id"]) for f in fundings],
    )
    print_table(
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
                yuan(row["amount_fen"]),
                moment(row["sent_at"]),
                row["transmissions"],
                _asks_again(row),
                deadline(row["limit_at"]),
            )
            for row in await store.reads.submissions(number)
        ],
    )


def _asks_again(submission: Row) -> str:
    """A closed submission is only watched for returns: its daily look is no question that is still open."""
    if submission["state"] == "CLOSED":
        return "watched" if submission["probe_at"] else ""
    return moment(submission["probe_at"])


def _print_identity(batch: Row, count: Count) -> None:
    rows = [(name.replace("_", " "), count.payouts[name], yuan(count.amount_fen[name])) for name in BUCKETS]
    rows.append(("approved", batch["approved_lines"], yuan(batch["approved_fen"])))
    print_table("identity", ("bucket", "payouts", "yuan"), rows)
    if batch["state"] not in ("COLLECTING", "JUDGING", "REFUSED"):
        gap, gap_fen = count.gap(batch["approved_lines"]), count.gap_fen(batch["approved_fen"])
        if gap or gap_fen:
            say(f"THE IDENTITY DOES NOT CLOSE: {gap} payouts and {gap_fen} fen are in no bucket")
    if count.late:
        say(f"late: {count.late} payouts, {yuan(count.late_fen)} yuan")


# --- A payout -------------------------------------------------------------------------------------------------------


async def _show_payout(store: Store, config: Config, payout: int) -> bool:
    found = await store.reads.payout(payout)
    if found is None:
        refused = await store.reads.refused_line(payout)
        if refused is not None:
            print_fields([("line", ids.payout_name(payout)), ("refused", f"{refused['reason']}: {refused['detail']}")])
        return refused is not None
    attempts = await store.reads.attempts(payout)
    print_fields(
        [
            ("payout", f"{ids.payout_name(payout)}  of batch {found['batch_id']} of {found['issuer']}"),
            ("yuan", yuan(found["amount_fen"])),
            ("programme, period", f"{found['programme']}  {found['period']}  county {found['county']}"),
            *_payee(config, payout, found, attempts),
            *clock_fields(found),
            *([("CONFLICT since", moment(found["conflict_at"]))] if found["conflict_at"] else []),
            *([("cancelled", moment(found["cancelled_at"]))] if found["cancelled_at"] else []),
        ]
    )
    print_table("attempts", _ATTEMPT_COLUMNS, [_attempt_row(attempt, found) for attempt in attempts])
    print_table(
        "evidence that moved nothing",
        ("recorded", "effect", "proof", "reason", "code", "yuan", "reference", "host reference", "posted"),
        [
            (
                moment(item["recorded_at"]),
                item["effect"],
                item["proof"],
                item["reason"],
                item["bank_code"],
                yuan(item["amount_fen"]),
                item["reference"],
                item["host_reference"],
                item["post_date"],
            )
            for item in await store.reads.evidence(payout)
        ],
    )
    print_table(
        "statements differ", _DIFFERENCE_COLUMNS, _difference_rows(await store.statements.differences_of(payout))
    )
    batch_no, _ = ids.batch_and_line(payout)
    print_table(
        "notices",
        ("notice", "kind", "attempt", "outcome", "call", "created"),
        [
            (
                notice["notice_id"],
                notice["kind"],
                notice["attempt_no"],
                notice["outcome"],
                notice["state"],
                moment(notice["created_at"]),
            )
            for notice in await store.notices.of_payout(payout, batch_no)
        ],
    )
    return True


_ATTEMPT_COLUMNS = (
    "no",
    "origin",
    "state",
    "reason",
    "bank",
    "reference",
    "submission",
    "sent",
    "outcome at",
    "was credited",
    "code",
    "host reference",
    "return reference",
    "posted",
    "limit",
)


def _attempt_row(attempt: Row, payout: Row) -> tuple[Any, ...]:
    state = attempt["state"]
    return (
        attempt["attempt_no"],
        "list" if attempt["order_no"] is None else f"order {attempt['order_no']}",
        state or attempt["submission_state"],  # its own, where the bank spoke of this line
        attempt["reason"],
        attempt["bank"],
        attempt["reference"],
        attempt["submission_reference"],
        moment(attempt["sent_at"]),
        moment(_outcome_at(attempt)),
        moment(attempt["credited_at"]) if state != "CREDITED" else "",
        attempt["bank_code"],
        attempt["host_reference"],
        attempt["return_host_reference"],
        attempt["post_date"],
        deadline(attempt["limit_at"] or payout["limit_at"]),
    )


def _outcome_at(attempt: Row) -> dt.datetime | None:
    """When it came to rest. A state in between is written with a time too, which is no outcome's."""
    at: dt.datetime | None
    match attempt["state"]:
        case "CREDITED":
            at = attempt["credited_at"]
        case "RETURNED":
            at = attempt["returned_at"]
        case "REJECTED" | "NOT_EXECUTED" | "VOID":
            at = attempt["settled_at"]
        case _:
            at = None
    return at


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
    print_table(
        "payouts that wait for an order",
        ("payout", "attempt", "yuan", "bank", "reason", "code", "since", "who acts", "way back"),
        [
            (
                ids.payout_name(row["payout_id"]),
                row["attempt_no"],
                yuan(row["amount_fen"]),
                row["bank"],
                row["reason"],
                row["bank_code"],
                moment(row["returned_at"] or row["settled_at"]),
                *_facts(row["reason"]),
            )
            for row in rows
        ],
    )
    more = f"; there may be more, --limit is {limit}" if len(rows) == limit else ""
    say(f"{len(rows)} payouts, {yuan(sum(row['amount_fen'] for row in rows))} yuan{more}")


def _facts(reason: str | None) -> tuple[str, str]:
    if reason is None or reason not in Reason.__members__:
        return "", ""
    facts = reason_facts(Reason(reason))
    return facts.who_acts.value, facts.way_back


# --- Differences ----------------------------------------------------------------------------------------------------

_DIFFERENCE_COLUMNS = (
    "bank",
    "day",
    "kind",
    "booking",
    "payout",
    "reference",
    "statement, yuan",
    "books, yuan",
    "host reference",
    "found",
    "settled",
)


async def _differences(store: Store, settled: bool, limit: int) -> None:
    rows = await store.statements.differences(limit, resolved=settled)
    if not rows:
        say("statements and books agree")
        return
    print_table("differences", _DIFFERENCE_COLUMNS, _difference_rows(rows))
    still_open = sum(row["resolved_at"] is None for row in rows)
    say(f"{still_open} open{f'; there may be more, --limit is {limit}' if len(rows) == limit else ''}")


def _difference_rows(rows: list[Any]) -> list[tuple[Any, ...]]:
    """References of entries that are not ours are a bank's free text: digits that could be a person's are not shown."""
    return [
        (
            row["bank"],
            row["day"],
            row["kind"],
            row["booking"],
            ids.payout_name(row["payout_id"]) if row["payout_id"] else "",
            row["reference"] if row["payout_id"] else plain(row["reference"]),
            yuan(row["booked_fen"]),
            yuan(row["expected_fen"]),
            plain(row["host_reference"] or ""),
            moment(row["found_at"]),
            moment(row["resolved_at"]),
        )
        for row in rows
    ]
