"""A bank's free text as it may be kept in clear: without numbers that could be a person's, and without what does not
print."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_LONG_NUMBER: Final = re.compile(r"[0-9]{5,}[Xx]?")
_CHARACTERS: Final = 120


def shown(text: str, secrets: Sequence[str] = ()) -> str:
    """At most 120 characters of the bank's words; ``secrets`` (an account) and numbers of five digits are masked."""
    for secret in secrets:
        text = text.replace(secret, "*")
    text = _LONG_NUMBER.sub("*", text)
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text[:_CHARACTERS]
