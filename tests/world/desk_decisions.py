"""What finance decides about a payout that failed or came back, and when: by a keyed hash, so that a seed replays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from schemas.codec import parse_message
from schemas.v1 import Kind
from tests.world.desk_list import canonical

TEN_THOUSAND = 10_000
MAY_HEAL = frozenset({"ACCOUNT_FROZEN", "ACCOUNT_DORMANT", "SSCARD_NOT_ACTIVATED"})
GIVEN_NAMES = "安平康宁和顺"


@dataclass(frozen=True, slots=True)
class Habits:
    """Rates per ten thousand; seconds are virtual."""

    seed: int = 1
    reverify_seconds: tuple[int, int] = (3_600, 14_400)
    cancel_rate: int = 300  # of failures, never of returns
    same_details_rate: int = 2_500  # where the account was repaired
    most_attempts: int = 8  # a payout that failed so often is cancelled


@dataclass(frozen=True, slots=True)
class Case:
    """One failed or returned attempt that waits for finance."""

    issuer: str
    batch_id: str
    line: int
    attempt: int
    outcome: str
    reason: str
    final_ms: int

    @property
    def order_id(self) -> str:
        return order_name(self.batch_id, self.line, self.attempt)


def order_name(batch_id: str, line: int, attempt: int) -> str:
    """One order an attempt, whatever happens to the desk in between."""
    return f"O-{batch_id}-{line}-{attempt}"[:64]


def draw(seed: int, *words: str | int) -> int:
    text = "\x1f".join(map(str, (seed, *words))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def due_ms(habits: Habits, case: Case) -> int:
    """When the re-verification of a case is finished."""
    low, high = habits.reverify_seconds
    return case.final_ms + 1000 * (low + draw(habits.seed, "due", case.order_id) % (high - low + 1))


def decide(habits: Habits, case: Case, item: dict[str, Any]) -> bytes:
    """The signed-to-be order about a case. ``item`` is the line as finance wrote it."""
    chance = draw(habits.seed, "what", case.order_id) % TEN_THOUSAND
    deceased = case.reason == "BENEFICIARY_DECEASED"
    tired = case.attempt >= habits.most_attempts
    if deceased or tired or (case.outcome == "failed" and chance < habits.cancel_rate):
        kind, details = "CANCEL", None
    elif case.reason in MAY_HEAL or chance >= TEN_THOUSAND - habits.same_details_rate:
        kind, details = "REISSUE", None
    else:
        kind, details = "REISSUE", _corrected(habits, case, item)
    raw = canonical(
        {
            "schema": "payout.order/v1",
            "issuer": case.issuer,
            "order_id": case.order_id,
            "kind": kind,
            "batch_id": case.batch_id,
            "line": case.line,
            "attempt": case.attempt,
            "document_no": f"复核{case.attempt}号",
            "details": details,
        }
    )
    parse_message(Kind.ORDER, raw)
    return raw


def _corrected(habits: Habits, case: Case, item: dict[str, Any]) -> dict[str, str]:
    """Another account of nobody's card range; and, where the name did not match, a corrected name."""
    serial = draw(habits.seed, "account", case.order_id) % 10**11
    card = f"6299991{serial:011d}"
    details = {"account": card + _luhn(card), "account_kind": "银行卡"}
    if case.reason == "NAME_MISMATCH":
        name = str(item["name"])
        details["name"] = name[:-1] + GIVEN_NAMES[serial % len(GIVEN_NAMES)]
    return details


def _luhn(digits: str) -> str:
    doubled = sum((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(digit)] for digit in digits[::-2])
    return str(-(doubled + sum(map(int, digits[-2::-2]))) % 10)
