"""The SMPP provider: one transceiver session with an aggregator, receipts by ``deliver_sm`` on the same connection.

**Who pays.** SMPP 3.4 has no field that says who is billed; the agreement does (``service_type`` names it where the
aggregator asks for one). What it can say is asserted before a ``submit_sm`` leaves: a receipt is asked for, the text is
UCS-2, nothing is replaced.

**How a receipt finds its message**: by ``receipted_message_id``, else ``id:`` in its text; where the answer that named
the id was lost, by the serial in the last digits of the sender's number, else by ``user_message_reference``.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.sms.contract import PushedReport, SmsMessage, SmsOutcome, SmsStatus
from adapters.sms.link.longtext import Part
from adapters.sms.link.provider import BillsReceiver, LinkProvider, PartAnswer, Sender, late, phone_of, read_secret
from adapters.sms.link.session import LinkLimits, LoginRefused, Malformed, Pdu, Session, Turn, Unreadable
from adapters.sms.smpp import codec
from adapters.wire.clear import beyond_loopback
from adapters.wire.http import KeyFile

LONGEST_SOURCE = 20
UMR_MODULUS = 65536
UCS2, UDHI, ASK_RECEIPT = 8, 0x40, 1
RECEIPT_CLASSES = 0x3C  # the bits of esm_class that name the kind of a deliver_sm; 0x04 is an SMSC delivery receipt

# Statuses of a submit_sm_resp. What no table lists is no answer: UNKNOWN. "Submit failed" (0x45) stands in none: it
# does not say how far the message came.
THROTTLED = frozenset({0x14, 0x58})  # queue full, throttled
OURS_IS_WRONG = frozenset(
    {0x02, 0x03, 0x04, 0x07, 0x0A, 0x15, 0x43, 0x48, 0x49, 0x50, 0x51}  # command, bind state, flags, source, service,
    | {0xC0, 0xC1, 0xC2, 0xC3, 0xC4}  # the kind of every destination; optional parameters
)
REFUSED = frozenset({0x01, 0x0B})  # length, destination
PERMANENT_ERROR = 0x65  # ESME_RX_P_APPN: the receiver of a deliver_sm will never take it
LOGIN_CODES = {0x0D: "LOGIN_BIND", 0x0E: "LOGIN_SECRET", 0x0F: "LOGIN_SOURCE", 0x05: "LOGIN_ALREADY_BOUND"}
STATUSES = {
    "DELIVRD": SmsStatus.DELIVERED,
    "EXPIRED": SmsStatus.UNDELIVERED,
    "DELETED": SmsStatus.UNDELIVERED,
    "UNDELIV": SmsStatus.UNDELIVERED,
    "REJECTD": SmsStatus.UNDELIVERED,
}
STATES = {2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 8: "REJECTD"}
_ID = re.compile(r"\bid:([0-9A-Za-z_.-]{1,64})")
_STAT = re.compile(r"\bstat:([A-Z]{7})\b")
_PART_ID = re.compile(r"[0-9A-Za-z_.-]{1,64}")


class SmppSettings(BaseModel):
    """One account's section of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(pattern=r"^[0-9A-Za-z.:_-]{1,253}$")
    port: int = Field(default=2775, ge=1, le=65535)
    system_id: str = Field(pattern=r"^[0-9A-Za-z_.-]{1,15}$")
    password_file: KeyFile  # at most 8 characters: the protocol's limit; a final line break is not part of it
    system_type: str = Field(default="", pattern=r"^[0-9A-Za-z_.-]{0,12}$")
    service_type: str = Field(default="", pattern=r"^[0-9A-Za-z_.-]{0,5}$")  # what the agreement calls "sender pays"
    service_number: str = Field(pattern=r"^[0-9]{3,20}$")
    reference_digits: int = Field(default=8, ge=0, le=12)  # of the sender's number; 0: found by ids only
    country_code: str = Field(default="86", pattern=r"^[0-9]{0,3}$")  # in front of the number; type of number 1 then
    message_reference_bits: Literal[8, 16] = 8
    parts_per_second: int = Field(default=50, ge=1, le=1000)
    ca_file: KeyFile | None = None  # TLS, where the centre offers it; else a leased line or a tunnel
    limits: LinkLimits = LinkLimits()

    @model_validator(mode="after")
    def _room_for_the_reference(self) -> Self:
        if 0 < self.reference_digits < 5:
            raise ValueError("reference_digits is 0 or at least 5")
        if len(self.service_number) + self.reference_digits > LONGEST_SOURCE:
            raise ValueError(f"service_number and reference_digits are at most {LONGEST_SOURCE} digits together")
        return self

    def in_the_clear(self) -> tuple[str, ...]:
        return () if self.ca_file else beyond_loopback(self.host)


@dataclass(slots=True)
class Smpp:
    """SMPP as the session's dialect and the provider's tongue."""

    settings: SmppSettings
    password: str
    sender: Sender
    header_bytes: int = codec.HEADER.size
    max_frame_bytes: int = codec.MAX_FRAME_BYTES

    @property
    def reference_bits(self) -> int:
        return self.settings.message_reference_bits

    # -- the session's

    def read(self, frame: bytes) -> Pdu:
        try:
            name, status, sequence, pdu = codec.read(frame)
        except Malformed:
            if (broken := codec.deliver_sequence(frame)) is None:
                raise
            return Pdu(Turn.DELIVERY, broken, ("deliver_sm", 0, None))
        if name in ("submit_sm", "bind_transceiver"):
            raise Malformed("DIRECTION")
        return Pdu(_TURNS.get(name, Turn.ANSWER), sequence, (name, status, pdu))

    def login(self, sequence: int) -> bytes:
        return codec.write(
            "bind_transceiver",
            sequence,
            system_id=self.settings.system_id,
            password=self.password,
            system_type=self.settings.system_type,
        )

    def logged_in(self, sequence: int, answer: Pdu) -> None:
        name, status, _ = answer.body
        if answer.sequence != sequence or name not in ("bind_transceiver_resp", "generic_nack"):
            raise Malformed("LOGIN_UNANSWERED")
        if status != 0 or name == "generic_nack":
            raise LoginRefused(LOGIN_CODES.get(status, "LOGIN_OTHER"))

    def life_sign(self, sequence: int) -> bytes:
        return codec.write("enquire_link", sequence)

    def goodbye(self, sequence: int) -> bytes:
        return codec.write("unbind", sequence)

    def reply(self, request: Pdu) -> bytes:
        name = request.body[0]
        if name == "deliver_sm":
            return codec.write("deliver_sm_resp", request.sequence, message_id="")
        return codec.write(f"{name}_resp", request.sequence)

    def refuse(self, delivery: Pdu) -> bytes:
        return codec.write("deliver_sm_resp", delivery.sequence, PERMANENT_ERROR, message_id="")

    def report(self, delivery: Pdu) -> PushedReport | None:
        """The receipt in a deliver_sm; None for what people write to us. Raises Unreadable."""
        _, _, pdu = delivery.body
        if pdu is None:
            raise Unreadable("BODY")
        try:
            return self._receipt(pdu)
        except Malformed:
            raise Unreadable("NOT_ASCII") from None

    def _receipt(self, pdu: Any) -> PushedReport | None:
        if (pdu.esm_class or 0) & RECEIPT_CLASSES != 0x04:
            return None
        content = (pdu.short_message or b"").decode("latin-1")
        named, told = _ID.search(content), _STAT.search(content)
        part_id = codec.text(pdu.receipted_message_id) or (named[1] if named else "")
        stat = told[1] if told else STATES.get(pdu.message_state or 0, "")
        serial, modulus = self.sender.serial(codec.text(pdu.destination_addr)), self.sender.modulus
        if serial is None and pdu.user_message_reference is not None:
            serial, modulus = int(pdu.user_message_reference), UMR_MODULUS
        if not _PART_ID.fullmatch(part_id):
            raise Unreadable("REPORT")
        return PushedReport(
            part_id,
            STATUSES.get(stat, SmsStatus.PENDING),
            serial,
            modulus if serial is not None else 0,
            phone_of(codec.text(pdu.source_addr)),
        )

    # -- the provider's

    def submit(self, sequence: int, number: str, source: str, part: Part, message: SmsMessage) -> bytes:
        fields: dict[str, Any] = {
            "service_type": self.settings.service_type,
            "source_addr_ton": 0,
            "source_addr_npi": 1,
            "source_addr": source,
            "dest_addr_ton": 1 if self.settings.country_code else 0,
            "dest_addr_npi": 1,
            "destination_addr": self.settings.country_code + number,
            "esm_class": UDHI if part.header else 0,
            "registered_delivery": ASK_RECEIPT,
            "data_coding": UCS2,
            "short_message": part.content,
            "user_message_reference": message.serial % UMR_MODULUS,
        }
        frame = codec.write("submit_sm", sequence, **fields)
        assert_reported(frame)
        return frame

    def judge(self, answer: Pdu) -> PartAnswer:
        name, status, pdu = answer.body
        if name not in ("submit_sm_resp", "generic_nack"):
            return PartAnswer(SmsOutcome.UNKNOWN, "FOREIGN_ANSWER")
        code = f"STATUS_{status:X}"
        if status in THROTTLED:
            return PartAnswer(SmsOutcome.NOT_TAKEN, "THROTTLED")
        if status in OURS_IS_WRONG:
            return PartAnswer(SmsOutcome.NOT_TAKEN, code, hold=True)
        if status in REFUSED:
            return PartAnswer(SmsOutcome.REFUSED, code)
        part_id = codec.text(pdu.message_id) if name == "submit_sm_resp" else ""
        if status != 0 or not _PART_ID.fullmatch(part_id):
            return PartAnswer(SmsOutcome.UNKNOWN, "UNLISTED")
        return PartAnswer(SmsOutcome.ACCEPTED, "OK", part_id)


_TURNS = {"deliver_sm": Turn.DELIVERY, "enquire_link": Turn.LIFE_SIGN, "unbind": Turn.GOODBYE}


def assert_reported(frame: bytes) -> None:
    """Read the finished bytes back: a receipt is asked for and the text is UCS-2."""
    at = codec.HEADER.size
    at = frame.index(b"\0", at) + 1 + 2  # service_type, source_addr_ton and _npi
    at = frame.index(b"\0", at) + 1 + 2  # source_addr, dest_addr_ton and _npi
    at = frame.index(b"\0", at) + 1 + 3  # destination_addr, esm_class, protocol_id, priority_flag
    at = frame.index(b"\0", at) + 1  # schedule_delivery_time
    at = frame.index(b"\0", at) + 1  # validity_period
    if frame[at : at + 3] != bytes((ASK_RECEIPT, 0, UCS2)):
        raise BillsReceiver


class SmppProvider(LinkProvider):
    """One account at one SMPP centre."""

    def __init__(self, name: str, settings: SmppSettings) -> None:
        codec.library()
        password = read_secret(settings.password_file).decode("ascii")
        if len(password) > codec.WIDTHS["password"]:
            raise ValueError("an SMPP password has at most 8 characters")
        sender = Sender(settings.service_number, settings.reference_digits)
        smpp = Smpp(settings, password, sender)
        session = Session(settings.host, settings.port, smpp, settings.limits, _tls(settings.ca_file), late(smpp.judge))
        super().__init__(name, session, smpp, sender, settings.parts_per_second)


def _tls(ca_file: KeyFile | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # as in cmpp: not create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    return context
