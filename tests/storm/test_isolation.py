"""R18: a bank that never answers, and poison on every topic, cost the other banks nothing."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storm import scale
from tests.storm.matrix.recovery import p99
from tests.storm.neighbours import Load, Neighbours
from tests.world.broker import EmbeddedBroker
from tests.world.processes import ChildError

LOAD = Load(lists=scale.size(2, 8), lines=scale.size(4, 25), every_seconds=scale.size(1, 4), seed=scale.SEED)
BOUND = 1.2
PAIRS = 5
PATIENCE_SECONDS = 240
HOLES = ("json_https", "rcc_file")  # a call that hangs after its bytes left; an SFTP server that never greets


@pytest.fixture
def black(tmp_path: Path) -> Iterator[Neighbours]:
    """A street whose HTTPS bank is a black hole, with a load published."""
    with Neighbours(tmp_path / "street", black="json_https") as street:
        street.publish_load(LOAD)
        yield street


def test_the_other_banks_finish_while_one_is_silent(black: Neighbours) -> None:
    """They are paid while the first call is still open; the silent bank's lines stay unknown and are not sent again."""
    black.wait_until("the other banks have paid everything", black.paid_by_others, PATIENCE_SECONDS)
    arrived = black.transmissions_of_black()
    assert arrived, "nothing reached the silent bank: it was no neighbour"
    assert black.bucket("in_flight") > 0, "its calls were over: too late to prove anything"
    black.wait_until("all of its lines have been sent", lambda: black.bucket("queued") == 0, PATIENCE_SECONDS)
    black.kill_gateway()
    black.start_gateway()
    black.wait_until(
        "what was on the wire is in doubt", lambda: black.bucket("in_doubt") == black.black_lines(), PATIENCE_SECONDS
    )
    sent = black.transmissions_of_black()
    assert sent.keys() >= arrived.keys()
    assert set(sent.values()) == {1}
    times = black.times()
    scale.figure(
        "R18 slice", p99=round(p99([one for each in times.values() for one in each]), 2), lines=len(black.lines)
    )


def play(directory: Path, black: str, build: str = "gateway", neighbours: str = "") -> list[float]:
    """One run; the times of every line of the banks other than ``neighbours``, in real seconds, never money."""
    with Neighbours(directory, black=black, build=build) as street, street.hole():
        assert not isinstance(street.broker, EmbeddedBroker) or not scale.FULL, "a figure needs a real Kafka"
        street.publish_load(LOAD)
        street.wait_until("the other banks have paid everything", street.paid_by_others, PATIENCE_SECONDS)
        times = street.times()
        if black == "json_https":
            assert set(street.transmissions_of_black().values()) == {1}
    shutil.rmtree(directory)
    found = [seconds for bank, each in times.items() if bank != neighbours for seconds in each]
    assert len(found) == LOAD.lists * LOAD.lines * 3
    return found


@pytest.mark.skipif(not scale.FULL, reason="five pairs of runs: `make storm-row ROW=isolation`")
@pytest.mark.parametrize("hole", HOLES)
def test_the_other_banks_are_as_fast_as_ever(tmp_path: Path, hole: str) -> None:
    """Their 99th percentile from list to receipt is at most 1.2 times a quiet run's, in the median of five pairs."""
    ratios, quiet_p99, loud_p99 = [], [], []
    for pair in range(PAIRS):
        quiet_p99.append(p99(play(tmp_path / f"quiet-{pair}", "", neighbours=hole)))
        loud_p99.append(p99(play(tmp_path / f"loud-{pair}", hole, neighbours=hole)))
        ratios.append(loud_p99[-1] / quiet_p99[-1])
    scale.figure(
        "R18",
        hole=hole,
        lines=LOAD.lists * LOAD.lines * 3,
        quiet_p99_seconds=[round(one, 2) for one in quiet_p99],
        loud_p99_seconds=[round(one, 2) for one in loud_p99],
        ratios=[round(one, 3) for one in ratios],
        median=round(statistics.median(ratios), 3),
    )
    assert statistics.median(ratios) <= BOUND


@pytest.mark.skipif(not scale.FULL, reason="the broken build is slow by design: `make storm-row ROW=isolation`")
def test_a_build_in_which_banks_take_turns_is_found(tmp_path: Path) -> None:
    """Where one step of one bank runs at a time, a silent bank makes all others wait."""
    quiet = play(tmp_path / "quiet", "", "tests.storm.broken.one_turn", neighbours="json_https")
    with Neighbours(tmp_path / "loud", black="json_https", build="tests.storm.broken.one_turn") as street:
        street.publish_load(LOAD)
        patience = 3 * max(quiet)
        with pytest.raises(ChildError, match="paid everything"):
            street.wait_until("the other banks have paid everything", street.paid_by_others, patience)
        missing = len(quiet) - sum(len(each) for each in street.times().values())
    scale.figure(
        "R18 control", quiet_slowest_seconds=round(max(quiet), 2), waited_seconds=round(patience), missing=missing
    )
