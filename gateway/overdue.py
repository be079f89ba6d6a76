"""How long a list waits for its missing parts: as long as this process has really watched it wait.

To give a list up is for ever: its further parts are refused, and nobody of an approved list is paid. A time of day is
too weak a reason for that. A clock that is set a day ahead makes a list of this morning look a day old, in this
process or in one that starts while the clock stands wrong; the first part may have been dated by another machine, a
day behind; and after a day without gateway, or without its database, the part that seems to be missing lies in Kafka,
published in time and not read yet.

So a process counts for itself: from when it first saw the list waiting, on a clock that nobody set meanwhile
(``Clock.steady_since``), looking again and again. No clock's position enters into that, neither ours nor the
database's (which may be the same one). What it costs is that a restart, a step of the clock or an hour without a look
begins the count anew, in that process alone. (Hours are business time: where a demonstration's clock runs so fast that
an hour passes between two looks, every 2 s at a scale of 1,800, nothing is ever given up.)

A gateway that is restarted every night would then never give a list up. For that there is a second way: the list is
overdue by two days more (``MOST_WRONG``), and the process has watched it for an hour (``A_WATCH``), so that whatever
lay in Kafka has been read. Two days are a clock that was a day behind when the first part came and is a day ahead now;
what is more wrong than that has an hour in which somebody sees it. The list is then given up late: by two days, and
until a process has run for an hour, unless one has watched it for the whole wait before that.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

A_WATCH = dt.timedelta(hours=1)  # the least that counts as having watched, and the longest without a look
MOST_WRONG = dt.timedelta(days=2)


@dataclass(slots=True)
class Overdue:
    """What one process has seen of the lists that wait for parts; ``wait`` is how long they may."""

    wait: dt.timedelta
    _since: dict[int, dt.datetime] = field(default_factory=dict)  # by batch: watched from then on
    _looked_at: dt.datetime | None = None
    _steady_since: dt.datetime | None = None

    def look(self, waiting: Mapping[int, dt.datetime], now: dt.datetime, steady_since: dt.datetime | None) -> list[int]:
        """Which of the batches that wait may be given up; ``waiting`` says until when each was to wait, by the clock.

        ``steady_since`` is since when ``now`` has only passed; None: always.
        """
        blinked = self._looked_at is not None and now - self._looked_at > A_WATCH
        if blinked or steady_since != self._steady_since:
            self._since.clear()
        self._looked_at, self._steady_since = now, steady_since
        self._since = {batch: self._since.get(batch, now) for batch in waiting}
        return [batch for batch, due_at in waiting.items() if self._is_over(now - self._since[batch], now - due_at)]

    def _is_over(self, watched: dt.timedelta, overdue: dt.timedelta) -> bool:
        return watched >= self.wait or (watched >= A_WATCH and overdue >= MOST_WRONG)
