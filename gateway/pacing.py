"""When to try what again: pure schedules in business time, so that a test can read them like a timetable."""

from __future__ import annotations

import datetime as dt
from typing import Final

from adapters.contract import Proof, Reason

_MINUTE = dt.timedelta(minutes=1)
_HOUR = dt.timedelta(hours=1)

# Front-loaded: most answers come early, and a person who asks is told early. After these, hourly.
PROBE_DELAYS: Final = (_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR)
RETURN_WATCH: Final = dt.timedelta(days=1)  # how often a paid submission is asked about inside its return horizon
GATHERING: Final = 10 * _MINUTE  # re-issues wait that long for company, so that each does not travel alone

_DEFERRALS: Final = {
    Reason.BANK_BUSY: (_MINUTE, 5 * _MINUTE, 15 * _MINUTE),
    Reason.FUNDS_SHORT: (30 * _MINUTE,),
}
_NOT_SENT: Final = (_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 15 * _MINUTE)


def probe_delay(probes: int) -> dt.timedelta:
    """How long to wait before asking for the ``probes`` + 1st time."""
    return PROBE_DELAYS[min(probes, len(PROBE_DELAYS) - 1)]


def deferral(proof: Proof, reason: Reason | None, transmissions: int) -> dt.timedelta:
    """How long a submission of which the bank has nothing waits before the same bytes travel again."""
    steps = _NOT_SENT if proof is Proof.NOT_SENT else _DEFERRALS.get(reason or Reason.BANK_BUSY, _NOT_SENT)
    return steps[min(max(transmissions - 1, 0), len(steps) - 1)]
