"""S5: names, documents and texts made to hurt: what was written arrives as it was, what cannot be read is refused."""

from __future__ import annotations

import dataclasses
import gzip
import re
import unicodedata
from collections.abc import Callable
from typing import Any, cast

import pytest
from lxml import etree

from adapters.banks.iso20022 import document
from adapters.banks.iso20022 import wire as iso_form
from adapters.banks.rcc_file import wire as rcc_form
from adapters.contract import BankAdapter
from tests.fuzz.targets import Target
from tests.storm.hostile.encoders import Careless, Encoder, encoders, send
from tests.storm.hostile.names import hostile_names
from tests.storm.hostile.patterns import LENGTHS, Found, ambiguous, every_pattern, rescanned, slowest
from tests.storm.hostile.readers import blows, readers, strike
from tests.storm.scale import FULL, SEED, figure, size

NAMES = size(600, 10_000)
REFUSED_WITHIN_SECONDS = 1.0
READERS = readers()


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def all_encoders(tmp_path_factory: pytest.TempPathFactory) -> list[Encoder]:
    return list(encoders(tmp_path_factory.mktemp("encoders")))


def test_every_name_arrives_as_it_was_or_is_refused(all_encoders: list[Encoder]) -> None:
    """Through each encoder and its bank's own reader: the same name, or a refused line with a clear reason."""
    for encoder in all_encoders:
        found = send(encoder, hostile_names(NAMES, SEED))
        figure("S5", encoder=encoder.name, names=found.names, arrived=found.equal, refused=found.refused, altered=0)
        assert found.kept, found
        assert min(found.equal, found.refused) > NAMES // 20  # both ways were tried


CARELESS: dict[str, Callable[[str], str]] = {
    "what is unknown becomes ?": lambda name: name.encode("gbk", "replace").decode("gbk"),
    "what is unknown is left out": lambda name: name.encode("gbk", "ignore").decode("gbk"),
    "letters are folded": lambda name: unicodedata.normalize("NFKC", name),
    "names are cut": lambda name: name[:50],
    "blanks are trimmed": str.strip,
}


@pytest.mark.parametrize("build", CARELESS)
def test_a_careless_encoder_is_caught(build: str, all_encoders: list[Encoder]) -> None:
    """The controls: builds that help a name into the bank's alphabet pay people under names that nobody approved."""
    caught = {}
    for encoder in all_encoders:
        careless = dataclasses.replace(encoder, adapter=cast("BankAdapter", Careless(encoder.adapter, CARELESS[build])))
        found = send(careless, hostile_names(NAMES // 2, SEED))
        caught[encoder.name] = len(found.altered)
    figure("S5", control=build, families_altered=caught)
    assert all(caught.values()), caught


# -- readers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_what_is_made_to_hurt_a_reader_is_refused(name: str) -> None:
    """Entities, bombs, depth: never understood. Numbers, paths, slow texts: sound or unreadable. Each at once."""
    target = READERS[name]
    assert all(target.run(seed) for seed in target.seeds)
    stood = strike(target, (blow for seed in target.seeds for blow in blows(seed)))
    seconds = {"slowest_seconds": round(stood.slowest_seconds, 3), "slowest": stood.slowest} if FULL else {}
    figure("S5", reader=name, blows=stood.blows, refused=stood.refused, **seconds)
    assert stood.kept, stood
    assert stood.refused > stood.blows // 20
    if FULL:
        assert stood.slowest_seconds <= REFUSED_WITHIN_SECONDS, stood


def _with_entities(monkeypatch: pytest.MonkeyPatch) -> Target:
    """ISO 20022 read as an XML library reads it when nobody tells it otherwise."""
    decoded, parser = document._decoded, etree.XMLPullParser

    def unlooked(content: bytes) -> str:
        return decoded(content).replace("<!DOCTYPE", "").replace("<!ENTITY", "")

    def open_hearted(**settings: Any) -> Any:
        return parser(**{**settings, "resolve_entities": True, "load_dtd": True})

    monkeypatch.setattr(document, "_decoded", unlooked)
    monkeypatch.setattr(etree, "XMLPullParser", open_hearted)
    return READERS["iso20022.pain002"]


def _inflating(monkeypatch: pytest.MonkeyPatch) -> Target:
    """A channel that unpacks what comes packed."""
    target = READERS["json_https.callback"]
    return dataclasses.replace(
        target, run=lambda data: target.run(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    )


@pytest.mark.parametrize(("plant", "believed"), [(_with_entities, "entity"), (_inflating, "gzip")])
def test_a_trusting_reader_is_caught(
    plant: Callable[[pytest.MonkeyPatch], Target], believed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controls: a build that resolves entities, and one that inflates, believe what nobody may."""
    target = plant(monkeypatch)
    small = (blow for seed in target.seeds for blow in blows(seed) if blow.fatal and "bomb" not in blow.family)
    stood = strike(target, (blow for blow in small if "laughs" not in blow.family))
    figure("S5", control=plant.__name__, believed=sorted(stood.believed))
    assert believed in stood.believed
    assert not stood.kept


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", ".", "", "a\0b", "x" * 5_000, "a/b", "a\\b", "up/\n"])
def test_a_name_with_a_way_in_it_is_no_answer(name: str) -> None:
    """Names in a bank's listing: only those of the manual are looked at, alone or around a good one."""
    good = {"DF_402XJ0001_DF202611240001_00.01.res", "pain002_DF202611240004_01.xml"}
    for spelt in (name, *(f"{name}{one}" for one in good), *(f"{one}{name}" for one in good if name)):
        assert spelt in good or not rcc_form.is_answer(spelt, "402XJ0001")
        assert spelt in good or not iso_form.is_answer(spelt)


# -- regular expressions -----------------------------------------------------------------------------------------------

BY_HAND = {  # patterns that are put together at run time, from parts that are bounded
    "gateway.tables",
    "adapters.banks.json_https.keys",
}


def test_no_pattern_can_be_made_slow() -> None:
    """Of every regular expression: no text can be cut up in many ways by repeats within repeats, or side by side."""
    found, unknown = every_pattern()
    assert {place.partition(":")[0] for place in unknown} <= BY_HAND
    assert len(found) > 100
    for slow in (ambiguous, rescanned):
        assert not [one.place for one in found if slow(one.pattern.pattern, one.pattern.flags)]


@pytest.mark.skipif(not FULL, reason="seconds are asked in the whole row")
def test_no_pattern_is_slow() -> None:
    """Measured against texts that are built for each of its repeats, of up to a hundred thousand characters."""
    found, _ = every_pattern()
    worst = sorted(((*slowest(one, LENGTHS, REFUSED_WITHIN_SECONDS), one.place) for one in found), reverse=True)
    figure("S5", patterns=len(found), slowest=[(round(took, 3), length, place) for took, length, place in worst[:3]])
    assert worst[0][0] <= REFUSED_WITHIN_SECONDS, worst[:5]


SLOW = (
    r"(?:[0-9]+)*x",
    r"(?:[a-z]+\s?)*!",
    r"(?:a|a)*b",
    r"([A-Z0-9]+[-_]?)*\.res",
    r"(?:[0-9]*|[a-f]*)*;",
    r"(?:<ITEM>.+?</ITEM>)+",
    r"([0-9]+(?:\.[0-9]+)*)(.*)",
)


@pytest.mark.parametrize("pattern", SLOW)
def test_a_pattern_that_can_be_made_slow_is_caught(pattern: str) -> None:
    """The controls: by its shape in every run, by the clock in the whole row."""
    assert ambiguous(pattern) or rescanned(pattern)
    if FULL:
        slow = Found("here", re.compile(pattern), frozenset({"fullmatch"}))
        took, length = slowest(slow, LENGTHS, REFUSED_WITHIN_SECONDS)
        figure("S5", control=pattern, seconds=round(took, 1), length=length)
        assert took > REFUSED_WITHIN_SECONDS
