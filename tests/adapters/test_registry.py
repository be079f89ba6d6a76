"""Finding bank profiles among what is installed."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from adapters import registry
from adapters.contract import Profile
from adapters.registry import GROUP, DuplicateProfile, RegistryError, UnknownProfile, known, load


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """What the registry sees as installed; empty at first."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [e for e in entries if e.group == group])
    return entries


def offer(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def module(monkeypatch: pytest.MonkeyPatch, name: str, profile: object) -> None:
    made = ModuleType(name)
    made.__dict__["PROFILE"] = profile
    monkeypatch.setitem(sys.modules, name, made)


def test_rcc_file_is_installed() -> None:
    """The profile that this project declares is found by its name, through the installed entry point."""
    assert "rcc_file" in known()
    assert load("rcc_file").name == "rcc_file"


def test_unknown_profile_names_the_known_ones(installed: list[EntryPoint]) -> None:
    """A misspelt profile is answered with the list of what there is."""
    installed += [offer("their_bank", "theirs:PROFILE"), offer("another", "another:PROFILE")]
    with pytest.raises(UnknownProfile, match="no adapter profile 'thier_bank'; known: another, their_bank"):
        load("thier_bank")
    installed.clear()
    with pytest.raises(UnknownProfile, match="known: none"):
        load("their_bank")


def test_duplicate_profile_is_refused(installed: list[EntryPoint]) -> None:
    """Two offers of one name are refused with both origins, even when they say the same, and neither is imported."""
    installed += [offer("their_bank", "theirs:PROFILE"), offer("their_bank", "not_theirs:PROFILE")]
    with pytest.raises(DuplicateProfile, match="offered 2 times: not_theirs:PROFILE, theirs:PROFILE"):
        load("their_bank")
    assert known() == ("their_bank",)


def test_broken_package_harms_only_itself(installed: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that cannot be imported is named as such; another one beside it still loads."""
    good = Profile("good", object, object, object)
    module(monkeypatch, "a_good_adapter", good)
    module(monkeypatch, "an_empty_adapter", None)
    installed += [
        offer("good", "a_good_adapter:PROFILE"),
        offer("missing", "no_such_adapter_package:PROFILE"),
        offer("nameless", "a_good_adapter:NOTHING"),
        offer("empty", "an_empty_adapter:PROFILE"),
        offer("renamed", "a_good_adapter:PROFILE"),
    ]
    assert load("good") is good
    for name, complaint in (
        ("missing", "cannot be loaded"),
        ("nameless", "cannot be loaded"),
        ("empty", "is not a Profile"),
        ("renamed", "offered as 'renamed' and calls itself 'good'"),
    ):
        with pytest.raises(RegistryError, match=complaint):
            load(name)
