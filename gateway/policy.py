"""Judges one line of an approved list, and the corrected details of a re-issue: pay it, or say why not.

Pure: what is known about the world (agreements of today, the account kept for a person, who was approved already) comes
in as arguments. The first reason that holds is the one given, in the order of ``LineReason``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from gateway import names, resident_id
from schemas.masked import AccountNumber, IdNumber, PersonName, Phone
from schemas.v1 import LineReason


class AccountKind(StrEnum):
    SSCARD = "SSCARD"
    CARD = "CARD"
    PASSBOOK = "PASSBOOK"


class Scope(StrEnum):
    """Whether a programme is paid through the one-card scheme at all."""

    SCHEME = "SCHEME"
    SOCIAL_INSURANCE = "SOCIAL_INSURANCE"


@dataclass(frozen=True, slots=True)
class Programme:
    """A subsidy programme as approved; its texts are never cut by code."""

    code: str
    full_name: str
    english: str
    department: str
    sms_name: str
    bank_purpose: str
    passbook_abstract: str
    scope: Scope = Scope.SCHEME


@dataclass(frozen=True, slots=True)
class Agreement:
    """A signed agreement: this bank pays in this county, from this account, through this configured adapter."""

    county: str
    bank_no: str
    bank_name: str
    bank: str  # the configured adapter instance
    debit_account: AccountNumber
    debit_name: str
    sms_signature: str
    valid_from: dt.date
    valid_to: dt.date  # the last day, inclusive

    def valid_on(self, day: dt.date) -> bool:
        return self.valid_from <= day <= self.valid_to


class Written(Protocol):
    """A line as the list wrote it. Absent fields are empty."""

    @property
    def name(self) -> PersonName: ...
    @property
    def id_no(self) -> IdNumber: ...
    @property
    def phone(self) -> Phone: ...
    @property
    def account(self) -> AccountNumber: ...
    @property
    def account_kind(self) -> str: ...
    @property
    def bank_no(self) -> str: ...
    @property
    def amount(self) -> str: ...


class Changes(Protocol):
    """The corrected details of a re-issue; None is unchanged."""

    @property
    def name(self) -> PersonName | None: ...
    @property
    def id_no(self) -> IdNumber | None: ...
    @property
    def phone(self) -> Phone | None: ...
    @property
    def account(self) -> AccountNumber | None: ...
    @property
    def account_kind(self) -> str | None: ...
    @property
    def bank_no(self) -> str | None: ...


class Binding(NamedTuple):
    """The account the bank keeps for a person; account, kind and bank belong together."""

    account: AccountNumber
    account_kind: AccountKind
    bank_no: str


class Payee(NamedTuple):
    """Who is paid, where. Everything as written, but for the interpunct, the X of the ID and the phone's notation."""

    name: PersonName
    raw_name: PersonName | None  # as written, when the interpunct was mapped
    id_no: IdNumber
    phone: Phone | None  # None: paid without an SMS
    account: AccountNumber
    account_kind: AccountKind
    bank_no: str


class Approved(NamedTuple):
    payee: Payee
    amount_fen: int
    agreement: Agreement


class Corrected(NamedTuple):
    payee: Payee
    agreement: Agreement


class Refused(NamedTuple):
    """``detail`` is one of a closed set of texts, without personal data."""

    reason: LineReason
    detail: str


CASH: Final = "cash payment"
UNKNOWN_KIND: Final = "unknown account kind"
SOCIAL_INSURANCE: Final = "social-insurance programme"
NOT_AN_AMOUNT: Final = "not a plain amount"
TOO_MANY_DECIMALS: Final = "more than two decimals"
ZERO: Final = "zero"
TOO_LARGE: Final = "above the upper bound"
NO_ACCOUNT: Final = "no account on the line and none kept"
NOT_AN_ACCOUNT: Final = "not an account number"
NOT_A_BANK: Final = "not a bank number of 12 digits"
NO_AGREEMENT: Final = "bank has no agreement for the county"
DUPLICATE: Final = "same programme, period and ID as another line"

DEFAULT_MAX_AMOUNT_FEN: Final = 1_000_000_000  # ten million yuan to one person is a slip of the pen

_KINDS: Final[Mapping[str, AccountKind]] = {
    "社会保障卡": AccountKind.SSCARD,
    "社保卡": AccountKind.SSCARD,
    "SSCARD": AccountKind.SSCARD,
    "银行卡": AccountKind.CARD,
    "CARD": AccountKind.CARD,
    # A list without that column names plain bank accounts.
    "": AccountKind.CARD,
    "存折": AccountKind.PASSBOOK,
    "PASSBOOK": AccountKind.PASSBOOK,
}
_CASH_KINDS = frozenset(("现金", "CASH"))
# [0-9], because "\d" takes Persian digits; at most 13 digits of yuan, so that int() stays cheap.
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,12})(?:\.([0-9]{1,2}))?").fullmatch
_TOO_FINE = re.compile(r"[0-9]{1,13}\.[0-9]{3,20}").fullmatch
_ACCOUNT = re.compile(r"[0-9A-Za-z]{5,32}").fullmatch
_BANK_NUMBER = re.compile(r"[0-9]{12}").fullmatch
_MOBILE = re.compile(r"1[3-9][0-9]{9}").fullmatch


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every line of one batch on one day."""

    day: dt.date
    scope: Scope
    agreements: Mapping[str, Agreement]  # by bank number: those of the county, valid on the day
    max_amount_fen: int = DEFAULT_MAX_AMOUNT_FEN


def judge(
    rules: Rules,
    line: Written,
    binding: Binding | None = None,
    is_duplicate: Callable[[IdNumber], bool] | None = None,
) -> Approved | Refused:
    """Pay this line, or why not. ``binding`` counts only where the line names no account (``person_without_account``).

    ``is_duplicate`` is asked last, about the canonical ID; a caller who decides duplicates in bulk leaves it out.
    """
    if (detail := _out_of_scope(rules, line.account_kind)) is not None:
        return Refused(LineReason.OUT_OF_SCOPE, detail)
    name, raw_name = _canonical_name(line.name)
    if (detail := names.fault(name.reveal())) is not None:
        return Refused(LineReason.NAME_INVALID, detail)
    if (detail := resident_id.fault(line.id_no.reveal(), rules.day)) is not None:
        return Refused(LineReason.ID_INVALID, detail)
    amount_fen = amount_in_fen(line.amount, rules.max_amount_fen)
    if not isinstance(amount_fen, int):
        return Refused(LineReason.AMOUNT_INVALID, amount_fen)
    account = line.account
    if has_account(account):
        kind, bank_no = _KINDS[line.account_kind], line.bank_no
    elif binding is None:
        return Refused(LineReason.ACCOUNT_MISSING, NO_ACCOUNT)
    else:
        account, kind, bank_no = binding
    if not _ACCOUNT(account.reveal()):
        return Refused(LineReason.ACCOUNT_MISSING, NOT_AN_ACCOUNT)
    agreement = rules.agreements.get(bank_no)
    if agreement is None:
        return Refused(LineReason.NO_AGREEMENT, NO_AGREEMENT)
    id_no = canonical_id(line.id_no)
    if is_duplicate is not None and is_duplicate(id_no):
        return Refused(LineReason.DUPLICATE_BENEFICIARY, DUPLICATE)
    return Approved(Payee(name, raw_name, id_no, mobile(line.phone), account, kind, bank_no), amount_fen, agreement)


def judge_details(rules: Rules, before: Payee, changes: Changes) -> Corrected | Refused:
    """The payee of a re-issue: the changed fields under the same rules, and an agreement that holds today.

    The collision of a corrected ID with another payout is the caller's to find, as a duplicate is in ``judge``.
    """
    kind = before.account_kind
    if changes.account_kind is not None:
        # On a list an empty kind is an absent column; in an order it is a mistake.
        detail = _out_of_scope(rules, changes.account_kind) if changes.account_kind else UNKNOWN_KIND
        if detail is not None:
            return Refused(LineReason.OUT_OF_SCOPE, detail)
        kind = _KINDS[changes.account_kind]
    name, raw_name = before.name, before.raw_name
    if changes.name is not None:
        name, raw_name = _canonical_name(changes.name)
        if (detail := names.fault(name.reveal())) is not None:
            return Refused(LineReason.NAME_INVALID, detail)
    id_no = before.id_no
    if changes.id_no is not None:
        if (detail := resident_id.fault(changes.id_no.reveal(), rules.day)) is not None:
            return Refused(LineReason.ID_INVALID, detail)
        id_no = canonical_id(changes.id_no)
    account = before.account if changes.account is None else changes.account
    if not _ACCOUNT(account.reveal()):
        return Refused(LineReason.ACCOUNT_MISSING, NOT_AN_ACCOUNT)
    bank_no = before.bank_no if changes.bank_no is None else changes.bank_no
    agreement = rules.agreements.get(bank_no)
    if agreement is None:
        return Refused(LineReason.NO_AGREEMENT, NO_AGREEMENT)
    phone = before.phone if changes.phone is None else mobile(changes.phone)
    return Corrected(Payee(name, raw_name, id_no, phone, account, kind, bank_no), agreement)


def judge_binding(
    day: dt.date, id_no: IdNumber, account: AccountNumber, account_kind: str, bank_no: str
) -> tuple[IdNumber, Binding] | Refused:
    """An account that a bank keeps for a person, under the rules of a line: the canonical ID and what is kept."""
    if account_kind not in _KINDS or not account_kind:
        return Refused(LineReason.OUT_OF_SCOPE, CASH if account_kind in _CASH_KINDS else UNKNOWN_KIND)
    if (detail := resident_id.fault(id_no.reveal(), day)) is not None:
        return Refused(LineReason.ID_INVALID, detail)
    if not _ACCOUNT(account.reveal()):
        return Refused(LineReason.ACCOUNT_MISSING, NOT_AN_ACCOUNT)
    if not _BANK_NUMBER(bank_no):
        return Refused(LineReason.NO_AGREEMENT, NOT_A_BANK)
    return canonical_id(id_no), Binding(account, _KINDS[account_kind], bank_no)


def person_without_account(rules: Rules, line: Written) -> IdNumber | None:
    """Whose kept account has to be looked up before ``judge``: the canonical ID, or None when no look-up is needed."""
    if has_account(line.account) or _out_of_scope(rules, line.account_kind) is not None:
        return None
    return None if resident_id.fault(line.id_no.reveal(), rules.day) else canonical_id(line.id_no)


def has_account(account: AccountNumber) -> bool:
    """Whether the line names an account, right or wrong: a wrong one is never replaced by the kept one."""
    return bool(account) and not account.reveal().isspace()


def canonical_id(id_no: IdNumber) -> IdNumber:
    """One form per person: what duplicates and kept accounts are looked up by."""
    text = id_no.reveal()
    canonical = resident_id.canonical(text)
    return id_no if canonical == text else IdNumber(canonical)


def mobile(phone: Phone) -> Phone | None:
    """The mobile number without +86 and spaces, or None: a landline or nothing gets no SMS."""
    text = phone.reveal()
    if _MOBILE(text):
        return phone
    digits = "".join(text.split()).removeprefix("+86")
    return Phone(digits) if _MOBILE(digits) else None


def amount_in_fen(text: str, max_amount_fen: int = DEFAULT_MAX_AMOUNT_FEN) -> int | str:
    """An amount as written in fen, or what is wrong with it."""
    match = _AMOUNT(text)
    if match is None:
        return TOO_MANY_DECIMALS if _TOO_FINE(text) else NOT_AN_AMOUNT
    fen = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    if fen == 0:
        return ZERO
    return fen if fen <= max_amount_fen else TOO_LARGE


def luhn_holds(card: AccountNumber) -> bool:
    """The check digit of a card. A warning at most, and meaningless for a passbook: no payment depends on it."""
    digits = card.reveal()
    if not (digits.isascii() and digits.isdigit()):
        return False
    doubled = sum((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(digit)] for digit in digits[-2::-1][::2])
    return (doubled + sum(map(int, digits[::-2]))) % 10 == 0


def _out_of_scope(rules: Rules, account_kind: str) -> str | None:
    if rules.scope is not Scope.SCHEME:
        return SOCIAL_INSURANCE
    if account_kind in _KINDS:
        return None
    return CASH if account_kind in _CASH_KINDS else UNKNOWN_KIND


def _canonical_name(written: PersonName) -> tuple[PersonName, PersonName | None]:
    text = written.reveal()
    canonical = names.canonical(text)
    return (written, None) if canonical == text else (PersonName(canonical), written)
