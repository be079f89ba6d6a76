"""Hostile signature headers: each is refused for its own reason, and none of them ever verifies."""

from __future__ import annotations

from typing import Final

import pytest

from gateway.approval import AUDIENCE, KeyRing, Refused, SigningKey, sign
from schemas.v1 import Kind
from tests.unit.hostile_headers import HEADERS, Forger, b64, twin
from tests.unit.test_approval import ED, ES, NOW, RAW, entry, ring

KEYS = ring(entry("ed", ED), entry("es", ES), entry("es2", SigningKey.generate("ES256")))
FORGER: Final = Forger(RAW, Kind.BATCH, NOW, ED)


def refusal(keys: KeyRing, header: str | bytes | None, raw: bytes = RAW, kind: Kind = Kind.BATCH) -> Refused:
    with pytest.raises(Refused) as caught:
        keys.verify(header, raw, kind, NOW)
    return caught.value


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused(name: str) -> None:
    """Each hostile header is refused with its reason, as a refusal and never as another exception."""
    make, reason = HEADERS[name]
    assert refusal(KEYS, make(FORGER)).reason == reason


def test_the_hand_made_signature_is_good() -> None:
    """The control: without the hostility the same construction verifies, so each refusal above is the hostility's."""
    assert KEYS.verify(FORGER.signed(), RAW, Kind.BATCH, NOW).kid == "ed"
    assert len(HEADERS) >= 60


def test_one_flipped_bit_anywhere_is_refused() -> None:
    """No bit of the message can change under its signature."""
    header = FORGER.signed()
    for position in range(0, len(RAW), 7):
        altered = bytearray(RAW)
        altered[position] ^= 1 << position % 8
        assert refusal(KEYS, header, bytes(altered)).reason == "BAD_SIGNATURE"
    for altered_length in (b"", RAW[:-1], RAW + b"\n", b" " + RAW):
        assert refusal(KEYS, header, altered_length).reason == "BAD_SIGNATURE"


def test_a_signature_is_for_one_kind_of_message() -> None:
    """A batch part's signature approves no order, even over the same bytes."""
    assert refusal(KEYS, FORGER.signed(), kind=Kind.ORDER).reason == "WRONG_TYPE"
    assert refusal(KEYS, FORGER.signed(), kind=Kind.FUNDING).reason == "WRONG_TYPE"


def test_es256_is_pinned_to_its_own_key() -> None:
    """An ES256 signature verifies under its own key id only, and a DER signature is none."""
    good = sign(RAW, Kind.BATCH, ES, "es", AUDIENCE, NOW)
    assert KEYS.verify(good, RAW, Kind.BATCH, NOW).kid == "es"
    other = sign(RAW, Kind.BATCH, ES, "es2", AUDIENCE, NOW)
    assert refusal(KEYS, other).reason == "BAD_SIGNATURE"
    assert refusal(KEYS, sign(RAW, Kind.BATCH, ES, "ed", AUDIENCE, NOW)).reason == "BAD_SIGNATURE"
    zeros = good.rpartition(".")[0] + "." + b64(bytes(64))
    assert refusal(KEYS, zeros).reason == "BAD_SIGNATURE"


def test_es256_signatures_are_malleable() -> None:
    """A second valid signature can be made from a first without the key: so nothing is recognised by its signature."""
    head, _, signature = sign(RAW, Kind.BATCH, ES, "es", AUDIENCE, NOW).rpartition(".")
    other = f"{head}.{twin(signature)}"
    assert not other.endswith(signature)
    assert KEYS.verify(other, RAW, Kind.BATCH, NOW).kid == "es"


def test_a_refusal_tells_nothing_of_the_message() -> None:
    """Details name the fault, never the header's or the message's own text."""
    for header in (
        FORGER.signed(kid="canary"),
        FORGER.signed(aud="canary"),
        FORGER.signed(typ="canary"),
        FORGER.signed(canary=1),
        "canary",
    ):
        told = refusal(KEYS, header)
        assert "canary" not in str(told) + repr(told)
