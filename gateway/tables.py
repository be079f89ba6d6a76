"""Reads a CSV table that people maintain: strict, bounded, naming every fault by line and column, never by value."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

# What a cell must be: a predicate, and how its failing reads after "line 3, county: ".
Check = tuple[Callable[[str], object], str]

_MOST_FAULTS = 100


class TableFault(Exception):
    """What is wrong with a table: one readable line for each fault, in the order of the file."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


def matches(pattern: str, otherwise: str) -> Check:
    return re.compile(pattern).fullmatch, otherwise


def is_date(text: str) -> bool:
    """Exactly ``2026-11-24``: the standard parser also takes ``20261124`` and week dates."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


class Table:
    """One CSV file in UTF-8 with a header line. Yields the rows without fault; ``finish`` raises when there was one."""

    def __init__(
        self,
        path: Path,
        checks: Mapping[str, Check],
        *,
        optional: Sequence[str] = (),
        others_allowed: bool = False,
        most_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._path, self._checks, self._most_bytes = path, checks, most_bytes
        self._optional, self._others_allowed = frozenset(optional), others_allowed
        self._faults: list[str] = []

    def fault(self, line: int, column: str, what: str) -> None:
        """Note a fault; line 0 is the file as a whole."""
        if len(self._faults) == _MOST_FAULTS:
            self._faults.append(f"{self._path.name}: there are more faults")
        elif len(self._faults) < _MOST_FAULTS:
            self._faults.append(f"{self._path.name}: {f'line {line}, ' if line else ''}{column}: {what}")

    def finish(self) -> None:
        if self._faults:
            raise TableFault(self._faults)

    def rows(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        """(line number in the file, cells by column name)"""
        try:
            if self._path.stat().st_size > self._most_bytes:
                self.fault(0, "file", f"is larger than {self._most_bytes} bytes")
                return
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                yield from self._rows_of(file)
        except OSError as error:
            self.fault(0, "file", f"cannot be read ({type(error).__name__})")
        except UnicodeDecodeError:
            self.fault(0, "file", "is not UTF-8")

    def _rows_of(self, file: TextIO) -> Iterator[tuple[int, Mapping[str, str]]]:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if not self._header_holds(header):
                return
            for cells in reader:
                if len(cells) != len(header):
                    self.fault(reader.line_num, "row", f"has {len(cells)} cells, the header has {len(header)}")
                elif self._cells_hold(reader.line_num, row := dict(zip(header, cells, strict=True))):
                    yield reader.line_num, row
        except csv.Error:
            self.fault(reader.line_num, "row", "is not CSV")

    def _header_holds(self, header: list[str]) -> bool:
        for name in self._checks:
            if name not in header and name not in self._optional:
                self.fault(1, name, "the column is missing")
        if len(set(header)) != len(header):
            self.fault(1, "header", "names a column twice")
        if not self._others_allowed and not set(header) <= set(self._checks):
            self.fault(1, "header", "names a column that is not known")
        return not self._faults

    def _cells_hold(self, line: int, row: Mapping[str, str]) -> bool:
        wrong = [(name, what) for name, (holds, what) in self._checks.items() if name in row and not holds(row[name])]
        for name, what in wrong:
            self.fault(line, name, what)
        return not wrong
