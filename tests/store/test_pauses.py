"""A paused bank: no restart lifts the pause, a mended configuration or an operator does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Evidence, Proof, Reason, Rendered
from gateway.banks import digest_of
from gateway.config import BankSection
from tests.store import kit
from tests.store.kit import Gateway

BANK = "rcc_file"


def refuse(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
    wire.crossed = True
    return [Evidence(Proof.NOT_TAKEN, reason=Reason.FORMAT, code="F001")]


async def start(gateway: Gateway, configuration: bytes) -> list[str]:
    """A process starts with this configuration; whose pauses that lifted."""
    await gateway.store.submissions.ensure_banks([BANK])
    return await gateway.store.pauses.resume_mended({BANK: configuration})


async def paused(gateway: Gateway, configuration: bytes | None) -> None:
    gateway.entry = replace(gateway.entry, configuration=configuration)
    gateway.bank.submits = refuse
    await gateway.pay(1)
    assert await gateway.store.pauses.paused() == {BANK: "FORMAT"}
    gateway.bank.submits = kit.received
    gateway.clock.forward(hours=1)


async def sent(gateway: Gateway) -> int:
    await gateway.send()
    return len(gateway.bank.sent)


async def test_a_crash_loop_sends_nothing_to_a_bank_that_refuses_the_format(gateway: Gateway) -> None:
    """Started again and again as it was, also as a second process: the pause stays, the bank hears nothing."""
    await paused(gateway, b"as agreed")
    for _ in range(3):
        assert await start(gateway, b"as agreed") == []
        assert await sent(gateway) == 1


async def test_a_changed_configuration_lifts_the_pause(gateway: Gateway) -> None:
    """A process that starts with another configuration of that bank sends the lines again."""
    await paused(gateway, b"as agreed")
    assert await start(gateway, b"mended") == [BANK]
    assert await sent(gateway) == 2
    assert await gateway.buckets() == {"in_flight": 1}


async def test_the_configuration_of_another_bank_lifts_nothing(gateway: Gateway) -> None:
    """A pause is one bank's."""
    await paused(gateway, b"as agreed")
    assert await gateway.store.pauses.resume_mended({"json_https": b"mended"}) == []
    assert await gateway.store.pauses.paused() == {BANK: "FORMAT"}


async def test_where_nobody_knows_what_was_refused_only_people_resume(gateway: Gateway) -> None:
    """A pause of unknown configuration (an older release's) stays at every start; an operator lifts it, once."""
    await paused(gateway, None)
    assert await start(gateway, b"mended") == []
    (row,) = await gateway.store.pauses.resume([BANK, "json_https"])
    assert (row["bank"], row["pause_reason"]) == (BANK, "FORMAT")
    assert await gateway.store.pauses.resume([BANK]) == []
    assert await sent(gateway) == 2


async def test_a_second_refusal_does_not_hide_the_first(gateway: Gateway) -> None:
    """What a slower process with the old configuration hears later belongs to the pause that is there."""
    await paused(gateway, b"as agreed")
    refused = Evidence(Proof.NOT_TAKEN, reason=Reason.SIGNATURE, submission=gateway.bank.sent[0].submission)
    gateway.entry = replace(gateway.entry, configuration=b"other")
    await gateway.verify._hear(gateway.entry, gateway.clock.now(), [refused], ())
    assert await gateway.store.pauses.paused() == {BANK: "FORMAT"}
    assert await start(gateway, b"as agreed") == []


def section(**settings: Any) -> BankSection:
    return BankSection(profile="rcc_file", settings=settings)


def test_the_digest_is_of_settings_files_and_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same is the same wherever it lies; a setting, a key's content or a new release is another one."""
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one, two):
        place.mkdir()
        (place / "bank.key").write_text("a key")
    agreed = section(sftp={"private_key_file": "bank.key"}, max_lines=10)
    known = digest_of(agreed, one)
    assert digest_of(agreed, two) == known
    assert digest_of(section(sftp={"private_key_file": "bank.key"}, max_lines=11), one) != known
    (two / "bank.key").write_text("another key")
    assert digest_of(agreed, two) != known
    monkeypatch.setattr("adapters.registry.release", lambda profile: "payout-gateway 9.9")
    assert digest_of(agreed, one) != known
