"""The resident identity number of GB 11643: form, birth date and check character, and nothing about districts.

District codes are not judged: people keep the number of a district that was renamed or merged long ago, or receive one
from a district younger than any table we could ship.
"""

from __future__ import annotations

import datetime as dt
import re
from operator import mul
from typing import Final

NOT_ASCII_DIGITS: Final = "not ASCII digits"
WRONG_LENGTH: Final = "not 18 characters"
WRONG_FORM: Final = "not 17 digits and a check character"
WRONG_BIRTH_DATE: Final = "birth date"
WRONG_CHECK: Final = "check character"

_LENGTH = 18
# [0-9], because "\d" and isdigit() also take Persian and Arabic-Indic digits.
_FORM = re.compile(r"[0-9]{17}[0-9Xx]").fullmatch
_EARLIEST_YEAR = 1900
# ISO 7064 MOD 11-2: weight 2**(17-i) mod 11 for digit i; the weighted sum leads to the check character.
_WEIGHTS = tuple(pow(2, 17 - i, 11) for i in range(17))
_CHECK = "10X98765432"
_ZEROS = ord("0") * sum(_WEIGHTS)


def fault(number: str, today: dt.date) -> str | None:
    """What is wrong with ``number``, as one of the texts above, or None; a lowercase check character is right."""
    if _FORM(number) is None:
        if any(character.isdigit() and not character.isascii() for character in number):
            return NOT_ASCII_DIGITS
        return WRONG_LENGTH if len(number) != _LENGTH else WRONG_FORM
    if check_character(number) != number[17].upper():
        return WRONG_CHECK
    try:
        birth = dt.date.fromisoformat(number[6:14])
    except ValueError:
        return WRONG_BIRTH_DATE
    return None if birth.year >= _EARLIEST_YEAR and birth <= today else WRONG_BIRTH_DATE


def check_character(digits: str) -> str:
    """The check character of the first 17 ASCII digits."""
    return _CHECK[(sum(map(mul, _WEIGHTS, digits.encode("ascii"))) - _ZEROS) % 11]


def canonical(number: str) -> str:
    """One form per person, for duplicates and for the bank: the check character is a capital X."""
    return number.upper()
