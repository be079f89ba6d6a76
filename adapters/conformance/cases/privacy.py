"""The last case, about what all the others let out: personal data is nowhere but on the wire."""

from __future__ import annotations

from adapters.conformance import people
from adapters.conformance.case import case, require
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Occasion


@case(
    "masked",
    "No log record, exception, printed object or evidence holds a name, an account or an ID number.",
    essential=True,
)
async def masked(kit: Kit) -> None:
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        payee = people.person(1)
        careless = f"账号{payee.account}户名{payee.id_no}不符"
        await room.results(room.said(Occasion.REJECTED, line=1, text=careless))
    require(kit.watch.heard_logs, "not even the kit's own log record was heard, so nothing was proved")
    leaks = kit.watch.leaks(people.canaries(people.KNOWN))
    require(not leaks, "; ".join(leaks))
