"""How commands speak: results on standard output, faults on standard error, plain lines without anybody's data."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from gateway.approval import KeyRingFault
from gateway.clock import ENVIRONMENT_NAME, Clock
from gateway.config import ConfigError
from gateway.floors import TooOld
from gateway.privacy import KeyFileFault
from gateway.tables import TableFault
from gateway.texts import TemplateError

# Without a terminal, rich would wrap at 80 columns and break what a script reads.
_PLAIN_WIDTH = 10_000

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="GATEWAY_CONFIG", help="The configuration file.", dir_okay=False)
]

# Exceptions whose messages are written by us, in lines without anybody's data.
_OWN_WORDS: Final = (KeyRingFault, KeyFileFault)


class CommandFailed(Exception):
    """A command cannot do what it was asked; each line is told as it stands."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def console() -> Console:
    """Made when it is used, so that it writes to the standard output of that moment."""
    out = Console(highlight=False, emoji=False)
    if not out.is_terminal:
        out = Console(highlight=False, emoji=False, width=_PLAIN_WIDTH)
    return out


def say(line: str) -> None:
    """One line as it is: markup in brackets is text, and nothing is wrapped."""
    console().print(printable(line), markup=False, soft_wrap=True)


def say_error(line: str) -> None:
    Console(stderr=True, highlight=False, emoji=False).print(printable(line), markup=False, soft_wrap=True)


def printable(text: str) -> str:
    """Without control characters: a bank's answer must not steer an operator's terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def say_faults(faults: Iterable[str]) -> None:
    for fault in faults:
        say_error(f"fault: {fault}")


def business_clock() -> Clock:
    """The clock of the environment; CommandFailed says how one is written."""
    try:
        clock = Clock.from_environment()
        clock.now()  # a start or scale beyond all dates fails here
    except (ValueError, OverflowError) as error:
        # The clock's own words; those of the parsers below it would help nobody.
        words = str(error) if "clock" in str(error) else "a clock is <ISO time with offset>@<scale>@<unix seconds>"
        raise CommandFailed(f"{ENVIRONMENT_NAME}: {words}") from None
    return clock


def clock_warning() -> str | None:
    """What to tell whoever runs on another clock than the real one."""
    if not os.environ.get(ENVIRONMENT_NAME):
        return None
    return f"{ENVIRONMENT_NAME} is set: deadlines follow a scaled clock; never in production"


@contextmanager
def pointing_to_check(config: Path) -> Iterator[None]:
    """Whoever's configuration is refused is told its faults as far as they were looked for, and where all are told."""
    try:
        yield
    except (ConfigError, TableFault, TemplateError, *_OWN_WORDS) as error:
        for line in explain(error):
            say_error(line)
        say_error(f"run `gateway check {config}` for every fault")
        raise typer.Exit(1) from None


def explain(error: BaseException) -> list[str]:
    """What to tell a person about an error; only our own words are quoted."""
    match error:
        case CommandFailed():
            return [f"error: {line}" for line in error.lines]
        case ConfigError() | TableFault() | TemplateError() | TooOld():
            return [f"fault: {fault}" for fault in error.faults]
        case OSError() if error.strerror:
            return [f"error: {error.strerror}{f': {error.filename}' if error.filename else ''}"]
        case _ if isinstance(error, _OWN_WORDS):
            return [f"error: {error}"]
        case _ if type(error).__module__.startswith("gateway.store"):
            return [f"error: {type(error).__name__}: {error}"]
    return [f"error: {type(error).__name__} {_place(error)}, an error nobody foresaw; its text is not shown"]


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "gateway" in Path(frame.filename).parts] or frames
    return f"in {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "without a place"


def read_secret(path: Path | None) -> bytes | None:
    """The first line of a password file; None without one. A password never stands on a command line."""
    return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r") if path is not None else None
