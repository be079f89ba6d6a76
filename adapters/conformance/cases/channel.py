"""Cases about the way to the bank: what breaks there says where the money is, or that nobody knows."""

from __future__ import annotations

from contextlib import suppress

from adapters.conformance import expect
from adapters.conformance.case import Broken, NotApplicable, NotConfigured, case, require
from adapters.conformance.counterpart import Fault, Party
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import CannotSay, Kind, Occasion
from adapters.conformance.streams import TcpBank
from adapters.conformance.tree import FileBank
from adapters.contract import Proof

_THOUSANDTHS = (0, 20, 150, 400, 700, 990)
SILENT_ON_FILES = "a bank of files says nothing on the line that could be changed there"


@case(
    "connect-refused", "A bank that cannot be reached was sent nothing, and nothing is learned from it.", essential=True
)
async def connect_refused(kit: Kit) -> None:
    async with kit.room(closed=True) as room:
        room.render()
        expect.only(await room.submit(), {Proof.NOT_SENT}, "when the connection is refused")
        asked = await room.probe()
        expect.teaches_nothing(asked, "when the connection is refused")
        require(asked.raised is not None or asked.evidence, "probe() finds a bank that is not there to know nothing")
        require((await room.ping()).raised is not None, "ping() says that a bank is there which is not")


@case("stranger", "To a bank with another certificate or host key nothing is sent.", essential=True)
async def stranger(kit: Kit) -> None:
    async with kit.room(stranger=True) as room:
        if isinstance(room.bank, TcpBank) and room.bank.private:
            raise NotConfigured("no TLS is configured: on a private line whoever answers is the bank")
        room.render()
        expect.only(await room.submit(), {Proof.NOT_SENT}, "to a stranger")
        expect.teaches_nothing(await room.probe(), "when a stranger answers")
        require(not room.record.arrivals, "a stranger was sent the submission")


@case("reset-before", "A connection that breaks at the first paying byte, or at the rename, is doubt.", essential=True)
async def reset_before(kit: Kit) -> None:
    async with kit.room(Fault.RESET_BEFORE_TAKING) as room:
        room.render()
        expect.doubt(await room.submit(), "when the connection breaks at the first paying byte")
        require(not room.record.arrivals, "submit() sent the same thing again by itself")
        require(room.bank.mishap.fired == 1, "submit() tried again by itself after a paying request broke")


@case("reset-after", "A connection that breaks after the bank took the submission is doubt.", essential=True)
async def reset_after(kit: Kit) -> None:
    await _lost(kit, Fault.RESET_AFTER_TAKING, "when the connection breaks after the bank took the submission")


@case("answer-lost", "No answer in time is doubt, never a failure.", essential=True)
async def answer_lost(kit: Kit) -> None:
    await _lost(kit, Fault.SILENCE, "when no answer comes in time")


@case("hung-up", "A bank that takes the submission and hangs up without a word leaves doubt.")
async def hung_up(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable(SILENT_ON_FILES)
    await _lost(kit, Fault.HANG_UP, "when the bank hangs up without a word")


async def _lost(kit: Kit, fault: Fault, occasion: str) -> None:
    async with kit.room(fault) as room:
        room.render()
        expect.doubt(await room.submit(), occasion)
        expect.sent_once(room)


@case("error-after-taking", "An error of the bank's systems, or of a proxy before them, is doubt.")
async def error_after_taking(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable(SILENT_ON_FILES)
    async with kit.room(Fault.PROXY_ERROR) as room:
        room.render()
        expect.doubt(await room.submit(), "when a proxy answers with an error")
        expect.sent_once(room)
    # A bank that documents no such answer has shown enough with the first.
    with suppress(NotApplicable):
        async with kit.room() as room:
            for heard in await room.answer_to_submission(Occasion.ERROR_AFTER_TAKING):
                expect.only(heard, expect.OPEN, "after an error of the bank's systems")
            expect.sent_once(room)


@case("garbage", "What is no answer of the manual (noise, a sentence, a redirect, a torn encoding) is doubt.")
async def garbage(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable(SILENT_ON_FILES)
    for fault in (Fault.NOISE, Fault.PLAIN_TEXT, Fault.WRONG_ENCODING, Fault.REDIRECT):
        if fault is Fault.REDIRECT and kit.rehearsal.kind is not Kind.HTTP:
            continue
        async with kit.room(fault) as room:
            room.render()
            expect.doubt(await room.submit(), f"when the answer is {fault.replace('_', ' ').lower()}")
            expect.sent_once(room)


@case("answer-cut", "An answer cut anywhere is doubt, also where somebody framed the rest anew.")
async def answer_cut(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable("the files of this bank are cut in artefact-cut")
    for fault in (Fault.CUT, Fault.CUT_BODY):
        for at in _THOUSANDTHS:
            async with kit.room(fault, at=at) as room:
                room.render()
                expect.doubt(await room.submit(), f"when only {at} thousandths of the answer came")
                expect.sent_once(room)


@case("slow-answer", "An answer in small pieces says what it says, and one that never ends is given up as doubt.")
async def slow_answer(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable(SILENT_ON_FILES)
    async with kit.room(Fault.SLOW) as room:
        room.render()
        expect.only(await room.submit(), {Proof.RECEIVED, Proof.IN_PROCESS}, "though a slow answer was complete")
        expect.sent_once(room)
    async with kit.room(Fault.ENDLESS) as room:
        room.render()
        expect.doubt(await room.submit(), "when an answer never ends")
        expect.sent_once(room)


@case("answer-twice", "An answer that comes twice on the line is one answer, and the next question gets its own.")
async def answer_twice(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable(SILENT_ON_FILES)
    async with kit.room(Fault.TWICE) as room:
        room.render()
        expect.only(await room.submit(), expect.OPEN, "when the answer came twice")
        expect.sent_once(room)
    async with kit.room(Fault.TWICE, Party.QUESTION) as room:
        room.render()
        await room.submit()
        for _ in range(2):
            expect.teaches_nothing(await room.probe(), "when the answer to a question came twice")


@case(
    "question-lost",
    "A question without a usable answer teaches nothing: above all not that nothing was taken.",
    essential=True,
)
async def question_lost(kit: Kit) -> None:
    faults = [Fault.SILENCE, Fault.RESET_BEFORE_TAKING]
    if kit.rehearsal.kind is not Kind.SFTP:
        faults += [Fault.HANG_UP, Fault.NOISE, Fault.PLAIN_TEXT, Fault.WRONG_ENCODING, Fault.PROXY_ERROR]
    for fault in faults:
        async with kit.room(hurried=fault is Fault.SILENCE) as room:
            room.render()
            await room.submit()
            room.bank.mishap.fault, room.bank.mishap.party = fault, Party.QUESTION
            room.bank.mishap.fired = 0
            expect.teaches_nothing(await room.probe(), f"when a question meets {fault.replace('_', ' ').lower()}")
            expect.sent_once(room)


@case("question-cut", "An answer to a question, cut anywhere, closes no line and frees none.")
async def question_cut(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable("the files of this bank are cut in artefact-cut")
    for fault in (Fault.CUT, Fault.CUT_BODY):
        for at in _THOUSANDTHS:
            async with kit.room() as room:
                await room.submit()
                room.bank.script.on_question = Occasion.RESULTS
                room.bank.script.lines = tuple(room.said(Occasion.CREDITED, line=line) for line in range(3))
                room.bank.mishap.fault, room.bank.mishap.party, room.bank.mishap.at = fault, Party.QUESTION, at
                expect.teaches_nothing(await room.probe(), f"when only {at} thousandths of an answer came")


@case("ping-harmless", "A ping reaches the bank and moves nothing.")
async def ping_harmless(kit: Kit) -> None:
    async with kit.room() as room:
        room.bank.script.on_question = Occasion.NOT_FOUND
        heard = await room.ping()
        room.explain()
        require(heard.raised is None, f"ping() raised {type(heard.raised).__name__} though the bank was there")
        require(not heard.crossed or not room.record.arrivals, "ping() sent something that pays")
        require(not room.record.arrivals and not room.record.changes, "ping() changed something at the bank")


@case("probe-read-only", "A question changes nothing at the bank.", essential=True)
async def probe_read_only(kit: Kit) -> None:
    async with kit.room() as room:
        await room.submit()
        arrivals, changes = len(room.record.arrivals), list(room.record.changes)
        for occasion in (Occasion.TAKEN, Occasion.RESULTS, None):
            questions = room.record.questions
            await room.probe()
            require(room.record.questions > questions, "probe() asked the bank nothing")
            require(len(room.record.arrivals) == arrivals, "probe() sent something that pays")
            require(
                room.record.changes == changes,
                "probe() wrote, renamed or removed something at the bank"
                + (" before" if occasion else " after")
                + " results came",
            )
            if occasion is None:
                break
            room.bank.script.on_question = occasion
            room.bank.script.lines = (room.said(Occasion.CREDITED), room.said(Occasion.REJECTED, line=1))
            if isinstance(room.bank, FileBank):
                room.bank.speak()


@case("sent-once", "Whatever the bank answers, one call of submit sends once.", essential=True)
async def sent_once(kit: Kit) -> None:
    said = 0
    for occasion in (
        Occasion.TAKEN,
        Occasion.TAKEN_BEFORE,
        Occasion.FORMAT_REFUSED,
        Occasion.FUNDS_SHORT,
        Occasion.BUSY,
        Occasion.ERROR_AFTER_TAKING,
        Occasion.ODD_CODE,
        Occasion.NO_CODE,
    ):
        try:
            async with kit.room() as room:
                room.bank.script.on_submission = occasion
                await room.submit()
                expect.sent_once(room)
                said += 1
        except (NotApplicable, CannotSay):
            continue
    if not said:
        raise Broken("the rehearsal could say nothing at all of a submission")
