"""What goes wrong with a call, a message or a report, decided by a seed and the input alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from tests.world.sms.config import CALL_FAULTS, MESSAGE_FAULTS, QUERY_FAULTS, Config
from tests.world.sms_ledger import Row

CERTAIN = 10_000  # rates are per ten thousand


class Taken(NamedTuple):
    """The head of a call that is being taken."""

    n: int
    batch_id: str
    nth: int  # how many calls with this batch id arrived before
    signature: str
    at_ms: int


class Fate(NamedTuple):
    """What will become of a message that was taken; the names are the ledger's."""

    billed: str
    taken_at_ms: int
    status: str
    status_at_ms: int
    callback_at_ms: int | None
    callbacks: int
    fault: str


class Programme:
    """What goes wrong, decided by a keyed hash: the same seed and the same input give the same fate, in any order."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rates = config.rates

    def _roll(self, *words: object) -> int:
        digest = hashlib.blake2b(repr((self._config.seed, *words)).encode(), digest_size=8).digest()
        return int.from_bytes(digest)

    def _one_of(self, faults: Sequence[str], *words: object) -> str:
        """At most one of several faults; their rates add up."""
        if self._rates.keys().isdisjoint(faults):
            return ""
        point = self._roll(*words) % CERTAIN
        for fault in faults:
            if point < (rate := self._rates.get(fault, 0)):
                return fault
            point -= rate
        return ""

    def call(self, batch_id: str, nth: int, *, faults: Sequence[str] = CALL_FAULTS, number: str | None = None) -> str:
        """The fault of one arrival. ``number`` is another name that a plan may use where no batch id is on the wire."""
        names = (batch_id, "*") if number is None else (batch_id, number, "*")
        planned = next((self._config.calls[name] for name in names if name in self._config.calls), None)
        if planned is None:
            return self._one_of(faults, "call", batch_id, nth)
        fault = planned[nth] if nth < len(planned) else "none"
        return fault if fault in faults else ""

    def query(self, batch_id: str, nth: int) -> str:
        return self._one_of(QUERY_FAULTS, "query", batch_id, nth)

    def forges(self, ref: str) -> bool:
        return bool(self._one_of(("callback_forged",), "callback", ref))

    def number(self, phone: str) -> tuple[bool, str]:
        """Whether a number is refused, and the fault that a plan or the seed holds for it."""
        fault = self._config.numbers.get(phone) or self._one_of(("refuse_number",), "number", phone)
        return fault == "refuse_number" or not re.fullmatch("1[3-9][0-9]{9}", phone), fault

    def fate(self, ref: str, nth: int, at_ms: int, fault: str) -> Fate:
        """The whole fate of a message to a good number, fixed when it is taken; ``fault`` is the planned one."""
        fault = fault or self._one_of(MESSAGE_FAULTS, "fate", ref, nth)
        least, most = self._config.report_seconds
        status_at = at_ms + 1000 * (least + self._roll("delay", ref, nth) % (most - least + 1))
        callback_at = status_at + (self._config.late_seconds * 1000 if fault == "report_late" else 0)
        return Fate(
            "RECEIVER" if fault == "bill_receiver" else "SENDER",
            at_ms,
            "UNDELIV" if fault == "undelivered" else "DELIVRD",
            status_at,
            None if fault == "report_lost" else callback_at,
            {"report_lost": 0, "report_twice": 2}.get(fault, 1),
            fault,
        )

    def judge(self, taken: Taken, index: int, message: dict[str, str]) -> Row:
        """One message of an HTTP call, as it will stand in the ledger."""
        ref, phone, text, at_ms = message["ref"], message["phone"], message["text"], taken.at_ms
        refused, fault = self.number(phone)
        code = "OK"
        if refused:
            code = "BAD_NUMBER"
        elif not text.startswith(f"【{taken.signature}】"):
            code = "TEXT"
        row = (f"M{taken.n:09d}{index:03d}", taken.n, taken.batch_id, ref, phone, text, units(text), code)
        if code != "OK":
            return Row(*row, "NOBODY", at_ms, "REJECTD", at_ms, None, 0, fault if refused else "")
        return Row(*row, *self.fate(ref, taken.nth, at_ms, fault))


def units(text: str) -> int:
    """Length in UTF-16 code units, as operators bill it."""
    return len(text.encode("utf-16-le")) // 2
