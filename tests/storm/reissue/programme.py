"""A seeded programme about one thing: payouts that fail, are verified again and ordered again, and old attempts that
succeed late.

It walks over the model's world (`tests/storm/model`): the real store, orders, dispatch, verify and watch in two
processes over PostgreSQL, and a bank whose ledger is the truth. The model's invariants are asked after every step.
What happens is drawn from the seed alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway import metrics
from tests.store.kit import Gateway
from tests.storm.model.bank import Answer
from tests.storm.model.books import Books
from tests.storm.model.life import Kind, Mishap
from tests.storm.model.machine import Payouts

LINES = 3
ANSWERS = (
    *(Answer.RECEIVED, Answer.RECEIVED, Answer.RECEIVED, Answer.CREDITED, Answer.REJECTED_FIRST),
    *(Answer.LOST_AFTER, Answer.LINE_NOT_TAKEN, Answer.LATE),
)
MISHAPS = 0.15  # the share of the gateway's steps at which a process ends, loses its line or stands still
STALE, TWICE, CORRECTED = 0.25, 0.3, 0.4  # shares of orders
PAGE = "payout_payouts", "payout_conflicts_total"  # what the alert PayoutConflict reads


@dataclass
class Told:
    """What a seed came to; ``before`` and ``after`` are the alert's series as the gateway exposes them."""

    orders: Counter[str] = field(default_factory=Counter)  # by outcome
    reissued: int = 0
    late: int = 0  # payouts whose old attempt the bank paid after it had rejected it
    overtaken: int = 0  # of those, the ones that already had a further attempt
    stopped: int = 0  # and of those, the ones whose further attempt never left
    frozen: int = 0
    before: dict[str, float] = field(default_factory=dict)  # samples, never money
    after: dict[str, float] = field(default_factory=dict)


@dataclass
class Programme:
    """One seed. ``play`` raises the model's ``Violation`` at the first step after which something is wrong."""

    seed: int
    steps: int = 45

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.model = Payouts()
        self.told = Told()

    def play(self) -> Told:
        self.model.begin(LINES, self.chance.choice((1, 2, 1000)), self.chance.random() < 0.5)
        self.model.world.act(0, _look_at_the_books)
        self.told.before = self._series()
        for step in self.chance.choices(*zip(*_STEPS, strict=True), k=self.steps):
            step(self)
            self.model.sound()
        self._everything_comes_out()
        self.model.teardown()
        return self._conclude()

    # --- What happens ------------------------------------------------------------------------------------------------

    def send(self) -> None:
        answer = self.chance.choice(ANSWERS)
        self.model.send(who=self._who(), answer=answer, wait=31, mishap=self._mishap())

    def listen(self) -> None:
        who = self._who()
        if self.chance.random() < 0.6:
            self.model.collect_results(who=who, told=self.chance.choice(("once", "twice")), mishap=self._mishap())
        else:
            self.model.probe(who=who, wait=31, asked="truth", mishap=self._mishap())

    def fail(self) -> None:
        self.model.bank_decides(choice=self._line(), fate="reject")

    def settle(self) -> None:
        self.model.bank_decides(choice=self._line(), fate=self.chance.choice(("credit", "return")))

    def succeed_late(self) -> None:
        """The bank pays what it had rejected, whatever was ordered since."""
        recorded = {row["reference"]: row["state"] or "" for row in self.model.books.attempts.values()}
        broken, ordered = set(self.model.world.bank.broken), set(self.model.books.attempts)
        self.model.world.bank.decide(self._line(), "pay_rejected", recorded)
        self.model._moved = True
        for line in self.model.world.bank.broken - broken:
            self.told.late += 1
            self.told.overtaken += (line, 2) in ordered

    def order(self) -> None:
        """Finance orders again what it holds for failed: stale or twice at times, with another account at times."""
        books, chance = self.model.books, self.chance
        failed = [line for line in books.payouts if books.receipts[line, books.latest(line), "failed"]]
        line = chance.choice(failed) if failed and chance.random() < 0.8 else self._line() + 1
        attempt = books.latest(line)
        if chance.random() < STALE:
            attempt = max(1, attempt + chance.choice((-1, -1, 1)))
        kind = "REISSUE" if chance.random() < 0.95 else "CANCEL"
        corrected = kind == "REISSUE" and chance.random() < CORRECTED
        details = {"account": f"6299991{line:012d}", "account_kind": "银行卡"} if corrected else {}
        if books.attempts:
            self.model.take_order(self._who(), kind, line, attempt, chance.random() < TWICE, self._mishap(), **details)
            self.model._moved = True

    def let_time_pass(self) -> None:
        self.model.leases_pass()
        self.model.time_passes(span={"minutes": 35})
        self.model.look_at_the_time(who=self._who(), mishap=None)

    # --- The end -----------------------------------------------------------------------------------------------------

    def _everything_comes_out(self) -> None:
        """What the bank did becomes known; then finance orders every line once more, frozen or not."""
        self.model.collect_results(who=0, told="once", mishap=None)
        self.model.sound()
        for line in self.model.books.payouts:
            self.model.take_order(0, "REISSUE", line, self.model.books.latest(line), twice=True, mishap=None)
            self.model._moved = True
            self.model.sound()

    def _conclude(self) -> Told:
        world, told = self.model.world, self.told
        books = world.read()
        told.orders = Counter(order["outcome"] for order in books.orders)
        told.reissued = sum(o["kind"] == "REISSUE" and o["outcome"] == "APPLIED" for o in books.orders)
        told.frozen = len(books.frozen)
        told.stopped = sum(self._never_left(books, line) for line in books.frozen)
        world.restart(0)  # a page does not end with the process that saw its reason
        world.act(0, _look_at_the_books)
        told.after = self._series()
        return told

    def _never_left(self, books: Books, line: int) -> bool:
        number = books.latest(line)
        return number > 1 and books.attempts[line, number]["reference"] not in self.model.world.bank.latest

    @staticmethod
    def _series() -> dict[str, float]:  # samples, never money
        """The alert's series as a page of metrics names them."""
        found = {}
        for sample in (sample for family in metrics.REGISTRY.collect() for sample in family.samples):
            if sample.name in PAGE:
                labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
                found[f"{sample.name}{{{labels}}}"] = sample.value
        return found

    # --- Drawing -----------------------------------------------------------------------------------------------------

    def _who(self) -> int:
        return self.chance.randrange(2)

    def _line(self) -> int:
        return self.chance.randrange(LINES)

    def _mishap(self) -> Mishap | None:
        if self.chance.random() >= MISHAPS:
            return None
        kind = self.chance.choice((Kind.CUT, Kind.LINE, Kind.END, Kind.STOP))
        return Mishap(kind, self.chance.randint(1, 60 if kind in (Kind.CUT, Kind.LINE) else 15), leases_pass=True)


async def _look_at_the_books(gateway: Gateway) -> None:
    await gateway.watch.count()
    await gateway.watch.gauges()


_STEPS: tuple[tuple[Callable[[Programme], None], int], ...] = (
    (Programme.send, 5),
    (Programme.listen, 5),
    (Programme.fail, 5),
    (Programme.settle, 1),
    (Programme.succeed_late, 1),
    (Programme.order, 7),
    (Programme.let_time_pass, 2),
)
