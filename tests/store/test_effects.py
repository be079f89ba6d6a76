"""What `record` says of a bank's words: each counts once, under what it did. Metrics and log lines are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from adapters.contract import Evidence, Proof, Reason
from gateway.store import evidence
from gateway.store.hearing import Heard, Recorded
from tests.store import kit
from tests.store.kit import Gateway


class Bank:
    """Says words about what was sent last, and gives what became of them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def line(self, seq: int, proof: Proof, **more: Any) -> Evidence:
        return Evidence(proof, reference=self._gateway.reference_of(seq), **more)

    def whole(self, proof: Proof, **more: Any) -> Evidence:
        return Evidence(proof, submission=self._gateway.bank.sent[-1].submission, **more)

    async def says(self, *words: Evidence, **heard: Any) -> Recorded:
        now = self._gateway.clock.now()
        given = {"deferred_until": now, **heard}
        return await self._gateway.store.evidence.record(Heard("rcc_file", now, now, **given), list(words))


def effects(recorded: Recorded) -> Mapping[str, int]:
    """``{"CREDITED move": 1}``"""
    return {
        f"{proof.value if isinstance(proof, Proof) else proof} {what}": n
        for (proof, what), n in recorded.effects.items()
    }


async def in_doubt(gateway: Gateway, count: int) -> Bank:
    gateway.bank.submits = kit.hang_up
    await gateway.pay(count)
    gateway.clock.forward(minutes=40)
    return Bank(gateway)


async def test_what_moves_and_what_is_known_already(gateway: Gateway) -> None:
    """Of a whole submission and of a line: the first word moves, its repeat does nothing, each counted once."""
    bank = await in_doubt(gateway, 2)
    assert effects(await bank.says(bank.whole(Proof.RECEIVED))) == {"RECEIVED move": 1}
    assert effects(await bank.says(bank.whole(Proof.RECEIVED))) == {"RECEIVED noop": 1}
    assert effects(await bank.says(bank.whole(Proof.IN_DOUBT))) == {"IN_DOUBT move": 1}
    assert effects(await bank.says(bank.whole(Proof.IN_DOUBT))) == {"IN_DOUBT noop": 1}
    first = await bank.says(bank.line(1, Proof.CREDITED, amount_fen=10_000, host_reference="H"))
    assert (effects(first), first.settled, first.conflicts, first.fees) == ({"CREDITED move": 1}, 1, 0, 0)
    assert first.credit_seconds == [40 * 60]
    again = await bank.says(bank.line(1, Proof.CREDITED, amount_fen=10_000, host_reference="H"))
    assert (effects(again), again.settled, again.credit_seconds) == ({"CREDITED noop": 1}, 0, [])
    both = await bank.says(
        bank.line(2, Proof.REJECTED, reason=Reason.ACCOUNT_CLOSED), bank.line(2, Proof.REJECTED, reason=Reason.UNKNOWN)
    )
    assert (effects(both), both.settled) == ({"REJECTED move": 1, "REJECTED noop": 1}, 1)


async def test_what_contradicts_freezes_and_another_amount_counts_as_a_fee(gateway: Gateway) -> None:
    """A conflict is counted by payout; only a wrong amount is a fee."""
    bank = await in_doubt(gateway, 2)
    fee = await bank.says(bank.line(1, Proof.CREDITED, amount_fen=9_990))
    assert (effects(fee), fee.conflicts, fee.fees) == ({"CREDITED conflict": 1}, 1, 1)
    await bank.says(bank.line(2, Proof.REJECTED, reason=Reason.ACCOUNT_CLOSED))
    turned = await bank.says(bank.line(2, Proof.CREDITED, amount_fen=10_000))
    assert (effects(turned), turned.conflicts, turned.fees) == ({"CREDITED conflict": 1}, 1, 0)
    assert await gateway.buckets() == {"conflict": 2}


async def test_what_is_nobody_s_and_what_is_only_kept(gateway: Gateway) -> None:
    """A name that is not ours is unmatched; an amount without proof is kept, and of a settled line it pages."""
    bank = await in_doubt(gateway, 1)
    nobody = Evidence(Proof.CREDITED, reference="NOBODY", amount_fen=1)
    unmatched = await bank.says(nobody)
    assert (effects(unmatched), unmatched.unmatched) == ({"CREDITED unmatched": 1}, [nobody])
    open_yet = await bank.says(bank.line(1, Proof.IN_DOUBT, amount_fen=10_000))
    assert (effects(open_yet), open_yet.settled, open_yet.unexplained) == ({"IN_DOUBT noop": 1}, 0, [])
    await bank.says(bank.line(1, Proof.REJECTED, reason=Reason.ACCOUNT_CLOSED))
    settled = await bank.says(bank.line(1, Proof.IN_DOUBT, amount_fen=10_000, host_reference="R-9"))
    assert effects(settled) == {"IN_DOUBT noop": 1, "IN_DOUBT unexplained": 1}
    assert (settled.settled, settled.unexplained) == (0, [gateway.reference_of(1)])


async def test_a_denial_defers_once_and_pauses_only_for_a_reason_of_the_bank_s(gateway: Gateway) -> None:
    """Never had it: the submission may travel again. Refused for its form: the bank is paused as well."""
    bank = await in_doubt(gateway, 1)
    denied = await bank.says(bank.whole(Proof.NOT_TAKEN, reason=Reason.BANK_BUSY), settling_seconds=1800)
    assert (effects(denied), denied.paused) == ({"NOT_TAKEN move": 1}, False)
    again = await bank.says(bank.whole(Proof.NOT_TAKEN, reason=Reason.BANK_BUSY), settling_seconds=1800)
    assert effects(again) == {"NOT_TAKEN noop": 1}
    await gateway.send()
    gateway.clock.forward(minutes=40)
    formal = await bank.says(bank.whole(Proof.NOT_TAKEN, reason=Reason.FORMAT), settling_seconds=1800)
    assert (effects(formal), formal.paused) == ({"NOT_TAKEN move": 1}, True)


async def test_a_credit_beyond_its_limit_is_counted_late(gateway: Gateway) -> None:
    """Three working days are over: paid, told of, and counted."""
    bank = await in_doubt(gateway, 2)
    in_time = await bank.says(bank.line(1, Proof.CREDITED, amount_fen=10_000))
    gateway.clock.forward(days=4)
    beyond = await bank.says(bank.line(2, Proof.CREDITED, amount_fen=10_000))
    assert (in_time.late, beyond.late) == (0, 1)


@pytest.mark.parametrize(("races", "recorded"), [(4, True), (5, False)])
async def test_a_lost_race_is_run_again_from_its_start_and_not_for_ever(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, races: int, recorded: bool
) -> None:
    """Deadlocks are PostgreSQL's word that nothing happened: five tries, then the caller hears of it."""
    bank = await in_doubt(gateway, 1)
    lost = iter([asyncpg.DeadlockDetectedError("deadlock detected")] * races)
    really = evidence._record

    async def races_first(*arguments: Any) -> Recorded:
        if (error := next(lost, None)) is not None:
            raise error
        return await really(*arguments)

    monkeypatch.setattr(evidence, "_record", races_first)
    word = bank.line(1, Proof.CREDITED, amount_fen=10_000)
    if recorded:
        assert effects(await bank.says(word)) == {"CREDITED move": 1}
    else:
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await bank.says(word)
        assert await gateway.buckets() == {"in_doubt": 1}


async def test_what_is_no_race_is_not_tried_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours, or of the schema's, would only happen again."""
    bank = await in_doubt(gateway, 1)
    tries = 0

    async def refuses(*arguments: Any) -> Recorded:
        nonlocal tries
        tries += 1
        raise asyncpg.CheckViolationError("a check")

    monkeypatch.setattr(evidence, "_record", refuses)
    with pytest.raises(asyncpg.CheckViolationError):
        await bank.says(bank.line(1, Proof.CREDITED, amount_fen=10_000))
    assert tries == 1


async def test_a_doubt_about_what_came_back_is_kept_if_it_names_another_booking(gateway: Gateway) -> None:
    """After the return a doubt moves nothing; under a number that nobody knows it stays for people, and counts once."""
    bank = await in_doubt(gateway, 1)
    for proof, booking in ((Proof.CREDITED, "H"), (Proof.RETURNED, "R"), (Proof.IN_DOUBT, "R2")):
        amount = None if proof is Proof.IN_DOUBT else 10_000
        last = await bank.says(bank.line(1, proof, amount_fen=amount, host_reference=booking))
    assert (effects(last), last.settled, last.conflicts) == ({"IN_DOUBT noop": 1}, 0, 0)
    async with gateway.store.engine.connection() as connection:
        kept = await connection.fetch("SELECT proof, effect, host_reference FROM evidence")
    assert [tuple(row) for row in kept] == [("IN_DOUBT", "LATE", "R2")]


async def test_only_exact_repeats_are_no_news(gateway: Gateway) -> None:
    """What is on record to the letter is left out; another booking, another amount or another outcome is looked at."""
    bank = await in_doubt(gateway, 2)
    credit = {"amount_fen": 10_000, "host_reference": "H"}
    first = bank.line(1, Proof.CREDITED, **credit)
    assert await gateway.store.evidence.news("rcc_file", [first]) == [first]
    await bank.says(first, bank.line(2, Proof.REJECTED, reason=Reason.ACCOUNT_CLOSED))
    other = [
        bank.line(1, Proof.CREDITED, amount_fen=10_000, host_reference="H2"),
        bank.line(1, Proof.CREDITED, amount_fen=9_999, host_reference="H"),
        bank.line(1, Proof.REJECTED, reason=Reason.ACCOUNT_CLOSED),
    ]
    known = [first, bank.line(2, Proof.REJECTED, reason=Reason.UNKNOWN)]
    assert await gateway.store.evidence.news("rcc_file", [*known, *other]) == other
    assert await gateway.store.evidence.news("json_https", [first]) == [first]
