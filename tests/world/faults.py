"""What goes wrong in a run of the world: an ordinary week, banks that break their word, and everything there is.

Rates are per ten thousand, by the names of `tests/bank/README.md` and `tests/world/SMS_CENTRE.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.bank import programme
from tests.world.layout_banks import BANKS

ONE_IN_TEN = 1_000
PARTS = 4
# The bank says two things that cannot both be true, or says nothing for ever: no gateway can bring these to a good end.
BREAKS_WORD = frozenset({"wrong_amount", "credit_after_reject", "contradiction", "hidden"})
SILENT = frozenset({"pending_for_ever"})


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates per ten thousand, by the names of `tests/bank/README.md` and `tests/world/SMS_CENTRE.md`."""

    banks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by profile
    sms: Mapping[str, int] = field(default_factory=dict)


_LINES = {"reject": 300, "reject_late": 100, "settle_late": 300, "suspect_then_settle": 50}
_LINES |= {"credit_then_return": 150, "duplicate_answer": 200, "wrong_reference": 30}

_ANSWERS_LOST = {"drop_after_accept": 800, "timeout_after_accept": 800, "drop_before_accept": 800}
_FILES = {
    "drop_after_accept": 1200,
    "timeout_after_accept": 600,
    "drop_before_accept": 600,
    "ack_late": 600,
    "ack_missing": 400,
    "result_duplicated": 800,
    "result_out_of_order": 500,
    "result_rewritten": 400,
    "result_truncated": 400,
    "result_unknown_reference": 300,
    "query_drop": 200,
}
_QUESTIONS = {"query_stale": 300, "query_drop": 200}

HONEST = Faults(
    banks={
        "rcc_file": {**_LINES, **_FILES, "drop_after_txt": 600},
        "json_https": {
            **_LINES,
            **_ANSWERS_LOST,
            **_QUESTIONS,
            "rate_limited": 400,
            "http_5xx_after_accept": 600,
            "conflict_409_after_accept": 400,
            "not_found_until_settled": 400,
            "callback_before_reply": 400,
            "callback_duplicated": 1500,
            "callback_reordered": 500,
            "callback_late": 500,
            "callback_lost": 100,
            "callback_replayed": 300,
            "callback_forged": 300,
            "query_5xx": 200,
        },
        "xml_tcp": {
            **_LINES,
            **_ANSWERS_LOST,
            **_QUESTIONS,
            "not_executed": 50,
            "not_found_until_settled": 400,
            "answer_9999_after_accept": 400,
            "answer_blank_after_accept": 300,
            "busy_2007_before_accept": 300,
            "duplicate_3051_after_accept": 300,
            "wrong_mac_answer": 200,
            "short_answer": 200,
            "return_late": 500,
            "return_repeated": 500,
            "query_9999": 200,
            "query_short": 200,
        },
        "iso20022": {**_LINES, **_FILES, "hostile_entities": 200},
    },
    sms={"drop_after": 200, "accept_later": 100, "undelivered": 100, "report_lost": 100, "report_twice": 200},
)
"""Everything that goes wrong in an ordinary week. No bank breaks its word."""

_BREACHES = {
    "rcc_file": {"credit_after_reject": 8},
    "json_https": {"contradiction": 8},
    "xml_tcp": {"credit_after_reject": 8},
    "iso20022": {"wrong_amount": 8},
}
BREACHES = Faults({bank: {**rates, **_BREACHES[bank]} for bank, rates in HONEST.banks.items()}, HONEST.sms)
"""The same week, and a few lines about which a bank says two things that cannot both be true."""

NO_FAULTS = Faults()


def every_fault(part: int) -> Faults:
    """A ``PARTS``-th of all that the four banks can do wrong without breaking their word, each at one in ten.

    All at once would leave nothing sound to be seen: there are more than ten of a kind. What no bank may do, and what
    it never decides, is ``broken_word``.
    """
    return _of(lambda name, number: number % PARTS == part and name not in BREAKS_WORD | SILENT)


def broken_word() -> Faults:
    """Everything by which a bank breaks its word or leaves a line undecided for ever, each at one in ten."""
    return _of(lambda name, _: name in BREAKS_WORD | SILENT)


def _of(wanted: Callable[[str, int], bool]) -> Faults:
    tables = (
        programme.LINE_OUTCOMES,
        programme.SUBMISSION_FAULTS,
        programme.RESULT_FAULTS,
        programme.QUERY_FAULTS,
    )
    banks: dict[str, dict[str, int]] = {bank: {} for bank in BANKS}
    for bank, rates in banks.items():
        for table in tables:
            possible = [name for name, profiles in table.items() if bank in profiles]
            rates |= {name: ONE_IN_TEN for number, name in enumerate(possible) if wanted(name, number)}
    return Faults(banks, HONEST.sms)
