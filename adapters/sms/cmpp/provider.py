"""The CMPP provider: China Mobile's protocol, free to the receiver, reports by DELIVER on the same connection.

**Who pays.** ``FREE_TO_RECEIVER`` stands in one place, is put into each SUBMIT in one place (``Cmpp.submit``), and the
finished bytes are read back there before they leave: bytes that would bill the receiver, or would bring no report,
raise ``BillsReceiver`` instead of travelling.

**How a report finds its message.** The SUBMIT_RESP names a Msg_Id for each part, and the report repeats it. Where that
answer was lost the protocol has no reference of ours, but the report is addressed to the Src_Id of its SUBMIT: the
last ``reference_digits`` of it are the message's serial.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from adapters.sms.cmpp import codec
from adapters.sms.contract import PushedReport, SmsMessage, SmsOutcome, SmsStatus
from adapters.sms.link.longtext import Part
from adapters.sms.link.provider import BillsReceiver, LinkProvider, PartAnswer, Sender, late, phone_of, read_secret
from adapters.sms.link.session import LinkLimits, LoginRefused, Malformed, Pdu, Session, Turn, Unreadable
from adapters.wire.clear import beyond_loopback
from adapters.wire.http import KeyFile

BEIJING_SECONDS = 8 * 3600
LONGEST_SOURCE = 20  # networks carry at most 20 digits of service number and extension, although the field has 21

# Fee_UserType 2 bills the sender, FeeType 01 is free to the one who is billed, FeeCode is the price in fen.
FREE_TO_RECEIVER = MappingProxyType(
    {"fee_user_type": 2, "fee_type": "01", "fee_code": "000000", "registered_delivery": 1}
)
UCS2 = 8

# Results of a SUBMIT. What no table lists is no answer: UNKNOWN. In 2.0 everything from 9 on is "another error", which
# does not say that nothing went out; 3.0 gives 9 to 13 a meaning.
THROTTLED = 8
OURS_IS_WRONG = {
    "2.0": frozenset({1, 2, 5, 7}),  # structure, command, tariff, service
    "3.0": frozenset({1, 2, 5, 7, 10, 11, 12}),  # and Src_Id, Msg_src, fee number
}
REFUSED = {
    "2.0": frozenset({4, 6}),  # length, too long
    "3.0": frozenset({4, 6, 9, 13}),  # and number not served here, number wrong
}
STRUCTURE_WRONG = 1  # the Result of a DELIVER_RESP, in the same words
LOGIN_CODES = {1: "LOGIN_STRUCTURE", 2: "LOGIN_SOURCE", 3: "LOGIN_SECRET", 4: "LOGIN_VERSION"}
STATUSES = {
    "DELIVRD": SmsStatus.DELIVERED,
    "EXPIRED": SmsStatus.UNDELIVERED,
    "DELETED": SmsStatus.UNDELIVERED,
    "UNDELIV": SmsStatus.UNDELIVERED,
    "REJECTD": SmsStatus.UNDELIVERED,
    "ACCEPTD": SmsStatus.PENDING,
    "UNKNOWN": SmsStatus.PENDING,
}
_NETWORK_FAULT = re.compile(r"(?:M[ABCDHIKLN]|C[ABCD]|I[ABCD]|DB|SME|[A-Z]{2}):[0-9A-Fa-f]{1,4}")


class CmppSettings(BaseModel):
    """One account's section of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=7890, ge=1, le=65535)
    version: Literal["2.0", "3.0"] = "2.0"
    source_addr: str = Field(pattern=r"^[0-9A-Za-z]{1,6}$")  # SP_Id: the account
    secret_file: KeyFile  # the shared secret; a final line break is not part of it
    service_id: str = Field(default="", pattern=r"^[0-9A-Za-z]{0,10}$")
    service_number: str = Field(pattern=r"^[0-9]{3,20}$")
    reference_digits: int = Field(default=8, ge=0, le=12)  # of the extension; 0: reports are found by Msg_Id only
    message_reference_bits: Literal[8, 16] = 8  # of a long message's header: 67 or 66 units for each part
    parts_per_second: int = Field(default=50, ge=1, le=1000)
    verify_centre: bool = True  # AuthenticatorISMG; off only for a centre that does not compute it
    ca_file: KeyFile | None = None  # TLS, where the centre offers it; else a leased line or a tunnel
    limits: LinkLimits = LinkLimits()

    @model_validator(mode="after")
    def _room_for_the_reference(self) -> Self:
        if 0 < self.reference_digits < 5:
            raise ValueError("reference_digits is 0 or at least 5")
        if len(self.service_number) + self.reference_digits > LONGEST_SOURCE:
            raise ValueError(f"service_number and reference_digits are at most {LONGEST_SOURCE} digits together")
        return self

    @field_validator("host")
    @classmethod
    def _bare_host(cls, host: str) -> str:
        if not re.fullmatch(r"[0-9A-Za-z.:_-]+", host):
            raise ValueError("host is a name or an address")
        return host

    def in_the_clear(self) -> tuple[str, ...]:
        return () if self.ca_file else beyond_loopback(self.host)


def beijing_timestamp() -> str:
    """``MMDDHHMMSS`` of now, which CONNECT proves itself with; real time, the centre compares it with its own."""
    return time.strftime("%m%d%H%M%S", time.gmtime(time.time() + BEIJING_SECONDS))


def assert_free(version: codec.Version, frame: bytes) -> None:
    """Read the finished bytes back, by their place in the published layout, and refuse what would bill a person."""
    fee = codec.HEADER.size + 8 + 4 + 10  # behind Msg_Id, four octets of Pk_total to Msg_level, and Service_Id
    types = 1 if version.number_types else 0
    fee_type = fee + 1 + version.number + types + 3 + 6
    if (
        frame[fee] != FREE_TO_RECEIVER["fee_user_type"]
        or frame[fee_type : fee_type + 8] != b"01000000"
        or frame[codec.HEADER.size + 10] != 1
        or frame[fee + 1 + version.number + types + 2] != UCS2
    ):
        raise BillsReceiver


@dataclass(slots=True)
class Cmpp:
    """CMPP as the session's dialect and the provider's tongue."""

    settings: CmppSettings
    secret: bytes
    sender: Sender
    timestamp: Callable[[], str] = beijing_timestamp
    proof: bytes = b""
    header_bytes: int = codec.HEADER.size
    max_frame_bytes: int = codec.MAX_FRAME_BYTES

    @property
    def version(self) -> codec.Version:
        return codec.VERSIONS[self.settings.version]

    @property
    def reference_bits(self) -> int:
        return self.settings.message_reference_bits

    # -- the session's

    def read(self, frame: bytes) -> Pdu:
        try:
            read = codec.read(self.version, frame)
        except Malformed:
            if (head := codec.deliver_head(frame)) is None:
                raise
            sequence, msg_id = head
            return Pdu(Turn.DELIVERY, sequence, msg_id, codec.Command.DELIVER)
        return Pdu(_TURNS.get(read.command, Turn.ANSWER), read.sequence, read.body, read.command)

    def login(self, sequence: int) -> bytes:
        timestamp, account = self.timestamp(), self.settings.source_addr
        self.proof = codec.authenticator_source(account, self.secret, timestamp)
        return codec.connect(self.version, sequence, account, self.secret, timestamp)

    def logged_in(self, sequence: int, answer: Pdu) -> None:
        if (
            answer.sequence != sequence
            or answer.command != codec.Command.CONNECT_RESP
            or not isinstance(answer.body, codec.Answer)
        ):
            raise Malformed("LOGIN_UNANSWERED")
        said = answer.body
        if said.status != 0:
            raise LoginRefused(LOGIN_CODES.get(said.status, "LOGIN_OTHER"))
        if len(said.status_octets) != self.version.status:
            raise LoginRefused("LOGIN_VERSION")  # it would go on in the widths of the other version
        expected = codec.authenticator_ismg(said.status_octets, self.proof, self.secret)
        if self.settings.verify_centre and said.authenticator != expected:
            raise LoginRefused("LOGIN_CENTRE")  # whoever answers does not know the secret

    def life_sign(self, sequence: int) -> bytes:
        return codec.active_test(sequence)

    def goodbye(self, sequence: int) -> bytes:
        return codec.terminate(sequence)

    def reply(self, request: Pdu) -> bytes:
        if isinstance(request.body, codec.Deliver):
            return codec.deliver_resp(self.version, request.sequence, request.body.msg_id)
        if request.turn is Turn.GOODBYE:
            return codec.terminate_resp(request.sequence)
        return codec.active_test_resp(request.sequence)

    def refuse(self, delivery: Pdu) -> bytes:
        msg_id = delivery.body.msg_id if isinstance(delivery.body, codec.Deliver) else delivery.body
        return codec.deliver_resp(self.version, delivery.sequence, msg_id, STRUCTURE_WRONG)

    def report(self, delivery: Pdu) -> PushedReport | None:
        """The status report of a DELIVER; None for what people write to us. Raises Unreadable."""
        body = delivery.body
        if not isinstance(body, codec.Deliver):
            raise Unreadable("BODY")
        if body.registered_delivery != 1:
            return None
        report = codec.status_report(self.version, body.content)
        if report is None:
            raise Unreadable("REPORT")
        serial = self.sender.serial(body.dest_id)
        modulus = self.sender.modulus if serial is not None else 0
        return PushedReport(
            report.msg_id.hex(), status_of(report.stat), serial, modulus, phone_of(report.dest_terminal_id)
        )

    # -- the provider's

    def submit(self, sequence: int, number: str, source: str, part: Part, message: SmsMessage) -> bytes:
        fields = codec.Submit(
            pk_total=part.total,
            pk_number=part.number,
            service_id=self.settings.service_id,
            tp_udhi=1 if part.header else 0,
            msg_fmt=UCS2,
            msg_src=self.settings.source_addr,
            src_id=source,
            dest_terminal_id=number,
            msg_content=part.content,
            **FREE_TO_RECEIVER,  # type: ignore[arg-type]
        )
        frame = codec.submit(self.version, sequence, fields)
        assert_free(self.version, frame)
        return frame

    def judge(self, answer: Pdu) -> PartAnswer:
        if answer.command != codec.Command.SUBMIT_RESP or not isinstance(answer.body, codec.Answer):
            return PartAnswer(SmsOutcome.UNKNOWN, "FOREIGN_ANSWER")
        result = answer.body.status
        if result == 0:
            return PartAnswer(SmsOutcome.ACCEPTED, "OK", answer.body.msg_id.hex())
        if result == THROTTLED:
            return PartAnswer(SmsOutcome.NOT_TAKEN, "THROTTLED")
        if result in OURS_IS_WRONG[self.settings.version]:
            return PartAnswer(SmsOutcome.NOT_TAKEN, f"RESULT_{result}", hold=True)
        if result in REFUSED[self.settings.version]:
            return PartAnswer(SmsOutcome.REFUSED, f"RESULT_{result}")
        return PartAnswer(SmsOutcome.UNKNOWN, "UNLISTED")


_TURNS = {
    codec.Command.DELIVER: Turn.DELIVERY,
    codec.Command.ACTIVE_TEST: Turn.LIFE_SIGN,
    codec.Command.TERMINATE: Turn.GOODBYE,
}


def status_of(stat: str) -> SmsStatus:
    """A status report's word. ``MA:0001`` and its like are the network's own faults: not delivered, finally."""
    if _NETWORK_FAULT.fullmatch(stat):
        return SmsStatus.UNDELIVERED
    return STATUSES.get(stat, SmsStatus.PENDING)


class CmppProvider(LinkProvider):
    """One account at one CMPP gateway."""

    def __init__(self, name: str, settings: CmppSettings, timestamp: Callable[[], str] = beijing_timestamp) -> None:
        sender = Sender(settings.service_number, settings.reference_digits)
        cmpp = Cmpp(settings, read_secret(settings.secret_file), sender, timestamp)
        session = Session(
            settings.host, settings.port, cmpp, settings.limits, tls_of(settings.ca_file), late(cmpp.judge)
        )
        super().__init__(name, session, cmpp, sender, settings.parts_per_second)


def tls_of(ca_file: KeyFile | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    # Not create_default_context(): that one writes session keys to wherever SSLKEYLOGFILE points.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    return context
