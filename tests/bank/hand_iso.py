"""The gateway played by hand towards the ISO 20022 bank: pain.001 files written straight from the sample."""

from __future__ import annotations

from pathlib import Path

from tests.bank.hand import DEBIT, Payment, yuan

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09">'
MEMBER = "402881000015"


def _agent(member: str) -> str:
    clearing = f"<ClrSysId><Cd>CNAPS</Cd></ClrSysId><MmbId>{member}</MmbId>"
    return f"<FinInstnId><ClrSysMmbId>{clearing}</ClrSysMmbId></FinInstnId>"


def _line(batch: str, number: int, line: Payment) -> str:
    identity = f"<PrvtId><Othr><Id>{line.id_no}</Id><SchmeNm><Cd>NIDN</Cd></SchmeNm></Othr></PrvtId>"
    return (
        f"<CdtTrfTxInf><PmtId><InstrId>{batch}-{number:06d}</InstrId><EndToEndId>{line.reference}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="CNY">{yuan(line.fen)}</InstdAmt></Amt><CdtrAgt>{_agent("403881000017")}</CdtrAgt>'
        f"<Cdtr><Nm>{line.name}</Nm><Id>{identity}</Id></Cdtr>"
        f"<CdtrAcct><Id><Othr><Id>{line.account}</Id></Othr></Id></CdtrAcct><Purp><Cd>GOVT</Cd></Purp>"
        "<RmtInf><Ustrd>XJ-NY-04 草原生态保护补助奖励 2026</Ustrd></RmtInf></CdtTrfTxInf>"
    )


def pain001(batch: str, lines: list[Payment], date: str = "2026-11-24", debit: str = DEBIT) -> bytes:
    """A payment initiation of these lines."""
    totals = f"<NbOfTxs>{len(lines)}</NbOfTxs><CtrlSum>{yuan(sum(line.fen for line in lines))}</CtrlSum>"
    party = "<Nm>XJ YKT GATEWAY</Nm><Id><OrgId><Othr><Id>65999901</Id></Othr></OrgId></Id>"
    head = f"<MsgId>{batch}</MsgId><CreDtTm>{date}T10:20:00+08:00</CreDtTm>{totals}<InitgPty>{party}</InitgPty>"
    payment = (
        f"<PmtInfId>{batch}-1</PmtInfId><PmtMtd>TRF</PmtMtd><BtchBookg>true</BtchBookg>{totals}"
        "<PmtTpInf><SvcLvl><Prtry>NORM</Prtry></SvcLvl><CtgyPurp><Cd>GOVT</Cd></CtgyPurp></PmtTpInf>"
        f"<ReqdExctnDt><Dt>{date}</Dt></ReqdExctnDt><Dbtr><Nm>某某县财政局惠民惠农补贴专户</Nm></Dbtr>"
        f"<DbtrAcct><Id><Othr><Id>{debit}</Id></Othr></Id><Ccy>CNY</Ccy></DbtrAcct>"
        f"<DbtrAgt>{_agent(MEMBER)}</DbtrAgt><ChrgBr>DEBT</ChrgBr>"
    )
    listed = "".join(_line(batch, number, line) for number, line in enumerate(lines, 1))
    whole = f"<GrpHdr>{head}</GrpHdr><PmtInf>{payment}{listed}</PmtInf>"
    return f"{HEAD}<CstmrCdtTrfInitn>{whole}</CstmrCdtTrfInitn></Document>".encode()


def drop(directory: Path, name: str, data: bytes, date: str = "20261124") -> Path:
    """Put an upload where SFTP would have put it; `name` is the MsgId."""
    folder = directory / "sftp" / "in" / date
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.xml"
    path.write_bytes(data)
    return path
