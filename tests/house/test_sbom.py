"""The bill of materials is that of the lock: every pin, every hash, who needs whom, and no index."""

from __future__ import annotations

import json
import re

import pytest

from tests.house.sbom import PROJECT, TARGET, bill, pins, text
from tests.house.tree import ROOT

REQUIRED = pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements-extras.lock").read_text(encoding="utf-8")


def test_the_bill_is_current() -> None:
    """Whoever changes the lock runs `make sbom`."""
    assert TARGET.read_text(encoding="utf-8") == text()


def test_every_pin_and_every_hash_stands_in_it() -> None:
    """Counted in the lock by other means than the bill's own reading."""
    found = bill(LOCK, REQUIRED, "1")["components"]
    found_pins = re.findall(r"^([a-z0-9][^=\s]*)==([^\s\\;]+)", LOCK, re.MULTILINE)
    assert [(one["name"], one["version"]) for one in found] == found_pins
    assert sum(len(one["hashes"]) for one in found) == LOCK.count("--hash=sha256:")


def test_everything_hangs_on_the_project() -> None:
    """The graph has no stranger and leaves nothing out: each library is needed by the project or by one that is."""
    made = bill(LOCK, REQUIRED, "1")
    graph = {one["ref"]: one["dependsOn"] for one in made["dependencies"]}
    reached, waiting = set(), [PROJECT]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += graph[ref]
    assert reached == {PROJECT, *(one["bom-ref"] for one in made["components"])}


def test_it_names_no_index_and_no_file() -> None:
    """Only the schema's own name is an address."""
    addresses = re.findall(r"[a-z]+://[^\"]+", json.dumps(bill(LOCK, REQUIRED, "1")))
    assert addresses == ["http://cyclonedx.org/schema/bom-1.6.schema.json"]


def test_a_pin_without_a_hash_is_refused() -> None:
    """A library that could be anything does not get into a bill."""
    with pytest.raises(ValueError, match="without a hash: lxml"):
        bill("lxml==6.0 \\\n    # via payout-gateway (pyproject.toml)\n", {"lxml"}, "1")


def test_what_only_an_extra_needs_is_optional() -> None:
    """SM2 and SMPP are in the bill of who installs them; everything else is required."""
    optional = {one["name"] for one in bill(LOCK, REQUIRED, "1")["components"] if one["scope"] == "optional"}
    assert optional >= {"gmalg", "smpplib"}
    assert not optional & REQUIRED
