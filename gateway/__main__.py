"""The command ``gateway``: runs the application and tells every failure in plain lines, without a traceback.

A traceback quotes values, and values here are people's. So an error that is not foreseen shows its class and the place
it came from, nothing else. Exit status 2 is a wrong command line, 1 a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from gateway.cli import app
from gateway.cli.terminal import explain, say_error
from gateway.floors import demand_floors
from gateway.hardening import harden

_CHECKS: Final = "check"  # tells old libraries itself, beside every other fault
_ONLY_TELLS: Final = frozenset({"--help", "--version"})  # what is installed matters least to who asks what it is


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; SystemExit with its status. No command runs in a process that is not hardened, and none but
    ``check`` with a library that is too old."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        harden()
        if given[:1] != [_CHECKS] and not _only_tells(given):
            demand_floors()
        app(args=given, prog_name="gateway")
    except Exception as error:
        for line in explain(error):
            say_error(line)
        sys.exit(1)


def _only_tells(given: Sequence[str]) -> bool:
    """Whether a command line asks for words alone. The same word may be the value of an option, and then it runs."""
    before, last = given[:-1], given[-1:]
    return not _ONLY_TELLS.isdisjoint(last) and not any(word.startswith("-") for word in before)


if __name__ == "__main__":
    main()
