"""The ISO 20022 bank's own writing: pain.002.001.10, camt.054.001.08 and camt.053.001.08, element by element."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from tests.bank.timing import dashed
from tests.world import clock

# reason -> (code, text) of one line; several reasons share a code, as in real banks
REASONS = {
    "ACCOUNT_NOT_FOUND": ("AC01", "账号不存在"),
    "NAME_MISMATCH": ("BE01", "账号户名不符"),
    "ID_MISMATCH": ("BE23", "证件号码不符"),
    "ACCOUNT_CLOSED": ("AC04", "账户已销户"),
    "ACCOUNT_FROZEN": ("AC06", "账户已冻结"),
    "ACCOUNT_DORMANT": ("AC13", "账户长期不动"),
    "CARD_LOST_OR_EXPIRED": ("AC06", "卡已挂失"),
    "SSCARD_NOT_ACTIVATED": ("AC13", "社保卡未激活"),
    "ACCOUNT_CLASS_LIMIT": ("AM14", "账户类别限额"),
    "ACCOUNT_TYPE": ("AC14", "账户类型不符"),
    "BANK_CODE_INVALID": ("RC01", "行号错误"),
    "AMOUNT": ("AM02", "金额错误"),
    "DUPLICATE": ("AM05", "重复交易"),
    "FUNDS_SHORT": ("AM04", "账户余额不足"),
    "BENEFICIARY_DECEASED": ("MD07", "收款人已故"),
}
TEXTS = {"FF01": "报文格式错误", "DS02": "签名错误", "AM04": "账户余额不足", "AM05": "批次重复", "AG01": "无代发协议"}
_CODE = re.compile(r"[0-9A-Z]{1,4}")
_VERSION = re.compile(rb"(xsd:(?:pain|camt)\.[0-9]{3}\.001\.)[0-9]{2}")
DEBIT, CREDIT = "DBIT", "CRDT"


class StatusRow(NamedTuple):
    """One line of a status report; `status` "" = the line is named and nothing is said about it."""

    instruction: str  # "" = left out
    reference: str
    status: str
    code: str = ""
    text: str = ""
    host_ref: str = ""


class Booking(NamedTuple):
    """One line's money: paid from the account, or back into it with a reason."""

    batch: str
    reference: str
    fen: int
    post_date: str
    host_ref: str
    code: str = ""
    text: str = ""


class AccountDay(NamedTuple):
    """What a statement says about one account."""

    account: str
    opening_fen: int
    paid: Sequence[Sequence[Booking]]  # one sequence a submission
    returned: Sequence[Booking]
    topped_up_fen: Sequence[int]

    @property
    def closing_fen(self) -> int:
        paid = sum(booking.fen for group in self.paid for booking in group)
        return self.opening_fen - paid + sum(one.fen for one in self.returned) + sum(self.topped_up_fen)


def _e(tag: str, *parts: str) -> str:
    return f"<{tag}>{''.join(parts)}</{tag}>"


def _t(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>" if text else ""


def _money(tag: str, fen: int) -> str:
    return f'<{tag} Ccy="CNY">{fen // 100}.{fen % 100:02d}</{tag}>'


def _document(kind: str, root: str, *parts: str) -> bytes:
    namespace = f"urn:iso:std:iso:20022:tech:xsd:{kind}"
    body = _e(root, *parts)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{namespace}">{body}</Document>'.encode()


def _head(message: str, at: str) -> str:
    return _e("GrpHdr", _t("MsgId", message), _t("CreDtTm", at))


def moment(ms: int) -> str:
    return clock.moment(ms).isoformat(timespec="seconds")


def _reason(tag: str, code: str, text: str) -> str:
    if not code:
        return ""
    kind = "Cd" if _CODE.fullmatch(code) else "Prtry"
    return _e(tag, _e("Rsn", _t(kind, code)), _t("AddtlInf", text))


def status_report(
    message: str, ms: int, original: str, count: int | None, group: str, rows: Iterable[StatusRow] = (), code: str = ""
) -> bytes:
    """A pain.002: an acknowledgement without rows, a report with them; `count` is of the original, None = unknown."""
    listed = "".join(_status(number, row) for number, row in enumerate(rows, 1))
    about = _e(
        "OrgnlGrpInfAndSts",
        _t("OrgnlMsgId", original),
        _t("OrgnlMsgNmId", "pain.001.001.09"),
        _t("OrgnlNbOfTxs", "" if count is None else str(count)),
        _t("GrpSts", group),
        _reason("StsRsnInf", code, TEXTS.get(code, "")),
    )
    if listed:
        about += _e("OrgnlPmtInfAndSts", _t("OrgnlPmtInfId", f"{original}-1"), _t("PmtInfSts", group), listed)
    return _document("pain.002.001.10", "CstmrPmtStsRpt", _head(message, moment(ms)), about)


def _status(number: int, row: StatusRow) -> str:
    return _e(
        "TxInfAndSts",
        _t("StsId", str(number)),
        _t("OrgnlInstrId", row.instruction),
        _t("OrgnlEndToEndId", row.reference),
        _t("TxSts", row.status),
        _reason("StsRsnInf", row.code, row.text),
        _t("AcctSvcrRef", row.host_ref),
    )


def _account(number: str) -> str:
    return _e("Acct", _e("Id", _e("Othr", _t("Id", number))), _t("Ccy", "CNY"))


def _entry(fen: int, side: str, date: str, family: tuple[str, str], details: str, host_ref: str = "") -> str:
    code = _e("Fmly", _t("Cd", family[0]), _t("SubFmlyCd", family[1]))
    return _e(
        "Ntry",
        _money("Amt", fen),
        _t("CdtDbtInd", side),
        _t("RvslInd", "true" if family[1] == "RRTN" else ""),
        _e("Sts", _t("Cd", "BOOK")),
        _e("BookgDt", _t("Dt", dashed(date))),
        _t("AcctSvcrRef", host_ref),
        _e("BkTxCd", _e("Domn", _t("Cd", "PMNT"), code)),
        _e("NtryDtls", details) if details else "",
    )


def _returned(one: Booking, wrong_fen: int = 0) -> str:
    details = _e(
        "TxDtls",
        _e("Refs", _t("MsgId", one.batch), _t("EndToEndId", one.reference)),
        _money("Amt", one.fen),
        _t("CdtDbtInd", CREDIT),
        _reason("RtrInf", one.code, f"退票:{one.text}"),
    )
    return _entry(one.fen + wrong_fen, CREDIT, one.post_date, ("RCDT", "RRTN"), details, one.host_ref)


def return_notice(message: str, ms: int, account: str, returned: Sequence[Booking], wrong: bool = False) -> bytes:
    """A camt.054 of money that came back; `wrong` = the first entry is not what its details add up to."""
    entries = [_returned(one, int(wrong and not number)) for number, one in enumerate(returned)]
    at = moment(ms)
    about = _e("Ntfctn", _t("Id", f"{message}-1"), _t("CreDtTm", at), _account(account), *entries)
    return _document("camt.054.001.08", "BkToCstmrDbtCdtNtfctn", _head(message, at), about)


def _paid(bookings: Sequence[Booking]) -> str:
    """One entry for all that was paid of one submission on one day."""
    first, total = bookings[0], sum(one.fen for one in bookings)
    batch = _e(
        "Btch",
        _t("MsgId", first.batch),
        _t("PmtInfId", f"{first.batch}-1"),
        _t("NbOfTxs", str(len(bookings))),
        _money("TtlAmt", total),
        _t("CdtDbtInd", DEBIT),
    )
    lines = [
        _e(
            "TxDtls",
            _e("Refs", _t("MsgId", one.batch), _t("AcctSvcrRef", one.host_ref), _t("EndToEndId", one.reference)),
            _money("Amt", one.fen),
            _t("CdtDbtInd", DEBIT),
        )
        for one in bookings
    ]
    return _entry(total, DEBIT, first.post_date, ("ICDT", "DMCT"), batch + "".join(lines))


def _balance(kind: str, fen: int, date: str) -> str:
    side = DEBIT if fen < 0 else CREDIT
    return _e(
        "Bal",
        _e("Tp", _e("CdOrPrtry", _t("Cd", kind))),
        _money("Amt", abs(fen)),
        _t("CdtDbtInd", side),
        _e("Dt", _t("Dt", dashed(date))),
    )


def statement(message: str, ms: int, date: str, days: Sequence[AccountDay], wrong: bool = False) -> bytes:
    """The camt.053 of a day, a Stmt an account; `wrong` = the closing balances are a fen too high."""
    at = moment(ms)
    statements = [
        _e(
            "Stmt",
            _t("Id", f"{message}-{number}"),
            _t("CreDtTm", at),
            _account(day.account),
            _balance("OPBD", day.opening_fen, date),
            _balance("CLBD", day.closing_fen + int(wrong), date),
            *(_paid(group) for group in day.paid),
            *(_returned(one) for one in day.returned),
            *(_entry(fen, CREDIT, date, ("RCDT", "DMCT"), "") for fen in day.topped_up_fen),
        )
        for number, day in enumerate(days, 1)
    ]
    return _document("camt.053.001.08", "BkToCstmrStmt", _head(message, at), *statements)


# -- what a fault makes of a sound file


def bombed(body: bytes) -> bytes:
    """The same file with a document type whose entities grow to a gigabyte where they are used."""
    levels = [b'<!ENTITY e0 "0123456789">']
    levels += [b'<!ENTITY e%d "%b">' % (level, b"&e%d;" % (level - 1) * 10) for level in range(1, 9)]
    doctype = b"<!DOCTYPE Document [" + b"".join(levels) + b"]>\n"
    return body.replace(b"<Document", doctype + b"<Document", 1).replace(b"<MsgId>", b"<MsgId>&e8;", 1)


def of_another_version(body: bytes) -> bytes:
    """The same file in the namespace of a version that nobody agreed on."""
    return _VERSION.sub(rb"\g<1>02", body)
