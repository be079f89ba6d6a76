"""``gateway adapter check``: adapters that take half an answer for a whole one, or remember too much, are caught."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.banks.json_https import JsonHttpsBank
from tests.adapters.sabotaged import between, memory
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
        (between.AllIsCredited, "many-results"),
        (memory.CountsItsFiles, "written-again"),
        (memory.ReadsOnce, "read-again"),
        (memory.RemembersTheAccount, "debit-account"),
        (memory.SmallChange, "amounts-as-told"),
        (memory.MoreIsEnough, "amounts-as-told"),
    ],
)
def test_hasty_adapter_is_caught(adapter: type[Any], case: str) -> None:
    """Each sabotaged adapter fails the case named for its mistake, and its honest parent does not."""
    assert case in results_of(adapter, case)
    honest = next(parent for parent in HONEST if issubclass(adapter, parent))
    assert results_of(honest, case) == {}


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        (memory.NamesWhomItRefuses, "a name that may have been refused in a log record of their_bank"),
        (memory.PrintsWhatItSends, "an account in a line on stderr"),
        (memory.WrapsWhatItSends, "an account in base64 in a log record of their_bank"),
        (memory.DumpsWhatItSends, "an account in hexadecimal in a log record of their_bank.trace"),
        (memory.AttachesWhatItSends, "a name as bytes of utf-8 in a log record of their_bank"),
    ],
)
def test_talkative_adapter_is_caught(adapter: type[Any], words: str) -> None:
    """A secret is found under every disguise, in a log of the adapter's own and on the terminal."""
    found = results_of(adapter, "unencodable-name", "masked")
    assert words in found["masked"]
    assert results_of(JsonHttpsBank, "unencodable-name", "masked") == {}
