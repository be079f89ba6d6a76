"""What the bank keeps in mind about a submission and its lines, and the stages that a line's plan walks through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.bank.programme import Plan

RECEIVED, PENDING, SUSPECT, PAID, FAILED, RETURNED = "N", "P", "U", "S", "F", "R"
FINAL = frozenset((PAID, FAILED, RETURNED))
BIT = {RECEIVED: 1, PENDING: 2, SUSPECT: 4, PAID: 8, FAILED: 16, RETURNED: 32}
WORD = {
    RECEIVED: "IN_PROCESS",
    PENDING: "IN_PROCESS",
    SUSPECT: "UNKNOWN",
    PAID: "CREDITED",
    FAILED: "REJECTED",
    RETURNED: "RETURNED",
}


FUNDS_SHORT = "FUNDS_SHORT"  # the reason of a line that the balance did not cover
NOT_EXECUTED = "not_executed"  # the plan of a line that the bank has and never carries out


class Item(NamedTuple):
    """One line as it arrived."""

    line: int
    reference: str
    account: str
    name: str
    id_no: str
    amount_fen: int
    programme: str
    period: str


@dataclass(slots=True)
class Upload:
    """One submission as it arrived: readable enough to have lines."""

    batch: str
    source: str
    payload: bytes
    digest: str
    debit_account: str
    programme: str
    total_fen: int
    items: list[Item]


@dataclass(slots=True, eq=False)
class Submission:
    """One submission that was taken."""

    n: int
    batch: str
    source: str
    digest: str
    at_ms: int
    base_ms: int
    visible_ms: int
    total_fen: int
    fault: str
    lines: list[Line] = field(default_factory=list)
    decided: int = 0
    reports: int = 0
    dirty: dict[int, Line] = field(default_factory=dict)
    report_due: bool = False


class Line:
    """One line that was taken: what is planned, what was done, and what was told."""

    __slots__ = (
        "account",
        "amount_fen",
        "asked",
        "credited",
        "host_ref",
        "misnamed",
        "no",
        "paid_fen",
        "plan",
        "post_date",
        "reference",
        "stage",
        "status",
        "submission",
        "told",
    )

    def __init__(self, submission: Submission, no: int, reference: str, account: str, amount: int, plan: Plan) -> None:
        self.submission = submission
        self.no = no
        self.reference = reference
        self.account = account
        self.amount_fen = amount
        self.plan = plan
        self.status = RECEIVED
        self.stage = 0
        self.host_ref = ""
        self.post_date = ""
        self.credited = ("", "")  # post date and host reference of a credit that came back
        self.paid_fen = 0  # what the credit moved; 0 = none yet
        self.told = 0  # bits of the statuses reported by file or callback
        self.asked = 0  # bits of the statuses told by query
        self.misnamed = False


def word(line: Line) -> str:
    """What the bank says about a line, as the ledger has it."""
    if line.status == FAILED and line.plan.kind == NOT_EXECUTED:
        return "ABSENT"
    if line.status == FAILED and line.plan.reason == FUNDS_SHORT:
        return "NOT_TAKEN"
    return WORD[line.status]


class Stage(NamedTuple):
    """One step of a plan: when after the first result, what is done, and whether the fault bites here."""

    after_ms: int
    action: str
    bites: bool = False


_ACCEPT = (Stage(0, "credit"),)


def stages(plan: Plan, repair_ms: int) -> tuple[Stage, ...]:
    """The steps of a plan in their order; the first one is the line's first result."""
    later = plan.seconds * 1000
    match plan.kind:
        case "accept":
            return _ACCEPT
        case "reject":
            return (Stage(0, "reject", True),)
        case "reject_late" | "not_executed":
            return (Stage(0, "pend"), Stage(later, "reject", True))
        case "settle_late":
            return (Stage(0, "pend"), Stage(later, "credit", True))
        case "suspect_then_settle":
            return (Stage(0, "suspect", True), Stage(later, "credit"))
        case "credit_then_return":
            return (Stage(0, "credit"), Stage(later, "return", True))
        case "pending_for_ever":
            return (Stage(0, "pend", True),)
        case "duplicate_answer":
            return (Stage(0, "credit"), Stage(repair_ms, "again", True))
        case "wrong_reference":
            return (Stage(0, "misname", True), Stage(repair_ms, "again"))
        case "wrong_amount":
            return (Stage(0, "overpay", True),)
        case "credit_after_reject":
            return (Stage(0, "reject"), Stage(later, "credit", True))
        case "contradiction":
            return (Stage(0, "credit"), Stage(repair_ms, "deny", True), Stage(2 * repair_ms, "again"))
    raise ValueError(plan.kind)
