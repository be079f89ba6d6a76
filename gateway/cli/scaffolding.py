"""``adapter new``: the beginning of an adapter, in a directory of its own, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adapters.scaffold import CannotScaffold, Scaffold, write
from gateway.cli.terminal import say, say_error


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the package and of the profile: their_bank.")],
    kind: Annotated[Scaffold, typer.Option("--kind", help="What the bank is spoken to over.")] = Scaffold.HTTP,
    into: Annotated[
        Path, typer.Option("--into", file_okay=False, help="Where the directory NAME is made; here, if left out.")
    ] = Path(),
) -> None:
    """Write the beginning of an adapter for a new bank: a package of its own that fails the check and says why."""
    try:
        written = write(name, kind, into)
    except CannotScaffold as refused:
        say_error(f"error: {refused}")
        raise typer.Exit(2) from None
    except OSError as error:
        say_error(f"error: {error.strerror}: {error.filename}")
        raise typer.Exit(1) from None
    target = into / name
    say(f"{len(written)} files are in {target}; begin with {target / name / 'BANK.md'}. Then, again and again:")
    say(f"  pip install -e {target}              # once, in the environment of the gateway")
    say(f"  gateway adapter check {name}")
