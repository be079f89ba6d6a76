"""Judgements that several cases share, each saying in plain words what was heard and what may be heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from adapters.conformance.case import Broken, NotApplicable, require
from adapters.conformance.hearing import Heard
from adapters.conformance.rehearsal import Occasion
from adapters.conformance.room import Room
from adapters.contract import Evidence, Proof

CLOSES: Final = frozenset({Proof.CREDITED, Proof.REJECTED, Proof.RETURNED})  # somebody acts on these for good
FREES: Final = frozenset({Proof.NOT_SENT, Proof.NOT_TAKEN, Proof.ABSENT})  # after these the same bytes travel again
OPEN: Final = frozenset({Proof.IN_DOUBT, Proof.RECEIVED, Proof.IN_PROCESS})  # after these the bank is asked
_ENDS: Final = {
    Occasion.CREDITED: Proof.CREDITED,
    Occasion.REJECTED: Proof.REJECTED,
    Occasion.RETURNED: Proof.RETURNED,
}


def words(proofs: Iterable[Proof]) -> str:
    return " or ".join(sorted(proofs)) or "nothing"


def only(heard: Heard, allowed: Iterable[Proof], occasion: str) -> None:
    """Something was heard, and each piece of it is one of ``allowed``."""
    found = {each.proof for each in heard.evidence}
    wanted = frozenset(allowed)
    require(found, f"{heard.way}() gave no evidence at all {occasion}; {words(wanted)} is due")
    strange = found - wanted
    raised = "" if heard.raised is None else f" (it raised {type(heard.raised).__name__})"
    require(not strange, f"{heard.way}() says {words(strange)} {occasion}{raised}; only {words(wanted)} may be said")


def doubt(heard: Heard, occasion: str) -> None:
    """Doubt and nothing else; a way that need not tell may also know that the bank has it."""
    only(heard, {Proof.IN_DOUBT} if heard.must_tell else OPEN, occasion)


def teaches_nothing(heard: Heard, occasion: str) -> None:
    """A question without a usable answer: an exception, or open evidence, but nothing that closes or frees."""
    strange = {each.proof for each in heard.evidence} & (CLOSES | FREES)
    require(not strange, f"{heard.way}() says {words(strange)} {occasion}; nothing of the kind was said by the bank")


def truth_of(room: Room) -> dict[str, Proof]:
    """What the script says that closes a line, by reference: what may be reported of it beside "open"."""
    if room.bank.script.on_question is not Occasion.RESULTS:
        return {}
    ends = {said.line.reference: _ENDS.get(said.occasion) for said in room.bank.script.lines}
    return {reference: end for reference, end in ends.items() if end is not None}


def nothing_beyond(heard: Heard, truth: Mapping[str, Proof], occasion: str) -> None:
    """Where some of what the bank says was lost: each line as it is or open, the others and the whole open."""
    for each in heard.evidence:
        # A line that came back was credited before; a bank may tell the two in two places.
        end = truth.get(each.reference or "")
        allowed = OPEN | ({end} if end else set()) | ({Proof.CREDITED} if end is Proof.RETURNED else set())
        about = "of the whole" if each.reference is None else "of a line"
        require(each.proof in allowed, f"{heard.way}() says {each.proof} {about} {occasion}; the bank said nothing so")


def each_way(heard: Iterable[Heard], allowed: Iterable[Proof], occasion: str) -> None:
    """Some way says one of ``allowed``; a way that must tell says nothing else, others nothing worse than open."""
    wanted, ways = frozenset(allowed), list(heard)
    for one in ways:
        if one.must_tell or one.evidence:
            only(one, wanted if one.must_tell else wanted | OPEN, occasion)
    told = {each.proof for one in ways if one.counts for each in one.evidence} & wanted
    require(told, f"no way of hearing tells {words(wanted)} {occasion}")


def line_is(heard: Iterable[Heard], reference: str, allowed: Iterable[Proof], occasion: str) -> list[Evidence]:
    """Each way that has to tell says one of ``allowed`` about the line; the others say nothing worse than "open".

    What is said of the whole beside a word on the line may be open; it holds for the line as well, so nothing else.
    """
    wanted = frozenset(allowed)
    told: list[Evidence] = []
    for one in heard:
        evidence = one.of(reference)
        own = [each for each in evidence if each.reference is not None] or evidence
        strange = {each.proof for each in evidence} - wanted - OPEN
        if one.must_tell:
            strange |= {each.proof for each in own} - wanted
        require(not strange, f"{one.way}() says {words(strange)} {occasion}; only {words(wanted)} may be said")
        require(own or not one.must_tell, f"{one.way}() says nothing {occasion}; {words(wanted)} is due")
        told += [each for each in own if each.proof in wanted and one.counts]
    if not told:
        raise Broken(f"no way of hearing tells {words(wanted)} {occasion}")
    return told


def sent_once(room: Room) -> None:
    count = len(room.record.arrivals)
    require(count == 1, f"one call of submit() must reach the bank once; it was reached {count} times")


def explained(room: Room, essential: str) -> None:
    """A bank that has no words for something on which everything rests is not finished."""
    if room.record.unsaid is not None:
        raise Broken(f"the rehearsal cannot say {essential}, and without that nothing is proved: {room.record.unsaid}")


def one_of(reasons: list[str], heard: int) -> None:
    """At least one of several occasions could be said; NotApplicable with all the reasons where none could."""
    if not heard:
        raise NotApplicable("; ".join(dict.fromkeys(reasons)))
