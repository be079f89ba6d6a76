"""The state machine of the model check: what can happen to a payout, in any order, over the real store and steps.

Hypothesis draws rules with equal weight. Most steps of a rule with a mishap come to nothing, so those that stories are
made of (sending, asking, ordering again) have a second rule in which nothing happens to the process, or just the one
thing that hurts there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.store.kit import Gateway
from tests.storm.model.bank import Answer
from tests.storm.model.books import Books, faults_at_rest, faults_of
from tests.storm.model.finance import Finance
from tests.storm.model.life import Ended, Kind, Mishap
from tests.storm.model.world import World
from tests.world.postgres import Server

PROCESSES = st.integers(0, 1)
CHOICES = st.integers(0, 2)
MISHAPS = st.one_of(
    st.none(),
    st.none(),
    st.builds(Mishap, st.just(Kind.CUT), st.integers(1, 90), st.booleans()),
    st.builds(Mishap, st.just(Kind.LINE), st.integers(1, 90)),
    st.builds(Mishap, st.just(Kind.END), st.integers(1, 20), st.booleans()),
    st.builds(Mishap, st.just(Kind.STOP), st.integers(1, 20), st.booleans()),
)
WAITS = st.sampled_from([1, 6, 31])  # minutes
NEAR_SENDING = st.integers(6, 10)  # awaits outside transactions; see `scenes.BETWEEN_CLAIM_AND_SENDING`
SPANS = st.sampled_from(
    [{"minutes": 1}, {"minutes": 6}, {"minutes": 20}, {"minutes": 31}, {"hours": 3}, {"hours": 11}, {"days": 2}]
)
FATES = st.sampled_from(
    ["credit", "credit", "reject", "reject", "return", "return", "refuse_file", "pay_rejected", "fee", "deny_credit"]
)


UNSENT = ("PLANNED", "RENDERED", "DEFERRED")
ASKED_ABOUT = ("SUBMITTED", "ACCEPTED", "IN_DOUBT", "HELD")


def some(*states: str) -> Callable[[Payouts], bool]:
    """Whether the books hold a submission in one of these states: a step that finds nothing to do tests nothing."""
    return lambda model: any(row["state"] in states for row in model.books.submissions.values())


def when(applies: Callable[[Payouts], bool]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A step that does nothing where it does not apply.

    Not a precondition: what is drawn must not depend on the books, or an example whose books came out otherwise (a
    process cut an await earlier) could not even be replayed.
    """

    def limit(step: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(step)
        def limited(self: Payouts, **drawn: Any) -> None:
            if applies(self):
                step(self, **drawn)
                self._moved = True

        return limited

    return limit


class Violation(AssertionError):
    """An invariant does not hold, or several."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Payouts(RuleBasedStateMachine):
    """Two gateways, one bank, one list of up to three lines."""

    world: ClassVar[World]
    examples: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.finance = Finance()
        self._orders = 0
        self._events = 0
        self._begun = self._moved = self._broken = False

    @initialize(lines=st.integers(1, 3), max_lines=st.sampled_from([1, 2, 1000]), proof=st.booleans())
    def begin(self, lines: int, max_lines: int, proof: bool) -> None:
        type(self).examples += 1
        self.world.begin(lines, max_lines, callback_is_proof=proof)
        self.books, self.finance = Books(), Finance()
        self._begun = self._moved = True
        self.sound()

    # -- what the gateway does

    @rule(who=PROCESSES, mishap=MISHAPS)
    @when(lambda model: not model.books.submissions or some("PLANNED")(model))
    def cut_and_render(self, who: int, mishap: Mishap | None) -> None:
        self.world.act(who, Gateway.cut_and_render, mishap)

    @rule(who=PROCESSES, answer=st.sampled_from(Answer), wait=WAITS, mishap=MISHAPS)
    @when(lambda model: not model.books.submissions or some(*UNSENT)(model))
    def send(self, who: int, answer: Answer, wait: int, mishap: Mishap | None) -> None:
        self.world.clock.forward(minutes=wait)
        self._prepare(who)
        self.world.bank.answer = answer
        self.world.act(who, lambda gateway: gateway.dispatch.send(gateway.entry), mishap)

    @rule(who=PROCESSES, answer=st.sampled_from([Answer.RECEIVED, Answer.CREDITED, Answer.LOST_AFTER, Answer.LATE]))
    @when(lambda model: not model.books.submissions or some(*UNSENT)(model))
    def send_in_peace(self, who: int, answer: Answer) -> None:
        self.world.clock.forward(minutes=31)
        self.world.bank.answer = answer
        self.world.act(who, Gateway.send)

    @rule(who=PROCESSES, at=NEAR_SENDING)
    @when(lambda model: not model.books.submissions or some(*UNSENT)(model))
    def send_and_stand_still(self, who: int, at: int) -> None:
        """Stopped about where the claim is held and SENDING is not written, until the lease has run out."""
        self.send(who=who, answer=Answer.RECEIVED, wait=31, mishap=Mishap(Kind.STOP, at, leases_pass=True))

    def _prepare(self, who: int) -> None:
        """Bytes for what is planned, so that sending has something to send; a standing process is left to its work."""
        if not self.world.processes[who].life.still:
            self.world.act(who, Gateway.cut_and_render)

    @rule(
        who=PROCESSES,
        wait=WAITS,
        asked=st.sampled_from(["truth", "truth", "twice", "timeout", "unknown"]),
        mishap=MISHAPS,
    )
    @when(some(*ASKED_ABOUT))
    def probe(self, who: int, wait: int, asked: str, mishap: Mishap | None) -> None:
        self.world.clock.forward(minutes=wait)
        self.world.bank.asked = asked
        self.world.act(who, lambda gateway: gateway.verify.probe(gateway.entry), mishap)

    @rule(who=PROCESSES, wait=WAITS)
    @when(some(*ASKED_ABOUT))
    def ask_in_peace(self, who: int, wait: int) -> None:
        self.probe(who=who, wait=wait, asked="truth", mishap=None)

    @rule(who=PROCESSES, told=st.sampled_from(["once", "twice", "vaguely"]), mishap=MISHAPS)
    @when(lambda model: bool(model.world.bank.items))
    def collect_results(self, who: int, told: str, mishap: Mishap | None) -> None:
        self.world.bank.publish(told)
        self.world.act(who, lambda gateway: gateway.verify.collect(gateway.entry), mishap)

    @rule(who=PROCESSES, choice=CHOICES, rounds=st.integers(0, 2), stale=st.sampled_from([None, 4]))
    @when(lambda model: bool(model.world.bank.items))
    def fail_in_peace(self, who: int, choice: int, rounds: int, stale: int | None) -> None:
        """A line fails, is ordered again and fails again, ``rounds`` times; then perhaps a late order about before."""
        for number in range(1 + rounds):
            if number:
                self.reissue_in_peace(who=who, choice=choice, stale=0)
                self.sound()
                self.send_in_peace(who=who, answer=Answer.RECEIVED)
                self.sound()
            self.bank_decides(choice=choice, fate="reject")
            self.collect_results(who=who, told="once", mishap=None)
            self.sound()
        if stale is not None:
            self.reissue_in_peace(who=who, choice=choice, stale=stale)

    @rule(who=PROCESSES, mishap=MISHAPS)
    @when(lambda model: bool(model.world.bank.items))
    def collect_statement(self, who: int, mishap: Mishap | None) -> None:
        self.world.bank.state_the_day()
        self.world.act(who, lambda gateway: gateway.verify.collect(gateway.entry), mishap)

    @rule(who=PROCESSES, again=st.booleans(), mishap=MISHAPS)
    @when(lambda model: bool(model.world.bank.items))
    def callback(self, who: int, again: bool, mishap: Mishap | None) -> None:
        bank = self.world.bank
        artefact = bank.publish()
        bank.files.pop()  # it is told, not published
        self._events += 1
        headers = {"event": f"E{self._events}"}

        async def call(gateway: Gateway) -> None:
            for _ in range(1 + again):
                await gateway.verify.callback(gateway.entry, "POST", "/", headers, artefact.content)

        self.world.act(who, call, mishap)

    @rule(who=PROCESSES, mishap=MISHAPS)
    @when(some("SENDING", *ASKED_ABOUT))
    def look_at_the_time(self, who: int, mishap: Mishap | None) -> None:
        async def look(gateway: Gateway) -> None:
            await gateway.verify.doubt_abandoned()
            await gateway.verify.watch_time(gateway.entry)
            await gateway.watch.count()

        self.world.act(who, look, mishap)

    # -- what finance orders

    @rule(
        who=PROCESSES,
        kind=st.sampled_from(["REISSUE", "REISSUE", "CANCEL"]),
        choice=CHOICES,
        stale=st.integers(0, 4),  # 4: about the attempt before the latest; 1 and 2: with corrected details
        twice=st.booleans(),
        mishap=MISHAPS,
    )
    @when(lambda model: bool(model.books.attempts))
    def order(self, who: int, kind: str, choice: int, stale: int, twice: bool, mishap: Mishap | None) -> None:
        line = sorted(self.books.payouts)[choice % len(self.books.payouts)]
        attempt = max(1, self.books.latest(line) - (stale == 4))
        details = self.finance.correction(line, stale) if kind == "REISSUE" else {}
        self.take_order(who, kind, line, attempt, twice, mishap, **details)

    @rule(who=PROCESSES, choice=CHOICES, stale=st.sampled_from([0, 2, 4]))
    @when(lambda model: bool(model.books.attempts))
    def reissue_in_peace(self, who: int, choice: int, stale: int) -> None:
        self.order(who=who, kind="REISSUE", choice=choice, stale=stale, twice=False, mishap=None)

    @rule(who=PROCESSES, choice=st.integers(0, 5), mishap=MISHAPS)
    @when(lambda model: bool(model.books.attempts))
    def recall(self, who: int, choice: int, mishap: Mishap | None) -> None:
        if choice == 0:  # it ends an example's interest in most lines
            self.take_order(who, "RECALL", None, None, False, mishap)

    def take_order(
        self,
        who: int,
        kind: str,
        line: int | None,
        attempt: int | None,
        twice: bool,
        mishap: Mishap | None,
        **details: str,
    ) -> None:
        self._orders += 1
        name = f"O-{self._orders}"

        async def take(gateway: Gateway) -> None:
            for _ in range(1 + twice):
                await gateway.order(kind, name, line, attempt, **details)

        signed = self.finance.sign(kind, line, attempt, details, self.books)
        at_once = not self.world.processes[who].life.still
        ended = self.world.act(who, take, mishap)
        self.finance.was_read(signed, self.world.processes[who], at_once=at_once and ended is Ended.DONE)

    # -- what happens meanwhile

    @rule(choice=CHOICES, fate=FATES)
    @when(lambda model: bool(model.world.bank.items))
    def bank_decides(self, choice: int, fate: str) -> None:
        recorded = {row["reference"]: row["state"] or "" for row in self.books.attempts.values()}
        self.world.bank.decide(choice, fate, recorded)

    @rule(span=SPANS)
    def time_passes(self, span: dict[str, int]) -> None:
        self.world.clock.forward(**span)

    @rule()
    @when(lambda model: True)
    def leases_pass(self) -> None:
        self.world.leases_pass()

    @rule(who=PROCESSES)
    @when(lambda model: any(process.life.still for process in model.world.processes))
    def go_on(self, who: int) -> None:
        self.world.go_on(who)
        self.world.go_on(1 - who)

    @rule(who=PROCESSES)
    @when(lambda model: True)
    def restart(self, who: int) -> None:
        self.world.restart(who)

    # -- what must hold

    @invariant()
    def sound(self) -> None:
        if not self._moved:
            return
        self._moved = False
        books = self.world.read()
        faults = list(faults_of(self.books, books, self.world.bank))
        faults += self.finance.faults(self.books, books, self.world.bank)
        self._broken = bool(faults)
        _demand(faults)
        self.books = books

    def teardown(self) -> None:
        if not self._begun or self._broken or self.world.bank.violations:
            return
        books = self.world.come_to_rest()
        faults = [*faults_of(Books(), books, self.world.bank), *faults_at_rest(books, self.world.bank)]
        faults += self.finance.faults(self.books, books, self.world.bank)
        _demand(faults)


def _demand(faults: list[str]) -> None:
    if faults:
        raise Violation(faults)


@contextmanager
def opened(postgres: Server, template: str, name: str) -> Iterator[World]:
    """A world over a database of its own, in which the machine then plays."""
    world = World(postgres.create_database(name, template))
    Payouts.world = world
    yield world
    world.close()
    postgres.drop_database(name)
