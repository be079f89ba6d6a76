"""Words for people's phones: approved templates, what they must say, how long they are, and when they may be sent.

Templates are data that a bank has had approved; code only fills the blanks and never cuts a name to fit. Length is
counted the way the operators bill it: UTF-16 code units, signature and brackets included, 70 in a single message and 67
in each part of a longer one. A character outside the basic plane takes two units and is never torn between two parts.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from string import Formatter
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")
ONE_PART_UNITS = 70
EACH_PART_UNITS = 67  # three units of each part of a long message are its header

OPENS = dt.time(9, 30)
CLOSES = dt.time(21, 0)
MIDNIGHT = dt.time(0, 0)

MANDATORY_LANGUAGE = "zh"
LANGUAGES = (MANDATORY_LANGUAGE, "ug")  # the order in which they stand in a message

MAX_POLICY_CHARACTERS = 36
MAX_PERIOD_CHARACTERS = 12
MAX_TEMPLATE_UNITS = 200

_SIGNATURE = re.compile(r"[^\s【】]{2,12}")
_TAIL = re.compile(r"[0-9A-Z]{4}")
_PERIODS = {
    "year": re.compile(r"(?P<year>[0-9]{4})"),
    "month": re.compile(r"(?P<year>[0-9]{4})-?(?P<month>0[1-9]|1[0-2])"),
    "quarter": re.compile(r"(?P<year>[0-9]{4})-?Q(?P<quarter>[1-4])"),
}


class NoticeKind(StrEnum):
    """Why a person is written to. A notice is keyed by payout, attempt and kind."""

    ARRIVAL = "ARRIVAL"
    REISSUE_ARRIVAL = "REISSUE_ARRIVAL"
    CORRECTION = "CORRECTION"  # credited money came back


# What every notice must say (DOMAIN D3): policy, amount, date, last four of the account, and that it is free.
MUST_SAY = frozenset({"policy", "amount", "month", "day", "tail", "free"})
MAY_SAY = MUST_SAY | {"period", "year"}

DEFAULT_TEMPLATES: Mapping[str, Any] = MappingProxyType(
    {
        "zh": {
            "free": "本短信免费",
            "period": {"year": "{year}年", "month": "{year}年{month}月", "quarter": "{year}年{quarter}季度"},
            "ARRIVAL": "您尾号{tail}账户{month}月{day}日入账{amount}元，项目：{policy}({period})。{free}。",
            "REISSUE_ARRIVAL": "您尾号{tail}账户{month}月{day}日补发入账{amount}元，项目：{policy}({period})。{free}。",
            "CORRECTION": (
                "您尾号{tail}账户的{amount}元于{month}月{day}日退回，核实后补发，项目：{policy}({period})。{free}。"
            ),
        }
    }
)


class TemplateError(ValueError):
    """All that is wrong with a set of templates, so that one reading of the message mends the file."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class NoticeFacts:
    """What one notice speaks of. ``on`` is the day the money came (or, in a correction, went back)."""

    signature: str
    policy: str  # the programme's sms_name
    period: str
    amount_fen: int
    on: dt.date
    account_tail: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoticeText:
    """A finished text, its length as billed, and the number of messages it is billed as."""

    text: str = field(repr=False)
    units: int
    parts: int


def utf16_units(text: str) -> int:
    """Length in UTF-16 code units; a lone surrogate, which no wire can carry, still counts as one."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def split(text: str) -> tuple[str, ...]:
    """The parts a phone network makes of ``text``, none of which begins or ends inside a surrogate pair."""
    if utf16_units(text) <= ONE_PART_UNITS:
        return (text,)
    parts: list[str] = []
    begin = units = 0
    for at, character in enumerate(text):
        width = 2 if character > "\uffff" else 1
        if units + width > EACH_PART_UNITS:
            parts.append(text[begin:at])
            begin, units = at, 0
        units += width
    parts.append(text[begin:])
    return tuple(parts)


def notice_reference(payout_id: str, attempt: int, kind: NoticeKind) -> str:
    """The key of a notice as providers see it, such as ``1042-17-1-ARRIVAL``: no personal data, the same for ever."""
    return f"{payout_id}-{attempt}-{kind}"


@lru_cache(maxsize=256)
def check_signature(signature: str) -> str:
    """The signature itself, or ValueError: 2 to 12 printable characters, without brackets or blanks."""
    if not _SIGNATURE.fullmatch(signature) or not signature.isprintable():
        raise ValueError("an SMS signature is 2 to 12 printable characters without brackets or blanks")
    return signature


def yuan(amount_fen: int) -> str:
    if amount_fen <= 0:
        raise ValueError("a notice speaks of a positive amount")
    return f"{amount_fen // 100}.{amount_fen % 100:02d}"


def next_sending_time(now: dt.datetime, opens: dt.time = OPENS, closes: dt.time = CLOSES) -> dt.datetime:
    """``now`` within sending hours (opening included, closing excluded), else the next opening; Beijing time.

    ``closes`` at 00:00 is midnight at the day's end, so 00:00 to 00:00 is always open.
    """
    if now.tzinfo is None:
        raise ValueError("sending hours need an aware time")
    if closes != MIDNIGHT and opens >= closes:
        raise ValueError("sending hours end after they begin, on the same day")
    local = now.astimezone(SHANGHAI)
    if local.time() < opens:
        return dt.datetime.combine(local.date(), opens, SHANGHAI)
    if closes != MIDNIGHT and local.time() >= closes:
        return dt.datetime.combine(local.date() + dt.timedelta(days=1), opens, SHANGHAI)
    return local


_Pieces = tuple[tuple[str, str | None], ...]


def _pieces(template: str) -> _Pieces:
    """``template`` cut into (literal, blank); a blank is a bare name, so data can never reach into an object."""
    pieces: list[tuple[str, str | None]] = []
    for literal, name, spec, conversion in Formatter().parse(template):
        if spec or conversion or (name is not None and not re.fullmatch("[a-z]+", name)):
            raise ValueError("a blank is written as {name}, nothing else")
        pieces.append((literal, name))
    return tuple(pieces)


def _fill(pieces: _Pieces, values: Mapping[str, str]) -> str:
    return "".join([literal + (values[name] if name is not None else "") for literal, name in pieces])


def _unfit(text: str) -> bool:
    """Brackets would read as a second signature; controls, surrogates and private-use characters reach no screen."""
    return any(c in "【】" or (c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn")) for c in text)


@lru_cache(maxsize=256)
def _plain(value: str, what: str, most: int) -> str:
    if not 1 <= len(value) <= most or not value.isprintable() or _unfit(value):
        raise ValueError(f"{what} is 1 to {most} printable characters without brackets")
    return value


@dataclass(frozen=True, slots=True)
class _Language:
    free: str
    periods: Mapping[str, _Pieces]
    policies: Mapping[str, str]
    notices: Mapping[NoticeKind, _Pieces]

    def period(self, period: str) -> str:
        for shape, pattern in _PERIODS.items():
            pieces = self.periods.get(shape)
            if pieces is not None and (match := pattern.fullmatch(period)):
                return _fill(pieces, {name: value.lstrip("0") for name, value in match.groupdict().items()})
        return period


class _Reader:
    """Reads one language's section and remembers every fault in it."""

    def __init__(self, language: str, faults: list[str]) -> None:
        self._language = language
        self._faults = faults

    def fault(self, key: str, message: str) -> None:
        self._faults.append(f"{self._language}.{key}: {message}")

    def text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or _unfit(value):
            self.fault(key, "must be text that is not empty, without brackets 【】 or control characters")
            return ""
        if utf16_units(value) > MAX_TEMPLATE_UNITS:
            self.fault(key, f"must be at most {MAX_TEMPLATE_UNITS} UTF-16 units")
            return ""
        return value

    def pieces(self, key: str, value: object, must: frozenset[str], may: frozenset[str]) -> _Pieces:
        text = self.text(key, value)
        if not text:
            return ()
        try:
            pieces = _pieces(text)
        except ValueError:
            self.fault(key, "blanks are written as {name}, braces in pairs")
            return ()
        names = {name for _, name in pieces if name is not None}
        if missing := sorted(must - names):
            self.fault(key, f"must say {', '.join(missing)}")
        if unknown := sorted(names - may):
            self.fault(key, f"has unknown blanks: {', '.join(unknown)}")
        return pieces

    def table(self, key: str, value: object) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self.fault(key, "must be a table")
        return {}

    def language(self, section: Mapping[str, Any]) -> _Language:
        for key in sorted(set(section) - {"free", "period", "policies", *NoticeKind}):
            self.fault(key, "is not known")
        periods: dict[str, _Pieces] = {}
        for shape, template in self.table("period", section.get("period", {})).items():
            if shape in _PERIODS:
                blanks = frozenset(_PERIODS[shape].groupindex)
                periods[shape] = self.pieces(f"period.{shape}", template, blanks, blanks)
            else:
                self.fault(f"period.{shape}", f"is not one of {', '.join(_PERIODS)}")
        policies = self.table("policies", section.get("policies", {}))
        return _Language(
            free=self.text("free", section.get("free")),
            periods=periods,
            policies={name: self.text(f"policies.{name}", local) for name, local in policies.items()},
            notices={kind: self.pieces(kind, section.get(kind), MUST_SAY, MAY_SAY) for kind in NoticeKind},
        )


class Templates:
    """The approved texts of one bank: Chinese always, Uyghur beneath it in the same message where its data is given.

    The data is a table per language: ``free`` (the words that say the message is free), one text per ``NoticeKind``,
    ``period`` (how ``2026``, ``2026-11`` and ``2026-Q3`` are said; any other period is shown as it is) and ``policies``
    (an sms_name in that language; without one the Chinese name stands).
    """

    def __init__(self, languages: tuple[_Language, ...]) -> None:
        self._languages = languages

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Templates:
        """Check the whole of ``data``; TemplateError names everything that is wrong with it."""
        faults = [f"{language}: is not one of {', '.join(LANGUAGES)}" for language in data if language not in LANGUAGES]
        languages: list[_Language] = []
        for language in LANGUAGES:
            section = data.get(language)
            if isinstance(section, Mapping):
                languages.append(_Reader(language, faults).language(section))
            elif section is not None or language == MANDATORY_LANGUAGE:
                faults.append(f"{language}: the section is missing or no table")
        if faults:
            raise TemplateError(faults)
        return cls(tuple(languages))

    def build(self, kind: NoticeKind, facts: NoticeFacts) -> NoticeText:
        """The finished text. ValueError names the field that is unfit, never what stands in it."""
        if not _TAIL.fullmatch(facts.account_tail):
            raise ValueError("the tail of an account is 4 letters or digits")
        policy = _plain(facts.policy, "the policy's sms_name", MAX_POLICY_CHARACTERS)
        period = _plain(facts.period, "the period", MAX_PERIOD_CHARACTERS)
        values = {
            "amount": yuan(facts.amount_fen),
            "year": str(facts.on.year),
            "month": str(facts.on.month),
            "day": str(facts.on.day),
            "tail": facts.account_tail,
        }
        said: list[str] = []
        for language in self._languages:
            values["free"] = language.free
            values["policy"] = language.policies.get(policy, policy)
            values["period"] = language.period(period)
            said.append(_fill(language.notices[kind], values))
        text = f"【{check_signature(facts.signature)}】" + "\n".join(said)
        return NoticeText(text=text, units=utf16_units(text), parts=len(split(text)))
