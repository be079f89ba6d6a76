"""A claim: the right to take the next step with one submission, for as long as its lease and its fence hold."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.store.engine import Row


class Fenced(Exception):
    """Somebody else holds this submission now, or its state has moved on. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to take the next step with one submission, until the lease ends."""

    submission_id: int
    batch_no: int
    fence: int


def claim_of(row: Row) -> Claim:
    return Claim(row["submission_id"], row["batch_no"], row["fence"])
