"""Adapters that go wrong only when something comes twice or a process starts anew: the kit tries both."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adapters.sabotaged import again
from tests.adapters.sabotaged.caught import failures, honest

RESENDING = ("resend", "resend-lost", "resend-answered", "resend-known", "resend-after-refusal", "started-anew")


@pytest.mark.parametrize(
    ("adapter", "caught", "words"),
    [
        (again.SecondTimeoutIsFailure, {"resend-lost"}, "REJECTED"),
        (again.SecondIsTriedAgain, {"resend-lost"}, "again by itself"),
        (again.SecondDuplicateIsRejected, {"resend-answered", "resend-known"}, "REJECTED"),
        (again.SecondIsNotMarked, {"resend"}, "mark"),
        (again.NumbersWhatItDoesNotKnow, {"resend"}, "another number"),
        (again.AsksOnlyOfItsOwn, {"started-anew"}, "ABSENT"),
        (again.RefusesForEver, {"resend-after-refusal"}, "NOT_TAKEN"),
    ],
)
def test_mistake_of_the_second_time_is_caught(adapter: type[Any], caught: set[str], words: str) -> None:
    """Of the cases about what comes again, those named for the mistake fail, with words that say which it is."""
    found = failures(adapter, *RESENDING)
    assert set(found) == caught
    assert all(words in reason for reason in found.values())


@pytest.mark.parametrize("adapter", [again.SecondTimeoutIsFailure, again.SecondIsNotMarked])
def test_honest_parent_passes(adapter: type[Any]) -> None:
    """What the sabotaged adapters were made of keeps every promise about what comes again."""
    assert failures(honest(adapter), *RESENDING) == {}


@pytest.mark.parametrize("adapter", [again.SecondTimeoutIsFailure, again.SecondIsNotMarked, again.AsksOnlyOfItsOwn])
def test_first_time_looks_right(adapter: type[Any]) -> None:
    """These mistakes show in no case of a first transmission: without the second one they would pass."""
    assert failures(adapter, "answer-lost", "sent-once", "taken-before", "reset-after", "not-found-then-found") == {}
