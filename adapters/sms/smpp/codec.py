"""The bytes of SMPP 3.4, packed and parsed by ``smpplib`` (LGPL, optional extra ``smpp``), bounded here.

Only the library's PDUs are used: its client is synchronous and keeps no window. ``aiosmpplib`` (0.7.4) brings a session
that does not fit here: an unanswered request is forgotten after seconds, the receipts of a long message are folded into
one, what does not parse is logged whole, with people's numbers, and reading waits while a receipt is being stored.
Two habits of the library are guarded against: it cuts a value that is too long for its field, so lengths are checked
first; and it parses a body that ends too early without a word, so the layout of a receipt is walked first.
"""

from __future__ import annotations

import importlib
import struct
from types import ModuleType
from typing import Any, Final

from adapters.sms.link.session import Malformed

HEADER = struct.Struct(">IIII")
MAX_FRAME_BYTES = 4096
RESPONSE = 0x80000000
COMMANDS: Final = {
    0x00000004: "submit_sm",
    0x80000004: "submit_sm_resp",
    0x00000005: "deliver_sm",
    0x80000005: "deliver_sm_resp",
    0x00000006: "unbind",
    0x80000006: "unbind_resp",
    0x00000009: "bind_transceiver",
    0x80000009: "bind_transceiver_resp",
    0x00000015: "enquire_link",
    0x80000015: "enquire_link_resp",
    0x80000000: "generic_nack",
}
# Octets of a field without its final zero.
WIDTHS: Final = {
    "system_id": 15,
    "password": 8,
    "system_type": 12,
    "service_type": 5,
    "source_addr": 20,
    "destination_addr": 20,
}


class LibraryMissing(ValueError):
    """The optional extra is not installed."""


class _Counter:
    """What the library asks a number of when it makes a PDU; the session's number takes its place at once."""

    sequence = 0

    @staticmethod
    def next_sequence() -> int:
        return 0


def library() -> ModuleType:
    """``smpplib.smpp``, imported when a provider is built. LibraryMissing says what to install."""
    try:
        return importlib.import_module("smpplib.smpp")
    except ImportError:
        raise LibraryMissing("provider smpp needs the optional extra: install payout-gateway[smpp]") from None


def write(name: str, sequence: int, status: int = 0, **fields: Any) -> bytes:
    """One PDU. ValueError for a value that its field cannot hold."""
    for field, width in WIDTHS.items():
        value = fields.get(field)
        if isinstance(value, str) and (len(value) > width or not value.isascii() or "\0" in value):
            raise ValueError(f"{field} is at most {width} ASCII characters")
    pdu = library().make_pdu(name, client=_Counter(), **fields)
    pdu.sequence, pdu.status = sequence, status
    return bytes(pdu.generate())


def read(frame: bytes) -> tuple[str, int, int, Any]:
    """Name, status, sequence and the library's PDU of one whole frame. Raises Malformed, which quotes nothing."""
    if len(frame) < HEADER.size:
        raise Malformed("SHORT_HEADER")
    length, command, status, sequence = HEADER.unpack_from(frame)
    name = COMMANDS.get(command)
    if length != len(frame):
        raise Malformed("LENGTH")
    if name is None:
        raise Malformed("COMMAND")
    if name == "deliver_sm":
        _check_deliver(frame[HEADER.size :])
    try:
        pdu = library().parse_pdu(frame, client=_Counter(), allow_unknown_opt_params=True)
    except LibraryMissing:
        raise
    except Exception:  # the library raises whatever its slicing stumbles over
        raise Malformed("BODY") from None
    return name, status, sequence, pdu


def deliver_sequence(frame: bytes) -> int | None:
    """The sequence of a deliver_sm that ``read`` refused, so that it can be answered; None for another frame."""
    if len(frame) < HEADER.size:
        return None
    length, command, _, sequence = HEADER.unpack_from(frame)
    return sequence if length == len(frame) and COMMANDS.get(command) == "deliver_sm" else None


# A deliver_sm up to sm_length: strings that end with a zero, and runs of single octets.
_DELIVER = ("", 2, "", 2, "", 3, "", "", 4)


def _check_deliver(body: bytes) -> None:
    """Each mandatory field is there and ended, and the optional ones fill the rest exactly; else Malformed."""
    at = 0
    for field in _DELIVER:
        end = body.find(b"\0", at) + 1 if isinstance(field, str) else at + field
        if not at < end < len(body):
            raise Malformed("SHORT_BODY")
        at = end
    at += 1 + body[at]
    while at + 4 <= len(body):
        at += 4 + int.from_bytes(body[at + 2 : at + 4], "big")
    if at != len(body):
        raise Malformed("BODY_LENGTH")


def text(value: object) -> str:
    """A string field as the library leaves it: octets, text or nothing."""
    octets = value if isinstance(value, bytes) else str(value or "").encode("ascii", "replace")
    try:
        return octets.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("NOT_ASCII") from None
