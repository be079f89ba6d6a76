"""The bytes of CMPP 2.0 and 3.0 (China Mobile Point to Point), read and written, without any I/O.

A PDU is a header of twelve octets (Total_Length, Command_Id, Sequence_Id, big-endian) and a body of fixed fields; text
fields are ASCII, left-aligned and filled with zeros. The versions differ in widths: phone numbers have 21 octets in 2.0
and 32 in 3.0, which adds a type to each; a status or result has 1 octet in 2.0 and 4 in 3.0; the reserved 8 octets at
the end of SUBMIT and DELIVER are a LinkID of 20 in 3.0.

What is read comes from outside: every field is bounded, a length that does not fit its frame is ``Malformed``.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass, field
from enum import IntEnum

from adapters.sms.link.session import Malformed

HEADER = struct.Struct(">III")
RESPONSE = 0x80000000
MAX_FRAME_BYTES = 4096  # a DELIVER has at most 97 + 255 octets of body; far below what could hurt


class Command(IntEnum):
    CONNECT = 1
    TERMINATE = 2
    SUBMIT = 4
    DELIVER = 5
    ACTIVE_TEST = 8
    CONNECT_RESP = RESPONSE | 1
    TERMINATE_RESP = RESPONSE | 2
    SUBMIT_RESP = RESPONSE | 4
    DELIVER_RESP = RESPONSE | 5
    ACTIVE_TEST_RESP = RESPONSE | 8


@dataclass(frozen=True, slots=True)
class Version:
    """The widths in which the two versions differ, in octets."""

    octet: int
    number: int
    number_types: bool
    status: int
    trailer: int


V20 = Version(octet=0x20, number=21, number_types=False, status=1, trailer=8)
V30 = Version(octet=0x30, number=32, number_types=True, status=4, trailer=20)
VERSIONS = {"2.0": V20, "3.0": V30}


@dataclass(frozen=True, slots=True)
class Submit:
    """The fields of a SUBMIT to one number that vary or that somebody must answer for; the rest is zero."""

    pk_total: int
    pk_number: int
    registered_delivery: int
    service_id: str
    fee_user_type: int
    tp_udhi: int
    msg_fmt: int
    msg_src: str
    fee_type: str
    fee_code: str
    src_id: str
    dest_terminal_id: str = field(repr=False)
    msg_content: bytes = field(repr=False)
    msg_level: int = 0


@dataclass(frozen=True, slots=True)
class Deliver:
    msg_id: bytes
    dest_id: str
    registered_delivery: int
    content: bytes = field(repr=False)
    src_terminal_id: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The content of a DELIVER whose Registered_Delivery is 1. ``msg_id`` is that of the SUBMIT_RESP."""

    msg_id: bytes
    stat: str
    dest_terminal_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a SUBMIT_RESP or CONNECT_RESP; of the others nothing matters but that they came."""

    status: int
    msg_id: bytes = b""
    authenticator: bytes = field(repr=False, default=b"")
    status_octets: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    command: Command
    sequence: int
    body: Answer | Deliver | None


def _text(value: str, width: int) -> bytes:
    octets = value.encode("ascii", "strict") if value.isascii() else b"?" * (width + 1)
    if len(octets) > width:
        raise ValueError(f"a field of {width} ASCII octets cannot hold its value")
    return octets.ljust(width, b"\0")


def _frame(command: Command, sequence: int, body: bytes = b"") -> bytes:
    return HEADER.pack(HEADER.size + len(body), command, sequence) + body


# -- written


def authenticator_source(source_addr: str, secret: bytes, timestamp: str) -> bytes:
    """MD5(Source_Addr + nine zero octets + shared secret + timestamp ``MMDDHHMMSS``)."""
    content = source_addr.encode("ascii") + bytes(9) + secret + timestamp.encode("ascii")
    return hashlib.md5(content, usedforsecurity=False).digest()  # the protocol's own; the channel must be closed


def authenticator_ismg(status_octets: bytes, source: bytes, secret: bytes) -> bytes:
    """MD5(Status + AuthenticatorSource + shared secret): the centre's proof that it knows the secret too."""
    return hashlib.md5(status_octets + source + secret, usedforsecurity=False).digest()


def connect(version: Version, sequence: int, source_addr: str, secret: bytes, timestamp: str) -> bytes:
    proof = authenticator_source(source_addr, secret, timestamp)
    body = _text(source_addr, 6) + proof + bytes((version.octet,)) + struct.pack(">I", int(timestamp))
    return _frame(Command.CONNECT, sequence, body)


def submit(version: Version, sequence: int, message: Submit) -> bytes:
    """SUBMIT to one number. ValueError for a value that its field cannot hold."""
    if len(message.msg_content) > 140:
        raise ValueError("a message has at most 140 octets")
    types = b"\0" if version.number_types else b""
    body = b"".join(
        (
            bytes(8),  # Msg_Id: the gateway gives it
            bytes((message.pk_total, message.pk_number, message.registered_delivery, message.msg_level)),
            _text(message.service_id, 10),
            bytes((message.fee_user_type,)),
            bytes(version.number),  # Fee_terminal_Id: empty, the sender is billed
            types,  # Fee_terminal_type
            bytes((0, message.tp_udhi, message.msg_fmt)),  # TP_pId first
            _text(message.msg_src, 6),
            _text(message.fee_type, 2),
            _text(message.fee_code, 6),
            bytes(17),  # ValId_Time
            bytes(17),  # At_Time
            _text(message.src_id, 21),
            b"\1",  # DestUsr_tl
            _text(message.dest_terminal_id, version.number),
            types,  # Dest_terminal_type
            bytes((len(message.msg_content),)),
            message.msg_content,
            bytes(version.trailer),
        )
    )
    return _frame(Command.SUBMIT, sequence, body)


def deliver_resp(version: Version, sequence: int, msg_id: bytes, result: int = 0) -> bytes:
    return _frame(Command.DELIVER_RESP, sequence, msg_id + result.to_bytes(version.status, "big"))


def active_test(sequence: int) -> bytes:
    return _frame(Command.ACTIVE_TEST, sequence)


def active_test_resp(sequence: int) -> bytes:
    return _frame(Command.ACTIVE_TEST_RESP, sequence, b"\0")


def terminate(sequence: int) -> bytes:
    return _frame(Command.TERMINATE, sequence)


def terminate_resp(sequence: int) -> bytes:
    return _frame(Command.TERMINATE_RESP, sequence)


# -- read


class _Body:
    """A body read field by field; reading past its end, or leaving something over, is Malformed."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, width: int) -> bytes:
        if self._at + width > len(self._octets):
            raise Malformed("SHORT_BODY")
        taken = self._octets[self._at : self._at + width]
        self._at += width
        return taken

    def number(self, width: int = 1) -> int:
        return int.from_bytes(self.take(width), "big")

    def text(self, width: int) -> str:
        octets = self.take(width).split(b"\0", 1)[0].strip(b" ")  # some centres pad with blanks
        if not octets.isascii():
            raise Malformed("NOT_ASCII")
        return octets.decode("ascii")

    def end(self) -> None:
        if self._at != len(self._octets):
            raise Malformed("LONG_BODY")


def read(version: Version, frame: bytes) -> Frame:
    """One whole frame. Raises Malformed, which quotes nothing."""
    if len(frame) < HEADER.size:
        raise Malformed("SHORT_HEADER")
    total, command_id, sequence = HEADER.unpack_from(frame)
    if total != len(frame):
        raise Malformed("LENGTH")
    try:
        command = Command(command_id)
    except ValueError:
        raise Malformed("COMMAND") from None
    body = _Body(frame[HEADER.size :])
    content: Answer | Deliver | None = None
    if command is Command.SUBMIT_RESP:
        msg_id = body.take(8)
        content = Answer(status=body.number(version.status), msg_id=msg_id)
    elif command is Command.CONNECT_RESP:
        # A centre that does not speak our version refuses it in the width of its own.
        octets = body.take(V20.status if len(frame) == _NARROW_CONNECT_RESP else version.status)
        content = Answer(int.from_bytes(octets, "big"), authenticator=body.take(16), status_octets=octets)
        body.take(1)  # the highest version that the centre speaks
    elif command is Command.DELIVER:
        content = _deliver(version, body)
    elif command is Command.ACTIVE_TEST_RESP:
        body.take(1)
    elif command not in (Command.ACTIVE_TEST, Command.TERMINATE, Command.TERMINATE_RESP):
        raise Malformed("DIRECTION")  # what only a centre may be sent
    body.end()
    return Frame(command, sequence, content)


_NARROW_CONNECT_RESP = HEADER.size + V20.status + 16 + 1


def deliver_head(frame: bytes) -> tuple[int, bytes] | None:
    """Sequence_Id and Msg_Id of a DELIVER that ``read`` refused, so that it can be answered; None for another frame."""
    if len(frame) < HEADER.size + 8:
        return None
    total, command_id, sequence = HEADER.unpack_from(frame)
    known = total == len(frame) and command_id == Command.DELIVER
    return (sequence, frame[HEADER.size : HEADER.size + 8]) if known else None


def _deliver(version: Version, body: _Body) -> Deliver:
    msg_id = body.take(8)
    dest_id = body.text(21)
    body.take(10 + 3)  # Service_Id, TP_pid, TP_udhi, Msg_Fmt
    source = body.text(version.number)
    if version.number_types:
        body.take(1)
    registered = body.number()
    content = body.take(body.number())
    body.take(version.trailer)
    return Deliver(msg_id, dest_id, registered, content, source)


_STAT = re.compile(r"[A-Za-z0-9:_-]{1,7}")


def status_report(version: Version, content: bytes) -> StatusReport | None:
    """The status report in a DELIVER's content, 60 octets in 2.0 and 71 in 3.0; None for anything else."""
    if len(content) != 8 + 7 + 10 + 10 + version.number + 4:
        return None
    body = _Body(content)
    try:
        msg_id, stat = body.take(8), body.text(7)
        body.take(20)  # Submit_time, Done_time
        number = body.text(version.number)
    except Malformed:
        return None
    return StatusReport(msg_id, stat if _STAT.fullmatch(stat) else "?", number)
