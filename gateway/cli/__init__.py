"""The commands: they publish signed messages, read the books, prepare files; none changes state behind Kafka's back."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from gateway.cli import adapters, checking, filling, looking, operating, resealing, sending
from gateway.cli.terminal import say

app = typer.Typer(
    name="gateway",
    help="The bank-side payout gateway: nobody twice, nobody missed, short or late.",
    no_args_is_help=True,
    add_completion=False,
    # Its tracebacks would print local variables.
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        say(f"gateway {installed_version('payout-gateway')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and exit.")
    ] = False,
) -> None:
    # What every command takes; the help text is the application's own.
    pass


for commands in (operating, checking, resealing, sending, looking, filling, adapters):
    commands.register(app)

__all__ = ["app"]
