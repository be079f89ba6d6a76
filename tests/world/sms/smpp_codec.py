"""SMPP 3.4 as octets: the PDUs a message centre reads and writes, after the SMPP Forum's specification, issue 1.2.

A PDU is command_length, command_id, command_status, sequence_number, four octets each and big-endian, then mandatory
parameters (integers and zero-terminated strings with a greatest size, the zero included), then optional ones: tag and
length of two octets each, and the value. A response with a status other than zero has no body.
"""

from __future__ import annotations

import datetime as dt
import struct
from dataclasses import dataclass
from enum import IntEnum

from tests.world.sms.segments import Wrong

HEADER = struct.Struct(">IIII")
RESPONSE = 0x80000000
BIND_RECEIVER, BIND_TRANSMITTER, QUERY_SM, SUBMIT_SM, DELIVER_SM, UNBIND = 1, 2, 3, 4, 5, 6
BIND_TRANSCEIVER, ENQUIRE_LINK, GENERIC_NACK = 9, 0x15, 0x80000000
RECEIPTED_MESSAGE_ID, MESSAGE_STATE, SC_INTERFACE_VERSION = 0x001E, 0x0427, 0x0210
CHANGES_THE_TEXT = frozenset({0x020C, 0x020E, 0x020F, 0x0424})  # sar_*, message_payload
VERSION = 0x34
DELIVERY_RECEIPT = 0x04  # esm_class
INTERNATIONAL, ISDN = 1, 1


class Status(IntEnum):
    """command_status, as far as this centre says or hears it."""

    OK = 0x00
    INVALID_MESSAGE_LENGTH = 0x01
    INVALID_COMMAND_LENGTH = 0x02
    INVALID_COMMAND_ID = 0x03
    INVALID_BIND_STATUS = 0x04
    ALREADY_BOUND = 0x05
    INVALID_REGISTERED_DELIVERY = 0x07
    SYSTEM_ERROR = 0x08
    INVALID_SOURCE = 0x0A
    INVALID_DESTINATION = 0x0B
    INVALID_PASSWORD = 0x0E
    INVALID_SYSTEM_ID = 0x0F
    QUEUE_FULL = 0x14
    INVALID_ESM_CLASS = 0x43
    SUBMIT_FAILED = 0x45
    THROTTLED = 0x58
    RECEIVER_TEMPORARY = 0x64
    QUERY_FAILED = 0x67
    OPTION_NOT_ALLOWED = 0xC1


MESSAGE_STATES = {"ENROUTE": 1, "DELIVRD": 2, "EXPIRED": 3, "DELETED": 4, "UNDELIV": 5, "ACCEPTD": 6, "REJECTD": 8}


def pdu(command: int, status: int, sequence: int, body: bytes = b"") -> bytes:
    return HEADER.pack(HEADER.size + len(body), command, status, sequence) + body


def option(tag: int, value: bytes) -> bytes:
    return struct.pack(">HH", tag, len(value)) + value


class _Body:
    """Takes the parameters of a body one after the other. Raises Wrong SIZE where it ends too early."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def octets(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) != count:
            raise Wrong("SIZE")
        self._at += count
        return taken

    def integer(self) -> int:
        return self.octets(1)[0]

    def string(self, most: int) -> str:
        """A C-octet string; ``most`` counts its zero."""
        end = self._body.find(b"\0", self._at, self._at + most)
        if end < 0:
            raise Wrong("SIZE")
        text = self._body[self._at : end]
        self._at = end + 1
        if not text.isascii():
            raise Wrong("FORMAT")
        return text.decode("ascii")

    def time(self) -> str:
        """Empty, or exactly sixteen characters."""
        text = self.string(17)
        if len(text) not in (0, 16):
            raise Wrong("FORMAT")
        return text

    def options(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        while self._at < len(self._body):
            tag, length = struct.unpack(">HH", self.octets(4))
            found[tag] = self.octets(length)
        return found


@dataclass(frozen=True, slots=True)
class Bind:
    system_id: str
    password: str


@dataclass(frozen=True, slots=True)
class SubmitSm:
    """The parameters of a submit_sm that this centre judges; the others only have to be there."""

    source_addr: str
    destination_addr: str
    esm_class: int
    registered_delivery: int
    data_coding: int
    short_message: bytes
    options: dict[int, bytes]


def read_bind(body: bytes) -> Bind:
    taken = _Body(body)
    bind = Bind(taken.string(16), taken.string(9))
    taken.string(13)  # system_type
    taken.octets(3)  # interface_version, addr_ton, addr_npi
    taken.string(41)  # address_range
    taken.options()
    return bind


def read_submit(body: bytes) -> SubmitSm:
    """Raises Wrong SIZE or FORMAT."""
    taken = _Body(body)
    taken.string(6)  # service_type
    taken.octets(2)
    source_addr = taken.string(21)
    taken.octets(2)
    destination_addr = taken.string(21)
    esm_class = taken.integer()
    taken.octets(2)  # protocol_id, priority_flag
    taken.time()  # schedule_delivery_time
    taken.time()  # validity_period
    registered_delivery = taken.integer()
    taken.octets(1)  # replace_if_present_flag
    data_coding = taken.integer()
    taken.octets(1)  # sm_default_msg_id
    short_message = taken.octets(taken.integer())
    return SubmitSm(
        source_addr, destination_addr, esm_class, registered_delivery, data_coding, short_message, taken.options()
    )


def read_query(body: bytes) -> str:
    taken = _Body(body)
    message_id = taken.string(65)
    taken.octets(2)
    taken.string(21)
    return message_id


def read_message_id(body: bytes) -> str:
    """The only parameter of a deliver_sm_resp, unused and empty."""
    return _Body(body).string(65)


def string(text: str) -> bytes:
    return text.encode("ascii") + b"\0"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A delivery receipt: ``message_id`` is the submit_sm_resp's, ``source`` the submit_sm's source_addr."""

    message_id: str
    stat: str
    submitted: dt.datetime
    done: dt.datetime
    number: str
    source: str


def deliver(sequence: int, receipt: Receipt) -> bytes:
    """The usual text (appendix B of the specification, without any of the message's own) and the optional parameters
    that say the same."""
    delivered = receipt.stat == "DELIVRD"
    text = (
        f"id:{receipt.message_id} sub:001 dlvrd:{int(delivered):03d} submit date:{receipt.submitted:%y%m%d%H%M}"
        f" done date:{receipt.done:%y%m%d%H%M} stat:{receipt.stat} err:{0 if delivered else 1:03d} text:"
    ).encode("ascii")
    body = b"\0"  # service_type
    body += bytes([INTERNATIONAL, ISDN]) + string(receipt.number) + bytes(2) + string(receipt.source)
    body += bytes([DELIVERY_RECEIPT, 0, 0, 0, 0, 0, 0, 0, 0, len(text)]) + text
    body += option(RECEIPTED_MESSAGE_ID, string(receipt.message_id))
    body += option(MESSAGE_STATE, bytes([MESSAGE_STATES[receipt.stat]]))
    return pdu(DELIVER_SM, 0, sequence, body)
