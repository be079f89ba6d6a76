"""Adapters that believe what is not the bank's word on what was asked: each is caught by the case named for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adapters.sabotaged import altered
from tests.adapters.sabotaged.caught import failures, honest

BELIEVING = ("answer-of-another", "answer-replayed", "answer-forged", "artefact-altered")


@pytest.mark.parametrize(
    ("adapter", "caught"),
    [
        (altered.TakesAnySignature, {"answer-forged": "no signature"}),
        (altered.TakesAnyNonce, {"answer-replayed": "ABSENT", "answer-of-another": "NOT_TAKEN"}),
        (altered.RefusalIsOurs, {"answer-of-another": "NOT_TAKEN"}),
        (altered.ChecksNoMac, {"answer-forged": "no MAC", "artefact-altered": "under its seal"}),
        (altered.TakesAnyNumber, {"answer-replayed": "ABSENT", "answer-of-another": "NOT_TAKEN"}),
        (altered.DigestsAreTheirAffair, {"artefact-altered": "under its seal"}),
        (altered.NamesAreTheirAffair, {"answer-of-another": "named for another"}),
    ],
)
def test_misplaced_trust_is_caught(adapter: type[Any], caught: dict[str, str]) -> None:
    """Of the cases about whole and well-formed answers, those named for the mistake fail, and no other."""
    found = failures(adapter, *BELIEVING)
    assert found.keys() == caught.keys()
    assert [words for id_, words in caught.items() if words not in found[id_]] == [], found


@pytest.mark.parametrize("adapter", [altered.TakesAnySignature, altered.ChecksNoMac, altered.DigestsAreTheirAffair])
def test_honest_parent_passes(adapter: type[Any]) -> None:
    """What the sabotaged adapters were made of believes none of these answers."""
    assert failures(honest(adapter), *BELIEVING) == {}
