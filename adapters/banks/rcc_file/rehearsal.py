"""Plays the cooperative for ``gateway adapter check``: reads its files and writes its answers from the manual alone.

Nothing here comes from ``wire.py``: what both would get wrong, nobody would see.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
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
from adapters.contract import Artefact, Line, Submission
from schemas.masked import AccountNumber, IdNumber, PersonName

_RECORDED: Final = Path(__file__).parent / "recorded"

_FILE_ANSWERS: Final = {
    Occasion.TAKEN: ("0000", "文件已接收"),
    Occasion.TAKEN_BEFORE: ("F003", "批次重复"),
    Occasion.FORMAT_REFUSED: ("F001", "格式错误"),
    Occasion.FUNDS_SHORT: ("F007", "余额不足"),
    Occasion.ODD_CODE: ("F999", "其他"),
}
_LINE_ANSWERS: Final = {
    Occasion.CREDITED: ("S", "0000", "交易成功"),
    Occasion.REJECTED: ("F", "3031", "账号户名不符"),
    Occasion.IN_PROCESS: ("P", "2000", "处理中"),
    Occasion.SUSPICIOUS: ("U", "9999", "可疑"),
    Occasion.LINE_ODD_CODE: ("F", "7777", "其他"),
    Occasion.LINE_NO_CODE: ("F", "", "失败"),
    Occasion.LINE_DUPLICATE: ("F", "3051", "重复"),
    Occasion.RETURNED: ("R", "3056", "退票"),
}
_BOOKED: Final = "SR"
_REFUSALS: Final = frozenset({Occasion.FORMAT_REFUSED, Occasion.FUNDS_SHORT})


class RccFileRehearsal:
    kind = Kind.SFTP
    directories = ("up", "down")

    def settings(self, site: Site, configured: Mapping[str, Any]) -> dict[str, Any]:
        # Returns may come for 30 days, and a directory a day is looked at; the kit's all lie in one.
        return {"org": "402XJ0001", "biz": "AG0801", **configured, "sftp": site.sftp()}

    def read(self, request: Request) -> Received | None:
        if not (request.target.startswith("up/") and request.target.endswith(".txt")):
            return None
        content = request.body
        start = content.rfind(b"\r\n", 0, -2) + 2
        trailer = content[start:].decode("ascii").removesuffix("\r\n").split("|")
        if trailer[0] != "T" or trailer[3] != _sm3(content[:start]):
            raise ValueError("no trailer, or its digest is another")
        head, *rows = [row.split("|") for row in content[:start].decode("gb18030").split("\r\n")[:-1]]
        if head[0] != "H" or (head[9], head[10]) != (trailer[1], trailer[2]):
            raise ValueError("header and trailer differ")
        lines = tuple(
            ReceivedLine(reference, account, name, int(amount), id_no)
            for _, _, reference, account, name, _, id_no, amount, _, _, _ in rows
        )
        return Received(head[3], int(head[9]), int(head[10]), lines, content, head[7])

    def answer(self, told: Told) -> Files:
        if told.submission is None:
            return Files()  # there is no query: a bank that has nothing shows nothing
        if told.occasion is Occasion.RESULTS:
            return _result(told, told.submission)
        if told.occasion is Occasion.NO_CODE:
            return Files(write={f"{_down(told)}.ack": f"{told.submission.reference}|00||\r\n".encode("gb18030")})
        if told.occasion not in _FILE_ANSWERS:
            raise CannotSay("an acknowledgement has no code for this; the bank writes it later, or a F code")
        code, text = _FILE_ANSWERS[told.occasion]
        acknowledgement = f"{told.submission.reference}|00|{code}|{text}\r\n".encode("gb18030")
        upload, place = _upload(told), "refused" if told.occasion in _REFUSALS else "taken"
        day, _, name = upload.rpartition("/")
        moves = {f"{upload}{end}": f"{day}/{place}/{name}{end}" for end in ("", ".ok")}
        return Files(write={f"{_down(told)}.ack": acknowledgement}, move=moves)

    def sealed(self, artefact: Artefact) -> tuple[tuple[int, int], ...]:
        """Results and statements: in the trailer a digest of what is before it, in the .ok one of the whole."""
        return () if artefact.name.endswith(".ack") else ((0, len(artefact.content)),)

    def golden(self) -> Golden:
        """``recorded/batch.txt`` is the sample of the manual."""
        rows = (
            (1, "阿依古丽·买买提", "659999198001010021", "6299990000000000012", 123_456),
            (2, "张珅", "659999197506150017", "6299990000000000020", 88_050),
            (3, "古丽娜尔·阿卜杜热合曼", "659999199012310040", "6299990000000000038", 60_000),
        )
        programme, purpose, period = "XJ-NY-01", "耕地地力保护补贴", "2026"
        lines = tuple(
            Line(
                reference=f"01JDF7ABCDEFGHJKMNPQRSTV{number:02d}",
                name=PersonName(name),
                id_type="01",
                id_no=IdNumber(id_no),
                account=AccountNumber(account),
                account_kind="CARD",
                bank_no="402881000015",
                amount_fen=amount,
                programme=programme,
                purpose=purpose,
                period=period,
            )
            for number, name, id_no, account, amount in rows
        )
        head = Submission(
            reference="DF202611240001",
            county="659999",
            debit_account=AccountNumber("6599990000000017"),
            debit_name="某某县财政局惠民惠农补贴专户",
            programme=programme,
            purpose=purpose,
            period=period,
        )
        return Golden(
            head,
            lines,
            dt.datetime(2026, 11, 24, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai")),
            (_RECORDED / "batch.txt").read_bytes(),
            "up/20261124/DF_402XJ0001_DF202611240001_00.txt",
        )


def _result(told: Told, submission: Received) -> Files:
    rows = [_row(told, said) for said in told.lines]
    amounts = [(_LINE_ANSWERS[said.occasion][0], said.amount_fen) for said in told.lines]
    total = sum(amount for _, amount in amounts)
    good = [amount for status, amount in amounts if status == "S"]
    bad = [amount for status, amount in amounts if status in "FR"]
    sums = f"{len(rows)}|{total}|{len(good)}|{sum(good)}|{len(bad)}|{sum(bad)}"
    org = _upload(told).split("_")[1]
    head = f"H|1.0|{org}|{submission.reference}|00|{told.day:%Y%m%d}|{sums}"
    body = "".join(f"{row}\r\n" for row in (head, *rows)).encode("gb18030")
    content = body + f"T|{len(rows)}|{total}|{_sm3(body)}\r\n".encode("ascii")
    name = f"{_down(told)}.{told.serial:02d}.res"
    return Files(write={name: content, f"{name}.ok": f"{len(content)}|{_sm3(content)}".encode("ascii")})


def _row(told: Told, said: Said) -> str:
    status, code, text = _LINE_ANSWERS[said.occasion]
    booked = f"{told.day:%Y%m%d}|H{told.day:%Y%m%d}{said.booking:03d}{said.number:03d}" if status in _BOOKED else "|"
    line = said.line
    return (
        f"D|{said.number:06d}|{line.reference}|{line.account}|{said.amount_fen}|{status}|{code}"
        f"|{said.text or text}|{booked}"
    )


def _upload(told: Told) -> str:
    """The path under which the submission arrived."""
    if told.arrived is None:
        raise ValueError("a file bank speaks of what it has")
    return told.arrived.target


def _down(told: Told) -> str:
    stem = _upload(told).rpartition("/")[2].removesuffix(".txt")
    return f"down/{told.day:%Y%m%d}/{stem}"


def _sm3(content: bytes) -> str:
    return hashlib.new("sm3", content).hexdigest()
