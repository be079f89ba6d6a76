"""Cases about asking in several steps: each step goes wrong in turn, and the others stay what they are.

A bank is rarely asked one thing. A head and then pages, a place and then answers, a name and then its seal: an adapter
that minds the first step and trusts the rest takes a page that was lost for a line that is missing, and a directory it
may not look into for an empty one. So a clean round is counted first, and then each of its steps fails once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from adapters.conformance import expect
from adapters.conformance.case import NotApplicable, case, require
from adapters.conformance.cases.pages import MANY, one_end_each
from adapters.conformance.counterpart import Fault, Mishap, Party
from adapters.conformance.hearing import Collected, Heard
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Kind, Occasion
from adapters.conformance.room import Room
from adapters.conformance.tree import FileBank
from adapters.contract import AnswerKind, Proof

_ON_THE_LINE = (Fault.HANG_UP, Fault.PLAIN_TEXT, Fault.WRONG_ENCODING, Fault.RESET_BEFORE_TAKING, Fault.CUT_BODY)
_IN_THE_TREE = (Fault.RESET_BEFORE_TAKING, Fault.DENIED)
_HALF = 500  # thousandths
_KINDS = 2  # of faults, in rounds of many questions: broken and cut; bad-file-alone has the torn ones
_FILES = 3  # of results, with one line in each


def _faults(kit: Kit) -> Sequence[Fault]:
    return _IN_THE_TREE if kit.rehearsal.kind is Kind.SFTP else _ON_THE_LINE


def _words(fault: Fault, step: int) -> str:
    return f"when question {step} of a round meets {fault.replace('_', ' ').lower()}"


async def _just_sent(room: Room) -> None:
    """The bank has it, and nothing else: in files it lies where it was put."""
    await room.submit()
    room.explain()


async def _all_told(room: Room, *, cleared: bool = False) -> None:
    """The bank has something to say of each line, in several pages, or in files one after the other. ``cleared``: and
    has moved what it had before where nobody looks."""
    room.render(room.lines(_FILES if isinstance(room.bank, FileBank) else min(MANY, room.can.max_lines)))
    await room.answer_to_submission(Occasion.TAKEN)
    before, script = room.bank.snapshot(), room.bank.script
    news = one_end_each(room)
    script.on_question = Occasion.RESULTS
    if isinstance(room.bank, FileBank):
        for said in news:
            script.lines = (said,)
            room.bank.speak()
        for path in before if cleared else ():
            room.bank.at(path).unlink(missing_ok=True)
    script.lines = news


@case(
    "question-in-turn",
    "Where a question takes several steps, each may fail: what the others say stays, and nothing is made of the gap.",
    essential=True,
)
async def question_in_turn(kit: Kit) -> None:
    for prepared in (_just_sent, partial(_all_told, cleared=True)):
        async with kit.room() as room:
            await prepared(room)
            await _probe_in_turn(room, _faults(kit))
    # Silence takes its time, so it is tried on the last step only; question-lost has it on the first.
    async with kit.room(hurried=True) as room:
        await _all_told(room, cleared=True)
        await _probe_in_turn(room, [Fault.SILENCE], last_only=True)


async def _probe_in_turn(room: Room, faults: Sequence[Fault], *, last_only: bool = False) -> None:
    truth = expect.truth_of(room)
    asked = room.record.questions
    expect.nothing_beyond(await room.probe(), truth, "when every question is answered")
    steps = range(room.record.questions - asked)
    for spared in steps[-1:] if last_only else steps:
        for fault in faults:
            mishap = room.bank.mishap = Mishap(fault, Party.QUESTION, at=_HALF, spares=spared, hits=1)
            expect.nothing_beyond(await room.probe(), truth, _words(fault, spared + 1))
            require(mishap.fired, f"probe() asked less the second time: question {spared + 1} was not asked again")


@case(
    "collect-in-turn",
    "Where collecting breaks off at any step, nothing is made of the gap, and the next round brings what is missing.",
    essential=lambda can: AnswerKind.FILE in can.answers,
)
async def collect_in_turn(kit: Kit) -> None:
    async with kit.room() as room:
        if AnswerKind.FILE not in room.can.answers:
            raise NotApplicable("this bank publishes nothing")
        await _all_told(room)
        asked = room.record.questions
        whole = _closing(await room.collect())
        steps = room.record.questions - asked
        truth = expect.truth_of(room)
        for spared in range(steps):
            for fault in _faults(kit)[-_KINDS:]:
                occasion = _words(fault, spared + 1)
                room.bank.mishap = Mishap(fault, Party.QUESTION, at=_HALF, spares=spared, hits=1)
                first = await room.collect(may_raise=True)
                room.bank.mishap = Mishap()
                rest = await room.collect(first.artefacts[-1][1] if first.artefacts else "")
                expect.nothing_beyond(Heard("collect", first.evidence + rest.evidence), truth, occasion)
                require(whole <= _closing(first, rest), f"news are lost for good {occasion}")


def _closing(*collected: Collected) -> set[tuple[Proof, str | None]]:
    evidence = [each for one in collected for each in one.evidence if each.proof in expect.CLOSES]
    return {(each.proof, each.reference) for each in evidence}


@case(
    "release-in-turn",
    "Where sending takes several steps, each may fail: from the first rename on it is doubt, whatever comes after.",
)
async def release_in_turn(kit: Kit) -> None:
    if kit.rehearsal.kind is not Kind.SFTP:
        raise NotApplicable("a submission travels to this bank in one step")
    async with kit.room() as room:
        asked = room.record.questions
        await room.submit()
        room.explain()
        renames = sum(change.startswith("rename ") for change in room.record.changes)
        steps = room.record.questions - asked
    for spared in range(renames):
        for fault in (Fault.RESET_BEFORE_TAKING, Fault.RESET_AFTER_TAKING, Fault.DENIED):
            await _submit_broken(kit, Mishap(fault, Party.RENAME, spares=spared, hits=1), f"rename {spared + 1}")
    for spared in range(steps):
        for fault in _IN_THE_TREE:
            await _submit_broken(kit, Mishap(fault, Party.QUESTION, spares=spared, hits=1), f"look {spared + 1}")


async def _submit_broken(kit: Kit, mishap: Mishap, step: str) -> None:
    async with kit.room() as room:
        room.bank.mishap = mishap
        room.render()
        heard = await room.submit()
        room.explain()
        # Before anything had its name, nothing was sent; nobody blames an adapter that is not sure of it.
        allowed = expect.OPEN if room.record.arrivals else {Proof.NOT_SENT, Proof.IN_DOUBT}
        expect.only(heard, allowed, f"when {step} of a submission meets {mishap.fault.replace('_', ' ').lower()}")
        require(len(room.record.arrivals) <= 1, "submit() sent the same thing again by itself")
