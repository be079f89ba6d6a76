"""Pages of returns and statements: what they say, and how they are kept, question and answer together.

A page alone does not say which account and, where it is empty, which day it is about: the question does. So an artefact
is the exchange itself, ``8 digits, question, 8 digits, answer`` for each page, both with their MAC, and reading it
later checks all that was checked on the wire. The eight digits are ours, whatever framing the bank uses.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.banks.xml_tcp import answers, codes
from adapters.banks.xml_tcp.answers import Booked
from adapters.banks.xml_tcp.wire import Document, Envelope
from adapters.contract import Artefact, Booking, Evidence, Proof, Reason, Statement, StatementEntry, Unreadable
from schemas.masked import AccountNumber
from schemas.money import fen_from_yuan_text

_KINDS: Final = {"C": Booking.CREDIT, "R": Booking.RETURN}
_SIZE: Final = re.compile(rb"[0-9]{8}").fullmatch
_SIZE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a page. ``reference`` and ``submission`` are None where a statement names none."""

    booking: Booking
    submission: str | None
    reference: str | None
    amount_fen: int
    booked: Booked
    code: str
    text: str

    @property
    def mark(self) -> str:
        """A short name of this booking and no other."""
        parts = (self.booking, self.submission, self.reference, self.amount_fen, self.booked)
        digest = hashlib.blake2b(repr(parts).encode("utf-8"), digest_size=9).digest()
        return base64.urlsafe_b64encode(digest).decode("ascii")

    @property
    def signed_fen(self) -> int:
        return self.amount_fen if self.booking is Booking.CREDIT else -self.amount_fen

    def evidence(self, artefact: str) -> Evidence:
        credited = self.booking is Booking.CREDIT
        return Evidence(
            Proof.CREDITED if credited else Proof.RETURNED,
            reference=self.reference,
            submission=self.submission,
            reason=None if credited else self._reason,
            code=self.code,
            text=self.text,
            amount_fen=self.amount_fen,
            host_reference=self.booked.host_reference,
            post_date=self.booked.post_date,
            artefact=artefact,
        )

    @property
    def _reason(self) -> Reason:
        # The money is back whatever the code says; a code of our table says why.
        proof, reason = codes.LINE_CODES.get(self.code, (Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT))
        return reason if proof is Proof.REJECTED else Reason.RETURNED_AFTER_CREDIT


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of a list and what the page says of all of it. ``total_fen`` is None for a list of returns."""

    total: int
    total_fen: int | None
    entries: tuple[Entry, ...]

    @property
    def signed_fen(self) -> int:
        """Credits minus returns of this page."""
        return sum(entry.signed_fen for entry in self.entries)


def returns_page(document: Document) -> Page:
    """A DF1004 reply. Raises Unreadable."""
    if answers.retcode_of(document) == codes.NOT_FOUND:
        return Page(0, None, ())
    entries = tuple(_entry(item, Booking.RETURN) for item in _items(document))
    if any(entry.reference is None for entry in entries):
        raise Unreadable("a return without REF")
    return Page(answers.number_of(document.body, "TOTALNUM"), None, entries)


def statement_page(document: Document, account: str, day: str) -> Page:
    """A DF1005 reply about this account and day (yyyyMMdd). Raises Unreadable."""
    if answers.retcode_of(document) == codes.NOT_FOUND:
        return Page(0, 0, ())
    items = _items(document)
    if (document.body.get("PAYACC"), document.body.get("DATE")) != (account, day):
        raise Unreadable("a statement of another account or day")
    entries = []
    for item in items:
        if item.get("KIND", "") not in _KINDS:
            raise Unreadable("an entry that is neither a credit nor a return")
        entries.append(_entry(item, _KINDS[item["KIND"]]))
    text = document.body.get("TOTALAMT", "")
    try:
        # Credits minus returns: the only amount of this bank that may be negative.
        total_fen = -fen_from_yuan_text(text[1:]) if text.startswith("-") else fen_from_yuan_text(text)
    except ValueError:
        raise Unreadable("a statement whose TOTALAMT is no amount") from None
    return Page(answers.number_of(document.body, "TOTALNUM"), total_fen, tuple(entries))


def _items(document: Document) -> list[dict[str, str]]:
    if answers.retcode_of(document) != codes.SUCCESS:
        raise Unreadable("a reply without a list")
    if document.items is None and answers.number_of(document.body, "TOTALNUM"):
        raise Unreadable("a reply whose list is missing")
    return document.items or []


def _entry(item: dict[str, str], booking: Booking) -> Entry:
    booked = Booked.of(item)
    if booked is None:
        raise Unreadable("an entry without POSTDATE or HOSTREF")
    named = bool(item.get("REF"))
    return Entry(
        booking,
        answers.batch_of(item) if named else None,
        answers.reference_of(item) if named else None,
        answers.amount_of(item),
        booked,
        answers.code_of(item),
        answers.shown(item.get("MSG", "")),
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question of ours and the answer to it, as bytes."""

    question: bytes
    answer: bytes


class Transcripts:
    """Writes exchanges as artefacts and reads them again. Holds the key, no state."""

    def __init__(self, envelope: Envelope, limit_bytes: int, statement_limit_bytes: int) -> None:
        self._envelope = envelope
        self._limit = limit_bytes
        self._statement_limit = statement_limit_bytes

    def artefact(self, name: str, exchanges: Sequence[Exchange]) -> Artefact:
        parts = [part for exchange in exchanges for part in (exchange.question, exchange.answer)]
        return Artefact.of(name, b"".join(b"%08d" % len(part) + part for part in parts))

    def evidence(self, artefact: Artefact) -> list[Evidence]:
        """What a page of returns, a statement, or the reply to a question about lines proves. Raises Unreadable."""
        if artefact.content.startswith(b"<?xml"):
            document = self._envelope.read(artefact.content, self._limit)
            if document.trade not in (codes.QUERY_BATCH, codes.QUERY_LINE):
                raise Unreadable("not a reply about lines")
            return answers.lines_of(document, artefact.sha256)
        trade, pairs = self._pairs(artefact)
        if trade == codes.QUERY_STATEMENT:
            entries = self._statement_entries(pairs)
        else:
            entries = [entry for _, answer in pairs for entry in returns_page(answer).entries]
        return [entry.evidence(artefact.sha256) for entry in entries if entry.reference is not None]

    def statement(self, artefact: Artefact) -> Statement | None:
        """The statement that an artefact is; None when it is none. Raises Unreadable when it is no good one."""
        if artefact.content.startswith(b"<?xml"):
            return None
        trade, pairs = self._pairs(artefact)
        if trade != codes.QUERY_STATEMENT:
            return None
        entries = self._statement_entries(pairs)
        asked = pairs[0][0].body
        day = answers.date_of(asked.get("DATE", ""))
        if day is None:
            raise Unreadable("a statement of no day")
        return Statement(
            day,
            AccountNumber(asked.get("PAYACC", "")),
            tuple(
                StatementEntry(
                    entry.booking,
                    entry.reference,
                    entry.amount_fen,
                    entry.booked.post_date,
                    entry.booked.host_reference,
                    entry.submission,
                )
                for entry in entries
            ),
            artefact.sha256,
        )

    def _pairs(self, artefact: Artefact) -> tuple[str, list[tuple[Document, Document]]]:
        """The trade code and the exchanges, each with both MACs right and the answer belonging to the question."""
        pairs: list[tuple[Document, Document]] = []
        parts = self._parts(artefact.content)
        for question, answer in zip(parts[::2], parts[1::2], strict=True):
            asked, told = self._envelope.read(question, self._limit), self._envelope.read(answer, self._limit)
            if (asked.trade, asked.number) != (told.trade, told.number):
                raise Unreadable("an answer to another question")
            pairs.append((asked, told))
        trades = {asked.trade for asked, _ in pairs}
        if len(trades) != 1 or not trades <= {codes.QUERY_RETURNS, codes.QUERY_STATEMENT}:
            raise Unreadable("not pages of one list")
        return trades.pop(), pairs

    def _parts(self, content: bytes) -> list[bytes]:
        if len(content) > self._statement_limit:
            raise Unreadable("larger than the bound")
        parts: list[bytes] = []
        place = 0
        while place < len(content):
            size = content[place : place + _SIZE_BYTES]
            if _SIZE(size) is None:
                raise Unreadable("not a kept exchange")
            place += _SIZE_BYTES + int(size)
            parts.append(content[place - int(size) : place])
        if place != len(content) or not parts or len(parts) % 2:
            raise Unreadable("a kept exchange that is not whole")
        return parts

    @staticmethod
    def _statement_entries(pairs: Sequence[tuple[Document, Document]]) -> list[Entry]:
        """The entries of all pages of one day, when the pages agree with each other and with count and sum."""
        entries: list[Entry] = []
        heads: set[tuple[str, str, int, int | None]] = set()
        for asked, told in pairs:
            account, day = asked.body.get("PAYACC", ""), asked.body.get("DATE", "")
            if answers.number_of(asked.body, "START") != len(entries) + 1:
                raise Unreadable("a page of the statement is missing")
            page = statement_page(told, account, day)
            heads.add((account, day, page.total, page.total_fen))
            entries += page.entries
        if len(heads) != 1:
            raise Unreadable("the pages of the statement do not agree")
        ((_, _, total, total_fen),) = heads
        if (len(entries), sum(entry.signed_fen for entry in entries)) != (total, total_fen):
            raise Unreadable("count or sum of the statement differ from its entries")
        if len({entry.mark for entry in entries}) != len(entries):
            raise Unreadable("a booking stands twice in the statement")  # and another, then, not at all
        return entries
