"""A bank in virtual time: hours, delays, silences and decisions of the seed, over the ledger of the model check.

It keeps its own ledger in the form that the independent checker reads: each transmission, each movement of money, and
each word the bank gave about either, numbered in one order.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import chinese_calendar

from adapters.contract import (
    AnswerKind,
    Artefact,
    Callback,
    CallbackRefused,
    Evidence,
    NotFound,
    Proof,
    Reason,
    Rendered,
)
from tests.store.toy import ToyWire
from tests.storm.model.bank import SETTLING, Answer, Fate, Item, TruthBank
from tests.storm.model.life import LIFE, Life
from tests.world.checker.ledgers import Answer as Word
from tests.world.checker.ledgers import Ledgers, Movement, Transmission

HOUR = dt.timedelta(hours=1)
PROGRAMME, PERIOD = "XJ-NY-01", "2026"
HANG_SECONDS = 10_000

# What a bank of the simulation is like; its manual, in the contract's words.
CHARACTERS: Mapping[str, Mapping[str, Any]] = {
    "asked, publishes": {"opens": dt.time(8, 30), "cut_off": dt.time(16, 30), "working_days_only": True},
    "asked, calls back": {"answers": frozenset({AnswerKind.POLL, AnswerKind.CALLBACK})},
    "asked, its callback is proof": {
        "answers": frozenset({AnswerKind.POLL, AnswerKind.CALLBACK, AnswerKind.SYNC}),
        "callback_is_proof": True,
        "opens": dt.time(6, 0),
        "cut_off": dt.time(22, 0),
    },
    "publishes alone": {
        "answers": frozenset({AnswerKind.FILE}),
        "not_found": NotFound.NO_QUERY,
        "acknowledgement_due_seconds": 4 * 86_400,  # files of a bank that is closed come when it opens
        "result_due_seconds": 5 * 86_400,
        "opens": dt.time(9, 0),
        "cut_off": dt.time(17, 0),
        "working_days_only": True,
    },
}
WEATHER: Mapping[Answer, int] = {
    Answer.RECEIVED: 40,
    Answer.WORKING: 8,
    Answer.CREDITED: 8,
    Answer.REJECTED_FIRST: 4,
    Answer.LOST_BEFORE: 6,
    Answer.LOST_MIDWAY: 5,
    Answer.LOST_AFTER: 9,
    Answer.LATE: 6,
    Answer.BUSY: 5,
    Answer.FUNDS_SHORT: 3,
    Answer.FORMAT: 1,
    Answer.LINE_NOT_TAKEN: 3,
    Answer.UNKNOWN_TAKEN: 2,
    Answer.UNKNOWN_NOTHING: 1,
}
WITHOUT_ANSWERS = frozenset({Answer.RECEIVED, Answer.LOST_BEFORE, Answer.LOST_MIDWAY, Answer.LOST_AFTER})
CALM: Mapping[Answer, int] = {Answer.RECEIVED: 6, Answer.WORKING: 1, Answer.CREDITED: 1}
SAID = {Proof.ABSENT: "NOT_FOUND"}  # before the settling time


@dataclass
class SimulatedWire(ToyWire):
    """``life`` is not to stand still until the point of no return was passed."""

    life: Life | None = None
    held: bool = False

    def passes(self) -> None:
        """What stands still from here on has sent its bytes."""
        if self.held and self.life is not None:
            self.held = False
            self.life.wires -= 1
            self.life.on_the_wire = bool(self.life.wires)


@dataclass
class SimulatedBank(TruthBank):
    """One bank. ``at`` runs something at a later moment; ``tell`` delivers a callback to a living process."""

    luck: random.Random = field(default_factory=random.Random)
    number: int = 0
    calm: bool = False
    away: str = ""  # "" | "refuses" | "swallows" | "takes"
    ledgers: Ledgers = field(default_factory=lambda: Ledgers([]))
    at: Callable[[dt.timedelta, Callable[[], Any]], None] = lambda span, action: None
    tell: Callable[[SimulatedBank, dict[str, str], bytes], None] = lambda bank, headers, body: None
    faults: dict[str, int] = field(default_factory=dict)
    _news: bool = False
    _stated: bool = False
    _events: int = 0
    _count: int = 0
    _fates: dict[int, Fate] = field(default_factory=dict)
    _arrivals: dict[int, int] = field(default_factory=dict)  # item -> its transmission's number
    _turned: dict[int, int] = field(default_factory=dict)  # line -> after which number the word about it changed

    # -- what travels

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[ToyWire]:
        life = LIFE.get()
        if self.away == "refuses":
            raise ConnectionRefusedError
        wire = SimulatedWire(life=life, held=life is not None)
        if life is not None:
            life.wires += 1
            life.on_the_wire = True
        try:
            yield wire
        finally:
            wire.passes()

    async def submit(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        self._look_at_the_clock(rendered)
        answer = self._draw()
        await self._delay()
        if answer is Answer.LOST_BEFORE:
            raise ConnectionRefusedError
        self._alive()
        if rendered.transmission > 1:
            self._take_refusals_back(rendered.submission)
        wire.crossed = True
        self.answer = answer  # from here to the reply nothing is waited for
        items = self._arrive(rendered)
        said = [] if answer in (Answer.LOST_MIDWAY, Answer.LOST_AFTER, Answer.LATE) else self._reply(items)
        self._note(said, "reply", rendered, items)
        assert isinstance(wire, SimulatedWire)
        wire.passes()
        if not said:
            await asyncio.sleep(HANG_SECONDS if self.luck.random() < 0.15 else self.luck.random() * 5)
            raise TimeoutError
        await self._delay()
        return said

    @staticmethod
    def is_open_on(day: dt.date) -> bool:
        """By a calendar that is not the gateway's."""
        return bool(chinese_calendar.is_workday(day))

    def _look_at_the_clock(self, rendered: Rendered) -> None:
        now, can = self.clock.now(), self.capabilities()
        inside = can.opens <= now.time() < (can.cut_off if can.cut_off > can.opens else dt.time.max)
        if not inside or (can.working_days_only and not self.is_open_on(now.date())):
            self.violations.append(f"hours: {rendered.submission} was sent at {now:%a %F %T}")
        if rendered.transmission == 1 and rendered.rendered_at.date() != now.date():
            self.violations.append(f"date: {rendered.submission} of {rendered.rendered_at:%F} was sent on {now:%F}")

    def _draw(self) -> Answer:
        if self.away:
            return Answer.LOST_MIDWAY if self.away == "swallows" else Answer.LOST_AFTER
        weather = CALM if self.calm else WEATHER
        if AnswerKind.POLL not in self.capabilities().answers:
            weather = {answer: weight for answer, weight in weather.items() if answer in WITHOUT_ANSWERS}
        (answer,) = self.luck.choices(list(weather), list(weather.values()))
        if answer not in CALM:
            self.faults[answer.name] = self.faults.get(answer.name, 0) + 1
        return answer

    async def _delay(self) -> None:
        await asyncio.sleep(self.luck.choice((0, 0.001, 0.05, 2)) * self.luck.random())

    def _alive(self) -> None:
        life = LIFE.get()
        if life is not None and life.dead:
            raise ConnectionResetError

    def _arrive(self, rendered: Rendered) -> list[Item]:
        items = super()._arrive(rendered)
        _, rows = json.loads(rendered.payload)
        number, now_ms = self._number(), self._now_ms()
        for item, (reference, account, amount_fen, name, id_no) in zip(items, rows, strict=True):
            self._arrivals[item.number] = number
            verdict = "lost" if item.fate is Fate.NOTHING else "taken"
            self.ledgers.rail(self.number, reference).transmissions.append(
                Transmission(
                    *(self.number, number, now_ms, now_ms, rendered.submission, verdict, reference, account, name),
                    *(id_no, amount_fen, PROGRAMME, PERIOD, ""),
                )
            )
            if item.fate is Fate.PENDING:
                self._decide_later(item)
        return items

    def _decide_later(self, item: Item) -> None:
        wait = HOUR * (4 * self.luck.random() if self.calm else 60 * self.luck.random() ** 6)
        fate = Fate.REJECTED if self.luck.random() < 0.15 else Fate.CREDITED

        def decide() -> None:
            if item.fate is Fate.PENDING:
                item.fate = fate
                self.moved()
                self.maybe_call()
                if fate is Fate.CREDITED and not self.calm and self.luck.random() < 0.12:
                    self.at(HOUR * 24 * 8 * self.luck.random(), give_back)

        def give_back() -> None:
            if item.fate is Fate.CREDITED and item.line not in self.broken and not self.calm:
                item.fate = Fate.RETURNED
                self.moved()
                self.maybe_call()

        self.at(wait, decide)

    # -- what it says

    async def probe(self, rendered: Rendered, wire: ToyWire) -> list[Evidence]:
        await self._delay()
        self._alive()
        if self.away or (not self.calm and self.luck.random() < 0.05):
            await asyncio.sleep(HANG_SECONDS if self.luck.random() < 0.1 else 1)
            raise TimeoutError
        if not self.calm and self.luck.random() < 0.04:
            if self.luck.random() < 0.5:
                raise ValueError("an answer that nobody can read")
            return [Evidence(Proof.IN_DOUBT, reference=r, reason=Reason.UNKNOWN) for r in rendered.references]
        items = [item for r in rendered.references if (item := self.latest.get(r)) is not None]
        evidence = self._state_of(rendered.references)
        self._note(evidence, "query", rendered, items)
        await self._delay()
        return evidence * 2 if not self.calm and self.luck.random() < 0.1 else evidence

    async def collect(self, wire: ToyWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        await self._delay()
        self._alive()
        if self.away:
            raise TimeoutError
        async for artefact, reached in super(TruthBank, self).collect(wire, cursor):
            self._disprove(self.disproofs.get(artefact.sha256, []))
            self.ledgers.delivered.setdefault((self.number, artefact.name), self._now_ms())
            yield artefact, reached

    async def settle(self, artefact: Artefact, wire: ToyWire) -> None:
        await self._delay()

    def publish(self, told: str = "once", event: str = "") -> Artefact:
        """A result file; or what a callback of that ``event`` tells."""
        artefact = super().publish(told)
        name = event or artefact.name
        self._news = told == "vaguely"
        rows = json.loads(artefact.content)
        said = [e for e in self.parse(artefact) if e.reference is not None]
        items = [self.latest[e.reference] for e in said if e.reference is not None]
        self._note(said, "file", None, items, name)
        for row in rows:
            if "submission" in row:
                self._word(Word, 0, row["proof"], None, "file", name, None, row["submission"])
        return artefact

    def state_the_day(self) -> None:
        super().state_the_day()
        artefact = self.files[-1]
        said = [e for e in self.parse(artefact) if e.reference is not None]
        self._note(said, "file", None, [], artefact.name)

    def speak_of(self, lines: set[int]) -> None:
        """The bank's word about these lines has changed: in the next file, in a callback, or when it is asked."""
        self._news = True
        self._turned |= dict.fromkeys(lines, self._count)
        self.maybe_call()

    def heard_otherwise(self, line: int) -> bool:
        """Whether anybody was told of a line after the bank's word about it had changed."""
        rails = {item.reference for item in self.items if item.line == line}
        return any(
            answer.n > self._turned.get(line, self._count) and self.ledgers.delivered_ms(answer) is not None
            for (bank, reference), rail in self.ledgers.rails.items()
            if bank == self.number and reference in rails
            for answer in rail.answers
        )

    def has_news(self) -> bool:
        """Whether anything was decided since the last result file."""
        return self._news

    def has_moved(self) -> bool:
        """Whether money moved since the last statement."""
        moved, self._stated = self._stated, False
        return moved

    def maybe_call(self) -> None:
        """A callback about what has just moved, where the bank makes any: late, twice, or not at all."""
        if AnswerKind.CALLBACK not in self.capabilities().answers or self.luck.random() < 0.3:
            return
        self._events += 1
        headers = {"event": f"E{self.number}-{self._events}"}
        artefact = self.publish(event=headers["event"])
        self.files.pop()  # it is told, not published
        for _ in range(1 if self.calm or self.luck.random() < 0.7 else 2):
            wait = dt.timedelta(seconds=self.luck.random() * self.luck.choice((1, 60, 7200)))
            self.at(wait, lambda: self.tell(self, headers, artefact.content))

    def verify_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> Callback:
        artefact = Artefact.of("callback", body)
        if "event" not in headers:
            raise CallbackRefused("NO_EVENT")
        if self.capabilities().callback_is_proof:
            self._disprove(self.disproofs.get(artefact.sha256, []))
            self.ledgers.delivered.setdefault((self.number, headers["event"]), self._now_ms())
        return Callback(headers["event"], artefact, tuple(sorted({item.submission for item in self.latest.values()})))

    # -- its ledger

    def moved(self) -> None:
        """Enter in the ledger what the last decisions moved."""
        for item in self.latest.values():
            before, item_fate = self._fates.get(item.number, Fate.PENDING), item.fate
            if before is item_fate:
                continue
            self._fates[item.number] = item_fate
            self._news = self._stated = True
            if item_fate in (Fate.CREDITED, Fate.RETURNED) and before is not Fate.CREDITED:
                self._move(item, back=False)
            if item_fate is Fate.RETURNED:
                self._move(item, back=True)

    def _move(self, item: Item, *, back: bool) -> None:
        self.ledgers.rail(self.number, item.reference).movements.append(
            Movement(
                self.number,
                self._number(),
                self._now_ms(),
                self._arrivals[item.number],
                item.line,
                item.stated_fen,
                back,
            )
        )

    def _note(
        self,
        said: Sequence[Evidence],
        channel: str,
        rendered: Rendered | None,
        items: Sequence[Item],
        artefact: str = "",
    ) -> None:
        self.moved()
        now = self.clock.now()
        settled = all(now >= item.at + SETTLING for item in items)
        for evidence in said:
            status = evidence.proof.value
            if evidence.proof is Proof.ABSENT and not settled:
                status = SAID[Proof.ABSENT]
            about = self.latest.get(evidence.reference) if evidence.reference is not None else None
            arrival = self._arrivals.get((about or items[0]).number, 0) if about or items else 0
            submission = None if rendered is None else rendered.submission
            self._word(Word, arrival, status, evidence.amount_fen, channel, artefact, evidence.reference, submission)

    def _word(
        self,
        word: type[Word],
        arrival: int,
        status: str,
        amount_fen: int | None,
        channel: str,
        artefact: str,
        reference: str | None,
        submission: str | None,
    ) -> None:
        now_ms = self._now_ms()
        entry = word(self.number, self._number(), now_ms, now_ms, arrival, status, amount_fen, channel, artefact)
        if reference is not None:
            self.ledgers.rail(self.number, reference).answers.append(entry)
        elif submission is not None:
            self.ledgers.whole.setdefault((self.number, submission), []).append(entry)

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _now_ms(self) -> int:
        return int(self.clock.now().timestamp() * 1000)
