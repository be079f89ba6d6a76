"""The centre's CMPP side, spoken to in hand-made octets: it reads what the specification says, and nothing else."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

import pytest

from tests.unit.centre_kit import PHONE, SECRET, SIGNATURE, SOURCE, centre, udh
from tests.unit.cmpp_kit import LONG, TEXT, bound, connect, head, heard, parts, result, submit
from tests.world.sms import cmpp_codec as codec
from tests.world.sms_ledger import breaches, read_only


@pytest.mark.parametrize(("version", "status_octets"), [(0x20, 1), (0x30, 4)])
async def test_a_customer_connects(tmp_path: Path, version: int, status_octets: int) -> None:
    """CONNECT is proved by MD5 both ways, and the answer has the layout of the version that was asked for."""
    async with centre(tmp_path, "cmpp") as here:
        line = await here.line("cmpp")
        asked = connect(version)
        line.send(asked)
        answer = await line.pdu()
        status = bytes(status_octets)
        proof = hashlib.md5(status + asked[18:34] + SECRET).digest()
        assert answer == head(0x80000001, 1, status + proof + b"\x30")
        line.send(head(8, 2), head(2, 3))
        assert await line.pdu() == head(0x80000008, 2, b"\0")
        assert await line.pdu() == head(0x80000002, 3)
        assert await line.rest() == b""


@pytest.mark.parametrize(
    ("asked", "version", "answer", "code"),
    [
        (connect(0x30, secret=b"guessed1"), "3.0", b"\0\0\0\3" + bytes(16) + b"\x30", "KEY"),
        (connect(0x30, account="901235"), "3.0", b"\0\0\0\2" + bytes(16) + b"\x30", "ACCOUNT"),
        (connect(0x30), "2.0", b"\4" + bytes(16) + b"\x20", "VERSION"),
        (connect(0x12), "3.0", b"\5" + bytes(16) + b"\x30", "VERSION"),
        (connect(0x20, timestamp=1325093000), "2.0", b"\1" + bytes(16) + b"\x20", "FORMAT"),
    ],
    ids=["secret", "account", "too-high", "too-low", "month-13"],
)
async def test_strangers_do_not_connect(tmp_path: Path, asked: bytes, version: str, answer: bytes, code: str) -> None:
    """A wrong secret, account, version or timestamp gets its own Status and no connection; the ledger says why."""
    async with centre(tmp_path, "cmpp", version=version) as here:
        line = await here.line("cmpp")
        line.send(asked)
        assert await line.pdu() == head(0x80000001, 1, answer)
        assert await line.rest() == b""
        await here.until("SELECT count(*) FROM events WHERE verdict = 'ended'", 1)
        assert here.rows("SELECT kind, verdict, code, protocol FROM events LIMIT 1") == [
            ("LINK", "refused", code, "CMPP")
        ]


@pytest.mark.parametrize("v3", [True, False], ids=["3.0", "2.0"])
async def test_a_message_is_taken_and_reported(tmp_path: Path, v3: bool) -> None:
    """A SUBMIT gets a Msg_Id; its report names that id, the number, and comes to the Src_Id that was written from."""
    async with centre(tmp_path, "cmpp") as here:
        line = await bound(here, 0x30 if v3 else 0x20)
        line.send(submit(2, v3=v3))
        answer = await line.pdu()
        assert (len(answer), result(answer)) == (24 if v3 else 21, 0)
        msg_id, deliver = answer[12:20], await line.pdu()
        width, size = (32, 71) if v3 else (21, 60)
        body = deliver[20:]  # behind the Msg_Id of the DELIVER itself
        assert body[:21].rstrip(b"\0") == (SOURCE + "42").encode()
        assert body[34 : 34 + width].rstrip(b"\0") == PHONE.encode()
        at = 34 + width + v3  # Registered_Delivery
        assert (body[at], body[at + 1]) == (1, size)
        content = body[at + 2 : at + 2 + size]
        assert content[:8] == msg_id
        assert content[8:15] == b"DELIVRD"
        assert len(content[15:35].decode("ascii")) == 20
        assert content[15:35].isdigit()
        assert content[35 : 35 + width].rstrip(b"\0") == PHONE.encode()
        assert body[at + 2 + size :] == bytes(20 if v3 else 8)
        line.send(head(0x80000005, int.from_bytes(deliver[8:12]), deliver[12:20] + bytes(4 if v3 else 1)))
        await here.until("SELECT count(*) FROM reported", 1)
        assert here.rows("SELECT phone, text, code, billed, parts, source, protocol FROM messages") == [
            (PHONE, TEXT, "OK", "SENDER", 1, SOURCE + "42", "CMPP")
        ]
        assert here.rows("SELECT wire_id FROM submits") == [(msg_id.hex(),)]


async def test_one_submit_for_several_people(tmp_path: Path) -> None:
    """Each number of a SUBMIT is a message and has a report of its own, all under the one Msg_Id."""
    numbers = (PHONE, "8613800000002", "13800000003")
    async with centre(tmp_path, "cmpp") as here:
        line = await bound(here)
        line.send(submit(2, numbers=numbers))
        msg_id = (await line.pdu())[12:20]
        told = [await line.pdu() for _ in numbers]
        line.send(*(heard(each) for each in told))
        await here.until("SELECT count(*) FROM reported", 3)
        contents = [each[-20 - 71 : -20] for each in told]
        assert {content[:8] for content in contents} == {msg_id}
        assert {content[35:67].rstrip(b"\0").decode() for content in contents} == set(numbers)
        phones = here.rows("SELECT phone FROM messages ORDER BY phone")
        assert phones == [(PHONE,), ("13800000002",), ("13800000003",)]


async def test_a_long_message_is_put_together(tmp_path: Path) -> None:
    """Parts in any order make one message of the whole text, and each SUBMIT of it gets a report."""
    async with centre(tmp_path, "cmpp") as here:
        line = await bound(here)
        line.send(*parts()[::-1])
        got = [await line.pdu() for _ in range(6)]
        ids = {each[12:20] for each in got if each[4] == 0x80}
        assert len(ids) == 3
        assert {each[-91:][:8] for each in got if each[4] == 0} == ids
        assert here.rows("SELECT text, units, parts, code FROM messages") == [(LONG, 168, 3, "OK")]


async def test_a_message_that_never_becomes_whole_reached_nobody(tmp_path: Path) -> None:
    """Without its last part a message expires, also across a restart, and its parts are reported EXPIRED."""
    async with centre(tmp_path, "cmpp", incomplete_seconds=1) as here:
        line = await bound(here)
        line.send(*parts()[:2])
        assert [result(await line.pdu()) for _ in range(2)] == [0, 0]
    async with centre(tmp_path, "cmpp", incomplete_seconds=1) as here:
        line = await bound(here)
        stats = [(await line.pdu())[-20 - 71 + 8 :][:7] for _ in range(2)]
        assert stats == [b"EXPIRED"] * 2
        assert here.rows("SELECT code, billed, parts FROM messages") == [("INCOMPLETE", "NOBODY", 3)]


REFUSED = [
    (submit(2, fee_user_type=0), 5, "BILLS_RECEIVER"),
    (submit(2, fee_user_type=3), 5, "BILLS_RECEIVER"),
    (submit(2, fee_type="02"), 5, "BILLS_RECEIVER"),
    (submit(2, fee_code="000010"), 5, "BILLS_RECEIVER"),
    (submit(2, fee_code="0"), 5, "BILLS_RECEIVER"),
    (submit(2, registered_delivery=0), 1, "NO_REPORT"),
    (submit(2, registered_delivery=2), 1, "NO_REPORT"),
    (submit(2, msg_fmt=15), 1, "MSG_FMT"),
    (submit(2, msg_src="901235"), 11, "ACCOUNT"),
    (submit(2, src_id="1065"), 10, "SOURCE"),
    (submit(2, "您尾号0019"), 1, "TEXT"),
    (submit(2, "【另一家银行】您尾号0019"), 1, "SIGNATURE"),
    (submit(2, f"【{SIGNATURE}】" + "长" * 63), 6, "LENGTH"),
    (submit(2, TEXT.encode("utf-16-be")[:-1]), 1, "FORMAT"),
    (submit(2, TEXT.encode("utf-16-be") + b"\xd8\x3d"), 1, "FORMAT"),
    (submit(2, ""), 1, "FORMAT"),
    (submit(2, pk_total=2), 1, "UDH"),
    (submit(2, udh(1, 2) + TEXT.encode("utf-16-be"), tp_udhi=1), 1, "UDH"),
    (submit(2, udh(3, 2) + TEXT.encode("utf-16-be"), tp_udhi=1, pk_total=2, pk_number=3), 1, "UDH"),
    (submit(2, udh(1, 1) + TEXT.encode("utf-16-be"), tp_udhi=1), 1, "UDH"),
    (submit(2, b"\5\0\4" + udh(1, 2)[3:] + TEXT.encode("utf-16-be"), tp_udhi=1, pk_total=2), 1, "UDH"),
    (submit(2, udh(1, 2) + TEXT.encode("utf-16-be") + b"\xd8\x3d", tp_udhi=1, pk_total=2), 1, "UDH"),
    (submit(2, dest_type=1), 1, "FORMAT"),
    (submit(2, numbers=()), 1, "FORMAT"),
    (submit(2, service_id="B\0T"), 1, "FORMAT"),
    (submit(2, v3=False), 1, "FORMAT"),
    (head(4, 2, submit(2)[12:-1]), 4, "SIZE"),
    (submit(2, numbers=("0991-123456",)), 13, "BAD_NUMBER"),
]


@pytest.mark.parametrize(("pdu", "answer", "code"), REFUSED)
async def test_what_may_not_be_taken_is_refused(tmp_path: Path, pdu: bytes, answer: int, code: str) -> None:
    """Whatever bills the receiver, asks for no report, lacks its signature or breaks the form has a Result of its own
    and reaches nobody; only the first three are written down as breaches."""
    async with centre(tmp_path, "cmpp") as here:
        line = await bound(here)
        line.send(pdu)
        refused = await line.pdu()
        assert (result(refused), refused[12:20]) == (answer, bytes(8))
        assert here.rows("SELECT verdict, code FROM events WHERE kind = 'CALL'") == [("refused", code)]
        assert here.one("SELECT count(*) FROM messages WHERE code = 'OK'") == 0
        with read_only(here.directory) as ledger:
            assert breaches(ledger) == (code in ("BILLS_RECEIVER", "NO_REPORT", "MSG_FMT"))


async def test_a_part_that_does_not_fit_its_message_is_refused(tmp_path: Path) -> None:
    """Another total, or other words under a number that is taken, never become part of a message; the same part may."""
    first, second, third = parts()
    odd = submit(20, udh(1, 3) + TEXT.encode("utf-16-be"), tp_udhi=1, pk_total=3)
    short = submit(21, udh(2, 2) + LONG.encode("utf-16-be")[-40:], tp_udhi=1, pk_total=2, pk_number=2)
    async with centre(tmp_path, "cmpp", report_seconds=[900, 900]) as here:
        line = await bound(here)
        line.send(first, odd, short)
        assert [result(await line.pdu()) for _ in range(3)] == [0, 1, 1]
        line.send(first, second, third)
        assert {result(await line.pdu()) for _ in range(3)} == {0}
        assert here.rows("SELECT text FROM messages") == [(LONG,)]


async def test_a_seventeenth_unanswered_submit_is_refused(tmp_path: Path) -> None:
    """The window is 16: one more gets the flow-control Result and is written down, and later ones are taken again."""
    async with centre(tmp_path, "cmpp", answer_real_milliseconds=800, report_seconds=[900, 900]) as here:
        line = await bound(here)
        line.send(*(submit(n, TEXT + str(n)) for n in range(1, 18)))
        answer = await line.pdu()
        assert (int.from_bytes(answer[8:12]), result(answer)) == (17, 8)
        assert [result(await line.pdu()) for _ in range(16)] == [0] * 16
        assert here.rows("SELECT verdict, count(*) FROM events WHERE code = 'WINDOW'") == [("refused", 1)]
        line.send(submit(18))
        assert result(await line.pdu()) == 0
        line.send(submit(19, TEXT + "a"), submit(19, TEXT + "b"))
        assert result(await line.pdu()) == 3


async def test_reports_are_repeated_until_they_are_answered(tmp_path: Path) -> None:
    """An unanswered report comes again under its sequence, then the line is cut, and then on a new connection; an
    answer to something else is none."""
    async with centre(tmp_path, "cmpp") as here:
        line = await bound(here)
        line.send(submit(2))
        msg_id = (await line.pdu())[12:20]
        told = await line.pdu()
        line.send(head(0x80000005, 77, told[12:20] + bytes(4)), head(0x80000005, 1, bytes(12)))
        assert [await line.pdu(), await line.pdu()] == [told, told]
        assert await line.rest() == b""
        line = await bound(here)
        again = await line.pdu()
        assert again[-91:][:8] == msg_id
        line.send(heard(again))
        await here.until("SELECT count(*) FROM reported", 1)
        assert await line.silent(0.5)
        assert here.one("SELECT count(*) FROM sent") == 4
        assert here.rows("SELECT count(*) FROM events WHERE verdict = 'stray'") == [(2,)]


async def test_a_report_that_is_put_off_comes_again(tmp_path: Path) -> None:
    """Flow control from the customer is no answer, any other Result is a final one."""
    async with centre(tmp_path, "cmpp", callback_retry_real_milliseconds=10) as here:
        line = await bound(here)
        line.send(submit(2))
        await line.pdu()
        first = await line.pdu()
        line.send(heard(first)[:-1] + b"\x08")
        second = await line.pdu()
        assert second[-91:] == first[-91:]
        line.send(heard(second)[:-1] + b"\x09")
        await here.until("SELECT count(*) FROM reported", 1)
        verdicts = here.rows("SELECT verdict FROM events WHERE kind = 'CALLBACK' ORDER BY n")
        assert [verdict for (verdict,) in verdicts] == ["sent", "postponed", "sent", "refused"]


async def test_what_is_owed_survives_the_centre(tmp_path: Path) -> None:
    """A centre that starts again knows the parts it had, the reports it owes, and never gives an id twice."""
    async with centre(tmp_path, "cmpp", report_seconds=[1, 1]) as here:
        line = await bound(here)
        line.send(submit(2), *parts()[:1])
        ids = [(await line.pdu())[12:20] for _ in range(2)]
    async with centre(tmp_path, "cmpp", report_seconds=[1, 1]) as here:
        line = await bound(here)
        line.send(*parts()[1:])
        got = [await line.pdu() for _ in range(6)]
        ids += [each[12:20] for each in got if each[4] == 0x80]
        told = [each[-91:][:8] for each in got if each[4] == 0]
        assert len(set(ids)) == 4
        assert sorted(told) == sorted(ids)
        assert here.rows("SELECT text FROM messages ORDER BY units") == [(TEXT,), (LONG,)]


async def test_an_idle_line_is_tested_and_given_up(tmp_path: Path) -> None:
    """A silent customer is asked three times whether it lives; one that answers keeps its line."""
    async with centre(tmp_path, "cmpp", idle_real_milliseconds=120) as here:
        line = await bound(here)
        for _ in range(5):
            test = await line.pdu()
            assert test[4:8] == b"\0\0\0\x08"
            line.send(head(0x80000008, int.from_bytes(test[8:12]), b"\0"))
        assert [(await line.pdu())[4:8] for _ in range(3)] == [b"\0\0\0\x08"] * 3
        assert await line.rest() == b""
        await here.until("SELECT count(*) FROM events WHERE code = 'SILENT'", 1)


@pytest.mark.parametrize(
    ("octets", "code"),
    [(b"\0\0\0\x0b" + bytes(8), "LENGTH"), (b"\x7f" + bytes(11), "LENGTH"), (head(0x15, 2), "COMMAND")],
    ids=["short", "endless", "unknown"],
)
async def test_a_stream_of_something_else_is_ended(tmp_path: Path, octets: bytes, code: str) -> None:
    """Octets that are no CMPP end the connection with a reason in the ledger, and so does asking before CONNECT."""
    async with centre(tmp_path, "cmpp") as here:
        line = await bound(here)
        line.send(octets)
        assert await line.rest() == b""
        stranger = await here.line("cmpp")
        stranger.send(submit(1))
        assert await stranger.rest() == b""
        codes = here.rows("SELECT code FROM events WHERE verdict = 'broken' ORDER BY n")
        assert codes == [(code,), ("UNBOUND",)]
        assert here.one("SELECT count(*) FROM messages") == 0


def test_the_arithmetic_of_the_specification() -> None:
    """A customer's proof and a Msg_Id, as implementations elsewhere compute them."""
    proof = "90d00c1d517abd0b4f65f6bcf8535d16"
    assert codec.authenticator(b"900001", b"888888", 1021080510).hex() == proof
    moment = dt.datetime(2026, 10, 21, 8, 5, 10, tzinfo=dt.UTC)
    clock_bits = 0b1010_10101_01000_000101_001010
    assert int.from_bytes(codec.message_id(1, moment)) == clock_bits << 38 | 100_000 << 16 | 1
    assert codec.message_id((3 << 16) + 9, moment).hex() == "aaa0528186a30009"


async def test_the_centre_says_good_bye(tmp_path: Path) -> None:
    """Going down in order, the centre terminates its connections."""
    async with centre(tmp_path, "cmpp") as here:
        line = await bound(here)
    assert (await line.pdu())[4:8] == b"\0\0\0\2"
    assert await line.rest() == b""
