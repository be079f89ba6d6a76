"""What directories and answers prove together, whichever bank they are of: the safest word is the last one."""

from __future__ import annotations

from itertools import product

import pytest

from adapters.contract import Artefact, Evidence, Proof, Reason
from adapters.wire.folders import Found
from adapters.wire.sightings import Answers, Place, judged, may_travel
from adapters.wire.words import shown

HEADS = (Proof.RECEIVED, Proof.IN_PROCESS, Proof.NOT_TAKEN, Proof.REJECTED, Proof.IN_DOUBT)


def seen(*heads: tuple[Proof, bool], lines: tuple[Proof, ...] = (), unreadable: bool = False) -> Answers:
    """Answers about the whole, each with whether it was archived, and about lines."""
    artefact = Artefact.of("20261124/x", b"")
    return Answers(
        [(Found(artefact, archived), Evidence(proof, submission="S")) for proof, archived in heads],
        [Evidence(proof, reference=f"R{n}", submission="S") for n, proof in enumerate(lines)],
        unreadable,
    )


def proofs(place: Place, answers: Answers) -> list[Proof]:
    return [evidence.proof for evidence in judged("S", place, answers)]


@pytest.mark.parametrize("place", [Place.WAITING, Place.TAKEN])
def test_a_file_that_the_bank_has_is_never_absent(place: Place) -> None:
    """Where the file lies in wait or was taken, nothing that is said beside it lets it travel."""
    for head, archived, unreadable in product((*HEADS, None), (False, True), (False, True)):
        answers = seen(*([(head, archived)] if head else []), unreadable=unreadable)
        evidence = judged("S", place, answers)
        assert evidence[0].proof in (Proof.RECEIVED, Proof.IN_PROCESS)
        assert not may_travel(evidence)


@pytest.mark.parametrize("place", [Place.REFUSED, Place.NOWHERE])
def test_only_a_fresh_refusal_or_nothing_lets_a_file_travel(place: Place) -> None:
    """Of all that one answer can say, a refusal in the inbox permits sending, and an archived one beside nothing."""
    permitting = {
        (head, archived, unreadable)
        for head, archived, unreadable in product(HEADS, (False, True), (False, True))
        if may_travel(judged("S", place, seen((head, archived), unreadable=unreadable)))
    }
    assert permitting == {(Proof.NOT_TAKEN, False, False), (Proof.NOT_TAKEN, True, False)}


def test_the_safest_of_several_answers_wins() -> None:
    """Received outweighs doubt, doubt outweighs a refusal, whatever the order, in the inbox and in the archive."""
    for archived in (False, True):
        refusal, doubtful, received = (Proof.NOT_TAKEN, False), (Proof.IN_DOUBT, archived), (Proof.RECEIVED, archived)
        assert proofs(Place.NOWHERE, seen(refusal, doubtful)) == [Proof.IN_DOUBT]
        assert proofs(Place.NOWHERE, seen(refusal, doubtful, received)) == [Proof.RECEIVED]
        assert proofs(Place.REFUSED, seen(refusal, received)) == [Proof.RECEIVED]


def test_an_old_refusal_says_nothing_of_the_last_transmission() -> None:
    """A refusal in the archive answered an earlier transmission: the directories speak for the last one."""
    assert proofs(Place.NOWHERE, seen((Proof.NOT_TAKEN, True))) == [Proof.ABSENT]
    assert proofs(Place.REFUSED, seen((Proof.NOT_TAKEN, True))) == [Proof.ABSENT]
    assert proofs(Place.REFUSED, seen()) == [Proof.IN_DOUBT]
    assert proofs(Place.NOWHERE, seen()) == [Proof.ABSENT]


def test_lines_are_passed_on_with_receipt_unless_the_file_was_refused() -> None:
    """Lines prove that the bank had the file; of a refused one they are the last word, and nothing was received."""
    spoken = (Proof.REJECTED, Proof.NOT_TAKEN)
    assert proofs(Place.NOWHERE, seen(lines=spoken)) == [Proof.RECEIVED, *spoken]
    assert proofs(Place.REFUSED, seen(lines=spoken)) == [*spoken]
    assert not may_travel(judged("S", Place.REFUSED, seen(lines=(Proof.NOT_TAKEN,))))


def test_doubt_names_its_reason() -> None:
    """An unreadable answer is doubt of its own, with a reason that is counted."""
    (evidence,) = judged("S", Place.NOWHERE, seen(unreadable=True))
    assert (evidence.proof, evidence.reason, evidence.submission) == (Proof.IN_DOUBT, Reason.UNKNOWN, "S")


def test_a_banks_words_are_bounded_and_hold_no_number() -> None:
    """Free text keeps neither accounts nor ID numbers, nor what does not print, nor more than 120 characters."""
    assert shown("户 6299990000000000012 不符 65999919800101002X\u200b\x00 3次") == "户 * 不符 * 3次"
    assert shown("账号 A1B2 不符", ("A1B2",)) == "账号 * 不符"
    assert len(shown("好" * 500)) == 120
