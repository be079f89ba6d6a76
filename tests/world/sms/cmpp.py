"""The CMPP side: who may connect, which SUBMITs are taken, and which Result says why one is not."""

from __future__ import annotations

import re

from tests.world import clock
from tests.world.sms import cmpp_codec as codec
from tests.world.sms import segments
from tests.world.sms.config import VERSIONS
from tests.world.sms.link import Broken, Session
from tests.world.sms.post import Outcome
from tests.world.sms.reports import Owed
from tests.world.sms.segments import Wrong

FREE_TO_RECEIVER = (2, "01", "000000")  # Fee_UserType: bill the SP; FeeType: free; FeeCode: nothing
UCS2 = 8
ACCEPTED, BAD_STRUCTURE, STRANGER, BAD_PROOF, TOO_HIGH, OTHER = range(6)  # CONNECT_RESP.Status

# SUBMIT_RESP.Result. 10 to 13 are 3.0's words; in 2.0 everything from 9 on is "another error".
RESULTS = {
    "OK": 0,
    "FORMAT": 1,
    "NO_REPORT": 1,
    "MSG_FMT": 1,
    "UDH": 1,
    "TEXT": 1,
    "SIGNATURE": 1,
    "SEQUENCE": 3,
    "SIZE": 4,
    "BILLS_RECEIVER": 5,
    "LENGTH": 6,
    "THROTTLED": 8,
    "WINDOW": 8,
    "SOURCE": 10,
    "ACCOUNT": 11,
    "BAD_NUMBER": 13,
    "ERROR": 99,  # in no table: what it means for the message, nobody can say
}
FLOW_CONTROL = 8


def wire_id(n: int) -> str:
    """The Msg_Id of the SUBMIT that event ``n`` takes, hexadecimal."""
    return codec.message_id(n, clock.now()).hex()


class CmppSession(Session):
    """A customer's CMPP connection, of the version that its CONNECT asked for."""

    HEADER_OCTETS = codec.HEADER.size
    _version = 0

    def receive(self, pdu: bytes) -> None:
        _, command, sequence = codec.HEADER.unpack_from(pdu)
        body = pdu[codec.HEADER.size :]
        if command == codec.CONNECT and not self.bound:
            self._connect(sequence, body)
        elif not self.bound:
            raise Broken("UNBOUND")
        elif command == codec.SUBMIT:
            self.submitted(sequence, lambda hears: self._take(body, hears))
        elif command == codec.DELIVER | codec.RESPONSE:
            self._told(sequence, body)
        elif command == codec.ACTIVE_TEST:
            self.send(codec.pdu(codec.ACTIVE_TEST | codec.RESPONSE, sequence, b"\0"))
        elif command == codec.TERMINATE:
            self.send(codec.pdu(codec.TERMINATE | codec.RESPONSE, sequence))
            self.close()
        elif command not in (codec.ACTIVE_TEST | codec.RESPONSE, codec.TERMINATE | codec.RESPONSE):
            raise Broken("COMMAND")

    def _connect(self, sequence: int, body: bytes) -> None:
        highest = VERSIONS[self.door.version]
        connect = codec.Connect(b"", bytes(16), highest, 0)
        try:
            connect = codec.read_connect(body)
            result, code = self._judge(connect, highest)
        except Wrong:
            result, code = BAD_STRUCTURE, "FORMAT"
        wide = min(connect.version, highest) >= VERSIONS["3.0"]
        secret = self.door.secret
        self.send(codec.connect_answer(sequence, result, connect.authenticator, secret, highest, wide=wide))
        if result != ACCEPTED:
            self.post.note("refused", code)
            self.close()
            return
        self._version = connect.version
        self.bind(hears=True)

    def _judge(self, connect: codec.Connect, highest: int) -> tuple[int, str]:
        if connect.source_addr != self.door.account.encode():
            return STRANGER, "ACCOUNT"
        if connect.version > highest:
            return TOO_HIGH, "VERSION"
        if connect.version not in VERSIONS.values():
            return OTHER, "VERSION"
        return (ACCEPTED, "") if connect.is_by(self.door.secret) else (BAD_PROOF, "KEY")

    def _take(self, body: bytes, hears: bool) -> Outcome:
        submit = codec.read_submit(body, self._version)
        if submit.msg_src != self.door.account:
            raise Wrong("ACCOUNT")
        if not submit.src_id.startswith(self.door.source) or not re.fullmatch("[0-9]{1,21}", submit.src_id):
            raise Wrong("SOURCE")
        if (submit.fee_user_type, submit.fee_type, submit.fee_code) != FREE_TO_RECEIVER:
            raise Wrong("BILLS_RECEIVER")
        if submit.registered_delivery != 1:
            raise Wrong("NO_REPORT")
        if submit.msg_fmt != UCS2:
            raise Wrong("MSG_FMT")
        if submit.tp_udhi not in (0, 1):
            raise Wrong("UDH")
        part = segments.read(submit.tp_udhi == 1, submit.content)
        if (submit.pk_total, submit.pk_number) != (part.total, part.number):
            raise Wrong("UDH")
        segments.check_signature(part, self.post.config.signatures)
        at_once = codec.layout(self._version) == 3  # 2.0 has no Result for a bad number
        return self.post.take(submit.src_id, submit.numbers, part, at_once=at_once, hears=hears)

    def _told(self, sequence: int, body: bytes) -> None:
        try:
            msg_id, result = codec.read_deliver_answer(body, self._version)
        except Wrong:
            raise Broken("FORMAT") from None
        one = self.told(sequence)
        if one is None or one.pdu[codec.HEADER.size :][:8] != msg_id:
            self.post.note("stray", "DELIVER_RESP")
            return
        self.settled(sequence, str(result), refused=result != 0, later=result == FLOW_CONTROL)

    def submit_answer(self, sequence: int, outcome: Outcome) -> bytes:
        result = RESULTS[outcome.code]
        msg_id = bytes.fromhex(outcome.wire_id) if result == 0 else bytes(8)
        return codec.submit_answer(sequence, msg_id, result, self._version)

    def report(self, sequence: int, owed: Owed) -> bytes:
        row = owed.row
        report = codec.Report(
            bytes.fromhex(owed.wire_id),
            row.status,
            clock.moment(row.taken_at_ms),
            clock.moment(row.status_at_ms),
            owed.phone,
            row.source,
            row.n,
        )
        return codec.deliver(sequence, codec.message_id(owed.order, clock.now()), report, self._version)

    def link_test(self, sequence: int) -> bytes:
        return codec.pdu(codec.ACTIVE_TEST, sequence)

    def good_bye(self, sequence: int) -> bytes:
        return codec.pdu(codec.TERMINATE, sequence)
