"""Builds broken on purpose, planted into a gateway process by `build.py`: what misses one proves nothing.

``BUGS`` are the controls of the matrix. ``MISCOUNTS`` are those of the conservation of money: each is wrong in the same
way from the first page of its books on, so that the gateway comes to rest, agrees with itself, and finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway import dispatch, metrics
from gateway.dispatch import Dispatch
from gateway.intake import Intake
from gateway.policy import Approved
from gateway.receipts import Relay
from gateway.store import submissions
from gateway.store.engine import sql
from tests.storm.broken.sends_anyway import begin_anyway
from tests.storm.model.bugs import commit_after_the_call, resend_on_timeout


def published_before_sent(patch: pytest.MonkeyPatch) -> None:
    """Records are marked as published and then published: what happens in between is lost."""

    async def drain_lane(self: Relay, lane: int, fence: int) -> bool:
        rows = await self._store.outbox.waiting(lane, 50)
        if not rows:
            return False
        ids = [row["outbox_id"] for row in rows]
        if not await self._store.outbox.published(lane, self._store.owner, fence, ids, self._clock.now()):
            return False
        await self._publisher.publish(lane, [(row["topic"], row["record_key"], bytes(row["value"])) for row in rows])
        for row in rows:
            metrics.RECORDS_PUBLISHED.labels(topic=row["topic"], outcome="acknowledged").inc()
        return True

    patch.setattr(Relay, "_drain_lane", drain_lane)


_CLAIM = "fence = $2 AND state IN ('RENDERED', 'DEFERRED') AND lease_until > clock_timestamp()"


def no_fence_asked(patch: pytest.MonkeyPatch) -> None:
    """Who has claimed a submission sends it: SENDING asks nothing of the claim, nor does the last look at the time.

    Each of the three conditions, and the look, stands by itself between a process that slept and a bank: a build that
    has kept one of them sends nothing twice here, so that this one has none.
    """
    text = sql("write_sending")
    assert _CLAIM in text, "write_sending reads otherwise by now: this control removes nothing"
    loose = text.replace(_CLAIM, "$2::bigint IS NOT NULL")
    patch.setattr(submissions, "sql", lambda name: loose if name == "write_sending" else sql(name))
    patch.setattr(dispatch, "_uptime_seconds", lambda: 0)


def sends_anyway(patch: pytest.MonkeyPatch) -> None:
    """A commit of SENDING that failed is a formality: the bank is called all the same."""
    patch.setattr(Dispatch, "_begin", begin_anyway)


Verdicts = list[tuple[Any, Any]]  # lines of a part, each with what is to become of it


def _misjudge(patch: pytest.MonkeyPatch, alter: Callable[[Verdicts], Verdicts]) -> None:
    """Let each part be judged as it should be, and something else be written down."""
    judge = Intake._verdicts

    async def verdicts(self: Intake, *asked: Any) -> Verdicts:
        return alter(await judge(self, *asked))

    patch.setattr(Intake, "_verdicts", verdicts)


def line_left_out(patch: pytest.MonkeyPatch) -> None:
    """The last line of each part never comes into the books."""
    _misjudge(patch, lambda verdicts: verdicts[:-1])


def paid_short(patch: pytest.MonkeyPatch) -> None:
    """One line of each part is a fen short."""

    def alter(verdicts: Verdicts) -> Verdicts:
        (line, verdict), *others = verdicts
        assert isinstance(verdict, Approved)
        return [(line, verdict._replace(amount_fen=verdict.amount_fen - 1)), *others]

    _misjudge(patch, alter)


def amounts_exchanged(patch: pytest.MonkeyPatch) -> None:
    """The first two lines of each part get each other's amount: every sum stays right."""

    def alter(verdicts: Verdicts) -> Verdicts:
        (line, one), (next_line, other), *others = verdicts
        assert isinstance(one, Approved)
        assert isinstance(other, Approved)
        one, other = one._replace(amount_fen=other.amount_fen), other._replace(amount_fen=one.amount_fen)
        return [(line, one), (next_line, other), *others]

    _misjudge(patch, alter)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug
    for bug in (commit_after_the_call, resend_on_timeout, published_before_sent, no_fence_asked, sends_anyway)
}
MISCOUNTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug for bug in (amounts_exchanged, line_left_out, paid_short)
}


def plant(name: str) -> None:
    """Lay one bug over this process, for good."""
    (BUGS | MISCOUNTS)[name](pytest.MonkeyPatch())
