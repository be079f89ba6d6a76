"""The clock: business time by a scale, and since when nobody has set it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gateway.clock import Clock

SetReal = Callable[[float], None]


@pytest.fixture
def set_real(monkeypatch: pytest.MonkeyPatch) -> SetReal:
    """Sets real time: its argument is how many seconds it is off from now on."""
    real = time.time

    def set_off(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return set_off


@pytest.fixture
def clock() -> Clock:
    return Clock.parse(f"2026-11-24T10:00:00+08:00@60@{time.time()}")


def test_a_clock_is_steady_from_its_first_reading(clock: Clock) -> None:
    """Before it was read nothing is known; afterwards the first reading counts, however often it is read."""
    assert clock.steady_since is None
    first = clock.now()
    clock.now()
    assert clock.steady_since == first


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 5.0])
def test_a_clock_that_was_set_is_steady_only_since_then(clock: Clock, set_real: SetReal, seconds: float) -> None:
    """A step of real time, forwards or back, starts the steady time anew; so does the step back to where it was."""
    before = clock.now()
    set_real(seconds)
    stepped = clock.now()
    assert abs((stepped - before).total_seconds()) > 60
    assert clock.steady_since == stepped
    set_real(0.0)
    assert clock.now() == clock.steady_since


def test_a_slewed_clock_stays_steady(clock: Clock, set_real: SetReal) -> None:
    """Less than a second off is what every machine does; it is no step."""
    first = clock.now()
    set_real(0.5)
    clock.now()
    assert clock.steady_since == first
