"""After a restart: reads the ledger back into the book, so that a killed bank goes on where its disk says it was."""

from __future__ import annotations

from tests.bank.book import Book
from tests.bank.model import BIT, FAILED, WORD, Upload
from tests.bank.programme import read_plan

# Faults of rcc_file that swallow a transmission before the bank could act: no submission row counts it.
UNSEEN = ("timeout_before_accept", "drop_before_accept", "drop_after_txt")
_BITS = {word: sum(bit for status, bit in BIT.items() if WORD[status] == word) for word in WORD.values()}
_BITS |= dict.fromkeys(("NOT_TAKEN", "ABSENT"), BIT[FAILED])


def load(book: Book) -> None:
    """Fill an empty book from its ledger; nothing happens yet."""
    _submissions(book)
    _lines(book)
    _money(book)
    _told(book)


def resume(book: Book) -> None:
    """Let whatever fell due while the bank was down happen now, and put the rest on the clock."""
    now = book.now_ms()
    for submission in book.by_number.values():
        if submission.base_ms <= now:
            book.advance(submission.lines, now, due_by_ms=now)
        else:
            book.at(submission.base_ms, submission.lines)
    book.restored_returns.clear()
    book.restored_faults.clear()
    book.restored_last.clear()
    book.commit()


def _submissions(book: Book) -> None:
    query = "SELECT n, at_ms, batch, source, sha256, verdict, total_fen, fault FROM submissions ORDER BY n"
    for n, at_ms, batch, source, digest, verdict, total, fault in book.ledger.rows(query):
        book.transmissions[batch] = book.transmissions.get(batch, 0) + 1
        book.last_transmission_ms[batch] = at_ms
        if verdict == "taken":
            book.new_submission(n, Upload(batch, source, b"", digest, "", "", total, []), at_ms, fault)
    marks = ",".join("?" * len(UNSEEN))
    query = f"SELECT batch FROM faults WHERE submission = 0 AND fault IN ({marks})"
    for (batch,) in book.ledger.rows(query, UNSEEN):
        book.transmissions[batch] = book.transmissions.get(batch, 0) + 1


def _lines(book: Book) -> None:
    query = (
        "SELECT l.submission, l.line, l.reference, l.account, l.amount_fen, l.plan"
        " FROM lines l JOIN submissions s ON s.n = l.submission WHERE s.verdict = 'taken' ORDER BY l.rowid"
    )
    for n, no, reference, account, amount, plan in book.ledger.rows(query):
        book.add_line(book.by_number[n], no, reference, account, amount, read_plan(plan))
    query = (
        "SELECT l.reference, s.batch, l.account, l.plan"
        " FROM lines l JOIN submissions s ON s.n = l.submission WHERE s.verdict <> 'taken'"
    )
    for reference, batch, account, plan in book.ledger.rows(query):
        book.untaken[reference] = batch
        if plan:  # for which the whole file was refused
            book.seen[account] = book.seen.get(account, 0) + 1


def _money(book: Book) -> None:
    for n, no, amount, date, host in book.ledger.rows(
        "SELECT submission, line, amount_fen, post_date, host_ref FROM credits"
    ):
        line = book.by_number[n].lines[no - 1]
        line.paid_fen, line.post_date, line.host_ref = amount, date, host
        book.money_moves += 1
    for n, no, date, host in book.ledger.rows("SELECT submission, line, post_date, host_ref FROM returns"):
        book.restored_returns[n, no] = (date, host)
        book.money_moves += 1
    balances = list(book.ledger.rows("SELECT balance_fen FROM balance ORDER BY rowid DESC LIMIT 1"))
    if balances:
        book.balance_fen = balances[0][0]
    elif book.config.balance_fen is not None:
        book.move_balance(book.config.balance_fen, "opening", 0)


def _told(book: Book) -> None:
    query = "SELECT submission, line, status FROM answers WHERE channel IN ('res', 'callback') AND line > 0 ORDER BY n"
    for n, no, status in book.ledger.rows(query):
        book.by_number[n].lines[no - 1].told |= _BITS[status]
        book.restored_last[n, no] = status
    query = "SELECT submission, reference, fault FROM faults WHERE submission > 0 AND reference <> ''"
    book.restored_faults.update((n, reference, fault) for n, reference, fault in book.ledger.rows(query))
