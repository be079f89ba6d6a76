"""What the codes of ``iso20022`` prove: one table for reasons, one for statuses that are no outcome, and no default.

A code that no table lists is in doubt until a person extends the table: money may have moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adapters.contract import Proof, Reason

CREDITED: Final = "ACCC"  # the payee's account was credited
SETTLED: Final = "ACSC"  # the debtor's side is settled, and nothing more
REJECTED: Final = "RJCT"
PARTLY: Final = "PART"
PENDING: Final = "PDNG"
KNOWN: Final = "AM05"  # of a file: the bank knows its MsgId
NARRATIVE: Final = "NARR"  # the reason is in the words beside it

# The status of a group without lines that says: the bank has the file. Nobody is paid by any of them.
TAKEN: Final = frozenset({"RCVD", "PDNG", "ACTC", "ACCP", "ACSP", "ACWC", PARTLY})
# A group that claims to be through, and names no line: the bank is working on it; each line will say it for itself.
THROUGH: Final = frozenset({CREDITED, SETTLED})
# The status of a line on which the bank is working. ACWP: accepted, not posted.
IN_PROCESS: Final = frozenset({"RCVD", "PDNG", "ACTC", "ACCP", "ACSP", "ACWC", "ACWP", "ACFC", SETTLED})

_BY_REASON: Final[tuple[tuple[Proof, Reason, str], ...]] = (
    (Proof.REJECTED, Reason.ACCOUNT_NOT_FOUND, "AC01 AC03"),
    (Proof.REJECTED, Reason.NAME_MISMATCH, "BE01 RR03"),
    (Proof.REJECTED, Reason.ID_MISMATCH, "BE23"),
    (Proof.REJECTED, Reason.ACCOUNT_CLOSED, "AC04"),
    (Proof.REJECTED, Reason.ACCOUNT_FROZEN, "AC06"),  # also a lost card; "blocked account" is the standard's word
    (Proof.REJECTED, Reason.ACCOUNT_DORMANT, "AC13"),  # also a card that was never activated; the way back is the same
    (Proof.REJECTED, Reason.ACCOUNT_CLASS_LIMIT, "AM14"),
    (Proof.REJECTED, Reason.ACCOUNT_TYPE, "AC14 AG01"),
    (Proof.REJECTED, Reason.BANK_CODE_INVALID, "RC01 RC04"),
    (Proof.REJECTED, Reason.AMOUNT, "AM02 AM12"),
    (Proof.REJECTED, Reason.BENEFICIARY_DECEASED, "MD07"),
    (Proof.NOT_TAKEN, Reason.FUNDS_SHORT, "AM04"),
    (Proof.NOT_TAKEN, Reason.FORMAT, "FF01"),
    # Not DS01, DS03, DS05, DS06, DS07: a signature was right, an order goes on. Beside RJCT that is doubt.
    (Proof.NOT_TAKEN, Reason.SIGNATURE, "DS02 DS04 DS08 DS09 DS0A DS0B DS0C DS0D DS0E DS0F DS0G DS0H"),
    (Proof.IN_DOUBT, Reason.DUPLICATE, "AM05"),  # may well mean "already paid": ask
    (Proof.IN_DOUBT, Reason.UNKNOWN, "NARR"),
)

# The reason beside RJCT, of a group or of a line; beside a return, the reason why it came back.
REASONS: Final[Mapping[str, tuple[Proof, Reason]]] = MappingProxyType(
    {code: (proof, reason) for proof, reason, codes in _BY_REASON for code in codes.split()}
    | {"": (Proof.IN_DOUBT, Reason.UNKNOWN)}
)

# Everything that can stand in the code of our evidence. "Credited" is not in it: it needs the bank's own reference.
# CANC is: we never ask for a cancellation, so somebody else did, and a person has to say who and why.
CODES: Final[Mapping[str, tuple[Proof, Reason]]] = MappingProxyType(
    dict.fromkeys(IN_PROCESS, (Proof.IN_PROCESS, Reason.BANK_BUSY))
    | {"CANC": (Proof.IN_DOUBT, Reason.UNKNOWN)}
    | dict(REASONS)
)
