"""Plays the bank of framed XML for ``gateway adapter check``: reads frames and writes answers from BANK.md alone.

Nothing here comes from the adapter's own modules. What it takes the manual to say is checked over the characters, not
by a parser: an element too many, out of order or with a blank beside it is seen.
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import unescape
from zoneinfo import ZoneInfo

from adapters.banks.xml_tcp.rehearsal_books import booked_item, bookings, field, line_item, listed, post_date, yuan
from adapters.conformance import (
    CannotSay,
    Golden,
    Kind,
    Occasion,
    Received,
    ReceivedLine,
    Request,
    Site,
    Told,
)
from adapters.contract import Artefact, Line, Submission
from schemas.masked import AccountNumber, IdNumber, PersonName

_SAMPLE: Final = Path(__file__).parent / "recorded" / "DF1001_request.bin"
_SAMPLE_NUMBER: Final = b"<REQSEQ>2026112400000017</REQSEQ>"
_KEY: Final = b"sample-mac-key-0123456789abcdef0"  # with which the bank made the MAC of its sample
_ACCOUNT: Final = "6599990000000017"
_HEADERS: Final = {"digits8": "{:08d}", "spaces8": "{:<8d}", "flag1_6": "0{:<6d}"}

# RETCODE and its text, of a submission.
_PACKAGE: Final = {
    Occasion.TAKEN: ("0000", "受理成功"),
    Occasion.TAKEN_BEFORE: ("3051", "批次号重复"),
    Occasion.FORMAT_REFUSED: ("1001", "报文格式错误"),
    Occasion.FUNDS_SHORT: ("3008", "余额不足"),
    Occasion.BUSY: ("2007", "系统处理中"),
    Occasion.ERROR_AFTER_TAKING: ("9999", "系统异常"),
    Occasion.ODD_CODE: ("7777", "其他"),
    Occasion.NO_CODE: ("", ""),
}
_NOT_FOUND: Final = ("1002", "查无此记录")
_NOT_READY: Final = ("2007", "对账单未生成")


def _elements(**forms: str) -> str:
    return "".join(f"<{name}>(?P<{name}>{form})</{name}>" for name, form in forms.items())


_TEXT: Final = r"(?:[^<>&]|&(?:amp|lt|gt);)+"
_YUAN: Final = r"(?:0|[1-9][0-9]{0,12})\.[0-9]{2}"
_NO: Final = "[1-9][0-9]{0,2}"
_HEAD: Final = _elements(
    TRCODE="DF[0-9]{4}",
    VERSION="[0-9A-Za-z.]+",
    CHANNEL="[0-9A-Za-z]+",
    CORPNO="[0-9A-Za-z]+",
    REQSEQ="[0-9]{1,20}",
    REQDATE="[0-9]{8}",
    REQTIME="[0-9]{6}",
    RESEND="[YN]",
    MAC="[0-9a-f]{64}",
)
_DOCUMENT: Final = re.compile(
    rf'<\?xml version="1\.0" encoding="(?P<encoding>GBK|GB18030)"\?><BANK><HEAD>{_HEAD}</HEAD>'
    r"(?:<BODY>(?P<content>.+)</BODY>|<BODY/>)</BANK>",
    re.DOTALL,
)
_BATCH: Final = re.compile(
    _elements(
        BATCHNO="DF[0-9]{1,18}",
        PAYACC="[0-9A-Za-z]{1,32}",
        PAYNAME=_TEXT,
        SUMMARY=_TEXT,
        TOTALNUM=_NO,
        TOTALAMT=_YUAN,
        PART="1/1",
        LIST="<ITEM>.+</ITEM>",  # one after the other: see _items
    ),
    re.DOTALL,
)
_ITEM: Final = re.compile(
    "<ITEM>"
    + _elements(
        SEQ=_NO,
        REF="[0-9A-Z]{1,30}",
        ACCNO="[0-9A-Za-z]{1,32}",
        ACCNAME=_TEXT,
        IDTYPE="[0-9]{2}",
        IDNO="[0-9A-Z]{1,18}",
        AMT=_YUAN,
    )
    + "(?:<BANKNO>(?P<BANKNO>[0-9]{12})</BANKNO>)?</ITEM>",
    re.DOTALL,
)
_SEALED: Final = re.compile(rb"<MAC>.{64}</MAC>|<BODY.*?</BANK>", re.DOTALL)
_FIELD: Final = re.compile(r"<([A-Z]+)>([^<>]*)</\1>")
_WHO: Final = {"VERSION": "version", "CHANNEL": "channel", "CORPNO": "corporation"}
_WIDTHS: Final = {"PAYNAME": 60, "SUMMARY": 20, "ACCNAME": 100}  # bytes


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as it arrived: its head, and what stands in BODY."""

    head: Mapping[str, str]
    content: str

    @property
    def fields(self) -> dict[str, str]:
        """The plain fields of a question."""
        return dict(_FIELD.findall(self.content))


class XmlTcpRehearsal:
    kind = Kind.TCP

    def __init__(self) -> None:
        self._section: Mapping[str, Any] = {}

    def is_private(self, configured: Mapping[str, Any]) -> bool:
        return bool(configured) and not configured["tcp"].get("tls")

    def settings(self, site: Site, configured: Mapping[str, Any]) -> dict[str, Any]:
        key = site.folder / "mac.key"
        key.write_bytes(_KEY + b"\n")
        tcp = {"framing": "digits8", **configured.get("tcp", {}), **site.tcp()}
        if self.is_private(configured):
            del tcp["tls"]
        section = {
            "encoding": "gbk",
            "version": "1.0",
            "channel": "YKT01",
            "corporation": "65999901",
            **configured,
            "mac_key_file": str(key),
            "debit_accounts": [_ACCOUNT],
            # A run has little real time: questions as fast as they come, a round whole, the statement of its one day.
            "probe_interval_milliseconds": 0,
            "collect_interval_milliseconds": 0,
            "questions_per_collection": 100,
            "items_per_page": 15,  # fewer than the kit's longest list of returns, or of bookings, has
            "first_statement_days": 1,
            "tcp": tcp,
        }
        self._section = section
        return section

    # Frames

    def frame(self, buffer: bytes) -> int | None:
        header = len(self.framed(b""))
        if len(buffer) < header:
            return None
        digits = re.search(rb"[0-9]+", buffer[8 - header : header])
        size = int(digits[0]) if digits else 0
        if not size or buffer[:header] != self.framed(bytes(size))[:header]:
            raise ValueError("the header of a frame is not as agreed")
        return header + size

    def framed(self, payload: bytes) -> bytes:
        return _HEADERS[self._section["tcp"]["framing"]].format(len(payload)).encode("ascii") + payload

    # Reading

    def read(self, request: Request) -> Received | None:
        asked = self._asked(request)
        if asked.head["TRCODE"] != "DF1001":
            return None
        batch = _BATCH.fullmatch(asked.content)
        if batch is None:
            raise ValueError("the BODY of DF1001 has other elements than the manual's")
        if asked.head["REQSEQ"] != batch["BATCHNO"].removeprefix("DF"):
            raise ValueError("REQSEQ is not that of the batch")
        items = list(_items(batch["LIST"]))
        if [item["SEQ"] for item in items] != [str(number) for number in range(1, len(items) + 1)]:
            raise ValueError("SEQ does not count the items")
        for found in (batch, *items):
            self._check_widths(found.groupdict())
        own = self._section.get("own_bank_numbers", ())
        if any(item["BANKNO"] in own for item in items):
            raise ValueError("BANKNO names a bank of its own")
        lines = tuple(
            ReceivedLine(item["REF"], item["ACCNO"], unescape(item["ACCNAME"]), _fen(item["AMT"]), item["IDNO"])
            for item in items
        )
        same = request.body.replace(b"<RESEND>Y</RESEND>", b"<RESEND>N</RESEND>", 1)
        count, total_fen = int(batch["TOTALNUM"]), _fen(batch["TOTALAMT"])
        resend = asked.head["RESEND"] == "Y"
        return Received(batch["BATCHNO"], count, total_fen, lines, same, batch["PAYACC"], resend)

    def _asked(self, request: Request) -> _Asked:
        payload = request.body[len(self.framed(b"")) :]
        document = _DOCUMENT.fullmatch(payload.decode(self._section["encoding"]))
        if document is None:
            raise ValueError("no document of the manual's form")
        head = document.groupdict()
        if head["encoding"].lower() != self._section["encoding"]:
            raise ValueError("another encoding is declared than agreed")
        body = payload[payload.index(b"<BODY") : payload.rindex(b"</BANK>")]
        if head["MAC"] != _mac(body):
            raise ValueError("the MAC is not that of the BODY")
        if any(head[name] != self._section[key] for name, key in _WHO.items()):
            raise ValueError("VERSION, CHANNEL or CORPNO are not as agreed")
        return _Asked(head, document["content"] or "")

    def _check_widths(self, fields: Mapping[str, str | None]) -> None:
        for name, greatest in _WIDTHS.items():
            text = unescape(fields.get(name) or "")
            if len(text.encode(self._section["encoding"])) > greatest:
                raise ValueError(f"{name} is wider than the manual allows")

    # Answering

    def answer(self, told: Told) -> bytes:
        if told.request is None:
            raise ValueError("this bank speaks when it is asked")
        asked = self._asked(told.request)
        match asked.head["TRCODE"]:
            case "DF1001":
                if told.occasion not in _PACKAGE:
                    raise CannotSay("no RETCODE of DF1001 says so")
                return self._reply(asked, *_PACKAGE[told.occasion])
            case "DF1002":
                return self._lines(asked, told, None)
            case "DF1003":
                return self._lines(asked, told, asked.fields["REF"])
            case "DF1004":
                return self._returns(asked, told)
            case "DF1005":
                return self._statement(asked, told)
            case "DF9999":
                return self._reply(asked, "0000", "")
        raise ValueError("a trade code that the manual does not have")

    def _lines(self, asked: _Asked, told: Told, reference: str | None) -> bytes:
        """DF1002 lists every line of a batch, DF1003 one."""
        if told.submission is None:
            return self._reply(asked, *_NOT_FOUND)
        batch = told.submission.reference  # which is what was asked about, unless the bank mixes two up
        said = {each.line.reference: each for each in told.lines}
        rows = [
            line_item(told, line, said.get(line.reference))
            for line in told.submission.lines
            if reference in (None, line.reference)
        ]
        if not rows:
            return self._reply(asked, *_NOT_FOUND)
        return self._reply(asked, "0000", "查询成功", field("BATCHNO", batch) + listed(rows))

    def _returns(self, asked: _Asked, told: Told) -> bytes:
        """In the order of booking."""
        rows = [
            booked_item(told, each, each.booking, CODE="3056", MSG="退票")
            for each in sorted(told.lines, key=lambda each: each.booking)
            if each.occasion is Occasion.RETURNED
        ]
        if not rows or told.submission is None:
            return self._reply(asked, *_NOT_FOUND)
        total = field("TOTALNUM", str(len(rows)))
        return self._reply(asked, "0000", "查询成功", total + listed(_page(asked, rows)))

    def _statement(self, asked: _Asked, told: Told) -> bytes:
        """The bank's today is the day after the one on which everything happens."""
        fields = asked.fields
        day = dt.date.fromisoformat(fields["DATE"])
        if day > told.day:
            return self._reply(asked, *_NOT_READY)
        booked = [each for each in bookings(told.lines) if post_date(each[2]) == day]
        if not booked or told.submission is None:
            return self._reply(asked, *_NOT_FOUND)
        rows = [booked_item(told, said, booking, KIND=kind) for said, kind, booking in booked]
        total_fen = sum(said.amount_fen if kind == "C" else -said.amount_fen for said, kind, _ in booked)
        head = (
            field("PAYACC", fields["PAYACC"])
            + field("DATE", fields["DATE"])
            + field("TOTALNUM", str(len(rows)))
            + field("TOTALAMT", yuan(total_fen))
        )
        return self._reply(asked, "0000", "查询成功", head + listed(_page(asked, rows)))

    def _reply(self, asked: _Asked, code: str, text: str, content: str = "") -> bytes:
        encoding = self._section["encoding"]
        body = (f"<BODY>{content}</BODY>" if content else "<BODY/>").encode(encoding)
        head = (
            field("TRCODE", asked.head["TRCODE"])
            + field("REQSEQ", asked.head["REQSEQ"])
            + field("RSPSEQ", "B000000000001")
            + field("RETCODE", code)
            + field("RETMSG", text)
            + field("MAC", _mac(body))
        )
        start = f'<?xml version="1.0" encoding="{encoding.upper()}"?><BANK><HEAD>{head}</HEAD>'.encode(encoding)
        return self.framed(start + body + b"</BANK>")

    # What the channel promises

    def forged(self, told: Told) -> dict[str, bytes]:
        document = self.answer(told)[len(self.framed(b"")) :]
        before, rest = document.split(b"<MAC>", 1)
        head, body = rest[64:].split(b"<BODY", 1)
        inner = b"<BODY" + body.removesuffix(b"</BANK>")
        stranger = hmac.new(_KEY[::-1], inner, "sm3").hexdigest().encode("ascii")
        longer = document.replace(b"<BODY/>", b"<BODY></BODY>").replace(b"<AMT>", b"<AMT>1", 1)
        return {
            "no MAC": self.framed(before + head.removeprefix(b"</MAC>") + b"<BODY" + body),
            "the MAC of another key": self.framed(before + b"<MAC>" + stranger + head + b"<BODY" + body),
            "a BODY changed under its MAC": self.framed(longer),
        }

    def is_bound(self, request: Request) -> bool:
        """A question has a REQSEQ of its own; both transmissions of a batch have the same."""
        return self._asked(request).head["TRCODE"] != "DF1001"

    def sealed(self, artefact: Artefact) -> list[tuple[int, int]]:
        return [each.span() for each in _SEALED.finditer(artefact.content)]

    def golden(self) -> Golden:
        """``recorded/DF1001_request.bin`` is the sample of the manual, but for REQSEQ: the bank only wants it the same
        for a batch and no other, and ours is the batch number (BANK.md)."""
        rows = (
            (1, "阿依古丽·买买提", "659999198001010021", "6299990000000000012"),
            (2, "张珅", "659999197506150017", "6299990000000000020"),
            (3, "古丽娜尔·阿卜杜热合曼", "659999199012310040", "6299990000000000038"),
        )
        lines = tuple(
            Line(
                reference=f"01JDF7BCDEFGHJKMNPQRSTVW{number:02d}",
                name=PersonName(name),
                id_type="01",
                id_no=IdNumber(id_no),
                account=AccountNumber(account),
                account_kind="CARD",
                bank_no="104881000012",
                amount_fen=150_000,
                programme="XJ-MZ-01",
                purpose="边民补助",
                period="2026-11",
            )
            for number, name, id_no, account in rows
        )
        head = Submission(
            reference="DF202611240002",
            county="659999",
            debit_account=AccountNumber(_ACCOUNT),
            debit_name="某某县财政局惠民惠农补贴专户",
            programme="XJ-MZ-01",
            purpose="边民补助",
            period="2026-11",
        )
        payload = _SAMPLE.read_bytes()[8:].replace(_SAMPLE_NUMBER, b"<REQSEQ>202611240002</REQSEQ>")
        return Golden(head, lines, dt.datetime(2026, 11, 24, 10, 15, 30, tzinfo=ZoneInfo("Asia/Shanghai")), payload)


def _items(text: str) -> Iterator[re.Match[str]]:
    place = 0
    while place < len(text):
        item = _ITEM.match(text, place)
        if item is None:
            raise ValueError("an ITEM has other elements than the manual's")
        place = item.end()
        yield item


def _page(asked: _Asked, rows: Sequence[str]) -> Sequence[str]:
    start = int(asked.fields["START"]) - 1
    return rows[start : start + int(asked.fields["COUNT"])]


def _mac(body: bytes) -> str:
    return hmac.new(_KEY, body, "sm3").hexdigest()


def _fen(yuan: str) -> int:
    return int(yuan.replace(".", ""))
