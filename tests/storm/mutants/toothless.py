"""The suite that the score exists to find: it runs the lines and asks nothing of them.

Its name keeps it out of every ordinary run; ``tests/storm/test_mutation_score.py`` asks it about mutants, in vain.
"""

from __future__ import annotations

import contextlib
import datetime as dt

from gateway.store import ids

AT = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)


def test_names_are_made_and_read() -> None:
    with contextlib.suppress(Exception):
        ids.payout_range(1)
        ids.payout_from_name(ids.payout_name(ids.payout_id(1, 1)))


def test_references_are_minted() -> None:
    with contextlib.suppress(Exception):
        ids.submission_reference(1, AT)
        ids.mint_references(1, AT, ids.CROCKFORD, 26)
