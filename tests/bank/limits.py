"""What a bank allows a login: a least time between two requests, and submissions within its hours only."""

from __future__ import annotations

from tests.bank.book import Book
from tests.bank.timing import taking
from tests.world import clock

TOO_FAST, OUTSIDE_HOURS = "too_fast", "outside_hours"


class Pace:
    """The least real time between two requests of one kind by one login; a refused one does not count."""

    def __init__(self, interval_milliseconds: int) -> None:
        self._interval_ms = interval_milliseconds
        self._last_ms: int | None = None

    def too_fast(self) -> bool:
        now = clock.wall_ms()
        if self._last_ms is not None and 0 <= now - self._last_ms < self._interval_ms:
            return True
        self._last_ms = now
        return False


class Limits:
    """The limits of one bank. A gateway that knows them never meets them: it shows as a fault when it does."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._submits = Pace(book.config.submit_interval_real_milliseconds)
        self._queries = Pace(book.config.query_interval_real_milliseconds)

    @property
    def closed_ms(self) -> int:
        """How long, in virtual time, until this bank takes submissions; 0 = it does."""
        now = self.book.now_ms()
        return taking(now, self.book.config.hours) - now

    def submission(self) -> str:
        """Why a submission that arrives now is not looked at; "" when it is."""
        if self._submits.too_fast():
            return TOO_FAST
        return OUTSIDE_HOURS if self.closed_ms else ""

    def query_too_fast(self, path: str) -> bool:
        """Whether a question comes too soon after the last one; logged, and to be committed by the caller."""
        if not self._queries.too_fast():
            return False
        self.book.fault(TOO_FAST, detail=path)
        return True

    def too_big(self, payload: bytes) -> bool:
        most = self.book.config.max_bytes
        return most is not None and len(payload) > most
