"""Statements: what a bank says that it booked proves, contradicts, and is held against the books line by line."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from adapters.contract import Artefact
from gateway import metrics
from gateway.store.statements import Reconciled
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected

TODAY = dt.date(2026, 11, 24)
DAY = dt.timedelta(days=1)


def entry(reference: str | None, booking: str = "DEBIT", amount_fen: int = 10_000, **more: Any) -> dict[str, Any]:
    return {"booking": booking, "reference": reference, "amount_fen": amount_fen, **more}


async def state(gateway: Gateway, day: dt.date, *entries: dict[str, Any], account: str | None = None) -> None:
    """The bank publishes a statement, and it is collected."""
    body = {"day": day.isoformat(), "account": account, "entries": entries}
    gateway.bank.files.append(Artefact.of(f"statement-{day}", json.dumps(body).encode()))
    assert await gateway.verify.collect(gateway.entry)


async def stated_by(gateway: Gateway, bank: str, day: dt.date, *entries: dict[str, Any]) -> Reconciled:
    """A bank's statement of all its accounts, perhaps another bank's, is held against the same books."""
    content = json.dumps({"day": day.isoformat(), "account": None, "entries": entries}).encode()
    statement = gateway.bank.statement(Artefact.of(f"statement-{bank}-{day}", content))
    assert statement is not None
    return await gateway.store.statements.reconcile(bank, statement, gateway.clock.now())


async def differences(gateway: Gateway, *, resolved: bool = False) -> list[tuple[str, str, int | None, int | None]]:
    rows = await gateway.store.statements.differences(100, resolved=resolved)
    return sorted((r["kind"], r["reference"], r["booked_fen"], r["expected_fen"]) for r in rows)


async def posted(gateway: Gateway, count: int, day: dt.date = TODAY) -> list[str]:
    """A list of which every line is credited, with a post date; the references."""
    await gateway.pay(count)
    await gateway.answer(*(credited(gateway, seq, post_date=day.isoformat()) for seq in range(1, count + 1)))
    return [gateway.reference_of(seq) for seq in range(1, count + 1)]


async def test_a_statement_that_agrees_leaves_a_row_with_its_totals_and_no_difference(gateway: Gateway) -> None:
    """Every credit of the day stands on it with its amount: counts and totals are kept, nothing is to be asked."""
    references = await posted(gateway, 3)
    await state(gateway, TODAY, *(entry(reference) for reference in references))
    assert await differences(gateway, resolved=True) == []
    async with gateway.store.engine.connection() as connection:
        (row,) = await connection.fetch("SELECT * FROM statements")
    assert (row["bank"], row["day"], row["debit_account"], row["readings"]) == ("rcc_file", TODAY, "", 1)
    assert (row["debits"], row["debits_fen"], row["credits"], row["returns"]) == (3, 30_000, 0, 0)


async def test_a_statement_proves_a_credit_that_was_in_doubt(gateway: Gateway) -> None:
    """The line went dead, no query helps, and the day's statement says that the payee was credited: paid, told once."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    assert await gateway.buckets() == {"in_doubt": 2}
    references = [gateway.reference_of(seq) for seq in (1, 2)]
    await state(gateway, TODAY, *(entry(reference, "CREDIT") for reference in references))
    assert await gateway.buckets() == {"credited": 2}
    assert len(await gateway.outcomes()) == 2
    assert await differences(gateway) == []


async def test_a_statement_proves_a_return(gateway: Gateway) -> None:
    """What came back stands on the statement: the payout is open again, and finance hears of it."""
    references = await posted(gateway, 1)
    await state(gateway, TODAY, entry(references[0]))
    await state(gateway, TODAY + DAY, entry(references[0], "RETURN", host_reference="R1"))
    assert await gateway.buckets() == {"failed": 1}
    assert [outcome[2] for outcome in await gateway.outcomes()] == ["credited", "returned"]
    assert await differences(gateway) == []


async def test_a_statement_that_credits_a_refused_line_freezes_it(gateway: Gateway) -> None:
    """Refused, and credited all the same: nothing more is sent for that payout, and the difference is listed."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2))
    await state(gateway, TODAY, entry(gateway.reference_of(1), "CREDIT"), entry(gateway.reference_of(2), "CREDIT"))
    assert await gateway.buckets() == {"conflict": 1, "credited": 1}
    assert await differences(gateway) == [("NOT_PAID", gateway.reference_of(1), 10_000, None)]


@pytest.mark.parametrize("answer", ["credited", "rejected", "nothing"])
async def test_a_debit_of_another_amount_freezes_the_payout(gateway: Gateway, answer: str) -> None:
    """A bank whose answers carry no amount debits one fen more: a conflict in every state, and never a credit."""
    await gateway.pay(2)
    first, second = gateway.reference_of(1), gateway.reference_of(2)
    words = {"credited": credited(gateway, 1, amount_fen=None), "rejected": rejected(gateway, 1)}
    await gateway.answer(*([words[answer]] if answer in words else []), credited(gateway, 2))
    before = len(await gateway.outcomes())
    await state(gateway, TODAY, entry(first, amount_fen=10_001), entry(second))
    assert await gateway.buckets() == {"conflict": 1, "credited": 1}
    assert ("AMOUNT", first, 10_001, 10_000) in await differences(gateway)
    assert len(await gateway.outcomes()) == before


async def test_a_line_debited_twice_freezes_the_payout_also_across_two_days(gateway: Gateway) -> None:
    """Each of two debits has the right amount; together they are twice the money, on whichever day it stands."""
    references = await posted(gateway, 2)
    await state(gateway, TODAY, *(entry(reference) for reference in references))
    assert await gateway.buckets() == {"credited": 2}
    await state(gateway, TODAY + DAY, entry(references[0], host_reference="H-AGAIN"))
    assert await gateway.buckets() == {"conflict": 1, "credited": 1}
    assert await differences(gateway) == [("AMOUNT", references[0], 20_000, 10_000)]


async def test_a_crash_between_comparing_and_freezing_still_freezes(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement is kept, the process dies, the file is read again: the same content still freezes the payout."""
    references = await posted(gateway, 1)
    compare = gateway.store.statements.reconcile

    async def compare_and_die(*arguments: Any) -> None:
        await compare(*arguments)
        raise ConnectionResetError

    monkeypatch.setattr(gateway.store.statements, "reconcile", compare_and_die)
    with pytest.raises(ConnectionResetError):
        await state(gateway, TODAY, entry(references[0], amount_fen=9_999))
    assert await gateway.buckets() == {"credited": 1}
    monkeypatch.undo()
    await gateway.verify.collect(gateway.entry)
    assert await gateway.buckets() == {"conflict": 1}


async def test_an_entry_that_names_nothing_of_ours_is_a_difference(gateway: Gateway) -> None:
    """Somebody else's reference, and an entry with none at all: each is listed, and moves nothing."""
    await gateway.pay(1)
    await state(gateway, TODAY, entry("NOBODYSREFERENCE0000000000"), entry(None, amount_fen=777))
    assert await gateway.buckets() == {"in_flight": 1}
    found = [("UNKNOWN", "", 777, None), ("UNKNOWN", "NOBODYSREFERENCE0000000000", 10_000, None)]
    assert await differences(gateway) == found


async def test_a_person_s_number_in_a_bank_s_free_text_is_not_kept(gateway: Gateway) -> None:
    """A bank that writes the payee's card where our reference belongs: the difference is listed, the card nowhere."""
    card = "6299990000007000023"
    await state(gateway, TODAY, entry(card), entry(None, submission=f"to {card}"))
    assert sorted(row[:2] for row in await differences(gateway)) == [
        ("UNKNOWN", "[digits]"),
        ("UNKNOWN", "to [digits]"),
    ]
    async with gateway.store.engine.connection() as connection:
        entries = [tuple(row) for row in await connection.fetch("SELECT * FROM statement_entries")]
    assert len(entries) == 2
    assert card not in str(entries) + str(await gateway.store.statements.differences(9))


async def test_a_debit_of_what_was_refused_is_open_until_the_money_comes_back(gateway: Gateway) -> None:
    """Debited and refused: a difference, until a later statement shows that it was put back."""
    await gateway.pay(2)
    refused = gateway.reference_of(1)
    await gateway.answer(rejected(gateway, 1), credited(gateway, 2, post_date=TODAY.isoformat()))
    await state(gateway, TODAY, entry(refused), entry(gateway.reference_of(2)))
    assert await differences(gateway) == [("NOT_PAID", refused, 10_000, None)]
    await state(gateway, TODAY + DAY, entry(refused, "RETURN"))
    assert await differences(gateway) == []
    assert len(await differences(gateway, resolved=True)) == 1


async def test_a_line_refused_after_its_debit_was_stated_is_found_by_the_next_statement(gateway: Gateway) -> None:
    """Debited on Tuesday while it was in process, refused on Wednesday: Wednesday's statement finds Tuesday's debit."""
    await gateway.pay(1)
    await state(gateway, TODAY, entry(gateway.reference_of(1)))
    assert await differences(gateway) == []
    await gateway.answer(rejected(gateway, 1))
    await state(gateway, TODAY + DAY)
    assert await differences(gateway) == [("NOT_PAID", gateway.reference_of(1), 10_000, None)]


async def test_a_statement_answers_for_its_day_and_for_what_it_found_on_others(gateway: Gateway) -> None:
    """What is said to differ of a statement: all that is open of its day, and what it found on another; of no third."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    assert (await stated_by(gateway, "rcc_file", TODAY)).differences == {}
    assert (await stated_by(gateway, "rcc_file", TODAY + DAY)).differences == {"MISSING": 1}  # of the day before
    corrected = await stated_by(gateway, "rcc_file", TODAY, entry(None))
    assert corrected.differences == {"MISSING": 1, "UNKNOWN": 1}
    assert (await stated_by(gateway, "rcc_file", TODAY + 2 * DAY)).differences == {}


async def test_a_debit_of_what_was_never_sent_is_a_difference(gateway: Gateway) -> None:
    """The bank debits a line whose bytes never left: nobody knows how, and people ask."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(1)
    async with gateway.store.engine.connection() as connection:
        reference = await connection.fetchval("SELECT reference FROM attempts")
    await state(gateway, TODAY, entry(reference))
    assert await differences(gateway) == [("NOT_PAID", reference, 10_000, None)]


async def test_evidence_settles_a_difference_without_another_statement(gateway: Gateway) -> None:
    """Thought unsent and debited; then the bank's result says that it was credited: nothing is left to ask."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(1)
    async with gateway.store.engine.connection() as connection:
        reference = await connection.fetchval("SELECT reference FROM attempts")
    await state(gateway, TODAY, entry(reference))
    await gateway.answer({"proof": "CREDITED", "reference": reference, "amount_fen": 10_000})
    assert await gateway.buckets() == {"credited": 1}
    assert await differences(gateway) == []
    assert len(await differences(gateway, resolved=True)) == 1


async def test_a_statement_with_differences_is_one_line_of_the_log(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many differ, one ERROR a statement says so: bank, day, how many, and the digest to find it by."""
    references = await posted(gateway, 3)
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("gateway.verify.log.error", lambda event, **keys: told.append((event, keys)), raising=False)
    await state(gateway, TODAY, entry(references[0]), entry("STRANGER00000000000000000X"))
    digest = gateway.bank.files[-1].sha256[:12]
    said = {"bank": "rcc_file", "at": TODAY, "digest": digest, "count": 3}
    assert told == [("statement differs", said)]
    await state(gateway, TODAY + DAY)
    assert len(told) == 1  # what was told of Tuesday is not told of Wednesday again


async def test_a_credit_of_the_day_that_is_not_on_its_statement_is_missing(gateway: Gateway) -> None:
    """Credited with that post date, and the complete statement of the day does not name it; the next one may."""
    references = await posted(gateway, 2)
    await state(gateway, TODAY, entry(references[0]))
    assert await differences(gateway) == [("MISSING", references[1], None, 10_000)]
    await state(gateway, TODAY + DAY, entry(references[1]))
    assert await differences(gateway) == []


async def test_a_credit_learned_after_its_statement_is_still_held_against_it(gateway: Gateway) -> None:
    """The result file of Tuesday comes on Wednesday, Tuesday's statement was read: Wednesday's reading finds it out."""
    await gateway.pay(1)
    await state(gateway, TODAY)
    gateway.clock.forward(days=1)
    await gateway.answer(credited(gateway, 1, post_date=TODAY.isoformat()))
    assert await differences(gateway) == []
    await state(gateway, TODAY + DAY)
    rows = await gateway.store.statements.differences(10)
    assert [(r["kind"], r["day"]) for r in rows] == [("MISSING", TODAY)]


async def test_without_a_post_date_only_a_later_day_s_statement_can_miss_a_credit(gateway: Gateway) -> None:
    """Where answers name no day, the credit may be booked on the day we learned of it: the statement after decides."""
    await state(gateway, TODAY - DAY)
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1), credited(gateway, 2))
    await state(gateway, TODAY, entry(gateway.reference_of(1)))
    assert await differences(gateway) == []
    await state(gateway, TODAY + DAY)
    assert await differences(gateway) == [("MISSING", gateway.reference_of(2), None, 10_000)]


async def test_what_was_sent_before_the_first_statement_is_not_missing(gateway: Gateway) -> None:
    """A bank that begins to send statements today has none of yesterday: its earlier credits are no difference."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    for days in (2, 3, 4):
        await state(gateway, TODAY + days * DAY)
    assert await differences(gateway) == []


async def test_the_statement_of_another_account_misses_nothing(gateway: Gateway) -> None:
    """A statement that names its account speaks of that account alone."""
    references = await posted(gateway, 1)
    await state(gateway, TODAY, account="650000000000000009")
    assert await differences(gateway) == []
    async with gateway.store.engine.connection() as connection:
        ours = await connection.fetchval("SELECT debit_account FROM submissions")
    await state(gateway, TODAY, account=ours)
    assert await differences(gateway) == [("MISSING", references[0], None, 10_000)]


async def test_a_submission_debited_in_one_sum_is_compared_by_its_total(gateway: Gateway) -> None:
    """One debit for the file covers its lines: all that was sent, or without what was refused; another differs."""
    await gateway.pay(3)
    await gateway.answer(rejected(gateway, 1), *(credited(gateway, seq) for seq in (2, 3)))
    sent = gateway.bank.sent[0].submission
    for amount_fen, found in ((30_000, []), (20_000, []), (25_000, [("AMOUNT", sent, 25_000, 30_000)])):
        await state(gateway, TODAY, entry(None, amount_fen=amount_fen, submission=sent))
        assert await differences(gateway) == found
    await state(gateway, TODAY + 2 * DAY)
    assert await differences(gateway) == [("AMOUNT", sent, 25_000, 30_000)]


async def test_the_same_statement_twice_changes_nothing_and_a_rewritten_one_cures(gateway: Gateway) -> None:
    """Read again: not one row more. Rewritten: compared anew, and what it puts right is resolved, what not stays."""
    references = await posted(gateway, 2)
    wrong = [entry(references[0], "CREDIT"), entry("STRANGER00000000000000000X")]
    await state(gateway, TODAY, *wrong)
    gateway.clock.forward(hours=1)
    before = await gateway.store.statements.differences(10)
    await gateway.store.submissions.move_cursor("rcc_file", "")
    await gateway.verify.collect(gateway.entry)
    assert await gateway.store.statements.differences(10) == before
    assert len(before) == 2
    await state(gateway, TODAY, *wrong, entry(references[1], "CREDIT"))
    assert [row[0] for row in await differences(gateway)] == ["UNKNOWN"]
    await state(gateway, TODAY, *(entry(reference, "CREDIT") for reference in references))
    assert await differences(gateway) == []
    assert await gateway.buckets() == {"credited": 2}
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT readings FROM statements") == 3
        assert await connection.fetchval("SELECT count(*) FROM statement_entries") == 2
    await state(gateway, TODAY, *wrong)
    assert [row[0] for row in await differences(gateway)] == ["MISSING", "UNKNOWN"]
    assert len(await differences(gateway, resolved=True)) == 2


async def test_a_torn_statement_yields_nothing(gateway: Gateway) -> None:
    """A statement that cannot be trusted as a whole is set aside: no evidence, no comparison."""
    references = await posted(gateway, 1)
    gateway.bank.files.append(Artefact.of("statement-torn", b"torn"))
    await gateway.verify.collect(gateway.entry)
    await state(gateway, TODAY, entry(references[0]))
    assert await differences(gateway) == []
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM statements") == 1


async def test_open_differences_are_a_gauge_by_bank_and_kind(gateway: Gateway) -> None:
    """What people have to ask the bank about shows, and goes to zero again when a statement cures it."""
    references = await posted(gateway, 2)
    gauge = metrics.STATEMENT_DIFFERENCES.labels(bank="rcc_file", kind="MISSING")
    for entries, open_ones in ((references[:1], 1), (references, 0)):
        await state(gateway, TODAY, *(entry(reference) for reference in entries))
        await gateway.watch.gauges()
        assert gauge._value.get() == open_ones
