"""What was booked on the fiscal account: the entries of a camt.054 and of a camt.053, judged as a whole.

A debit of the fiscal account proves nothing about the payee: it is an entry of the statement, and no evidence. A credit
proves a return only with ``RtrInf`` and a reference. Money that comes in without it, but under a name (a reversal looks
like this), is an incoming entry of the statement: the books know whether the name is ours.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from adapters.banks.iso20022.codes import REASONS
from adapters.banks.iso20022.document import Node
from adapters.contract import Booking, Evidence, Proof, Reason, Statement, StatementEntry, Unreadable
from adapters.wire.words import shown
from schemas.masked import AccountNumber

NOTIFICATION: Final = "BkToCstmrDbtCdtNtfctn"
NOTIFICATION_NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"
STATEMENT: Final = "BkToCstmrStmt"
STATEMENT_NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
_BOOKED: Final = "BOOK"
_NO_REFERENCE: Final = "NOTPROVIDED"  # the standard's word for it


@dataclass(frozen=True, slots=True)
class _Booked:
    """One movement: a transaction of an entry, or an entry that tells no transactions."""

    credit: bool
    returned: bool
    reference: str | None
    submission: str | None
    amount_fen: int
    post_date: dt.date | None
    host_reference: str | None
    code: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    credit: bool
    amount_fen: int
    movements: tuple[_Booked, ...]  # empty when it is not booked (yet)


def notified(message: Node, artefact: str) -> list[Evidence]:
    """What the entries of a camt.054 prove: returns; and that something came back, where no line is named."""
    found: list[_Booked] = []
    for notification in message.all("Ntfctn"):
        found += [each for entry in _entries(notification) for each in entry.movements]
    return _returns(found, artefact) + [_unnamed(each, artefact) for each in found if _is_unnamed(each)]


def stated(message: Node, day: dt.date, artefact: str) -> tuple[Statement, list[Evidence]]:
    """A camt.053 of that day as a statement, and what its entries prove: returns."""
    _is_complete(message.find("GrpHdr/MsgPgntn"))
    parts = list(message.all("Stmt"))
    found: list[_Booked] = []
    for part in parts:
        _is_complete(part.find("StmtPgntn"))
        entries = _entries(part)
        _check_balances(part, day, entries)
        found += [each for entry in entries for each in entry.movements]
    accounts = {account for part in parts if (account := _account(part))}
    if not parts or len(accounts) != len(parts):
        raise Unreadable("no statement, an account twice, or one without its number")
    # One account: complete for that one. Several: one file a day holds all accounts of the agreement.
    whose = AccountNumber(*accounts) if len(parts) == 1 else None
    lines = tuple(entry for each in found if (entry := _statement_entry(each)) is not None)
    return Statement(day, whose, lines, artefact), _returns(found, artefact)


def _is_complete(pagination: Node | None) -> None:
    if pagination is not None and (pagination.count_at("PgNb") != 1 or pagination.text_at("LastPgInd") != "true"):
        raise Unreadable("a page of a statement is no statement")


def _account(part: Node) -> str:
    return part.word_at("Acct/Id/Othr/Id") or part.word_at("Acct/Id/IBAN")


def _statement_entry(found: _Booked) -> StatementEntry | None:
    if found.credit and not found.returned and found.reference is None and found.submission is None:
        return None  # it names nobody: other people's money
    if found.post_date is None:
        raise Unreadable("a booked entry has no date")
    booking = Booking.RETURN if found.returned else Booking.INCOMING if found.credit else Booking.DEBIT
    return StatementEntry(
        booking,
        found.reference,
        found.amount_fen,
        found.post_date,
        found.host_reference,
        found.submission,
    )


def _returns(found: Sequence[_Booked], artefact: str) -> list[Evidence]:
    return [_return(each, artefact) for each in found if each.returned and each.reference is not None]


def _return(found: _Booked, artefact: str) -> Evidence:
    """It came back, where the bank names day and booking; the reason by its code, where the table has it."""
    proof, reason = REASONS.get(found.code, (Proof.IN_DOUBT, Reason.UNKNOWN))
    booked = found.post_date is not None and found.host_reference is not None
    came_back = reason if proof is Proof.REJECTED else Reason.RETURNED_AFTER_CREDIT
    return Evidence(
        Proof.RETURNED if booked else Proof.IN_DOUBT,
        reference=found.reference,
        submission=found.submission,
        reason=came_back if booked else Reason.UNKNOWN,
        code=found.code,
        text=found.text,
        amount_fen=found.amount_fen,
        host_reference=found.host_reference,
        post_date=found.post_date,
        artefact=artefact,
    )


def _is_unnamed(found: _Booked) -> bool:
    return found.returned and found.reference is None


def _unnamed(found: _Booked, artefact: str) -> Evidence:
    """Money came back, and nobody says whose: no line moves, people look."""
    return replace(_return(found, artefact), proof=Proof.IN_DOUBT, reason=Reason.UNKNOWN)


# --- entries that add up ---------------------------------------------------------------------------------------------


def _entries(part: Node) -> list[_Entry]:
    """The entries of one notification or statement; Unreadable where a sum or a number differs from what it sums."""
    entries = [_entry(node) for node in part.all("Ntry")]
    for name, chosen in (
        ("TtlNtries", entries),
        ("TtlCdtNtries", [entry for entry in entries if entry.credit]),
        ("TtlDbtNtries", [entry for entry in entries if not entry.credit]),
    ):
        summary = part.find(f"TxsSummry/{name}")
        if summary is not None:
            _agrees(summary.count_at("NbOfNtries"), len(chosen))
            _agrees(summary.fen_at("Sum"), sum(entry.amount_fen for entry in chosen))
    return entries


def _entry(node: Node) -> _Entry:
    credit, amount = _is_credit(node), _amount(node, "Amt")
    whole = _Booked(
        credit=credit,
        returned=False,
        reference=None,
        submission=None,
        amount_fen=amount,
        post_date=node.date_at("BookgDt"),
        host_reference=node.word_at("AcctSvcrRef") or None,
    )
    movements: list[_Booked] = []
    for details in node.all("NtryDtls"):
        total = details.fen_at("Btch/TtlAmt")
        batch = replace(whole, submission=details.word_at("Btch/MsgId") or None)
        found = [_transaction(batch, each) for each in details.all("TxDtls")]
        if found:
            _agrees(details.count_at("Btch/NbOfTxs"), len(found))
            _agrees(total, sum(each.amount_fen for each in found))
        elif total is not None:
            found = [replace(batch, amount_fen=total)]
        movements += found
    if movements:
        _agrees(amount, sum(each.amount_fen for each in movements))
    booked = node.word_at("Sts/Cd") == _BOOKED
    return _Entry(credit, amount, tuple(movements or [whole]) if booked else ())


def _transaction(entry: _Booked, node: Node) -> _Booked:
    """One transaction of an entry, which lends it whatever the transaction does not say itself."""
    if node.find("CdtDbtInd") is not None and _is_credit(node) != entry.credit:
        raise Unreadable("an entry and its transaction disagree whether it is a debit")
    amount = node.fen_at("Amt")
    reference = node.word_at("Refs/EndToEndId")
    returned = node.find("RtrInf")
    return _Booked(
        credit=entry.credit,
        returned=entry.credit and returned is not None,
        reference=reference if reference and reference != _NO_REFERENCE else None,
        submission=node.word_at("Refs/MsgId") or entry.submission,
        amount_fen=entry.amount_fen if amount is None else amount,
        post_date=entry.post_date,
        host_reference=node.word_at("Refs/AcctSvcrRef") or entry.host_reference,
        code=returned.word_at("Rsn/Cd") if returned is not None else "",
        text=shown(" ".join(each.text for each in returned.all("AddtlInf"))) if returned is not None else "",
    )


def _check_balances(part: Node, day: dt.date, entries: Sequence[_Entry]) -> None:
    """Opening balance and booked movements make the closing balance of that day."""
    opening, closing = _balance(part, "OPBD"), _balance(part, "CLBD")
    if closing.date_at("Dt") != day:
        raise Unreadable("the statement closes another day than its file name says")
    moved = sum(entry.amount_fen if entry.credit else -entry.amount_fen for entry in entries if entry.movements)
    _agrees(_signed(opening) + moved, _signed(closing))


def _balance(part: Node, kind: str) -> Node:
    found = [balance for balance in part.all("Bal") if balance.word_at("Tp/CdOrPrtry/Cd") == kind]
    if len(found) != 1:
        raise Unreadable(f"not exactly one balance {kind}")
    return found[0]


def _signed(balance: Node) -> int:
    amount = _amount(balance, "Amt")
    return amount if _is_credit(balance) else -amount


def _amount(node: Node, path: str) -> int:
    amount = node.fen_at(path)
    if amount is None:
        raise Unreadable(f"{path} is missing")
    return amount


def _is_credit(node: Node) -> bool:
    word = node.word_at("CdtDbtInd")
    if word not in ("CRDT", "DBIT"):
        raise Unreadable("neither a debit nor a credit")
    return word == "CRDT"


def _agrees(said: int | None, counted: int | None) -> None:
    """What the bank sums up, where it does, is what its details add up to."""
    if said is not None and said != counted:
        raise Unreadable("a sum or a number differs from its details")
