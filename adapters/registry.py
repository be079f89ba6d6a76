"""Finds bank profiles by the entry-point group ``payout_gateway.adapters``, our own and other people's alike."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from adapters.contract import Profile

GROUP: Final = "payout_gateway.adapters"


class RegistryError(Exception):
    """A profile that cannot be used; the message says which, why, and what could be used instead."""


class UnknownProfile(RegistryError):
    """No installed package offers this profile."""


class DuplicateProfile(RegistryError):
    """Two installed packages offer the same profile. Which one pays must not depend on the order of a path."""


def known() -> tuple[str, ...]:
    """The names of all installed profiles, sorted. Loads none of them."""
    return tuple(sorted({entry.name for entry in _entries()}))


def load(profile_name: str) -> Profile:
    """The profile of that name; RegistryError when there is none, more than one, or one that is not what it says.

    Only the named package is imported: a broken adapter harms nobody who does not use it.
    """
    offers = [entry for entry in _entries() if entry.name == profile_name]
    if not offers:
        raise UnknownProfile(f"no adapter profile {profile_name!r}; known: {', '.join(known()) or 'none'}")
    if len(offers) > 1:
        origins = ", ".join(sorted(_origin(entry) for entry in offers))
        raise DuplicateProfile(f"adapter profile {profile_name!r} is offered {len(offers)} times: {origins}")
    try:
        profile = offers[0].load()
    except (ImportError, AttributeError) as error:
        raise RegistryError(
            f"adapter profile {profile_name!r} ({_origin(offers[0])}) cannot be loaded: {error}"
        ) from error
    if not isinstance(profile, Profile):
        raise RegistryError(f"{_origin(offers[0])} is not a Profile")
    if profile.name != profile_name:
        raise RegistryError(f"{_origin(offers[0])} is offered as {profile_name!r} and calls itself {profile.name!r}")
    return profile


def release(profile_name: str) -> str:
    """Which release of which package offers a profile; "" where that is not known."""
    found = [entry.dist for entry in _entries() if entry.name == profile_name and entry.dist is not None]
    return f"{found[0].name} {found[0].version}" if found else ""


def _entries() -> Iterable[EntryPoint]:
    return entry_points(group=GROUP)


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name}:{entry.value}" if entry.dist else entry.value
