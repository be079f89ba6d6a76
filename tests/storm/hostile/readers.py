"""Every reader of outside bytes (`tests/fuzz/targets.py`, and those of Kafka's messages), and what is thrown at it.

A blow is built from a seed that the reader understands, so that it reaches deep. Some blows nobody may understand; the
others spoil numbers and words, and there a reader may go on as long as what it yields is fit for the books, which the
target itself demands.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.approval import AUDIENCE, sign
from schemas.codec import Refused, parse_message
from schemas.v1 import Kind
from tests.fuzz.targets import Broken, Target, targets
from tests.storm.scale import size
from tests.unit.messages_kit import as_bytes, example
from tests.unit.test_approval import ED, NOW, RAW, entry, ring

BOMB_BYTES: Final = size(1 << 20, 32 << 20)
PUMP: Final = size(2_000, 50_000)
DEPTH: Final = 50_000
PLACES: Final = size(6, 40)  # of a seed that are spoilt, one after the other
_NUMBERS: Final = (b"9" * 400, b"9" * 5_000, b"-1", b"1e999999999", "٣".encode(), b"0x10", b"1_000")
_PATHS: Final = (b"../../../../etc/passwd", b"..\\..\\boot.ini", b"/dev/zero", b"file:///etc/passwd", b"%2e%2e%2f")
_PUMPS: Final = (b"a", b"9", b" ", b"-", b".", b"/", b"A1", b"a ", "张".encode(), b"\\", b"&", b"=")
_LAUGHS: Final = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
_ENTITIES: Final = {
    "entity": b'[<!ENTITY x "2">]',
    "entity from a file": b'[<!ENTITY x SYSTEM "file:///etc/hostname">]',
    "entity from the net": b'[<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]',
    "parameter entity": b"[<!ENTITY % p \"<!ENTITY x '2'>\"> %p;]",
    "billion laughs": b'[<!ENTITY a0 "2">%s<!ENTITY x "&a11;">]' % _LAUGHS,
    "one large entity": b'[<!ENTITY a "%s"><!ENTITY x "%s">]' % (b"2" * 10_000, b"&a;" * 1_000),
    "DTD from the net": b'SYSTEM "http://127.0.0.1:9/x.dtd"',
}
_SQUEEZE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
_BOMBS: Final = {name: squeeze(bytes(BOMB_BYTES)) for name, squeeze in _SQUEEZE.items()}


@dataclass(frozen=True, slots=True)
class Blow:
    """``fatal``: nobody may understand these bytes."""

    family: str
    content: bytes
    fatal: bool


@dataclass(slots=True)
class Stood:
    """What a reader did: ``believed`` and ``broken`` hold families; the slowest took so many seconds of a processor,
    which is all that a reader takes."""

    blows: int = 0
    refused: int = 0
    believed: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    slowest_seconds: float = 0.0
    slowest: str = ""

    @property
    def kept(self) -> bool:
        return not self.believed and not self.broken


def readers() -> dict[str, Target]:
    """All of them by name."""
    keys = ring(entry("ed", ED))

    def message(kind: Kind) -> Callable[[bytes], bool]:
        return lambda data: _told(lambda: parse_message(kind, data))

    def signature(data: bytes) -> bool:
        return _told(lambda: keys.verify(data, RAW, Kind.BATCH, NOW))

    good = sign(RAW, Kind.BATCH, ED, "ed", AUDIENCE, NOW).encode()
    kinds = (Kind.BATCH, Kind.FUNDING, Kind.ORDER)
    return {
        **targets(),
        **{f"kafka.{kind}": Target(f"kafka.{kind}", message(kind), (as_bytes(example(kind)),)) for kind in kinds},
        "kafka.signature": Target("kafka.signature", signature, (good,)),
    }


def _told(read: Callable[[], object]) -> bool:
    try:
        read()
    except Refused:
        return False
    return True


def strike(target: Target, blows: Iterable[Blow]) -> Stood:
    """Let a reader have them all. Anything but "understood" and "unreadable" is broken."""
    stood = Stood()
    for blow in blows:
        stood.blows += 1
        began = time.thread_time()
        try:
            understood = target.run(blow.content)
        except (Broken, Exception):
            stood.broken.add(blow.family)
            understood = False
        took = time.thread_time() - began
        if took > stood.slowest_seconds:
            stood.slowest_seconds, stood.slowest = took, blow.family
        stood.refused += not understood
        if understood and blow.fatal:
            stood.believed.add(blow.family)
    return stood


def blows(seed: bytes) -> Iterator[Blow]:
    """What a seed becomes."""
    yield from _squeezed(seed)
    if b"<?xml" in seed:
        yield from _declared(seed)
    if seed.lstrip()[:1] in b"{[<":
        yield from _deep(seed)
    yield Blow("twice", seed + seed, fatal=True)
    yield Blow("a hundred times", seed * 100, fatal=True)
    for place in _places(seed, rb"[0-9]+"):
        yield from (Blow("number", seed[: place.start()] + n + seed[place.end() :], fatal=False) for n in _NUMBERS)
    for place in _places(seed, rb"[0-9A-Za-z]{4,}"):
        head, tail = seed[: place.start()], seed[place.end() :]
        yield from (Blow("path", head + path + tail, fatal=False) for path in _PATHS)
        yield from (Blow("slow text", head + pump * PUMP + b"!" + tail, fatal=False) for pump in _PUMPS)


def _squeezed(seed: bytes) -> Iterator[Blow]:
    for name, squeeze in _SQUEEZE.items():
        yield Blow(name, squeeze(seed), fatal=True)
        yield Blow(f"{name} bomb", _BOMBS[name], fatal=True)


def _declared(seed: bytes) -> Iterator[Blow]:
    """The last document of the seed with a DTD, and one of its short texts taken from an entity."""
    start = seed.rindex(b"?>") + 2
    head, rest = seed[:start], seed[start:]
    root = re.search(rb"<([A-Za-z]+)", rest)
    body = re.sub(rb">[^<>&\r\n]{1,4}<", b">&x;<", rest, count=1)
    assert root is not None
    for name, subset in _ENTITIES.items():
        yield Blow(name, head + b"<!DOCTYPE " + root[1] + b" " + subset + b">" + body, fatal=True)
    yield Blow("unknown entity", head + body, fatal=True)


def _deep(seed: bytes) -> Iterator[Blow]:
    if seed.lstrip().startswith(b"<"):
        place = seed.rindex(b"</")
        nested = b"<a>" * DEPTH + b"</a>" * DEPTH
        yield Blow("deep", seed[:place] + nested + seed[place:], fatal=True)
        yield Blow("deep, unclosed", seed[:place] + b"<a>" * DEPTH, fatal=True)
        return
    place = seed.index(b":") + 1
    yield Blow("deep", seed[:place] + b"[" * DEPTH + b"]" * DEPTH + b"," + b'"z":' + seed[place:], fatal=True)
    yield Blow("deep objects", seed[:place] + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}", fatal=True)


def _places(seed: bytes, what: bytes) -> list[re.Match[bytes]]:
    """Up to ``PLACES`` of them, evenly spread."""
    found = list(re.finditer(what, seed))
    return found[:: max(1, len(found) // PLACES)][:PLACES]
