"""The cells of the matrix as data: what goes wrong beside the kills, and which record of the world proves that it did.

Every cell runs the same lists through all four banks, among which lines are rejected, settle late and come back; the
gateway is killed at random moments of the seed. What a cell adds is either a rate by which the banks misbehave, counted
in their own ledgers, or a trouble (`troubles.py`), counted where it strikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.world.faults import Faults
from tests.world.layout_banks import BANKS

KILLS = 20
QUICK_KILLS = 5
FILES = ("rcc_file", "iso20022")
FORWARDS, BACKWARDS = "forwards", "backwards"  # ways for a clock to jump
_LINES = {"reject": 300, "reject_late": 100, "settle_late": 300, "credit_then_return": 150}


def rates(*groups: tuple[tuple[str, ...], Mapping[str, int]]) -> Mapping[str, Mapping[str, int]]:
    """Rates per ten thousand by bank: an ordinary day of lines, and each group's on top for the banks it names."""
    found: dict[str, dict[str, int]] = {bank: dict(_LINES) for bank in BANKS}
    for banks, more in groups:
        for bank in banks:
            found[bank] |= more
    return found


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault beside the kills. ``proof`` names faults of the banks' ledgers, each of which must have fired."""

    name: str
    what: str
    rates: Mapping[str, Mapping[str, int]] = field(default_factory=rates)
    proof: tuple[str, ...] = ()
    trouble: str = ""  # of `troubles.TROUBLES`; counts by itself
    least: int = 3  # how often it must have fired at all
    kinds: tuple[str, ...] = ()  # of the trouble, each of which must have fired as often as that
    slow: bool = False  # a build that takes its time between a claim and SENDING, which is where this trouble hurts
    instances: int = 1
    quick: bool = False  # in the slice that every run of the gate plays
    needs_kafka: bool = False  # what the embedded broker cannot do

    @property
    def faults(self) -> Faults:
        return Faults(self.rates)


CELLS = (
    Cell("none", "nothing but the kills", least=0, quick=True),
    Cell("kafka_restart", "Kafka killed and started again", trouble="kafka"),
    Cell("database_restart", "PostgreSQL killed and started again", trouble="database", quick=True),
    Cell(
        "accept_then_hang",
        "every third submission is taken and never answered",
        rates((BANKS, {"timeout_after_accept": 3500})),
        proof=("timeout_after_accept",),
        quick=True,
    ),
    Cell(
        "duplicate_callbacks",
        "callbacks and results twice, and old ones again",
        rates(
            (("json_https",), {"callback_duplicated": 4500, "callback_replayed": 3000, "duplicate_answer": 500}),
            (FILES, {"result_duplicated": 4500, "duplicate_answer": 500}),
            (("xml_tcp",), {"return_repeated": 5000, "duplicate_answer": 500}),
        ),
        proof=("callback_duplicated", "callback_replayed", "result_duplicated"),
    ),
    Cell(
        "out_of_order",
        "results before acknowledgements, the last first",
        rates(
            (("json_https",), {"callback_reordered": 6000, "callback_before_reply": 4000}),
            (FILES, {"result_out_of_order": 6000, "ack_late": 3000}),
            (("xml_tcp",), {"return_late": 6000}),
        ),
        proof=("result_out_of_order", "callback_reordered", "callback_before_reply"),
    ),
    Cell(
        "truncated_results",
        "result files and answers cut off in the middle",
        rates(
            (FILES, {"result_truncated": 5000}),
            (("xml_tcp",), {"short_answer": 3000, "query_short": 3000}),
            (("json_https",), {"query_drop": 3000, "drop_after_accept": 1500}),
        ),
        proof=("result_truncated", "short_answer", "query_short"),
    ),
    Cell(
        "clock_jump",
        "the gateway's clock off by an hour or a day, either way, for a while",
        # What a wrong clock could do harm with: banks that deny at first what they have taken.
        rates(
            (("json_https", "xml_tcp"), {"not_found_until_settled": 4000}),
            (FILES, {"timeout_after_accept": 2000}),
        ),
        proof=("not_found_until_settled",),
        trouble="clock",
        kinds=(FORWARDS, BACKWARDS),
    ),
    Cell("disk_full", "the database's disk is full before what is claimed is SENDING", trouble="disk", slow=True),
    Cell("poison", "messages that nobody may believe or can read, on every input topic", trouble="poison", least=12),
    Cell(
        "zombie",
        "two instances; one stands still beyond its lease with what it has claimed and not sent, and wakes up again",
        rates((BANKS, {"timeout_after_accept": 2500})),
        trouble="zombie",
        slow=True,
        instances=2,
        needs_kafka=True,
    ),
)


def named(name: str) -> Cell:
    """A cell by its name; LookupError with all names for another."""
    for cell in CELLS:
        if cell.name == name:
            return cell
    raise LookupError(f"no cell {name!r}; there are {', '.join(cell.name for cell in CELLS)}")
