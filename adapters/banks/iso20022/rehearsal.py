"""Plays the bank of ISO 20022 files for ``gateway adapter check``: reads and writes them from BANK.md alone.

Nothing here comes from the adapter's own modules. A payment file is read over its characters, not by a parser: the
manual is the sample, so an element too many, out of order or with a blank beside it is seen.

What was booked stands in two places, as at the real bank: a pain.002 says that a line is credited, without amount and
day, and the camt.053 of the day, written the day after, says both. Each further booking of a line is a day later.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, unescape
from zoneinfo import ZoneInfo

from adapters.conformance import (
    CannotSay,
    Files,
    Golden,
    Kind,
    Occasion,
    Received,
    ReceivedLine,
    Request,
    Said,
    Site,
    Told,
)
from adapters.contract import Line, Submission
from schemas.masked import AccountNumber, IdNumber, PersonName

_SAMPLE: Final = Path(__file__).parent / "recorded" / "pain.001.001.09.xml"
_NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
_OPENING_FEN: Final = 100_000_000

# GrpSts and reason of a pain.002 without lines, and where the file goes.
_GROUP: Final = {
    Occasion.TAKEN: ("ACCP", "", "taken"),
    Occasion.TAKEN_BEFORE: ("RJCT", "AM05", "refused"),
    Occasion.FORMAT_REFUSED: ("RJCT", "FF01", "refused"),
    Occasion.FUNDS_SHORT: ("RJCT", "AM04", "refused"),
    Occasion.ODD_CODE: ("RJCT", "ZZ99", "refused"),
    Occasion.NO_CODE: ("RJCT", "", "refused"),
}
# TxSts, reason and words of a line. One that came back was credited: a camt.054 tells of the return.
_LINE: Final = {
    Occasion.CREDITED: ("ACCC", "", ""),
    Occasion.RETURNED: ("ACCC", "", ""),
    Occasion.REJECTED: ("RJCT", "BE01", "账号户名不符"),
    Occasion.IN_PROCESS: ("ACSC", "", ""),  # the debtor's side is settled, under the bank's own reference
    Occasion.SUSPICIOUS: ("PDNG", "NARR", "可疑交易核实中"),
    Occasion.LINE_ODD_CODE: ("RJCT", "ZZ99", "其他"),
    Occasion.LINE_NO_CODE: ("RJCT", "", ""),
    Occasion.LINE_DUPLICATE: ("RJCT", "AM05", "重复"),
}
_BOOKED: Final = frozenset({"ACCC", "ACSC"})


def _e(path: str, *content: str) -> str:
    """Content inside the elements of a path, outermost first."""
    names = path.split("/")
    return "".join(f"<{name}>" for name in names) + "".join(content) + "".join(f"</{name}>" for name in names[::-1])


_TEXT: Final = r"(?:[^<>&]|&(?:amp|lt|gt);){1,140}"
_YUAN: Final = r"(?:0|[1-9][0-9]{0,15})\.[0-9]{2}"
_ACCOUNT: Final = "[0-9A-Za-z]{1,34}"
_DAY: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00"
_AGENT: Final = _e("FinInstnId/ClrSysMmbId", _e("ClrSysId/Cd", "CNAPS"), _e("MmbId", "[0-9]{12}"))
_UPLOAD: Final = re.compile(r"in/(?P<day>[0-9]{8})/(?P<message>[0-9A-Z]{1,20})\.xml")
_FILE: Final = re.compile(
    r'<\?xml version="1\.0" encoding="UTF-8"\?>\n'
    + f'<Document xmlns="{re.escape(_NAMESPACE)}pain\\.001\\.001\\.09"><CstmrCdtTrfInitn>'
    + _e(
        "GrpHdr",
        _e("MsgId", "(?P<message>[0-9A-Z]{1,20})"),
        _e("CreDtTm", f"(?P<day>{_DAY}){_TIME}"),
        _e("NbOfTxs", "(?P<count>[1-9][0-9]{0,14})"),
        _e("CtrlSum", f"(?P<total>{_YUAN})"),
        _e("InitgPty", _e("Nm", _TEXT), _e("Id/OrgId/Othr/Id", _ACCOUNT)),
    )
    + _e(
        "PmtInf",
        _e("PmtInfId", "(?P=message)-1"),
        _e("PmtMtd", "TRF") + _e("BtchBookg", "true"),
        _e("NbOfTxs", "(?P=count)") + _e("CtrlSum", "(?P=total)"),
        _e("PmtTpInf", _e("SvcLvl/Prtry", "[0-9A-Z]{1,35}"), _e("CtgyPurp/Cd", "[0-9A-Z]{4}")),
        _e("ReqdExctnDt/Dt", "(?P=day)"),
        _e("Dbtr/Nm", _TEXT),
        _e("DbtrAcct", _e("Id/Othr/Id", f"(?P<debit>{_ACCOUNT})"), _e("Ccy", "CNY")),
        _e("DbtrAgt", _AGENT),
        _e("ChrgBr", "DEBT"),
        "(?P<transfers>(?:<CdtTrfTxInf>.+?</CdtTrfTxInf>)+)",
    )
    + "</CstmrCdtTrfInitn></Document>",
    re.DOTALL,
)
_TRANSFER: Final = re.compile(
    _e(
        "CdtTrfTxInf",
        _e("PmtId", _e("InstrId", "(?P<instruction>[0-9A-Z]+-[0-9]{6})"), _e("EndToEndId", "(?P<ref>[0-9A-Z]{1,35})")),
        f'<Amt><InstdAmt Ccy="CNY">(?P<amount>{_YUAN})</InstdAmt></Amt>',
        _e("CdtrAgt", _AGENT),
        _e(
            "Cdtr",
            _e("Nm", f"(?P<name>{_TEXT})"),
            _e("Id/PrvtId/Othr", _e("Id", "(?P<id_no>[0-9A-Z]{1,18})"), _e("SchmeNm/Cd", "NIDN")),
        ),
        _e("CdtrAcct/Id/Othr/Id", f"(?P<account>{_ACCOUNT})"),
        _e("Purp/Cd", "[0-9A-Z]{4}"),
        _e("RmtInf/Ustrd", _TEXT),
    ),
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Booking:
    """One movement on the fiscal account."""

    said: Said
    booking: int
    returned: bool
    day: dt.date
    host_reference: str


class Iso20022Rehearsal:
    kind = Kind.SFTP
    directories = ("in", "out")

    def __init__(self) -> None:
        self._settled_is_credited = False

    def settings(self, site: Site, configured: Mapping[str, Any]) -> dict[str, Any]:
        self._settled_is_credited = bool(configured.get("settled_is_credited", False))
        return {
            "initiating_party_name": "XJ YKT GATEWAY",
            "initiating_party_id": "65999901",
            "debtor_agent": "402881000015",
            **configured,
            "sftp": site.sftp(),
        }

    def read(self, request: Request) -> Received | None:
        place = _UPLOAD.fullmatch(request.target)
        if place is None:
            return None
        file = _file(request)
        if (file["message"], file["day"].replace("-", "")) != (place["message"], place["day"]):
            raise ValueError("the file is not named for its message and day")
        lines = tuple(_lines(file))
        return Received(file["message"], int(file["count"]), _fen(file["total"]), lines, request.body)

    def answer(self, told: Told) -> Files:
        if told.submission is None or told.arrived is None:
            return Files()  # there is no query: a bank that has nothing shows nothing
        if told.occasion is Occasion.RESULTS:
            return Files(write={**self._report(told, told.submission), **_books(told)})
        if told.occasion not in _GROUP:
            raise CannotSay("a pain.002 has no status for this: the file lies unanswered until the bank comes to it")
        status, reason, place = _GROUP[told.occasion]
        head = _original(told.submission, status, _reason("StsRsnInf", reason, ""))
        path = told.arrived.target
        day, _, name = path.rpartition("/")
        return Files(write={_report_name(told): _pain002(told, head)}, move={path: f"{day}/{place}/{name}"})

    def _report(self, told: Told, submission: Received) -> dict[str, bytes]:
        """The lines that are told of; the others were told before, or are open."""
        statuses = [self._status(said) for said in told.lines]
        through = len(statuses) == submission.count and set(statuses) == {"ACCC"}
        group = "ACCC" if through else "PART"
        rows = [_row(told, submission, said, self._status(said)) for said in told.lines]
        head = _original(submission, group)
        payment = _e(
            "OrgnlPmtInfAndSts", _e("OrgnlPmtInfId", f"{submission.reference}-1"), _e("PmtInfSts", group), *rows
        )
        return {_report_name(told): _pain002(told, head + payment)}

    def _status(self, said: Said) -> str:
        status = _LINE[said.occasion][0]
        # Where the agreement makes ACSC a credit, a line in process is one that the bank has only taken.
        return "ACSP" if status == "ACSC" and self._settled_is_credited else status

    def golden(self) -> Golden:
        """``recorded/pain.001.001.09.xml`` is the sample of the manual."""
        programme, purpose, period = "XJ-NY-04", "草原生态保护补助奖励", "2026"
        rows = (
            (1, "古丽娜尔·阿卜杜热合曼", "659999199012310040", "6299990000000000038"),
            (2, "阿依古丽·买买提", "659999198001010021", "6299990000000000012"),
        )
        lines = tuple(
            Line(
                reference=f"01JDF7DEFGHJKMNPQRSTVWXY{number:02d}",
                name=PersonName(name),
                id_type="01",
                id_no=IdNumber(id_no),
                account=AccountNumber(account),
                account_kind="CARD",
                bank_no="403881000017",
                amount_fen=60_000,
                programme=programme,
                purpose=purpose,
                period=period,
            )
            for number, name, id_no, account in rows
        )
        head = Submission(
            reference="DF202611240004",
            county="659999",
            debit_account=AccountNumber("6599990000000017"),
            debit_name="某某县财政局惠民惠农补贴专户",
            programme=programme,
            purpose=purpose,
            period=period,
        )
        at = dt.datetime(2026, 11, 24, 10, 20, tzinfo=ZoneInfo("Asia/Shanghai"))
        return Golden(head, lines, at, _SAMPLE.read_bytes(), "in/20261124/DF202611240004.xml")


# --- reading ---------------------------------------------------------------------------------------------------------


def _file(request: Request) -> re.Match[str]:
    file = _FILE.fullmatch(request.body.decode("utf-8"))
    if file is None:
        raise ValueError("the file has other elements than the sample")
    return file


def _lines(file: re.Match[str]) -> Iterator[ReceivedLine]:
    text, place, number = file["transfers"], 0, 0
    while place < len(text):
        transfer, number = _TRANSFER.match(text, place), number + 1
        if transfer is None or transfer["instruction"] != f"{file['message']}-{number:06d}":
            raise ValueError("a transfer has other elements than the sample, or another number")
        place, name = transfer.end(), unescape(transfer["name"])
        if name.strip() != name:
            raise ValueError("a name has a blank at an end")
        yield ReceivedLine(transfer["ref"], transfer["account"], name, _fen(transfer["amount"]), transfer["id_no"])


def _fen(yuan: str) -> int:
    return int(yuan.replace(".", ""))


# --- pain.002 --------------------------------------------------------------------------------------------------------


def _report_name(told: Told) -> str:
    message = told.submission.reference if told.submission else ""
    return f"out/{told.day:%Y%m%d}/pain002_{message}_{told.serial:02d}.xml"


def _pain002(told: Told, *content: str) -> bytes:
    return _document("pain.002.001.10", "CstmrPmtStsRpt", f"BK{told.day:%Y%m%d}{told.serial:06d}", told.day, *content)


def _original(submission: Received, status: str, reason: str = "") -> str:
    return _e(
        "OrgnlGrpInfAndSts",
        _e("OrgnlMsgId", submission.reference),
        _e("OrgnlMsgNmId", "pain.001.001.09"),
        _e("OrgnlNbOfTxs", str(submission.count)),
        _e("GrpSts", status),
        reason,
    )


def _row(told: Told, submission: Received, said: Said, status: str) -> str:
    _, reason, words = _LINE[said.occasion]
    booking = 1 if said.occasion is Occasion.RETURNED else said.booking
    return _e(
        "TxInfAndSts",
        _e("StsId", str(said.number)),
        _e("OrgnlInstrId", f"{submission.reference}-{said.number:06d}"),
        _e("OrgnlEndToEndId", said.line.reference),
        _e("TxSts", status),
        _reason("StsRsnInf", reason, said.text or words),
        _e("AcctSvcrRef", _host_reference(told, said, booking)) if status in _BOOKED else "",
    )


def _reason(name: str, code: str, words: str) -> str:
    return _e(name, _e("Rsn/Cd", code), _e("AddtlInf", escape(words)) if words else "") if code else ""


# --- camt.054 and camt.053 -------------------------------------------------------------------------------------------


def _books(told: Told) -> dict[str, bytes]:
    """What was booked: a notification of each return, and the statement of each day on which something moved."""
    booked = [each for said in told.lines for each in _bookings(told, said)]
    files: dict[str, bytes] = {}
    for day in sorted({each.day for each in booked}):
        of_day = [each for each in booked if each.day == day]
        following = day + dt.timedelta(days=1)
        files[f"out/{following:%Y%m%d}/camt053_{day:%Y%m%d}.xml"] = _statement(told, day, of_day)
        returned = [each for each in of_day if each.returned]
        if returned:
            files[f"out/{day:%Y%m%d}/camt054_{day:%Y%m%d}_{told.serial:06d}.xml"] = _notification(told, day, returned)
    return files


def _bookings(told: Told, said: Said) -> Iterator[_Booking]:
    """What came back had been paid before."""
    if said.occasion is Occasion.CREDITED:
        yield _booking(told, said, said.booking, returned=False)
    elif said.occasion is Occasion.RETURNED:
        yield _booking(told, said, 1, returned=False)
        yield _booking(told, said, said.booking, returned=True)


def _booking(told: Told, said: Said, booking: int, *, returned: bool) -> _Booking:
    day = told.day + dt.timedelta(days=booking - 1)
    return _Booking(said, booking, returned, day, _host_reference(told, said, booking))


def _host_reference(told: Told, said: Said, booking: int) -> str:
    return f"H{told.day:%Y%m%d}{booking:03d}{said.number:03d}"


def _notification(told: Told, day: dt.date, returned: Sequence[_Booking]) -> bytes:
    message = f"BN{day:%Y%m%d}{told.serial:06d}"
    entries = [_return_entry(told, each) for each in returned]
    content = _e("Ntfctn", _e("Id", f"{message}-1"), _made(day), _account(told), *entries)
    return _document("camt.054.001.08", "BkToCstmrDbtCdtNtfctn", message, day, content)


def _statement(told: Told, day: dt.date, booked: Sequence[_Booking]) -> bytes:
    """The same bookings give the same bytes: the bank does not rewrite a statement."""
    message = f"BS{day:%Y%m%d}"
    paid = [each for each in booked if not each.returned]
    returned = [each for each in booked if each.returned]
    moved = sum(each.said.amount_fen for each in returned) - sum(each.said.amount_fen for each in paid)
    content = _e(
        "Stmt",
        _e("Id", f"{message}-1") + _made(day) + _account(told),
        _balance("OPBD", _OPENING_FEN, day) + _balance("CLBD", _OPENING_FEN + moved, day),
        _paid_entry(told, day, paid) if paid else "",
        *(_return_entry(told, each) for each in returned),
    )
    return _document("camt.053.001.08", "BkToCstmrStmt", message, day, content)


def _paid_entry(told: Told, day: dt.date, paid: Sequence[_Booking]) -> str:
    """One debit for all that was paid of the submission on a day."""
    message = told.submission.reference if told.submission else ""
    total = sum(each.said.amount_fen for each in paid)
    batch = _e(
        "Btch",
        _e("MsgId", message) + _e("PmtInfId", f"{message}-1") + _e("NbOfTxs", str(len(paid))),
        _amount("TtlAmt", total) + _e("CdtDbtInd", "DBIT"),
    )
    details = [
        _e(
            "TxDtls",
            _e(
                "Refs",
                _e("MsgId", message),
                _e("AcctSvcrRef", each.host_reference),
                _e("EndToEndId", each.said.line.reference),
            ),
            _amount("Amt", each.said.amount_fen) + _e("CdtDbtInd", "DBIT"),
        )
        for each in paid
    ]
    return _entry(total, "DBIT", day, "", _e("NtryDtls", batch, *details))


def _return_entry(told: Told, each: _Booking) -> str:
    message = told.submission.reference if told.submission else ""
    details = _e(
        "NtryDtls/TxDtls",
        _e("Refs", _e("MsgId", message), _e("EndToEndId", each.said.line.reference)),
        _amount("Amt", each.said.amount_fen) + _e("CdtDbtInd", "CRDT"),
        _reason("RtrInf", "AC04", each.said.text or "退票:账户已销户"),
    )
    return _entry(each.said.amount_fen, "CRDT", each.day, each.host_reference, details)


def _entry(fen: int, side: str, day: dt.date, host_reference: str, details: str) -> str:
    family = (
        _e("Cd", "ICDT") + _e("SubFmlyCd", "DMCT") if side == "DBIT" else _e("Cd", "RCDT") + _e("SubFmlyCd", "RRTN")
    )
    return _e(
        "Ntry",
        _amount("Amt", fen) + _e("CdtDbtInd", side) + (_e("RvslInd", "true") if side == "CRDT" else ""),
        _e("Sts/Cd", "BOOK") + _e("BookgDt/Dt", day.isoformat()),
        _e("AcctSvcrRef", host_reference) if host_reference else "",
        _e("BkTxCd/Domn", _e("Cd", "PMNT"), _e("Fmly", family)),
        details,
    )


def _balance(kind: str, fen: int, day: dt.date) -> str:
    side = _e("CdtDbtInd", "DBIT" if fen < 0 else "CRDT")
    return _e("Bal", _e("Tp/CdOrPrtry/Cd", kind), _amount("Amt", abs(fen)), side, _e("Dt/Dt", day.isoformat()))


def _account(told: Told) -> str:
    debit = _file(told.arrived)["debit"] if told.arrived else ""
    return _e("Acct", _e("Id/Othr/Id", debit), _e("Ccy", "CNY"))


def _amount(name: str, fen: int) -> str:
    return f'<{name} Ccy="CNY">{fen // 100}.{fen % 100:02d}</{name}>'


def _made(day: dt.date) -> str:
    return _e("CreDtTm", f"{day.isoformat()}T18:00:00+08:00")


def _document(kind: str, root: str, message: str, day: dt.date, *content: str) -> bytes:
    inside = _e(root, _e("GrpHdr", _e("MsgId", message), _made(day)), *content)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{_NAMESPACE}{kind}">{inside}</Document>'
    return text.encode("utf-8")
