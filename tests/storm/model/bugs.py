"""Ten builds of the gateway that are broken on purpose: a check that does not find them proves nothing.

Each bug is the mistake that its name says and no other; everything else is the real gateway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import asyncpg
import pytest

from adapters.contract import Proof
from gateway import dispatch, states
from gateway.banks import Bank
from gateway.dispatch import Dispatch
from gateway.states import NOOP, Cell, State
from gateway.store import case, ids, orders, submissions
from gateway.store.engine import sql
from gateway.store.orders import _Deciding
from gateway.store.submissions import Claim, Fenced
from schemas.v1 import OrderKind

Patch = Callable[[pytest.MonkeyPatch], None]


def resend_on_timeout(patch: pytest.MonkeyPatch) -> None:
    """Whatever was raised, nothing can have left: the same bytes go again."""
    patch.setattr(dispatch, "proof_of_raising", lambda wire: Proof.NOT_SENT)
    patch.setattr(dispatch, "_as_the_wire_says", lambda wire, evidence: evidence)  # the second look at the wire


def commit_after_the_call(patch: pytest.MonkeyPatch) -> None:
    """SENDING is written when the bank has answered."""

    async def send_one(self: Dispatch, bank: Bank, row: Mapping[str, Any], claimed_at: int) -> bool:
        claim = Claim(row["submission_id"], row["batch_no"], row["fence"])
        rendered = self._rendered(bank, row, await self._store.submissions.sent_references(claim.submission_id))
        if rendered is None:
            return True
        answer = await self._submit(bank, rendered, claim)
        try:
            sent_at = await self._begin(bank, claim)
        except Fenced:
            return True
        if sent_at is not None:
            await self._hear(bank, claim, row["transmissions"] + 1, sent_at, answer)
        return True

    patch.setattr(Dispatch, "_send_one", send_one)


def absent_before_settling(patch: pytest.MonkeyPatch) -> None:
    """ "Not found" is believed whenever it is said."""

    def believe(proof: Proof, **circumstances: Any) -> bool:
        return proof is Proof.ABSENT or states.believable(proof, **circumstances)

    patch.setattr(case, "believable", believe)


def unknown_overwrites_known(patch: pytest.MonkeyPatch) -> None:
    """An answer that nobody understands makes a credit doubtful again."""
    _patch_cells(
        patch, {(State.CREDITED, Proof.IN_DOUBT): State.IN_DOUBT, (State.CREDITED, Proof.ABSENT): State.IN_DOUBT}
    )


def reissue_while_in_doubt(patch: pytest.MonkeyPatch) -> None:
    """An order may pay again what nobody knows the outcome of."""
    demand, reissue = orders._demand_open_to, _Deciding._reissue

    def demand_less(kind: OrderKind, state: State | None) -> None:
        if state not in states.DOUBTFUL:
            demand(kind, state)

    async def close_and_reissue(
        self: _Deciding,
        batch: asyncpg.Record,
        ledger: Any,
        payout: asyncpg.Record,
        latest: asyncpg.Record,
        order_no: int,
    ) -> None:
        if latest["live"]:
            await self._connection.execute(
                sql("void_attempts"), latest["submission_id"], [latest["reference"]], self._at
            )
        await reissue(self, batch, ledger, payout, latest, order_no)

    patch.setattr(orders, "_demand_open_to", demand_less)
    patch.setattr(_Deciding, "_reissue", close_and_reissue)


def credit_told_twice(patch: pytest.MonkeyPatch) -> None:
    """A credit that is read again is a credit."""
    _patch_cells(patch, {(State.CREDITED, Proof.CREDITED): State.CREDITED})


def fenced_may_send(patch: pytest.MonkeyPatch) -> None:
    """Whoever once had the claim may record SENDING."""

    loose = sql("write_sending").replace("AND fence = $2 AND", "AND $2::bigint IS NOT NULL AND")
    loose = loose.replace("AND lease_until > clock_timestamp()", "")
    assert loose.count("fence") + loose.count("lease_until") == 0
    _patch_query(patch, "write_sending", loose)


def return_reopens_nothing(patch: pytest.MonkeyPatch) -> None:
    """Money that came back is noted by nobody."""
    _patch_cells(patch, {(State.CREDITED, Proof.RETURNED): NOOP})


def stale_order_acts(patch: pytest.MonkeyPatch) -> None:
    """An order is about the payout, whichever attempt it names."""
    decide = _Deciding._one

    async def one(self: _Deciding, batch: asyncpg.Record, ledger: Any, order_no: int) -> None:
        key = ids.payout_id(batch["batch_no"], self._head.line or 0)
        latest = await self._connection.fetchrow(sql("latest_attempt"), key)
        if latest is not None:
            self._head = dataclasses.replace(self._head, attempt=latest["attempt_no"])
        await decide(self, batch, ledger, order_no)

    patch.setattr(_Deciding, "_one", one)


def old_details_are_paid(patch: pytest.MonkeyPatch) -> None:
    """A further attempt is made with the details of the list, whatever the order corrected."""

    loose = sql("lines_to_render").replace("coalesce(a.sealed, p.sealed)", "p.sealed")
    loose = loose.replace("CASE WHEN a.sealed IS NULL THEN 0 ELSE a.order_no END", "0")
    assert loose.count("a.sealed") == 0
    _patch_query(patch, "lines_to_render", loose)


def late_success_overwrites_failed(patch: pytest.MonkeyPatch) -> None:
    """What a bank pays after it had rejected it is simply paid: nothing freezes, nobody is called. R20's own."""
    _patch_cells(patch, {(State.REJECTED, Proof.CREDITED): State.CREDITED})


def _patch_query(patch: pytest.MonkeyPatch, query: str, text: str) -> None:
    """One query of the submissions reads otherwise."""
    patch.setattr(submissions, "sql", lambda name: text if name == query else sql(name))


def _patch_cells(patch: pytest.MonkeyPatch, cells: Mapping[tuple[State, Proof], Cell]) -> None:
    table = {state: dict(row) for state, row in states.TABLE.items()}
    for (state, proof), cell in cells.items():
        table[state][proof] = cell
    patch.setattr(states, "TABLE", MappingProxyType(table))


BUGS: tuple[Patch, ...] = (
    resend_on_timeout,
    commit_after_the_call,
    absent_before_settling,
    unknown_overwrites_known,
    reissue_while_in_doubt,
    credit_told_twice,
    fenced_may_send,
    return_reopens_nothing,
    stale_order_acts,
    old_details_are_paid,
)
