"""Cases about what stands between us and a bank that is asked over HTTP: its words are not the bank's.

A proxy, a load balancer or the gateway of an API answers with the same statuses as a bank, and knows nothing of the
payment. It may have passed the request on before it answered, so whatever it says of a submission is doubt; and its
"not found" is about a route, not about a submission.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from adapters.conformance import expect
from adapters.conformance.case import NotApplicable, case, require
from adapters.conformance.counterpart import Fault, Mishap, Page, Party
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Kind, Occasion
from adapters.conformance.room import Room

STATUSES: Final = (400, 403, 404, 408, 413, 429, 502, 503, 504)


def _between_us(kit: Kit) -> None:
    if kit.rehearsal.kind is not Kind.HTTP:
        raise NotApplicable("nothing that speaks HTTP stands between us and this bank")


def _answers() -> Iterator[tuple[int, Page]]:
    return ((status, page) for status in STATUSES for page in Page)


@case(
    "proxy-after-taking",
    "Whatever a proxy answers to a submission that it has passed on (400 to 504) is doubt: it was not the bank's word.",
)
async def proxy_after_taking(kit: Kit) -> None:
    _between_us(kit)
    async with kit.room() as room:
        for number, (status, page) in enumerate(_answers(), start=1):
            room.bank.mishap = Mishap(Fault.PROXY_ERROR, Party.SUBMISSION, status=status, page=page)
            room.render()
            expect.doubt(await room.submit(), f"when a proxy answers {status} {_with(page)}")
            require(len(room.record.arrivals) == number, f"submit() sent again after a proxy had answered {status}")


@case(
    "proxy-on-question",
    "Whatever a proxy answers to a question (400 to 504) teaches nothing, above all not that nothing was taken.",
)
async def proxy_on_question(kit: Kit) -> None:
    _between_us(kit)
    async with kit.room() as room:
        await room.submit()
        room.explain()
        lines = tuple(room.said(Occasion.CREDITED, line=line) for line in range(3))
        for occasion, told in ((Occasion.TAKEN, ()), (Occasion.RESULTS, lines)):
            room.bank.script.on_question, room.bank.script.lines = occasion, told
            await _each_question(room)
        expect.sent_once(room)


async def _each_question(room: Room) -> None:
    """Each question of a round is answered by a proxy in turn; what the bank itself said beside it stays its word."""
    truth = expect.truth_of(room)
    asked = room.record.questions
    room.bank.mishap = Mishap()
    await room.probe()
    for spared in range(room.record.questions - asked):
        for status, page in _answers():
            room.bank.mishap = Mishap(
                Fault.PROXY_ERROR, Party.QUESTION, spares=spared, hits=1, status=status, page=page
            )
            occasion = f"when a proxy answers question {spared + 1} with {status} {_with(page)}"
            expect.nothing_beyond(await room.probe(), truth, occasion)


def _with(page: Page) -> str:
    return {Page.HTML: "and a page", Page.JSON: "and JSON of its own", Page.NOTHING: "and nothing else"}[page]
