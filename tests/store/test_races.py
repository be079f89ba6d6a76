"""A judging that another one overtakes is done again, and one that is always overtaken does not spin for ever."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from gateway.intake import RACES_ALLOWED, REST_AFTER_FAILURE
from gateway.store.batches import Judging
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_intake import OTHER, refused_lines


async def nobody(judging: Judging, people: Sequence[UUID]) -> set[UUID]:
    """A look that never sees whom another list has approved: the schema refuses what is judged by it."""
    return set()


async def test_a_part_that_cannot_be_judged_for_a_race_that_never_ends_rests_and_holds_nobody_up(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told, and tried again later; the person is not approved twice, and the list behind it is judged at once."""
    await gateway.batch([kit.line(1)])
    await gateway.judge()
    monkeypatch.setattr(Judging, "already_approved", nobody)
    await gateway.batch([kit.line(1), kit.line(2)], OTHER)
    await gateway.batch([{**kit.line(3), "line": 1}], OTHER + "-Q")
    turns = 0
    while await gateway.intake.judge_next():
        turns += 1
        assert turns <= RACES_ALLOWED + 5
    (third,) = await gateway.store.reads.find_batches("3")
    assert (third["state"], third["approved_lines"]) == ("AWAITING_FUNDS", 1)
    monkeypatch.undo()
    gateway.clock.forward(seconds=int(REST_AFTER_FAILURE.total_seconds()) + 1)
    await gateway.judge()
    assert await refused_lines(gateway, 2) == {1: "DUPLICATE_BENEFICIARY"}


async def test_races_that_are_won_in_between_do_not_add_up(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those of one part in a row count: what happened to a list's earlier parts does not put it to rest."""
    await gateway.batch([kit.line(1)])
    await gateway.judge()
    await gateway.batch([kit.line(1), kit.line(2)], OTHER, parts=2)
    for _ in range(RACES_ALLOWED - 1):
        with monkeypatch.context() as overtaken:
            overtaken.setattr(Judging, "already_approved", nobody)
            assert await gateway.intake.judge_next()
    assert await gateway.intake.judge_next()
    assert gateway.intake._races == {}
    await gateway.judge()
    assert await refused_lines(gateway, 2) == {1: "DUPLICATE_BENEFICIARY"}
