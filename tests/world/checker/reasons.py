"""What a bank's code for a line means, by the domain's table: the reasons that finance may be told for it.

A code of several meanings has several; one that asks first ("duplicate" may be "paid") has none. What is not listed
here is not judged. The four banks' codes never collide, so that one table does.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.world.checker.ledgers import Answer

RETURNED = "RETURNED_AFTER_CREDIT"
_CODES = {
    "ACCOUNT_NOT_FOUND": "3004 3009 3022 3030 AC01 AC03 ACCT_NOT_FOUND",
    "NAME_MISMATCH": "3031 BE01 RR03 ACCT_NAME_MISMATCH",
    "ID_MISMATCH": "3063 BE23",
    "ACCOUNT_CLOSED": "3018 3039 AC04 ACCT_CLOSED",
    "ACCOUNT_FROZEN": "3017 3020 AC06 ACCT_FROZEN",
    "ACCOUNT_DORMANT": "3057 AC13 ACCT_DORMANT",
    "CARD_LOST_OR_EXPIRED": "3006 3007 3010 3016 AC06 CARD_LOST",
    "SSCARD_NOT_ACTIVATED": "3037 AC13 SSCARD_INACTIVE",
    "ACCOUNT_CLASS_LIMIT": "3013 3055 AM14 CLASS_LIMIT",
    "ACCOUNT_TYPE": "3034 3038 3041 3097 AC14 AG01 ACCT_TYPE",
    "BANK_CODE_INVALID": "3099 RC01 RC04 BANK_NO",
    "AMOUNT": "3014 3040 AM02 AM12 AMOUNT",
    "BENEFICIARY_DECEASED": "MD07 DECEASED",
    RETURNED: "3056",
}
_ASKS_FIRST = "3051 AM05 DUPLICATE"


def _by_code() -> Iterator[tuple[str, frozenset[str]]]:
    codes = {code for words in _CODES.values() for code in words.split()}
    for code in codes:
        yield code, frozenset(reason for reason, words in _CODES.items() if code in words.split())
    for code in _ASKS_FIRST.split():
        yield code, frozenset()


REASONS = dict(_by_code())


def failed(heard: list[Answer]) -> frozenset[str] | None:
    """For what an attempt may be told as failed, given all negative words about it; None: that is not judged."""
    if any(one.status != "REJECTED" or one.code not in REASONS for one in heard):
        return None
    return frozenset().union(*(REASONS[one.code] for one in heard))


def returned(heard: list[Answer]) -> frozenset[str] | None:
    """For what money may be told as returned. A statement books it and says no reason."""
    if any(one.code not in {*REASONS, ""} for one in heard):
        return None
    return frozenset({RETURNED}).union(*(REASONS.get(one.code, frozenset()) for one in heard))
