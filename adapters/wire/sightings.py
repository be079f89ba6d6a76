"""What a bank's directories show of one submission, and what that proves before anything is sent and when it is asked.

Theory of operation
-------------------

A bank that takes files has no query. What stands in for one is what it documents about its directories: it acts on
nothing before the file is released, moves what it has acted on to ``taken/`` or ``refused/``, and deletes nothing. They
are looked at in the order in which files move (upload, ``taken/``, ``refused/``, answers, our archive of answers), so
that no move can hide one. What is seen is read in this order, the safest word first:

1. the file lies in wait or was taken, or an answer says that the bank has it, or speaks of lines of a file that was not
   refused: the bank has it, whatever else is said. A refusal beside that is one of an earlier transmission;
2. answers about lines of a refused file, or one that rejects them all: the bank's last word, passed on;
3. an answer that is unreadable, unfinished or in doubt: doubt;
4. a refusal in the inbox: it answers the last transmission, because older ones are archived before a file goes again;
5. a refused file without its answer: doubt, until it comes;
6. nothing, or nothing but refusals in the archive, which answered earlier transmissions: absent.

Absence counts only after the bank's settling time, which the core knows: a rename cut off on its way has landed or is
lost by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from adapters.contract import Artefact, Evidence, Proof, Reason, Unreadable
from adapters.wire.folders import Found, Inbox
from adapters.wire.sftp import SftpWire

_AT_THE_BANK: Final = frozenset({Proof.RECEIVED, Proof.IN_PROCESS})
_FOR_EVERY_LINE: Final = frozenset({Proof.CREDITED, Proof.REJECTED, Proof.RETURNED})


class Place(Enum):
    """Where the bank keeps our file."""

    WAITING = auto()  # released, and the bank has not come by yet
    TAKEN = auto()
    REFUSED = auto()
    NOWHERE = auto()


async def place_of(wire: SftpWire, paths: Sequence[tuple[Place, str]]) -> Place:
    """The first place that holds one of the paths; to be given in the order in which the bank moves them."""
    for place, path in paths:
        if await wire.size(path) is not None:
            return place
    return Place.NOWHERE


@dataclass(slots=True)
class Answers:
    """What the bank's answers about one submission say: of the whole (heads) and line by line."""

    heads: list[tuple[Found, Evidence]] = field(default_factory=list)
    lines: list[Evidence] = field(default_factory=list)
    unreadable: bool = False

    def whole(self, *proofs: Proof, archived: bool = True) -> list[Evidence]:
        """The heads that prove one of these; ``archived=False`` leaves our archive out."""
        return [e for found, e in self.heads if e.proof in proofs and (archived or not found.archived)]

    def in_the_inbox(self) -> list[Artefact]:
        """The answers about the whole that still lie where the bank put them."""
        return [found.artefact for found, _ in self.heads if not found.archived]


async def answers_to(
    wire: SftpWire,
    inbox: Inbox,
    first_day: str,
    concerns: Callable[[str], bool],
    parse: Callable[[Artefact], Iterator[Evidence]],
) -> Answers:
    """Every answer whose name concerns one submission, wherever it lies, read. Read-only."""
    found, traces = await inbox.about(wire, first_day, concerns)
    answers = Answers(unreadable=bool(traces))
    for each in found:
        try:
            evidence = list(parse(each.artefact))
        except Unreadable:
            answers.unreadable = True
            continue
        answers.lines += [e for e in evidence if e.reference is not None]
        answers.heads += [(each, e) for e in evidence if e.reference is None]
    return answers


def judged(submission: str, place: Place, answers: Answers) -> list[Evidence]:
    """What was seen, as evidence; see the theory of operation above."""
    heads = answers.whole(*_AT_THE_BANK)
    if heads or place in (Place.WAITING, Place.TAKEN) or (answers.lines and place is not Place.REFUSED):
        received = Evidence(Proof.RECEIVED, submission=submission, text="the bank has the file")
        return (heads or [received]) + answers.whole(*_FOR_EVERY_LINE) + answers.lines
    if answers.lines or answers.whole(*_FOR_EVERY_LINE):
        return answers.whole(*_FOR_EVERY_LINE) + answers.lines
    if doubts := answers.whole(Proof.IN_DOUBT):
        return doubts
    if answers.unreadable:
        return [doubt(submission, "unreadable answer")]
    if refusals := answers.whole(Proof.NOT_TAKEN, archived=False):
        return refusals
    if place is Place.REFUSED and not answers.heads:
        return [doubt(submission, "refused, and the answer is not there yet")]
    return [Evidence(Proof.ABSENT, submission=submission, text="not uploaded, not taken, not answered")]


def may_travel(evidence: Sequence[Evidence]) -> bool:
    """Whether what was seen permits sending: no sign of the submission, or its refusal as a whole."""
    return all(e.reference is None and e.proof in (Proof.ABSENT, Proof.NOT_TAKEN) for e in evidence)


def doubt(submission: str, text: str) -> Evidence:
    return Evidence(Proof.IN_DOUBT, submission=submission, reason=Reason.UNKNOWN, text=text)
