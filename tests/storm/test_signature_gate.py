"""S1: hostile messages at the gateway's door, each of which would move money if it got through."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from gateway import approval, failures, intake
from gateway.approval import AUDIENCE, TYP, KeyEntry, KeyRing, Verified, sign
from gateway.config import KafkaSection
from schemas import codec
from schemas.v1 import Kind
from tests.conftest import Kafka
from tests.store.kit import Gateway, open_gateway
from tests.storm.contents import contents
from tests.storm.gate.doorway import Doorway, Letter, counted
from tests.storm.gate.drafts import Keys, as_bytes, prepare
from tests.storm.gate.letters import CASES
from tests.storm.gate.siege import Verdict, besiege, drafted
from tests.storm.scale import FULL, figure, size
from tests.unit.hostile_headers import twin
from tests.unit.test_approval import entry, ring
from tests.unit.test_kafka import section

KINDS = (Kind.BATCH, Kind.FUNDING, Kind.ORDER)
REPLAYS = size(20, 1_000)
# A consumer that loses its partitions on a crowded machine handles a record twice: rightly, and not the matter here.
WIDE = {"max_record_bytes": 1_000_000, "session_timeout_seconds": 30}


@pytest.fixture
async def patient(database: str) -> AsyncIterator[Gateway]:
    """A gateway that sends also where the machine stands still."""
    async with open_gateway(database) as opened:
        yield opened


def test_the_table_is_whole() -> None:
    """At least sixty hostile messages, no name twice, and each kind of input meets most of them."""
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    for kind in KINDS:
        assert sum(kind in case.kinds for case in CASES) >= 60


async def test_no_hostile_message_moves_anything(patient: Gateway, kafka: Kafka) -> None:
    """Published to the real intake: each gets exactly one answer, with its cause, and the books stay as they were."""

    async def publish(door: Doorway, letters: Sequence[Letter]) -> None:
        await door.publish(kafka, letters)

    verdict = await besiege(patient, section(kafka, **WIDE), drafted(KINDS, every_order=FULL), publish)
    figure("S1", broker=kafka.broker.kind, messages=len(CASES), letters=verdict.letters, UB=verdict.unbacked)
    assert verdict.kept, verdict


async def test_identical_replays_change_nothing(gateway: Gateway, kafka: Kafka) -> None:
    """A good message again and again, signed again, by its signature's twin, also under a key that lapsed: a no-op."""
    keys, accepted = await prepare(gateway, [])
    before, taken = await contents(gateway), counted()
    by_ed, by_es = (
        [
            Letter.signed(kind, raw, signature)
            for kind in KINDS
            for raw in (as_bytes(accepted[kind]),)
            for signature in spell(raw, kind, keys, gateway.clock.now())
        ]
        for spell in (_by_ed, _by_es)
    )
    repeats = REPLAYS // 4
    async with Doorway(gateway, section(kafka, **WIDE)) as door:
        await door.publish(kafka, (by_ed + by_es) * repeats)
        gateway.intake._keyring.renew(ring(entry("ed", keys.ed, revoked_at="2026-11-24T09:00:00+08:00")))
        await door.publish(kafka, by_ed * repeats)
    count = (2 * len(by_ed) + len(by_es)) * repeats
    now = counted()
    assert {outcome: now[outcome] - taken[outcome] for outcome in now} == {
        "accepted": 0,
        "repeated": count,
        "refused": 0,
    }
    assert await contents(gateway) == before
    assert not await gateway.published("refusals")
    figure("S1", replays=count, of_one_message=count // len(KINDS), changed=0)


def _by_ed(raw: bytes, kind: Kind, keys: Keys, at: dt.datetime) -> list[str]:
    """As it was, and signed a second time later."""
    return [sign(raw, kind, keys.ed, "ed", AUDIENCE, at + dt.timedelta(seconds=n)) for n in (0, 1)]


def _by_es(raw: bytes, kind: Kind, keys: Keys, at: dt.datetime) -> list[str]:
    """By another key of the issuer, and the twin that anybody can make of such a signature."""
    head, _, signature = sign(raw, kind, keys.es, "es", AUDIENCE, at).rpartition(".")
    return [f"{head}.{signature}", f"{head}.{twin(signature)}"]


# -- the controls: a gate with one bolt missing ------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]
Judge = Callable[[KeyRing, KeyEntry, dict[str, Any], Kind, dt.datetime], Verified]


def _judging(change: Callable[[KeyEntry, dict[str, Any], Kind], tuple[KeyEntry, dict[str, Any]]]) -> Plant:
    """A build whose verdict on entry and header is passed on something else than what they say."""
    judge: Judge = KeyRing._judge

    def blind(self: KeyRing, entry: KeyEntry, header: dict[str, Any], kind: Kind, now: dt.datetime) -> Verified:
        return judge(self, *change(entry, header, kind), kind, now)

    return lambda patch: patch.setattr(KeyRing, "_judge", blind)


def _for_ever(entry: KeyEntry, header: dict[str, Any], kind: Kind) -> tuple[KeyEntry, dict[str, Any]]:
    ends = {"not_before": dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "not_after": dt.datetime(9999, 1, 1, tzinfo=dt.UTC)}
    return entry.model_copy(update={**ends, "revoked_at": None}), header


def _whatever_stands_twice(text: bytes) -> Any:
    with contextlib.suppress(RecursionError):
        return json.loads(text.decode("utf-8"))
    raise ValueError("too deep")


def _no_issuer(patch: pytest.MonkeyPatch) -> None:
    for step in (intake, failures):
        patch.setattr(step, "demand_issuer", lambda verified, issuer: None)


BUILDS: dict[str, tuple[Plant, set[str]]] = {
    "the audience is not compared": (
        _judging(lambda entry, header, kind: (entry, {**header, "aud": AUDIENCE})),
        {"aud other"},
    ),
    "the type is not compared": (
        _judging(lambda entry, header, kind: (entry, {**header, "typ": TYP[kind]})),
        {"typ of another message", "typ in capitals", "typ JWT"},
    ),
    "the key's time is not looked at": (
        _judging(_for_ever),
        {"key expired", "key not valid yet", "key revoked", "key revoked, dated back"},
    ),
    "a key signs everything": (
        _judging(lambda entry, header, kind: (entry.model_copy(update={"kinds": frozenset(KINDS)}), header)),
        {"key for other kinds"},
    ),
    "members may stand twice": (
        lambda patch: patch.setattr(codec, "demand_unique_members", lambda raw: None),
        {"a member twice", "a member of a line twice", "a member twice, spelt differently", "the schema twice"},
    ),
    "anybody signs for anybody": (_no_issuer, {"key of another issuer", "another issuer"}),
    "the header's names may stand twice": (
        lambda patch: patch.setattr(approval, "loads", _whatever_stands_twice),
        {"header with a name twice"},
    ),
}


async def _through(database: str, expected: set[str]) -> Verdict:
    """The siege, each letter handed to the consumer: in the slice batches alone, those that should get through and some
    others; in the whole row every letter of every kind."""
    drafts = drafted(KINDS if FULL else KINDS[:1], every_order=FULL)
    if not FULL:
        drafts = [one for number, one in enumerate(drafts) if one[0].name in expected or number % 12 == 0]
    async with open_gateway(database) as gateway:
        facts = KafkaSection(bootstrap_servers="127.0.0.1:1", **WIDE)
        return await besiege(gateway, facts, drafts, Doorway.hand)


@pytest.mark.parametrize("build", BUILDS if FULL else list(BUILDS)[::2])
async def test_a_gate_with_a_bolt_missing_is_caught(build: str, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controls: exactly the letters that lean on the bolt get through, and money travels that nobody signed for."""
    plant, expected = BUILDS[build]
    plant(monkeypatch)
    verdict = await _through(database, expected)
    through = {name for name, _ in verdict.unanswered}
    figure("S1", control=build, through=sorted(through), UB=verdict.unbacked)
    assert through == expected
    assert verdict.unbacked
    assert not verdict.kept


async def test_a_gate_that_verifies_no_signature_is_caught(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the one check of the signature, strangers' and altered messages are paid."""
    monkeypatch.setattr(approval, "_demand_signature", lambda entry, compact, raw: None)
    expected = {"kid of another's key", "signature flipped", "bit flipped in account", "another EdDSA curve"}
    verdict = await _through(database, expected)
    through = {name for name, _ in verdict.unanswered}
    figure("S1", control="no signature verified", through=len(through), UB=verdict.unbacked)
    assert through >= expected
    assert verdict.unbacked >= 2
