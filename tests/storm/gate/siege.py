"""All hostile letters at the door of books in which each of them would move money, and what came of every one."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway import log
from gateway.config import KafkaSection
from schemas.v1 import INBOUND_TOPICS, Kind, OrderKind
from tests.store.kit import Gateway
from tests.storm.contents import contents
from tests.storm.gate.doorway import Doorway, Letter, counted
from tests.storm.gate.drafts import Draft, prepare
from tests.storm.gate.letters import CASES, Case

Deliver = Callable[[Doorway, Sequence[Letter]], Awaitable[None]]
Named = tuple[str, str]  # the case and the kind of message
_MAY_CHANGE = ("outbox", "leases")  # the answers, and who is at work


@dataclass(frozen=True, slots=True)
class Verdict:
    """``unanswered`` got through, or met silence; ``misnamed`` met another reason than its cause, or many answers."""

    letters: int
    unanswered: tuple[Named, ...]
    misnamed: tuple[tuple[Named, str, tuple[str, ...]], ...]
    unaudited: int  # refusals without their one line in the log, and lines without a refusal
    accepted: int
    changed: tuple[str, ...]  # tables of the books
    unbacked: int  # lines that travelled to the bank though nobody had signed for them: UB

    @property
    def kept(self) -> bool:
        faults = (self.unanswered, self.misnamed, self.unaudited, self.accepted, self.changed, self.unbacked)
        return not any(faults)


def drafted(kinds: Sequence[Kind], *, every_order: bool) -> list[tuple[Case, Kind, OrderKind]]:
    """Every case for each kind of message it is meant for; the kinds of orders in turn, or all of them for each."""
    found = []
    for number, case in enumerate(CASES):
        for kind in kinds:
            if kind in case.kinds:
                orders = tuple(OrderKind) if kind is Kind.ORDER and every_order else (tuple(OrderKind)[number % 3],)
                found += [(case, kind, order) for order in orders]
    return found


async def besiege(
    gateway: Gateway, section: KafkaSection, drafts: Sequence[tuple[Case, Kind, OrderKind]], deliver: Deliver
) -> Verdict:
    """Prepare the books, deliver every letter, let the gateway work on, and look."""
    keys, accepted = await prepare(gateway, [(kind, order) for _, kind, order in drafts])
    named: list[tuple[Named, str, Letter]] = []
    for number, (case, kind, order) in enumerate(drafts, start=1):
        draft = Draft(kind, order, number, keys, gateway.clock.now(), accepted)
        label = order.value if kind is Kind.ORDER else kind.value
        named.append(((case.name, label), case.reason, case.make(draft)))
    travelled = len(gateway.bank.references())
    before, taken, lines = await contents(gateway, *_MAY_CHANGE), counted(), io.StringIO()
    log.configure("INFO", lines)
    async with Doorway(gateway, section) as door:
        await deliver(door, [letter for _, _, letter in named])
    now, after = counted(), await contents(gateway, *_MAY_CHANGE)
    answers = await _answers(gateway)
    unanswered, misnamed = _compared(named, answers)
    verdict = {
        "letters": len(named),
        "unanswered": unanswered,
        "misnamed": misnamed,
        "unaudited": sum(((answers - _told(lines)) + (_told(lines) - answers)).values()),
        "accepted": sum(now[outcome] - taken[outcome] for outcome in ("accepted", "repeated")),
        "changed": tuple(sorted(name for name in after if after[name] != before.get(name))),
    }
    await gateway.judge()
    gateway.clock.forward(hours=2)  # re-issues are gathered for a while
    await gateway.send()
    return Verdict(**verdict, unbacked=len(gateway.bank.references()) - travelled)  # type: ignore[arg-type]


Answers = Counter[tuple[str, str, str]]  # topic, the first digits of the digest, reason


async def _answers(gateway: Gateway) -> Answers:
    return Counter((row["topic"], row["digest"][:12], row["reason"]) for row in await gateway.published("refusals"))


def _told(lines: io.StringIO) -> Answers:
    """The audit log's word on refused messages."""
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    refused = [event for event in events if event["event"] == "message refused"]
    topics = {kind.value: INBOUND_TOPICS[kind].value for kind in INBOUND_TOPICS}
    return Counter((topics[event["topic"]], event["digest"], event["reason"]) for event in refused)


def _compared(
    named: Sequence[tuple[Named, str, Letter]], answers: Answers
) -> tuple[tuple[Named, ...], tuple[tuple[Named, str, tuple[str, ...]], ...]]:
    """Which letters have no answer, and which have another one than theirs; bytes may be the same in several."""
    left = Answers(answers)
    unanswered, misnamed = [], []
    late = []
    for name, reason, letter in named:
        place = (INBOUND_TOPICS[letter.topic].value, hashlib.sha256(letter.value or b"").hexdigest()[:12])
        if left[*place, reason]:
            left[*place, reason] -= 1
        else:
            late.append((name, reason, place))
    for name, reason, place in late:
        met = tuple(sorted(why for (*where, why), count in left.items() if tuple(where) == place and count))
        if met:
            misnamed.append((name, reason, met))
            left[*place, met[0]] -= 1
        else:
            unanswered.append(name)
    surplus = [(("surplus", topic), why, ()) for (topic, _, why), count in left.items() for _ in range(max(count, 0))]
    return tuple(unanswered), (*misnamed, *surplus)
