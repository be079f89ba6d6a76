"""What the rehearsed bank of ISO 20022 books and how it writes: notifications of returns, statements of days.

As at the real bank a credit stands in two places: a pain.002 says that a line is credited, without amount and day, and
the camt.053 of the day, written the day after, says both. Each further booking of a line is a day later.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from adapters.conformance import BUSINESS_DAY, Occasion, Said, Told

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
_OPENING_FEN: Final = 100_000_000


def tag(path: str, *content: str) -> str:
    """Content inside the elements of a path, outermost first."""
    names = path.split("/")
    return "".join(f"<{name}>" for name in names) + "".join(content) + "".join(f"</{name}>" for name in names[::-1])


@dataclass(frozen=True, slots=True)
class _Booking:
    """One movement on the fiscal account."""

    said: Said
    booking: int
    returned: bool
    day: dt.date
    host_reference: str


def books(told: Told, debit: str) -> dict[str, bytes]:
    """What was booked on ``debit``: a notice of each return, and the statement of each day that has bookings."""
    booked = [each for said in told.lines for each in _bookings(told, said)]
    files: dict[str, bytes] = {}
    for day in sorted({each.day for each in booked}):
        of_day = [each for each in booked if each.day == day]
        following = day + dt.timedelta(days=1)
        files[f"out/{following:%Y%m%d}/camt053_{day:%Y%m%d}.xml"] = _statement(told, debit, day, of_day)
        returned = [each for each in of_day if each.returned]
        if returned:
            files[f"out/{day:%Y%m%d}/camt054_{day:%Y%m%d}_{told.serial:06d}.xml"] = _notification(
                told, debit, day, returned
            )
    return files


def _bookings(told: Told, said: Said) -> Iterator[_Booking]:
    """What came back had been paid before."""
    if said.occasion is Occasion.CREDITED:
        yield _booking(said, said.booking, returned=False)
    elif said.occasion is Occasion.RETURNED:
        yield _booking(said, 1, returned=False)
        yield _booking(said, said.booking, returned=True)


def _booking(said: Said, booking: int, *, returned: bool) -> _Booking:
    day = BUSINESS_DAY + dt.timedelta(days=booking - 1)
    return _Booking(said, booking, returned, day, host_reference(said, booking))


def host_reference(said: Said, booking: int) -> str:
    return f"H{BUSINESS_DAY:%Y%m%d}{booking:03d}{said.number:03d}"


def _notification(told: Told, debit: str, day: dt.date, returned: Sequence[_Booking]) -> bytes:
    message = f"BN{day:%Y%m%d}{told.serial:06d}"
    entries = [_return_entry(told, each) for each in returned]
    content = tag("Ntfctn", tag("Id", f"{message}-1"), _made(day), _account(debit), *entries)
    return document("camt.054.001.08", "BkToCstmrDbtCdtNtfctn", message, day, content)


def _statement(told: Told, debit: str, day: dt.date, booked: Sequence[_Booking]) -> bytes:
    """The same bookings give the same bytes: the bank does not rewrite a statement."""
    message = f"BS{day:%Y%m%d}"
    paid = [each for each in booked if not each.returned]
    returned = [each for each in booked if each.returned]
    moved = sum(each.said.amount_fen for each in returned) - sum(each.said.amount_fen for each in paid)
    content = tag(
        "Stmt",
        tag("Id", f"{message}-1") + _made(day) + _account(debit),
        _balance("OPBD", _OPENING_FEN, day) + _balance("CLBD", _OPENING_FEN + moved, day),
        _paid_entry(told, day, paid) if paid else "",
        *(_return_entry(told, each) for each in returned),
    )
    return document("camt.053.001.08", "BkToCstmrStmt", message, day, content)


def _paid_entry(told: Told, day: dt.date, paid: Sequence[_Booking]) -> str:
    """One debit for all that was paid of the submission on a day."""
    message = told.submission.reference if told.submission else ""
    total = sum(each.said.amount_fen for each in paid)
    batch = tag(
        "Btch",
        tag("MsgId", message) + tag("PmtInfId", f"{message}-1") + tag("NbOfTxs", str(len(paid))),
        _amount("TtlAmt", total) + tag("CdtDbtInd", "DBIT"),
    )
    details = [
        tag(
            "TxDtls",
            tag(
                "Refs",
                tag("MsgId", message),
                tag("AcctSvcrRef", each.host_reference),
                tag("EndToEndId", each.said.line.reference),
            ),
            _amount("Amt", each.said.amount_fen) + tag("CdtDbtInd", "DBIT"),
        )
        for each in paid
    ]
    return _entry(total, "DBIT", day, "", tag("NtryDtls", batch, *details))


def _return_entry(told: Told, each: _Booking) -> str:
    message = told.submission.reference if told.submission else ""
    details = tag(
        "NtryDtls/TxDtls",
        tag("Refs", tag("MsgId", message), tag("EndToEndId", each.said.line.reference)),
        _amount("Amt", each.said.amount_fen) + tag("CdtDbtInd", "CRDT"),
        because("RtrInf", "AC04", each.said.text or "退票:账户已销户"),
    )
    return _entry(each.said.amount_fen, "CRDT", each.day, each.host_reference, details)


def _entry(fen: int, side: str, day: dt.date, host_reference: str, details: str) -> str:
    family = (
        tag("Cd", "ICDT") + tag("SubFmlyCd", "DMCT") if side == "DBIT" else tag("Cd", "RCDT") + tag("SubFmlyCd", "RRTN")
    )
    return tag(
        "Ntry",
        _amount("Amt", fen) + tag("CdtDbtInd", side) + (tag("RvslInd", "true") if side == "CRDT" else ""),
        tag("Sts/Cd", "BOOK") + tag("BookgDt/Dt", day.isoformat()),
        tag("AcctSvcrRef", host_reference) if host_reference else "",
        tag("BkTxCd/Domn", tag("Cd", "PMNT"), tag("Fmly", family)),
        details,
    )


def _balance(kind: str, fen: int, day: dt.date) -> str:
    side = tag("CdtDbtInd", "DBIT" if fen < 0 else "CRDT")
    return tag("Bal", tag("Tp/CdOrPrtry/Cd", kind), _amount("Amt", abs(fen)), side, tag("Dt/Dt", day.isoformat()))


def _account(debit: str) -> str:
    return tag("Acct", tag("Id/Othr/Id", debit), tag("Ccy", "CNY"))


def _amount(name: str, fen: int) -> str:
    return f'<{name} Ccy="CNY">{fen // 100}.{fen % 100:02d}</{name}>'


def _made(day: dt.date) -> str:
    return tag("CreDtTm", f"{day.isoformat()}T18:00:00+08:00")


def document(kind: str, root: str, message: str, day: dt.date, *content: str) -> bytes:
    inside = tag(root, tag("GrpHdr", tag("MsgId", message), _made(day)), *content)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}{kind}">{inside}</Document>'
    return text.encode("utf-8")


def because(name: str, code: str, words: str) -> str:
    return tag(name, tag("Rsn/Cd", code), tag("AddtlInf", escape(words)) if words else "") if code else ""
