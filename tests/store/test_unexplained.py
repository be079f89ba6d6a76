"""Money that a bank speaks of without saying what it was: kept, and told to people where no doubt would ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.contract import Artefact, Evidence, Proof
from tests.store.kit import Gateway
from tests.store.test_payment import credited


def doubt(reference: str | None = None, submission: str | None = None, **more: Any) -> Evidence:
    return Evidence(Proof.IN_DOUBT, reference=reference, submission=submission, **{"amount_fen": 10_000, **more})


async def hear(gateway: Gateway, *evidence: Evidence) -> list[str]:
    """The names that people are told of."""
    recorded = await gateway.verify._hear(gateway.entry, gateway.clock.now(), list(evidence), ())
    assert recorded is not None
    return recorded.unexplained


async def kept(gateway: Gateway) -> list[tuple[str, str, int | None]]:
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT effect, reference, amount_fen FROM evidence ORDER BY evidence_id")
    return [(row["effect"], row["reference"], row["amount_fen"]) for row in rows]


async def test_a_sum_under_a_settled_line_is_kept_and_told_once(gateway: Gateway) -> None:
    """A return that the bank does not name so moves nothing; it is not dropped, and its repetition is no news."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    line = gateway.reference_of(1)
    assert await hear(gateway, doubt(line)) == [line]
    assert await hear(gateway, doubt(line)) == []
    assert await hear(gateway, doubt(line, host_reference="H9")) == [line]
    assert await kept(gateway) == [("LATE", line, 10_000)] * 2
    assert await gateway.buckets() == {"credited": 1}


async def test_a_sum_under_a_submission_that_is_over_is_kept_and_told(gateway: Gateway) -> None:
    """The same of a whole file whose lines are all settled."""
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1), credited(gateway, 2))
    name = gateway.bank.sent[0].submission
    assert await hear(gateway, doubt(submission=name, amount_fen=20_000)) == [name]
    assert await kept(gateway) == [("LATE", name, 20_000)]


async def test_a_sum_under_an_open_line_is_kept_and_asked_about(gateway: Gateway) -> None:
    """Where the line is doubtful by it, the doubt calls people in its time: no page of its own."""
    await gateway.pay(1)
    line = gateway.reference_of(1)
    assert await hear(gateway, doubt(line, amount_fen=9_999)) == []
    assert await kept(gateway) == [("LATE", line, 9_999)]
    assert await gateway.buckets() == {"in_doubt": 1}


async def test_a_doubt_without_an_amount_is_nothing_to_keep(gateway: Gateway) -> None:
    """An unknown code about a settled line tells of no money."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    assert await hear(gateway, doubt(gateway.reference_of(1), amount_fen=None)) == []
    assert await kept(gateway) == []


@pytest.mark.parametrize("reference", [None, "01AAAAAAAAAAAAAAAAAAAAAAAA"])
async def test_a_sum_that_fits_no_line_is_unmatched(gateway: Gateway, reference: str | None) -> None:
    """Under a name that is none of ours, or under none at all: kept, and told as any word about strangers."""
    recorded = await gateway.verify._hear(gateway.entry, gateway.clock.now(), [doubt(reference)], ())
    assert recorded is not None
    assert len(recorded.unmatched) == 1
    assert await kept(gateway) == [("UNMATCHED", reference or "", 10_000)]


async def test_an_amount_that_no_book_can_hold_sets_its_file_aside(gateway: Gateway) -> None:
    """One artefact with a senseless amount is quarantined whole; what lies behind it is read."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1, amount_fen=2**63))
    assert await gateway.buckets() == {"in_flight": 1}
    async with gateway.store.engine.connection() as connection:
        assert [r["quarantined"] for r in await connection.fetch("SELECT quarantined FROM artefacts")] == ["UNFIT"]
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"credited": 1}


@pytest.mark.parametrize("mistake", [KeyError("line"), ZeroDivisionError(), RecursionError(), AssertionError()])
async def test_a_mistake_of_an_adapters_reader_sets_one_file_aside(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, mistake: Exception
) -> None:
    """A reader that falls over one file names its mistake there, and does not keep the files behind it waiting."""
    await gateway.pay(1)
    read = gateway.bank.parse

    def fall_once(artefact: Artefact) -> Iterator[Evidence]:
        monkeypatch.setattr(gateway.bank, "parse", read)
        raise mistake

    monkeypatch.setattr(gateway.bank, "parse", fall_once)
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"in_flight": 1}
    async with gateway.store.engine.connection() as connection:
        aside = [row["quarantined"] for row in await connection.fetch("SELECT quarantined FROM artefacts")]
    assert aside == [f"FAULT {type(mistake).__name__}"]
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"credited": 1}
