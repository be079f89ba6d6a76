"""How ``show`` and ``failures`` print: fields, and tables that never cut a reference or a state.

A table that is wider than the terminal becomes one block for each row. Where the output is no terminal it stays a
table, however wide, one line a row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from gateway.cli.terminal import console, printable, say
from gateway.clock import SHANGHAI
from schemas.money import yuan_text_from_fen

_RIGHT: Final = frozenset({"yuan", "payouts", "lines", "open"})
_DEADLINES: Final = ("limit_at", "target_at", "feedback_due_at")
_ENDLESS: Final = 1_000_000  # columns: room enough to measure what a table would need


def print_fields(fields: Sequence[tuple[str, str]], indent: str = "") -> None:
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        say(f"{indent}{name:<{width}}  {value}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Nothing where there are no rows; a column without any content is left out. Cells are text, never markup."""
    cells = [[printable("" if value is None else str(value)) for value in row] for row in rows]
    filled = [place for place in range(len(columns)) if any(row[place] for row in cells)]
    if not filled:
        return
    say("")
    say(title)
    table = Table(box=None, pad_edge=False)
    for place in filled:
        name = columns[place]
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=True, overflow="fold")
    for row in cells:
        table.add_row(*(Text(row[place]) for place in filled))
    out = console()
    if table.__rich_measure__(out, out.options.update(max_width=_ENDLESS)).maximum <= out.width:
        out.print(table, markup=False)
        return
    for number, row in enumerate(cells):
        if number:
            say("")
        print_fields([(columns[place], row[place]) for place in filled if row[place]], indent="  ")


def clock_fields(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    deadlines = [(name.removesuffix("_at").replace("_", " "), deadline(row[name])) for name in _DEADLINES]
    return [("clock started", moment(row["clock_started_at"])), *deadlines]


def moment(at: dt.datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def deadline(at: dt.datetime | None) -> str:
    """Midnight ends a day: as 24:00 nobody takes it for the next one."""
    if at is None or at.astimezone(SHANGHAI).time() != dt.time(0):
        return moment(at)
    return f"{at.astimezone(SHANGHAI) - dt.timedelta(days=1):%Y-%m-%d} 24:00"


def yuan(fen: int | None) -> str:
    return "" if fen is None else yuan_text_from_fen(fen)
