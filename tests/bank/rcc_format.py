"""The file bank's own reading and writing of its GB18030 files: batch, acknowledgement, result, statement."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes

from tests.bank.file_desk import Refused
from tests.bank.model import FAILED, PAID, PENDING, RECEIVED, RETURNED, SUSPECT, Item, Line

ENCODING = "gb18030"
TEXT = {
    "0000": "文件已接收",
    "F001": "文件格式错误",
    "F002": "合计不符",
    "F003": "批次重复",
    "F004": "日期错误",
    "F005": "摘要错误",
    "F006": "无代发协议",
    "F007": "账户余额不足",
}
# reason -> (code, text) of one failed line
LINE_CODES = {
    "ACCOUNT_NOT_FOUND": ("3004", "账号不存在"),
    "NAME_MISMATCH": ("3031", "账号户名不符"),
    "ID_MISMATCH": ("3063", "证件号码不符"),
    "ACCOUNT_CLOSED": ("3018", "账户已销户"),
    "ACCOUNT_FROZEN": ("3017", "账户已冻结"),
    "ACCOUNT_DORMANT": ("3057", "账户长期不动"),
    "CARD_LOST_OR_EXPIRED": ("3006", "卡已挂失"),
    "SSCARD_NOT_ACTIVATED": ("3037", "社保卡未激活"),
    "ACCOUNT_CLASS_LIMIT": ("3013", "账户类别限额"),
    "ACCOUNT_TYPE": ("3034", "账户类型不符"),
    "BANK_CODE_INVALID": ("3099", "行号错误"),
    "AMOUNT": ("3014", "金额错误"),
    "DUPLICATE": ("3051", "重复交易"),
    "FUNDS_SHORT": ("3008", "账户余额不足"),
}
_STATUS = {RECEIVED: PENDING}
_ORG = re.compile(r"[0-9A-Z]{1,9}")
_BATCH = re.compile(r"[0-9A-Z]{1,20}")
_REFERENCE = re.compile(r"[0-9A-Z]{1,26}")
_ACCOUNT = re.compile(r"[0-9A-Za-z]{1,32}")
_ID = re.compile(r"[0-9A-Z]{1,18}")
_AMOUNT = re.compile(r"[0-9]{1,13}")


class BatchFile(NamedTuple):
    """A readable batch file."""

    org: str
    batch: str
    seq: str
    date: str
    debit_account: str
    total_fen: int
    items: list[Item]


def sm3(data: bytes) -> str:
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize().hex()


def seal(data: bytes) -> bytes:
    """The content of the `.ok` file that makes `data` exist."""
    return f"{len(data)}|{sm3(data)}".encode()


def parse_batch(data: bytes) -> BatchFile:
    """Read a batch file strictly. Raises Refused with F001 (form), F002 (totals) or F005 (digest of the trailer)."""
    # Decode first, split after: some two-byte characters end in the byte of the separator.
    try:
        text = data.decode(ENCODING)
    except UnicodeDecodeError:
        raise Refused("F001") from None
    rows = text.split("\r\n")
    if len(rows) < 4 or rows[-1] or "\n" in text.replace("\r\n", ""):
        raise Refused("F001")
    head, trailer = rows[0].split("|"), rows[-2].split("|")
    if len(head) != 13 or head[:2] != ["H", "1.0"] or len(trailer) != 4 or trailer[0] != "T":
        raise Refused("F001")
    before = len(data) - len(rows[-2].encode(ENCODING)) - 2
    if trailer[3] != sm3(data[:before]):
        raise Refused("F005")
    _, _, org, batch, seq, date, biz, debit, debit_name, count, total, currency, algorithm = head
    good = (
        _ORG.fullmatch(org)
        and _BATCH.fullmatch(batch)
        and re.fullmatch(r"[0-9]{2}\|[0-9]{8}\|[0-9A-Z]{1,6}", f"{seq}|{date}|{biz}")
        and _ACCOUNT.fullmatch(debit)
        and 0 < len(debit_name) <= 60
        and re.fullmatch(r"[0-9]{1,8}\|[0-9]{1,15}\|CNY\|SM3", f"{count}|{total}|{currency}|{algorithm}")
    )
    if not good:
        raise Refused("F001")
    items = [_item(row, number) for number, row in enumerate(rows[1:-2], 1)]
    if len({item.reference for item in items}) != len(items):
        raise Refused("F001")
    sum_fen = sum(item.amount_fen for item in items)
    told = {(int(count), int(total)), (_number(trailer[1]), _number(trailer[2]))}
    if told != {(len(items), sum_fen)}:
        raise Refused("F002")
    return BatchFile(org, batch, seq, date, debit, sum_fen, items)


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else -1


def _item(row: str, number: int) -> Item:
    fields = row.split("|")
    if len(fields) != 11 or fields[0] != "D" or fields[1] != f"{number:06d}":
        raise Refused("F001")
    _, _, reference, account, name, id_type, id_no, amount, programme, purpose, period = fields
    good = (
        _REFERENCE.fullmatch(reference)
        and _ACCOUNT.fullmatch(account)
        and _ID.fullmatch(id_no)
        and _AMOUNT.fullmatch(amount)
        and 0 < len(name) <= 100
    )
    if not good or int(amount) <= 0 or len(id_type) != 2 or len(programme) > 12 or len(period) > 7:
        raise Refused("F001")
    if len(purpose) > 5 and len(purpose.encode(ENCODING)) > 20:  # of at most four bytes each
        raise Refused("F001")
    return Item(number, reference, account, name, id_no, int(amount), programme, period)


def acknowledgement(batch: str, seq: str, code: str) -> bytes:
    return f"{batch}|{seq}|{code}|{TEXT[code]}\r\n".encode(ENCODING)


def line_code(line: Line) -> tuple[str, str]:
    """The bank's code and text for a line as it stands."""
    if line.status == PAID:
        return "0000", "交易成功"
    if line.status == RETURNED:
        return "3056", "退票:账户状态异常"
    if line.status == FAILED:
        return LINE_CODES.get(line.plan.reason, (line.plan.reason, "交易失败"))
    return ("3999", "可疑交易") if line.status == SUSPECT else ("2007", "处理中")


class ResultRow(NamedTuple):
    """One D row of a result file, as told (a fault may tell something else than the truth)."""

    no: int
    reference: str
    account: str
    amount_fen: int
    status: str
    code: str
    text: str
    post_date: str
    host_ref: str


def result_row(line: Line, reference: str) -> ResultRow:
    code, text = line_code(line)
    moved = line.status in (PAID, RETURNED)
    date, host = (line.post_date, line.host_ref) if moved else ("", "")
    status = _STATUS.get(line.status, line.status)
    amount = line.paid_fen if moved else line.amount_fen
    return ResultRow(line.no, reference, line.account, amount, status, code, text, date, host)


def result(org: str, batch: str, seq: str, date: str, rows: Sequence[ResultRow], wrong_fen: int = 0) -> bytes:
    """A result file; `wrong_fen` falsifies its totals."""
    paid = [row.amount_fen for row in rows if row.status == PAID]
    failed = [row.amount_fen for row in rows if row.status in (FAILED, RETURNED)]
    total = sum(row.amount_fen for row in rows) + wrong_fen
    counts = f"{len(rows)}|{total}|{len(paid)}|{sum(paid)}|{len(failed)}|{sum(failed)}"
    out = [f"H|1.0|{org}|{batch}|{seq}|{date}|{counts}"]
    out += [f"D|{r[0]:06d}|{r[1]}|{r[2]}|{r[3]}|{r[4]}|{r[5]}|{r[6]}|{r[7]}|{r[8]}" for r in rows]
    return _closed("\r\n".join(out) + "\r\n", len(rows), total)


def _closed(text: str, count: int, total: int) -> bytes:
    body = text.encode(ENCODING)
    return body + f"T|{count}|{total}|{sm3(body)}\r\n".encode()


def statement(org: str, date: str, moves: Sequence[tuple[str, str, int, str, str, str, str]]) -> bytes:
    """The day's statement; a move is (reference, account, fen, C or R, post date, host reference, batch)."""
    total = sum(move[2] if move[3] == "C" else -move[2] for move in moves)
    out = [f"H|1.0|{org}|{date}|{len(moves)}|{total}"]
    out += [f"D|{number:06d}|" + "|".join(map(str, move)) for number, move in enumerate(moves, 1)]
    return _closed("\r\n".join(out) + "\r\n", len(moves), total)
