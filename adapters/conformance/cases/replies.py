"""Cases about what a bank says of a submission: taken, refused, known already, or words that no manual lists."""

from __future__ import annotations

from collections.abc import Iterable

from adapters.conformance import expect
from adapters.conformance.case import NotApplicable, case, require
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Kind, Occasion
from adapters.contract import NotFound, Proof, Reason

_TAKEN = frozenset({Proof.RECEIVED, Proof.IN_PROCESS})


@case("taken", "A submission that the bank has taken pays nobody yet, and is known to be there.", essential=True)
async def taken(kit: Kit) -> None:
    async with kit.room() as room:
        answered = await room.answer_to_submission(Occasion.TAKEN)
        expect.each_way(answered, _TAKEN, "of a submission that the bank has taken")
        if kit.rehearsal.kind is not Kind.SFTP:
            asked = await room.hear(Occasion.TAKEN)
            expect.each_way(asked, _TAKEN, "when it is asked about a submission that it has taken")
        expect.sent_once(room)


async def _refused(kit: Kit, occasion: Occasion, reasons: Iterable[Reason], words: str) -> None:
    async with kit.room() as room:
        told = [heard for heard in await room.answer_to_submission(occasion) if heard.evidence]
        require(told, f"nothing was heard {words}")
        for heard in told:
            expect.only(heard, {Proof.NOT_TAKEN}, words)
            strange = {each.reason for each in heard.evidence} - set(reasons)
            require(not strange, f"{heard.way}() gives the reason {strange} {words}")
        expect.sent_once(room)


@case("format-refused", "A submission refused for its form was not taken, and closes no line: operations look at it.")
async def format_refused(kit: Kit) -> None:
    await _refused(
        kit, Occasion.FORMAT_REFUSED, {Reason.FORMAT, Reason.SIGNATURE}, "of a submission refused for its form"
    )


@case("funds-short", "A submission that the fiscal account does not cover was not taken: the same bytes travel later.")
async def funds_short(kit: Kit) -> None:
    await _refused(kit, Occasion.FUNDS_SHORT, {Reason.FUNDS_SHORT}, "of a submission that is not covered")


@case("busy", "A bank that has too much to do has refused nothing for good.")
async def busy(kit: Kit) -> None:
    async with kit.room() as room:
        for heard in await room.answer_to_submission(Occasion.BUSY):
            expect.only(heard, {Proof.NOT_TAKEN, Proof.IN_DOUBT}, "when the bank is busy")
        expect.sent_once(room)


@case(
    "taken-before",
    "A submission that the bank calls a duplicate may be paid: it is asked about, never refused.",
    essential=lambda can: can.idempotent_by_reference,
)
async def taken_before(kit: Kit) -> None:
    async with kit.room() as room:
        for heard in await room.answer_to_submission(Occasion.TAKEN_BEFORE):
            expect.only(heard, expect.OPEN, "of a submission that the bank calls a duplicate")
        expect.sent_once(room)


@case("line-duplicate", "A line that the bank calls a duplicate may be paid: it is asked about, never rejected.")
async def line_duplicate(kit: Kit) -> None:
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        heard = await room.results(room.said(Occasion.LINE_DUPLICATE))
        expect.line_is(heard, room.received().lines[0].reference, expect.OPEN, "of a line called a duplicate")


@case("unknown-code", "A code that no table lists is doubt, never a failure.", essential=True)
async def unknown_code(kit: Kit) -> None:
    await _odd(kit, Occasion.ODD_CODE, Occasion.LINE_ODD_CODE, "with a code that no table lists")


@case("blank-code", "A blank code is doubt, never a failure and never a success.")
async def blank_code(kit: Kit) -> None:
    await _odd(kit, Occasion.NO_CODE, Occasion.LINE_NO_CODE, "with a blank code")


async def _odd(kit: Kit, of_submission: Occasion, of_line: Occasion, words: str) -> None:
    unsaid: list[str] = []
    heard_any = 0
    try:
        async with kit.room() as room:
            for heard in await room.answer_to_submission(of_submission):
                if heard.evidence:
                    expect.doubt(heard, f"of a submission answered {words}")
            heard_any += 1
    except NotApplicable as silent:
        unsaid.append(str(silent))
    try:
        async with kit.room() as room:
            await room.answer_to_submission(Occasion.TAKEN)
            heard_of_line = await room.results(room.said(of_line))
            reference = room.received().lines[0].reference
            for each in expect.line_is(heard_of_line, reference, {Proof.IN_DOUBT}, f"of a line answered {words}"):
                listed = room.adapter.classify(each.code) if each.code else None
                require(
                    listed is None or listed[0] is Proof.IN_DOUBT,
                    "the rehearsal's unlisted code is listed: it shows nothing",
                )
            heard_any += 1
    except NotApplicable as silent:
        unsaid.append(str(silent))
    expect.one_of(unsaid, heard_any)


@case("code-table", "The table of codes has no default: what it does not list, and the empty code, prove nothing.")
async def code_table(kit: Kit) -> None:
    adapter = kit.adapter()
    for code in ("", " ", "?", "ZZZ9", "０００９", "x" * 300):
        listed = adapter.classify(code)
        require(
            listed is None or listed[0] is Proof.IN_DOUBT,
            f"classify() takes {'the empty code' if not code.strip() else 'a code of nonsense'} for {listed}",
        )


@case(
    "not-found",
    '"Never had it" is ABSENT only where the manual makes it authoritative, and doubt elsewhere.',
    essential=lambda can: can.not_found is NotFound.AUTHORITATIVE,
)
async def not_found(kit: Kit) -> None:
    async with kit.room() as room:
        room.render()
        heard = [one for one in await room.hear(Occasion.NOT_FOUND) if one.evidence]
        worth = {Proof.IN_DOUBT} | ({Proof.ABSENT} if room.can.not_found is NotFound.AUTHORITATIVE else set())
        for one in heard:
            expect.only(one, worth, "when the bank says that it never had the submission")
        require(not room.record.arrivals, "a question made something that pays arrive")


@case("not-found-then-found", "A bank that finds later what it had not found is believed about what it found.")
async def not_found_then_found(kit: Kit) -> None:
    async with kit.room() as room:
        room.render()
        before = await room.hear(Occasion.NOT_FOUND)
        await room.answer_to_submission(Occasion.TAKEN)
        after = await room.results(*(room.said(Occasion.CREDITED, line=line) for line in range(3)))
        for line in room.received().lines:
            told = expect.line_is(after, line.reference, {Proof.CREDITED}, "of a line that was found and credited")
            order = [*(each for one in before for each in one.of(line.reference)), *told]
            state = kit.core.outcome(order, line.reference, line.amount_fen)
            require((state.state, state.conflict) == ("CREDITED", False), f"the core makes {state} of it")
