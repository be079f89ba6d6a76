"""Starts the gateway as a build that leaks on purpose, in one way each: what finds none of them can see nothing.

    python -m tests.storm.canaries.leaks NAME run --config gateway.toml

``careless`` says too much in a log line and is stopped by the redactor: it must leak nothing. ``speaks`` is the gateway
itself: it is what the canaries walk through.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from gateway import log, privacy
from gateway.app import App
from gateway.intake import Intake, _raw_fields
from gateway.kafka import Inbox
from gateway.log import get_logger
from gateway.privacy import Sealer
from schemas import codec
from schemas.v1 import Kind

_NONCE = bytes(12)
_TAG = bytes(16)
CARELESS_WORDS = "refused as it came"


def speaks() -> None:
    """The gateway as it is, and one line at DEBUG in each life: it has none of its own, so that a level which is not in
    force would go unseen."""
    run = App.run

    async def spoken(self: App) -> int:
        get_logger("storm").debug("said at every level")
        return await run(self)

    setattr(App, "run", spoken)  # noqa: B010 - mypy refuses the plain assignment to a method


def careless() -> None:
    """A line of the log that a hasty hand would write: the refused line as it came, under any name and in the words."""
    refused = Intake._refused

    def told(self: Intake, batch_no: int, line: Any, verdict: Any) -> Any:
        written = _raw_fields(line).decode()
        get_logger("intake").debug(f"{CARELESS_WORDS}: {written}", batch=batch_no, line=line.line, detail=written)
        return refused(self, batch_no, line, verdict)

    setattr(Intake, "_refused", told)  # noqa: B010


def redactor_off() -> None:
    """The same careless line, and no gate for keys and values."""
    careless()

    def everything(_logger: Any, _method: str, event: Any) -> Any:
        return event

    log._CHAIN = tuple(everything if step is log.allow_listed else step for step in log._CHAIN)


def exception_with_input() -> None:
    """Exceptions are told with their words, and pydantic's, which keeps its input, is let through with all it has."""

    def with_words(error: BaseException, depth: int = log.CHAIN_LIMIT) -> dict[str, object]:
        words = error.errors() if isinstance(error, ValidationError) else traceback.format_exception(error)
        return {"type": type(error).__name__, "message": str(words)}

    async def one(self: Inbox, kind: Kind, record: Any) -> None:
        codec.MODELS[kind].model_validate_json(record.value)

    log.describe = with_words
    setattr(Inbox, "_one", one)  # noqa: B010


def library_values_logged() -> None:
    """aiokafka's debug lines with all that they were given, as collectors of log records keep it.

    aiokafka's own words cut a value off after a hundred bytes.
    """

    def emit(self: logging.Handler, record: logging.LogRecord) -> None:
        given = record.args if isinstance(record.args, tuple) else ()
        whole = [one.to_object() for one in given if hasattr(one, "to_object")]
        sys.stdout.write(f"{record.getMessage()} {whole}\n")

    log.LIBRARY_FLOOR = logging.DEBUG
    setattr(log._LibraryHandler, "emit", emit)  # noqa: B010


def column_in_plain() -> None:
    """Sealed columns hold what they should hide, in the form of a seal."""
    unseal = Sealer.unseal

    def seal(self: Sealer, plaintext: bytes, aad: bytes) -> bytes:
        return self.head + _NONCE + plaintext + _TAG

    def open_(self: Sealer, blob: bytes, aad: bytes) -> bytes:
        body = len(privacy._head_of(blob)) + len(_NONCE)
        return blob[body : -len(_TAG)] if blob.endswith(_TAG) else unseal(self, blob, aad)

    setattr(Sealer, "seal", seal)  # noqa: B010
    setattr(Sealer, "unseal", open_)  # noqa: B010


BUILDS: dict[str, Callable[[], None]] = {
    build.__name__: build
    for build in (speaks, careless, redactor_off, exception_with_input, library_values_logged, column_in_plain)
}
# Where each of them has to be found.
SHOWS_IN = {
    redactor_off.__name__: "logs",
    exception_with_input.__name__: "logs",
    library_values_logged.__name__: "logs",
    column_in_plain.__name__: "postgres",
}


if __name__ == "__main__":
    from gateway.__main__ import main

    BUILDS[sys.argv.pop(1)]()
    main()
