"""A day is stated for all accounts or for one: what gives way to the other kind, and what stays in force beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import DAY, TODAY, differences, entry, state
from tests.store.test_statements_back import account
from tests.store.test_statements_hold import later

OTHER = "6599990000000091"


@pytest.fixture
async def two(database: str) -> AsyncIterator[Gateway]:
    """A gateway whose files have one line each."""
    async with kit.open_gateway(database, max_lines=1) as gateway:
        yield gateway


async def paid_from_two(gateway: Gateway, *, sent: bool = True) -> list[tuple[str, str]]:
    """Two files of one line, the second to be paid from the other account: (line, file) of each."""
    if not sent:
        gateway.bank.submits = kit.refuse_connection
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    async with gateway.store.engine.connection() as connection:
        await connection.execute(
            "UPDATE submissions SET debit_account = $1 "
            "WHERE submission_id = (SELECT max(submission_id) FROM submissions)",
            OTHER,
        )
        rows = await connection.fetch(
            "SELECT a.reference AS line, s.reference AS file FROM attempts a JOIN submissions s USING (submission_id) "
            "ORDER BY submission_id"
        )
    return [(row["line"], row["file"]) for row in rows]


async def own_account(gateway: Gateway) -> str:
    async with gateway.store.engine.connection() as connection:
        return str(
            await connection.fetchval("SELECT min(debit_account) FROM submissions WHERE debit_account <> $1", OTHER)
        )


async def stand(gateway: Gateway) -> dict[str, list[str]]:
    """What stands on the statements of each account: the lines, or else the files, that are named."""
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch(
            "SELECT t.debit_account, coalesce(e.reference, e.submission) AS name FROM statements t "
            "LEFT JOIN statement_entries e USING (statement_no) ORDER BY statement_no, entry"
        )
    found: dict[str, list[str]] = {row["debit_account"]: [] for row in rows}
    for row in rows:
        found[row["debit_account"]] += [row["name"]] if row["name"] else []
    return found


async def whose(gateway: Gateway) -> list[tuple[str, str, str]]:
    rows = await gateway.store.statements.differences(100)
    return sorted((row["kind"], row["reference"], row["debit_account"]) for row in rows)


@pytest.mark.parametrize("in_one_sum", [False, True])
async def test_a_statement_of_one_account_thaws_nothing_that_stood_on_another(two: Gateway, in_one_sum: bool) -> None:
    """Never sent, and all accounts show both debited: each line is held until its own account says otherwise."""
    (first, one), (second, other) = await paid_from_two(two, sent=False)
    both = [entry(None, submission=n) for n in (one, other)] if in_one_sum else [entry(n) for n in (first, second)]
    await state(two, TODAY, *both)
    assert await later(two) == 0
    await state(two, TODAY, account=await own_account(two))
    assert await whose(two) == [("NOT_PAID", second, "")]
    assert await stand(two) == {"": [other if in_one_sum else second], await own_account(two): []}
    assert await later(two) == 1
    assert two.bank.references() == [first]
    await state(two, TODAY, both[1], account=OTHER)
    told = await whose(two)  # of its file, too: by now the line waits in another one
    assert [row for row in told if row[0] == "NOT_PAID"] == [("NOT_PAID", second, OTHER)]
    assert {row[2] for row in told} == {OTHER}
    assert await later(two) == 1
    await state(two, TODAY, account=OTHER)
    assert await differences(two) == []
    assert await later(two) == 2


async def test_all_accounts_that_say_the_same_again_take_the_place_of_the_one(two: Gateway) -> None:
    """All, then one of them alone, then the very same statement of all once more: complete, and the last."""
    (first, _), (second, _) = await paid_from_two(two, sent=False)
    whole = [entry(first), entry(second), entry("STRANGER")]
    await state(two, TODAY, *whole)
    before = await whose(two)
    await state(two, TODAY, account=await own_account(two))
    assert len(await differences(two)) == 1
    await state(two, TODAY, *whole)
    assert await whose(two) == before
    assert await stand(two) == {"": [first, second, "STRANGER"]}
    assert await later(two) == 0
    async with two.store.engine.connection() as connection:
        (row,) = await connection.fetch("SELECT debits, debits_fen, readings FROM statements")
    assert tuple(row) == (3, 30_000, 1), "the same content was read again"


async def test_one_account_that_says_the_same_again_changes_nothing(two: Gateway) -> None:
    """Beside a statement of all accounts, too, the content of one that is known is no news."""
    (first, _), (second, _) = await paid_from_two(two)
    own = await own_account(two)
    await state(two, TODAY, entry(first), entry(second), entry("STRANGER"))
    await state(two, TODAY, entry(first), entry("ANOTHER"), account=own)

    async def kept() -> tuple[Any, ...]:
        async with two.store.engine.connection() as connection:
            rows = await connection.fetch("SELECT * FROM statements ORDER BY statement_no")
        return (
            [tuple(row) for row in rows],
            await two.store.statements.differences(100, resolved=True),
            await stand(two),
        )

    before = await kept()
    two.clock.forward(hours=1)
    await state(two, TODAY, entry(first), entry("ANOTHER"), account=own)
    assert await kept() == before
    assert before[2] == {"": [second], own: [first, "ANOTHER"]}
    assert before[0][0][5:9] == (0, 0, 3, 30_000), "what all accounts said stays what they said"


async def test_all_accounts_take_the_place_of_each_that_was_stated_alone(two: Gateway) -> None:
    """Both accounts alone, then all together, who show one line less: only that is in force."""
    (first, _), (second, _) = await paid_from_two(two, sent=False)
    await state(two, TODAY, entry(first), account=await own_account(two))
    await state(two, TODAY, entry(second), account=OTHER)
    assert [kind for kind, *_ in await differences(two)] == ["NOT_PAID", "NOT_PAID"]
    await state(two, TODAY, entry(second))
    assert await stand(two) == {"": [second]}
    assert await whose(two) == [("NOT_PAID", second, "")]
    assert await later(two) == 1


@pytest.mark.parametrize("shown", [False, True])
async def test_what_names_nobody_gives_way_to_any_one_account(two: Gateway, shown: bool) -> None:
    """Of a stranger no account can be told: asked about as the later statement says, and once at most."""
    (_, _), (_, other) = await paid_from_two(two)
    strange = [entry("STRANGER"), entry(None, amount_fen=7), entry(None, submission="NOFILE")]
    await state(two, TODAY, *strange, entry("NOLINE", submission=other))
    assert len(await differences(two)) == 4
    own = await own_account(two)
    await state(two, TODAY, *(strange if shown else []), account=own)
    told = [("UNKNOWN", "", own), ("UNKNOWN", "NOFILE", own), ("UNKNOWN", "STRANGER", own)] if shown else []
    assert await whose(two) == sorted([*told, ("UNKNOWN", "NOLINE", "")]), "its file is paid from the other account"


async def test_a_booking_that_one_account_shows_of_another_s_line_counts_once(two: Gateway) -> None:
    """All show it, then the account from which it was wrongly paid: the account is asked about, no payout is frozen."""
    _, (second, _) = await paid_from_two(two)
    await two.answer({**credited(two, 1), "reference": second})
    own = await own_account(two)
    await state(two, TODAY, entry(second))
    await state(two, TODAY, entry(second), account=own)
    assert await stand(two) == {"": [], own: [second]}
    assert await whose(two) == [("ACCOUNT", second, own)]
    assert await two.buckets() == {"in_flight": 1, "credited": 1}


LIKE_IT: dict[str, dict[str, Any]] = {
    "the same once more": {},
    "another direction": {"booking": "CREDIT"},
    "another amount": {"amount_fen": 10_001},
    "another serial": {"host_reference": "H2"},
    "no serial": {"host_reference": None},
    "its file beside it": {"submission": "ITS FILE"},
}


@pytest.mark.parametrize("what", LIKE_IT)
async def test_of_bookings_alike_only_the_one_that_is_shown_gives_way(two: Gateway, what: str) -> None:
    """All show two bookings of a line, another account one of them: the second stays in force."""
    _, (second, file) = await paid_from_two(two)
    shown = entry(second, host_reference="H1")
    stays = {**shown, **LIKE_IT[what]}
    if stays.get("submission"):
        stays["submission"] = file
    own = await own_account(two)
    await state(two, TODAY, shown, stays)
    await state(two, TODAY, shown, account=own)
    assert await stand(two) == {"": [second], own: [second]}
    async with two.store.engine.connection() as connection:
        (row,) = await connection.fetch(
            "SELECT e.* FROM statement_entries e JOIN statements t USING (statement_no) WHERE t.debit_account = ''"
        )
    assert {key: row[key] for key in stays} == stays


async def test_what_all_accounts_miss_of_another_account_stays_missing(two: Gateway) -> None:
    """Two credits, and all accounts show neither: the account stated alone answers for its own line only."""
    (first, _), (second, _) = await paid_from_two(two)
    day = TODAY.isoformat()
    await two.answer(*({**credited(two, 1, post_date=day), "reference": line} for line in (first, second)))
    own = await own_account(two)
    await state(two, TODAY)
    assert await whose(two) == sorted([("MISSING", first, ""), ("MISSING", second, "")])
    await state(two, TODAY, account=own)
    assert await whose(two) == sorted([("MISSING", first, own), ("MISSING", second, "")])
    await state(two, TODAY, entry(first), account=own)
    assert await whose(two) == [("MISSING", second, "")]
    await state(two, TODAY, entry(second), account=OTHER)
    assert await differences(two) == []


async def test_a_wrong_amount_is_asked_about_once_whichever_statement_shows_it(two: Gateway) -> None:
    """All accounts show two debits a fen short, then one account its own: each is open once, under who said it last."""
    (first, _), (second, _) = await paid_from_two(two)
    own = await own_account(two)
    wrong = [entry(line, amount_fen=9_999) for line in (first, second)]
    await state(two, TODAY, *wrong)
    await state(two, TODAY, wrong[0], account=own)
    assert await whose(two) == sorted([("AMOUNT", first, own), ("AMOUNT", second, "")])
    await state(two, TODAY, entry(first), account=own)
    assert await whose(two) == [("AMOUNT", second, "")]


async def test_other_days_and_other_banks_do_not_give_way(two: Gateway) -> None:
    """All accounts of Monday and of Tuesday, then one account of Tuesday: Monday is as it was stated."""
    (first, _), _ = await paid_from_two(two, sent=False)
    await state(two, TODAY - DAY, entry(first))
    await state(two, TODAY, entry("STRANGER"))
    await state(two, TODAY, account=await own_account(two))
    assert await whose(two) == [("NOT_PAID", first, "")]
    assert await later(two) == 1
    assert first not in two.bank.references()


@pytest.mark.parametrize("first_for_all", [True, False])
async def test_what_was_refused_and_kept_in_one_sum_stays_held_when_the_other_kind_states_it(
    gateway: Gateway, first_for_all: bool
) -> None:
    """Found two days after its debit, then that day comes once more in the other kind, unchanged: still held."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), rejected(gateway, 2))
    own = await account(gateway)
    kinds = (None, own) if first_for_all else (own, None)
    debit = entry(None, submission=gateway.bank.sent[0].submission, amount_fen=20_000)
    await state(gateway, TODAY, debit, account=kinds[0])
    await state(gateway, TODAY + 2 * DAY)
    found = await differences(gateway)
    assert [kind for kind, *_ in found] == ["NOT_PAID", "NOT_PAID"]
    await state(gateway, TODAY, debit, account=kinds[1])
    assert await differences(gateway) == found
    await gateway.order("REISSUE", "O-1", 1, 1, account="6299990000000000777")
    assert await later(gateway) == 1
    await state(gateway, TODAY, account=kinds[1])
    assert await differences(gateway) == []
