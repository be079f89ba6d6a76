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

# A line that alone was not taken gets so many attempts under one order, all but the first made by the core. The waits
# in between stay together below two days, of a limit of three working days: when people hear of it, an order of theirs
# can still be in time. And a bank that refuses for ever is not sent to for ever.
AUTOMATIC_ATTEMPTS: Final = 7
_AGAIN_ABSENT: Final = (0 * _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, 12 * _HOUR)
_AGAIN_NOT_TAKEN: Final = (_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, 12 * _HOUR)
_AGAIN_FUNDS_SHORT: Final = (30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 12 * _HOUR)  # a top-up takes hours


def probe_delay(probes: int) -> dt.timedelta:
    """How long to wait before asking for the ``probes`` + 1st time."""
    return PROBE_DELAYS[min(probes, len(PROBE_DELAYS) - 1)]


def deferral(proof: Proof, reason: Reason | None, transmissions: int) -> dt.timedelta:
    """How long a submission of which the bank has nothing waits before the same bytes travel again."""
    steps = _NOT_SENT if proof is Proof.NOT_SENT else _DEFERRALS.get(reason or Reason.BANK_BUSY, _NOT_SENT)
    return steps[min(max(transmissions - 1, 0), len(steps) - 1)]


def next_attempt(proof: Proof, reason: Reason | None, tries: int) -> dt.timedelta | None:
    """How long a line that alone was not taken, or never arrived, waits for its next attempt after ``tries`` of them.

    None: no further one by ourselves; people decide.
    """
    if tries >= AUTOMATIC_ATTEMPTS:
        return None
    steps = _AGAIN_ABSENT
    if proof is Proof.NOT_TAKEN:
        steps = _AGAIN_FUNDS_SHORT if reason is Reason.FUNDS_SHORT else _AGAIN_NOT_TAKEN
    return steps[min(max(tries - 1, 0), len(steps) - 1)]


def turns_within(seconds: int, interval_milliseconds: int, most: int) -> int:
    """How many turns, ``interval_milliseconds`` apart, can be waited for in ``seconds``: at least one."""
    if interval_milliseconds == 0:
        return most
    return max(1, min(most, 1 + seconds * 1000 // interval_milliseconds))
