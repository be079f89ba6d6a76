"""The commands: they publish signed messages, read the books, prepare files; none changes state behind Kafka's back."""

from __future__ import annotations

import typer

from gateway.cli import checking, filling, looking, operating, sending

app = typer.Typer(
    name="gateway",
    help="The bank-side payout gateway: nobody twice, nobody missed, short or late.",
    no_args_is_help=True,
    add_completion=False,
    # Its tracebacks would print local variables.
    pretty_exceptions_enable=False,
)
for commands in (operating, checking, sending, looking, filling):
    commands.register(app)

__all__ = ["app"]
