"""The kit and a rehearsal: what is wrong in one is said in plain words, and never passes for a kept promise."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.banks.json_https import PROFILE, JsonHttpsBank
from adapters.banks.json_https.rehearsal import JsonHttpsRehearsal
from adapters.conformance import (
    CannotSay,
    Golden,
    HttpReply,
    Kind,
    Occasion,
    Received,
    ReceivedLine,
    Reply,
    Request,
    Said,
    Site,
    Told,
    run,
)
from adapters.conformance.counterpart import Fault, Mishap
from adapters.conformance.keys import Keys
from adapters.conformance.recorded import Recorded
from adapters.conformance.run import CannotCheck, check
from adapters.conformance.streams import TcpBank
from adapters.contract import Evidence, Rendered
from adapters.wire.http import HttpWire, TlsFiles, client_tls
from gateway.cli.adapters import CORE

LINE = ReceivedLine("R1", "6299990000000000020", "张珅", 88_050)
SENT = Received("DF1", 1, 88_050, (LINE,), b"")
TOLD = Told(Occasion.RESULTS, SENT, (Said(LINE, 1, Occasion.CREDITED, 88_050, text="好"),))


class SaysNothing(JsonHttpsRehearsal):
    def answer(self, told: Told) -> HttpReply:
        raise CannotSay("the manual is lost")


class SaysLittle(JsonHttpsRehearsal):
    """Has no words for what an adapter likes best not to be asked."""

    def answer(self, told: Told) -> HttpReply:
        said = {told.occasion, *(each.occasion for each in told.lines)}
        if said & {Occasion.TAKEN_BEFORE, Occasion.IN_PROCESS, Occasion.RETURNED}:
            raise CannotSay("our manual has no such thing")
        return super().answer(told)


class FallsOver(JsonHttpsRehearsal):
    def answer(self, told: Told) -> HttpReply:
        raise KeyError("batchNo")


class ReadsNothing(JsonHttpsRehearsal):
    def read(self, request: Request) -> Received | None:
        return None


class UnderstandsNothing(JsonHttpsRehearsal):
    def read(self, request: Request) -> Received | None:
        raise ValueError("what is this?")


class SlipsAnAmount(JsonHttpsRehearsal):
    """Its bank reads one fen more than was sent."""

    def read(self, request: Request) -> Received | None:
        read = super().read(request)
        if read is None:
            return None
        first, *rest = read.lines
        more = dataclasses.replace(first, amount_fen=first.amount_fen + 1)
        return dataclasses.replace(read, lines=(more, *rest))


class OtherSample(JsonHttpsRehearsal):
    def golden(self) -> Golden:
        golden = super().golden()
        return dataclasses.replace(golden, payload=golden.payload.replace(b"CNY", b"USD"))


class WrongSettings(JsonHttpsRehearsal):
    def settings(self, site: Site, configured: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().settings(site, configured), "max_lines": "canary-value"}


def failures(rehearsal: type[JsonHttpsRehearsal], *cases: str) -> dict[str, str]:
    profile = dataclasses.replace(PROFILE, rehearsal=f"{__name__}:{rehearsal.__name__}")
    report = check(profile, CORE, only=cases)
    return {each.case.id: each.reason for each in report.results if each.case.id in report.failed}


@pytest.mark.parametrize(
    ("rehearsal", "case", "words"),
    [
        (SaysNothing, "taken", "the manual is lost"),
        (SaysNothing, "credited", "the manual is lost"),
        (SaysNothing, "unknown-code", "the manual is lost"),
        (SaysNothing, "not-found", "the manual is lost"),
        (SaysLittle, "taken-before", "no such thing"),
        (SaysLittle, "in-process", "no such thing"),
        (SaysLittle, "mixed-results", "no such thing"),
        (SaysLittle, "late-return", "no such thing"),
        (FallsOver, "taken", "the rehearsal"),
        (ReadsNothing, "sent-once", "0 times"),
        (ReadsNothing, "reset-after", "0 times"),
        (UnderstandsNothing, "arrives-as-written", "what is this?"),
        (SlipsAnAmount, "arrives-as-written", "another amount"),
        (OtherSample, "golden-bytes", "the first difference is at byte"),
    ],
)
def test_wrong_rehearsal_proves_nothing(rehearsal: type[JsonHttpsRehearsal], case: str, words: str) -> None:
    """A rehearsal that is silent, broken or blind fails the cases that rest on it: nothing passes without the bank."""
    assert words in failures(rehearsal, case)[case]


def test_profile_without_rehearsal_is_told_what_to_write() -> None:
    """No rehearsal, one that is not there, and settings that do not hold: plain words, and no value among them."""
    with pytest.raises(CannotCheck, match="is its manual"):
        check(dataclasses.replace(PROFILE, rehearsal=""), CORE)
    with pytest.raises(CannotCheck, match="cannot be loaded"):
        check(dataclasses.replace(PROFILE, rehearsal=f"{__name__}:Nobody"), CORE)
    with pytest.raises(CannotCheck, match="max_lines") as caught:
        failures(WrongSettings, "taken")
    assert "canary-value" not in str(caught.value)


class EndsTheProgram(JsonHttpsBank):
    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        raise SystemExit(0)


class CancelsItself(JsonHttpsBank):
    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        raise asyncio.CancelledError


@pytest.mark.parametrize("adapter", [EndsTheProgram, CancelsItself])
def test_adapter_that_ends_the_run_fails_the_case_and_not_the_kit(adapter: type[JsonHttpsBank]) -> None:
    """SystemExit or a cancellation out of an adapter is a failed case: the others follow, and the report is given."""
    report = check(dataclasses.replace(PROFILE, adapter=adapter.from_settings), CORE, only=["taken", "golden-bytes"])
    assert report.failed == ["taken"]
    assert report.summary()["cases"] == 2


def test_too_few_cases_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in which next to nothing could be tried is no check at all, whatever the few cases said."""
    cases = [case for case in run.CASES if case.id in ("golden-bytes", "code-table")]
    monkeypatch.setattr(run, "CASES", cases)
    with pytest.raises(CannotCheck, match="2 cases could be tried and 25 are needed"):
        check(PROFILE, CORE)
    assert check(PROFILE, CORE, only=["golden-bytes"]).failed == []


def test_unknown_case_is_refused() -> None:
    """A mistyped id does not pass for a case that was kept."""
    with pytest.raises(ValueError, match="no-such-case"):
        check(PROFILE, CORE, only=["no-such-case"])


@pytest.fixture
def exchanges(tmp_path: Path) -> Recorded:
    (tmp_path / "RESULTS.txt").write_bytes(b"{{submission}}|{{told_yuan}}\r\n{{lines}}")
    (tmp_path / "CREDITED.txt").write_text("{{number}}|{{reference}}|{{amount_fen}}|{{text}}", encoding="utf-8")
    (tmp_path / "http.txt").write_text("202\nX-A: b: c\n\n{{day}}{{more}}\n", encoding="utf-8")
    (tmp_path / "odd.txt").write_text("{{nothing_of_the_kind}}", encoding="utf-8")
    (tmp_path / "BUSY.cannot").write_text("this bank is never busy\n", encoding="utf-8")
    return Recorded(tmp_path, "gb18030")


def test_recorded_exchange_is_filled(exchanges: Recorded) -> None:
    """Placeholders take what is told, line ends stay those of the file, and the bank's encoding is used on the wire."""
    assert exchanges.text("RESULTS", TOLD) == "DF1|880.50\r\n1|R1|88050|好"
    assert exchanges.content("RESULTS", TOLD) == "DF1|880.50\r\n1|R1|88050|好".encode("gb18030")
    assert exchanges.http("http", TOLD, more="!") == HttpReply(202, b"20261124!", {"X-A": "b: c"})


def test_recorded_exchange_is_never_half_filled(exchanges: Recorded) -> None:
    """A placeholder that nobody fills is an error; what was not recorded cannot be said, with the author's reason."""
    with pytest.raises(ValueError, match="nothing_of_the_kind"):
        exchanges.text("odd", TOLD)
    with pytest.raises(CannotSay, match="never busy"):
        exchanges.text("BUSY", TOLD)
    with pytest.raises(CannotSay, match=r"TAKEN\.txt"):
        exchanges.text("TAKEN", TOLD)


class Frames:
    """A bank of frames: one digit says how many bytes follow; "p" pays, and anything else is a question."""

    kind = Kind.TCP

    def frame(self, buffer: bytes) -> int | None:
        return 1 + int(buffer[:1]) if buffer else None

    def framed(self, payload: bytes) -> bytes:
        return b"%d%b" % (len(payload), payload)

    def settings(self, site: Site, configured: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def read(self, request: Request) -> Received | None:
        return SENT if request.body[1:2] == b"p" else None

    def answer(self, told: Told) -> Reply:
        return self.framed(told.occasion.value[:7].encode())

    def golden(self) -> Golden:
        raise CannotSay("no sample")


async def talk(folder: Path, fault: Fault, *frames: bytes, at: int = 0) -> tuple[bytes, TcpBank]:
    """What a client gets that sends these frames one after the other, and reads until the bank is done."""
    keys, bank = Keys(folder), TcpBank(Frames())
    bank.mishap = Mishap(fault, at=at)
    await bank.start(keys, stranger=False)
    files = TlsFiles.model_validate(Site(folder, bank.port).tls())
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", bank.port, ssl=client_tls(files), server_hostname="localhost"
    )
    heard = b""
    try:
        for frame in frames:
            writer.write(frame)
            await writer.drain()
            async with asyncio.timeout(1):
                heard += await reader.read(100)
    except (TimeoutError, OSError, ssl.SSLError):
        heard += b"!"
    writer.close()
    await bank.stop()
    return heard, bank


@pytest.mark.parametrize(
    ("fault", "at", "heard", "arrived"),
    [
        (Fault.NONE, 0, b"5TAKEN", 1),
        (Fault.CUT, 500, b"5TA", 1),
        (Fault.CUT_BODY, 500, b"2TA", 1),
        (Fault.TWICE, 0, b"5TAKEN5TAKEN", 1),
        (Fault.HANG_UP, 0, b"", 1),
        (Fault.SILENCE, 0, b"!", 1),
        (Fault.RESET_BEFORE_TAKING, 0, b"", 0),
        (Fault.RESET_AFTER_TAKING, 0, b"", 1),
    ],
)
async def test_frames_meet_every_fault(tmp_path: Path, fault: Fault, at: int, heard: bytes, arrived: int) -> None:
    """The bank of framed TCP cuts its requests by the rehearsal's word, and commits each fault on the line itself."""
    said, bank = await talk(tmp_path, fault, b"2pa", at=at)
    assert said.removesuffix(b"!") == heard.removesuffix(b"!")
    assert len(bank.record.arrivals) == arrived
    assert bank.mishap.fired == (fault is not Fault.NONE)


async def test_frame_in_pieces_is_one_request(tmp_path: Path) -> None:
    """A question is counted as one, is no arrival, and is answered by what the bank has."""
    said, bank = await talk(tmp_path, Fault.NONE, b"2pa", b"2q?")
    assert said == b"5TAKEN5TAKEN"
    assert (len(bank.record.arrivals), bank.record.questions) == (1, 1)
