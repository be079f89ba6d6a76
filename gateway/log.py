"""Logs as JSON lines in which only listed keys and harmless values survive, so personal data cannot slip in.

Three gates, because each of them has been seen to fail alone:

1. **Keys** are an allow-list (``ALLOWED``). Anything else is dropped and counted in ``dropped``.
2. **Values** keep their type or lose their content: numbers, dates and enum members pass, text is cut, stripped of
   everything that is not plain ASCII (people's names) and of digit runs that look like an ID, a card or a mobile
   number; any other object becomes the name of its class. So masked types never print, not even masked.
3. **Exceptions** are logged as class names and ``module:line`` frames. Their messages quote what they choked on
   (pydantic its input, PostgreSQL the offending value), so a message appears only for classes that promise not to.

Libraries log through ``logging``; aiokafka logs record values at DEBUG. Their floor is WARNING whatever our level is,
only the first line of their template is kept, and of its arguments only numbers and the names of exception classes.
"""

from __future__ import annotations

import datetime as dt
import errno
import json
import logging
import re
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from adapters.contract import CallbackRefused, Unreadable

Logger = FilteringBoundLogger

_KEYS = """
    event level ts logger dropped error

    bank provider department programme county issuer batch_id batch payout_id line attempt submission reference
    order_id funding_id receipt_id report_id revision part parts key_id event_id

    state proof reason outcome effect kind code status call component step method path topic partition offset lane lag

    count lines payouts attempts refused amount_fen bytes seconds due_at at limit_at horizon size version digest

    host port pid signal token lease query migration file scale
"""  # the line itself; whom it is about (codes and references, never a person); what happened; how much; the process
ALLOWED = frozenset(_KEYS.split())

TEXT_LIMIT = 200
FRAME_LIMIT = 12
CHAIN_LIMIT = 4
LIBRARY_FLOOR = logging.WARNING

# Mobile numbers, with or without +86, and 14 or more digits standing alone: resident IDs, cards, accounts.
_PERSONAL_DIGITS = re.compile(r"(?<![0-9A-Za-z])(?:(?:\+?86[- ]?)?1[3-9][0-9]{9}|[0-9]{14,}[0-9Xx]?)(?![0-9A-Za-z])")
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]+")

# Exceptions whose messages never quote data. Exact classes: a subclass has to make the promise itself.
_quotable: set[type[BaseException]] = {CallbackRefused, Unreadable}


def quotable(cls: type[BaseException]) -> type[BaseException]:
    """Declare (also as a decorator) that messages of exactly this class never quote data: they may be logged."""
    _quotable.add(cls)
    return cls


def plain(text: str) -> str:
    """Text as it may appear in a log line."""
    return _PERSONAL_DIGITS.sub("[digits]", _NOT_PLAIN.sub("?", text))[:TEXT_LIMIT]


def _value(value: object) -> object:
    """The gate for values: exact types only, because a subclass of ``str`` may well be a masked secret."""
    if isinstance(value, Enum):
        return _value(value.value)
    if value is None or type(value) in (bool, int, float):
        return value
    if type(value) is str:
        return plain(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if type(value) is dt.timedelta:
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if type(value) in (list, tuple, set, frozenset):
        items = list(cast(Iterable[object], value))
        return [_value(item) for item in items[:FRAME_LIMIT]]
    return f"<{type(value).__name__}>"


def allow_listed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The gate for keys, and through ``_value`` for what they carry."""
    error = event.pop("error", None)
    kept = {key: _value(value) for key, value in event.items() if key in ALLOWED}
    dropped = len(event) - len(kept)
    if dropped:
        kept["dropped"] = dropped
    if error is not None:
        kept["error"] = describe(error) if isinstance(error, BaseException) else _value(error)
    return kept


def take_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turn ``exc_info`` (True, an exception or the triple) into ``error``; its message is judged in ``describe``."""
    info = event.pop("exc_info", None)
    event.pop("exception", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, tuple):
        info = info[1]
    if isinstance(info, BaseException):
        event["error"] = info
    return event


def describe(error: BaseException, depth: int = CHAIN_LIMIT) -> dict[str, object]:
    """An exception without its message: class, frames, codes that cannot hold data, and the chain behind it."""
    cls = type(error)
    said: dict[str, object] = {"type": f"{cls.__module__}.{cls.__qualname__}", "frames": _frames(error)}
    if cls in _quotable:
        said["message"] = plain(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        said["errno"] = errno.errorcode.get(error.errno, str(error.errno))
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        said["sqlstate"] = plain(sqlstate)[:5]
    if depth > 0:
        behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if behind is not None:
            said["cause"] = describe(behind, depth - 1)
        if isinstance(error, BaseExceptionGroup):
            said["errors"] = [describe(one, depth - 1) for one in error.exceptions[:CHAIN_LIMIT]]
    return said


def _frames(error: BaseException) -> list[str]:
    frames: list[str] = []
    trace: types.TracebackType | None = error.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}")
        trace = trace.tb_next
    return frames[-FRAME_LIMIT:]


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json.dumps(event, ensure_ascii=True, default=lambda value: f"<{type(value).__name__}>")


class _Lines:
    """What structlog writes to: one named stream of lines, each flushed, because the next moment may be a kill.

    A full disk or a closed pipe loses lines, never work: what failed to be written is counted, and told of afterwards.
    """

    lost = 0

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    def msg(self, message: str) -> None:
        try:
            if _Lines.lost:
                self._stream.write(f'{{"event": "log lines lost", "count": {_Lines.lost}}}\n')
            self._stream.write(message + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # the latter: a stream that is closed
            _Lines.lost += 1
        else:
            _Lines.lost = 0

    debug = info = warning = error = critical = msg


def _name(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = logger.name
    return event


_CHAIN: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    _name,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    take_exception,
    allow_listed,
    _render,
)


class _LibraryHandler(logging.Handler):
    """Where every record of ``logging`` ends: the same line format, the library's own words reduced to its template."""

    def __init__(self) -> None:
        super().__init__(LIBRARY_FLOOR)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = get_logger(record.name)
            level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog knows the five standard levels only
            logger.log(level, _template(record), exc_info=record.exc_info or None)
        except Exception:  # a log line is never worth an exception in the caller; logging's own handler prints values
            sys.stderr.write('{"event": "a log record of a library could not be written"}\n')


def _template(record: logging.LogRecord) -> str:
    """The library's words without what it put into them: asyncio and others paste ``repr(exception)`` into lines."""
    words = record.msg.partition("\n")[0] if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"
    if not isinstance(record.args, tuple) or not record.args:
        return words
    try:
        return words % tuple(_argument(value) for value in record.args)
    except (TypeError, ValueError):
        return words


def _argument(value: object) -> object:
    if type(value) in (bool, int, float):
        return value
    return type(value).__name__ if isinstance(value, BaseException) else "*"


def _warned(
    _message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    _file: TextIO | None = None,
    _line: str | None = None,
) -> None:
    """A Python warning by its class and place: pydantic's quote the value they warn about."""
    file = "/".join(filename.replace("\\", "/").split("/")[-2:])
    get_logger("py.warnings").warning("python warning", kind=category.__name__, file=f"{file}:{lineno}")


def _uncaught(_cls: type[BaseException], error: BaseException, _trace: types.TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        return
    get_logger("gateway").critical("uncaught exception", exc_info=error)


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        get_logger("gateway").critical("uncaught exception in a thread", exc_info=args.exc_value)


def _unraisable(args: Any) -> None:
    get_logger("gateway").error("exception that nobody could catch", exc_info=args.exc_value)


def _structlog(level: int, stream: TextIO) -> None:
    structlog.configure(
        processors=_CHAIN,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name="gateway": _Lines(name, stream),
        cache_logger_on_first_use=False,
    )


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send our log lines at ``level`` and above, and libraries' warnings, to ``stream`` (standard output by default).

    Repeatable. Also takes over the hooks that would print an exception's message to standard error.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError("a log level is one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    _structlog(number, stream or sys.stdout)
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(LIBRARY_FLOOR)
    for name in list(logging.root.manager.loggerDict):  # what a library, or an earlier call, has set up for itself
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
    logging.raiseExceptions = False
    warnings.showwarning = cast("Callable[..., None]", _warned)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def get_logger(name: str) -> Logger:
    """A logger whose lines carry ``logger=name``; cheap, made once per module."""
    return cast(Logger, structlog.get_logger(name))


# A line written before ``configure`` passes the same gates.
_structlog(logging.INFO, sys.stderr)
