"""Twelve one-line mistakes, each of which costs somebody money, and the tests that must see each of them.

A mutant is data: text that stands exactly once in ``gateway/``, what it becomes, and where the tests that guard it are.
Text and not line numbers, so that a mutant follows its rule when the rule moves to another module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Mutant:
    """``old`` in ``gateway/`` becomes ``new``; the tests in ``guards`` must turn red."""

    name: str
    costs: str
    old: str
    new: str
    guards: tuple[str, ...]


NAMED: Final = (
    Mutant(
        "timeout_is_refusal",
        "A call that ended without an answer counts as not taken: the same money travels again.",
        "proof = proof_of_raising(wire)",
        "proof = Proof.NOT_TAKEN",
        ("tests/store/test_evidence.py", "tests/store/test_payment.py"),
    ),
    Mutant(
        "doubt_is_sent_again",
        "What is in doubt may be claimed for sending.",
        "WHERE s.bank = $1 AND s.state IN ('RENDERED', 'DEFERRED') AND s.due_at <= $4",
        "WHERE s.bank = $1 AND s.state IN ('RENDERED', 'DEFERRED', 'IN_DOUBT') AND s.due_at <= $4",
        ("tests/store/test_fencing.py",),
    ),
    Mutant(
        "settling_ignored",
        '"Not found" is believed as soon as it is heard, while the first transmission may still settle.',
        "return asked_at >= counted_from + dt.timedelta(seconds=settling_seconds)",
        "return asked_at >= counted_from",
        ("tests/unit/test_states.py",),
    ),
    Mutant(
        "fence_ignored",
        "A process whose claim was taken over sends all the same.",
        "WHERE submission_id = $1 AND fence = $2 AND state IN ('RENDERED', 'DEFERRED') "
        "AND lease_until > clock_timestamp()",
        "WHERE submission_id = $1 AND fence >= $2 AND state IN ('RENDERED', 'DEFERRED')",
        ("tests/store/test_fencing.py",),
    ),
    Mutant(
        "short_credit_accepted",
        "A credit of another amount than the approved one counts as paid in full.",
        "if moved_money and evidence.amount_fen is not None and evidence.amount_fen != known.amount_fen:",
        "if moved_money and evidence.amount_fen is not None and evidence.amount_fen > known.amount_fen:",
        ("tests/unit/test_states.py",),
    ),
    Mutant(
        "return_ignored",
        "Money that came back is still booked as paid: nobody pays it again.",
        """                Proof.CREDITED: NOOP,  # the same booking; another host reference is a conflict, see decide()
                Proof.REJECTED: CONFLICT,
                Proof.RETURNED: State.RETURNED,""",
        """                Proof.CREDITED: NOOP,  # the same booking; another host reference is a conflict, see decide()
                Proof.REJECTED: CONFLICT,
                Proof.RETURNED: NOOP,""",
        ("tests/unit/test_states.py",),
    ),
    Mutant(
        "known_batch_with_other_bytes",
        "A known part with changed bytes is taken for a repetition.",
        """if bytes(known) == signed.digest:
                    return Stored(repeated=True)
                return Stored(refused=RefusalReason.CONFLICTING_CONTENT, detail="this part""",
        """if bytes(known):
                    return Stored(repeated=True)
                return Stored(refused=RefusalReason.CONFLICTING_CONTENT, detail="this part""",
        ("tests/store/test_intake.py",),
    ),
    Mutant(
        "person_listed_twice",
        "Somebody with an approved payout of this programme and period is approved again.",
        "WHERE beneficiary = ANY($1::uuid[]) AND programme = $2 AND period = $3 AND cancelled_at IS NULL;",
        "WHERE beneficiary = ANY($1::uuid[]) AND programme = $2 AND period <> $3 AND cancelled_at IS NULL;",
        ("tests/store/test_intake.py", "tests/store/test_evidence.py"),
    ),
    Mutant(
        "paid_before_the_money_came",
        "A list starts although its money does not cover it.",
        "WHERE state = 'AWAITING_FUNDS' AND funds_fen >= approved_fen - cancelled_fen",
        "WHERE state = 'AWAITING_FUNDS'",
        ("tests/store/test_intake.py",),
    ),
    Mutant(
        "reissued_while_in_doubt",
        "Finance may order a second attempt while nobody knows what became of the first.",
        "    if state in DOUBTFUL:\n        raise OrderRefused",
        "    if state in ():\n        raise OrderRefused",
        ("tests/store/test_orders.py",),
    ),
    Mutant(
        "stale_order_obeyed",
        "An order about an attempt that is over makes a further attempt beside the new one.",
        'if attempt != (1 if latest is None else latest["attempt_no"]):',
        'if attempt > (1 if latest is None else latest["attempt_no"]):',
        ("tests/store/test_orders.py",),
    ),
    Mutant(
        "cancelled_at_the_bank",
        "A payout that the bank has already is reported as cancelled.",
        "if state is not None and state not in CANCELLABLE:",
        "if state is not None and state not in CANCELLABLE | AT_THE_BANK:",
        ("tests/store/test_orders.py", "tests/store/test_contradictions.py"),
    ),
)
