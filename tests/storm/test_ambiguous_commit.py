"""R13: the line to PostgreSQL is cut right after COMMIT, and nobody is paid twice, forgotten, or told twice."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import pytest

from adapters.contract import Artefact, Evidence, Proof, Rendered
from gateway.dispatch import Dispatch
from gateway.receipts import Relay
from gateway.store.submissions import Claim
from schemas.v1 import Kind
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.toy import ToyWire
from tests.storm.cut_line import Cut, Proxy, now_and_then
from tests.storm.scale import SEED, figure, size

T = TypeVar("T")
LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError)
LINES = 4
ROUNDS = size(4, 60)
ONE_IN = 4  # commits that are cut
PATIENCE = 200  # turns of the whole job


@dataclass
class Lane:
    """Kafka as it was heard: every record in order."""

    heard: list[tuple[str, bytes]] = field(default_factory=list)

    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        self.heard += [(topic, value) for topic, _, value in records]

    def receipts(self) -> list[dict[str, Any]]:
        return [one for topic, value in self.heard if topic == "receipts" for one in json.loads(value)["receipts"]]


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """What the loop and the consumer do with a step that lost its line: the same once more, with the same bytes."""
    while True:
        try:
            return await call()
        except LOST:
            continue


def truthful(gateway: Gateway) -> None:
    """The bank answers from its own list: what arrived it has, what did not it never had."""

    def says(rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        arrived = {one.submission for one in gateway.bank.sent}
        return [Evidence(Proof.RECEIVED if rendered.submission in arrived else Proof.ABSENT)]

    gateway.bank.probes = says


async def turn(gateway: Gateway, relay: Relay) -> None:
    """Every step once, however often its line is cut; then an hour passes, and no lease outlives it."""
    gateway.clock.forward(hours=1) if gateway.clock.now().hour < 16 else gateway.clock.forward(hours=18)
    await again(lambda: _forget_leases(gateway))
    entry = gateway.entry
    for step in (
        gateway.intake.judge_next,
        gateway.intake.start_clocks,
        gateway.dispatch.plan,
        lambda: gateway.dispatch.render(entry),
        lambda: gateway.dispatch.send(entry),
        gateway.verify.doubt_abandoned,
        lambda: gateway.verify.probe(entry),
        lambda: gateway.verify.collect(entry),
        relay.drain,
    ):
        await again(step)


async def _forget_leases(gateway: Gateway) -> None:
    async with gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE submissions SET lease_until = clock_timestamp() - interval '1 second'")


async def main_job(gateway: Gateway, lane: Lane) -> bool:
    """A list of four: three are credited, the fourth is rejected, ordered again and credited; whether it did."""
    truthful(gateway)
    relay = Relay(gateway.store, lane, gateway.clock)
    [part] = gateway.signed_parts([kit.line(number) for number in range(1, LINES + 1)])
    funding = gateway.signed(Kind.FUNDING, _funding())
    order = gateway.signed(Kind.ORDER, _order())
    await again(lambda: gateway.intake.take_batch(*part))
    await again(lambda: gateway.intake.take_funding(*funding))
    answered: set[str] = set()
    for _ in range(PATIENCE):
        await turn(gateway, relay)
        _publish_results(gateway, answered)
        if any(one["outcome"] == "failed" for one in lane.receipts()):
            stored = await again(lambda: gateway.failures.take_order(*order))
            assert stored.refused is None
        credited = {one["line"] for one in lane.receipts() if one["outcome"] == "credited"}
        if credited == set(range(1, LINES + 1)):
            return True
    return False


def _publish_results(gateway: Gateway, answered: set[str]) -> None:
    """A result file about everything that arrived since the last: the fourth person's first payment is rejected."""
    rows = []
    for rendered in gateway.bank.sent:
        for reference, account, amount_fen in json.loads(rendered.payload)[1]:
            if reference in answered:
                continue
            if account == kit.line(LINES)["account"] and not any(row.startswith("first-") for row in answered):
                answered.add(f"first-{reference}")
                rows.append({"proof": "REJECTED", "reference": reference, "reason": "ACCOUNT_CLOSED"})
            else:
                rows.append({"proof": "CREDITED", "reference": reference, "amount_fen": amount_fen})
            answered.add(reference)
    if rows:
        gateway.bank.files.append(Artefact.of(f"result-{len(gateway.bank.files)}", json.dumps(rows).encode()))


def _funding() -> dict[str, Any]:
    return {
        "schema": "payout.funding/v1",
        "issuer": kit.ISSUER,
        "funding_id": "F-1",
        "batch_id": kit.BATCH,
        "amount": f"{LINES * 100}.00",
        "received_at": "2026-11-24T09:30:00+08:00",
    }


def _order() -> dict[str, Any]:
    return {
        "schema": "payout.order/v1",
        "issuer": kit.ISSUER,
        "order_id": "O-1",
        "kind": "REISSUE",
        "batch_id": kit.BATCH,
        "line": LINES,
        "attempt": 1,
        "document_no": "某某财农〔2026〕19号",
        "details": None,
    }


def duplicates(gateway: Gateway) -> int:
    """Payments too many, by the accounts in the bytes that arrived: one each, and two for whom the bank rejected."""
    arrived = Counter(account for one in gateway.bank.sent for _, account, _ in json.loads(one.payload)[1])
    return sum(
        max(0, arrived[kit.line(number)["account"]] - (2 if number == LINES else 1)) for number in range(1, LINES + 1)
    )


def told_twice(lane: Lane) -> int:
    """Receipts of one name with other bytes, and attempts with two outcomes."""
    bodies: dict[str, set[str]] = {}
    outcomes: dict[tuple[int, int], set[str]] = {}
    for one in lane.receipts():
        bodies.setdefault(one["receipt_id"], set()).add(json.dumps(one, sort_keys=True))
        outcomes.setdefault((one["line"], one["attempt"]), set()).add(one["receipt_id"])
    return sum(len(found) - 1 for found in (*bodies.values(), *outcomes.values()))


async def test_a_line_cut_right_after_commit_loses_nothing_and_doubles_nothing(
    make_database: Callable[[str | None], str], migrated_template: str
) -> None:
    """What came of a commit is found out by key: each payment travels once, each receipt says one thing."""
    cuts: Counter[Cut] = Counter()
    lost = doubled = told = 0
    for number in range(ROUNDS):
        proxy = Proxy(make_database(migrated_template), now_and_then(SEED + number, ONE_IN))
        async with proxy.listening():
            lane = Lane()
            async with open_through(proxy) as gateway:
                lost += not await main_job(gateway, lane)
                doubled += duplicates(gateway)
                told += told_twice(lane)
        cuts.update(proxy.cuts)
    figure(
        "R13", rounds=ROUNDS, sent=cuts[Cut.SENT], answered=cuts[Cut.ANSWERED], lost=lost, doubled=doubled, told=told
    )
    assert min(cuts[Cut.SENT], cuts[Cut.ANSWERED]) > 0
    assert (lost, doubled, told) == (0, 0, 0)


async def test_a_build_that_does_again_under_a_new_key_is_caught(
    make_database: Callable[[str | None], str], migrated_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: whoever takes a lost line for a failed payment, and pays under another reference, pays twice."""
    send_one = Dispatch._send_one

    async def stubborn(self: Dispatch, bank: Any, row: Mapping[str, Any], claimed_at: int) -> bool:
        try:
            return await send_one(self, bank, row, claimed_at)
        except LOST:
            claim = Claim(row["submission_id"], row["batch_no"], row["fence"])
            payload = self._vault.unseal(bytes(row["payload"]), "submissions", row["submission_id"])
            fresh = payload.replace(row["reference"].encode(), b"AGAIN" + row["reference"].encode()[5:])
            rendered = self._rendered(bank, row, ())
            assert rendered is not None
            await self._submit(bank, dataclasses.replace(rendered, payload=fresh), claim)
            return True

    monkeypatch.setattr(Dispatch, "_send_one", stubborn)
    doubled = 0
    for number in range(10):
        proxy = Proxy(make_database(migrated_template), now_and_then(SEED + number, 3))
        async with proxy.listening(), open_through(proxy) as gateway:
            await main_job(gateway, Lane())
            doubled += duplicates(gateway)
        if doubled:
            break
    assert doubled > 0


@asynccontextmanager
async def open_through(proxy: Proxy) -> AsyncIterator[Gateway]:
    """A gateway whose every connection goes through the proxy, which cuts from when it is open."""
    async with kit.open_gateway(proxy.dsn) as gateway:
        proxy.cutting = True
        yield gateway
        proxy.cutting = False
