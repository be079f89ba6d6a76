"""Cases about answers that are whole and well-formed, and not the bank's word on what was asked.

Three things make an answer ours: it is about our submission, it answers this question and no earlier one, and the bank
has sealed it. The first holds for every bank, because an answer names what it is about, or comes where nothing else
can come. The others hold where the bank's channel promises them, which its rehearsal says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from adapters.conformance import expect
from adapters.conformance.between import Between, Exchange
from adapters.conformance.case import Broken, NotApplicable, case, require
from adapters.conformance.counterpart import Arrival, Party, wall_time
from adapters.conformance.hearing import Heard
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import (
    CannotSay,
    HttpReply,
    Kind,
    Occasion,
    ReceivedLine,
    RehearsesBoundAnswers,
    RehearsesForgeries,
    Reply,
    Request,
    Said,
    Told,
)
from adapters.conformance.room import Room
from adapters.conformance.tree import FileBank
from adapters.contract import AnswerKind

_OF_A_SUBMISSION = (Occasion.FORMAT_REFUSED, Occasion.FUNDS_SHORT, Occasion.TAKEN)
_MOST_QUESTIONS = 6


# --- about another submission ----------------------------------------------------------------------------------------


@case(
    "answer-of-another",
    "An answer that is about another submission, whoever mixed them up, closes nothing and frees nothing.",
)
async def answer_of_another(kit: Kit) -> None:
    if kit.rehearsal.kind is Kind.SFTP:
        await _file_of_another(kit)
        return
    tried = 0
    for crossed in (True, False):
        for occasion in _OF_A_SUBMISSION:
            with suppress(CannotSay):
                tried += await _reply_of_another(kit, occasion, crossed=crossed)
        tried += await _results_of_another(kit, crossed=crossed)
    if not tried:
        raise NotApplicable("no answer of this bank names what it is about, so none can be told from another")


@asynccontextmanager
async def _beside_another(kit: Kit) -> AsyncIterator[tuple[Room, Between, Arrival]]:
    """A room whose bank has another submission already, which then waits for ours."""
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        other = room.record.arrivals[-1]
        room.render()
        yield room, _between(room), other


async def _reply_of_another(kit: Kit, occasion: Occasion, *, crossed: bool) -> bool:
    """The reply to a submission. ``crossed``: the very one that belongs to the other; else one that the bank gives to
    ours, and means the other. False where the two cannot be told apart."""
    async with _beside_another(kit) as (room, between, other):
        differs: list[bool] = []

        def instead(exchange: Exchange) -> Reply:
            ours = room.record.arrivals[-1]
            asked = other.request if crossed else exchange.request
            reply = _about(kit, other, occasion, asked)
            differs.append(_content(reply, crossed) != _content(_about(kit, ours, occasion, exchange.request), crossed))
            return reply

        _about(kit, other, occasion, other.request)  # CannotSay, before anything is sent
        between.put(instead, Party.SUBMISSION)
        heard = await room.submit()
        _was_given(room, between)
        if all(differs):
            words = occasion.replace("_", " ").lower()
            expect.doubt(heard, f"when the answer ({words}) is that to another submission")
        return all(differs)


async def _results_of_another(kit: Kit, *, crossed: bool) -> int:
    """Each answer to a question in turn: all lines of the other are credited, and of ours the bank knows nothing."""
    tried, questions, place = 0, 1, 0
    while place < min(questions, _MOST_QUESTIONS):
        async with _beside_another(kit) as (room, between, other):
            credited = tuple(
                Said(line, number, Occasion.CREDITED, line.amount_fen)
                for number, line in enumerate(_lines_of(other), start=1)
            )
            theirs = await _their_answers(room, between, credited) if crossed else []
            await room.submit()

            def instead(exchange: Exchange) -> Reply:
                if crossed:
                    return theirs[min(place, len(theirs) - 1)].reply  # noqa: B023
                return _about(kit, other, Occasion.RESULTS, exchange.request, credited)  # noqa: B023

            before = len(between.said(Party.QUESTION))
            between.put(instead, Party.QUESTION, place)
            expect.teaches_nothing(await room.probe(), f"when answer {place + 1} to a question is about another")
            questions = len(between.said(Party.QUESTION)) - before
            if place < questions:
                _was_given(room, between)
                tried += 1
        place += 1
    return tried


async def _their_answers(room: Room, between: Between, credited: tuple[Said, ...]) -> list[Exchange]:
    """The answers that the other submission gets when it is asked about."""
    ours, script = room.rendered, room.bank.script
    room.rendered = room.renderings[0]
    script.on_question, script.lines = Occasion.RESULTS, credited
    await room.probe()
    room.rendered, script.on_question, script.lines = ours, Occasion.TAKEN, ()
    return between.said(Party.QUESTION)


async def _file_of_another(kit: Kit) -> None:
    """What the bank writes about another, under the name that it would have if it were about ours."""
    tried = 0
    for occasion in (Occasion.FORMAT_REFUSED, Occasion.RESULTS):
        with suppress(CannotSay, NotApplicable):
            async with kit.room() as room:
                await room.submit()
                ours, rendered = room.received().reference, room.rendered
                room.render()
                await room.submit()
                theirs = room.received().reference
                tried += await _renamed(room, occasion, theirs, ours)
                room.rendered = rendered
                expect.teaches_nothing(await room.probe(), "when a file about another bears its name")
                for artefact, _ in (await room.collect(room.cursor)).artefacts:
                    if ours in artefact.name:
                        told = Heard("parse", room.parse(artefact) or [])
                        expect.teaches_nothing(told, "of a file that is named for another submission than its content")
    if not tried:
        raise NotApplicable("the files of this bank are not named for a submission")


async def _renamed(room: Room, occasion: Occasion, theirs: str, ours: str) -> int:
    """Has the bank write about one, and gives what it wrote the name of the other; how many files that were."""
    bank = room.bank
    if not isinstance(bank, FileBank):
        raise NotApplicable("this bank writes no files")
    before = bank.snapshot()
    bank.script.on_question = occasion
    bank.script.lines = tuple(room.said(Occasion.REJECTED, line=line) for line in range(3))
    bank.speak()
    written = [path for path, content in bank.snapshot().items() if before.get(path) != content and theirs in path]
    published = [path for path in written if bank.at(path).read_bytes() not in before.values()]
    for path in published:
        bank.at(path).rename(bank.at(path.replace(theirs, ours)))
    return len(published)


# --- of earlier, and sealed by nobody --------------------------------------------------------------------------------


@case("answer-replayed", "An old answer to the same question, played back later, is no answer.")
async def answer_replayed(kit: Kit) -> None:
    bound = kit.rehearsal
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable("a bank of files answers no questions")
    if not isinstance(bound, RehearsesBoundAnswers):
        raise NotApplicable("nothing in this bank's answers is said to belong to one question (is_bound)")
    async with kit.room() as room:
        between = _between(room)
        room.render()
        room.bank.script.on_question = Occasion.NOT_FOUND
        await room.probe()
        room.explain()
        old = [each.reply for each in between.said(Party.QUESTION) if bound.is_bound(each.request)]
        require(old, "a probe asks nothing to which the answer is bound")
        room.bank.script.on_question = Occasion.TAKEN
        await room.submit()
        between.put(lambda _: old[min(between.given, len(old)) - 1], Party.QUESTION)
        expect.teaches_nothing(await room.probe(), 'when an old answer ("never had it") is played back')
        _was_given(room, between)
    with suppress(CannotSay, NotApplicable):
        await _old_refusal(kit, bound)


async def _old_refusal(kit: Kit, bound: RehearsesBoundAnswers) -> None:
    async with kit.room() as room:
        between = _between(room)
        room.bank.script.on_submission = Occasion.FUNDS_SHORT
        await room.submit()
        room.explain()
        refused = between.said(Party.SUBMISSION)[-1]
        if not bound.is_bound(refused.request):
            return
        room.forget()
        room.bank.script.on_submission = Occasion.TAKEN
        between.put(lambda _: refused.reply, Party.SUBMISSION)
        expect.doubt(await room.resubmit(), "when the refusal of the first transmission is played back to the second")
        _was_given(room, between)


@case("answer-forged", "An answer without the bank's signature or MAC, or changed under it, proves nothing.")
async def answer_forged(kit: Kit) -> None:
    forger = kit.rehearsal
    if kit.rehearsal.kind is Kind.SFTP:
        raise NotApplicable("the files of this bank are changed in artefact-altered")
    if not isinstance(forger, RehearsesForgeries):
        raise NotApplicable("this bank's answers bear no signature of their own (forged)")
    async with kit.room() as room:
        await room.submit()
        told = room.told(Occasion.TAKEN)
        ways = list(forger.forged(dataclasses.replace(told, request=told.arrived)))
    require(ways, "the rehearsal forges nothing")
    for way in ways:
        for occasion in (Occasion.TAKEN, Occasion.FORMAT_REFUSED):
            with suppress(CannotSay):
                await _forged_reply(kit, forger, way, occasion)
        for occasion in (Occasion.NOT_FOUND, Occasion.RESULTS):
            await _forged_results(kit, forger, way, occasion)


async def _forged_reply(kit: Kit, forger: RehearsesForgeries, way: str, occasion: Occasion) -> None:
    async with kit.room() as room:
        between = _between(room)
        between.put(
            lambda exchange: forger.forged(
                dataclasses.replace(room.told(occasion), lines=(), request=exchange.request)
            )[way],
            Party.SUBMISSION,
        )
        expect.doubt(await room.submit(), f"when the answer has {way}")
        expect.sent_once(room)
        _was_given(room, between)


async def _forged_results(kit: Kit, forger: RehearsesForgeries, way: str, occasion: Occasion) -> None:
    questions, place = 1, 0
    while place < min(questions, _MOST_QUESTIONS):
        async with kit.room() as room:
            between = _between(room)
            await room.submit()
            script = room.bank.script
            script.on_question = occasion
            script.lines = tuple(room.said(Occasion.CREDITED, line=line) for line in range(3))

            def instead(exchange: Exchange) -> Reply:
                told = room.told(occasion)
                if occasion is Occasion.NOT_FOUND:
                    told = dataclasses.replace(told, submission=None, arrived=None, lines=())
                return forger.forged(dataclasses.replace(told, request=exchange.request))[way]

            between.put(instead, Party.QUESTION, place)
            expect.teaches_nothing(await room.probe(), f"when answer {place + 1} to a question has {way}")
            questions = len(between.said(Party.QUESTION))
            if place < questions:
                _was_given(room, between)
            if AnswerKind.FILE in room.can.answers and not place:
                between.put(instead, Party.QUESTION)
                found = Heard("collect", (await room.collect(may_raise=True)).evidence)
                expect.teaches_nothing(found, f"when what the bank publishes has {way}")
        place += 1


def _between(room: Room) -> Between:
    if isinstance(room.bank, FileBank):
        raise NotApplicable("a bank of files says nothing on the line that could be changed there")
    return room.bank.between


def _was_given(room: Room, between: Between) -> None:
    room.explain()
    require(between.given, "the other answer was never given, so nothing was proved")


def _about(kit: Kit, arrival: Arrival, occasion: Occasion, asked: Request, lines: tuple[Said, ...] = ()) -> Reply:
    """What the bank says of a submission, to this request."""
    return kit.rehearsal.answer(
        Told(occasion, arrival.received, lines, asked, arrived=arrival.request, wall=wall_time())
    )


def _content(reply: Reply, whole: bool) -> object:
    """What tells two replies apart: to one request only the body can, because a signature is another each time."""
    return reply.body if isinstance(reply, HttpReply) and not whole else reply


def _lines_of(arrival: Arrival) -> tuple[ReceivedLine, ...]:
    if arrival.received is None:
        raise Broken("the bank cannot read what arrived")
    return arrival.received.lines
