"""What the codes of ``rcc_file`` prove: one table for whole files, one for lines, and no default in either.

A code that no table lists is in doubt until a person extends the table: money may have moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adapters.contract import Proof, Reason

SUCCESS: Final = "0000"

# The code in an acknowledgement. NOT_TAKEN is the manual's word for each F code: "the file is not taken, as a whole".
FILE_CODES: Final[Mapping[str, tuple[Proof, Reason | None]]] = MappingProxyType(
    {
        SUCCESS: (Proof.RECEIVED, None),
        "F001": (Proof.NOT_TAKEN, Reason.FORMAT),
        "F002": (Proof.NOT_TAKEN, Reason.FORMAT),  # totals
        "F003": (Proof.RECEIVED, None),  # duplicate batch: "I have it". The results are fetched, nothing is sent
        "F004": (Proof.NOT_TAKEN, Reason.FORMAT),  # date
        "F005": (Proof.NOT_TAKEN, Reason.SIGNATURE),  # digest
        "F006": (Proof.NOT_TAKEN, Reason.FORMAT),  # no agreement for the debit account: retire, pause, page
        "F007": (Proof.NOT_TAKEN, Reason.FUNDS_SHORT),
    }
)

_BY_REASON: Final[tuple[tuple[Proof, Reason, str], ...]] = (
    (Proof.REJECTED, Reason.ACCOUNT_NOT_FOUND, "3004 3009 3022 3030"),
    (Proof.REJECTED, Reason.NAME_MISMATCH, "3031"),
    (Proof.REJECTED, Reason.ID_MISMATCH, "3063"),
    (Proof.REJECTED, Reason.ACCOUNT_CLOSED, "3018 3039"),
    (Proof.REJECTED, Reason.ACCOUNT_FROZEN, "3017 3020"),
    (Proof.REJECTED, Reason.ACCOUNT_DORMANT, "3057"),
    (Proof.REJECTED, Reason.CARD_LOST_OR_EXPIRED, "3006 3007 3010 3016"),
    (Proof.REJECTED, Reason.SSCARD_NOT_ACTIVATED, "3037"),
    (Proof.REJECTED, Reason.ACCOUNT_CLASS_LIMIT, "3013 3055"),
    (Proof.REJECTED, Reason.ACCOUNT_TYPE, "3034 3038 3041 3097"),
    (Proof.REJECTED, Reason.BANK_CODE_INVALID, "3099"),
    (Proof.REJECTED, Reason.AMOUNT, "3014 3040"),
    (Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT, "3056"),
    (Proof.NOT_TAKEN, Reason.FUNDS_SHORT, "3008"),
    (Proof.NOT_TAKEN, Reason.FORMAT, "1000 1001 3058"),
    (Proof.ABSENT, Reason.NOT_EXECUTED, "1002"),
    (Proof.IN_PROCESS, Reason.BANK_BUSY, "2000 2007 3028"),
    (Proof.IN_DOUBT, Reason.DUPLICATE, "3051"),  # may well mean "already paid": ask
    (Proof.IN_DOUBT, Reason.UNKNOWN, "3999 9999 CICS"),
)

# The code of a line. Success is not in it: "0000" proves a credit only beside status S, a date and a host reference.
LINE_CODES: Final[Mapping[str, tuple[Proof, Reason]]] = MappingProxyType(
    {code: (proof, reason) for proof, reason, codes in _BY_REASON for code in codes.split()}
    | {"": (Proof.IN_DOUBT, Reason.UNKNOWN)}
)
