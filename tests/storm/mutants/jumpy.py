"""A test that is green in the session and red in each of its children, as one is that needs what only one can have.

Its name keeps it out of every ordinary run, like ``toothless.py``.
"""

from __future__ import annotations

import os

from gateway.store import ids

_SESSION = os.getpid()


def test_only_the_first_process_has_the_place() -> None:
    """Reaches every line of the function, asks nothing of it, and fails for its own reason."""
    ids.payout_from_name("1-1")
    assert os.getpid() == _SESSION
