"""One line of an approved list: may it be paid? The checker's own judgement, from the domain's rules."""

from __future__ import annotations

import csv
import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DOTS = "\u2022\u2027\u2219\u22c5\u30fb\uff65"
_TO_LEGAL_DOT = str.maketrans(dict.fromkeys(DOTS, "\u00b7"))
_CASH = ("现金", "CASH")
_KINDS = ("社会保障卡", "社保卡", "银行卡", "存折", "SSCARD", "CARD", "PASSBOOK", "")
_ID = re.compile("[0-9]{17}[0-9Xx]")
_AMOUNT = re.compile("(0|[1-9][0-9]{0,12})([.][0-9]{1,2})?")
_ACCOUNT = re.compile("[0-9A-Za-z]{5,32}")
_MOST_FEN = 1_000_000_000
_SHANGHAI = dt.timezone(dt.timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Agreement:
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Tables:
    """What people maintain beside the lists: agreements by (county, bank number), programmes, accounts kept by ID.

    A programme has the words by which a bank without programme codes hears of it.
    """

    agreements: Mapping[tuple[str, str], tuple[Agreement, ...]]
    programmes: Mapping[str, str]  # code -> what a bank is told
    accounts: Mapping[str, tuple[str, str]]  # ID number -> account, bank number
    routes: Mapping[str, str] = field(default_factory=dict)  # a bank's number -> the bank that pays its accounts

    @classmethod
    def read(cls, agreements: Path, programmes: Path, bindings: Path | None) -> Tables:
        of: dict[tuple[str, str], list[Agreement]] = {}
        routes = {}
        for row in _rows(agreements):
            routes[row["bank_no"]] = row["adapter_issue_banks"]
            of.setdefault((row["county"], row["bank_no"]), []).append(Agreement(row["valid_from"], row["valid_to"]))
        kept = {}
        for row in _rows(bindings) if bindings is not None and bindings.exists() else []:
            kept[row["id_no"].upper()] = (row["account"], row["bank_no"])
        return cls(
            {key: tuple(found) for key, found in of.items()},
            {row["code"]: row["bank_purpose"] for row in _rows(programmes)},
            kept,
            routes,
        )

    def may_pay(self, county: str, bank_no: str, day: str) -> bool:
        return any(one.first <= day <= one.last for one in self.agreements.get((county, bank_no), ()))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def day(at_ms: int) -> str:
    """The day of a moment, where the lists are made."""
    return dt.datetime.fromtimestamp(at_ms / 1000, _SHANGHAI).date().isoformat()


def legal_name(written: str) -> str:
    """The name as it may travel: the one legal interpunct for its six look-alikes."""
    return written.translate(_TO_LEGAL_DOT)


def same_name(one: str, other: str) -> bool:
    """Canonical interpunct, width folded, no spaces; everything else exact."""
    return one == other or _folded(one) == _folded(other)


def _folded(name: str) -> str:
    folded = []
    for character in "".join(legal_name(name).split()):
        kind, _, code = unicodedata.decomposition(character).partition(" ")
        folded.append(chr(int(code, 16)) if kind in ("<wide>", "<narrow>") else character)
    return "".join(folded)


def fen(amount: str) -> int | None:
    """A plain amount of yuan in fen, positive; None for anything else."""
    if not _AMOUNT.fullmatch(amount):
        return None
    yuan, _, cents = amount.partition(".")
    value = int(yuan) * 100 + int(cents.ljust(2, "0"))
    return value if 0 < value <= _MOST_FEN else None


def refusal(item: Mapping[str, str], tables: Tables, county: str, day: str) -> str:
    """Why the line must be refused, "" when it must be paid. Whether another line comes first is not known here."""
    if item["account_kind"] in _CASH or item["account_kind"] not in _KINDS:
        return "OUT_OF_SCOPE"
    if not _name_is_legal(legal_name(item["name"])):
        return "NAME_INVALID"
    if not _id_is_legal(item["id_no"], day):
        return "ID_INVALID"
    if fen(item["amount"]) is None:
        return "AMOUNT_INVALID"
    account, bank_no = where(item, tables)
    if not _ACCOUNT.fullmatch(account):
        return "ACCOUNT_MISSING"
    return "" if tables.may_pay(county, bank_no, day) else "NO_AGREEMENT"


def where(item: Mapping[str, str], tables: Tables) -> tuple[str, str]:
    """Account and bank number of the line, else those that the bank keeps for the person."""
    if item["account"].strip():
        return item["account"], item["bank_no"]
    return tables.accounts.get(item["id_no"].upper(), ("", item["bank_no"]))


def _name_is_legal(name: str) -> bool:
    if not name or name != name.strip() or len(name) > 100:
        return False
    return not any(
        character in "|\u2028\u2029\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co")
        for character in name
    )


def _id_is_legal(number: str, today: str) -> bool:
    if not _ID.fullmatch(number):
        return False
    remainder = sum(int(digit) * (1 << (17 - place)) for place, digit in enumerate(number[:17])) % 11
    if "10X98765432"[remainder] != number[17].upper():
        return False
    try:
        born = dt.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return born.year >= 1900 and born.isoformat() <= today
