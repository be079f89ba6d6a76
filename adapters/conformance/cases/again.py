"""Cases about what comes again: the second transmission, in fair weather and foul, and the process that starts anew.

The core sends a submission a second time only when it is certain that the bank has none of it. So in these cases the
bank has lost what it was sent, and says so when it is asked; what then goes wrong goes wrong as it may the first time.
"""

from __future__ import annotations

from contextlib import suppress

from adapters.conformance import expect
from adapters.conformance.case import Broken, NotApplicable, case, require
from adapters.conformance.counterpart import Fault, Mishap
from adapters.conformance.hearing import Heard
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import CannotSay, Kind, Occasion, Received
from adapters.conformance.room import Room
from adapters.conformance.tree import FileBank
from adapters.contract import Proof

_AT_THE_BANK = frozenset({Proof.RECEIVED, Proof.IN_PROCESS})
# What each answer to a submission may be taken for, the first time and any other.
_WORTH = {
    Occasion.TAKEN: expect.OPEN,
    Occasion.TAKEN_BEFORE: expect.OPEN,
    Occasion.FORMAT_REFUSED: frozenset({Proof.NOT_TAKEN}),
    Occasion.FUNDS_SHORT: frozenset({Proof.NOT_TAKEN}),
    Occasion.BUSY: frozenset({Proof.NOT_TAKEN, Proof.IN_DOUBT}),
    Occasion.ERROR_AFTER_TAKING: expect.OPEN,
    Occasion.ODD_CODE: expect.OPEN,
    Occasion.NO_CODE: expect.OPEN,
}


async def _sent_and_lost(room: Room) -> Received:
    """What the bank read of a first transmission that it has forgotten since."""
    room.render()
    first = await room.submit()
    expect.only(first, expect.OPEN, "of a submission that was sent")
    original = room.record.arrivals[0].received if room.record.arrivals else None
    if original is None:
        raise Broken("the bank cannot read what arrived")
    room.forget()
    room.bank.script.on_submission = Occasion.TAKEN
    return original


@case(
    "resend",
    "The second transmission carries the same references, lines and bytes under the same number, and is marked as one.",
    essential=True,
)
async def resend(kit: Kit) -> None:
    for anew in (False, True):
        async with kit.room() as room:
            original = await _sent_and_lost(room)
            if anew:
                await room.restart()
            await room.resubmit()
            expect.sent_once(room)
            again = room.received()
            require(again.reference == original.reference, "it went out under another number")
            references = [[line.reference for line in each.lines] for each in (original, again)]
            require(references[0] == references[1], "it went out under other references")
            require(again.same == original.same, "its bytes are not those of the first time")
            require(not original.resend, "the first transmission is marked as one that may have come before")
            require(again.resend is not False, "the bank has a mark for what may have come before, and it is missing")


@case(
    "resend-lost",
    "A second transmission without an answer is doubt like the first, and is not tried again.",
    essential=True,
)
async def resend_lost(kit: Kit) -> None:
    faults = [Fault.RESET_BEFORE_TAKING, Fault.RESET_AFTER_TAKING, Fault.SILENCE]
    if kit.rehearsal.kind is not Kind.SFTP:
        faults += [Fault.HANG_UP, Fault.NOISE, Fault.PLAIN_TEXT, Fault.PROXY_ERROR]
    for fault in faults:
        async with kit.room() as room:
            await _sent_and_lost(room)
            room.bank.mishap = Mishap(fault)
            words = f"when the second transmission meets {fault.replace('_', ' ').lower()}"
            expect.doubt(await room.resubmit(), words)
            require(room.bank.mishap.fired == 1, f"submit() tried again by itself {words}")
            require(len(room.record.arrivals) <= 1, f"submit() sent more than once {words}")


@case("resend-answered", "What the bank answers to a second transmission proves what it proves of a first.")
async def resend_answered(kit: Kit) -> None:
    said = 0
    for occasion, worth in _WORTH.items():
        with suppress(NotApplicable, CannotSay):
            async with kit.room() as room:
                await _sent_and_lost(room)
                words = f"when a second transmission is answered {occasion.replace('_', ' ').lower()}"
                room.bank.script.on_submission = occasion
                sent = await room.resubmit()
                room.explain()
                expect.sent_once(room)
                heard = [sent]
                if isinstance(room.bank, FileBank):
                    expect.only(sent, expect.OPEN, "of a second transmission")
                    heard = await room.hear(occasion)
                for one in heard:
                    if one.evidence:
                        expect.only(one, worth | expect.OPEN if not one.must_tell else worth, words)
                said += 1
    require(said, "the rehearsal could say nothing at all of a submission")


@case("resend-known", "What the bank turns out to have is asked about, and no second transmission makes it less.")
async def resend_known(kit: Kit) -> None:
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        room.bank.script.on_submission, room.bank.script.on_question = Occasion.TAKEN_BEFORE, Occasion.TAKEN
        again = await room.resubmit()
        room.explain()
        expect.only(again, expect.OPEN, "of a second transmission to a bank that has the first")
        require(len(room.record.arrivals) <= 2, "one call of submit() sent more than once")


@case(
    "resend-after-refusal", "What the bank refused as a whole and takes later is at the bank: an old refusal is over."
)
async def resend_after_refusal(kit: Kit) -> None:
    async with kit.room() as room:
        for one in await room.answer_to_submission(Occasion.FUNDS_SHORT):
            if one.evidence:
                expect.only(one, {Proof.NOT_TAKEN}, "of a submission that is not covered")
        room.bank.script.on_submission, room.bank.script.on_question = Occasion.TAKEN, Occasion.NOT_FOUND
        again = await room.resubmit()
        room.explain()
        require(len(room.record.arrivals) == 2, "what the bank had refused was not sent again when it was due")
        expect.only(again, expect.OPEN, "of a second transmission that the bank takes")
        told = [await room.probe()] if isinstance(room.bank, FileBank) else []
        expect.each_way(
            [*told, *await room.hear(Occasion.TAKEN)], _AT_THE_BANK, "of what the bank took the second time"
        )


@case(
    "started-anew",
    "A process that starts anew asks, hears and reports as the old one would: memory decides nothing.",
    essential=True,
)
async def started_anew(kit: Kit) -> None:
    async with kit.room() as room:
        sent = await room.answer_to_submission(Occasion.TAKEN)
        await room.restart()
        asked = await room.hear(Occasion.TAKEN) if kit.rehearsal.kind is not Kind.SFTP else [await room.probe()]
        expect.each_way(asked, _AT_THE_BANK, "when a process that did not send it asks about a submission")
        await room.restart()
        first = await room.results(
            room.said(Occasion.CREDITED), room.said(Occasion.REJECTED, line=1), room.said(Occasion.IN_PROCESS, line=2)
        )
        credited, rejected, _ = room.received().lines
        expect.line_is(first, credited.reference, {Proof.CREDITED}, "of a credited line, to a process that is new")
        expect.line_is(first, rejected.reference, {Proof.REJECTED}, "of a refused line, to a process that is new")
        await room.restart()
        told = await room.collect(room.cursor)
        require(not told.artefacts, "what was heard comes again under its cursor after a restart")
        news = [sent, asked, first]
        if room.can.return_horizon_days:
            news.append(await room.results(room.said(Occasion.RETURNED, booking=2)))
        ends = [_end(room, line, news) for line in (0, 1)]
        due = [("RETURNED" if len(news) > 3 else "CREDITED", False), ("REJECTED", False)]
        require(ends == due, f"the core makes {ends} of what processes heard that came one after the other")


def _end(room: Room, line: int, news: list[list[Heard]]) -> tuple[str, bool]:
    payee = room.received().lines[line]
    evidence = [each for heard in news for way in heard if way.counts for each in way.of(payee.reference)]
    outcome = room.kit.core.outcome(evidence, payee.reference, payee.amount_fen)
    return outcome.state, outcome.conflict
