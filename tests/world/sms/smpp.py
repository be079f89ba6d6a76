"""The SMPP 3.4 side: who may bind as what, which submit_sm are taken, and which command_status says why one is not."""

from __future__ import annotations

from tests.world import clock
from tests.world.sms import segments
from tests.world.sms import smpp_codec as codec
from tests.world.sms.link import Broken, Session
from tests.world.sms.post import Outcome
from tests.world.sms.reports import Owed
from tests.world.sms.segments import Wrong
from tests.world.sms.smpp_codec import Status

UCS2 = 8
REPORT_WANTED = 1  # registered_delivery: a receipt of success or failure, and nothing else
USER_DATA_HEADER = 0x40
MODES = (0, 3)  # of esm_class: default, store and forward

STATUSES = {
    "OK": Status.OK,
    "LENGTH": Status.INVALID_MESSAGE_LENGTH,
    "SIZE": Status.INVALID_COMMAND_LENGTH,
    "FORMAT": Status.INVALID_COMMAND_LENGTH,
    "UNBOUND": Status.INVALID_BIND_STATUS,
    "NO_REPORT": Status.INVALID_REGISTERED_DELIVERY,
    "SOURCE": Status.INVALID_SOURCE,
    "BAD_NUMBER": Status.INVALID_DESTINATION,
    "UDH": Status.INVALID_ESM_CLASS,
    "MSG_FMT": Status.SUBMIT_FAILED,
    "TEXT": Status.SUBMIT_FAILED,
    "SIGNATURE": Status.SUBMIT_FAILED,
    "SEQUENCE": Status.SUBMIT_FAILED,
    "OPTION": Status.OPTION_NOT_ALLOWED,
    "THROTTLED": Status.THROTTLED,
    "WINDOW": Status.THROTTLED,
    "ERROR": Status.SYSTEM_ERROR,  # what it means for the message, nobody can say
}
NOT_NOW = (Status.QUEUE_FULL, Status.THROTTLED, Status.RECEIVER_TEMPORARY)
BINDS = {
    codec.BIND_RECEIVER: (False, True),
    codec.BIND_TRANSMITTER: (True, False),
    codec.BIND_TRANSCEIVER: (True, True),
}
ANSWERS = tuple(command | codec.RESPONSE for command in (codec.ENQUIRE_LINK, codec.UNBIND))


def wire_id(n: int) -> str:
    """The message_id of the submit_sm that event ``n`` takes: ten digits, as receipts usually write it."""
    return f"{n:010d}"


class SmppSession(Session):
    """A customer's SMPP connection: a transmitter submits, a receiver hears, a transceiver does both."""

    HEADER_OCTETS = codec.HEADER.size
    _submits = False

    def receive(self, pdu: bytes) -> None:
        _, command, status, sequence = codec.HEADER.unpack_from(pdu)
        body = pdu[codec.HEADER.size :]
        if command in BINDS:
            self._bind(command, sequence, body)
        elif command == codec.ENQUIRE_LINK:
            self._answer_with(command, Status.OK, sequence)
        elif not self.bound:
            self._answer_with(command, Status.INVALID_BIND_STATUS, sequence)
            raise Broken("UNBOUND")
        elif command == codec.SUBMIT_SM:
            self.submitted(sequence, lambda hears: self._take(body, hears))
        elif command == codec.QUERY_SM:
            self._query(sequence, body)
        elif command == codec.UNBIND:
            self._answer_with(command, Status.OK, sequence)
            self.close()
        elif command == codec.DELIVER_SM | codec.RESPONSE:
            self._told(sequence, status, body)
        elif command == codec.GENERIC_NACK:
            self._nacked(sequence, status)
        elif command not in ANSWERS:
            self.send(codec.pdu(codec.GENERIC_NACK, Status.INVALID_COMMAND_ID, sequence))
            self.post.note("stray", "COMMAND")

    def complain(self, code: str) -> None:
        if code == "LENGTH":
            self.send(codec.pdu(codec.GENERIC_NACK, Status.INVALID_COMMAND_LENGTH, 0))

    def _answer_with(self, command: int, status: Status, sequence: int, body: bytes = b"") -> None:
        self.send(codec.pdu(command | codec.RESPONSE, status, sequence, body))

    def _bind(self, command: int, sequence: int, body: bytes) -> None:
        if self.bound:
            self._answer_with(command, Status.ALREADY_BOUND, sequence)
            return
        try:
            bind = codec.read_bind(body)
        except Wrong:
            status, code = Status.INVALID_COMMAND_LENGTH, "FORMAT"
        else:
            status, code = Status.OK, ""
            if bind.system_id != self.door.account:
                status, code = Status.INVALID_SYSTEM_ID, "ACCOUNT"
            elif bind.password.encode() != self.door.secret:
                status, code = Status.INVALID_PASSWORD, "KEY"
        if status is not Status.OK:
            self._answer_with(command, status, sequence)
            self.post.note("refused", code)
            self.close()
            return
        version = codec.option(codec.SC_INTERFACE_VERSION, bytes([codec.VERSION]))
        self._answer_with(command, Status.OK, sequence, codec.string("SMSC") + version)
        self._submits, hears = BINDS[command]
        self.bind(hears=hears)

    def _take(self, body: bytes, hears: bool) -> Outcome:
        if not self._submits:
            raise Wrong("UNBOUND")
        submit = codec.read_submit(body)
        if not submit.source_addr.startswith(self.door.source):
            raise Wrong("SOURCE")
        if submit.registered_delivery != REPORT_WANTED:
            raise Wrong("NO_REPORT")
        if submit.data_coding != UCS2:
            raise Wrong("MSG_FMT")
        if submit.options.keys() & codec.CHANGES_THE_TEXT:
            raise Wrong("OPTION")
        if submit.esm_class & ~USER_DATA_HEADER not in MODES:
            raise Wrong("UDH")
        part = segments.read(bool(submit.esm_class & USER_DATA_HEADER), submit.short_message)
        segments.check_signature(part, self.post.config.signatures)
        return self.post.take(submit.source_addr, (submit.destination_addr,), part, at_once=True, hears=hears)

    def _query(self, sequence: int, body: bytes) -> None:
        try:
            message_id = codec.read_query(body)
        except Wrong:
            self._answer_with(codec.QUERY_SM, Status.INVALID_COMMAND_LENGTH, sequence)
            return
        row = self.post.query(message_id)
        if row is None:
            self._answer_with(codec.QUERY_SM, Status.QUERY_FAILED, sequence)
            return
        over = clock.now_ms() >= row.status_at_ms
        state = codec.MESSAGE_STATES[row.status if over else "ENROUTE"]
        date = f"{clock.moment(row.status_at_ms):%y%m%d%H%M%S}032+" if over else ""  # 32 quarters of an hour east
        answer = codec.string(message_id) + codec.string(date) + bytes([state, 0])
        self._answer_with(codec.QUERY_SM, Status.OK, sequence, answer)

    def _told(self, sequence: int, status: int, body: bytes) -> None:
        try:
            if status == 0 or body:
                codec.read_message_id(body)
        except Wrong:
            raise Broken("FORMAT") from None
        if self.told(sequence) is None:
            self.post.note("stray", "DELIVER_SM_RESP")
            return
        self.settled(sequence, str(status), refused=status != 0, later=status in NOT_NOW)

    def _nacked(self, sequence: int, status: int) -> None:
        """The customer could not read a report: it is not told, and comes again."""
        if self.told(sequence) is not None:
            self.settled(sequence, str(status), later=True)
        else:
            self.post.note("stray", "GENERIC_NACK")

    def submit_answer(self, sequence: int, outcome: Outcome) -> bytes:
        status = STATUSES[outcome.code]
        body = codec.string(outcome.wire_id) if status is Status.OK else b""
        return codec.pdu(codec.SUBMIT_SM | codec.RESPONSE, status, sequence, body)

    def report(self, sequence: int, owed: Owed) -> bytes:
        row = owed.row
        submitted, done = clock.moment(row.taken_at_ms), clock.moment(row.status_at_ms)
        return codec.deliver(sequence, codec.Receipt(owed.wire_id, row.status, submitted, done, owed.phone, row.source))

    def link_test(self, sequence: int) -> bytes:
        return codec.pdu(codec.ENQUIRE_LINK, 0, sequence)

    def good_bye(self, sequence: int) -> bytes:
        return codec.pdu(codec.UNBIND, 0, sequence)
