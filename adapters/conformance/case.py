"""A case: an id for ever, a promise in one sentence, and how it is seen to be kept or broken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from adapters.conformance import people
from adapters.contract import Capabilities

if TYPE_CHECKING:
    from adapters.conformance.kit import Kit

Run = Callable[["Kit"], Awaitable[None]]
Essential = Callable[[Capabilities], bool]


class Broken(Exception):
    """The promise is broken; the text says how, in plain words and without a name, an account or an ID number."""


class Blank(Broken):
    """Something is not written yet; the text is the author's own reminder of what belongs there."""

    @classmethod
    def of(cls, error: NotImplementedError, what: str = "") -> Blank:
        """The reminder, unless it quotes somebody; ``what`` is the call that met it."""
        reminder = str(error)
        if not reminder or any(canary in reminder for canary in people.canaries(people.KNOWN)):
            return cls(f"{what or 'a call'} raised NotImplementedError without a word of its own; only cancel() may")
        return cls(f"a blank: {reminder}")


class NotApplicable(Exception):
    """This bank cannot come into the case; the text says why."""


class NotConfigured(NotApplicable):
    """The operator's configuration, not the rehearsal, keeps the bank out of the case. Said by the kit alone, so it is
    accepted where "not applicable" is a failure otherwise."""


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "n/a"


@dataclass(frozen=True, slots=True)
class Case:
    """``essential``: whether a bank with these capabilities that cannot come into this case is not finished; then "not
    applicable" is a failure."""

    id: str
    promise: str
    run: Run
    essential: Essential


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    verdict: Verdict
    reason: str = ""
    is_blank: bool = False
    milliseconds: int = 0


CASES: Final[list[Case]] = []  # in the order of their definition, which is the order in which they run


def case(id_: str, promise: str, *, essential: bool | Essential = False) -> Callable[[Run], Run]:
    """Registers a function of the kit as a case."""

    def register(run: Run) -> Run:
        if any(known.id == id_ for known in CASES):
            raise ValueError(f"two cases are called {id_}")
        asked = essential if callable(essential) else (lambda _: bool(essential))
        CASES.append(Case(id_, promise, run, asked))
        return run

    return register


def require(holds: object, reason: str) -> None:
    """Broken with ``reason`` unless ``holds``."""
    if not holds:
        raise Broken(reason)
