"""S3: whatever happens, nobody's name, ID number, card or mobile number is written where it does not belong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storm import scale
from tests.storm.canaries.cast import Cast
from tests.storm.canaries.leaks import SHOWS_IN
from tests.storm.canaries.letters import LINE_ERRORS
from tests.storm.canaries.walk import CanaryWorld, Walk, Walked, canary_plan
from tests.world.checker.privacy import Hit
from tests.world.faults import HONEST, Faults, broken_word, every_fault
from tests.world.layout_sms import SMS_PROTOCOLS
from tests.world.run import random_moments

LINES = scale.size(8, 40)
LEAST_VALUES = scale.size(150, 500)
# The whole: each protocol of notices, with a quarter of all faults, and then the banks that break their word.
WORLDS: dict[str, Faults] = {name: every_fault(number) for number, name in enumerate(SMS_PROTOCOLS)}
WORLDS = (
    {**WORLDS, "every_fault": every_fault(3), "broken_word": broken_word()} if scale.FULL else {"http_batch": HONEST}
)
REFUSED = {
    "UNREADABLE",
    "UNSIGNED",
    "BAD_SIGNATURE",
    "SCHEMA",
    "WRONG_VERSION",
    "WRONG_TOTALS",
    "UNKNOWN_BATCH",
    "OVERSIZE",
}


def _one_of(name: str) -> str:
    return name if name in SMS_PROTOCOLS else "http_batch"


class Street:
    """One world after the other, each walked to its end; the last one stays up for the builds that leak."""

    def __init__(self, directory: Path) -> None:
        self.seen: list[Walked] = []
        self.hits: list[Hit] = []
        self.cast = Cast()
        for number, (name, faults) in enumerate(WORLDS.items()):
            place = directory / name
            plan = canary_plan(
                place, self.cast, lines=LINES, faults=faults, seed=scale.SEED, protocol=_one_of(name), best=scale.FULL
            )
            self.world = CanaryWorld(plan)
            self.world.__enter__()
            try:
                self._walk(number)
                if number < len(WORLDS) - 1:
                    self.world.stop()
            except BaseException:
                self.world.stop()
                raise

    def _walk(self, number: int) -> None:
        self.walk = Walk(self.world, self.cast)
        kills = tuple(random_moments(scale.SEED + number, scale.size(1, 3), 2, scale.size(4, 20)))
        # A slice does not come to rest in its time: it goes on when its one kill is certainly over.
        self.seen.append(self.walk.go(kills=kills, rest_seconds=scale.size(8, 120), thorough=scale.FULL))
        self.hits += self.walk.hits()


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    walked = Street(tmp_path_factory.mktemp("canaries"))
    yield walked
    walked.world.stop()


def test_no_canary_is_found_anywhere(street: Street) -> None:
    """Logs, pages, commands, topics, the database's files: in no spelling, not once."""
    assert len(set(street.cast.values)) >= LEAST_VALUES
    seen = street.seen
    scale.figure(
        "S3",
        canaries=len(set(street.cast.values)),
        hits=len(street.hits),
        worlds=list(WORLDS),
        refusals=dict(sum((one.refusals for one in seen), Counter())),
        outcomes=dict(sum((one.outcomes for one in seen), Counter())),
        orders=dict(sum((one.orders for one in seen), Counter())),
        faults=sum(sum(one.faults.values()) for one in seen),
        quarantined=sum(one.quarantined for one in seen),
        notices=sum(one.messages for one in seen),
        tracebacks=sum(one.tracebacks for one in seen),
        debug_lines=sum(one.debug_lines for one in seen),
    )
    assert street.hits == []


def test_every_path_was_walked(street: Street) -> None:
    """What did not happen was not proved: each kind of refusal, restarts, tracebacks, lines of DEBUG, topics."""
    for seen in street.seen:
        assert seen.refusals.keys() >= REFUSED
        assert seen.refused_lines >= set(LINE_ERRORS)
        assert min(seen.outcomes["credited"], seen.tracebacks, seen.records) > 0
        assert (seen.lives >= seen.started >= 3, seen.misused) == (True, 0)
        assert seen.debug_lines >= seen.started
    if scale.FULL:
        outcomes: Counter[str] = sum((one.outcomes for one in street.seen), Counter())
        orders: Counter[str] = sum((one.orders for one in street.seen), Counter())
        assert min(outcomes[name] for name in ("credited", "failed", "cancelled", "returned")) > 0
        assert min(orders["REISSUE"], orders["CANCEL"]) > 0
        assert all(seen.messages and seen.faults for seen in street.seen)
        assert sum(seen.quarantined for seen in street.seen) > 0


def test_a_crash_may_write_no_image_of_the_memory(street: Street) -> None:
    """Under an operator who collects core dumps the process has lowered its limit by itself."""
    limits = {int(line.split()[4]) for seen in street.seen for line in seen.core_limits if line}
    assert limits <= {0, 1}


def test_the_redactor_stops_a_careless_line(street: Street) -> None:
    """A line of the log with everything in it leaks nothing, because the redactor stands behind it."""
    assert street.walk.leak("careless", "") == []


@pytest.mark.parametrize("build", SHOWS_IN if scale.FULL else ["redactor_off"])
def test_a_build_that_leaks_is_seen(street: Street, build: str) -> None:
    """Redactor off; a column in plain; exceptions with their input; a library's debug lines: each is red."""
    hits = street.walk.leak(build, SHOWS_IN[build])
    scale.figure("S3 control", build=build, hits=len(hits), files=sorted({hit.file.split("/")[0] for hit in hits}))
    assert hits
