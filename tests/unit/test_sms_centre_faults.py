"""Each fault of the centre's CMPP side fires, does what it is called, and stands in the ledger; SMPP's likewise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.centre_kit import PHONE, Here, Line, centre
from tests.unit.cmpp_kit import TEXT, bound, head, heard, parts, result, submit
from tests.unit.smpp_kit import bound as smpp_bound
from tests.unit.smpp_kit import submit_sm
from tests.world.sms import reports
from tests.world.sms.config import MESSAGE_FAULTS, PDU_FAULTS, TAKES_NOTHING, Config
from tests.world.sms.fate import Programme
from tests.world.sms_ledger import identity

NEVER = [900, 900]
# What seed 1 drew for HTTP calls "0" to "11", eight in a hundred of each fault, when HTTP was the only protocol.
DRAWN_BEFORE = [
    "",
    "error_before",
    "drop_after",
    "",
    "drop_after",
    "throttle",
    "error_before",
    "",
    "timeout_after",
    "drop_after",
    "garble_after",
    "timeout_before",
]


async def cut(line: Line) -> bool:
    return await line.rest() == b""


async def check_cmpp(fault: str, line: Line) -> None:
    """What a customer sees of each fault after SUBMIT number 2."""
    if fault in ("drop_before", "drop_after", "accept_later"):
        assert await cut(line)
    elif fault in ("timeout_before", "timeout_after"):
        line.send(head(8, 3))
        assert (await line.pdu())[:12] == head(0x80000008, 3, b"\0")[:12]  # alive, and still no answer
        assert await line.silent()
    elif fault in ("error_before", "error_after"):
        assert result(await line.pdu()) == 99
    elif fault == "throttle":
        assert result(await line.pdu()) == 8
    elif fault == "unknown_sequence":
        answer = await line.pdu()
        assert answer[8:12] != b"\0\0\0\2"
        assert result(answer) == 0
        assert await line.silent()


@pytest.mark.parametrize("fault", [fault for fault in PDU_FAULTS if fault not in ("garble_after", "report_first")])
async def test_a_fault_of_a_call_fires(tmp_path: Path, fault: str) -> None:
    """A planned fault strikes the first arrival, is seen by the customer, is written down with whether the message was
    taken, and the same SUBMIT again is plainly answered."""
    async with centre(tmp_path, "cmpp", calls={PHONE: [fault]}, report_seconds=NEVER) as here:
        line = await bound(here)
        line.send(submit(2))
        await check_cmpp(fault, line)
        taken = fault not in TAKES_NOTHING
        verdict = "taken" if taken else "refused" if fault == "throttle" else "lost"
        assert here.rows("SELECT verdict, fault FROM events WHERE kind = 'CALL'") == [(verdict, fault)]
        assert here.one("SELECT count(*) FROM messages") == taken
        late = here.one("SELECT coalesce(max(taken_at_ms), 0) FROM messages") - here.one(
            "SELECT max(at_ms) FROM events"
        )
        assert (late > 200_000) == (fault == "accept_later")
        line = await bound(here)
        line.send(submit(5))
        assert result(await line.pdu()) == 0
        assert here.one("SELECT count(*) FROM messages GROUP BY ref") == 1 + taken
        assert here.one("SELECT count(DISTINCT batch_id) FROM events WHERE kind = 'CALL'") == 1


@pytest.mark.parametrize(("sequence", "seen"), [(2, 16), (3, 24)], ids=["half", "endless"])
async def test_an_answer_is_garbled(tmp_path: Path, sequence: int, seen: int) -> None:
    """A garbled answer is half of one and a closed line, or one that claims to be two gigabytes long."""
    async with centre(tmp_path, "cmpp", calls={"*": ["garble_after"]}, report_seconds=NEVER) as here:
        line = await bound(here)
        line.send(submit(sequence))
        octets = await line.reader.readexactly(seen)
        assert octets[:4] == (b"\0\0\0\x18" if sequence == 2 else b"\x7f\xff\xff\xff")
        assert octets[4:12] == b"\x80\0\0\4\0\0\0" + bytes([sequence])
        assert await (cut(line) if sequence == 2 else line.silent())
        assert here.rows("SELECT fault, verdict FROM events WHERE kind = 'CALL'") == [("garble_after", "taken")]


async def test_a_report_overtakes_its_answer(tmp_path: Path) -> None:
    """With `report_first` the report of a message comes before its SUBMIT_RESP; of a long one, only where there is
    something to report, and only then is the fault written down."""
    async with centre(tmp_path, "cmpp", calls={"*": ["report_first"]}, report_seconds=NEVER) as here:
        line = await bound(here)
        line.send(submit(2))
        told, answer = await line.pdu(), await line.pdu()
        assert (told[4:8], result(answer)) == (b"\0\0\0\5", 0)
        assert told[-91:][:8] == answer[12:20]
        line.send(heard(told), *parts())
        await here.until("SELECT count(*) FROM reported", 1)
        got = [await line.pdu() for _ in range(3 + 3)]
        last = next(each for each in got if each[4:12] == b"\x80\0\0\4" + (13).to_bytes(4))
        early = next(each for each in got if each[-91:][:8] == last[12:20])
        assert got.index(early) < got.index(last)
        faults = here.rows("SELECT fault FROM events WHERE kind = 'CALL' ORDER BY n")
        assert faults == [("report_first",), ("",), ("",), ("report_first",)]


async def fated(here: Here, fault: str, line: Line) -> None:
    """What a customer hears of a message with a fate."""
    if fault == "report_lost":
        assert await line.silent()
        return
    deliver = await line.pdu()
    assert deliver[-91:][8:15] == (b"UNDELIV" if fault == "undelivered" else b"DELIVRD")
    line.send(heard(deliver))
    if fault == "report_twice":
        again = await line.pdu()
        assert again[-91:] == deliver[-91:]
        line.send(heard(again))
    await here.until("SELECT count(*) FROM reported", 2 if fault == "report_twice" else 1)
    assert await line.silent()


@pytest.mark.parametrize("fault", MESSAGE_FAULTS)
async def test_a_fate_is_kept(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undelivered, lost, late, twice: what is planned for a number happens to its message, and the ledger says so."""
    monkeypatch.setattr(reports, "AGAIN_MS", 100)
    async with centre(tmp_path, "cmpp", numbers={PHONE: fault}, late_seconds=1) as here:
        line = await bound(here)
        line.send(submit(2))
        assert result(await line.pdu()) == 0
        if fault == "report_late":
            assert await line.silent(0.5) is True
        await fated(here, fault, line)
        billed = "RECEIVER" if fault == "bill_receiver" else "SENDER"
        assert here.rows("SELECT fault, billed FROM messages") == [(fault, billed)]


@pytest.mark.parametrize("version", [0x20, 0x30])
async def test_a_number_is_refused(tmp_path: Path, version: int) -> None:
    """3.0 has a Result for a bad number; 2.0 has none, so there the message is taken and reported as rejected."""
    async with centre(tmp_path, "cmpp", numbers={PHONE: "refuse_number"}) as here:
        line = await bound(here, version)
        line.send(submit(2, v3=version == 0x30))
        assert result(await line.pdu()) == (13 if version == 0x30 else 0)
        if version == 0x20:
            deliver = await line.pdu()
            assert b"REJECTD" in deliver
        assert here.rows("SELECT code, billed, fault FROM messages") == [("BAD_NUMBER", "NOBODY", "refuse_number")]


async def test_a_forged_report_names_nobody(tmp_path: Path) -> None:
    """Before the true report comes one with opposite news about an id that was never given."""
    async with centre(tmp_path, "cmpp", rates={"callback_forged": 10_000}) as here:
        line = await bound(here)
        line.send(submit(2))
        answer, forged, true = [await line.pdu() for _ in range(3)]
        assert forged[-91:][:15] == b"\xff" * 8 + b"UNDELIV"
        assert true[-91:][:15] == answer[12:20] + b"DELIVRD"
        line.send(heard(forged), heard(true))
        await here.until("SELECT count(*) FROM reported", 1)
        assert here.one("SELECT count(*) FROM events WHERE fault = 'callback_forged' AND verdict = 'forged'") == 1


SMPP_STATUS = {"error_before": 8, "error_after": 8, "throttle": 0x58, "unknown_sequence": 0}


@pytest.mark.parametrize("fault", PDU_FAULTS)
async def test_the_same_faults_fire_in_smpp(tmp_path: Path, fault: str) -> None:
    """Every fault of a call exists in SMPP too and stands in the ledger with whether the message was taken."""
    async with centre(tmp_path, "smpp", calls={"*": [fault]}, report_seconds=NEVER) as here:
        line = await smpp_bound(here)
        line.send(submit_sm(2))
        if fault in SMPP_STATUS:
            answer = await line.pdu()
            assert int.from_bytes(answer[8:12]) == SMPP_STATUS[fault]
            assert (answer[12:16] != b"\0\0\0\2") == (fault == "unknown_sequence")
        elif fault == "report_first":
            assert [(await line.pdu())[4:8] for _ in range(2)] == [b"\0\0\0\5", b"\x80\0\0\4"]
        elif fault.startswith("timeout"):
            assert await line.silent()
        else:
            octets = await line.rest()
            assert len(octets) == (18 if fault == "garble_after" else 0)
        expected = [("CALL", "refused" if fault == "throttle" else "lost" if fault in TAKES_NOTHING else "taken")]
        assert here.rows(f"SELECT kind, verdict FROM events WHERE fault = '{fault}'") == expected
        assert here.one("SELECT count(*) FROM messages") == (fault not in TAKES_NOTHING)


def config(directory: Path, **keys: Any) -> Config:
    return Config(directory, "bank", directory, **keys)


def test_new_faults_leave_the_old_draws_alone(tmp_path: Path) -> None:
    """A seed gives an HTTP call the fault that it always gave, and a SUBMIT the same wherever HTTP has it."""
    rates = dict.fromkeys(PDU_FAULTS, 800)
    programme = Programme(config(tmp_path, rates=rates))
    for name in map(str, range(500)):
        drawn = programme.call(name, 0, faults=PDU_FAULTS)
        assert programme.call(name, 0) == (drawn if drawn not in PDU_FAULTS[-2:] else "")
    assert {programme.call(str(name), 0, faults=PDU_FAULTS) for name in range(500)} == {"", *PDU_FAULTS}
    assert [programme.call(str(name), 0) for name in range(12)] == DRAWN_BEFORE


def test_a_plan_of_another_protocol_does_not_fire(tmp_path: Path) -> None:
    """A plan for everything may name what only PDUs know: HTTP calls are spared; a number's own plan comes first."""
    programme = Programme(config(tmp_path, calls={"*": ["report_first"], PHONE: ["throttle"]}))
    assert programme.call("7", 0) == ""
    assert programme.call(identity("x"), 0, faults=PDU_FAULTS, number="13900000000") == "report_first"
    assert programme.call(identity("x"), 0, faults=PDU_FAULTS, number=PHONE) == "throttle"


async def test_faults_do_not_depend_on_the_order(tmp_path: Path) -> None:
    """The same texts in another order draw the same fates: a run that is repeated goes wrong in the same places."""
    seen = []
    for order in (1, -1):
        directory = tmp_path / str(order)
        directory.mkdir()
        rates = dict.fromkeys(MESSAGE_FAULTS, 1500)
        async with centre(directory, "cmpp", rates=rates, report_seconds=NEVER) as here:
            line = await bound(here)
            for n in range(1, 31)[::order]:
                line.send(submit(n, TEXT + str(n)))
                await line.pdu()
            seen.append(here.rows("SELECT text, fault FROM messages ORDER BY text"))
    assert seen[0] == seen[1]
    assert len({fault for _, fault in seen[0]}) > 3
