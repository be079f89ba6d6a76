"""People's names: the one legal interpunct, what may not stand in a name, and when two names are the same.

A name is paid exactly as it was approved. Only look-alikes of the interpunct are mapped, because lists arrive with six
of them. Nothing is trimmed, folded or cut: what cannot stand goes back to the department.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

EMPTY: Final = "empty"
TOO_LONG: Final = "too long"
SEPARATOR: Final = "separator or control character"
SPACE_AT_EDGE: Final = "space at an edge"
PRIVATE_USE: Final = "private-use character"
DAMAGED: Final = "damaged or invisible character"

INTERPUNCT: Final = "\u00b7"
LONGEST_NAME: Final = 100

_INTERPUNCTS = dict.fromkeys(map(ord, "\u2022\u2027\u2219\u22c5\u30fb\uff65"), INTERPUNCT)
_ORDINARY = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf·]{1,50}").fullmatch
# "|" and line ends frame bank files; C0, C1 and the Unicode line separators are control characters to some parser.
_SEPARATORS = re.compile("[|\x00-\x1f\x7f-\x9f\u2028\u2029]").search
# Python's gb18030 maps some characters of the 2022 edition here: nobody knows what a bank would make of them.
_PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]").search
_REPLACEMENT = "\ufffd"
# Cf: zero-width and direction marks; Cs: lone surrogates. Newer hanzi are "Cn" to an older Unicode table: not judged.
_INVISIBLE_CATEGORIES = frozenset(("Cf", "Cs"))
_NONCHARACTER_TAIL = 0xFFFE


def canonical(name: str) -> str:
    """``name`` with the legal interpunct U+00B7 in place of its look-alikes. NFKC would not do it."""
    return name if _ORDINARY(name) else name.translate(_INTERPUNCTS)


def fault(name: str) -> str | None:
    """Why a canonical name cannot be paid, as one of the texts above, or None."""
    if _ORDINARY(name):
        return None
    if not name or name.isspace():
        return EMPTY
    if len(name) > LONGEST_NAME:
        return TOO_LONG
    if _SEPARATORS(name):
        return SEPARATOR
    if name[0].isspace() or name[-1].isspace():
        return SPACE_AT_EDGE
    if _PRIVATE_USE(name):
        return PRIVATE_USE
    return DAMAGED if any(map(_is_damaged, name)) else None


def comparable(name: str) -> str:
    """The form in which names are compared: canonical interpunct, width folded, no spaces; everything else exact."""
    return "".join(map(_fold_width, "".join(name.translate(_INTERPUNCTS).split())))


def same(one: str, other: str) -> bool:
    return comparable(one) == comparable(other)


def _is_damaged(character: str) -> bool:
    return (
        character == _REPLACEMENT
        or unicodedata.category(character) in _INVISIBLE_CATEGORIES
        or ord(character) & _NONCHARACTER_TAIL == _NONCHARACTER_TAIL
    )


def _fold_width(character: str) -> str:
    width, _, code = unicodedata.decomposition(character).partition(" ")
    return chr(int(code, 16)) if width in ("<wide>", "<narrow>") else character
