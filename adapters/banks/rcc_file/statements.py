"""The day's statement of ``rcc_file``: every credit and return that was booked on one day, judged as a whole. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from adapters.banks.rcc_file import wire as form
from adapters.banks.rcc_file.answers import closed_rows, day_of, sealed_content
from adapters.banks.rcc_file.codes import SUCCESS
from adapters.contract import (
    Artefact,
    Booking,
    Evidence,
    Proof,
    Reason,
    Statement,
    StatementEntry,
    Unreadable,
)

# The total of a day is credits minus returns, so it may be below zero.
_HEAD: Final = re.compile(r"H\|1\.0\|([0-9A-Za-z]{1,9})\|([0-9]{8})\|([0-9]{1,8})\|(-?[0-9]{1,15})").fullmatch
_DETAIL: Final = re.compile(
    r"D\|([0-9]{6,8})\|([0-9A-Z]{1,26})\|([0-9A-Za-z]{1,32})\|([0-9]{1,13})\|([CR])\|([0-9]{8})"
    r"\|([0-9A-Za-z_-]{1,40})\|([0-9A-Z]{1,20})"
).fullmatch


def statement(artefact: Artefact, org: str, limit_bytes: int) -> Statement | None:
    """The statement that an artefact is; None for any other, Unreadable for one that does not add up."""
    named = form.statement_day(artefact.name.rpartition("/")[2], org)
    if named is None:
        return None
    day = day_of(named)
    rows, count, total = closed_rows(sealed_content(artefact, limit_bytes))
    head = _HEAD(rows[0])
    if day is None or head is None or head[1] != org or head[2] != named:
        raise Unreadable("the header is malformed or names another day than the file name")
    entries = tuple(_entry(row) for row in rows[1:])
    moved = sum(e.amount_fen if e.booking is Booking.CREDIT else -e.amount_fen for e in entries)
    if (int(head[3]), int(head[4])) != (len(entries), moved) or (count, total) != (len(entries), moved):
        raise Unreadable("count or total differ from the lines")
    return Statement(day, None, entries, artefact.sha256)


def evidence(stated: Statement) -> Iterator[Evidence]:
    """What the entries prove. A statement names no reason of a return; the result file that tells it does."""
    for entry in stated.entries:
        credited = entry.booking is Booking.CREDIT
        yield Evidence(
            Proof.CREDITED if credited else Proof.RETURNED,
            reference=entry.reference,
            submission=entry.submission,
            reason=None if credited else Reason.RETURNED_AFTER_CREDIT,
            code=SUCCESS if credited else "",
            amount_fen=entry.amount_fen,
            host_reference=entry.host_reference,
            post_date=entry.post_date,
            artefact=stated.artefact,
        )


def _entry(row: str) -> StatementEntry:
    match = _DETAIL(row)
    booked = None if match is None else day_of(match[6])
    if match is None or booked is None:
        raise Unreadable("a line is malformed")
    booking = Booking.CREDIT if match[5] == "C" else Booking.RETURN
    return StatementEntry(booking, match[2], int(match[4]), booked, match[7], match[8])
