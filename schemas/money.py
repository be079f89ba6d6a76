"""Money between text and integer fen, by pattern and never through a float.

Three notations cross the wire: an *amount* is yuan with exactly two decimals; an amount *as written* in a list may have
up to nine decimals and may be wrong; the *sum as written* of a batch is exact over those, so that a total agrees
even when single lines are going to be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

YUAN_PATTERN: Final = r"^[0-9]{1,13}\.[0-9]{2}$"
AS_WRITTEN_PATTERN: Final = r"^[0-9]{1,13}(\.[0-9]{1,9})?$"
# A million lines of thirteen digits fit: the sum may be longer than any one amount.
SUM_PATTERN: Final = r"^[0-9]{1,19}(\.[0-9]{1,9})?$"

_FEN_IN_YUAN = 100
_DECIMALS = 9
_UNIT = 10**_DECIMALS
# fullmatch, not match: in Python "$" also matches before a final newline. [0-9], because "\d" takes Persian digits.
_YUAN = re.compile(r"([0-9]{1,13})\.([0-9]{2})").fullmatch
_AS_WRITTEN = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,9}))?").fullmatch
_SUM = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?").fullmatch


def fen_from_yuan_text(text: str) -> int:
    """``"1234.56"`` is 123456. ValueError (without the text) for anything but yuan with exactly two decimals."""
    match = _YUAN(text)
    if match is None:
        raise ValueError("an amount is 1 to 13 ASCII digits, a point and 2 digits")
    return int(match[1]) * _FEN_IN_YUAN + int(match[2])


def yuan_text_from_fen(fen: int) -> str:
    """``123456`` is ``"1234.56"``. ValueError for a negative amount: nothing on the wire is ever negative."""
    if fen < 0:
        raise ValueError("an amount is not negative")
    yuan, rest = divmod(fen, _FEN_IN_YUAN)
    return f"{yuan}.{rest:02d}"


def billionths_as_written(text: str) -> int:
    """An amount as written, in billionths of a yuan; a text that is no plain decimal counts as zero."""
    match = _AS_WRITTEN(text)
    return 0 if match is None else _billionths(match[1], match[2])


def billionths_of_sum(text: str) -> int:
    """A sum as written, in billionths of a yuan: two sums agree when these agree, however many zeros were printed."""
    match = _SUM(text)
    if match is None:
        raise ValueError("a sum is 1 to 19 ASCII digits, and may have a point and 1 to 9 digits")
    return _billionths(match[1], match[2])


def sum_text(billionths: int) -> str:
    """The canonical text of a sum as written: at least two decimals, no further zeros at the end."""
    if billionths < 0:
        raise ValueError("a sum is not negative")
    yuan, rest = divmod(billionths, _UNIT)
    decimals = f"{rest:0{_DECIMALS}d}"
    return f"{yuan}.{decimals[:2]}{decimals[2:].rstrip('0')}"


def sum_as_written(texts: Iterable[str]) -> str:
    """The exact decimal sum of amounts as written, where a text that is no plain decimal counts as zero."""
    return sum_text(sum(map(billionths_as_written, texts)))


def _billionths(whole: str, decimals: str | None) -> int:
    return int(whole + (decimals or "").ljust(_DECIMALS, "0"))
