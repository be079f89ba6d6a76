"""Cases about one adapter that lives long: it writes and reads the second time as the first, whatever came between.

An adapter serves for weeks, and a bank's answer is read again after every restart. What it remembers (a counter, an
account, the amounts that it once wrote) must not find its way into bytes or evidence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from adapters.conformance import expect, people
from adapters.conformance.case import NotApplicable, case, require
from adapters.conformance.hearing import Heard
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Occasion, Said
from adapters.conformance.room import Room
from adapters.contract import Artefact, BankAdapter, Evidence, GivesStatements, Proof, Rendered, Unreadable

# In fen, from what was approved: a rounding, a fee, a payment too high; a fee is as odd as a bank makes it.
_APART: Final = ((-1, 1, -100), (-500, 500, 37))


@case(
    "written-again",
    "One adapter writes the same lines to the same bytes and name every time, whatever it wrote between.",
    essential=True,
)
async def written_again(kit: Kit) -> None:
    async with kit.room() as room:
        room.reaches = False
        head, lines = people.submission(kit.next_submission()), room.lines(4)
        first = room.render_as(head, lines)
        for count in (1, 2):
            room.render_as(people.submission(kit.next_submission(), people.OTHER_DEBIT_ACCOUNT), room.lines(count))
        _same(first, room.render_as(head, lines))
        backwards = [room.adapter.refuse(line) for line in reversed(lines)]
        require(not any(backwards), "refuse() says another thing of a line the second time")


def _same(first: Rendered, again: Rendered) -> None:
    for field in dataclasses.fields(first):
        same = getattr(first, field.name) == getattr(again, field.name)
        require(same, f"equal lines give another {field.name} the second time")


@case("read-again", "One adapter reads the same file or callback to the same evidence every time.")
async def read_again(kit: Kit) -> None:
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        room.bank.script.lines = (room.said(Occasion.CREDITED), room.said(Occasion.REJECTED, line=1))
        room.bank.script.on_question = Occasion.RESULTS
        await room.hear(Occasion.RESULTS)
        found = [artefact for artefact, _ in (await room.collect()).artefacts]
        if (called := room.call()) is not None:
            found.append(called.artefact)
        if not found:
            raise NotApplicable("this bank neither publishes files nor calls back")
        first = [_read(room, artefact) for artefact in found]
        backwards = [_read(room, artefact) for artefact in reversed(found)]
        require(any(evidence for evidence, _ in first), "what the bank has told is read and proves nothing")
        require(first == backwards[::-1], "the same bytes prove another thing when they are read again")


def _read(room: Room, artefact: Artefact) -> tuple[list[Evidence] | None, object]:
    return room.parse(artefact), _statement(room.adapter, artefact)


def _statement(adapter: BankAdapter, artefact: Artefact) -> object:
    try:
        return adapter.statement(artefact) if isinstance(adapter, GivesStatements) else None
    except Unreadable:
        return Unreadable


@case(
    "amounts-as-told",
    "An amount is passed on as the bank says it, be it a fen off, and any but the approved one freezes the payout.",
    essential=True,
)
async def amounts_as_told(kit: Kit) -> None:
    for apart in _APART:
        for occasion in (Occasion.CREDITED, Occasion.RETURNED):
            async with kit.room() as room:
                if occasion is Occasion.RETURNED and not room.can.return_horizon_days:
                    room.reaches = False
                    continue
                await room.answer_to_submission(Occasion.TAKEN)
                booking = 2 if occasion is Occasion.RETURNED else 1
                said = [
                    room.said(occasion, line=line, amount_fen=_approved(room, line) + more, booking=booking)
                    for line, more in enumerate(apart)
                ]
                heard = await room.results(*said)
                for each, more in zip(said, apart, strict=True):
                    _as_told(room, heard, each, more)


def _approved(room: Room, line: int) -> int:
    return room.received().lines[line].amount_fen


def _as_told(room: Room, heard: Sequence[Heard], said: Said, more: int) -> None:
    reference, occasion = said.line.reference, f"of a line with {more:+d} fen"
    returned = said.occasion is Occasion.RETURNED
    told = expect.line_is(heard, reference, {Proof.CREDITED, Proof.RETURNED, Proof.IN_DOUBT}, occasion)
    closing = [each for each in told if each.proof is not Proof.IN_DOUBT]
    amounts = {each.amount_fen for each in closing if each.amount_fen is not None}
    amounts |= {entry.amount_fen for entry in room.booked if entry.reference == reference}
    require(amounts <= {said.amount_fen}, f"another amount is passed on than the bank says {occasion}")
    require(amounts or not closing, f"neither answers nor a statement tell the amount {occasion}")
    if not returned and room.can.answers_carry_amounts:
        outcome = room.kit.core.outcome(told, reference, said.line.amount_fen)
        frozen = outcome.conflict or outcome.state == "IN_DOUBT"
        require(frozen, f"the payout is {outcome.state} without a conflict {occasion}")


@case("debit-account", "Each submission is debited to the account that it names, not to the first or the usual one.")
async def debit_account(kit: Kit) -> None:
    async with kit.room() as room:
        accounts = (people.DEBIT_ACCOUNT, people.OTHER_DEBIT_ACCOUNT, people.DEBIT_ACCOUNT)
        rendered = [
            room.render_as(people.submission(kit.next_submission(), account), room.lines(1)) for account in accounts
        ]
        for each, account in zip(rendered, accounts, strict=True):
            await room.submit(each)
            room.explain()
            arrived = room.received()
            require(arrived.reference == each.submission, "another submission arrived than was sent")
            if arrived.debit_account is None:
                raise NotApplicable("read() gives no account to be debited: this bank's format carries none")
            require(arrived.debit_account == account, "another account is debited than the submission names")
