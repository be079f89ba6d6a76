"""Listens to everything that a run lets out: log records, exceptions with their chains, printed objects and lines.

Log records are heard where they are made, so that a logger which keeps its records from the others is heard too; what
is printed goes on to where it was meant to go. What is found is told by kind ("an account in a log record of asyncssh",
"a name in base64 on stderr"), never by its text.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any, Final, cast

from adapters.conformance.case import Broken, NotApplicable
from adapters.conformance.disguises import disguises

_log = logging.getLogger(__name__)
_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({})))
_LONGEST_LINE: Final = 65_536


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
        extra = {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if extra:
            self.note(f"a log record of {record.name}", repr(extra))
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
        everything = "\n".join(self._texts)
        found = set[str]()
        for canary, kind in canaries.items():
            for form, words in disguises(canary).items():
                if form in everything:  # in one go: mostly there is none
                    places = {where for text, where in self._texts.items() if form in text}
                    found |= {" ".join(filter(None, (kind, words, "in", where))) for where in places}
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
        made = logging.getLogRecordFactory()

        def heard(*arguments: Any, **more: Any) -> logging.LogRecord:
            record = made(*arguments, **more)
            self.emit(record)
            return record

        logging.setLogRecordFactory(heard)
        out, error = _Ear(self, "a line on stdout", sys.stdout), _Ear(self, "a line on stderr", sys.stderr)
        previous = loop.get_exception_handler()
        loop.set_exception_handler(self._unhandled)
        _log.debug("a run begins")  # so that a watch which hears nothing at all is known to be deaf
        try:
            with redirect_stdout(cast(IO[str], out)), redirect_stderr(cast(IO[str], error)):
                yield
        finally:
            out.close_line()
            error.close_line()
            logging.setLogRecordFactory(made)
            loop.set_exception_handler(previous)
            root.handlers[:] = handlers
            root.setLevel(level)
            logging.disable(disabled)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        self.note("an error that nobody handled", str(context.get("message")))
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.raised(error)


class _Ear:
    """A stream that hears, line by line, what is written to the one behind it; for the rest it is that one."""

    def __init__(self, watch: Watch, where: str, behind: Any) -> None:
        self._watch = watch
        self._where = where
        self._behind = behind
        self._line = ""

    def write(self, text: str) -> int:
        self._line += text
        if "\n" in text or len(self._line) > _LONGEST_LINE:
            self.close_line()
        self._behind.write(text)
        return len(text)

    def close_line(self) -> None:
        if self._line:
            self._watch.note(self._where, self._line)
        self._line = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)
