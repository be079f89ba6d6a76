"""The suite that the score exists to find: it runs the lines and asks nothing of them.

Its name keeps it out of every ordinary run; ``tests/storm/test_mutation_score.py`` asks it about mutants, in vain.
"""

from __future__ import annotations

import contextlib

from gateway.store import ids


def test_names_are_made_and_read() -> None:
    """Nothing is promised: whatever comes of it is as good as anything else."""
    with contextlib.suppress(Exception):
        ids.payout_from_name(ids.payout_name(ids.payout_id(1, 1)))
        ids.payout_from_name("nobody")
