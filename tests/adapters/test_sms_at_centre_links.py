"""CMPP 2.0, 3.0 and SMPP 3.4 at the simulated centre: logins, texts and who pays for them, reports of every kind."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapters.sms.cmpp import codec as cmpp_codec
from adapters.sms.cmpp import provider as cmpp
from adapters.sms.contract import NotSent, SmsOutcome, SmsStatus
from adapters.sms.smpp import codec as smpp_codec
from adapters.sms.smpp import provider as smpp
from tests.adapters.sms_centre_kit import PLANNED, SHORT, TONGUES, long_text, message, open_provider, room
from tests.unit.centre_kit import centre
from tests.world.sms import cmpp_codec as centre_cmpp
from tests.world.sms import smpp_codec as centre_smpp
from tests.world.sms_ledger import breaches, read_only

pytestmark = pytest.mark.parametrize("tongue", TONGUES)


async def test_people_get_their_texts_whole_and_free(tmp_path: Path, tongue: str) -> None:
    """One to four parts, Uyghur and surrogate pairs: equal in the centre's ledger, paid by us, delivered, once each."""
    texts = [SHORT, *(long_text(parts) for parts in (2, 3, 4))]
    async with room(tmp_path, tongue) as here:
        results = await here.send(*(message(serial, text) for serial, text in enumerate(texts, 1)))
        assert {each.outcome for each in results} == {SmsOutcome.ACCEPTED}
        assert here.centre.rows("SELECT phone, text, parts, billed, status FROM messages ORDER BY phone") == [
            (f"138{n:08d}", text, n, "SENDER", "DELIVRD") for n, text in enumerate(texts, 1)
        ]
        reports = await here.hear(10)
        assert Counter(each.provider_id for each in reports) == Counter(i for each in results for i in each.part_ids)
        assert Counter(each.serial for each in reports) == {1: 1, 2: 2, 3: 3, 4: 4}
        assert {(each.status, each.modulus) for each in reports} == {(SmsStatus.DELIVERED, 10**8)}
        assert {each.phone.reveal() for each in reports if each.phone} == {f"138{n:08d}" for n in (1, 2, 3, 4)}
        await here.all_told()


async def test_a_wrong_secret_is_told_and_held(tmp_path: Path, tongue: str) -> None:
    """Nobody is written to, and the code names the account, not the network."""
    async with centre(tmp_path, tongue[:4]) as here:
        provider = open_provider(tongue, tmp_path, here.ports[tongue[:4]], secret=b"wrong")
        with pytest.raises(NotSent) as caught:
            await provider.send("1", [message(1)])
        assert (caught.value.code, caught.value.hold) == ("LOGIN_SECRET", True)
        assert here.rows("SELECT DISTINCT verdict, code FROM events WHERE kind = 'LINK' AND verdict = 'refused'") == [
            ("refused", "KEY")
        ]
        assert here.one("SELECT count(*) FROM events WHERE kind = 'CALL'") == 0
        await provider.close()


async def test_a_hundred_messages_keep_to_the_window(tmp_path: Path, tongue: str) -> None:
    """Sixteen SUBMITs are unanswered at most, in a centre that refuses the seventeenth; all arrive."""
    async with room(tmp_path, tongue, answer_real_milliseconds=30) as here:
        results = await here.send(*(message(serial) for serial in range(1, 101)))
        assert {each.outcome for each in results} == {SmsOutcome.ACCEPTED}
        await here.hear(100)
        await here.all_told()


FREE_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("cmpp", {"fee_user_type": 0}, "BILLS_RECEIVER"),
    ("cmpp", {"fee_user_type": 3}, "BILLS_RECEIVER"),
    ("cmpp", {"fee_type": "02"}, "BILLS_RECEIVER"),
    ("cmpp", {"fee_code": "000010"}, "BILLS_RECEIVER"),
    ("cmpp", {"registered_delivery": 0}, "NO_REPORT"),
    ("cmpp", {"msg_fmt": 0}, "MSG_FMT"),
    ("smpp", {"registered_delivery": 0}, "NO_REPORT"),
    ("smpp", {"data_coding": 0}, "MSG_FMT"),
]


async def test_the_centre_refuses_what_would_not_be_free(
    tmp_path: Path, tongue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: each field broken behind the provider's own check is a breach in the ledger, and reaches nobody."""
    monkeypatch.setattr(cmpp, "assert_free", lambda version, frame: None)
    monkeypatch.setattr(smpp, "assert_reported", lambda frame: None)
    submit, write = cmpp_codec.submit, smpp_codec.write
    for at, (protocol, broken, code) in enumerate(FREE_FIELDS):
        if not tongue.startswith(protocol):
            continue
        (directory := tmp_path / str(at)).mkdir()

        def guilty(version: Any, sequence: int, fields: Any, broken: dict[str, Any] = broken) -> bytes:
            given = {name: getattr(fields, name) for name in fields.__slots__}
            return submit(version, sequence, cmpp_codec.Submit(**(given | broken)))

        def also(name: str, sequence: int, status: int = 0, broken: Any = broken, **fields: Any) -> bytes:
            return write(name, sequence, status, **(fields | (broken if name == "submit_sm" else {})))

        monkeypatch.setattr(cmpp_codec, "submit", guilty)
        monkeypatch.setattr(smpp_codec, "write", also)
        async with room(directory, tongue) as here:
            outcome = ""
            try:
                (result,) = await here.send(message(1))
                outcome = result.outcome.value
            except NotSent as refused:
                outcome = "HELD" if refused.hold else "NOT_SENT"
            assert outcome == ("UNKNOWN" if (protocol, code) == ("smpp", "MSG_FMT") else "HELD")  # 0x45 says too little
            assert here.centre.rows("SELECT code FROM events WHERE kind = 'CALL'") == [(code,)]
            with read_only(here.centre.directory) as ledger:
                assert breaches(ledger) == 1
            assert here.centre.one("SELECT count(*) FROM messages") == 0


async def test_reports_of_every_fate(tmp_path: Path, tongue: str) -> None:
    """Delivered, undelivered, twice and late are heard as they are; a lost one is not; a refused number is final."""
    fates = dict(zip((f"138{n:08d}" for n in range(2, 7)), FATES, strict=True))
    async with room(tmp_path, tongue, numbers=fates, late_seconds=1) as here:
        results = await here.send(*(message(serial) for serial in range(1, 7)))
        refused_at_once = tongue != "cmpp 2.0"  # 2.0 has no word for a bad number: the report says so
        assert (results[5].outcome is SmsOutcome.REFUSED) == refused_at_once
        assert {each.outcome for each in results[:5]} == {SmsOutcome.ACCEPTED}
        await here.hear(4 if refused_at_once else 5)
        told = {each.serial: each.status for each in here.heard}
        expected = {1: SmsStatus.DELIVERED, 2: SmsStatus.UNDELIVERED, 4: SmsStatus.DELIVERED, 5: SmsStatus.DELIVERED}
        assert told == expected | ({} if refused_at_once else {6: SmsStatus.UNDELIVERED})
        assert here.centre.one(PLANNED) == len(here.heard) + 1  # the second copy comes a minute later
        here.kept_the_rules()


FATES = ("undelivered", "report_lost", "report_twice", "report_late", "refuse_number")


async def test_a_report_is_repeated_until_it_is_confirmed(tmp_path: Path, tongue: str) -> None:
    """The same DELIVER on the wire again is given again, harmlessly; nothing is answered before it was taken over."""
    async with room(tmp_path, tongue, report_repeat_real_milliseconds=100) as here:
        await here.send(message(1))
        await here.centre.until("SELECT count(*) >= 2 FROM sent", 1)
        assert here.centre.one("SELECT count(*) FROM reported") == 0
        first, second, *_ = await here.hear(2)
        assert first == second
        await here.all_told()


async def test_a_full_report_queue_leaves_the_rest_with_the_centre(tmp_path: Path, tongue: str) -> None:
    """What does not fit is not answered, so it comes again; none is lost."""
    limits = {"waiting_reports": 16}
    async with room(tmp_path, tongue, limits=limits, report_repeat_real_milliseconds=200) as here:
        await here.send(*(message(serial) for serial in range(1, 41)))
        await here.centre.until("SELECT count(*) >= 15 FROM sent", 1)
        await asyncio.sleep(0.3)
        assert len(await here.provider.take_reports(1000)) <= 16
        await here.hear(lambda heard: len({each.serial for each in heard}) == 40)
        await here.all_told()


async def test_a_delivery_that_cannot_be_read_is_refused_and_counted(
    tmp_path: Path, tongue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that is none, and a body that is none: refused for good, counted, and the reports behind them heard."""
    broken = iter((_no_report, _no_body))
    for codec in (centre_cmpp, centre_smpp):

        def deliver(*given: Any, sound: Any = codec.deliver) -> bytes:
            octets: bytes = sound(*given)
            return next(broken, lambda whole: whole)(octets)

        monkeypatch.setattr(codec, "deliver", deliver)
    async with room(tmp_path, tongue) as here:
        await here.send(*(message(serial) for serial in (1, 2, 3)))
        (report,) = await here.hear(1)
        assert report.status is SmsStatus.DELIVERED
        await here.centre.until("SELECT count(*) FROM events WHERE verdict = 'refused' AND kind = 'CALLBACK'", 2)
        assert here.provider.unreadable == 2
        assert here.centre.one("SELECT count(*) FROM events WHERE verdict = 'bound'") == 1


def _no_report(octets: bytes) -> bytes:
    """The report's own name is gone: of its content in CMPP, of both its places in SMPP."""
    if b"stat:" in octets:
        at = octets.index(b"id:")
        return octets[: at + 3].replace(b"id:", b"xx:") + octets[at + 3 :].replace(b"\0\x1e\0\x0b", b"\0\x99\0\x0b")
    at = octets.index(b"DELIVRD") - 9  # the length of the content
    tail = octets[at + 1 + octets[at] :]
    whole = octets[:at] + bytes([octets[at] - 1]) + octets[at + 1 : at + octets[at]] + tail
    return len(whole).to_bytes(4) + whole[4:]


def _no_body(octets: bytes) -> bytes:
    return (len(octets) - 3).to_bytes(4) + octets[4:-3]


async def test_the_line_is_tested_by_both_sides(tmp_path: Path, tongue: str) -> None:
    """ACTIVE_TEST or enquire_link when it is quiet, from us and from the centre: one connection, ended in order."""
    for ours, theirs in ((1, 20_000), (20, 150)):
        (directory := tmp_path / str(ours)).mkdir()
        async with room(directory, tongue, limits={"idle_seconds": ours}, idle_real_milliseconds=theirs) as here:
            await here.send(message(1))
            await asyncio.sleep(1.5)
            assert here.provider.connected
            await here.provider.close()
            await here.centre.until("SELECT count(*) FROM events WHERE verdict = 'ended'", 1)
            assert here.centre.one("SELECT count(*) FROM events WHERE verdict = 'bound'") == 1


WRITTEN = ("bind_transceiver", "submit_sm", "deliver_sm_resp", "unbind")  # all that SMPP writes here but life signs


async def test_a_centre_that_is_no_longer_heard_is_given_up(
    tmp_path: Path, tongue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three life signs without an answer: the connection is ended, and a new one stands."""
    for codec, name, written in (
        (cmpp_codec, "active_test", cmpp_codec.active_test),
        (smpp_codec, "write", smpp_codec.write),
    ):

        def unheard(*given: Any, sound: Any = written, **fields: Any) -> bytes:
            octets: bytes = sound(*given, **fields)
            return octets if given[0] in WRITTEN else b""

        monkeypatch.setattr(codec, name, unheard)
    async with room(tmp_path, tongue, limits={"idle_seconds": 1}) as here:
        await here.send(message(1))
        await here.hear(1)
        async with asyncio.timeout(15):
            while here.centre.one("SELECT count(*) FROM events WHERE verdict = 'bound'") < 2:
                await asyncio.sleep(0.1)
        (result,) = await here.send(message(2))
        assert result.outcome is SmsOutcome.ACCEPTED
