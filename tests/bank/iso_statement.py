"""The ISO 20022 bank's camt.053: what was booked on a day, with balances, all of it read from the ledger.

The balances are of what was *booked*: the funds that came in, less credits, plus returns. The ledger's `balance` table
runs ahead of that, because it holds funds back from the moment a file is taken. With several debit accounts the funds
are those of the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from tests.bank.book import Book
from tests.bank.file_tree import Tree
from tests.bank.iso_reports import TWISTED, Numbers
from tests.bank.iso_write import REASONS, AccountDay, Booking, statement
from tests.bank.ledger import Row
from tests.bank.timing import compact

# Of the faults of result files those that one file, whose name is given, can have.
FAULTS = frozenset(("result_truncated", "result_wrong_totals", "result_late", *TWISTED))
NO_ORDINAL = 1_000_000  # statements belong to no submission: "*" in the programme does not mean them
_INCOMING = "(why = 'opening' OR why LIKE 'top up %')"


class Statements:
    """Writes the statement of one day at a time."""

    def __init__(self, book: Book, tree: Tree, numbers: Numbers) -> None:
        self.book = book
        self.tree = tree
        self._numbers = numbers

    def state(self, date: str) -> None:
        """Write the statement of a day that has ended, if anything moved on it."""
        days, told = self._read(date)
        if not days:
            return
        now = self.book.now_ms()
        name = f"{compact(now)}/camt053_{date}.xml"
        fault = self._fault(PurePosixPath(name).name)
        due = now + self.book.programme.config.repair_seconds * 1000
        if fault is None:
            self._sound(days, told, date, now)
        else:
            self.book.fault(fault, detail=name)
            if fault != "result_late":
                body = self._spoil(fault, name)(self._body(days, date, now, fault == "result_wrong_totals"))
                artefact = self.tree.keep("statement", name, "", 0, False, body)
                self.tree.publish_later(artefact, name, body, None)
            self.book.at(due, lambda later: self._sound(days, told, date, later))
        self.book.commit()

    def _fault(self, name: str) -> str | None:
        """The fault of a statement; once only, so that after a restart the truth follows."""
        fault = self.book.programme.result(name, NO_ORDINAL)
        had = self.book.ledger.rows("SELECT 1 FROM faults WHERE detail LIKE '%/' || ?", (name,))
        return fault if fault in FAULTS and not any(had) else None

    def _spoil(self, fault: str, name: str) -> Callable[[bytes], bytes]:
        if fault == "result_truncated":
            return lambda body: body[: 1 + self.book.programme.draw("truncate", name) % (len(body) - 1)]
        return TWISTED.get(fault, lambda body: body)

    def _sound(self, days: list[AccountDay], told: list[Row], date: str, now_ms: int) -> None:
        name = f"{compact(now_ms)}/camt053_{date}.xml"
        body = self._body(days, date, now_ms)
        artefact = self.tree.keep("statement", name, "", 0, True, body)
        self.book.say([(*row, "statement", name) for row in told])
        self.tree.publish_later(artefact, name, body, None)

    def _body(self, days: list[AccountDay], date: str, now_ms: int, wrong: bool = False) -> bytes:
        return statement(self._numbers.message(now_ms), now_ms, date, days, wrong)

    # -- what the ledger says

    def _read(self, date: str) -> tuple[list[AccountDay], list[Row]]:
        """The day of each account on which something moved, and what is told about lines by that."""
        paid: dict[str, dict[int, list[Booking]]] = {}
        returned: dict[str, list[Booking]] = {}
        told: list[Row] = []
        for account, n, no, booking in self._moves("credits", date):
            paid.setdefault(account, {}).setdefault(n, []).append(booking)
            told.append((n, booking.batch, no, booking.reference, "CREDITED", "", booking.fen))
        for account, n, no, booking in self._moves("returns", date):
            returned.setdefault(account, []).append(booking)
            told.append((n, booking.batch, no, booking.reference, "RETURNED", booking.code, booking.fen))
        funded = self._first_account()
        incoming = [fen for day, fen in self._incoming() if day == date]
        accounts = sorted({*paid, *returned, *([funded] if incoming and funded else [])})
        days = [
            AccountDay(
                account,
                self._before(account, date, account == funded),
                list(paid.get(account, {}).values()),
                returned.get(account, []),
                incoming if account == funded else [],
            )
            for account in accounts
        ]
        return days, told

    def _moves(self, table: str, date: str) -> list[tuple[str, int, int, Booking]]:
        code = "m.code" if table == "returns" else "''"
        query = (
            "SELECT s.debit_account, m.submission, m.line, s.batch, m.reference, m.amount_fen, m.post_date,"
            f" m.host_ref, {code} FROM {table} m JOIN submissions s ON s.n = m.submission"
            " WHERE m.post_date = ? ORDER BY m.n, m.rowid"
        )
        found = []
        for account, n, no, batch, reference, fen, day, host_ref, why in self.book.ledger.rows(query, (date,)):
            booking = Booking(batch, reference, fen, day, host_ref, *REASONS.get(why, (why, "交易失败")))
            found.append((account, n, no, booking))
        return found

    def _before(self, account: str, date: str, funded: bool) -> int:
        """The booked balance of an account at the beginning of a day."""
        fen = sum(fen for day, fen in self._incoming(opening=True) if day < date) if funded else 0
        for table, sign in (("credits", -1), ("returns", 1)):
            query = (
                f"SELECT sum(m.amount_fen) FROM {table} m JOIN submissions s ON s.n = m.submission"
                " WHERE m.post_date < ? AND s.debit_account = ?"
            )
            for (moved,) in self.book.ledger.rows(query, (date, account)):
                fen += sign * (moved or 0)
        return fen

    def _incoming(self, opening: bool = False) -> list[tuple[str, int]]:
        """Funds that came in, by day; those of the opening were there before any day."""
        rows = self.book.ledger.rows(f"SELECT at_ms, delta_fen, why FROM balance WHERE {_INCOMING}")
        moves = [("" if why == "opening" else compact(at_ms), fen) for at_ms, fen, why in rows]
        return [(day, fen) for day, fen in moves if day or opening]

    def _first_account(self) -> str:
        query = "SELECT debit_account FROM submissions WHERE verdict = 'taken' ORDER BY n LIMIT 1"
        return next((account for (account,) in self.book.ledger.rows(query)), "")
