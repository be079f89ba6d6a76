"""A gateway that is asked to end and gives each call on Kafka its own time, one after the other.

The same program otherwise: `python -m tests.storm.broken.gives_each_call_its_time run --config FILE`.
"""

from __future__ import annotations

from gateway.__main__ import main
from gateway.patience import Patience


def hasten_nothing(self: Patience, seconds: float) -> None:  # never money
    """What this build has in place of ``Patience.hasten``."""


if __name__ == "__main__":
    Patience.hasten = hasten_nothing  # type: ignore[method-assign]
    main()
