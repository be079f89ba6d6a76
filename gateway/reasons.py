"""Why a payout failed, as a table: is it final, who acts, and how the money can still get there (DOMAIN section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from adapters.contract import Reason
from schemas.v1 import WhoActs


class Finality(StrEnum):
    FINAL = "final"
    MAY_HEAL = "may heal"  # final for this attempt; the same details may work later
    ASK_FIRST = "ask first"  # it may already be paid
    NOT_TAKEN = "not taken"  # the bank took nothing: no failed receipt
    CLOSED = "closed"  # this attempt is over, the core plans the next one by itself
    OPEN = "open"  # not an outcome


@dataclass(frozen=True, slots=True)
class ReasonFacts:
    finality: Finality
    who_acts: WhoActs
    way_back: str


_D, _P, _O = WhoActs.DEPARTMENT, WhoActs.PAYEE, WhoActs.OPERATIONS

_FACTS: Final = MappingProxyType(
    {
        Reason.ACCOUNT_NOT_FOUND: ReasonFacts(Finality.FINAL, _D, "new account"),
        Reason.NAME_MISMATCH: ReasonFacts(Finality.FINAL, _D, "corrected name or account"),
        Reason.ID_MISMATCH: ReasonFacts(Finality.FINAL, _D, "corrected ID"),
        Reason.ACCOUNT_CLOSED: ReasonFacts(Finality.FINAL, _P, "new account"),
        Reason.ACCOUNT_FROZEN: ReasonFacts(Finality.MAY_HEAL, _P, "same or new account"),
        Reason.ACCOUNT_DORMANT: ReasonFacts(Finality.MAY_HEAL, _P, "same account after activation"),
        Reason.CARD_LOST_OR_EXPIRED: ReasonFacts(Finality.FINAL, _P, "new card"),
        Reason.SSCARD_NOT_ACTIVATED: ReasonFacts(Finality.MAY_HEAL, _P, "same account after activation"),
        Reason.ACCOUNT_CLASS_LIMIT: ReasonFacts(Finality.FINAL, _P, "Class I account"),
        Reason.ACCOUNT_TYPE: ReasonFacts(Finality.FINAL, _D, "new account"),
        Reason.BANK_CODE_INVALID: ReasonFacts(Finality.FINAL, _D, "corrected bank number"),
        Reason.AMOUNT: ReasonFacts(Finality.FINAL, _O, "never split a payout"),
        Reason.DUPLICATE: ReasonFacts(Finality.ASK_FIRST, _O, "query: may be already paid"),
        Reason.RETURNED_AFTER_CREDIT: ReasonFacts(Finality.FINAL, _D, "as the reason given"),
        Reason.FUNDS_SHORT: ReasonFacts(
            Finality.NOT_TAKEN, WhoActs.FINANCE, "top up, same reference, same bytes; no failed receipt"
        ),
        Reason.FORMAT: ReasonFacts(
            Finality.NOT_TAKEN, _O, "submission retired, bank paused, someone paged; no failed receipt"
        ),
        Reason.SIGNATURE: ReasonFacts(
            Finality.NOT_TAKEN, _O, "submission retired, bank paused, someone paged; no failed receipt"
        ),
        Reason.NAME_NOT_ENCODABLE: ReasonFacts(Finality.FINAL, _D, "another bank or an agreed encoding"),
        Reason.NOT_EXECUTED: ReasonFacts(Finality.CLOSED, WhoActs.NOBODY, "the core plans a new attempt"),
        Reason.BENEFICIARY_DECEASED: ReasonFacts(Finality.FINAL, _D, "cancel"),
        Reason.BANK_BUSY: ReasonFacts(Finality.OPEN, WhoActs.NOBODY, "poll"),
        Reason.UNKNOWN: ReasonFacts(Finality.OPEN, _O, "query, then people ask the bank; only after a clear answer"),
    }
)


def reason_facts(reason: Reason) -> ReasonFacts:
    """The facts of a reason; every reason has a row, so there is no default."""
    return _FACTS[reason]
