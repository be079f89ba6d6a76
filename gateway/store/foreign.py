"""What a bank wrote in its own words, as it may be kept in clear: without what looks like a person's number.

The artefact, sealed, has the original. Two filters, because two kinds of text come here. A *name* that is none of ours
(somebody else's reference, a free text) loses every long run of digits, also one glued to letters. A *serial* of the
bank is how it finds a booking again, and many are long runs of digits: it loses only what has the form of a payment
card, a resident identity number or a mobile number. In place of that stand two bytes of a digest: enough for two
bookings to stay two, and too little to try numbers against.

Evidence passes the filter before anything else is done with it, so that attempts, history, kept words and receipts hold
the same, and what is heard again compares equal to what is on record.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Final

from adapters.contract import Evidence
from gateway.log import plain

_MASK: Final = "[digits]"
_MOBILE: Final = r"(?<![0-9])1[3-9][0-9]{9}(?![0-9])"
_LONG: Final = re.compile(rf"{_MOBILE}|[0-9]{{14,}}[Xx]?")
_CARD: Final = r"(?<![0-9])62[0-9]{14,17}(?![0-9])"
_BIRTHDAY: Final = r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_RESIDENT: Final = rf"(?<![0-9])[1-9][0-9]{{5}}{_BIRTHDAY}[0-9]{{3}}[0-9Xx](?![0-9])"
_PERSONAL: Final = re.compile(f"{_CARD}|{_RESIDENT}|{_MOBILE}")


def foreign_name(text: str | None) -> str | None:
    """A reference or free text that is none of ours."""
    return None if text is None else plain(_LONG.sub(_MASK, text))


def bank_serial(text: str | None) -> str | None:
    """The bank's own number of a booking."""
    return None if text is None else _PERSONAL.sub(_tagged, text)


def _tagged(found: re.Match[str]) -> str:
    return f"[digits:{hashlib.blake2b(found[0].encode(), digest_size=2).hexdigest()}]"


def harmless(item: Evidence) -> Evidence:
    """Evidence as it may be kept: the bank's serial, its code and its text without people's numbers."""
    serial, code, text = bank_serial(item.host_reference), foreign_name(item.code) or "", foreign_name(item.text) or ""
    if (serial, code, text) == (item.host_reference, item.code, item.text):
        return item
    return replace(item, host_reference=serial, code=code, text=text)
