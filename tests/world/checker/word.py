"""Where a bank broke its own declared word: the cases in which no gateway could have kept the money right.

Each is excused from the counters about money and must instead have frozen the payout: a CONFLICT that somebody was told
about, and no transmission after the contradiction was in the gateway's hands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.world.checker.ledgers import Answer, Ledgers, Rail
from tests.world.checker.stories import Story

DENIALS = frozenset({"NOT_TAKEN", "ABSENT"})
GRACE_MS = 5_000  # real; from an answer leaving the bank until it must have stopped a transmission


@dataclass(frozen=True, slots=True)
class Broken:
    """One payout for which a bank said or did two things that cannot both be true."""

    story: Story
    what: str
    delivered_ms: int | None  # real time; None: the gateway was never told the second thing


def broken_word(story: Story, ledgers: Ledgers) -> Broken | None:
    """The first contradiction of a payout, None for an honest bank."""
    found = sorted(
        (each for rail in story.rails for each in _of_rail(rail, ledgers)),
        key=lambda each: (each[1] is None, each[1] or 0),
    )
    return Broken(story, found[0][0], found[0][1]) if found else None


def _of_rail(rail: Rail, ledgers: Ledgers) -> Iterator[tuple[str, int | None]]:
    """Contradictions within what became of one transmission: what a second one leads to is not the bank's word."""
    credited_told = _told([one for one in rail.answers if one.status == "CREDITED"], ledgers)
    for credit in rail.credits:
        sent = [one for one in rail.transmissions if one.n == credit.submission]
        if sent and all(one.amount_fen != credit.amount_fen for one in sent):
            # A bank whose results carry no amounts tells it in the day's statement only.
            with_amount = [one for one in rail.answers if one.status == "CREDITED" and one.amount_fen is not None]
            yield "credited another amount", _told(with_amount, ledgers)
        rejected = [one for one in rail.answers if one.status == "REJECTED" and one.n > credit.submission]
        rejected = [one for one in rejected if one.submission in (0, credit.submission)]
        if any(one.n < credit.n for one in rejected):
            yield "credited after it had rejected", credited_told
        later = [one for one in rejected if one.n > credit.n]
        if later:
            yield "rejected after it had credited", _later(credited_told, _told(later, ledgers))
        batch = sent[0].batch if sent else ""
        said = [one for one in ledgers.clearing(rail, batch, credit.submission) if one.status in DENIALS]
        if any(credit.submission < one.n < credit.n for one in said):
            yield "credited what it had said it never took", credited_told
    lines = [(credit.submission, credit.line) for credit in rail.credits]
    if len(set(lines)) != len(lines):
        yield "credited one line twice", credited_told


def _told(answers: list[Answer], ledgers: Ledgers) -> int | None:
    times = [time for time in map(ledgers.delivered_ms, answers) if time is not None]
    return min(times, default=None)


def _later(one: int | None, other: int | None) -> int | None:
    """When both halves of a contradiction had been heard."""
    return None if one is None or other is None else max(one, other)


def transmitted_after(broken: Broken) -> int:
    """Transmissions of the payout after the contradiction was delivered."""
    if broken.delivered_ms is None:
        return 0
    limit = broken.delivered_ms + GRACE_MS
    return sum(one.wall_ms > limit for one in broken.story.transmissions)
