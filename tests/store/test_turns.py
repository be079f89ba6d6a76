"""The pace of a login: every question takes its turn in the books, whichever process puts it and in whichever call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.contract import Evidence, NoTurn, Proof, Rendered, TakesTurns, proof_of_raising
from gateway.banks import Bank, open_banks
from gateway.config import BankSection, ConfigError
from gateway.store.limits import Limits
from gateway.store.turns import Login, hand_out
from tests.adapters import xml_tcp_kit as xml
from tests.store.kit import Gateway, ToyWire, config_of, open_gateway
from tests.store.test_fencing import second
from tests.store.test_limits import gaps, note_turns, open_judged

NAME = "rcc_file"  # the row of the kit's bank in the books
LISTS_NONE = xml.listing()


def configured(world: xml.World) -> Bank:
    return Bank(NAME, world.adapter, world.transport, world.adapter.capabilities())


async def test_two_processes_that_ask_line_by_line_keep_the_pace_of_one_login(database: str, tmp_path: Path) -> None:
    """Each of the eight questions of two probes in two processes has a turn of its own, an interval apart."""
    async with (
        open_gateway(database) as gateway,
        xml.world(tmp_path, probe_interval_milliseconds=100) as here,
        xml.world(tmp_path, probe_interval_milliseconds=100) as there,
    ):
        await note_turns(gateway, "next_probe_at")
        for world, store in ((here, gateway.store), (there, second(gateway))):
            hand_out(store.limits, {NAME: configured(world)}, 60)
            world.bank.says("DF1002", LISTS_NONE)  # so that every line is asked about singly
            world.bank.says("DF1003", xml.Reply("1002"))

        async def probe(world: xml.World) -> None:
            async with world.transport.wire() as wire:
                await world.adapter.probe(xml.rendered(world.adapter), wire)

        await asyncio.gather(probe(here), probe(there))
        assert len(here.bank.seen) + len(there.bank.seen) == 8
        found = await gaps(gateway)
        assert len(found) + 1 == 8
        assert min(found) >= 100


async def test_the_question_before_a_second_transmission_takes_its_turn(database: str, tmp_path: Path) -> None:
    """Where the pace leaves none, the bank hears nothing at all, and it is certain that nothing was sent."""
    async with open_gateway(database) as gateway, xml.world(tmp_path, probe_interval_milliseconds=60_000) as world:
        hand_out(gateway.store.limits, {NAME: configured(world)}, 60)
        world.bank.says("DF1002", xml.Reply("1002"))
        world.bank.says("DF1001", xml.Reply("0000"))
        again = replace(xml.rendered(world.adapter), transmission=2)
        async with world.transport.wire() as wire:
            await world.adapter.submit(again, wire)
        async with world.transport.wire() as wire:
            with pytest.raises(NoTurn):
                await world.adapter.submit(again, wire)
            assert proof_of_raising(wire) is Proof.NOT_SENT
        assert world.bank.trades == ["DF1002", "DF1001"]


async def test_a_call_waits_no_longer_for_turns_than_it_may(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits of one conversation share one patience; the next conversation has its own."""
    waits = [0, 7, 0, 6, 6, 0]  # what the books answer: milliseconds, or that the turn is taken

    async def take(limits: Limits, bank: str, interval: int) -> int:
        return waits.pop(0)

    monkeypatch.setattr(Limits, "take_probe_turn", take)
    login = Login(gateway.store.limits, gateway.entry, 12)
    turn = login.conversation()
    await turn()
    await turn()
    with pytest.raises(NoTurn):
        await turn()
    await login.conversation()()
    assert waits == []


async def test_a_probe_without_a_turn_is_put_off_and_its_claim_given_back(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No turn is no answer and no fault: nothing is counted as asked, and the submission is due as before."""
    async with open_judged(database, 1) as gateway:
        await gateway.send()
        gateway.bank.probes = no_turn
        gateway.clock.forward(hours=2)
        before = await due(gateway)
        assert not await gateway.verify.probe(gateway.entry)
        assert await due(gateway) == before
        assert before[0][0] == 0
        assert before[0][2] is None


def no_turn(rendered: Rendered, wire: ToyWire) -> list[Evidence]:
    raise NoTurn


async def due(gateway: Gateway) -> list[tuple[int, object, object]]:
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT probes, probe_at, lease_until FROM submissions")
    return [(row["probes"], row["probe_at"], row["lease_until"]) for row in rows]


async def test_where_the_transport_takes_turns_the_core_takes_none_besides(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question costs one turn, not one of the call and one of the question."""
    taken = []

    async def take(limits: Limits, bank: str, interval: int) -> int:
        taken.append(interval)
        return 0

    monkeypatch.setattr(Limits, "take_probe_turn", take)
    await gateway.verify.collect(gateway.entry)
    assert len(taken) == 1  # a transport that cannot count its questions: a conversation is one
    monkeypatch.setattr(type(gateway.bank), "take_turns_from", lambda bank, turns: None, raising=False)
    assert isinstance(gateway.entry.transport, TakesTurns)
    await gateway.verify.collect(gateway.entry)
    assert len(taken) == 1


@pytest.mark.parametrize(("asked", "fits"), [(3, True), (500, False)])
def test_questions_that_would_fill_their_call_are_a_fault_of_the_configuration(
    tmp_path: Path, asked: int, fits: bool
) -> None:
    """A probe that the timeout cuts off loses what it has heard: told at start, with both settings' names."""
    (tmp_path / "mac.key").write_bytes(xml.KEY)
    agreed = xml.settings(tmp_path, lines_asked_singly=asked, probe_interval_milliseconds=2_000)
    section = agreed.model_dump(mode="json", exclude_unset=True) | {"mac_key_file": str(tmp_path / "mac.key")}
    section["debit_accounts"] = list(agreed.debit_accounts)
    config = config_of("postgresql://nobody").model_copy(
        update={"banks": {"theirs": BankSection(profile="xml_tcp", settings=section)}}
    )
    if fits:
        assert open_banks(config)["theirs"].takes_turns
        return
    with pytest.raises(ConfigError) as error:
        open_banks(config)
    (fault,) = error.value.faults
    assert fault.startswith("banks.theirs.settings.probe_interval_milliseconds: 501 questions of one call")
    assert "timing.bank_call_seconds" in fault
