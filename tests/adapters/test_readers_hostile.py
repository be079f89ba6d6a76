"""Every reader of outside bytes, thrown a few thousand damaged ones: a short walk where ``make fuzz`` goes far."""

from __future__ import annotations

import random

import pytest

from adapters.contract import Evidence, Proof
from tests.fuzz.targets import Broken, Target, demand, targets

TARGETS = targets()
EACH = 1_500
PIECES = (
    b"\x00",
    b"\xff\xfe",
    b"<!DOCTYPE a>",
    b"&x;",
    b"|",
    b"\r\n",
    b"</",
    b'"',
    b"9" * 30,
    "٣".encode(),
    b"-1",
    b"",
)


@pytest.fixture(params=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[str(request.param)]


def damaged(seed: bytes, chance: random.Random) -> bytes:
    """A few random cuts, insertions, swaps and repetitions."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at, to = sorted(chance.randint(0, len(data)) for _ in range(2))
        match chance.randint(0, 4):
            case 0:
                del data[at : min(to, at + 40)]
            case 1:
                data[at:at] = chance.choice(PIECES)
            case 2:
                data[at:at] = data[at : min(to, at + 200)]
            case 3 if data:
                data[at % len(data)] = chance.randrange(256)
            case _:
                data[at : at + 1] = bytes((chance.randrange(256),))
    return bytes(data)


def test_seeds_are_understood(target: Target) -> None:
    """Each seed is sound, so that what grows from it gets past the first check."""
    assert target.seeds
    assert all(target.run(seed) for seed in target.seeds)


def test_damaged_bytes_yield_nothing_that_no_book_may_take(target: Target) -> None:
    """Whatever happens to the bytes, a reader says that they are unreadable or yields sound evidence; never else."""
    chance = random.Random(target.name)
    understood = sum(target.run(damaged(chance.choice(target.seeds), chance)) for _ in range(EACH))
    assert understood < EACH  # some of it must have been damage


def test_every_cut_of_a_seed_is_survived(target: Target) -> None:
    """Cut at every byte, nothing but "unreadable" or sound evidence comes out."""
    for seed in target.seeds:
        for length in range(0, len(seed), max(1, len(seed) // 400)):
            target.run(seed[:length])


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(Proof.CREDITED, reference="R", amount_fen=1),
        Evidence(Proof.RETURNED, host_reference="H"),
        Evidence(Proof.IN_DOUBT, amount_fen=-1),
        Evidence(Proof.IN_DOUBT, amount_fen=1.5),  # type: ignore[arg-type]
        Evidence(Proof.IN_DOUBT, reference="a\nb"),
        Evidence(Proof.IN_DOUBT, text="a\nb"),
    ],
)
def test_the_demand_bites(evidence: Evidence) -> None:
    """Evidence that no book may take is told from evidence that may be taken."""
    with pytest.raises(Broken):
        demand([evidence])
    demand([Evidence(Proof.CREDITED, reference="R", host_reference="H", amount_fen=1)])
