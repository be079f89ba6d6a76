"""Intake: what was signed is stored once, judged once in line order, and nothing of it is paid before it is whole."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from gateway.clock import SHANGHAI
from gateway.lists import read_header, read_list
from gateway.policy import AccountKind, Binding
from gateway.store.batches import Judging
from schemas.codec import Refused, encode
from schemas.masked import AccountNumber, IdNumber
from schemas.v1 import Kind, RefusalReason
from tests.store import kit
from tests.store.kit import Gateway

OTHER = "659999-XJ-NY-01-2026-0002"
PARTS = 6


async def facts(gateway: Gateway, batch_no: int = 1) -> dict[str, Any]:
    return (await gateway.store.reads.find_batches(str(batch_no)))[0]


async def refused_lines(gateway: Gateway, batch_no: int = 1) -> dict[int, str]:
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT line, reason FROM refused_lines WHERE batch_no = $1", batch_no)
    return {row["line"]: row["reason"] for row in rows}


def same_person(number: int, as_line: int, **fields: str) -> dict[str, Any]:
    """A line whose person stands on another line (of this list or of another)."""
    return kit.line(number, id_no=str(kit.line(as_line)["id_no"]), **fields)


@pytest.mark.parametrize("seed", range(4))
async def test_parts_in_any_order_and_number_make_one_batch(gateway: Gateway, seed: int) -> None:
    """Each part 1 to 5 times, in any order: stored once, repeats counted and refused never, paid once."""
    parts = gateway.signed_parts([kit.line(n) for n in range(1, 13)], parts=PARTS)
    chance = random.Random(seed)
    arriving = [number for number in range(PARTS) for _ in range(chance.randint(1, 5))]
    chance.shuffle(arriving)
    seen: set[int] = set()
    for number in arriving:
        stored = await gateway.intake.take_batch(*parts[number])
        assert (stored.repeated, stored.refused) == (number in seen, None)
        seen.add(number)
    await gateway.fund("1200.00")
    await gateway.judge()
    await gateway.send()
    assert len(gateway.bank.references()) == 12
    for number in range(PARTS):
        assert (await gateway.intake.take_batch(*parts[number])).repeated
    assert await gateway.buckets() == {"in_flight": 12}


async def test_the_same_part_signed_again_is_a_repeat(gateway: Gateway) -> None:
    """A message is recognised by its bytes, never by its signature."""
    raw, signature = gateway.signed_parts([kit.line(1)])[0]
    await gateway.intake.take_batch(raw, signature)
    gateway.clock.forward(minutes=3)
    _, again = gateway.signed(Kind.BATCH, json.loads(raw))
    assert again != signature
    assert (await gateway.intake.take_batch(raw, again)).repeated


@pytest.mark.parametrize("after", ["part", "judged", "sent"])
async def test_a_known_part_with_other_bytes_is_refused_and_pays_nothing(gateway: Gateway, after: str) -> None:
    """Another amount under a known part is a conflict whenever it comes; the first bytes stay what they were."""
    lines = [kit.line(1), kit.line(2)]
    await gateway.batch(lines)
    if after != "part":
        await gateway.fund("200.00")
        await gateway.judge()
    if after == "sent":
        await gateway.send()
    (stored,) = await gateway.batch([kit.line(1, amount="900.00"), kit.line(2)])
    assert stored.refused is RefusalReason.CONFLICTING_CONTENT
    if after == "part":
        await gateway.fund("200.00")
        await gateway.judge()
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 2}
    assert (await facts(gateway))["approved_fen"] == 20_000


@pytest.mark.parametrize("head", [{"document_no": "99"}, {"period": "2025"}, {"county": "659998"}, {"lines": 3}])
async def test_parts_of_a_batch_share_one_head(gateway: Gateway, head: dict[str, Any]) -> None:
    """A part whose head differs in anything is refused, and the list still waits for the right one."""
    lines = [kit.line(1), kit.line(2)]
    first, second = gateway.signed_parts(lines, parts=2)
    await gateway.intake.take_batch(*first)
    strange = gateway.signed_parts(lines, parts=2, **head)[1]
    assert (await gateway.intake.take_batch(*strange)).refused is RefusalReason.CONFLICTING_HEADER
    assert (await facts(gateway))["state"] == "COLLECTING"
    assert (await gateway.intake.take_batch(*second)).refused is None
    assert (await facts(gateway))["state"] == "JUDGING"


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({"lines": 3}, RefusalReason.WRONG_TOTALS),
        ({"amount": "200.01"}, RefusalReason.WRONG_TOTALS),
        ({"amount": "200.001"}, RefusalReason.WRONG_TOTALS),
    ],
)
async def test_a_list_that_is_not_what_its_head_promises_is_refused_whole(
    gateway: Gateway, head: dict[str, Any], reason: RefusalReason
) -> None:
    """Lines and the exact sum as written have to agree with the signed totals, or nobody of the list is paid."""
    one, two = gateway.signed_parts([kit.line(1), kit.line(2)], parts=2, **head)
    assert (await gateway.intake.take_batch(*two)).refused is None
    assert (await gateway.intake.take_batch(*one)).refused is reason
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.send()
    assert (await facts(gateway))["state"] == "REFUSED"
    assert gateway.bank.sent == []


@pytest.mark.parametrize("numbers", [(1, 1), (1, 3), (2, 3), (2, 1)])
async def test_line_numbers_run_from_one_without_gap_or_repetition(gateway: Gateway, numbers: tuple[int, int]) -> None:
    """Across parts as within one: otherwise two lines would be one payout, or one line two."""
    lines = [{**kit.line(place), "line": number} for place, number in enumerate(numbers, start=1)]
    with_two = [await gateway.intake.take_batch(*part) for part in gateway.signed_parts(lines, parts=2)]
    assert with_two[-1].refused is RefusalReason.DUPLICATE_LINE
    assert (await facts(gateway))["state"] == "REFUSED"
    if numbers != (2, 3):  # within a part only the steps are seen; where it starts is known when all are in
        with pytest.raises(Refused) as refused:
            await gateway.batch(lines, OTHER)
        assert refused.value.reason is RefusalReason.DUPLICATE_LINE


async def test_amounts_that_are_none_count_as_zero_in_the_sum(gateway: Gateway) -> None:
    """A line whose amount is no number is refused by itself; the list's exact sum leaves it out and still agrees."""
    await gateway.batch([kit.line(1, amount="壹佰"), kit.line(2, amount="100.005"), kit.line(3)])
    await gateway.fund("100.00")
    await gateway.judge()
    assert await refused_lines(gateway) == {1: "AMOUNT_INVALID", 2: "AMOUNT_INVALID"}
    receipts = {r["line"]: (r["amount"], r["reason"], r["who_acts"], r["attempt"]) for r in await gateway.published()}
    assert receipts == {
        1: ("0.00", "AMOUNT_INVALID", "department", 0),
        2: ("100.005", "AMOUNT_INVALID", "department", 0),
    }


async def test_a_missing_part_refuses_the_batch_after_a_day_once(gateway: Gateway) -> None:
    """24 hours after its first part an incomplete batch is answered with PART_MISSING, and nothing of it is paid."""
    one, two = gateway.signed_parts([kit.line(1), kit.line(2)], parts=2)
    await gateway.intake.take_batch(*two)
    await gateway.fund("200.00")
    assert not await gateway.watch_parts(hours=23)
    gateway.clock.forward(minutes=59)
    assert not await gateway.intake.refuse_overdue()
    gateway.clock.forward(minutes=1)
    assert await gateway.intake.refuse_overdue()
    assert not await gateway.intake.refuse_overdue()
    (refusal,) = await gateway.published("refusals")
    assert (refusal["reason"], refusal["batch_id"], refusal["topic"]) == ("PART_MISSING", kit.BATCH, "payout.batches")
    assert (await gateway.intake.take_batch(*one)).refused is RefusalReason.CONFLICTING_CONTENT
    assert (await gateway.intake.take_batch(*two)).repeated
    await gateway.judge()
    await gateway.send()
    assert gateway.bank.sent == []


async def test_a_part_that_waited_in_kafka_while_nobody_ran_is_taken(gateway: Gateway) -> None:
    """A gateway that starts after days gives no list up before it has watched for an hour: the part is still taken."""
    one, two = gateway.signed_parts([kit.line(1), kit.line(2)], parts=2)
    await gateway.intake.take_batch(*one)
    gateway.clock.forward(days=9)
    gateway.restart_intake()
    assert not await gateway.intake.refuse_overdue()
    gateway.clock.forward(minutes=59)
    assert not await gateway.intake.refuse_overdue()
    assert (await gateway.intake.take_batch(*two)).refused is None
    assert (await facts(gateway))["state"] == "JUDGING"


async def test_restarts_every_few_hours_put_a_refusal_off_by_two_days_and_no_more(gateway: Gateway) -> None:
    """No process ever watches for a whole day: what is two days overdue is given up all the same, once."""
    await gateway.intake.take_batch(*gateway.signed_parts([kit.line(1), kit.line(2)], parts=2)[0])
    for _ in range(23):
        assert not await gateway.watch_parts(hours=3)
        gateway.restart_intake()
    assert not await gateway.watch_parts(hours=2)
    assert await gateway.watch_parts(hours=1)
    (refusal,) = await gateway.published("refusals")
    assert refusal["reason"] == "PART_MISSING"


async def test_a_complete_list_is_never_overdue(gateway: Gateway) -> None:
    """A list that waits for its money may wait longer than a day."""
    await gateway.batch([kit.line(1)])
    assert not await gateway.watch_parts(hours=9 * 24)
    await gateway.fund("100.00")
    await gateway.judge()
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 1}


async def test_an_unknown_programme_is_refused_before_anything_is_kept(gateway: Gateway) -> None:
    """A programme that no table names makes no batch."""
    with pytest.raises(Refused) as refused:
        await gateway.intake.take_batch(*gateway.signed_parts([kit.line(1)], programme="XJ-ZZ-99")[0])
    assert refused.value.reason is RefusalReason.UNKNOWN_PROGRAMME
    assert await gateway.store.reads.find_batches("") == []


async def test_nobody_approves_in_another_s_name(gateway: Gateway) -> None:
    """A part and a funding that name another issuer than their key's are refused, and kept nowhere."""
    with pytest.raises(Refused) as part:
        await gateway.intake.take_batch(*gateway.signed_parts([kit.line(1)], issuer="659998-finance")[0])
    assert part.value.reason is RefusalReason.WRONG_ISSUER
    raw, _ = gateway.signed_parts([kit.line(1)])[0]
    _, signature = gateway.signed_parts([kit.line(2)])[0]
    with pytest.raises(Refused) as swapped:
        await gateway.intake.take_batch(raw, signature)
    assert swapped.value.reason is RefusalReason.BAD_SIGNATURE
    assert await gateway.store.reads.find_batches("") == []


async def test_what_a_clock_behind_refused_is_taken_when_it_is_right(gateway: Gateway) -> None:
    """Nothing is kept of a message from the future: the same bytes under the same signature are good later."""
    part = gateway.signed_parts([kit.line(1)])[0]
    gateway.clock.forward(minutes=-6)
    with pytest.raises(Refused) as refused:
        await gateway.intake.take_batch(*part)
    assert refused.value.reason is RefusalReason.FROM_THE_FUTURE
    gateway.clock.forward(minutes=6)
    assert not (await gateway.intake.take_batch(*part)).repeated


# -- money


async def test_money_may_come_before_its_list(gateway: Gateway) -> None:
    """A funding of an unknown batch waits for it, and is matched when the list is whole."""
    assert (await gateway.fund("100.00")).refused is None
    await gateway.batch([kit.line(1)])
    await gateway.judge()
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 1}
    assert [f["funding_id"] for f in await gateway.store.reads.fundings(1)] == ["F-1"]


async def test_money_between_the_parts_is_counted_once(gateway: Gateway) -> None:
    """A funding that comes while parts are missing is matched at once, and not again with the last part."""
    one, two = gateway.signed_parts([kit.line(1), kit.line(2)], parts=2)
    await gateway.intake.take_batch(*one)
    await gateway.fund("100.00")
    await gateway.intake.take_batch(*two)
    await gateway.judge()
    assert ((await facts(gateway))["funds_fen"], (await facts(gateway))["state"]) == (10_000, "AWAITING_FUNDS")


async def test_a_funding_counts_once_and_its_id_keeps_its_bytes(gateway: Gateway) -> None:
    """The same confirmation again adds nothing; the same id with another amount is refused."""
    await gateway.batch([kit.line(1), kit.line(2)])
    await gateway.fund("100.00")
    assert (await gateway.fund("100.00")).repeated
    assert (await gateway.fund("200.00")).refused is RefusalReason.CONFLICTING_CONTENT
    await gateway.judge()
    assert await gateway.buckets() == {"awaiting_funds": 2}


async def test_money_for_a_batch_that_has_it_already_is_refused(gateway: Gateway) -> None:
    """Once a batch pays, or never will, further money is a mistake that finance hears of."""
    await gateway.pay(1)
    assert (await gateway.fund("100.00")).repeated
    assert (await gateway.fund("100.00", funding_id="F-2")).refused is RefusalReason.FUNDS_MISMATCH
    with pytest.raises(Refused) as nothing:
        await gateway.fund("0.00", funding_id="F-3")
    assert nothing.value.reason is RefusalReason.FUNDS_MISMATCH


async def test_a_funding_and_the_last_part_at_the_same_moment_find_each_other(gateway: Gateway, database: str) -> None:
    """Two consumers store the money and the list at once: whoever is second sees the first, and the batch is paid."""
    holder = await asyncpg.connect(database)
    held = holder.transaction()
    await held.start()
    await holder.execute("LOCK TABLE fundings IN SHARE MODE")

    async def waiting(count: int) -> None:
        async with asyncio.timeout(30):
            while await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < count:
                await asyncio.sleep(0.02)

    funding = asyncio.create_task(gateway.fund("100.00"))
    await waiting(1)
    part = asyncio.create_task(gateway.batch([kit.line(1)]))
    await waiting(2)
    await held.commit()
    await asyncio.gather(funding, part)
    await holder.close()
    await gateway.judge()
    await gateway.send()
    assert await gateway.buckets() == {"in_flight": 1}


async def test_the_clock_starts_with_the_later_of_list_and_money(gateway: Gateway) -> None:
    """D2: deadlines count from the moment when both were there; a confirmation never dates itself into the future."""
    await gateway.batch([kit.line(1)])
    gateway.clock.forward(days=2)
    body = {
        "schema": "payout.funding/v1",
        "issuer": kit.ISSUER,
        "funding_id": "F-9",
        "batch_id": kit.BATCH,
        "amount": "100.00",
        "received_at": "2026-12-30T09:30:00+08:00",
    }
    await gateway.intake.take_funding(*gateway.signed(Kind.FUNDING, body))
    await gateway.judge()
    batch = await facts(gateway)
    assert batch["clock_started_at"] == gateway.clock.now()
    assert batch["limit_at"].astimezone(SHANGHAI).isoformat() == "2026-12-02T00:00:00+08:00"
    assert batch["deadline_exact"]


# -- lines


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_first_of_a_duplicate_pair_stays_whichever_part_came_first(
    gateway: Gateway, order: tuple[int, int]
) -> None:
    """Duplicates are judged in line order, within a part and across parts."""
    lines = [kit.line(1), same_person(2, 1), kit.line(3), same_person(4, 3), same_person(5, 1), kit.line(6)]
    parts = gateway.signed_parts(lines, parts=2)
    for place in order:
        await gateway.intake.take_batch(*parts[place])
    await gateway.judge()
    assert await refused_lines(gateway) == dict.fromkeys((2, 4, 5), "DUPLICATE_BENEFICIARY")


async def test_a_refused_line_takes_nobody_s_place(gateway: Gateway) -> None:
    """A line refused for another reason is no duplicate partner: the person's right line is paid."""
    await gateway.batch([kit.line(1, amount="0.00"), same_person(2, 1)])
    await gateway.judge()
    assert await refused_lines(gateway) == {1: "AMOUNT_INVALID"}


async def test_one_person_is_approved_once_for_a_programme_and_period(gateway: Gateway) -> None:
    """In a later batch the person is a duplicate; in another period, or under a lower-case x of the ID, not or too."""
    with_x = next(n for n in range(1, 200) if str(kit.line(n)["id_no"]).endswith("X"))
    await gateway.batch([{**kit.line(with_x), "line": 1}])
    lower = str(kit.line(with_x)["id_no"]).lower()
    await gateway.batch([kit.line(1, id_no=lower), kit.line(2)], OTHER)
    parts = gateway.signed_parts([{**kit.line(with_x), "line": 1}], OTHER + "-Q", period="2027")
    await gateway.intake.take_batch(*parts[0])
    await gateway.judge()
    assert await refused_lines(gateway, 1) == {}
    assert await refused_lines(gateway, 2) == {1: "DUPLICATE_BENEFICIARY"}
    assert await refused_lines(gateway, 3) == {}


async def test_two_batches_judged_at_the_same_time_approve_a_person_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes judge two lists with the same people: each person is approved in exactly one of them."""
    both, look = asyncio.Barrier(2), Judging.already_approved
    looks = itertools.count()

    async def look_together(judging: Judging, people: Sequence[UUID]) -> set[UUID]:
        """Both have looked before either has written: the later one loses the race and judges its part again."""
        found = await look(judging, people)
        if next(looks) < 2:
            await both.wait()
        return found

    monkeypatch.setattr(Judging, "already_approved", look_together)
    lines = [kit.line(n) for n in range(1, 41)]
    await gateway.batch(lines)
    await gateway.batch(
        [{**line, "line": number} for number, line in enumerate(reversed(lines), start=1)], OTHER, parts=2
    )
    while any(await asyncio.gather(*(gateway.intake.judge_next() for _ in range(2)))):
        pass
    one, two = await facts(gateway, 1), await facts(gateway, 2)
    assert one["approved_lines"] + two["approved_lines"] == 40
    assert one["refused_lines"] + two["refused_lines"] == 40
    assert {one["state"], two["state"]} <= {"AWAITING_FUNDS", "COMPLETE"}
    assert [await gateway.store.reads.verify_history(no) for no in (1, 2)] == [None, None]


async def test_a_kept_account_is_used_only_where_the_line_names_none(gateway: Gateway) -> None:
    """The account a bank keeps for a person fills an empty column, never replaces a written one."""
    people = [gateway.vault.person(IdNumber(str(kit.line(n)["id_no"]))) for n in (1, 2)]
    kept = Binding(AccountNumber("6299991111111111111"), AccountKind.SSCARD, kit.BANK_NO)
    rows = [(person, gateway.vault.seal_binding(kept, person)) for person in people]
    await gateway.store.batches.load_bindings(rows, gateway.clock.now())
    await gateway.batch([kit.line(1, account="", bank_no=""), kit.line(2), kit.line(3, account="")])
    await gateway.fund("300.00")
    await gateway.judge()
    await gateway.send()
    assert await refused_lines(gateway) == {3: "ACCOUNT_MISSING"}
    (sent,) = gateway.bank.sent
    assert [row[1] for row in json.loads(sent.payload)[1]] == ["6299991111111111111", str(kit.line(2)["account"])]


async def test_a_list_without_any_payable_line_is_complete_at_once(gateway: Gateway) -> None:
    """Every line refused: each has its receipt, nothing waits for money, and money for it is a mistake."""
    await gateway.batch([kit.line(1, account_kind="现金"), kit.line(2, name="甲 ")])
    await gateway.judge()
    assert (await facts(gateway))["state"] == "COMPLETE"
    assert sorted(await gateway.outcomes()) == [(1, 0, "failed", "OUT_OF_SCOPE"), (2, 0, "failed", "NAME_INVALID")]
    assert (await gateway.fund("200.00")).refused is RefusalReason.FUNDS_MISMATCH


async def test_the_county_s_real_list_is_refused_line_by_line_as_expected(gateway: Gateway) -> None:
    """3,000 lines through intake, parts in reverse: refused are exactly the lines of expected.csv, for its reasons."""
    folder = kit.DATA / "real_name_list"
    header = read_header(folder / "farmland_fertility_2026.json")
    for part in reversed(list(read_list(folder / "farmland_fertility_2026.csv").build(header))):
        await gateway.intake.take_batch(*gateway.signed(Kind.BATCH, json.loads(encode(part))))
    await gateway.judge()
    with (folder / "expected.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] == "refuse"]
    expected = {int(row["line"]): row["reason"].partition(":")[0] for row in rows}
    assert await refused_lines(gateway) == expected
    batch = await facts(gateway)
    assert (batch["approved_lines"], batch["refused_lines"]) == (2820, 180)
    assert sorted(await gateway.outcomes()) == [(line, 0, "failed", expected[line]) for line in sorted(expected)]


async def test_one_person_has_one_payout_of_a_programme_and_period(gateway: Gateway) -> None:
    """Another period is another payment; the same again is refused as a duplicate, whatever list it comes in."""
    for number, period in enumerate(("2026", "2025", "2026"), start=1):
        for part in gateway.signed_parts([kit.line(1)], f"B-{number}", period=period):
            await gateway.intake.take_batch(*part)
        await gateway.fund("100.00", f"B-{number}", f"F-{number}")
        await gateway.judge()
    refused = [(one["line"], one["attempt"], one["reason"]) for one in await gateway.published()]
    assert refused == [(1, 0, "DUPLICATE_BENEFICIARY")]
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT payout_id >> 20 AS batch, period FROM payouts ORDER BY payout_id")
    assert [tuple(row) for row in rows] == [(1, "2026"), (2, "2025")]
