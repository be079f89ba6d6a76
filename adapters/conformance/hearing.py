"""What the kit's calls bring home, and what the core makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.contract import Artefact, Evidence


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the core makes of evidence about one line: a state by name, and whether the payout is frozen."""

    state: str
    conflict: bool


@dataclass(frozen=True, slots=True)
class Core:
    """What only the core knows, handed in because an adapter's room never opens ``gateway/``.

    ``mint(count, at, alphabet, length)`` and ``submission_reference(number, at)`` make references;
    ``outcome(evidence, reference, amount_fen)`` reads evidence in order, of an attempt that is being sent.
    """

    mint: Callable[[int, Any, str, int], list[str]]
    submission_reference: Callable[[int, Any], str]
    outcome: Callable[[Sequence[Evidence], str, int], Outcome]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one call."""

    way: str
    evidence: list[Evidence]
    raised: Exception | None = None
    crossed: bool = False
    must_tell: bool = True  # False: this way need not know about lines, but must not say anything wrong
    counts: bool = True  # False: the core takes it for a reason to ask, and not for evidence (callback_is_proof)

    def of(self, reference: str) -> list[Evidence]:
        """What it says of one line, and of the whole, as it came: the core applies both to the line."""
        return [each for each in self.evidence if each.reference in (None, reference)]


@dataclass(frozen=True, slots=True)
class Collected:
    artefacts: list[tuple[Artefact, str]]  # each with the cursor after it
    evidence: list[Evidence]
    unreadable: list[Artefact]
