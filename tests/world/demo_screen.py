"""What a watcher of the demonstration sees: live bars on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from tests.world.report import Outcome
from tests.world.run import Snapshot

PLAIN_EVERY_SECONDS = 5
BARS = {
    "judged": "lines judged",
    "credited": "credited",
    "decided": "failures and returns decided by the desk",
    "returned": "returns come back",
    "notices": "people told by SMS",
}


def progress_of(seen: Snapshot) -> dict[str, tuple[int, int]]:
    """(done, of) for each bar."""
    heard = seen.receipts
    refused, returned = heard.get("refused", 0), heard.get("returned", 0)
    approved = max(seen.lines - refused, 0)
    gone_wrong = heard.get("failed", 0) + returned
    return {
        "judged": (seen.lines if heard else 0, seen.lines),
        "credited": (heard.get("credited", 0) - returned, approved),
        "decided": (max(gone_wrong - seen.waiting, 0), gone_wrong),
        "returned": (returned, seen.returned + seen.to_come["returns"]),
        "notices": (seen.notices, max(seen.notices_due, seen.notices)),
    }


class Screen:
    """Shows snapshots as they come; ``with`` it, so that the terminal is given back."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = -PLAIN_EVERY_SECONDS
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._clock = Text()
        self._bars: dict[str, TaskID] = {}
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description:<42}"), BarColumn(), MofNCompleteColumn(), console=console
            )
            self._bars = {name: self._progress.add_task(text, total=None) for name, text in BARS.items()}
            self._live = Live(Group(self._progress, self._clock), console=console)

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, seen: Snapshot) -> None:
        clock = f"{seen.now:%a %m-%d %H:%M}, {seen.seconds:.0f} s, {seen.lives - 1} kills"
        open_now = "gateway away" if seen.open is None else f"{seen.open} open"
        if self._progress is not None:
            for name, (done, of) in progress_of(seen).items():
                self._progress.update(self._bars[name], completed=done, total=of or None)
            self._clock.plain = f"{clock}, {open_now}"
        elif seen.seconds - self._last_line >= PLAIN_EVERY_SECONDS:
            self._last_line = int(seen.seconds)
            bars = ", ".join(f"{name} {done}/{of}" for name, (done, of) in progress_of(seen).items())
            self._console.print(f"{clock}, {open_now}: {bars}", highlight=False, soft_wrap=True)


def show_outcome(console: Console, outcome: Outcome) -> None:
    """The final table, the comparison with what was expected, and every reason to distrust the run."""
    summary: Mapping[str, Any] = outcome.summary
    table = Table(title="What became of the list", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name in ("lines", "refused", "approved"):
        table.add_row(name, str(summary[name]))
    table.add_section()
    for name in ("credited", "failed", "cancelled", "in_doubt", "conflict"):
        table.add_row(f"  {name.replace('_', ' ')}", str(summary[name]))
    table.add_section()
    for name in ("reissued", "returned", "notices", "receipts", "late", "bank_broke_word"):
        table.add_row(name.replace("_", " "), str(summary[name]))
    table.add_section()
    for name, count in summary["counters"].items():
        table.add_row(name, str(count), style="bold red" if count else None)
    console.print(table)
    console.print(outcome.expected, highlight=False)
    if outcome.faults:
        console.print(outcome.checker, highlight=False, soft_wrap=True, markup=False)
    for fault in outcome.faults:
        console.print(f"FAILED: {fault}", style="bold red", highlight=False, soft_wrap=True, markup=False)
