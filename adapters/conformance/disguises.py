"""How a secret looks after somebody has written it down: escaped, quoted, in hexadecimal, in base64, turned round.

A log line with the payload in base64 is as readable as the payload. Base64 groups three bytes, so a secret inside a
longer text has three faces, by where it begins; of each only the middle is its own. What is too short to be told from
a digest or a key by chance is not looked for.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote_from_bytes

# Every shorter one of these banks is a part of GB18030; SMS travel in UTF-16.
_ENCODINGS: Final = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
_LEAST_HEX: Final = 12
_LEAST_BASE64: Final = 10


def disguises(secret: str) -> dict[str, str]:
    """The forms of a secret, itself among them, each with the words for it ("" for itself)."""
    # Python and JSON escape alike but for a few characters, of which "·" in many names is one.
    found = {secret: "", repr(secret)[1:-1]: "", ascii(secret)[1:-1]: "escaped", json.dumps(secret)[1:-1]: "escaped"}
    for encoding in _ENCODINGS:
        try:
            encoded = secret.encode(encoding)
        except UnicodeEncodeError:
            continue  # a torn character has no bytes
        found.setdefault(repr(encoded)[2:-1], f"as bytes of {encoding}")
        found.setdefault(quote_from_bytes(encoded), "quoted for an address")
        if len(encoded) * 2 >= _LEAST_HEX:
            found |= {encoded.hex(): "in hexadecimal", encoded.hex().upper(): "in hexadecimal"}
        found |= dict.fromkeys(_faces(encoded), "in base64")
    found[secret] = ""
    return found


def in_bytes(secret: str) -> set[bytes]:
    """Every form of a secret as it may stand in a file or a page: what it looks like in text, and its bytes in each
    encoding, also in reversed order."""
    found = {form.encode("utf-8", "surrogatepass") for form in (*disguises(secret), secret[::-1])}
    for encoding in _ENCODINGS:
        try:
            encoded = secret.encode(encoding)
        except UnicodeEncodeError:
            continue
        found |= {encoded, encoded[::-1]}
    return found


def _faces(secret: bytes) -> Iterator[str]:
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret).decode("ascii")
        # The first characters also hold bits of what stands before, the last ones of what comes after.
        first = -(-before * 8 // 6)
        own = (before + len(secret)) * 8 // 6
        face = whole[first:own]
        if len(face) >= _LEAST_BASE64:
            yield face
            yield face.replace("+", "-").replace("/", "_")
