"""What can be changed while the bank runs: `control.json` in its directory replaces the programme or adds funds."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.bank.book import Book
from tests.bank.config import ConfigurationError, programme_of
from tests.bank.programme import Programme

LOOK_SECONDS = 0.25
_PREFIX = "top up "


class Control:
    """Applies the file at the start and whenever it changes; top-ups are remembered in the ledger by their ids."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._path = book.config.directory / "control.json"
        self._seen_ns = 0
        query = f"SELECT why FROM balance WHERE why LIKE '{_PREFIX}%'"
        self._topped_up = {why for (why,) in book.ledger.rows(query)}

    def look(self) -> None:
        """Apply the file if it is new; a bad one is reported and changes nothing."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._seen_ns:
            return
        self._seen_ns = changed_ns
        try:
            self._apply(json.loads(self._path.read_bytes()))
        except (ValueError, TypeError, AttributeError, ConfigurationError) as problem:
            print(f"control.json ignored: {type(problem).__name__}", file=sys.stderr, flush=True)

    def _apply(self, given: dict[str, Any]) -> None:
        if set(given) - {"programme", "top_up_fen"}:
            raise ConfigurationError("control.json: unknown keys")
        top_ups = {_PREFIX + name: int(fen) for name, fen in given.get("top_up_fen", {}).items()}
        if "programme" in given:
            config = self.book.config
            self.book.programme = Programme(config.seed, programme_of(given["programme"]), config.profile)
        for why, fen in top_ups.items():
            if why not in self._topped_up:
                self._topped_up.add(why)
                self.book.move_balance(fen, why, 0)
        self.book.commit()

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)
