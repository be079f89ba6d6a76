"""CMPP 2.0 and 3.0 as octets: the PDUs an SMS gateway of China Mobile reads and writes, field by field.

After China Mobile's interface specifications CMPP 2.0 (2002) and 3.0 (2003). A PDU is Total_Length, Command_Id,
Sequence_Id, four octets each and big-endian, then the fields. 3.0 differs from 2.0 in what it carries numbers in (32
octets and a type for 21), in statuses of four octets for one, and in LinkID (20) for Reserve (8). Octet strings are
ASCII, left-aligned, filled with zeros; one with something behind its first zero is refused.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from dataclasses import dataclass

from tests.world.sms.segments import Wrong

HEADER = struct.Struct(">III")
RESPONSE = 0x80000000
CONNECT, TERMINATE, SUBMIT, DELIVER, ACTIVE_TEST = 1, 2, 4, 5, 8
GATEWAY_CODE = 100_000  # of 22 bits; what does not fit into the sequence is added to it

_CONNECT = struct.Struct(">6s16sBI")
_SUBMIT = {
    2: struct.Struct(">8sBBBB10sB21sBBB6s2s6s17s17s21sB"),
    3: struct.Struct(">8sBBBB10sB32sBBBB6s2s6s17s17s21sB"),
}
_NUMBER_OCTETS = {2: 21, 3: 32}
_TAIL_OCTETS = {2: 8, 3: 20}
_STATUS = {2: struct.Struct(">B"), 3: struct.Struct(">I")}


@dataclass(frozen=True, slots=True)
class Connect:
    source_addr: bytes
    authenticator: bytes
    version: int
    timestamp: int

    def is_by(self, secret: bytes) -> bool:
        return self.authenticator == authenticator(self.source_addr, secret, self.timestamp)


@dataclass(frozen=True, slots=True)
class SubmitPdu:
    """The fields of a SUBMIT that this centre judges; the others only have to be there."""

    pk_total: int
    pk_number: int
    registered_delivery: int
    fee_user_type: int
    tp_udhi: int
    msg_fmt: int
    msg_src: str
    fee_type: str
    fee_code: str
    src_id: str
    numbers: tuple[str, ...]
    content: bytes


def pdu(command: int, sequence: int, body: bytes = b"") -> bytes:
    return HEADER.pack(HEADER.size + len(body), command, sequence) + body


def layout(version: int) -> int:
    """2 or 3: which of the two layouts a Version field stands for."""
    return version >> 4


def authenticator(source_addr: bytes, secret: bytes, timestamp: int) -> bytes:
    """AuthenticatorSource: the timestamp is digested as ten digits, MMDDHHMMSS."""
    return hashlib.md5(source_addr + bytes(9) + secret + f"{timestamp:010d}".encode()).digest()


def status(value: int, version: int) -> bytes:
    return _STATUS[layout(version)].pack(value)


def read_connect(body: bytes) -> Connect:
    """Raises Wrong FORMAT, also for a timestamp that is no MMDDHHMMSS."""
    if len(body) != _CONNECT.size:
        raise Wrong("FORMAT")
    connect = Connect(*_CONNECT.unpack(body))
    try:
        dt.datetime.strptime(f"2000{connect.timestamp:010d}", "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        raise Wrong("FORMAT") from None
    return connect


def connect_answer(sequence: int, result: int, asked: bytes, secret: bytes, version: int, *, wide: bool) -> bytes:
    """``asked`` is the AuthenticatorSource; AuthenticatorISMG is empty where it was not accepted. ``wide`` is 3.0's."""
    value = (_STATUS[3] if wide else _STATUS[2]).pack(result)
    proof = hashlib.md5(value + asked + secret).digest() if result == 0 else bytes(16)
    return pdu(CONNECT | RESPONSE, sequence, value + proof + bytes([version]))


def read_submit(body: bytes, version: int) -> SubmitPdu:
    """Raises Wrong SIZE where the lengths do not add up, FORMAT where a field is not what it may be."""
    head, octets, tail = _SUBMIT[layout(version)], _NUMBER_OCTETS[layout(version)], _TAIL_OCTETS[layout(version)]
    typed = layout(version) == 3
    if len(body) < head.size:
        raise Wrong("SIZE")
    fields = head.unpack_from(body)
    count = fields[-1]
    if not 1 <= count < 100:
        raise Wrong("FORMAT")
    at = head.size + octets * count
    if len(body) < at + typed + 1:
        raise Wrong("SIZE")
    if typed and body[at] != 0:
        raise Wrong("FORMAT")  # a pseudonym instead of a number
    at += typed
    length = body[at]
    if len(body) != at + 1 + length + tail:
        raise Wrong("SIZE")
    numbers = tuple(_string(body[head.size + octets * n : head.size + octets * (n + 1)]) for n in range(count))
    if typed:
        fields = (*fields[:8], *fields[9:])  # Fee_terminal_type
    _string(fields[5])
    _string(fields[7])
    return SubmitPdu(
        pk_total=fields[1],
        pk_number=fields[2],
        registered_delivery=fields[3],
        fee_user_type=fields[6],
        tp_udhi=fields[9],
        msg_fmt=fields[10],
        msg_src=_string(fields[11]),
        fee_type=_string(fields[12]),
        fee_code=_string(fields[13]),
        src_id=_string(fields[16]),
        numbers=numbers,
        content=body[at + 1 : at + 1 + length],
    )


def _string(field: bytes) -> str:
    text = field.rstrip(b"\0")
    if b"\0" in text or not text.isascii():
        raise Wrong("FORMAT")
    return text.decode("ascii")


def submit_answer(sequence: int, msg_id: bytes, result: int, version: int) -> bytes:
    return pdu(SUBMIT | RESPONSE, sequence, msg_id + status(result, version))


@dataclass(frozen=True, slots=True)
class Report:
    """A status report: ``msg_id`` and ``number`` are the SUBMIT's, ``dest_id`` its Src_Id."""

    msg_id: bytes
    stat: str
    submitted: dt.datetime
    done: dt.datetime
    number: str
    dest_id: str
    smsc_sequence: int


def deliver(sequence: int, msg_id: bytes, report: Report, version: int) -> bytes:
    """``msg_id`` names the DELIVER itself; the SUBMIT's stands in the content."""
    octets, typed = _NUMBER_OCTETS[layout(version)], layout(version) == 3
    number = report.number.encode().ljust(octets, b"\0")
    content = report.msg_id + report.stat.encode().ljust(7, b"\0")
    content += f"{report.submitted:%y%m%d%H%M}{report.done:%y%m%d%H%M}".encode()
    content += number + report.smsc_sequence.to_bytes(4)
    body = msg_id + report.dest_id.encode().ljust(21, b"\0") + bytes(10)  # no Service_Id
    body += bytes(3) + number + (b"\0" if typed else b"")  # TP_pid, TP_udhi, Msg_Fmt
    body += bytes([1, len(content)]) + content + bytes(_TAIL_OCTETS[layout(version)])
    return pdu(DELIVER, sequence, body)


def read_deliver_answer(body: bytes, version: int) -> tuple[bytes, int]:
    """Msg_Id and Result. Raises Wrong FORMAT."""
    form = _STATUS[layout(version)]
    if len(body) != 8 + form.size:
        raise Wrong("FORMAT")
    return body[:8], form.unpack(body[8:])[0]


def message_id(number: int, moment: dt.datetime) -> bytes:
    """Msg_Id: month, day, hour, minute, second in 4, 5, 5, 6, 6 bits, 22 of the gateway's code, 16 of a sequence."""
    value = moment.month << 60 | moment.day << 55 | moment.hour << 50 | moment.minute << 44 | moment.second << 38
    return (value | (GATEWAY_CODE + (number >> 16)) << 16 | number & 0xFFFF).to_bytes(8)
