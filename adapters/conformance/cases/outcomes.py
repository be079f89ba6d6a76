"""Cases about what a bank says of lines: each outcome as it is, in any order, any number of times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from adapters.conformance import expect
from adapters.conformance.case import case, require
from adapters.conformance.hearing import Heard
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Occasion, Received
from adapters.conformance.room import Room
from adapters.contract import Proof, Reason

FEE_FEN = 500
DAYS_LATER = 3  # from the payment to its return


async def _told(room: Room, *occasions: Occasion) -> list[Heard]:
    """A taken submission, and one occasion for each of its first lines."""
    await room.answer_to_submission(Occasion.TAKEN)
    return await room.results(*(room.said(occasion, line=line) for line, occasion in enumerate(occasions)))


def _core(room: Room, received: Received, line: int, *heard: Sequence[Heard]) -> tuple[str, bool]:
    """What the core makes of all that was heard of one line, news by news and way by way, as it would come to it."""
    payee = received.lines[line]
    evidence = [each for news in heard for way in news if way.counts for each in way.of(payee.reference)]
    outcome = room.kit.core.outcome(evidence, payee.reference, payee.amount_fen)
    return outcome.state, outcome.conflict


@case("credited", "A credit is told with the amount, the day and the bank's own reference.", essential=True)
async def credited(kit: Kit) -> None:
    async with kit.room() as room:
        heard = await _told(room, Occasion.CREDITED, Occasion.CREDITED, Occasion.CREDITED)
        for number, line in enumerate(room.received().lines):
            for each in expect.line_is(heard, line.reference, {Proof.CREDITED}, "of a credited line"):
                require(each.reference == line.reference, "a credit is told of a submission, not of its line")
                # What the answers of a bank do not say of a booking, its statement has to.
                stated = room.paid(line.reference)
                if room.can.answers_carry_amounts:
                    require(each.amount_fen == line.amount_fen, "a credit is told with another amount, or none")
                else:
                    amounts = {entry.amount_fen for entry in stated}
                    require(amounts == {line.amount_fen}, "neither answers nor a statement tell the credited amount")
                require(each.post_date is not None or stated, "a credit is told without the day of its booking")
                require(each.host_reference, "a credit is told without the bank's own reference")
            require(_core(room, room.received(), number, heard) == ("CREDITED", False), "the core does not take it")


@case("rejected", "A listed refusal of a line is told with its reason and the bank's code.", essential=True)
async def rejected(kit: Kit) -> None:
    async with kit.room() as room:
        heard = await _told(room, Occasion.CREDITED, Occasion.REJECTED)
        line = room.received().lines[1]
        for each in expect.line_is(heard, line.reference, {Proof.REJECTED}, "of a line refused with a listed code"):
            require(each.reason not in (None, Reason.UNKNOWN), "a refusal is told without a reason")
            require(each.code, "a refusal is told without the bank's code")
        require(_core(room, room.received(), 1, heard) == ("REJECTED", False), "the core does not take it")
        require(_core(room, room.received(), 0, heard) == ("CREDITED", False), "the line beside it is not credited")


@case("in-process", "A line on which the bank is working stays open.", essential=True)
async def in_process(kit: Kit) -> None:
    async with kit.room() as room:
        heard = await _told(room, Occasion.IN_PROCESS)
        allowed = {Proof.IN_PROCESS, Proof.RECEIVED, Proof.IN_DOUBT}
        expect.line_is(heard, room.received().lines[0].reference, allowed, "of a line in process")


@case("suspicious", "A line of which the bank itself does not know is doubt.")
async def suspicious(kit: Kit) -> None:
    async with kit.room() as room:
        heard = await _told(room, Occasion.SUSPICIOUS)
        allowed = {Proof.IN_DOUBT, Proof.IN_PROCESS}
        expect.line_is(heard, room.received().lines[0].reference, allowed, "of a line that the bank calls suspicious")


@case("mixed-results", "One answer about several lines says of each line its own.", essential=True)
async def mixed_results(kit: Kit) -> None:
    async with kit.room() as room:
        heard = await _told(room, Occasion.REJECTED, Occasion.CREDITED, Occasion.IN_PROCESS)
        first, second, third = room.received().lines
        expect.line_is(heard, first.reference, {Proof.REJECTED}, "of the refused line among others")
        expect.line_is(heard, second.reference, {Proof.CREDITED}, "of the credited line among others")
        expect.line_is(heard, third.reference, expect.OPEN, "of the open line among others")


@case("wrong-amount", "Another amount than the approved one is passed on as the bank says it, and freezes the payout.")
async def wrong_amount(kit: Kit) -> None:
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        line = room.received().lines[0]
        short = line.amount_fen - FEE_FEN
        heard = await room.results(room.said(Occasion.CREDITED, amount_fen=short))
        for one in heard:
            for each in one.of(line.reference):
                if each.proof is Proof.CREDITED and (room.can.answers_carry_amounts or each.amount_fen is not None):
                    require(each.amount_fen == short, "a credit of less than was approved is told as the approved one")
        expect.line_is(heard, line.reference, {Proof.CREDITED, Proof.IN_DOUBT}, "of a line credited with less")
        amounts = {entry.amount_fen for entry in room.paid(line.reference)}
        require(amounts <= {short}, "a statement of less than was approved is told as the approved amount")
        if room.can.answers_carry_amounts:
            state, conflict = _core(room, room.received(), 0, heard)
            require(conflict or state == "IN_DOUBT", f"a fee was taken, and the payout is {state} without a conflict")
        else:
            require(amounts, "neither answers nor a statement tell that less was credited than was approved")


@case(
    "late-return",
    "Money that comes back days after it was credited is told, with its own booking.",
    essential=True,
)
async def late_return(kit: Kit) -> None:
    async with kit.room() as room:
        before = await _told(room, Occasion.CREDITED)
        line = room.received().lines[0]
        room.bank.script.day += dt.timedelta(days=DAYS_LATER)
        after = await room.results(room.said(Occasion.RETURNED, booking=2))
        told = expect.line_is(after, line.reference, {Proof.RETURNED, Proof.CREDITED}, "of money that came back")
        require(any(each.proof is Proof.RETURNED for each in told), "no way of hearing tells that money came back")
        require(all(each.reason is not None for each in told if each.proof is Proof.RETURNED), "a return has no reason")
        require(_core(room, room.received(), 0, before, after) == ("RETURNED", False), "the core does not take it")


@case("credit-after-rejection", "A bank that credits what it had refused is reported faithfully, both times.")
async def credit_after_rejection(kit: Kit) -> None:
    async with kit.room() as room:
        before = await _told(room, Occasion.REJECTED)
        line = room.received().lines[0]
        expect.line_is(before, line.reference, {Proof.REJECTED}, "of a line refused with a listed code")
        after = await room.results(room.said(Occasion.CREDITED))
        told = expect.line_is(
            after, line.reference, {Proof.CREDITED, Proof.REJECTED}, "of a line credited after a refusal"
        )
        require(any(each.proof is Proof.CREDITED for each in told), "the credit after a refusal is not told")
        state, conflict = _core(room, room.received(), 0, before, after)
        require(conflict, f"the bank contradicts itself, and the payout is {state} without a conflict")


@case("second-booking", "A second credit of one line is told as a second one, and freezes the payout.")
async def second_booking(kit: Kit) -> None:
    async with kit.room() as room:
        before = await _told(room, Occasion.CREDITED)
        after = await room.results(room.said(Occasion.CREDITED, booking=2))
        line = room.received().lines[0]
        expect.line_is(after, line.reference, {Proof.CREDITED, Proof.IN_DOUBT}, "of a line credited twice")
        state, conflict = _core(room, room.received(), 0, before, after)
        require(conflict, f"the bank paid twice, and the payout is {state} without a conflict")


@case("told-again", "The same answer, heard any number of times, says the same and moves nothing more.")
async def told_again(kit: Kit) -> None:
    async with kit.room() as room:
        first = await _told(room, Occasion.CREDITED, Occasion.REJECTED)
        second = await room.results(*room.bank.script.lines)
        received = room.received()
        require(_core(room, received, 0, first, second) == ("CREDITED", False), "a credit told twice is another one")
        require(_core(room, received, 1, first, second) == ("REJECTED", False), "a refusal told twice is another one")


@case("out-of-order", "News that comes in the wrong order leads to the same end.")
async def out_of_order(kit: Kit) -> None:
    async with kit.room() as room:
        await room.submit()
        late = await room.results(room.said(Occasion.CREDITED), room.said(Occasion.CREDITED, line=1))
        early = await room.results(room.said(Occasion.IN_PROCESS), room.said(Occasion.IN_PROCESS, line=1))
        for line in (0, 1):
            end = _core(room, room.received(), line, late, early)
            require(end == ("CREDITED", False), f"a credit, followed by older news, ends as {end}")


@case("line-not-told", "A line that the bank does not speak of is not closed by what it says of others.")
async def line_not_told(kit: Kit) -> None:
    async with kit.room() as room:
        heard = await _told(room, Occasion.CREDITED)
        third = room.received().lines[2].reference
        for one in heard:
            closing = {each.proof for each in one.of(third)} & (expect.CLOSES | expect.FREES)
            # A bank may say that it lacks a line, but only in books that close; the kit's do not.
            require(not closing, f"{one.way}() says {expect.words(closing)} of a line that the bank did not name")
