"""What the tests of iso20022 share: the samples, lines of our own, and answers as the bank would write them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.iso20022.settings import Iso20022Settings
from adapters.contract import Artefact, Evidence, Line, Proof, Reason, Submission
from schemas.masked import AccountNumber, IdNumber, PersonName

SAMPLES = Path(__file__).parent.parent / "data" / "iso20022"
MSG = "DF202611240004"
BEIJING = dt.timezone(dt.timedelta(hours=8))
AT = dt.datetime(2026, 11, 24, 10, 20, tzinfo=BEIJING)
SFTP = {"host": "bank.example", "username": "gateway", "password_file": "p", "known_hosts_file": "k"}
AGREED: dict[str, Any] = {
    "initiating_party_name": "XJ YKT GATEWAY",
    "initiating_party_id": "65999901",
    "debtor_agent": "402881000015",
}
SETTINGS: dict[str, Any] = {"sftp": SFTP} | AGREED

SUBMISSION = Submission(
    reference=MSG,
    county="659999",
    debit_account=AccountNumber("6599990000000017"),
    debit_name="某某县财政局惠民惠农补贴专户",
    programme="XJ-NY-04",
    purpose="草原生态保护补助奖励",
    period="2026",
)
FIRST, SECOND = "01JDF7DEFGHJKMNPQRSTVWXY01", "01JDF7DEFGHJKMNPQRSTVWXY02"


def make_adapter(**changes: Any) -> Iso20022Adapter:
    return Iso20022Adapter("iso", Iso20022Settings.model_validate(SETTINGS | changes))


def line(number: int = 1, name: str = "某某", amount_fen: int = 60000, **changes: Any) -> Line:
    given_line = Line(
        reference=f"01JDF7DEFGHJKMNPQRSTVWXY{number:02d}",
        name=PersonName(name),
        id_type="01",
        id_no=IdNumber("659999199012310040"),
        account=AccountNumber("6299990000000000038"),
        account_kind="CARD",
        bank_no="403881000017",
        amount_fen=amount_fen,
        programme="XJ-NY-04",
        purpose="草原生态保护补助奖励",
        period="2026",
    )
    return dataclasses.replace(given_line, **changes)


SAMPLE_LINES = [
    line(1, "古丽娜尔·阿卜杜热合曼"),
    line(2, "阿依古丽·买买提", id_no=IdNumber("659999198001010021"), account=AccountNumber("6299990000000000012")),
]

# --- a bank's documents ----------------------------------------------------------------------------------------------

PAIN = "urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"
NOTIFIED = "urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"
STATED = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
HEAD = "<GrpHdr><MsgId>BK1</MsgId><CreDtTm>2026-11-25T09:00:00+08:00</CreDtTm></GrpHdr>"


def document(namespace: str, body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{namespace}">{body}</Document>'.encode()


def reason(code: str, text: str = "") -> str:
    words = f"<AddtlInf>{text}</AddtlInf>" if text else ""
    return f"<StsRsnInf><Rsn><Cd>{code}</Cd></Rsn>{words}</StsRsnInf>"


def tx(reference: str, status: str = "", code: str = "", host: str = "", more: str = "", text: str = "") -> str:
    return (
        f"<TxInfAndSts><OrgnlEndToEndId>{reference}</OrgnlEndToEndId>"
        + (f"<TxSts>{status}</TxSts>" if status else "")
        + (reason(code, text) if code else "")
        + (f"<AcctSvcrRef>{host}</AcctSvcrRef>" if host else "")
        + f"{more}</TxInfAndSts>"
    )


def report(
    *lines: str, group: str = "PART", count: int | str | None = None, reasons: str = "", msg: str = MSG, more: str = ""
) -> bytes:
    """A pain.002; ``count`` is what it says of the submission's lines, as many as are listed unless given."""
    payments = f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{msg}-1</OrgnlPmtInfId>{more}{''.join(lines)}</OrgnlPmtInfAndSts>"
    return document(
        PAIN,
        f"<CstmrPmtStsRpt>{HEAD}<OrgnlGrpInfAndSts><OrgnlMsgId>{msg}</OrgnlMsgId>"
        f"<OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId><OrgnlNbOfTxs>{count or len(lines) or 2}</OrgnlNbOfTxs>"
        f"<GrpSts>{group}</GrpSts>{reasons}</OrgnlGrpInfAndSts>{payments if lines else ''}</CstmrPmtStsRpt>",
    )


def transaction(reference: str, amount: str = "600.00", mark: str = "DBIT", more: str = "", refs: str = "") -> str:
    return (
        f"<TxDtls><Refs><MsgId>{MSG}</MsgId>{refs}<EndToEndId>{reference}</EndToEndId></Refs>"
        f'<Amt Ccy="CNY">{amount}</Amt><CdtDbtInd>{mark}</CdtDbtInd>{more}</TxDtls>'
    )


def entry(details: str, amount: str = "600.00", mark: str = "DBIT", status: str = "BOOK", booked: str = "") -> str:
    day = booked or "<BookgDt><Dt>2026-11-25</Dt></BookgDt><AcctSvcrRef>H9</AcctSvcrRef>"
    return (
        f'<Ntry><Amt Ccy="CNY">{amount}</Amt><CdtDbtInd>{mark}</CdtDbtInd><Sts><Cd>{status}</Cd></Sts>{day}'
        f"<BkTxCd/>{details}</Ntry>"
    )


def came_back(reference: str, code: str = "AC04", amount: str = "600.00", **changes: str) -> str:
    returned = f"<RtrInf><Rsn><Cd>{code}</Cd></Rsn><AddtlInf>退票</AddtlInf></RtrInf>"
    details = f"<NtryDtls>{transaction(reference, amount, 'CRDT', returned)}</NtryDtls>"
    return entry(details, amount, "CRDT", **changes)


def paid(*references: str, each: int = 60000, number: int | None = None, total: str = "") -> str:
    """The debit of one submission's day, booked as a batch."""
    sum_of = f"{each * len(references) // 100}.{each * len(references) % 100:02d}"
    rows = "".join(
        transaction(reference, f"{each // 100}.{each % 100:02d}", refs=f"<AcctSvcrRef>H{n}</AcctSvcrRef>")
        for n, reference in enumerate(references, start=1)
    )
    batch = f"<MsgId>{MSG}</MsgId><NbOfTxs>{number or len(references)}</NbOfTxs>"
    details = f'<NtryDtls><Btch>{batch}<TtlAmt Ccy="CNY">{total or sum_of}</TtlAmt></Btch>{rows}</NtryDtls>'
    return entry(details, sum_of)


def notification(*entries: str, summary: str = "") -> bytes:
    body = f"<Ntfctn><Id>1</Id><Acct><Id><Othr><Id>6599990000000017</Id></Othr></Id></Acct>{summary}{''.join(entries)}"
    return document(NOTIFIED, f"<BkToCstmrDbtCdtNtfctn>{HEAD}{body}</Ntfctn></BkToCstmrDbtCdtNtfctn>")


def balance(kind: str, amount: str, mark: str = "CRDT", day: str = "2026-11-25") -> str:
    return (
        f'<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp><Amt Ccy="CNY">{amount}</Amt>'
        f"<CdtDbtInd>{mark}</CdtDbtInd><Dt><Dt>{day}</Dt></Dt></Bal>"
    )


def account_day(*entries: str, balances: str, account: str = "6599990000000017", more: str = "") -> str:
    who = f"<Acct><Id><Othr><Id>{account}</Id></Othr></Id><Ccy>CNY</Ccy></Acct>"
    return f"<Stmt><Id>1</Id>{more}{who}{balances}{''.join(entries)}</Stmt>"


def statement(*parts: str, more: str = "") -> bytes:
    return document(STATED, f"<BkToCstmrStmt>{HEAD}{more}{''.join(parts)}</BkToCstmrStmt>")


def status_file(content: bytes, name: str = f"20261125/pain002_{MSG}_01.xml") -> Artefact:
    return Artefact.of(name, content)


def notice_file(content: bytes) -> Artefact:
    return Artefact.of("20261127/camt054_20261127_000007.xml", content)


def statement_file(content: bytes, day: str = "20261125") -> Artefact:
    return Artefact.of(f"20261126/camt053_{day}.xml", content)


def heads(evidence: list[Evidence]) -> list[tuple[Proof, Reason | None]]:
    assert {each.submission for each in evidence} <= {MSG}
    return [(each.proof, each.reason) for each in evidence if each.reference is None]


def lines_of(evidence: list[Evidence]) -> list[tuple[str | None, Proof, Reason | None]]:
    return [(each.reference, each.proof, each.reason) for each in evidence if each.reference is not None]
