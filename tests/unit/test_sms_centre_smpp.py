"""The centre's SMPP 3.4 side, spoken to by a public client library and in hand-made octets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm

from tests.unit.centre_kit import ACCOUNT, PHONE, SECRET, SIGNATURE, SOURCE, Here, centre, udh
from tests.unit.smpp_kit import RECEIVER, TEXT, TRANSMITTER, bind, bound, head, heard, submit_sm

LONG = f"【{SIGNATURE}】" + "项目耕地地力保护补贴" * 16


class Customer:
    """The public client, with what it was answered and told."""

    def __init__(self, here: Here) -> None:
        self.answered: list[Any] = []
        self.told: list[Any] = []
        self.failed: list[int] = []
        self.client = smpplib.client.Client("127.0.0.1", here.ports["smpp"], timeout=3, allow_unknown_opt_params=False)
        self.client.set_message_sent_handler(self._answered)
        self.client.set_message_received_handler(self._told)
        self.client.set_error_pdu_handler(lambda pdu: self.failed.append(int(pdu.status)))
        self.client.set_query_resp_handler(lambda pdu: self.answered.append(pdu))

    def _answered(self, pdu: Any) -> None:
        self.answered.append(pdu)

    def _told(self, pdu: Any) -> int:
        self.told.append(pdu)
        return 0

    def connect(self, password: str = SECRET.decode()) -> None:
        self.client.connect()
        self.client.bind_transceiver(system_id=ACCOUNT, password=password)

    def send(self, text: str) -> int:
        octets, coding, esm_class = smpplib.gsm.make_parts(text, smpplib.consts.SMPP_ENCODING_ISO10646)
        for each in octets:
            self.client.send_message(
                source_addr=SOURCE,
                dest_addr_ton=1,
                dest_addr_npi=1,
                destination_addr=PHONE,
                short_message=each,
                data_coding=coding,
                esm_class=esm_class,
                registered_delivery=1,
            )
        return len(octets)

    def read(self, pdus: int) -> None:
        for _ in range(pdus):
            self.client.read_once(auto_send_enquire_link=False)

    def close(self) -> None:
        self.client.unbind()
        self.client.disconnect()


async def test_a_public_client_is_served(tmp_path: Path) -> None:
    """smpplib binds, sends a short and a long text, gets ids, receipts that name them in text and parameters, and the
    state of a message it asks about."""
    async with centre(tmp_path, "smpp") as here:
        customer = Customer(here)
        await asyncio.to_thread(customer.connect)
        count = await asyncio.to_thread(customer.send, TEXT) + await asyncio.to_thread(customer.send, LONG)
        await asyncio.to_thread(customer.read, 2 * count)
        ids = {pdu.message_id for pdu in customer.answered}
        assert (count, len(ids), len(customer.told)) == (4, 4, 4)
        assert {pdu.receipted_message_id for pdu in customer.told} == ids
        receipt = customer.told[0]
        assert (receipt.message_state, receipt.esm_class) == (2, 4)
        assert (receipt.source_addr, receipt.destination_addr) == (PHONE.encode(), SOURCE.encode())
        words = receipt.short_message.decode("ascii")
        assert words.startswith(f"id:{receipt.receipted_message_id.decode()} sub:001 dlvrd:001 submit date:")
        assert " stat:DELIVRD err:000 text:" in words
        await here.until("SELECT count(*) FROM reported", 4)
        assert here.rows("SELECT text, parts, billed, protocol FROM messages ORDER BY parts") == [
            (TEXT, 1, "SENDER", "SMPP"),
            (LONG, 3, "SENDER", "SMPP"),
        ]
        customer.client.query_message(message_id=receipt.receipted_message_id.decode(), source_addr=SOURCE)
        await asyncio.to_thread(customer.read, 1)
        assert customer.answered[-1].message_state == 2
        await asyncio.to_thread(customer.close)
        assert here.rows("SELECT verdict FROM events WHERE kind = 'QUERY'") == [("answered",)]


async def test_a_public_client_with_a_wrong_password_is_refused(tmp_path: Path) -> None:
    """A wrong password, or somebody else's name, binds nothing and is written down."""
    async with centre(tmp_path, "smpp") as here:
        customer = Customer(here)
        with pytest.raises(smpplib.exceptions.PDUError) as caught:
            await asyncio.to_thread(customer.connect, "guessed")
        assert caught.value.args[1] == 0x0E
        customer.client.disconnect()
        line = await here.line("smpp")
        line.send(bind(account="somebody"))
        assert await line.rest() == head(0x80000009, 0x0F, 1)
        codes = here.rows("SELECT code FROM events WHERE verdict = 'refused' ORDER BY n")
        assert codes == [("KEY",), ("ACCOUNT",)]


REFUSED = [
    (submit_sm(2, registered_delivery=0), 0x07, "NO_REPORT"),
    (submit_sm(2, registered_delivery=0x11), 0x07, "NO_REPORT"),
    (submit_sm(2, data_coding=0), 0x45, "MSG_FMT"),
    (submit_sm(2, "您尾号0019"), 0x45, "TEXT"),
    (submit_sm(2, "【另一家银行】您尾号0019"), 0x45, "SIGNATURE"),
    (submit_sm(2, source_addr="1065"), 0x0A, "SOURCE"),
    (submit_sm(2, destination_addr="0991123456"), 0x0B, "BAD_NUMBER"),
    (submit_sm(2, TEXT + "长" * 70), 0x01, "LENGTH"),
    (submit_sm(2, esm_class=0x40), 0x43, "UDH"),
    (submit_sm(2, esm_class=0x01), 0x43, "UDH"),
    (submit_sm(2, udh(1, 2) + TEXT.encode("utf-16-be") + b"\xd8\x3d", esm_class=0x40), 0x43, "UDH"),
    (submit_sm(2, options=b"\x04\x24\0\2\x4e\x00"), 0xC1, "OPTION"),
    (submit_sm(2, options=b"\x02\x0c\0\2\0\1"), 0xC1, "OPTION"),
    (submit_sm(2, options=b"\x02\x0c\0\2\0"), 0x02, "SIZE"),
    (submit_sm(2, schedule=b"261125\0"), 0x02, "FORMAT"),
    (submit_sm(2, destination_addr="1" * 21), 0x02, "SIZE"),
]


@pytest.mark.parametrize(("pdu", "status", "code"), REFUSED)
async def test_what_may_not_be_taken_is_refused(tmp_path: Path, pdu: bytes, status: int, code: str) -> None:
    """Each broken rule has a command_status of its own, an answer without a body, and reaches nobody."""
    async with centre(tmp_path, "smpp") as here:
        line = await bound(here)
        line.send(pdu)
        assert await line.pdu() == head(0x80000004, status, 2)
        assert here.rows("SELECT verdict, code FROM events WHERE kind = 'CALL'") == [("refused", code)]
        assert here.one("SELECT count(*) FROM messages WHERE code = 'OK'") == 0


async def test_a_seventeenth_unanswered_submit_is_throttled(tmp_path: Path) -> None:
    """Sixteen submits may be unanswered; one more is throttled and written down."""
    async with centre(tmp_path, "smpp", answer_real_milliseconds=800, report_seconds=[900, 900]) as here:
        line = await bound(here)
        line.send(*(submit_sm(n, TEXT + str(n)) for n in range(2, 19)))
        assert await line.pdu() == head(0x80000004, 0x58, 18)
        assert {(await line.pdu())[8:12] for _ in range(16)} == {bytes(4)}
        assert here.one("SELECT count(*) FROM events WHERE code = 'WINDOW'") == 1


async def test_only_a_receiver_hears(tmp_path: Path) -> None:
    """A transmitter submits and hears nothing; the receipt waits for a receiver, who may not submit."""
    async with centre(tmp_path, "smpp") as here:
        transmitter = await bound(here, TRANSMITTER)
        transmitter.send(submit_sm(2, esm_class=3, options=b"\x14\0\0\1\0"))
        answer = await transmitter.pdu()
        assert await transmitter.silent()
        receiver = await bound(here, RECEIVER)
        told = await receiver.pdu()
        message_id = answer[16:]
        assert told.endswith(b"\x04\x27\0\1\2")
        assert b"\0\x1e\0\x0b" + message_id in told
        receiver.send(heard(told), submit_sm(3))
        assert await receiver.pdu() == head(0x80000004, 0x04, 3)
        await here.until("SELECT count(*) FROM reported", 1)


async def test_receipts_are_repeated_until_they_are_answered(tmp_path: Path) -> None:
    """No answer, a temporary error and a generic_nack bring a receipt again, also on a new connection; another error
    is an answer."""
    async with centre(tmp_path, "smpp", callback_retry_real_milliseconds=10) as here:
        line = await bound(here)
        line.send(submit_sm(2))
        await line.pdu()
        told = await line.pdu()
        assert await line.pdu() == told
        line.send(heard(told, 0x64))
        again = await line.pdu()
        line.send(head(0x80000000, 3, int.from_bytes(again[12:16])))
        await line.pdu()
        line.writer.transport.abort()
        line = await bound(here)
        last = await line.pdu()
        assert last[16:] == told[16:]
        line.send(heard(last, 0x65))
        await here.until("SELECT count(*) FROM reported", 1)
        verdicts = here.rows("SELECT verdict FROM events WHERE kind = 'CALLBACK' ORDER BY n")
        told_so = ["sent", "sent", "postponed", "sent", "postponed", "sent", "sent", "refused"]
        assert [verdict for (verdict,) in verdicts] == told_so


async def test_the_session_is_kept_and_ended(tmp_path: Path) -> None:
    """enquire_link works both ways, unbind is answered, a second bind is not allowed, unknown commands are nacked, and
    a length that cannot be ends the line."""
    async with centre(tmp_path, "smpp", idle_real_milliseconds=80) as here:
        line = await bound(here)
        line.send(head(0x15, 0, 2), bind(), head(0x21, 0, 3))
        assert await line.pdu() == head(0x80000015, 0, 2)
        assert await line.pdu() == head(0x80000009, 5, 1)
        assert await line.pdu() == head(0x80000000, 3, 3)
        assert (await line.pdu())[:8] == head(0x15, 0, 1)[:8]
        line.send(head(0x80000015, 0, 1), head(6, 0, 4))
        assert await line.rest() == head(0x80000006, 0, 4)
        line = await bound(here)
        line.send(b"\0\0\0\x0f" + bytes(12))
        assert await line.rest() == head(0x80000000, 2, 0)
        stranger = await here.line("smpp")
        stranger.send(submit_sm(1))
        assert await stranger.rest() == head(0x80000004, 4, 1)
        assert here.one("SELECT count(*) FROM messages") == 0
    async with centre(tmp_path, "smpp") as here:
        line = await bound(here)
    assert (await line.pdu())[4:8] == b"\0\0\0\6"


async def test_an_unknown_message_has_no_state(tmp_path: Path) -> None:
    """query_sm about an id that was never given fails; one about a message on its way says ENROUTE."""
    async with centre(tmp_path, "smpp", report_seconds=[900, 900]) as here:
        line = await bound(here)
        line.send(submit_sm(2))
        message_id = (await line.pdu())[16:]
        line.send(head(3, 0, 3, message_id + b"\0\0\0"), head(3, 0, 4, b"none\0\0\0\0"), head(3, 0, 5, b"none"))
        assert await line.pdu() == head(0x80000003, 0, 3, message_id + b"\0\1\0")
        assert await line.pdu() == head(0x80000003, 0x67, 4)
        assert await line.pdu() == head(0x80000003, 2, 5)
