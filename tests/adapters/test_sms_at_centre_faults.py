"""CMPP 2.0, 3.0 and SMPP 3.4 at a centre that fails: whatever goes wrong with a SUBMIT, it is written once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from adapters.sms.contract import NotSent, SmsOutcome, SmsStatus
from adapters.sms.link.longtext import cut
from tests.adapters.sms_centre_kit import SHORT, TONGUES, long_text, message, open_provider, room
from tests.unit.centre_kit import ACCOUNT, SECRET, SOURCE, Here, centre
from tests.world.processes import Child, python_module
from tests.world.sms.config import PDU_FAULTS
from tests.world.sms_ledger import identity

pytestmark = pytest.mark.parametrize("tongue", TONGUES)

ARRIVES = {"accept_later", "drop_after", "timeout_after", "error_after", "garble_after", "unknown_sequence"}


@pytest.mark.parametrize("fault", PDU_FAULTS)
async def test_a_submit_that_goes_wrong_is_written_once(tmp_path: Path, tongue: str, fault: str) -> None:
    """Unknown, or documented as not taken; what arrived is told by its report and its serial; a second never comes."""
    async with room(tmp_path, tongue, calls={"13800000001": [fault]}, accept_later_seconds=1) as here:
        try:
            (result,) = await here.send(message(1))
            outcome = result.outcome.value
        except NotSent as problem:
            outcome = problem.code if not problem.hold else "HELD"
        assert outcome == {"throttle": "THROTTLED", "report_first": "ACCEPTED"}.get(fault, "UNKNOWN")
        assert here.centre.rows("SELECT fault FROM events WHERE kind = 'CALL'") == [(fault,)]  # it bit
        (other,) = await here.send(message(2))  # on the same connection or the next
        assert other.outcome is SmsOutcome.ACCEPTED
        serials = {1, 2} if fault in ARRIVES | {"report_first"} else {2}
        await here.hear(lambda heard: {each.serial for each in heard if each.modulus} == serials)
        assert {each.status for each in here.heard if each.modulus} == {SmsStatus.DELIVERED}
        assert here.centre.one("SELECT count(*) FROM events WHERE kind = 'CALL'") == 2
        await here.all_told()


async def test_a_report_overtakes_the_answer_of_its_submit(tmp_path: Path, tongue: str) -> None:
    """It is heard first, under the id that the answer then names."""
    async with room(tmp_path, tongue, calls={"*": ["report_first"]}, answer_real_milliseconds=400) as here:
        sending = asyncio.create_task(here.send(message(1)))
        (report,) = await here.hear(1)
        assert not sending.done()
        (result,) = await sending
        assert result.part_ids == (report.provider_id,)
        await here.all_told()


async def test_a_throttled_centre_keeps_the_rest_at_home(tmp_path: Path, tongue: str) -> None:
    """What was documented as not taken may travel later, and what was taken is not sent again with it."""
    async with room(tmp_path, tongue, calls={"13800000003": ["throttle"]}) as here:
        call = [message(serial) for serial in range(1, 41)]
        results = await here.send(*call)
        rest = [m for m, result in zip(call, results, strict=True) if result.outcome is SmsOutcome.NOT_TAKEN]
        assert message(3) in rest
        assert {each.outcome for each in results} == {SmsOutcome.ACCEPTED, SmsOutcome.NOT_TAKEN}
        assert {each.outcome for each in await here.send(*rest)} == {SmsOutcome.ACCEPTED}
        assert here.centre.one("SELECT count(*) FROM messages") == 40
        await here.all_told()


async def test_a_long_message_that_breaks_off_is_never_begun_again(tmp_path: Path, tongue: str) -> None:
    """The second of three is unanswered but taken: unknown, the third still goes, and the reports say delivered."""
    text = long_text(3)
    number = "8613800000001" if tongue == "smpp 3.4" else "13800000001"
    second = identity((number,), 2, 3, cut(text, 1)[1].body)  # how the centre names that SUBMIT
    async with room(tmp_path, tongue, calls={second: ["timeout_after"]}) as here:
        (result,) = await here.send(message(1, text))
        assert (result.outcome, len(result.part_ids)) == (SmsOutcome.UNKNOWN, 2)
        assert here.centre.rows("SELECT text, parts FROM messages") == [(text, 3)]
        assert {(each.serial, each.status) for each in await here.hear(3)} == {(1, SmsStatus.DELIVERED)}
        assert here.centre.one("SELECT count(*) FROM events WHERE kind = 'CALL'") == 3
        await here.all_told()


async def test_lost_answers_in_a_row_do_not_choke_the_window(tmp_path: Path, tongue: str) -> None:
    """Seventeen SUBMITs that nobody answers fill it; what had no place was not written, and the next call goes."""
    silent = {f"138{serial:08d}": ["timeout_after"] for serial in range(1, 18)}
    async with room(tmp_path, tongue, calls=silent) as here:
        results = await here.send(*(message(serial) for serial in range(1, 18)))
        outcomes = [each.outcome for each in results]
        assert (outcomes.count(SmsOutcome.UNKNOWN), outcomes.count(SmsOutcome.NOT_TAKEN)) == (16, 1)
        (other,) = await here.send(message(18))
        assert other.outcome is SmsOutcome.ACCEPTED
        await here.hear(lambda heard: len({each.serial for each in heard}) == 17)
        await here.all_told()


async def test_a_centre_that_is_killed_comes_back_and_so_do_we(tmp_path: Path, tongue: str) -> None:
    """kill -9 of the centre: its next life reports to our next connection what it took; nothing is sent again."""
    name = tongue.partition(" ")[0]
    child = Child(
        "sms_centre", python_module("tests.world.sms_centre", "--config", _config(tmp_path, tongue)), tmp_path
    )
    child.start()
    try:
        port = (await child.ready())["ports"][name]
        settings = json.loads((tmp_path / "sms_centre.json").read_text())
        settings["protocols"][name]["port"] = port  # the next life listens where the first did
        (tmp_path / "sms_centre.json").write_text(json.dumps(settings))
        provider = open_provider(tongue, tmp_path, port, limits={"connect_seconds": 10})
        (taken,) = await provider.send("1", [message(1)])
        assert taken.outcome is SmsOutcome.ACCEPTED
        child.kill()
        async with asyncio.timeout(5):
            while provider.connected:  # until then a SUBMIT would be written to nobody, and be unknown
                await asyncio.sleep(0.01)
        child.start()
        (other,) = await provider.send("2", [message(2)])
        assert other.outcome is SmsOutcome.ACCEPTED
        told: set[str] = set()
        async with asyncio.timeout(15):
            while told != {*taken.part_ids, *other.part_ids}:
                found = await provider.take_reports(10)
                told |= {each.provider_id for each in found}
                await provider.confirm_reports(len(found))
        await provider.close()
        here = Here(tmp_path / "centre", {})
        assert here.rows("SELECT phone FROM messages ORDER BY n") == [("13800000001",), ("13800000002",)]
    finally:
        child.stop(grace=5)


def _config(directory: Path, tongue: str) -> Path:
    name, _, version = tongue.partition(" ")
    (directory / "secret").write_bytes(SECRET + b"\n")
    door = {"account": ACCOUNT, "secret_file": "secret", "source": SOURCE}
    door |= {"version": version} if name == "cmpp" else {}
    path = directory / "sms_centre.json"
    sound = {"directory": "centre", "account": "bank", "key_file": "secret", "report_seconds": [2, 2]}
    path.write_text(json.dumps(sound | {"protocols": {name: door}}))
    return path


async def test_a_gateway_that_restarts_hears_what_it_had_not_confirmed(tmp_path: Path, tongue: str) -> None:
    """Its session ends with reports unconfirmed: the next session is given them again, and confirms."""
    async with room(tmp_path, tongue) as here:
        await here.send(message(1))
        async with asyncio.timeout(5):
            while not (before := await here.provider.take_reports(10)):
                pass
        await here.provider.close()
        assert here.centre.one("SELECT count(*) FROM reported") == 0
        name = tongue.partition(" ")[0]
        here.provider = open_provider(tongue, tmp_path, here.centre.ports[name])
        assert await here.hear(1) == before
        await here.all_told()


async def test_a_version_that_the_centre_does_not_speak_is_held(tmp_path: Path, tongue: str) -> None:
    """3.0 at a centre of 2.0 is refused in the widths of 2.0, and told as what it is; the others are at home."""
    if tongue != "cmpp 2.0":
        async with room(tmp_path, tongue) as here:
            assert (await here.send(message(1)))[0].outcome is SmsOutcome.ACCEPTED
        return
    async with centre(tmp_path, "cmpp", version="2.0") as there:
        provider = open_provider(tongue, tmp_path, there.ports["cmpp"], version="3.0")
        with pytest.raises(NotSent) as caught:
            await provider.send("1", [message(1, SHORT)])
        assert (caught.value.code, caught.value.hold) == ("LOGIN_VERSION", True)
        await provider.close()
