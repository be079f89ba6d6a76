"""``adapter list`` and ``adapter check``: which banks can be spoken to, and whether an adapter keeps its promises.

The kit below ``adapters/`` knows nothing of the core; what a case needs of it is handed in here, as plain functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from adapters import registry
from adapters.conformance.case import Verdict
from adapters.conformance.hearing import Core, Outcome
from adapters.conformance.run import CannotCheck, NoSuchCase, Report, check_installed
from adapters.contract import Evidence
from gateway import config as configuration
from gateway.banks import settings_of
from gateway.cli.scaffolding import new
from gateway.cli.terminal import console, printable, say, say_error, say_faults
from gateway.config import ConfigError
from gateway.states import CONFLICT, Known, State, decide
from gateway.store.ids import mint_references, submission_reference

_STYLES: Final = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_APPLICABLE: "dim"}


def outcome(evidence: Sequence[Evidence], reference: str, amount_fen: int) -> Outcome:
    """What the core makes of evidence about one attempt, in the order in which it came; ABSENT is taken as believed."""
    known = Known(State.SENDING, amount_fen)
    conflict = False
    for each in evidence:
        if each.reference not in (None, reference):
            continue
        decided = decide(known, each, whole=each.reference is None)
        if decided is CONFLICT:
            conflict = True
        elif isinstance(decided, State):
            known.state = decided
            if decided is State.CREDITED:
                known.credit_host_reference = each.host_reference
            elif decided is State.RETURNED:
                known.return_host_reference = each.host_reference
    return Outcome(known.state.value, conflict)


CORE: Final = Core(mint_references, submission_reference, outcome)


def register(app: typer.Typer) -> None:
    commands = typer.Typer(name="adapter", help="Adapters of banks: which there are, and whether they conform.")
    commands.command("list")(list_profiles)
    commands.command("check")(check)
    commands.command("new")(new)
    app.add_typer(commands)


def list_profiles() -> None:
    """Print every installed profile, one a line."""
    for name in registry.known():
        say(name)


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A profile; with --config, a bank of that file.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Check the bank as this file configures it.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CASE", help="Run this case alone; may be given again.")
    ] = None,
) -> None:
    """Drive an adapter through what banks and networks really do; exit status 1 when it breaks a promise.

    Nobody is contacted: the kit plays the bank on 127.0.0.1, with keys and addresses of its own.
    """
    try:
        profile, section = (name, {}) if config is None else _configured(config, name)
        # Shown on a terminal only: in a file there is nobody who waits.
        with console().status("") as status:
            report = check_installed(
                profile,
                CORE,
                name=name,
                configured=section,
                only=only or (),
                tell=lambda result: status.update(f"after {result.case.id}"),
            )
    except (registry.RegistryError, CannotCheck, NoSuchCase) as error:
        say_error(f"fault: {error}")
        raise typer.Exit(2) from None
    except ConfigError as error:
        say_faults(error.faults)
        raise typer.Exit(2) from None
    print_report(report)
    if report.failed:
        raise typer.Exit(1)


def _configured(path: Path, name: str) -> tuple[str, Mapping[str, Any]]:
    config = configuration.load(path)
    bank = config.banks.get(name)
    if bank is None:
        known = ", ".join(sorted(config.banks))
        raise ConfigError([f"{path.name} configures no bank {name}; it has {known}"])
    return bank.profile, settings_of(bank.settings, config.base)


def print_report(report: Report) -> None:
    """A table for people, the broken promises once more, and one line of JSON for programs, which is the last."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("case", no_wrap=True)
    table.add_column("promise", overflow="fold")
    for result in report.results:
        style = _STYLES[result.verdict]
        words = Text(result.case.promise)
        if result.reason:
            words.append(f"\n{printable(result.reason)}", style=style)
        table.add_row(Text(result.verdict.value, style=style), result.case.id, words)
    console().print(table)
    summary = report.summary()
    say("")
    say(f"{report.adapter}: {summary['passed']} of {summary['cases']} promises kept, {report.not_applicable} n/a")
    for result in report.results:
        if result.verdict is Verdict.FAILED and not result.is_blank:
            say(f"  {result.case.id}: {result.reason}")
    if report.blanks:
        waiting = sum(result.is_blank for result in report.results)
        say(f"{waiting} promises wait for what is not written yet; the first of these comes next:")
        for reminder in report.blanks:
            say(f"  {reminder}")
    say(json.dumps(summary, ensure_ascii=False, separators=(",", ":")))
