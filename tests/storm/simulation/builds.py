"""Builds of the gateway that are broken on purpose, each with the first seed that shows it.

The mistake is the one that the name says and no other. Where a mistake is the model check's too, it is that one.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from gateway.dispatch import Dispatch
from gateway.store import engine
from gateway.store.engine import sql
from gateway.store.orders import _Deciding
from tests.storm.model.bugs import (
    Patch,
    absent_before_settling,
    old_details_are_paid,
    resend_on_timeout,
    return_reopens_nothing,
)


def missed_cut_off_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What was not sent within two hours of its time, because everything was down or closed, is never looked at."""

    def recent(name: str) -> str:
        text = sql(name)
        return text.replace("s.due_at <= $4", "s.due_at BETWEEN $4 - interval '2 hours' AND $4")

    patch.setattr(engine, "sql", recent)


def hours_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """A bank is always open."""
    patch.setattr(Dispatch, "_is_open", lambda self, bank: True)


def recalls_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """A recall is noted, and the list is paid all the same."""

    async def note(self: _Deciding, batch: asyncpg.Record, ledger: Any, order_no: int) -> None:
        ledger.add(batch["batch_no"], self._at, "RECALLED", {"order": self._head.order_id, "lines": 0})

    patch.setattr(_Deciding, "_recall", note)


# By build: the first seed whose thirty days it does not survive, and what is complained of then: by the independent
# checker (its counter), or by the simulation itself where the matter is no counter's.
BUILDS: dict[Patch, tuple[int, str]] = {
    resend_on_timeout: (4, "checker: BR "),
    missed_cut_off_is_forgotten: (1, "checker: MP "),
    hours_are_ignored: (16, "hours: "),
    absent_before_settling: (1, "checker: BR "),
    return_reopens_nothing: (6, "checker: MP "),
    old_details_are_paid: (1, "checker: AC "),
    recalls_are_ignored: (8, "travelled after it had been called back"),
}
