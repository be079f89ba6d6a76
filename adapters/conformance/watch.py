"""Listens to everything that a run lets out: log records at DEBUG, exceptions with their chains, printed objects.

What is found is told by kind ("an account in a log record of asyncssh"), never by its text.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from adapters.conformance.case import Broken, NotApplicable

_log = logging.getLogger(__name__)


class Watch(logging.Handler):
    """Keeps texts with where they came from. Bounded: what repeats is kept once."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._texts: dict[str, str] = {}
        self.unhandled: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:
            text = f"{record.msg!r} {record.args!r}"
        self.note(f"a log record of {record.name}", text)
        if record.exc_info and record.exc_info[1] is not None:
            self.raised(record.exc_info[1])

    def note(self, where: str, text: str) -> None:
        self._texts.setdefault(text, where)

    def show(self, what: object) -> None:
        """An object as an accident would print it."""
        for text in (repr(what), str(what)):
            self.note(f"the printed form of {type(what).__name__}", text)

    def raised(self, error: BaseException) -> None:
        """An exception with all that hangs on it, as a traceback would print it."""
        if not isinstance(error, (Broken, NotApplicable)):
            self.note(f"a traceback of {type(error).__name__}", "".join(traceback.format_exception(error)))

    def leaks(self, canaries: Mapping[str, str]) -> list[str]:
        """Which kinds of canary were found where, each pair once."""
        found = {
            f"{kind} in {where}"
            for text, where in self._texts.items()
            for canary, kind in canaries.items()
            if canary in text
        }
        return sorted(found)

    @property
    def heard_logs(self) -> bool:
        return any(where.startswith("a log record") for where in self._texts.values())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Everything of this process at DEBUG, and nothing of it to anybody else."""
        root, loop = logging.getLogger(), asyncio.get_running_loop()
        handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable
        root.handlers[:], logging.root.manager.disable = [self], 0
        root.setLevel(logging.DEBUG)
        previous = loop.get_exception_handler()
        loop.set_exception_handler(self._unhandled)
        _log.debug("a run begins")  # so that a watch which hears nothing at all is known to be deaf
        try:
            yield
        finally:
            loop.set_exception_handler(previous)
            root.handlers[:] = handlers
            root.setLevel(level)
            logging.disable(disabled)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        self.note("an error that nobody handled", str(context.get("message")))
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.raised(error)
