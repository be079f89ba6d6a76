"""What the tests of rcc_file share: the samples, lines of our own, and answers as the bank would write them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import os
from pathlib import Path
from typing import Any

from adapters.banks.rcc_file.bank import RccFileAdapter, RccFileSettings
from adapters.contract import Artefact, Evidence, Line, Proof, Reason, Submission
from schemas.masked import AccountNumber, IdNumber, PersonName
from tests.adapters.sftp_kit import Bank

SAMPLES = Path(__file__).parent.parent / "data" / "rcc_file"
STEM = "DF_402XJ0001_DF202611240001_00"
BEIJING = dt.timezone(dt.timedelta(hours=8))
AT = dt.datetime(2026, 11, 24, 10, 0, tzinfo=BEIJING)
SFTP = {"host": "bank.example", "username": "gateway", "password_file": "p", "known_hosts_file": "k"}
SETTINGS: dict[str, Any] = {"sftp": SFTP, "org": "402XJ0001", "biz": "AG0801"}

SUBMISSION = Submission(
    reference="DF202611240001",
    county="659999",
    debit_account=AccountNumber("6599990000000017"),
    debit_name="某某县财政局惠民惠农补贴专户",
    programme="XJ-NY-01",
    purpose="耕地地力保护补贴",
    period="2026",
)


def make_adapter(**changes: Any) -> RccFileAdapter:
    return RccFileAdapter("rcc", RccFileSettings.model_validate(SETTINGS | changes))


def line(number: int = 1, name: str = "某某", amount_fen: int = 100, **changes: Any) -> Line:
    given_line = Line(
        reference=f"01JDF7ABCDEFGHJKMNPQRSTV{number:02d}",
        name=PersonName(name),
        id_type="01",
        id_no=IdNumber("659999198001010021"),
        account=AccountNumber("6299990000000000012"),
        account_kind="CARD",
        bank_no="402881000015",
        amount_fen=amount_fen,
        programme="XJ-NY-01",
        purpose="耕地地力保护补贴",
        period="2026",
    )
    return dataclasses.replace(given_line, **changes)


SAMPLE_LINES = [
    line(1, "阿依古丽·买买提", 123456),
    line(2, "张珅", 88050, id_no=IdNumber("659999197506150017"), account=AccountNumber("6299990000000000020")),
    line(
        3,
        "古丽娜尔·阿卜杜热合曼",
        60000,
        id_no=IdNumber("659999199012310040"),
        account=AccountNumber("6299990000000000038"),
    ),
]


def sm3(content: bytes) -> str:
    return hashlib.new("sm3", content).hexdigest()


def result(*rows: str, head: str | None = None, day: str = "20261125") -> bytes:
    """A result file as the bank would write it; ``head`` replaces what the lines add up to."""
    fields = [row.split("|") for row in rows]
    total = sum(int(f[4]) for f in fields)
    good = [int(f[4]) for f in fields if f[5] == "S"]
    bad = [int(f[4]) for f in fields if f[5] in "FR"]
    sums = head or f"{len(rows)}|{total}|{len(good)}|{sum(good)}|{len(bad)}|{sum(bad)}"
    body = f"H|1.0|402XJ0001|DF202611240001|00|{day}|{sums}\r\n" + "".join(row + "\r\n" for row in rows)
    written = body.encode("gb18030")
    return written + f"T|{len(rows)}|{total}|{sm3(written)}\r\n".encode()


def row(number: int, amount: int, status: str, code: str, booked: str = "20261125|H1", text: str = "文字") -> str:
    return f"D|{number:06d}|REF{number}|6299990000000000012|{amount}|{status}|{code}|{text}|{booked}"


def artefact(content: bytes, ok: bytes | None = None, name: str = f"20261125/{STEM}.01.res") -> Artefact:
    ok = f"{len(content)}|{sm3(content)}".encode() if ok is None else ok
    return Artefact.of(name, ok + b"\r\n" + content)


def sample_artefact(part: str) -> Artefact:
    content = (SAMPLES / f"{STEM}.{part}.res").read_bytes()
    return artefact(content, (SAMPLES / f"{STEM}.{part}.res.ok").read_bytes(), f"20261125/{STEM}.{part}.res")


# --- a bank's disk ---------------------------------------------------------------------------------------------------

BATCH = "DF202611240001"
UP = "up/20261124"
ACK, FIRST = f"{STEM}.ack", f"{STEM}.01.res"
TAKEN = f"{BATCH}|00|0000|文件已接收\r\n".encode("gb18030")
NO_FUNDS = f"{BATCH}|00|F007|余额不足\r\n".encode("gb18030")
OLD = 1_700_000_000


def put(bank: Bank, path: str, content: bytes, mtime: int = OLD) -> Path:
    file = bank.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (mtime, mtime))
    return file


def put_result(bank: Bank, path: str, content: bytes, ok_of: bytes | None = None, mtime: int = OLD) -> None:
    described = content if ok_of is None else ok_of
    put(bank, path, content, mtime)
    put(bank, f"{path}.ok", f"{len(described)}|{sm3(described)}".encode(), mtime)


def all_at_once(bank: Bank, mtime: int = OLD, area: str = "down") -> None:
    """As if the newest thing at the bank were of this second: its day directories are no newer."""
    for day in (bank.root / area).iterdir():
        os.utime(day, (mtime, mtime))


def heads(evidence: list[Evidence]) -> list[tuple[Proof, Reason | None]]:
    assert {each.submission for each in evidence} <= {BATCH}
    return [(each.proof, each.reason) for each in evidence if each.reference is None]


RECEIVED, ABSENT = [(Proof.RECEIVED, None)], [(Proof.ABSENT, None)]
DOUBT, REFUSED = [(Proof.IN_DOUBT, Reason.UNKNOWN)], [(Proof.NOT_TAKEN, Reason.FUNDS_SHORT)]
