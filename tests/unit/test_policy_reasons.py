"""The table of failure reasons against the table of the domain page."""

from __future__ import annotations

import pytest

from adapters.contract import Reason
from gateway.reasons import Finality, reason_facts
from schemas.v1 import WhoActs

DOMAIN_TABLE = """
ACCOUNT_NOT_FOUND final department
NAME_MISMATCH final department
ID_MISMATCH final department
ACCOUNT_CLOSED final payee
ACCOUNT_FROZEN heals payee
ACCOUNT_DORMANT heals payee
CARD_LOST_OR_EXPIRED final payee
SSCARD_NOT_ACTIVATED heals payee
ACCOUNT_CLASS_LIMIT final payee
ACCOUNT_TYPE final department
BANK_CODE_INVALID final department
AMOUNT final operations
DUPLICATE ask operations
RETURNED_AFTER_CREDIT final department
FUNDS_SHORT not-taken finance
FORMAT not-taken operations
SIGNATURE not-taken operations
NAME_NOT_ENCODABLE final department
NOT_EXECUTED closed nobody
BENEFICIARY_DECEASED final department
BANK_BUSY open nobody
UNKNOWN open operations
"""
FINALITY = {
    "final": Finality.FINAL,
    "heals": Finality.MAY_HEAL,
    "ask": Finality.ASK_FIRST,
    "not-taken": Finality.NOT_TAKEN,
    "closed": Finality.CLOSED,
    "open": Finality.OPEN,
}
ROWS = [line.split() for line in DOMAIN_TABLE.split("\n") if line]


@pytest.mark.parametrize(("reason", "finality", "who_acts"), ROWS, ids=[row[0] for row in ROWS])
def test_each_reason_is_as_the_domain_page_says(reason: str, finality: str, who_acts: str) -> None:
    """Finality and whose move it is are the page's, and everybody is told a way back."""
    facts = reason_facts(Reason(reason))
    assert (facts.finality, facts.who_acts) == (FINALITY[finality], WhoActs(who_acts))
    assert facts.way_back


def test_the_table_is_total() -> None:
    """No reason is without a row, so that adding one forces a decision."""
    assert {row[0] for row in ROWS} == set(Reason)
    for reason in Reason:
        reason_facts(reason)
