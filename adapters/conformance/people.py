"""The people whom the kit pays, and the order in which their money travels: nobody who lives.

ID numbers carry the unassigned prefix 659999, cards 629999. Names, accounts and ID numbers are also the canaries: each
is found again wherever it leaks, because nothing else in a run looks like it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from adapters.contract import Line, Submission
from schemas.masked import AccountNumber, IdNumber, PersonName

AT: Final = dt.datetime(2026, 11, 24, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
DEBIT_ACCOUNT: Final = "6599990000000017"
OTHER_DEBIT_ACCOUNT: Final = "6599990000000025"  # a county may pay from several
_PURPOSE: Final = "耕地地力保护补贴"
_PROGRAMME: Final = "XJ-NY-01"
_PERIOD: Final = "2026"
_BANK_NO: Final = "402881000015"

# All of them fit GBK, so that every bank must be able to write them; 珅 and 瑋 end in the byte of "|" there.
NAMES: Final = ("阿依古丽·买买提", "张珅", "古丽娜尔·阿卜杜热合曼", "欧阳瑋", "库尔班江·吐尔逊", "祁连姝")

# 䶮 and 𠅤 are beyond GBK; a lone surrogate is beyond every encoding; then private use and control characters.
HARD_NAMES: Final = (
    "龚䶮",
    "李𠅤",
    "王㛃",
    "Ömer·Ğül",
    "ئايگۈل",
    "张\ud800三",
    "李\ue000四",
    "王\r\n五",
    "赵\x00六",
    "钱\u2028七",
)
BREAKING_NAMES: Final = (
    "周|吴",
    "郑<b>王",
    'A","B',
    "冯&陈",
    "褚\t卫",
    "蒋  沈",
)  # characters of the formats themselves
LONG_NAME: Final = "阿卜杜热合曼"  # repeated as often as a length wants
FOREIGN_DIGITS: Final = "６２９９９９９００００００００１"  # an account in digits of another script

KNOWN: Final = 20  # so many of them are looked for wherever they might leak

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    name: str
    id_no: str
    account: str


def person(number: int, name: str | None = None) -> Person:
    """The ``number``-th of up to a million people, always the same."""
    born = dt.date(1950, 1, 1) + dt.timedelta(days=number * 37 % 18_000)
    digits = f"659999{born:%Y%m%d}{number % 1000:03d}"
    check = "10X98765432"[sum(int(d) * w for d, w in zip(digits, _WEIGHTS, strict=True)) % 11]
    return Person(name or NAMES[number % len(NAMES)], digits + check, f"629999{number * 7919 % 10**13:013d}")


def amount_of(number: int) -> int:
    """In fen, different for each line, with and without full yuan."""
    return 88_050 + number * 1_237


def line(reference: str, number: int, name: str | None = None, amount_fen: int | None = None) -> Line:
    payee = person(number, name)
    return Line(
        reference=reference,
        name=PersonName(payee.name),
        id_type="01",
        id_no=IdNumber(payee.id_no),
        account=AccountNumber(payee.account),
        account_kind="CARD",
        bank_no=_BANK_NO,
        amount_fen=amount_of(number) if amount_fen is None else amount_fen,
        programme=_PROGRAMME,
        purpose=_PURPOSE,
        period=_PERIOD,
    )


def lines(references: Sequence[str]) -> list[Line]:
    return [line(reference, number) for number, reference in enumerate(references)]


def submission(reference: str, debit_account: str = DEBIT_ACCOUNT) -> Submission:
    return Submission(
        reference=reference,
        county="659999",
        debit_account=AccountNumber(debit_account),
        debit_name="某某县财政局惠民惠农补贴专户",
        programme=_PROGRAMME,
        purpose=_PURPOSE,
        period=_PERIOD,
    )


def canaries(people: int) -> dict[str, str]:
    """What must be found nowhere, each with the word that a report may use for it. Amounts and references may.

    A name that was refused is a name, and so is what is left of one that was cut.
    """
    found = {DEBIT_ACCOUNT: "the fiscal account", OTHER_DEBIT_ACCOUNT: "the fiscal account"}
    found |= dict.fromkeys((*HARD_NAMES, *BREAKING_NAMES, LONG_NAME * 2), "a name that may have been refused")
    found[FOREIGN_DIGITS] = "an account"
    for number in range(people):
        payee = person(number)
        found |= {payee.id_no: "an ID number", payee.account: "an account", payee.name: "a name"}
    return found
