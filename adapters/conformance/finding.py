"""Finds what a run needs: the rehearsal that a profile names, and the name by which another process finds a profile."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from adapters.conformance.rehearsal import Rehearsal
from adapters.contract import Profile
from adapters.registry import GROUP


class CannotCheck(Exception):
    """The profile cannot be checked; the message says what is missing."""


def rehearsal_of(profile: Profile) -> Rehearsal:
    """The profile's rehearsal; CannotCheck where there is none or it cannot be loaded."""
    if not profile.rehearsal:
        raise CannotCheck(
            f"profile {profile.name} ships no rehearsal: name one in Profile(rehearsal='package.module:ATTRIBUTE');"
            " adapters/conformance/rehearsal.py is its manual"
        )
    module, _, attribute = profile.rehearsal.partition(":")
    try:
        made: Rehearsal = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        raise CannotCheck(f"the rehearsal {profile.rehearsal} cannot be loaded: {error}") from error
    missing = [name for name in ("kind", "settings", "read", "answer", "golden") if not hasattr(made, name)]
    if missing:
        raise CannotCheck(f"the rehearsal {profile.rehearsal} lacks {', '.join(missing)}")
    return made


def locator_of(profile_name: str) -> str:
    """ "module:attribute" of an installed profile, for another process; "" where there is none."""
    found = [entry.value for entry in entry_points(group=GROUP) if entry.name == profile_name]
    return found[0] if len(found) == 1 else ""
