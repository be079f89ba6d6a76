"""One debit for a whole submission hides nothing: no second file, no file that was not taken, no refused lines."""

from __future__ import annotations

import pytest

from adapters.contract import Reason
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import DAY, TODAY, differences, entry, state
from tests.store.test_statements_hold import later, refuse


async def submissions(gateway: Gateway) -> list[tuple[str, str]]:
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT state, reference FROM submissions ORDER BY submission_id")
    return [(row["state"], row["reference"]) for row in rows]


async def test_a_retired_file_that_is_debited_beside_its_successor_is_a_difference(gateway: Gateway) -> None:
    """Refused for its format, paid as a new file, and both are debited in full: twice the money, and it is told."""
    gateway.bank.submits = refuse(Reason.FORMAT)
    await gateway.pay(2)
    await gateway.store.pauses.resume(["rcc_file"])
    gateway.bank.submits = kit.received
    await gateway.send()
    (was, old), (is_now, new) = await submissions(gateway)
    assert (was, is_now) == ("RETIRED", "SUBMITTED")
    await gateway.answer(*(credited(gateway, seq) for seq in (1, 2)))
    await state(gateway, TODAY, *(entry(None, submission=name, amount_fen=20_000) for name in (old, new)))
    assert await differences(gateway, resolved=True) == [("AMOUNT", old, 20_000, 0)]


@pytest.mark.parametrize("second", [Reason.FORMAT, Reason.FUNDS_SHORT])
@pytest.mark.parametrize("serials", [("H1", "H2"), (None, None)])
async def test_a_line_in_the_sums_of_two_files_of_one_day_is_a_difference_each(
    gateway: Gateway, second: Reason, serials: tuple[str | None, str | None]
) -> None:
    """Refused for its format, its successor not taken either, and both debited: the statement can be compared."""
    gateway.bank.submits = refuse(Reason.FORMAT)
    await gateway.pay(1)
    await gateway.store.pauses.resume(["rcc_file"])
    gateway.bank.submits = refuse(second)
    await gateway.send()
    await gateway.store.pauses.resume(["rcc_file"])
    gateway.bank.submits = kit.received
    old, new = [name for _, name in (await submissions(gateway))[:2]]
    both = [entry(None, submission=n, host_reference=s) for n, s in zip((old, new), serials, strict=True)]
    await state(gateway, TODAY, *both)
    assert "NOT_PAID" in {found[0] for found in await differences(gateway)}
    assert await later(gateway) == 2
    await state(gateway, TODAY, both[1])
    assert await later(gateway) == 2


@pytest.mark.parametrize("first", ["sum", "lines", "both"])
async def test_a_statement_that_is_rewritten_in_another_form_holds_on(gateway: Gateway, first: str) -> None:
    """Not taken and debited, in one sum or line by line; rewritten the other way, the lines stay where they are."""
    gateway.bank.submits = refuse(Reason.FUNDS_SHORT)
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    whole = [entry(None, submission=gateway.bank.sent[0].submission, amount_fen=20_000)]
    lines = [entry(reference) for reference in gateway.bank.sent[0].references]
    forms = {"sum": (whole, lines), "lines": (lines, whole), "both": ([*whole, *lines], whole)}
    for form in forms[first]:
        await state(gateway, TODAY, *form)
        assert {found[0] for found in await differences(gateway)} >= {"NOT_PAID"}
        assert await later(gateway) == 1
    await state(gateway, TODAY)
    assert await later(gateway) == 2


async def test_a_file_not_taken_that_is_debited_does_not_travel_again(gateway: Gateway) -> None:
    """The bank took nothing, then debits it in one sum: each line is held back until that entry is gone."""
    gateway.bank.submits = refuse(Reason.FUNDS_SHORT)
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    ((_, name),) = await submissions(gateway)
    references = sorted(gateway.bank.sent[0].references)
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=20_000))
    assert await differences(gateway) == [("NOT_PAID", reference, 10_000, None) for reference in references]
    assert await later(gateway) == 1
    await state(gateway, TODAY + DAY)
    assert await later(gateway, hours=1) == 1
    await state(gateway, TODAY)
    assert await differences(gateway) == []
    assert await later(gateway) == 2
    assert sorted(gateway.bank.sent[1].references) == references


async def test_what_was_refused_of_a_sum_must_come_back_within_two_days(gateway: Gateway) -> None:
    """All lines refused, the sum debited: a bank has two days to put it back, then every line is listed and held."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), rejected(gateway, 2))
    ((_, name),) = await submissions(gateway)
    references = sorted(gateway.reference_of(seq) for seq in (1, 2))
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=20_000))
    await state(gateway, TODAY + DAY)
    assert await differences(gateway) == []
    await state(gateway, TODAY + 2 * DAY)
    assert await differences(gateway) == [("NOT_PAID", reference, 10_000, None) for reference in references]
    await gateway.order("REISSUE", "O-1", 1, 1, account="6299990000000000777")
    assert await later(gateway) == 1
    await state(gateway, TODAY + 3 * DAY, entry(None, "RETURN", submission=name, amount_fen=20_000))
    assert await differences(gateway) == []
    await gateway.order("REISSUE", "O-2", 1, 1, account="6299990000000000777")
    assert await later(gateway) == 2


async def test_what_was_refused_and_came_back_line_by_line_is_no_difference(gateway: Gateway) -> None:
    """One sum for the file, the refused line put back the next day under its own reference: nothing is to be asked."""
    await gateway.pay(3)
    await gateway.answer(rejected(gateway, 1), *(credited(gateway, seq) for seq in (2, 3)))
    ((_, name),) = await submissions(gateway)
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=30_000))
    await state(gateway, TODAY + DAY, entry(gateway.reference_of(1), "RETURN"))
    await state(gateway, TODAY + 3 * DAY)
    assert await differences(gateway, resolved=True) == []
    assert await gateway.buckets() == {"failed": 1, "credited": 2}


async def another_list(gateway: Gateway) -> None:
    """A second list waits beside the first; no statement says anything of it."""
    await gateway.batch([kit.line(9) | {"line": 1}], "B-2")
    await gateway.fund("100.00", "B-2", "F-2")
    await gateway.judge()
    await gateway.cut()


async def test_a_retired_file_whose_debit_alone_is_stated_freezes_its_lines(gateway: Gateway) -> None:
    """Not taken for its format, debited all the same: its lines, in a new file by now, do not travel and are named."""
    gateway.bank.submits = refuse(Reason.FORMAT)
    await gateway.pay(2)
    await gateway.store.pauses.resume(["rcc_file"])
    gateway.bank.submits = kit.received
    (was, old), (waits, _) = await submissions(gateway)
    assert (was, waits) == ("RETIRED", "PLANNED")
    await another_list(gateway)
    await state(gateway, TODAY, entry(None, submission=old, amount_fen=20_000))
    lines = sorted(gateway.bank.sent[0].references)
    assert await differences(gateway) == [("AMOUNT", old, 20_000, 0), *(("NOT_PAID", r, 10_000, None) for r in lines)]
    assert await later(gateway) == 2
    assert len(gateway.bank.sent[1].references) == 1, "of the other list"
    await state(gateway, TODAY + DAY, entry(None, "RETURN", submission=old, amount_fen=20_000))
    assert [kind for kind, *_ in await differences(gateway)] == []
    assert await later(gateway) == 3


async def planned(gateway: Gateway) -> None:
    """A funded list of two lines, cut and not rendered."""
    await gateway.batch([kit.line(number) for number in (1, 2)])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.cut()


@pytest.mark.parametrize("made", ["PLANNED", "RENDERED"])
async def test_a_file_that_was_never_sent_and_is_debited_does_not_travel(gateway: Gateway, made: str) -> None:
    """A sum under the name of a file that never left us: each of its lines is listed, and none is sent beside it."""
    await planned(gateway)
    if made == "RENDERED":
        await gateway.cut_and_render()
    ((now, name),) = await submissions(gateway)
    assert now == made
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=20_000))
    assert [kind for kind, *_ in await differences(gateway)] == ["NOT_PAID", "NOT_PAID"]
    await state(gateway, TODAY)
    assert await differences(gateway) == []
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=20_000))
    assert len(await differences(gateway)) == len(await differences(gateway, resolved=True)) == 2
    assert await later(gateway) == 0


@pytest.mark.parametrize("code", ["3018", None])
async def test_of_a_sum_only_what_the_bank_refused_and_kept_is_listed(gateway: Gateway, code: str | None) -> None:
    """Paid, put back under its own reference, or never in the file because we refused it: nothing to ask of those."""
    ours = "\U00020000"
    gateway.bank.unwritable.add(ours)
    await gateway.batch([kit.line(1, name=ours), *(kit.line(number) for number in (2, 3, 4))])
    await gateway.fund("400.00")
    await gateway.judge()
    await gateway.send()
    back, kept, _ = gateway.bank.sent[0].references
    await gateway.answer(*({**rejected(gateway, seq), "code": code} for seq in (1, 2)), credited(gateway, 3))
    assert await gateway.buckets() == {"failed": 3, "credited": 1}
    name = gateway.bank.sent[0].submission
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=30_000))
    await state(gateway, TODAY + DAY, entry(back, "RETURN"))
    await state(gateway, TODAY + 2 * DAY)
    assert await differences(gateway) == [("NOT_PAID", kept, 10_000, None)]
    await state(gateway, TODAY + 3 * DAY, entry(kept, "RETURN"))
    assert await differences(gateway) == []


async def test_a_line_of_a_sum_that_was_tried_anew_is_listed_too(gateway: Gateway) -> None:
    """Not taken, its successor under way, and the sum keeps the money of the first attempt: twice the money, told."""
    await gateway.pay(2)
    first, name = gateway.reference_of(1), gateway.bank.sent[0].submission
    await gateway.answer({"proof": "NOT_TAKEN", "reference": first, "reason": "FUNDS_SHORT"}, credited(gateway, 2))
    await state(gateway, TODAY, entry(None, submission=name, amount_fen=20_000))
    await state(gateway, TODAY + 2 * DAY)
    assert await differences(gateway) == [("NOT_PAID", first, 10_000, None)]
    await state(gateway, TODAY + 3 * DAY, entry(None, "RETURN", submission=name))
    assert await differences(gateway) == []
    assert await differences(gateway, resolved=True) == [("NOT_PAID", first, 10_000, None)]


@pytest.mark.parametrize("second", ["paid", "put back"])
async def test_what_one_file_kept_is_not_asked_of_another(database: str, second: str) -> None:
    """Two files debited in one sum each, a line of the first refused and kept: that line, once, and no other one."""
    async with kit.open_gateway(database, max_lines=1) as gateway:
        await gateway.pay(2)
        refused, other = (sent.references[0] for sent in gateway.bank.sent)
        word = credited(gateway, 1) if second == "paid" else rejected(gateway, 1)
        await gateway.answer({**rejected(gateway, 1), "reference": refused}, word | {"reference": other})
        await state(gateway, TODAY - DAY)
        names = [sent.submission for sent in gateway.bank.sent]
        back = [] if second == "paid" else [entry(None, "RETURN", submission=names[1])]
        sums = (entry(None, submission=name, host_reference=f"H{name[-1]}") for name in names)
        await state(gateway, TODAY, *sums, *back)
        await state(gateway, TODAY + 2 * DAY)
        assert await differences(gateway, resolved=True) == [("NOT_PAID", refused, 10_000, None)]
        if second == "paid":
            await state(gateway, TODAY + 3 * DAY, entry(None, "RETURN", submission=names[1]))
            found = [one[:2] for one in await differences(gateway)]
            assert found == [("NOT_PAID", refused), ("NOT_RETURNED", names[1])]


async def test_a_wrong_sum_is_told_beside_a_right_one(database: str) -> None:
    """Two files, the sum of the first is short: it stays open whatever the second one's is, until it is put right."""
    async with kit.open_gateway(database, max_lines=1) as gateway:
        await gateway.pay(2)
        for sent in gateway.bank.sent:
            await gateway.answer({**credited(gateway, 1), "reference": sent.references[0]})
        short, right = (sent.submission for sent in gateway.bank.sent)
        await state(gateway, TODAY, entry(None, submission=short, amount_fen=9_999), entry(None, submission=right))
        assert await differences(gateway) == [("AMOUNT", short, 9_999, 10_000)]
        await state(gateway, TODAY + DAY, entry(None, submission=short, amount_fen=1))
        assert await differences(gateway) == []


async def test_a_sum_that_came_back_is_explained_by_a_refusal_that_is_learned_later(gateway: Gateway) -> None:
    """Half of the file is back before its result is read: told, and settled once the bank says which half."""
    await gateway.pay(2)
    ((_, name),) = await submissions(gateway)
    both = (entry(None, submission=name, amount_fen=20_000), entry(None, "RETURN", submission=name))
    await state(gateway, TODAY, *both)
    assert await differences(gateway) == [("NOT_RETURNED", name, 10_000, None)]
    await gateway.answer(credited(gateway, 1))
    assert await differences(gateway) == [("NOT_RETURNED", name, 10_000, None)]
    await gateway.answer(rejected(gateway, 2))
    assert await differences(gateway) == []
