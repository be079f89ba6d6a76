"""The replay store of callbacks: an event is heard once, a repeat is a no-op, other content under it proves nothing."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Mapping

import pytest

from adapters.contract import Artefact, Callback, CallbackRefused
from tests.store.kit import Gateway, open_gateway
from tests.store.toy import ToyBank


class CallingBank(ToyBank):
    """A bank that calls back; the event's id stands in a header, and the channel's signature is taken for checked."""

    def verify_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> Callback:
        return Callback(headers["event"], Artefact.of("callback", body), ())


@pytest.fixture
async def called(database: str) -> AsyncIterator[Gateway]:
    """Two payouts on their way at a bank whose callbacks are proof."""
    async with open_gateway(database, callback_is_proof=True) as gateway:
        gateway.bank.__class__ = CallingBank
        await gateway.pay(2)
        yield gateway


async def call(gateway: Gateway, event: str, line: int) -> None:
    body = [{"proof": "CREDITED", "reference": gateway.reference_of(line), "amount_fen": 10_000}]
    await gateway.verify.callback(gateway.entry, "POST", "/", {"event": event}, json.dumps(body).encode())


async def test_a_known_event_with_other_content_is_refused_and_moves_nothing(called: Gateway) -> None:
    """Not one word of it is recorded: only the first content of an event counts."""
    await call(called, "E1", 1)
    with pytest.raises(CallbackRefused, match="REPLAYED"):
        await call(called, "E1", 2)
    assert await called.buckets() == {"credited": 1, "in_flight": 1}
    async with called.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM artefacts") == 1


async def test_an_event_that_comes_again_changes_nothing(called: Gateway) -> None:
    """The same bytes under the same event, as a bank repeats what it did not hear acknowledged."""
    for _ in range(3):
        await call(called, "E1", 1)
    assert await called.buckets() == {"credited": 1, "in_flight": 1}
    assert [outcome for _, _, outcome, _ in await called.outcomes()].count("credited") == 1


async def test_another_event_is_heard(called: Gateway) -> None:
    """The control: the same content under an event of its own counts."""
    await call(called, "E1", 1)
    await call(called, "E2", 2)
    assert await called.buckets() == {"credited": 2}


async def test_only_the_first_time_of_an_event_is_new(called: Gateway) -> None:
    """A repeat of the same bytes is none, and other bytes under a known event are refused, not remembered."""
    book, at = called.store.evidence, called.clock.now()
    first, other = b"1" * 32, b"2" * 32
    assert [await book.first_seen("rcc_file", event, first, at) for event in ("E1", "E1", "E2")] == [True, False, True]
    with pytest.raises(ValueError, match="other content"):
        await book.first_seen("rcc_file", "E1", other, at)
    assert await book.seen_otherwise("rcc_file", "E1", other)
    assert not await book.seen_otherwise("rcc_file", "E1", first)
