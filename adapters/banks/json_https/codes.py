"""The bank's codes as tables: what each status and reason code proves, and what refuses a whole batch."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from adapters.contract import Proof, Reason

# Item status -> what it proves. FAILED is not here: its reason code decides. A status that is not here is IN_DOUBT.
ITEM_STATUS: Final = MappingProxyType(
    {
        "SUCCESS": Proof.CREDITED,
        "PROCESSING": Proof.IN_PROCESS,
        "PENDING_REVIEW": Proof.IN_PROCESS,
        "UNKNOWN": Proof.IN_DOUBT,
        "RETURNED": Proof.RETURNED,
    }
)
FAILED: Final = "FAILED"

# The reason code of a FAILED item. "Duplicate" may mean "already paid", so it is a question and no refusal.
REASON_CODE: Final = MappingProxyType(
    {
        "ACCT_NAME_MISMATCH": (Proof.REJECTED, Reason.NAME_MISMATCH),
        "ACCT_NOT_FOUND": (Proof.REJECTED, Reason.ACCOUNT_NOT_FOUND),
        "ACCT_CLOSED": (Proof.REJECTED, Reason.ACCOUNT_CLOSED),
        "ACCT_FROZEN": (Proof.REJECTED, Reason.ACCOUNT_FROZEN),
        "ACCT_DORMANT": (Proof.REJECTED, Reason.ACCOUNT_DORMANT),
        "CARD_LOST": (Proof.REJECTED, Reason.CARD_LOST_OR_EXPIRED),
        "SSCARD_INACTIVE": (Proof.REJECTED, Reason.SSCARD_NOT_ACTIVATED),
        "CLASS_LIMIT": (Proof.REJECTED, Reason.ACCOUNT_CLASS_LIMIT),
        "ACCT_TYPE": (Proof.REJECTED, Reason.ACCOUNT_TYPE),
        "BANK_NO": (Proof.REJECTED, Reason.BANK_CODE_INVALID),
        "AMOUNT": (Proof.REJECTED, Reason.AMOUNT),
        "DECEASED": (Proof.REJECTED, Reason.BENEFICIARY_DECEASED),
        "DUPLICATE": (Proof.IN_DOUBT, Reason.DUPLICATE),
    }
)

# What POST /v1/batches may say so that it certainly took nothing: status *and* code, for a proxy can make up a status.
NOT_TAKEN: Final = MappingProxyType(
    {
        (400, "FORMAT"): Reason.FORMAT,
        (401, "SIGNATURE"): Reason.SIGNATURE,
        (403, "SIGNATURE"): Reason.SIGNATURE,
        (402, "FUNDS_SHORT"): Reason.FUNDS_SHORT,
        (429, "RATE_LIMITED"): Reason.BANK_BUSY,
    }
)
ACCEPTED: Final = (202, "ACCEPTED")
DUPLICATE: Final = (409, "DUPLICATE")
NOT_FOUND: Final = (404, "NOT_FOUND")

# Head of a batch, GET /v1/batches/{no}. DONE proves nothing about a line: its items are read.
BATCH_STATUS: Final = frozenset({"ACCEPTED", "PROCESSING", "DONE"})

# Our own codes in ``Evidence.code``, where the bank gave none. OTHER_DIGEST means that other bytes went out under this
# number: with reason DUPLICATE it is the one doubt that must page at once.
OTHER_DIGEST: Final = "409_OTHER_DIGEST"
TOTALS_DIFFER: Final = "TOTALS_DIFFER"
MISSING_ITEM: Final = "MISSING_ITEM"
INCOMPLETE_ITEM: Final = "INCOMPLETE_ITEM"


def classify(code: str) -> tuple[Proof, Reason] | None:
    return REASON_CODE.get(code)
