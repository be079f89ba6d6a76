"""Loads the tables that people maintain (programmes, agreements, calendar) into frozen objects, naming every fault.

A fault names file, line and column, never the value: agreements carry account numbers. All faults are found in one
reading, because whoever mends a table wants to mend it once.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from gateway.calendar import WorkCalendar
from gateway.policy import DEFAULT_MAX_AMOUNT_FEN, Agreement, Programme, Rules, Scope
from gateway.tables import Check, Table, TableFault, is_date, matches
from schemas.masked import AccountNumber

OFF: Final = "OFF"  # a day off by the State Council, on whatever weekday
WORK: Final = "WORK"  # a weekend day that is worked in exchange
REGIONAL: Final = "REGIONAL"  # closes banks, never moves the legal clock

_PURPOSE_BYTES = 20
_SATURDAY = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reference:
    """The three tables as this process knows them."""

    programmes: Mapping[str, Programme]
    agreements: tuple[Agreement, ...]
    calendar: WorkCalendar

    def valid_agreements(self, county: str, day: dt.date) -> Mapping[str, Agreement]:
        """By bank number: the agreements of the county that are valid on the day."""
        return MappingProxyType({a.bank_no: a for a in self.agreements if a.county == county and a.valid_on(day)})

    def rules(
        self, programme: Programme, county: str, day: dt.date, max_amount_fen: int = DEFAULT_MAX_AMOUNT_FEN
    ) -> Rules:
        """What ``policy.judge`` has to know about one batch on one day."""
        return Rules(day, programme.scope, self.valid_agreements(county, day), max_amount_fen)


def load(programmes: Path, agreements: Path, calendar: Path, adapter_column: str = "adapter") -> Reference:
    """All three tables; TableFault with the faults of all of them."""
    faults: list[str] = []

    def collect(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except TableFault as fault:
            faults.extend(fault.faults)
            return otherwise

    reference = Reference(
        collect(lambda: load_programmes(programmes), {}),
        collect(lambda: load_agreements(agreements, adapter_column), ()),
        collect(lambda: load_calendar(calendar), WorkCalendar(frozenset())),
    )
    if faults:
        raise TableFault(faults)
    return reference


def load_programmes(path: Path) -> Mapping[str, Programme]:
    """By code. The column ``scope`` may be absent: then every programme belongs to the scheme."""
    table = Table(path, _PROGRAMME_CHECKS, optional=("scope",))
    programmes: dict[str, Programme] = {}
    for number, row in table.rows():
        if row["code"] in programmes:
            table.fault(number, "code", "stands twice")
        programmes[row["code"]] = Programme(
            code=row["code"],
            full_name=row["full_name"],
            english=row["english"],
            department=row["department"],
            sms_name=row["sms_name"],
            bank_purpose=row["bank_purpose"],
            passbook_abstract=row["passbook_abstract"],
            scope=Scope(row["scope"]) if row.get("scope") else Scope.SCHEME,
        )
    table.finish()
    return MappingProxyType(programmes)


def load_agreements(path: Path, adapter_column: str = "adapter") -> tuple[Agreement, ...]:
    """In the order of the file. ``adapter_column`` names the configured adapter of each row."""
    table = Table(path, {**_AGREEMENT_CHECKS, adapter_column: _ADAPTER}, others_allowed=True)
    agreements: list[Agreement] = []
    for number, row in table.rows():
        agreement = Agreement(
            county=row["county"],
            bank_no=row["bank_no"],
            bank_name=row["bank_name"],
            bank=row[adapter_column],
            debit_account=AccountNumber(row["debit_account"]),
            debit_name=row["debit_name"],
            sms_signature=row["sms_signature"],
            valid_from=dt.date.fromisoformat(row["valid_from"]),
            valid_to=dt.date.fromisoformat(row["valid_to"]),
        )
        if agreement.valid_to < agreement.valid_from:
            table.fault(number, "valid_to", "is before valid_from")
        if any(_overlap(agreement, other) for other in agreements):
            table.fault(number, "bank_no", "has another agreement with this county at the same time")
        agreements.append(agreement)
    table.finish()
    return tuple(agreements)


def load_calendar(path: Path) -> WorkCalendar:
    """A year is loaded when it has days off; it must then hold New Year's Day and National Day, which always are."""
    table = Table(path, _CALENDAR_CHECKS)
    days: dict[str, set[dt.date]] = {OFF: set(), WORK: set(), REGIONAL: set()}
    for number, row in table.rows():
        day = dt.date.fromisoformat(row["date"])
        if any(day in others for others in days.values()):
            table.fault(number, "date", "stands twice")
        if row["kind"] == WORK and day.weekday() < _SATURDAY:
            table.fault(number, "date", "is a weekday, which is worked anyhow")
        days[row["kind"]].add(day)
    years = {day.year for day in days[OFF] | days[WORK]}
    for year in sorted(years):
        if not {dt.date(year, 1, 1), dt.date(year, 10, 1)} <= days[OFF]:
            table.fault(0, "date", f"the year {year} is incomplete: New Year's Day or National Day is not off")
    table.finish()
    return WorkCalendar(
        frozenset(years), off=frozenset(days[OFF]), working=frozenset(days[WORK]), regional=frozenset(days[REGIONAL])
    )


def _overlap(one: Agreement, other: Agreement) -> bool:
    same = (one.county, one.bank_no) == (other.county, other.bank_no)
    return same and one.valid_from <= other.valid_to and other.valid_from <= one.valid_to


# --- What each cell must be -------------------------------------------------------------------------------------------


def _fits_purpose(text: str) -> bool:
    return _is_text(text) is not None and len(text.encode("gb18030", "replace")) <= _PURPOSE_BYTES


# What bank files, XML and messages frame with never stands in approved texts.
_is_text = re.compile(r"[^|\x00-\x1f\x7f-\x9f]{1,100}").fullmatch

_TEXT: Check = (_is_text, "is empty, longer than 100 characters or holds a separator")
_DATE: Check = (is_date, "is not a date such as 2026-11-24")
_ADAPTER = matches(r"[a-z][a-z0-9_]{1,30}", "is not the name of a configured bank")

_PROGRAMME_CHECKS: Final[Mapping[str, Check]] = {
    "code": matches(r"[0-9A-Za-z-]{1,12}", "is not 1 to 12 ASCII letters, digits and hyphens"),
    "full_name": matches(r"[^|\x00-\x1f]{1,36}", "is empty or longer than 36 characters"),
    "english": _TEXT,
    "department": _TEXT,
    "sms_name": matches(r"[^|\x00-\x1f【】]{1,20}", "is empty, longer than 20 characters or holds 【】"),
    "bank_purpose": (_fits_purpose, "is empty or longer than 20 bytes in GB18030"),
    "passbook_abstract": matches(r"[^|\x00-\x1f]{1,4}", "is empty or longer than 4 characters"),
    "scope": matches("|".join(("", *Scope)), "is neither SCHEME nor SOCIAL_INSURANCE"),
}
_AGREEMENT_CHECKS: Final[Mapping[str, Check]] = {
    "county": matches(r"[0-9]{6}", "is not 6 digits"),
    "bank_no": matches(r"[0-9]{12}", "is not 12 digits"),
    "bank_name": _TEXT,
    "debit_account": matches(r"[0-9A-Za-z]{5,32}", "is not 5 to 32 ASCII letters and digits"),
    "debit_name": _TEXT,
    "sms_signature": matches(r"[^|\x00-\x1f【】]{2,12}", "is not 2 to 12 characters without 【】"),
    "valid_from": _DATE,
    "valid_to": _DATE,
}
_CALENDAR_CHECKS: Final[Mapping[str, Check]] = {
    "date": _DATE,
    "kind": matches(f"{OFF}|{WORK}|{REGIONAL}", f"is neither {OFF} nor {WORK} nor {REGIONAL}"),
    "name": _TEXT,
}
