"""The seeded programme: what the bank will do with each line, transmission, result and query, by a keyed hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tests.bank.config import ConfigurationError, ProgrammeConfig

RCC, JSON, XML, ISO = "rcc_file", "json_https", "xml_tcp", "iso20022"
FILES = (RCC, ISO)
ALL = (*FILES, JSON, XML)

LINE_OUTCOMES: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        "reject",
        "reject_late",
        "settle_late",
        "suspect_then_settle",
        "credit_then_return",
        "pending_for_ever",
        "duplicate_answer",
        "wrong_reference",
        "wrong_amount",
        "credit_after_reject",
        "contradiction",
    ),
    ALL,
) | {"not_executed": (XML,)}
# A new name goes to the end of its table: the ladders of the profiles that do not have it stay what they were.
SUBMISSION_FAULTS: dict[str, tuple[str, ...]] = {
    "timeout_after_accept": ALL,
    "drop_after_accept": ALL,
    "timeout_before_accept": ALL,
    "drop_before_accept": ALL,
    "funds_short": ALL,
    "drop_after_txt": (RCC,),
    "ack_missing": FILES,
    "ack_late": FILES,
    "refuse_format": (*FILES, XML),
    "refuse_digest": (RCC,),
    "refuse_agreement": (RCC,),
    "refuse_signature": (ISO,),
    "refuse_duplicate": (ISO,),
    "http_5xx_after_accept": (JSON,),
    "http_5xx_before_accept": (JSON,),
    "rate_limited": (JSON,),
    "conflict_409_after_accept": (JSON,),
    "conflict_409_other_digest": (JSON,),
    "garbage_answer": (JSON, XML),
    "unsigned_answer": (JSON,),
    "callback_before_reply": (JSON,),
    "not_found_until_settled": (JSON, XML),
    "hidden": (JSON, XML),
    "hostile_redirect": (JSON,),
    "hostile_oversize": (JSON, XML),
    "hostile_gzip_bomb": (JSON,),
    "hostile_slow": (JSON, XML),
    "refuse_mac": (XML,),
    "answer_9999_after_accept": (XML,),
    "answer_9999_before_accept": (XML,),
    "answer_cics_after_accept": (XML,),
    "answer_blank_after_accept": (XML,),
    "busy_2007_after_accept": (XML,),
    "busy_2007_before_accept": (XML,),
    "duplicate_3051_after_accept": (XML,),
    "wrong_mac_answer": (XML,),
    "short_answer": (XML,),
    "other_reqseq_answer": (XML,),
    "hostile_entities": (XML,),
}
RESULT_FAULTS: dict[str, tuple[str, ...]] = {
    "result_truncated": FILES,
    "result_duplicated": FILES,
    "result_out_of_order": FILES,
    "result_rewritten": FILES,
    "result_unknown_reference": FILES,
    "result_wrong_totals": FILES,
    "result_late": FILES,
    "hostile_names": FILES,
    "hostile_entities": (ISO,),
    "result_wrong_version": (ISO,),
    "callback_duplicated": (JSON,),
    "callback_reordered": (JSON,),
    "callback_lost": (JSON,),
    "callback_late": (JSON,),
    "callback_replayed": (JSON,),
    "callback_forged": (JSON,),
    "callback_unknown_reference": (JSON,),
    "return_late": (XML,),
    "return_repeated": (XML,),
}
QUERY_FAULTS: dict[str, tuple[str, ...]] = {
    "query_timeout": ALL,
    "query_drop": ALL,
    "query_5xx": (JSON,),
    "query_stale": (JSON, XML),
    "query_not_found": (JSON, XML),
    "query_garbage": (JSON, XML),
    "query_9999": (XML,),
    "query_short": (XML,),
}

WITH_SECONDS = frozenset(
    ("reject_late", "settle_late", "suspect_then_settle", "credit_then_return", "credit_after_reject", "not_executed")
)
WITH_REASON = frozenset(("reject", "reject_late", "credit_then_return", "credit_after_reject", "contradiction"))
TEN_THOUSAND = 10_000


class Plan(NamedTuple):
    """What will become of one line; `seconds` after its first result, and why, where that applies."""

    kind: str
    seconds: int = 0
    reason: str = ""

    def text(self) -> str:
        parts = [self.kind]
        if self.kind in WITH_SECONDS:
            parts.append(str(self.seconds))
        if self.kind in WITH_REASON:
            parts.append(self.reason)
        return ":".join(parts)


ACCEPT = Plan("accept")
ACCEPT_TEXT = "accept"


def read_plan(text: str) -> Plan:
    """A plan from the form that `Plan.text` writes."""
    if text == ACCEPT_TEXT:
        return ACCEPT
    kind, *arguments = text.split(":")
    seconds = int(arguments.pop(0)) if kind in WITH_SECONDS and arguments else 0
    return Plan(kind, seconds, arguments[0] if arguments else "")


@dataclass(frozen=True, slots=True)
class _Class:
    """One class of faults with its rates as a ladder to 10,000."""

    ladder: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, names: Mapping[str, tuple[str, ...]], rates: Mapping[str, int], profile: str) -> _Class:
        ladder, height = [], 0
        for name, profiles in names.items():
            if rates.get(name, 0) and profile in profiles:
                height += rates[name]
                ladder.append((height, name))
        if height > TEN_THOUSAND:
            raise ConfigurationError("the rates of one class add up to more than 10000")
        return cls(tuple(ladder))

    def pick(self, draw: int) -> str | None:
        draw %= TEN_THOUSAND
        for height, name in self.ladder:
            if draw < height:
                return name
        return None


class Programme:
    """Pure: the same seed, names and counts give the same decisions, in any order and in any process."""

    def __init__(self, seed: int, config: ProgrammeConfig, profile: str) -> None:
        _check_names(
            {*config.rates, *config.again_rates}, {*LINE_OUTCOMES, *SUBMISSION_FAULTS, *RESULT_FAULTS, *QUERY_FAULTS}
        )
        _check_names(
            {read_plan(text).kind for listed in config.accounts.values() for text in listed}, {"accept", *LINE_OUTCOMES}
        )
        _check_names({name for listed in config.submissions.values() for name in listed}, {"none", *SUBMISSION_FAULTS})
        _check_names({name for listed in config.results.values() for name in listed}, {"none", *RESULT_FAULTS})
        self.config = config
        self._key = hashlib.sha256(str(seed).encode()).digest()[:16]
        self._first = _Class.of(LINE_OUTCOMES, config.rates, profile)
        self._again = _Class.of(LINE_OUTCOMES, config.again_rates, profile)
        self._submission = _Class.of(SUBMISSION_FAULTS, config.rates, profile)
        self._result = _Class.of(RESULT_FAULTS, config.rates, profile)
        self._query = _Class.of(QUERY_FAULTS, config.rates, profile)

    def draw(self, *words: str | int) -> int:
        """A number below 2**128 that depends on the seed and on nothing but these words."""
        text = "\x1f".join(map(str, words)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=16, key=self._key).digest(), "big")

    def line(self, account: str, nth: int) -> Plan:
        """What becomes of a line of `account` that was taken `nth` times before."""
        listed = self.config.accounts.get(account)
        if listed is not None:
            return self._fill(listed[nth], account, nth) if nth < len(listed) else ACCEPT
        ladder = self._again if nth else self._first
        if not ladder.ladder:
            return ACCEPT
        kind = ladder.pick(self.draw("line", account, nth))
        return ACCEPT if kind is None else self._fill(kind, account, nth)

    def _fill(self, text: str, account: str, nth: int) -> Plan:
        plan = read_plan(text)
        draw = self.draw("details", account, nth)
        seconds, reason = plan.seconds, plan.reason
        if plan.kind in WITH_SECONDS and not seconds:
            returns = plan.kind == "credit_then_return"
            low, high = self.config.return_seconds if returns else self.config.late_seconds
            seconds = low + draw % (high - low + 1)
        if plan.kind in WITH_REASON and not reason:
            reason = self.config.reject_reasons[(draw >> 64) % len(self.config.reject_reasons)]
        return Plan(plan.kind, seconds, reason)

    def submission(self, batch: str, transmission: int) -> str | None:
        """The fault of the `transmission`-th (1 = first) time that this batch travels here."""
        listed = self.config.submissions.get(batch, self.config.submissions.get("*"))
        if listed is not None:
            return _listed(listed, transmission - 1)
        return self._submission.pick(self.draw("submission", batch, transmission))

    def result(self, name: str, ordinal: int) -> str | None:
        """The fault of one result file or callback; `ordinal` counts those of its submission from 0."""
        named = self.config.results.get(name)
        if named is not None:
            return _listed(named, 0)
        listed = self.config.results.get("*")
        if listed is not None:
            return _listed(listed, ordinal)
        return self._result.pick(self.draw("result", name))

    def query(self, path: str, nth: int) -> str | None:
        return self._query.pick(self.draw("query", path, nth)) if self._query.ladder else None


def _check_names(given: set[str], known: set[str]) -> None:
    unknown = sorted(given - known)
    if unknown:
        raise ConfigurationError(f"unknown names in the programme: {', '.join(unknown)}")


def _listed(names: list[str], index: int) -> str | None:
    name = names[index] if index < len(names) else "none"
    return None if name == "none" else name
