"""Runs all cases against one profile and gathers what they found.

A case has a bound in real time. Its calls are bounded in the event loop; an adapter that blocks the loop itself is
interrupted by an alarm, where the run has the main thread to itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sysconfig
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from pydantic import ValidationError

from adapters.conformance import cases as _registered  # noqa: F401
from adapters.conformance.case import CASES, Blank, Broken, Case, NotApplicable, NotConfigured, Result, Verdict
from adapters.conformance.finding import CannotCheck, locator_of, rehearsal_of
from adapters.conformance.hearing import Core
from adapters.conformance.keys import Keys
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import CannotSay
from adapters.contract import Profile
from adapters.registry import load

CASE_SECONDS: Final = 60
LEAST_LINES: Final = 3
LEAST_CASES: Final = 25  # that count: a rehearsal that can say next to nothing proves next to nothing
_STANDARD_LIBRARY: Final = sysconfig.get_paths()["stdlib"] + os.sep


class NoSuchCase(ValueError):
    """A case was asked for by a name that none has; the message says which."""


class Hung(Exception):
    """A case that blocked the event loop was interrupted."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found, in the order of the cases."""

    adapter: str
    results: tuple[Result, ...]

    @property
    def failed(self) -> list[str]:
        return [result.case.id for result in self.results if result.verdict is Verdict.FAILED]

    @property
    def blanks(self) -> list[str]:
        """What is not written yet, each once, in the order in which the run met it."""
        return list(dict.fromkeys(result.reason for result in self.results if result.is_blank))

    @property
    def passed(self) -> int:
        return sum(result.verdict is Verdict.PASSED for result in self.results)

    @property
    def not_applicable(self) -> int:
        return sum(result.verdict is Verdict.NOT_APPLICABLE for result in self.results)

    def summary(self) -> dict[str, Any]:
        """The last line of the command. Cases that this bank cannot come into are counted apart."""
        return {
            "adapter": self.adapter,
            "cases": self.passed + len(self.failed),
            "passed": self.passed,
            "failed": self.failed,
            "not_applicable": self.not_applicable,
        }


def check_installed(
    profile_name: str,
    core: Core,
    *,
    name: str = "",
    configured: Mapping[str, Any] | None = None,
    only: Iterable[str] = (),
    tell: Callable[[Result], None] = lambda result: None,
) -> Report:
    """Check an installed profile; RegistryError and CannotCheck where that cannot be."""
    return check(
        load(profile_name),
        core,
        name=name or profile_name,
        configured=configured,
        locator=locator_of(profile_name),
        only=only,
        tell=tell,
    )


def check(
    profile: Profile,
    core: Core,
    *,
    name: str = "",
    configured: Mapping[str, Any] | None = None,
    locator: str = "",
    only: Iterable[str] = (),
    tell: Callable[[Result], None] = lambda result: None,
) -> Report:
    """Run every case (or ``only`` some, by id) and hand each result to ``tell`` as it comes."""
    rehearsal = rehearsal_of(profile)
    chosen = _chosen(frozenset(only))
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        kit = Kit(
            profile,
            name or profile.name,
            rehearsal,
            core,
            Path(folder),
            Keys(Path(folder)),
            configured=configured or {},
            locator=locator,
        )
        _can_be_built(kit)
        report = Report(kit.name, tuple(asyncio.run(_run(kit, chosen, tell))))
    counted = report.passed + len(report.failed)
    if not only and counted < LEAST_CASES:
        raise CannotCheck(f"{counted} cases could be tried and {LEAST_CASES} are needed: the rehearsal says too little")
    return report


def _can_be_built(kit: Kit) -> None:
    """CannotCheck, without a value in it, where the settings do not hold or the bank is too small for the cases."""
    try:
        lines = kit.adapter().capabilities().max_lines
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise CannotCheck(f"the settings that the rehearsal gives do not hold: {'; '.join(faults)}") from None
    except NotImplementedError:
        return  # the first case that meets the blank tells it, and every other one
    if lines < LEAST_LINES:
        raise CannotCheck(f"the cases need {LEAST_LINES} lines in a submission, and max_lines is {lines}")


def _chosen(only: frozenset[str]) -> list[Case]:
    unknown = only - {case.id for case in CASES}
    if unknown:
        raise NoSuchCase(f"no such case: {', '.join(sorted(unknown))}")
    return [case for case in CASES if not only or case.id in only]


async def _run(kit: Kit, chosen: list[Case], tell: Callable[[Result], None]) -> list[Result]:
    results = []
    with kit.watch.listening():
        for case in chosen:
            results.append(await _one(kit, case))
            tell(results[-1])
    return results


async def _one(kit: Kit, case: Case) -> Result:
    started = time.monotonic_ns()
    verdict, reason, is_blank = Verdict.PASSED, "", False
    try:
        with _alarm():
            await case.run(kit)
    except Broken as broken:
        verdict, reason, is_blank = Verdict.FAILED, str(broken), isinstance(broken, Blank)
        kit.watch.note("the kit's own words", reason)
    except (NotApplicable, CannotSay) as silent:
        verdict, reason = Verdict.NOT_APPLICABLE, str(silent)
        if not isinstance(silent, NotConfigured) and _is_essential(kit, case):
            verdict, reason = Verdict.FAILED, f"without this case nothing is proved, and the rehearsal says: {silent}"
    except NotImplementedError as error:
        kit.watch.raised(error)
        verdict, reason, is_blank = Verdict.FAILED, str(Blank.of(error)), True
    except (SystemExit, asyncio.CancelledError) as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise  # somebody ends the whole run
        kit.watch.raised(error)
        verdict, reason = Verdict.FAILED, f"{type(error).__name__} was raised {_place(error)}"
    except Hung:
        verdict, reason = Verdict.FAILED, f"the adapter blocks everything for more than {CASE_SECONDS} s"
    except Exception as error:
        # The type and the place, never the text: it may quote a line.
        kit.watch.raised(error)
        verdict, reason = Verdict.FAILED, f"{type(error).__name__} was raised {_place(error)}"
    return Result(case, verdict, reason, is_blank, (time.monotonic_ns() - started) // 1_000_000)


def _is_essential(kit: Kit, case: Case) -> bool:
    try:
        return case.essential(kit.adapter().capabilities())
    except NotImplementedError:
        return False  # nobody knows yet; another case tells the blank


def _place(error: BaseException) -> str:
    """The innermost place outside the standard library, file and line: where an author has to look."""
    frames = traceback.extract_tb(error.__traceback__)
    written = [frame for frame in frames if not _is_standard(frame.filename)] or frames
    return f"at {Path(written[-1].filename).name}:{written[-1].lineno}" if written else "somewhere"


def _is_standard(filename: str) -> bool:
    return filename.startswith((_STANDARD_LIBRARY, "<")) and "site-packages" not in filename


@contextmanager
def _alarm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hung

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(CASE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


__all__ = ["CASES", "CannotCheck", "Report", "check", "check_installed", "rehearsal_of"]
