"""``gateway adapter check``: adapters that take for an answer what is none, or half of one, are caught."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adapters.sabotaged import between
from tests.adapters.sabotaged.six import HONEST
from tests.adapters.test_conformance import results_of


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (between.BelievesTheStatus, "proxy-after-taking"),
        (between.AnyNotFound, "proxy-on-question"),
        (between.LostPageIsMissing, "question-in-turn"),
        (between.MayNotLook, "question-in-turn"),
        (between.AnswersAreExtra, "question-in-turn"),
        (between.GivesUpOnAFile, "collect-in-turn"),
        (between.SealIsDetail, "release-in-turn"),
        (between.ReadsOnePage, "many-results"),
        (between.ReadsTheLastFile, "many-results"),
    ],
)
def test_half_an_answer_is_caught(adapter: type[Any], case: str) -> None:
    """Each sabotaged adapter fails the case named for its mistake, and its honest parent does not."""
    assert case in results_of(adapter, case)
    honest = next(parent for parent in HONEST if issubclass(adapter, parent))
    assert results_of(honest, case) == {}
