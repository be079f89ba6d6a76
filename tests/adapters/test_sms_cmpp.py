"""CMPP against a hand-written gateway: bytes by the published layout, free to the receiver, nothing sent twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sms.cmpp import codec
from adapters.sms.cmpp import provider as cmpp
from adapters.sms.contract import NotSent, PushedReport, PushesReports, SmsMessage, SmsOutcome, SmsStatus
from adapters.sms.link.longtext import cut, units_per_part
from adapters.sms.link.provider import BillsReceiver
from adapters.sms.link.session import Malformed
from schemas.masked import Phone
from tests.adapters.cmpp_kit import SECRET, STAMP, Peer, pdu, provider, settings

TEXT = "【某某农商银行】您好"
LONG = "【某某农商银行】" + "长" * 90


def message(serial: int, text: str = TEXT, phone: str = "13800000001") -> SmsMessage:
    return SmsMessage(f"1-{serial}-1-ARRIVAL", Phone(phone), text, serial)


class World:
    def __init__(self, peer: Peer, provider: cmpp.CmppProvider) -> None:
        self.peer = peer
        self.provider = provider

    async def reports(self, count: int) -> list[PushedReport]:
        async with asyncio.timeout(5):
            while len(found := await self.provider.take_reports(100)) < count:
                pass
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    peer = Peer()
    sut = provider(tmp_path, await peer.start())
    yield World(peer, sut)
    await sut.close()
    await peer.stop()


def test_connect_and_submit_have_the_published_bytes() -> None:
    """Every field of CONNECT and of both versions' SUBMIT stands where the specification puts it."""
    proof = hashlib.md5(b"900001" + bytes(9) + SECRET + STAMP.encode()).digest()
    expected = pdu(1, 7, b"900001" + proof + b"\x20" + int(STAMP).to_bytes(4, "big"))
    assert codec.connect(codec.V20, 7, "900001", SECRET, STAMP) == expected
    fields = codec.Submit(
        2, 1, 1, "SUBSIDY", 2, 1, 8, "900001", "01", "000000", "1069000100000123", "13800000001", b"\x05\x00\x03", 0
    )
    head = bytes(8) + b"\2\1\1\0" + b"SUBSIDY\0\0\0" + b"\2"
    middle = b"\0\1\x08" + b"900001" + b"01" + b"000000" + bytes(34) + b"1069000100000123".ljust(21, b"\0") + b"\1"
    content = b"\3\x05\x00\x03"
    v20 = head + bytes(21) + middle + b"13800000001".ljust(21, b"\0") + content + bytes(8)
    assert codec.submit(codec.V20, 9, fields) == pdu(4, 9, v20)
    v30 = head + bytes(32) + b"\0" + middle + b"13800000001".ljust(32, b"\0") + b"\0" + content + bytes(20)
    assert codec.submit(codec.V30, 9, fields) == pdu(4, 9, v30)


def test_a_report_of_either_version_is_read_field_by_field() -> None:
    """DELIVER and the status report in it, in the widths of 2.0 and 3.0; its answer repeats the DELIVER's Msg_Id."""
    for version, width, trailer, types in ((codec.V20, 21, 8, b""), (codec.V30, 32, 20, b"\0")):
        report = b"ABCDEFGH" + b"UNDELIV" + b"2611241000" * 2 + b"13800000001".ljust(width, b"\0") + bytes(4)
        body = b"12345678" + b"1069".ljust(21, b"\0") + bytes(13) + b"13800000001".ljust(width, b"\0") + types
        body += b"\1" + bytes((len(report),)) + report + bytes(trailer)
        deliver = codec.read(version, pdu(5, 3, body)).body
        assert isinstance(deliver, codec.Deliver)
        assert (deliver.msg_id, deliver.dest_id, deliver.registered_delivery) == (b"12345678", "1069", 1)
        assert codec.status_report(version, deliver.content) == codec.StatusReport(
            b"ABCDEFGH", "UNDELIV", "13800000001"
        )
        assert codec.deliver_resp(version, 3, deliver.msg_id) == pdu(0x80000005, 3, b"12345678" + bytes(version.status))


@pytest.mark.parametrize(
    "frame",
    [
        pdu(0x80000004, 1, bytes(8)),
        pdu(0x80000004, 1, bytes(10)),
        pdu(99, 1),
        pdu(4, 1),
        pdu(5, 1, bytes(70) + b"\xff" * 9),
    ],
)
def test_bytes_that_are_no_pdu_are_malformed(frame: bytes) -> None:
    """Too short, too long, an unknown command, one of ours sent back, a length beyond the frame."""
    with pytest.raises(Malformed):
        codec.read(codec.V20, frame)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400), st.sampled_from([8, 16]))
def test_parts_joined_are_the_text_and_no_pair_is_torn(text: str, bits: int) -> None:
    """Each part decodes by itself, has room, and all of them are the text again; one part up to 70 units."""
    parts = cut(text, 300, bits)
    units = len(text.encode("utf-16-be")) // 2
    assert (len(parts) == 1) == (units <= 70)
    assert "".join(part.body.decode("utf-16-be") for part in parts) == text
    assert all(len(part.content) <= 140 for part in parts)
    if len(parts) > 1:
        assert all(len(part.body) // 2 <= units_per_part(bits) for part in parts)
        heads = [part.header for part in parts]
        start = b"\x05\x00\x03\x2c" if bits == 8 else b"\x06\x08\x04\x01\x2c"
        assert heads == [start + bytes((len(parts), number)) for number in range(1, len(parts) + 1)]


async def test_a_message_arrives_free_with_a_report_asked_for(world: World) -> None:
    """The three fields that make it free, the report, UCS-2, the sender's number with the serial, and the text."""
    (result,) = await world.provider.send("1", [message(123)])
    assert result.outcome is SmsOutcome.ACCEPTED
    assert result.part_ids == ((1000).to_bytes(8, "big").hex(),)
    (seen,) = world.peer.submits
    assert (seen.body[22], seen.body[53:55], seen.body[55:61], seen.body[10]) == (2, b"01", b"000000", 1)
    assert (seen.body[46], seen.src_id, seen.number) == (8, b"1069000100000123", b"13800000001")
    assert seen.content.decode("utf-16-be") == TEXT


@pytest.mark.parametrize(
    "broken", [{"fee_user_type": 0}, {"fee_type": "02"}, {"fee_code": "000010"}, {"registered_delivery": 0}]
)
@pytest.mark.parametrize("version", ["2.0", "3.0"])
async def test_bytes_that_bill_the_receiver_never_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: dict[str, object], version: str
) -> None:
    """Whichever of the fields somebody breaks, nothing is sent, and it is told as a fault to hold for."""
    fields = {**cmpp.FREE_TO_RECEIVER, **broken}
    guilty = codec.Submit(
        1, 1, service_id="", tp_udhi=0, msg_fmt=8, msg_src="900001", src_id="1069",
        dest_terminal_id="13800000001", msg_content=b"", **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(BillsReceiver):
        cmpp.assert_free(codec.VERSIONS[version], codec.submit(codec.VERSIONS[version], 1, guilty))
    peer = Peer()
    sut = provider(tmp_path, await peer.start())
    sound = codec.submit
    monkeypatch.setattr(codec, "submit", lambda v, s, m: sound(v, s, guilty))
    with pytest.raises(NotSent) as caught:
        await sut.send("1", [message(1)])
    assert (caught.value.code, caught.value.hold, peer.submits) == ("BILLS_RECEIVER", True, [])
    await sut.close()
    await peer.stop()


async def test_a_report_is_given_until_it_is_confirmed_and_answered_only_then(world: World) -> None:
    """Nothing is answered before the core has it; the same report is given again until then."""
    assert isinstance(world.provider, PushesReports)
    await world.provider.send("1", [message(123)])
    world.peer.report(world.peer.submits[0])
    for _ in range(2):
        (report,) = await world.reports(1)
        assert (report.status, report.serial, report.modulus) == (SmsStatus.DELIVERED, 123, 10**8)
        assert report.phone is not None
        assert report.phone.reveal() == "13800000001"
    assert world.peer.others == []
    await world.provider.confirm_reports(1)
    await asyncio.sleep(0.1)
    assert [other[:2] for other in world.peer.others] == [(0x80000005, 77)]


async def test_the_window_is_never_above_sixteen(world: World) -> None:
    """A silent gateway sees sixteen SUBMITs and no more; those are unknown and what never left is not."""
    world.peer.on_submit = lambda seen: None
    results = await world.provider.send("1", [message(number) for number in range(1, 31)])
    outcomes = [result.outcome for result in results]
    assert outcomes.count(SmsOutcome.UNKNOWN) == 16
    assert outcomes.count(SmsOutcome.NOT_TAKEN) == 14
    assert len(world.peer.submits) == world.peer.most_unanswered == 16


async def test_an_answer_that_comes_too_late_still_names_its_message(world: World) -> None:
    """The outcome was unknown by then; the late Msg_Id comes as a report with the exact serial."""
    world.peer.on_submit = lambda seen: None
    (result,) = await world.provider.send("1", [message(5)])
    assert result.outcome is SmsOutcome.UNKNOWN
    world.peer.answer(world.peer.submits[0])
    (report,) = await world.reports(1)
    assert (report.provider_id, report.serial, report.modulus) == ((1000).to_bytes(8, "big").hex(), 5, 0)
    assert report.status is SmsStatus.PENDING


async def test_after_a_cut_the_connection_comes_back_and_nothing_is_sent_again(world: World) -> None:
    """A SUBMIT on a connection that died is unknown; the next connection carries only what is new."""

    def hang_up(seen: object) -> None:
        world.peer.writers[-1].transport.abort()

    world.peer.on_submit = hang_up
    (result,) = await world.provider.send("1", [message(1)])
    assert result.outcome is SmsOutcome.UNKNOWN
    world.peer.on_submit = lambda seen: 0
    (result,) = await world.provider.send("2", [message(2)])
    assert result.outcome is SmsOutcome.ACCEPTED
    assert (len(world.peer.logins), len(world.peer.submits)) == (2, 2)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(4, SmsOutcome.REFUSED), (13, SmsOutcome.UNKNOWN), (200, SmsOutcome.UNKNOWN), (3, SmsOutcome.UNKNOWN)],
)
async def test_what_a_result_means_is_a_table(world: World, code: int, outcome: SmsOutcome) -> None:
    """A listed refusal is final; a code that 2.0 does not list, such as 3.0's 13, is no answer."""
    world.peer.on_submit = lambda seen: code
    (result,) = await world.provider.send("1", [message(1)])
    assert result.outcome is outcome


@pytest.mark.parametrize(("code", "hold"), [(8, False), (5, True)])
async def test_throttled_or_wrongly_configured_is_not_sent(world: World, code: int, hold: bool) -> None:
    """Throttling passes by itself; a wrong tariff is told to a person. Neither burns the queue."""
    world.peer.on_submit = lambda seen: code
    with pytest.raises(NotSent) as caught:
        await world.provider.send("1", [message(1)])
    assert caught.value.hold is hold


async def test_a_long_message_is_whole_or_not_at_all(world: World) -> None:
    """Both parts taken: two ids. One part refused: the message is refused. One part unanswered: unknown."""
    (result,) = await world.provider.send("1", [message(1, LONG)])
    assert (result.outcome, len(result.part_ids)) == (SmsOutcome.ACCEPTED, 2)
    first, second = world.peer.submits
    assert (first.body[8:10], second.body[8:10], first.body[45]) == (b"\2\1", b"\2\2", 1)
    joined = first.content[6:] + second.content[6:]
    assert joined.decode("utf-16-be") == LONG
    for answer, outcome in ((4, SmsOutcome.REFUSED), (8, SmsOutcome.REFUSED), (None, SmsOutcome.UNKNOWN)):
        world.peer.on_submit = lambda seen, answer=answer: answer if seen.body[9] == 2 else 0  # type: ignore[misc]
        (result,) = await world.provider.send("2", [message(2, LONG)])
        assert result.outcome is outcome


async def test_a_refused_login_sends_nothing_and_says_why(world: World) -> None:
    """A wrong secret is a hold: nobody was written to and a person must act."""
    world.peer.login_status = 3
    with pytest.raises(NotSent) as caught:
        await world.provider.send("1", [message(1)])
    assert (caught.value.code, caught.value.hold, world.peer.submits) == ("LOGIN_SECRET", True, [])


async def test_a_quiet_line_is_tested_and_a_close_says_goodbye(world: World) -> None:
    """ACTIVE_TEST when nothing was heard, TERMINATE at the end."""
    await world.provider.send("1", [message(1)])
    async with asyncio.timeout(5):
        while not any(command == 8 for command, _, _ in world.peer.others):
            await asyncio.sleep(0.05)
    await world.provider.close()
    assert world.peer.others[-1][0] == 2


def test_settings_leave_room_for_the_reference(tmp_path: Path) -> None:
    """Service number and reference together must fit what networks carry."""
    with pytest.raises(ValueError, match="at most 20"):
        settings(tmp_path, 1, service_number="1" * 13)


def test_the_free_fields_cannot_be_changed_in_passing() -> None:
    """The one place that says who pays is read-only."""
    assert isinstance(cmpp.FREE_TO_RECEIVER, MappingProxyType)
    assert dict(cmpp.FREE_TO_RECEIVER) == {
        "fee_user_type": 2, "fee_type": "01", "fee_code": "000000", "registered_delivery": 1,
    }  # fmt: skip
