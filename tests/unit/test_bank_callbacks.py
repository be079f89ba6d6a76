"""The simulated HTTPS bank's callbacks: signed, kept until delivered, and each of their faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.bank import hand
from tests.bank.certificates import prepare
from tests.bank.hand import Client
from tests.bank.json_signing import Gate
from tests.bank.process import BankProcess, until
from tests.world.processes import free_port

PATH = "/callbacks/json_https"


class Gateway:
    """Receives callbacks as a strict gateway does: checks signature, age and nonce, and remembers what was good."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.good: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.gate: Gate | None = None
        self.answered_at: list[float] = []
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        app = web.Application()
        app.router.add_post(PATH, self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert self.gate is not None
        problem = self.gate.problem("POST", request.raw_path, request.headers, body)
        self.answered_at.append(time.monotonic())
        if problem:
            self.refused.append(problem)
            return web.Response(status=401)
        self.good.append(json.loads(body))
        return web.Response(status=204)

    @property
    def statuses(self) -> list[list[str]]:
        return [[item["status"] for item in event["items"]] for event in self.good]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of keys for all banks of this module."""
    made = tmp_path_factory.mktemp("keys")
    prepare(made)
    return made


@pytest.fixture
async def world(tmp_path: Path, keys: Path) -> AsyncIterator[Callable[..., Any]]:
    """A factory of (bank, client, gateway): the bank calls the gateway back, which is open unless told otherwise."""
    banks: list[BankProcess] = []
    gateways: list[Gateway] = []

    async def make(is_open: bool = True, **settings: Any) -> tuple[BankProcess, Client, Gateway]:
        gateway = Gateway(free_port())
        own = {"callback_url": f"http://127.0.0.1:{gateway.port}{PATH}", **settings.pop("json_https", {})}
        bank = BankProcess(tmp_path / str(len(banks)), "json_https", json_https=own, **settings)
        bank.borrow_keys(keys)
        banks.append(bank)
        gateways.append(gateway)
        await bank.start()
        gateway.gate = Gate(prepare(bank.disk).bank_signing_public, "bank")
        if is_open:
            await gateway.open()
        return bank, Client(prepare(bank.disk), bank.port), gateway

    yield make
    for gateway in gateways:
        await gateway.close()
    for bank in banks:
        bank.child.kill()


async def test_final_items_are_called_back_in_portions(world: Callable[..., Any]) -> None:
    """Up to so many items an event, each signed, each item once, and logged as acknowledged."""
    accounts = {hand.account(2): ["reject"], hand.account(3): ["pending_for_ever"]}
    bank, client, gateway = await world(json_https={"callback_items": 4}, programme={"accounts": accounts})
    await client.post("DF1", hand.payments(10))
    await until(lambda: len(gateway.good) == 3)
    assert sorted(len(event["items"]) for event in gateway.good) == [1, 4, 4]
    told = [item["ref"] for event in gateway.good for item in event["items"]]
    assert sorted(told) == [hand.reference(number) for number in range(1, 11) if number != 3]
    assert {event["type"] for event in gateway.good} == {"ITEMS_FINAL"}
    assert len({event["eventId"] for event in gateway.good}) == 3
    await until(lambda: bank.column("SELECT how FROM deliveries") == ["acknowledged"] * 3)


async def test_callbacks_survive_the_gateways_absence_and_the_banks_death(world: Callable[..., Any]) -> None:
    """Made while nobody listened, killed with the bank, delivered once both are back."""
    bank, client, gateway = await world(is_open=False)
    await client.post("DF1", hand.payments(3))
    await until(lambda: bank.rows("SELECT * FROM artefacts WHERE channel = 'callback'"))
    bank.child.kill()
    await bank.start()
    await asyncio.sleep(0.3)
    assert not bank.rows("SELECT * FROM deliveries")
    await gateway.open()
    await until(lambda: gateway.statuses == [["SUCCESS"] * 3])
    await until(lambda: bank.column("SELECT how FROM deliveries") == ["acknowledged"])


async def test_the_bank_gives_up_after_its_time_and_says_so(world: Callable[..., Any]) -> None:
    """Nobody ever listens: bounded, and in the ledger."""
    bank, client, _ = await world(is_open=False, json_https={"callback_give_up_real_seconds": 1})
    await client.post("DF1", hand.payments(1))
    await until(lambda: bank.column("SELECT how FROM deliveries") == ["gave_up"])


@pytest.mark.parametrize(
    ("fault", "good", "refused"),
    [
        ("callback_duplicated", 2, []),
        ("callback_replayed", 1, ["age", "replay"]),
        ("callback_forged", 1, ["signature"]),
        ("callback_late", 1, []),
        ("callback_lost", 0, []),
        ("callback_unknown_reference", 2, []),
    ],
)
async def test_each_callback_fault_fires(world: Callable[..., Any], fault: str, good: int, refused: list[str]) -> None:
    """What a strict gateway receives and refuses is what the fault names, and the truth arrives unless it was lost."""
    bank, client, gateway = await world(programme={"results": {"*": [fault]}, "repair_seconds": 600})
    await client.post("DF1", hand.payments(2))
    await until(lambda: len(gateway.good) == good and sorted(gateway.refused) == refused)
    await until(lambda: bank.column("SELECT fault FROM faults") == [fault])
    await asyncio.sleep(0.3)
    assert (len(gateway.good), sorted(gateway.refused)) == (good, refused)
    events = [event["eventId"] for event in gateway.good]
    assert len(set(events)) == (1 if fault == "callback_duplicated" else good)
    if fault == "callback_unknown_reference":
        assert [len(event["items"]) for event in gateway.good] == [3, 2]
    elif good:
        assert gateway.statuses[-1] == ["SUCCESS", "SUCCESS"]
    sound = bank.column("SELECT sound FROM artefacts ORDER BY id")
    assert sound.count(0) == (fault in ("callback_forged", "callback_unknown_reference"))


async def test_an_old_word_can_arrive_after_a_newer_one(world: Callable[..., Any]) -> None:
    """Reordered: SUCCESS is delivered after RETURNED, as it was true earlier."""
    accounts = {hand.account(1): ["credit_then_return:600"]}
    programme = {"accounts": accounts, "results": {"*": ["callback_reordered"]}, "repair_seconds": 1500}
    one = {"callback_connections": 1}
    _, client, gateway = await world(programme=programme, report_every_seconds=60, json_https=one)
    await client.post("DF1", hand.payments(1))
    await until(lambda: len(gateway.good) == 2)
    assert gateway.statuses == [["RETURNED"], ["SUCCESS"]]


async def test_a_callback_can_come_before_the_reply(world: Callable[..., Any]) -> None:
    """The outcome is known to the gateway before it knows that its request was accepted."""
    bank, client, gateway = await world(programme={"submissions": {"*": ["callback_before_reply"]}})
    reply = await client.post("DF1", hand.payments(1))
    replied_at = time.monotonic()
    assert reply.status == 202
    assert gateway.statuses == [["SUCCESS"]]
    assert gateway.answered_at[0] < replied_at
    assert bank.column("SELECT fault FROM faults") == ["callback_before_reply"]
