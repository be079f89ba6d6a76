"""Cases about many lines: a bank answers in pages, or in several files, and each line of each of them is heard."""

from __future__ import annotations

from typing import Final

from adapters.conformance import expect
from adapters.conformance.case import case, require
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Occasion, Said
from adapters.conformance.room import Room
from adapters.conformance.tree import FileBank
from adapters.contract import Proof

MANY: Final = 60  # lines; a rehearsal of a bank that answers in pages makes them shorter than that

_PROOFS: Final = {
    Occasion.CREDITED: Proof.CREDITED,
    Occasion.REJECTED: Proof.REJECTED,
    Occasion.RETURNED: Proof.RETURNED,
}


@case(
    "many-results",
    "Results that do not fit one page, one answer or one file are heard to the last line, each line as it is.",
    essential=True,
)
async def many_results(kit: Kit) -> None:
    async with kit.room() as room:
        room.render(room.lines(min(MANY, room.can.max_lines)))
        await room.answer_to_submission(Occasion.TAKEN)
        said = one_end_each(room)
        later = said
        if isinstance(room.bank, FileBank):
            # Half of it lies there already when the other half comes, and both are fetched in one round.
            half = len(said) // 2
            room.bank.script.lines, later = said[:half], said[half:]
            room.bank.script.on_question = Occasion.RESULTS
            room.bank.speak()
        heard = await room.results(*later)
        for each in said:
            proof = _PROOFS[each.occasion]
            # Money that came back had been credited; some banks tell the two in two places.
            allowed = {proof, Proof.CREDITED} if proof is Proof.RETURNED else {proof}
            occasion = f"of line {each.number} of {len(said)}"
            told = expect.line_is(heard, each.line.reference, allowed, occasion)
            require(any(one.proof is proof for one in told), f"no way of hearing tells {proof} {occasion}")


def one_end_each(room: Room) -> tuple[Said, ...]:
    """For each line an end: in turn a credit, a refusal, and where the bank's returns come later one of these."""
    ends = [Occasion.CREDITED, Occasion.REJECTED]
    if room.can.return_horizon_days:
        ends.append(Occasion.RETURNED)
    return tuple(
        room.said(ends[line % len(ends)], line=line, booking=2 if ends[line % len(ends)] is Occasion.RETURNED else 1)
        for line in range(len(room.received().lines))
    )
