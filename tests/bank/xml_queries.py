"""The front-end machine's answers to questions: batches, lines, returns, the statement of a day; 1002 for no such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.bank import xml_batch as form
from tests.bank.book import Book, misname
from tests.bank.ledger import Row
from tests.bank.model import (
    BIT,
    FAILED,
    NOT_EXECUTED,
    PAID,
    PENDING,
    RECEIVED,
    RETURNED,
    SUSPECT,
    WORD,
    Line,
    Submission,
    word,
)
from tests.bank.timing import compact
from tests.bank.xml_format import tag
from tests.bank.xml_returns import Returns

# reason -> (code, text) of one failed line; where the manual has several codes for a reason, not the commonest
LINE_CODES = {
    "ACCOUNT_NOT_FOUND": ("3022", "账号不存在"),
    "NAME_MISMATCH": ("3031", "账号户名不符"),
    "ID_MISMATCH": ("3063", "证件号码不符"),
    "ACCOUNT_CLOSED": ("3018", "已清户"),
    "ACCOUNT_FROZEN": ("3020", "账户已冻结"),
    "ACCOUNT_DORMANT": ("3057", "账户长期不动"),
    "CARD_LOST_OR_EXPIRED": ("3010", "卡已挂失"),
    "SSCARD_NOT_ACTIVATED": ("3037", "社保卡未激活"),
    "ACCOUNT_CLASS_LIMIT": ("3055", "账户类别限额"),
    "ACCOUNT_TYPE": ("3038", "账户类型不符"),
    "BANK_CODE_INVALID": ("3099", "行号错误"),
    "AMOUNT": ("3040", "金额错误"),
    "DUPLICATE": ("3051", "重复交易"),
    "FUNDS_SHORT": ("3008", "账户余额不足"),
}
RETURN_CODE = ("3056", "退票")
SUSPICIONS = (("3999", "可疑交易"), ("9999", "交易结果未知"), ("CICS", "系统异常"), ("", ""))
DAYS_KEPT = 8


class Refused(Exception):
    """The question is answered by a code alone."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Told(NamedTuple):
    """One thing that an answer says about a line: its row in the ledger, and the bit of what was said."""

    line: Line
    bit: int
    row: Row


class Reply(NamedTuple):
    """Code and BODY, and what they say for the ledger once they leave."""

    code: str
    body: str = ""
    heard: Sequence[Told] = ()
    denied: Sequence[tuple[Any, ...]] = ()  # arguments of Book.answer

    @property
    def told(self) -> list[Row]:
        return [one.row for one in self.heard]


class Standing(NamedTuple):
    """A line as DF1002 and DF1003 show it."""

    shown: str  # as in model.py
    status: str
    code: str
    message: str
    post_date: str = ""
    host_ref: str = ""


class Move(NamedTuple):
    """Money that moved on one day."""

    line: Line
    amount_fen: int
    kind: str  # C or R
    host_ref: str


class Queries:
    """Read-only; what was told is marked by `heard`."""

    def __init__(self, book: Book, returns: Returns) -> None:
        self.book = book
        self._returns = returns
        self._days: dict[tuple[str, str], list[Move]] = {}  # days that are over do not change

    def still_settling(self, batch: str) -> bool:
        """Before the declared settling time "not found" means nothing, so the bank may say it."""
        last = self.book.last_transmission_ms.get(batch)
        return last is not None and self.book.now_ms() < last + self.book.config.settling_seconds * 1000

    def answer(self, trade: str, fields: Sequence[str], fault: str | None) -> Reply:
        """Raises Refused."""
        match trade:
            case form.BATCH:
                return self._batch(fields[0], fault)
            case form.LINE:
                return self._line(fields[0], fields[1], fault)
            case form.RETURNS:
                return self._returned(*fields)
            case form.STATEMENT:
                return self._statement(*fields)
            case _:
                return Reply("0000")

    def heard(self, reply: Reply) -> None:
        for one in reply.heard:
            one.line.asked |= one.bit

    # -- batches and lines

    def _batch(self, number: str, fault: str | None) -> Reply:
        submission = self._visible(number)
        if submission is None or fault == "query_not_found":
            return self._not_found(number)
        return self._items(submission, submission.lines, fault)

    def _line(self, number: str, reference: str, fault: str | None) -> Reply:
        submission = self._visible(number)
        if submission is None or fault == "query_not_found":
            return self._not_found(number)
        # A line under a wrong name is found by both: a bank that is mixed up does not deny what it paid.
        lines = [line for line in submission.lines if reference in (line.reference, self._named(line))]
        if not lines:
            # About this reference alone: the batch is here, and nothing is said about it.
            status = "NOT_FOUND" if self.still_settling(number) else "ABSENT"
            return Reply("1002", denied=[(0, "", status, "1002", "query", reference)])
        return self._items(submission, lines, fault)

    def _visible(self, number: str) -> Submission | None:
        known = self.book.batches.get(number)
        return known[-1] if known and known[-1].visible_ms <= self.book.now_ms() else None

    def _not_found(self, number: str) -> Reply:
        status = "NOT_FOUND" if self.still_settling(number) else "ABSENT"
        return Reply("1002", denied=[(0, number, status, "1002", "query")])

    def _named(self, line: Line) -> str:
        return misname(line.reference) if line.misnamed else line.reference

    def _items(self, submission: Submission, lines: Sequence[Line], fault: str | None) -> Reply:
        """These lines as they stand, or as they stood before anything happened."""
        rows, heard = [], []
        for line in lines:
            stale = fault == "query_stale"
            standing = Standing(RECEIVED, "0", "2000", "已接收") if stale else self._standing(line)
            fen = line.amount_fen if stale else line.paid_fen or line.amount_fen
            reference = line.reference if stale else self._named(line)
            fields = {"REF": reference, "AMT": form.yuan(fen), "STATUS": standing.status, "CODE": standing.code}
            fields |= {"MSG": standing.message, "POSTDATE": standing.post_date, "HOSTREF": standing.host_ref}
            rows.append(_item(fields))
            if not stale and not line.asked & BIT[standing.shown]:
                said = word(line) if standing.shown == line.status else WORD[standing.shown]
                heard.append(self._told(line, standing.shown, said, standing.code, fen))
        body = tag("BATCHNO", submission.batch) + f"<LIST>{''.join(rows)}</LIST>"
        return Reply("0000", body, heard)

    def _told(self, line: Line, shown: str, said: str, code: str, fen: int) -> Told:
        no, reference = (0, misname(line.reference)) if line.misnamed else (line.no, line.reference)
        bit = 0 if line.misnamed else BIT[shown]  # under its own name it is yet to be told
        about = (line.submission.n, line.submission.batch, no, reference)
        return Told(line, bit, (*about, said, code, fen, "query", ""))

    def _standing(self, line: Line) -> Standing:
        if line.status == PAID:
            return Standing(PAID, "2", "0000", "交易成功", line.post_date, line.host_ref)
        if line.status == RETURNED:
            return Standing(PAID, "2", "0000", "交易成功", *line.credited)
        if line.status == SUSPECT:
            return Standing(SUSPECT, "9", *SUSPICIONS[line.no % len(SUSPICIONS)])
        if line.status == RECEIVED:
            return Standing(RECEIVED, "0", "2000", "已接收")
        # "Not executed" is a word that permits another attempt: never before the settling time.
        if line.status == PENDING or (line.plan.kind == NOT_EXECUTED and self.still_settling(line.submission.batch)):
            return Standing(PENDING, "1", "2007", "处理中")
        if line.plan.kind == NOT_EXECUTED:
            return Standing(FAILED, "3", "1002", "未执行")
        return Standing(FAILED, "3", *LINE_CODES.get(line.plan.reason, (line.plan.reason, "交易失败")))

    # -- returns and statements

    def _returned(self, account: str, first: str, last: str, start: str, count: str) -> Reply:
        listed = self._returns.between(account, first, last)
        rows, heard = [], []
        for line in _page(listed, start, count):
            code, message = RETURN_CODE
            if line.no % 2 == 0:  # both are in the manual
                code, message = LINE_CODES.get(line.plan.reason, RETURN_CODE)
            fields = {"BATCHNO": line.submission.batch, "REF": line.reference, "AMT": form.yuan(line.paid_fen)}
            fields |= {"CODE": code, "MSG": message, "POSTDATE": line.post_date, "HOSTREF": line.host_ref}
            rows.append(_item(fields))
            if not line.asked & BIT[RETURNED]:
                heard.append(self._told(line, RETURNED, WORD[RETURNED], code, line.paid_fen))
        return Reply("0000", tag("TOTALNUM", str(len(listed))) + f"<LIST>{''.join(rows)}</LIST>", _once(heard))

    def _statement(self, account: str, date: str, start: str, count: str) -> Reply:
        if not self.book.config.statements or date >= compact(self.book.now_ms()):
            raise Refused("2007")
        moves = self._moves(account, date)
        if not moves:
            raise Refused("1002")
        total_fen = sum(move.amount_fen if move.kind == "C" else -move.amount_fen for move in moves)
        rows, heard = [], []
        for line, fen, kind, host_ref in _page(moves, start, count):
            fields = {"BATCHNO": line.submission.batch, "REF": line.reference, "AMT": form.yuan(fen), "KIND": kind}
            rows.append(_item(fields | {"POSTDATE": date, "HOSTREF": host_ref}))
            shown = PAID if kind == "C" else RETURNED
            if not line.asked & BIT[shown]:
                heard.append(self._told(line, shown, WORD[shown], "", fen))
        head = tag("PAYACC", account) + tag("DATE", date) + tag("TOTALNUM", str(len(moves)))
        body = f"{head}{tag('TOTALAMT', form.yuan(total_fen))}<LIST>{''.join(rows)}</LIST>"
        return Reply("0000", body, _once(heard))

    def _moves(self, account: str, date: str) -> list[Move]:
        """What moved on a day that is over, from the ledger itself, in the order of booking."""
        if (account, date) not in self._days:
            found: list[tuple[int, Move]] = []
            for table, kind in (("credits", "C"), ("returns", "R")):
                query = (
                    f"SELECT m.n, m.submission, m.line, m.amount_fen, m.host_ref FROM {table} m"
                    " JOIN submissions s ON s.n = m.submission WHERE m.post_date = ? AND s.debit_account = ?"
                )
                for n, submission, no, fen, host_ref in self.book.ledger.rows(query, (date, account)):
                    line = self.book.by_number[submission].lines[no - 1]
                    found.append((n, Move(line, fen, kind, host_ref)))
            found.sort(key=lambda one: one[0])
            while len(self._days) >= DAYS_KEPT:
                del self._days[next(iter(self._days))]
            self._days[account, date] = [move for _, move in found]
        return self._days[account, date]


def _item(fields: dict[str, str]) -> str:
    return f"<ITEM>{''.join(tag(name, value) for name, value in fields.items())}</ITEM>"


def _page(items: list[Any], start: str, count: str) -> list[Any]:
    first = int(start) - 1
    return items[first : first + int(count)]


def _once(heard: list[Told]) -> list[Told]:
    """An item that an answer lists twice is told once."""
    return list({(id(one.line), one.bit): one for one in heard}.values())
