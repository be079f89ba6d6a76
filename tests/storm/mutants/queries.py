"""Small mistakes in SQL: much of what the store means stands in its named queries.

Words are exchanged outside of comments; within quotes the whole text is. A statement that PostgreSQL cannot prepare is
no mutant: whoever runs it once would notice (``tests/storm/mutants/ask.py`` asks the server). Left alone by rule:
``LIMIT`` (how much at a time), locks (``FOR UPDATE``, which single-threaded tests cannot see; R2 and R12 do), order,
whether a walk over blocks has the place before its first row (there is none: ``ctid >= '(0,0)'``), and what is selected
where only its being there is asked (``SELECT 1``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SHOWN: Final = 40  # characters on each side of a mistake
_TOKEN: Final = re.compile(
    r"""--[^\n]*|'(?:[^']|'')*'|<=|>=|<>|=>|::|<|>|=|\+|\bIS\s+NOT\s+(?:NULL|DISTINCT)\b|\bIS\s+(?:NULL|DISTINCT)\b"""
    r"""|\bNOT\s+EXISTS\b|\bNOT\s+IN\b|\bAND\b|\bOR\b|\btrue\b|\bfalse\b|\bLIMIT\s+[0-9]+|\$[0-9]+|[0-9]+|[A-Za-z_][A-Za-z_0-9]*""",
    re.IGNORECASE,
)
_EXCHANGED: Final = {
    "<=": "<",
    "<": "<=",
    ">=": ">",
    ">": ">=",
    "=": "<>",
    "<>": "=",
    "+": "-",
    "AND": "OR",
    "OR": "AND",
    "IS NULL": "IS NOT NULL",
    "IS NOT NULL": "IS NULL",
    "IS DISTINCT": "IS NOT DISTINCT",
    "IS NOT DISTINCT": "IS DISTINCT",
    "NOT EXISTS": "EXISTS",
    "NOT IN": "IN",
    "TRUE": "false",
    "FALSE": "true",
    "COALESCE": "nullif",
    "GREATEST": "least",
    "LEAST": "greatest",
    "MIN": "max",
    "MAX": "min",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One mistake in a named query: characters ``start`` to ``end`` of its text become ``new``."""

    query: str
    start: int
    end: int
    old: str
    new: str

    def text(self, whole: str) -> str:
        return whole[: self.start] + self.new + whole[self.end :]

    def place(self, whole: str) -> str:
        """Where it is, for people: a few words around it."""
        before, after = whole[max(0, self.start - SHOWN) : self.start], whole[self.end : self.end + SHOWN]
        return " ".join(f"{before}[{self.old}]{after}".split())


def exchanges(query: str, text: str) -> list[Exchange]:
    """Every mistake that is known for the text of a query."""
    found = []
    before = ""
    for match in _TOKEN.finditer(text):
        word = match[0]
        unseen = (before == "ctid" and word in (">=", "<")) or (before.upper() == "SELECT" and word == "1")
        if (new := _other(word)) is not None and not unseen:
            found.append(Exchange(query, match.start(), match.end(), word, new))
        before = word
    return found


def _other(word: str) -> str | None:
    if word.startswith("--"):
        return None
    if word.startswith("'"):
        return "''" if word != "''" else "'other'"
    if word.isdigit():
        return str(int(word) + 1)
    return _EXCHANGED.get(" ".join(word.upper().split()))
