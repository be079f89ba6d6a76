"""Statements in the store: what a bank says that it booked on a day, held line by line against what our books say.

Theory of operation
-------------------

A statement is one day of one fiscal account (or of all accounts of a bank), complete. Its entries are kept as rows, so
that "stands on a statement" is a look-up and costs no attempt an update. One transaction a statement: the entries take
the place of what the same day said before, eight questions are put to the books, each as one query, and differences of
this bank that are settled by now are closed. The same content again is recognised by its digest and changes nothing.
All accounts stated together take the place of each that was stated alone. One that is stated alone afterwards takes
its own place among them only: what was said of the others stays in force, and so does whatever it holds back.

``UNKNOWN``   an entry that names nothing we ever gave this bank
``AMOUNT``    a line's entries add up to another amount than its own: a fee, or booked twice; the same for a submission
              that is debited in one sum
``NOT_PAID``  booked, although it is refused, void or was never sent, and the money has not come back. While it is open
              its payout is frozen (the view ``frozen_payouts``): no attempt of it travels and no order is taken for it.
              Lines that travelled in the same file are held with it (``held_in_submission``): the bank has that file.
              It needs no person to thaw: what resolves the difference brings back the lines that were set aside.
              Asked with each statement, and (``unpaid_as_stated``) whenever a word of the bank makes something unpaid,
              so that bytes or a next attempt could travel: the statement may have been read before that word
``NOT_RETURNED``  it came back, and our books do not know: the bank's word could not move the line, or there was none
``ACCOUNT``   booked on another fiscal account than the one it was to be paid from
``MISSING``   credited in our books, and on no statement. Where the bank's answers named the day, its statement decides.
              Where they did not, the day on which we learned of the credit is the latest on which it was booked: the
              statement of a later day decides, and only for what was sent since the first statement.

What an entry *proves* is not decided here: it was recorded as evidence before, like any other word of the bank.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.contract import Booking, Statement, StatementEntry
from gateway.store.engine import Connection, Engine, Row, sql, touched
from gateway.store.foreign import bank_serial, foreign_name

ALL_ACCOUNTS = ""
_QUESTIONS = (
    "find_unknown_entries",
    "find_wrong_amounts",
    "find_wrong_totals",
    "find_bookings_of_unpaid",
    "find_sums_of_unpaid",
    "find_wrong_accounts",
    "find_unknown_returns",
    "find_missing_entries",
)
_OF_UNPAID = ("find_bookings_of_unpaid", "find_sums_of_unpaid")


async def showing(
    connection: Connection,
    bank: str,
    lines: Sequence[str],
    files: Sequence[int],
) -> list[int]:
    """The statements that show bookings of these lines (references), or of anything of these ``files`` (keys).

    To be asked before lines move on, and in the transaction that says that they were not paid: until it ends no
    statement of this bank is compared, so that of the two one sees the other. A line that was refused out of a sum has
    the bank's two days to be put back; with a later statement it is looked for (``find_sums_of_unpaid``).
    """
    await connection.execute(sql("share_statements"), bank)
    return [row["statement_no"] for row in await connection.fetch(sql("statements_showing"), bank, lines, files)]


async def unpaid_as_stated(connection: Connection, statements: Sequence[int], at: dt.datetime) -> None:
    """Freeze what these statements show as booked and the books say, since a moment, was not paid."""
    for number in statements:
        for question in _OF_UNPAID:
            await connection.execute(sql(question), number, at)


@dataclass(slots=True)
class Reconciled:
    """What a statement was compared to. ``is_new`` is False where it was read before with the same content."""

    is_new: bool
    differences: Counter[str] = field(default_factory=Counter)  # open ones of this statement, by kind
    resolved: int = 0
    wrong_debits: Sequence[Row] = ()  # lines of it whose debits are not their amount: reference, booked_fen, day


class Statements:
    """The store's room for statements."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def reconcile(self, bank: str, statement: Statement, at: dt.datetime) -> Reconciled:
        """Compare a statement, whose evidence is recorded already, with the books; see the theory of operation."""
        account = ALL_ACCOUNTS if statement.debit_account is None else statement.debit_account.reveal()
        async with self._engine.transaction() as connection:
            await connection.execute(sql("lock_statements"), bank)
            key = await self._keep(connection, bank, account, statement, at)
            result = Reconciled(key is not None)
            if key is not None:
                await self._enter(connection, key, bank, statement.entries)
                let_go = await self._make_room(connection, key, bank, statement.day, account, at)
                for question in _QUESTIONS:
                    await connection.execute(sql(question), key, at)
                # Of refused lines in one sum it was the statements of later days that asked: they ask anew.
                for row in await connection.fetch(sql("statements_after_refusal"), bank, let_go):
                    await connection.execute(sql("find_sums_of_unpaid"), row["statement_no"], at)
                result.resolved = touched(await connection.execute(sql("resolve_differences"), bank, at))
                # With every statement: a line may have been set aside while its difference was being resolved.
                await connection.execute(sql("wake_unfrozen"), bank, at)
                digest = bytes.fromhex(statement.artefact)
                counts = await connection.fetch(sql("differences_of_statement"), bank, statement.day, account, digest)
                result.differences = Counter({row["kind"]: row["count"] for row in counts})
            rows = await connection.fetch(sql("wrong_debits"), bank, statement.day, account)
            result.wrong_debits = [dict(row) for row in rows]
            return result

    async def resolve(self, bank: str, at: dt.datetime) -> int:
        """Close what evidence has settled since the last statement; how many.

        To be called after every recording that ``may_resolve``: one look at an index that holds open ones alone.
        """
        resolved = await self._engine.execute("resolve_differences", bank, at)
        if resolved:
            await self._engine.execute("wake_unfrozen", bank, at)
        return resolved

    async def _keep(
        self, connection: Connection, bank: str, account: str, statement: Statement, at: dt.datetime
    ) -> int | None:
        """The statement's key, None where its content is known."""
        totals: list[int] = []
        for booking in (Booking.CREDIT, Booking.DEBIT, Booking.RETURN):
            amounts = [entry.amount_fen for entry in statement.entries if entry.booking is booking]
            totals += [len(amounts), sum(amounts)]
        digest = bytes.fromhex(statement.artefact)
        found = await connection.fetchval(sql("keep_statement"), bank, statement.day, account, digest, *totals, at)
        return None if found is None else int(found)

    async def _make_room(
        self, connection: Connection, key: int, bank: str, day: dt.date, account: str, at: dt.datetime
    ) -> list[str]:
        """What the same day said before of the same accounts gives way; the lines in one sum that this lets go of."""
        if account == ALL_ACCOUNTS:
            dropped = await connection.fetch(sql("drop_single_accounts"), bank, day)
            for row in dropped:
                await connection.execute(sql("drop_entries"), row["statement_no"])
            accounts = [row["debit_account"] for row in dropped]
            closed = await connection.fetch(sql("close_dropped"), bank, day, accounts, at)
        else:
            whole = await connection.fetchval(sql("statement_of_all_accounts"), bank, day)
            if whole is None:
                return []
            await connection.execute(sql("drop_given_way"), whole, key, account)
            closed = await connection.fetch(sql("close_given_way"), whole, account, at)
        return [row["reference"] for row in closed if row["submission"] is not None]

    async def _enter(self, connection: Connection, key: int, bank: str, entries: Sequence[StatementEntry]) -> None:
        """Copy the entries. What names nothing of ours is a bank's free text, in which a person's number may stand:
        digits that could be one are not kept here (the artefact, sealed, has them)."""
        named = [entry.reference for entry in entries if entry.reference is not None]
        ours = {row["reference"] for row in await connection.fetch(sql("references_of_bank"), bank, named)}
        files = [entry.submission for entry in entries if entry.submission is not None]
        names = ours | {row["reference"] for row in await connection.fetch(sql("submissions_of_bank"), bank, files)}
        await connection.execute(sql("drop_entries"), key)
        await connection.copy_records_to_table(
            "statement_entries",
            records=[
                (
                    key,
                    number,
                    bank,
                    # Money that came in under a name of ours came back, whatever the bank calls it.
                    (Booking.RETURN if entry.booking is Booking.INCOMING else entry.booking).value,
                    entry.reference if entry.reference in ours else foreign_name(entry.reference),
                    entry.submission if entry.submission in names else foreign_name(entry.submission),
                    entry.amount_fen,
                    entry.post_date,
                    bank_serial(entry.host_reference),
                )
                for number, entry in enumerate(entries, start=1)
                if entry.booking is not Booking.INCOMING or (entry.reference or entry.submission) in names
            ],
            columns=[
                "statement_no",
                "entry",
                "bank",
                "booking",
                "reference",
                "submission",
                "amount_fen",
                "post_date",
                "host_reference",
            ],
        )

    async def unstated_since(self) -> dict[str, dt.date]:
        """By bank the oldest day on which something was sent and which no statement, of it or a later one, covers."""
        return {row["bank"]: row["day"] for row in await self._engine.fetch("unstated_since")}

    async def open_differences(self) -> dict[tuple[str, str], int]:
        """Open differences by bank and kind."""
        return {(row["bank"], row["kind"]): row["count"] for row in await self._engine.fetch("open_differences")}

    async def differences(self, limit: int, *, resolved: bool = False) -> list[Row]:
        """Differences, the open ones first, newest first; ``resolved`` lists the settled ones too."""
        return await self._engine.fetch("list_differences", resolved, limit)

    async def differences_of(self, payout: int) -> list[Row]:
        return await self._engine.fetch("differences_of_payout", payout)
