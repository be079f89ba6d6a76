"""What the codes of ``xml_tcp`` prove: one table for a package, one for a question, one for a line, no default in any.

The three are different things although they share their numbers: 0000 in the head of a reply says that the package was
taken or the question understood, 0000 beside a line says that its booking went through, and 1002 beside one line
speaks of that line alone. A code that no table lists is in doubt until a person extends the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adapters.contract import Proof, Reason

SUCCESS: Final = "0000"
NOT_FOUND: Final = "1002"
NOT_READY: Final = "2007"  # of a day's statement: the day is not over, or the statement is not made
BUSY: Final = frozenset({"2000", "2007", "3028"})

# Trade codes.
SUBMIT: Final = "DF1001"
QUERY_BATCH: Final = "DF1002"
QUERY_LINE: Final = "DF1003"
QUERY_RETURNS: Final = "DF1004"
QUERY_STATEMENT: Final = "DF1005"
HEARTBEAT: Final = "DF9999"

# The head's code in the reply to a submission.
PACKAGE_CODES: Final[Mapping[str, tuple[Proof, Reason | None]]] = MappingProxyType(
    {
        SUCCESS: (Proof.RECEIVED, None),
        "1000": (Proof.NOT_TAKEN, Reason.FORMAT),
        "1001": (Proof.NOT_TAKEN, Reason.FORMAT),
        "3058": (Proof.NOT_TAKEN, Reason.SIGNATURE),
        "3008": (Proof.NOT_TAKEN, Reason.FUNDS_SHORT),
        "3051": (
            Proof.IN_DOUBT,
            None,
        ),  # a known batch number, most likely this batch: ask; it says nothing of other bytes
        "2000": (Proof.IN_DOUBT, Reason.BANK_BUSY),  # busy says nothing about what was done with the package
        "2007": (Proof.IN_DOUBT, Reason.BANK_BUSY),
        "3028": (Proof.IN_DOUBT, Reason.BANK_BUSY),
    }
)

# The head's code in the reply to a question about a batch. 1002 is the only one that permits a resend.
QUESTION_CODES: Final[Mapping[str, tuple[Proof, Reason | None]]] = MappingProxyType(
    {
        SUCCESS: (Proof.RECEIVED, None),
        NOT_FOUND: (Proof.ABSENT, None),
        "2000": (Proof.IN_DOUBT, Reason.BANK_BUSY),
        "2007": (Proof.IN_DOUBT, Reason.BANK_BUSY),
        "3028": (Proof.IN_DOUBT, Reason.BANK_BUSY),
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
    (Proof.NOT_TAKEN, Reason.FORMAT, "1000 1001"),
    (Proof.NOT_TAKEN, Reason.SIGNATURE, "3058"),
    (Proof.ABSENT, Reason.NOT_EXECUTED, NOT_FOUND),
    (Proof.IN_PROCESS, Reason.BANK_BUSY, "2000 2007 3028"),
    (Proof.IN_DOUBT, Reason.DUPLICATE, "3051"),  # may well mean "already paid": ask
    (Proof.IN_DOUBT, Reason.UNKNOWN, "3999 9999 CICS"),
)

# The code of a line. Success is not in it: 0000 proves a credit only beside status 2, a date and a host reference.
LINE_CODES: Final[Mapping[str, tuple[Proof, Reason]]] = MappingProxyType(
    {code: (proof, reason) for proof, reason, codes in _BY_REASON for code in codes.split()}
    | {"": (Proof.IN_DOUBT, Reason.UNKNOWN)}
)

RECEIVED: Final = "0"
PROCESSING: Final = "1"
BOOKED: Final = "2"
FAILED: Final = "3"
SUSPICIOUS: Final = "9"
