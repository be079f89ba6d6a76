"""Adapters that are right on the day of the payment only, or listen to callers too well: the kit waits, and calls."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.rcc_file.bank import RccFileAdapter
from tests.adapters.sabotaged import late
from tests.adapters.sabotaged.caught import failures

LATE = (
    "probe-read-only",
    "late-return",
    "told-again",
    "collected-until-settled",
    "callback-genuine",
    "callback-forged",
    "callback-old",
    "artefact-rewritten",
)


@pytest.mark.parametrize(
    ("adapter", "caught"),
    [
        (late.ReadsOneDay, {"late-return": "says nothing"}),
        (late.FinalIsFinal, {"late-return": "no way of hearing"}),
        (late.TakesOldCallbacks, {"callback-old": "of yesterday"}),
        (late.TakesAnyAlgorithm, {"callback-forged": "another X-Sign-Alg"}),
        (late.SettlesByName, {"artefact-rewritten": "took away"}),
        (late.ReadsANameOnce, {"artefact-rewritten": "not read again"}),
        (late.TidiesWhatIsRead, {"probe-read-only": "after results came", "collected-until-settled": "settled"}),
    ],
)
def test_mistake_of_later_is_caught(adapter: type[Any], caught: dict[str, str]) -> None:
    """Of the cases about what comes later, those named for the mistake fail, and no other."""
    found = failures(adapter, *LATE)
    assert found.keys() == caught.keys()
    assert [words for id_, words in caught.items() if words not in found[id_]] == [], found


@pytest.mark.parametrize("adapter", [JsonHttpsBank, RccFileAdapter])
def test_honest_parent_passes(adapter: type[Any]) -> None:
    """What the sabotaged adapters were made of keeps every promise about what comes later."""
    assert failures(adapter, *LATE) == {}


@pytest.mark.parametrize("proof", [False, True])
def test_callback_counts_where_it_is_proof(proof: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """News that only a callback brings are news where the agreement makes it proof, and nowhere else."""
    settings = late.FinalIsFinal.capabilities

    def agreed(self: Any) -> Any:
        return dataclasses.replace(settings(self), callback_is_proof=proof)

    monkeypatch.setattr(late.FinalIsFinal, "capabilities", agreed)
    assert set(failures(late.FinalIsFinal, "second-booking")) == (set() if proof else {"second-booking"})
