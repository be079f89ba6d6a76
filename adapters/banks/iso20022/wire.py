"""The bytes and names of ``iso20022``: writes pain.001.001.09, and tells what a bank's file is. Pure.

Nothing is cut and nothing is replaced: a value longer than the schema allows, or with a character that XML cannot carry
or a reader may change, is refused as a line before anything is written.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from adapters.banks.iso20022 import camt, status
from adapters.banks.iso20022.document import BANK_TIME, read
from adapters.contract import Artefact, Evidence, Line, Reason, Statement, Submission, Unreadable
from adapters.wire.folders import day_before
from adapters.wire.sightings import Place

ENCODING: Final = "utf-8"
NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
LINES_IN_A_FILE: Final = 999_999  # the number of a line has six digits in InstrId
GREATEST_FEN: Final = 10**18 - 1  # the schema's 18 digits
NAME_CHARACTERS: Final = 140
REMITTANCE_CHARACTERS: Final = 140

_REFERENCE: Final = re.compile(r"[0-9A-Z]{1,35}").fullmatch
_SUBMISSION: Final = re.compile(r"[0-9A-Z]{1,20}").fullmatch
_ACCOUNT: Final = re.compile(r"[0-9A-Za-z]{1,34}").fullmatch
_RESIDENT_ID: Final = re.compile(r"[0-9A-Z]{1,18}").fullmatch
_MEMBER: Final = re.compile(r"[0-9]{12}").fullmatch
_PROGRAMME: Final = re.compile(r"[0-9A-Za-z-]{1,12}").fullmatch
_PERIOD: Final = re.compile(r"[0-9A-Za-z-]{1,7}").fullmatch
_SCHEMES: Final = {"01": "NIDN"}  # the only kind of paper that the manual names

# Control characters and line separators, surrogates, private use, and what XML cannot carry at all. A tab or an end of
# line would survive in the bytes and be changed by a reader.
_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\U000f0000-\U0010ffff]"
).search

_UPLOAD: Final = re.compile(r"in/([0-9]{8})/([0-9A-Z]{1,20})\.xml").fullmatch
_REPORT: Final = re.compile(r"pain002_([0-9A-Z]{1,20})_([0-9]{2,4})\.xml").fullmatch
_NOTIFICATION: Final = re.compile(r"camt054_([0-9]{8})_([0-9]{6})\.xml").fullmatch
_STATEMENT: Final = re.compile(r"camt053_([0-9]{8})\.xml").fullmatch


# --- names -----------------------------------------------------------------------------------------------------------


def upload_name(submission: str, day: dt.date) -> str:
    return f"in/{day:%Y%m%d}/{submission}.xml"


@dataclass(frozen=True, slots=True)
class Upload:
    """Where one file of ours and everything about it lies at the bank."""

    day: str
    submission: str

    @classmethod
    def of(cls, remote_name: str) -> Upload:
        match = _UPLOAD(remote_name)
        if match is None:
            raise ValueError("not the name of a payment file")
        return cls(match[1], match[2])

    @property
    def first_answer_day(self) -> str:
        return day_before(self.day)

    def places(self) -> list[tuple[Place, str]]:
        """Where the bank may keep it, in the order in which it moves."""
        directory, file = f"in/{self.day}", f"{self.submission}.xml"
        return [
            (Place.WAITING, f"{directory}/{file}"),
            (Place.TAKEN, f"{directory}/taken/{file}"),
            (Place.REFUSED, f"{directory}/refused/{file}"),
        ]

    def is_answered_by(self, name: str) -> bool:
        match = _REPORT(name)
        return match is not None and match[1] == self.submission


def is_answer(name: str) -> bool:
    """True for a plain file name that a report, a notification or a statement would have."""
    return any(form(name) is not None for form in (_REPORT, _NOTIFICATION, _STATEMENT))


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the agreement with the bank puts into every file."""

    initiating_party_name: str
    initiating_party_id: str
    debtor_agent: str
    service_level: str
    category_purpose: str


def fits(text: str, greatest_characters: int) -> bool:
    """True when the text arrives as it is: not empty, nothing in it that cannot travel, no blank at an end."""
    return _UNSAFE(text) is None and 0 < len(text) <= greatest_characters and text.strip() == text


def refusal(line: Line) -> Reason | None:
    """Why this line cannot be written: the name is the department's to solve, every other field is ours."""
    if not fits(line.name.reveal(), NAME_CHARACTERS):
        return Reason.NAME_NOT_ENCODABLE
    if not 0 < line.amount_fen <= GREATEST_FEN:
        return Reason.AMOUNT
    good = (
        _REFERENCE(line.reference)
        and _ACCOUNT(line.account.reveal())
        and line.id_type in _SCHEMES
        and _RESIDENT_ID(line.id_no.reveal())
        and _MEMBER(line.bank_no)
        and _PROGRAMME(line.programme)
        and _PERIOD(line.period)
        and fits(line.purpose, REMITTANCE_CHARACTERS)
        and fits(_remittance(line), REMITTANCE_CHARACTERS)
    )
    return None if good else Reason.FORMAT


def payment_file(agreed: Agreed, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> bytes:
    """The whole document. ValueError, without any value in it, where a field does not fit."""
    if not _SUBMISSION(submission.reference):
        raise ValueError("a submission reference is 1 to 20 of [0-9A-Z]")
    if not _ACCOUNT(submission.debit_account.reveal()) or not fits(submission.debit_name, NAME_CHARACTERS):
        raise ValueError("the debit account or its name does not fit")
    if not 0 < len(lines) <= LINES_IN_A_FILE or len({line.reference for line in lines}) != len(lines):
        raise ValueError("no lines, too many, or a reference twice")
    total = sum(line.amount_fen for line in lines)
    if total > GREATEST_FEN:
        raise ValueError("the total has more than 18 digits")
    local = at.astimezone(BANK_TIME)
    totals = f"<NbOfTxs>{len(lines)}</NbOfTxs><CtrlSum>{yuan(total)}</CtrlSum>"
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f'<Document xmlns="{NAMESPACE}"><CstmrCdtTrfInitn>',
        f"<GrpHdr><MsgId>{submission.reference}</MsgId><CreDtTm>{local.isoformat(timespec='seconds')}</CreDtTm>{totals}"
        f"<InitgPty><Nm>{escape(agreed.initiating_party_name)}</Nm>"
        f"<Id><OrgId><Othr><Id>{agreed.initiating_party_id}</Id></Othr></OrgId></Id></InitgPty></GrpHdr>",
        f"<PmtInf><PmtInfId>{submission.reference}{status.PAYMENT_SUFFIX}</PmtInfId>"
        f"<PmtMtd>TRF</PmtMtd><BtchBookg>true</BtchBookg>{totals}"
        f"<PmtTpInf><SvcLvl><Prtry>{agreed.service_level}</Prtry></SvcLvl>"
        f"<CtgyPurp><Cd>{agreed.category_purpose}</Cd></CtgyPurp></PmtTpInf>"
        f"<ReqdExctnDt><Dt>{local.date().isoformat()}</Dt></ReqdExctnDt>"
        f"<Dbtr><Nm>{escape(submission.debit_name)}</Nm></Dbtr>"
        f"<DbtrAcct><Id><Othr><Id>{submission.debit_account.reveal()}</Id></Othr></Id><Ccy>CNY</Ccy></DbtrAcct>"
        f"<DbtrAgt>{_agent(agreed.debtor_agent)}</DbtrAgt>"
        "<ChrgBr>DEBT</ChrgBr>",  # every charge is the debtor's: the payee gets the whole amount
        *(_transfer(agreed, submission.reference, number, line) for number, line in enumerate(lines, start=1)),
        "</PmtInf></CstmrCdtTrfInitn></Document>",
    ]
    return "".join(parts).encode(ENCODING)


def yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def _transfer(agreed: Agreed, submission: str, number: int, line: Line) -> str:
    reason = refusal(line)
    if reason is not None:
        raise ValueError(f"line {number} cannot be written: {reason}")
    return (
        f"<CdtTrfTxInf><PmtId><InstrId>{submission}-{number:06d}</InstrId>"
        f"<EndToEndId>{line.reference}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="CNY">{yuan(line.amount_fen)}</InstdAmt></Amt>'
        f"<CdtrAgt>{_agent(line.bank_no)}</CdtrAgt>"
        f"<Cdtr><Nm>{escape(line.name.reveal())}</Nm><Id><PrvtId><Othr><Id>{line.id_no.reveal()}</Id>"
        f"<SchmeNm><Cd>{_SCHEMES[line.id_type]}</Cd></SchmeNm></Othr></PrvtId></Id></Cdtr>"
        f"<CdtrAcct><Id><Othr><Id>{line.account.reveal()}</Id></Othr></Id></CdtrAcct>"
        f"<Purp><Cd>{agreed.category_purpose}</Cd></Purp>"
        f"<RmtInf><Ustrd>{escape(_remittance(line))}</Ustrd></RmtInf></CdtTrfTxInf>"
    )


def _agent(member: str) -> str:
    return (
        "<FinInstnId><ClrSysMmbId><ClrSysId><Cd>CNAPS</Cd></ClrSysId>"
        f"<MmbId>{member}</MmbId></ClrSysMmbId></FinInstnId>"
    )


def _remittance(line: Line) -> str:
    return f"{line.programme} {line.purpose} {line.period}"


# --- reading ---------------------------------------------------------------------------------------------------------


def parse(artefact: Artefact, limit_bytes: int, *, settled_is_credited: bool) -> Iterator[Evidence]:
    """All evidence of one collected file, judged as a whole before the first of it is given."""
    name = artefact.name.rpartition("/")[2]
    if report := _REPORT(name):
        message = read(artefact.content, status.NAMESPACE, status.MESSAGE, limit_bytes)
        return iter(status.evidence(message, report[1], artefact.sha256, settled_is_credited=settled_is_credited))
    if _NOTIFICATION(name):
        message = read(artefact.content, camt.NOTIFICATION_NAMESPACE, camt.NOTIFICATION, limit_bytes)
        return iter(camt.notified(message, artefact.sha256))
    stated = _stated(artefact, limit_bytes)
    if stated is None:
        raise Unreadable("not the name of a file for us")
    return iter(stated[1])


def statement(artefact: Artefact, limit_bytes: int) -> Statement | None:
    stated = _stated(artefact, limit_bytes)
    return None if stated is None else stated[0]


def _stated(artefact: Artefact, limit_bytes: int) -> tuple[Statement, list[Evidence]] | None:
    name = _STATEMENT(artefact.name.rpartition("/")[2])
    if name is None:
        return None
    message = read(artefact.content, camt.STATEMENT_NAMESPACE, camt.STATEMENT, limit_bytes)
    return camt.stated(message, _day(name[1]), artefact.sha256)


def _day(text: str) -> dt.date:
    day: dt.date | None
    try:
        day = dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        day = None
    if day is None:
        raise Unreadable("the file is named for a day that is none")
    return day
