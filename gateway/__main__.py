"""The command ``gateway``: runs the application and tells every failure in plain lines, without a traceback.

A traceback quotes values, and values here are people's. So an error that is not foreseen shows its class and the place
it came from, nothing else. Exit status 2 is a wrong command line, 1 a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gateway.cli import app
from gateway.cli.terminal import explain, say_error


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        app(args=arguments, prog_name="gateway")
    except Exception as error:
        for line in explain(error):
            say_error(line)
        sys.exit(1)


if __name__ == "__main__":
    main()
