"""What the rehearsed bank of framed XML writes of lines: how each stands, and what was booked of it.

A line that came back keeps the status of a credited one; the list of returns and the statements tell the rest. Each
further booking of a line is a day later.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from adapters.conformance import BUSINESS_DAY, Occasion, ReceivedLine, Said, Told

# STATUS, CODE and text of a line. One that came back keeps status 2: DF1004 tells of the return.
_LINE: Final = {
    Occasion.CREDITED: ("2", "0000", "交易成功"),
    Occasion.RETURNED: ("2", "0000", "交易成功"),
    Occasion.REJECTED: ("3", "3031", "账号户名不符"),
    Occasion.IN_PROCESS: ("1", "2000", "处理中"),
    Occasion.SUSPICIOUS: ("9", "9999", "交易结果未知"),
    Occasion.LINE_ODD_CODE: ("3", "7777", "其他"),
    Occasion.LINE_NO_CODE: ("3", "", "失败"),
    Occasion.LINE_DUPLICATE: ("3", "3051", "重复"),
}
_WAITING: Final = ("0", "2007", "已接收")  # what DF1002 lists of a line that nothing is told of


def line_item(told: Told, line: ReceivedLine, said: Said | None) -> str:
    status, code, text = _WAITING if said is None else _LINE[said.occasion]
    booked = said is not None and status == "2"
    # A line that came back was credited under its first booking.
    booking = 1 if said is None or said.occasion is Occasion.RETURNED else said.booking
    return (
        field("REF", line.reference)
        + field("AMT", yuan(line.amount_fen if said is None else said.amount_fen))
        + field("STATUS", status)
        + field("CODE", code)
        + field("MSG", (said.text if said else "") or text)
        + field("POSTDATE", f"{post_date(booking):%Y%m%d}" if booked else "")
        + field("HOSTREF", host_reference(said, booking) if said and booked else "")
    )


def booked_item(told: Told, said: Said, booking: int, **between: str) -> str:
    """An item of DF1004 or DF1005; ``between`` stands after AMT."""
    return (
        field("BATCHNO", told.submission.reference if told.submission else "")
        + field("REF", said.line.reference)
        + field("AMT", yuan(said.amount_fen))
        + "".join(field(name, value) for name, value in between.items())
        + field("POSTDATE", f"{post_date(booking):%Y%m%d}")
        + field("HOSTREF", host_reference(said, booking))
    )


def bookings(lines: Sequence[Said]) -> Iterator[tuple[Said, str, int]]:
    """What a statement has of the lines: KIND and booking. What came back had been credited before."""
    for said in lines:
        if said.occasion is Occasion.RETURNED:
            yield from ((said, "C", 1), (said, "R", said.booking))
        elif said.occasion is Occasion.CREDITED:
            yield said, "C", said.booking


def post_date(booking: int) -> dt.date:
    """Each further booking of a line is a day later."""
    return BUSINESS_DAY + dt.timedelta(days=booking - 1)


def host_reference(said: Said, booking: int) -> str:
    return f"H{BUSINESS_DAY:%Y%m%d}{booking:03d}{said.number:03d}"


def listed(rows: Sequence[str]) -> str:
    return f"<LIST>{''.join(f'<ITEM>{row}</ITEM>' for row in rows)}</LIST>"


def field(name: str, value: str) -> str:
    return f"<{name}>{escape(value)}</{name}>"


def yuan(fen: int) -> str:
    whole, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{rest:02d}"
