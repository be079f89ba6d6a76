"""Plays the bank of ISO 20022 files for ``gateway adapter check``: reads and writes them from BANK.md alone.

Nothing here comes from the adapter's own modules. A payment file is read over its characters, not by a parser: the
manual is the sample, so an element too many, out of order or with a blank beside it is seen.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import unescape
from zoneinfo import ZoneInfo

from adapters.banks.iso20022.rehearsal_books import NAMESPACE, because, books, document, host_reference, tag
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


_TEXT: Final = r"(?:[^<>&]|&(?:amp|lt|gt);){1,140}"
_YUAN: Final = r"(?:0|[1-9][0-9]{0,15})\.[0-9]{2}"
_ACCOUNT: Final = "[0-9A-Za-z]{1,34}"
_DAY: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00"
_AGENT: Final = tag("FinInstnId/ClrSysMmbId", tag("ClrSysId/Cd", "CNAPS"), tag("MmbId", "[0-9]{12}"))
_UPLOAD: Final = re.compile(r"in/(?P<day>[0-9]{8})/(?P<message>[0-9A-Z]{1,20})\.xml")
_FILE: Final = re.compile(
    r'<\?xml version="1\.0" encoding="UTF-8"\?>\n'
    + f'<Document xmlns="{re.escape(NAMESPACE)}pain\\.001\\.001\\.09"><CstmrCdtTrfInitn>'
    + tag(
        "GrpHdr",
        tag("MsgId", "(?P<message>[0-9A-Z]{1,20})"),
        tag("CreDtTm", f"(?P<day>{_DAY}){_TIME}"),
        tag("NbOfTxs", "(?P<count>[1-9][0-9]{0,14})"),
        tag("CtrlSum", f"(?P<total>{_YUAN})"),
        tag("InitgPty", tag("Nm", _TEXT), tag("Id/OrgId/Othr/Id", _ACCOUNT)),
    )
    + tag(
        "PmtInf",
        tag("PmtInfId", "(?P=message)-1"),
        tag("PmtMtd", "TRF") + tag("BtchBookg", "true"),
        tag("NbOfTxs", "(?P=count)") + tag("CtrlSum", "(?P=total)"),
        tag("PmtTpInf", tag("SvcLvl/Prtry", "[0-9A-Z]{1,35}"), tag("CtgyPurp/Cd", "[0-9A-Z]{4}")),
        tag("ReqdExctnDt/Dt", "(?P=day)"),
        tag("Dbtr/Nm", _TEXT),
        tag("DbtrAcct", tag("Id/Othr/Id", f"(?P<debit>{_ACCOUNT})"), tag("Ccy", "CNY")),
        tag("DbtrAgt", _AGENT),
        tag("ChrgBr", "DEBT"),
        "(?P<transfers><CdtTrfTxInf>.+</CdtTrfTxInf>)",  # one after the other: see _lines
    )
    + "</CstmrCdtTrfInitn></Document>",
    re.DOTALL,
)
_TRANSFER: Final = re.compile(
    tag(
        "CdtTrfTxInf",
        tag(
            "PmtId",
            tag("InstrId", "(?P<instruction>[0-9A-Z]+-[0-9]{6})"),
            tag("EndToEndId", "(?P<ref>[0-9A-Z]{1,35})"),
        ),
        f'<Amt><InstdAmt Ccy="CNY">(?P<amount>{_YUAN})</InstdAmt></Amt>',
        tag("CdtrAgt", _AGENT),
        tag(
            "Cdtr",
            tag("Nm", f"(?P<name>{_TEXT})"),
            tag("Id/PrvtId/Othr", tag("Id", "(?P<id_no>[0-9A-Z]{1,18})"), tag("SchmeNm/Cd", "NIDN")),
        ),
        tag("CdtrAcct/Id/Othr/Id", f"(?P<account>{_ACCOUNT})"),
        tag("Purp/Cd", "[0-9A-Z]{4}"),
        tag("RmtInf/Ustrd", _TEXT),
    ),
    re.DOTALL,
)


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
        count, total_fen = int(file["count"]), _fen(file["total"])
        return Received(file["message"], count, total_fen, lines, request.body, file["debit"])

    def answer(self, told: Told) -> Files:
        if told.submission is None or told.arrived is None:
            return Files()  # there is no query: a bank that has nothing shows nothing
        if told.occasion is Occasion.RESULTS:
            return Files(write={**self._report(told, told.submission), **books(told, _file(told.arrived)["debit"])})
        if told.occasion not in _GROUP:
            raise CannotSay("a pain.002 has no status for this: the file lies unanswered until the bank comes to it")
        status, reason, place = _GROUP[told.occasion]
        head = _original(told.submission, status, because("StsRsnInf", reason, ""))
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
        payment = tag(
            "OrgnlPmtInfAndSts",
            tag("OrgnlPmtInfId", f"{submission.reference}-1"),
            tag("PmtInfSts", group),
            *rows,
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
    return document("pain.002.001.10", "CstmrPmtStsRpt", f"BK{told.day:%Y%m%d}{told.serial:06d}", told.day, *content)


def _original(submission: Received, status: str, reason: str = "") -> str:
    return tag(
        "OrgnlGrpInfAndSts",
        tag("OrgnlMsgId", submission.reference),
        tag("OrgnlMsgNmId", "pain.001.001.09"),
        tag("OrgnlNbOfTxs", str(submission.count)),
        tag("GrpSts", status),
        reason,
    )


def _row(told: Told, submission: Received, said: Said, status: str) -> str:
    _, reason, words = _LINE[said.occasion]
    booking = 1 if said.occasion is Occasion.RETURNED else said.booking
    return tag(
        "TxInfAndSts",
        tag("StsId", str(said.number)),
        tag("OrgnlInstrId", f"{submission.reference}-{said.number:06d}"),
        tag("OrgnlEndToEndId", said.line.reference),
        tag("TxSts", status),
        because("StsRsnInf", reason, said.text or words),
        tag("AcctSvcrRef", host_reference(said, booking)) if status in _BOOKED else "",
    )
