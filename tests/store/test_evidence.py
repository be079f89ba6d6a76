"""Evidence in any order, twice, late or contradicting: the books stay true, closed and told once."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.contract import Evidence, Proof, Reason
from gateway.store import evidence as evidence_module
from gateway.store.evidence import EvidenceBook, Heard
from gateway.store.history import Ledger
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected

NOTHING = (Proof.NOT_SENT, Proof.NOT_TAKEN, Proof.ABSENT)
SETTLING = 1800
_BATCHES = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Word:
    """One thing a bank says: of a line it was ever sent (``place``) or, where that is None, of what was sent last."""

    place: int | None
    proof: Proof
    amount_fen: int | None = None
    host: str | None = None
    stale: bool = False  # asked before the last transmission
    wait_minutes: int = 0
    misnamed: bool = False
    then_send: bool = False


LINE_WORDS = st.builds(
    Word,
    place=st.integers(0, 5),
    proof=st.sampled_from(list(Proof)),
    amount_fen=st.sampled_from([10_000, 10_000, 10_000, None, 9_999]),
    host=st.sampled_from([None, "A", "A", "B"]),
    stale=st.booleans(),
    wait_minutes=st.sampled_from([0, 1, 31, 200]),
    misnamed=st.sampled_from([False] * 7 + [True]),
    then_send=st.booleans(),
)
WHOLE_WORDS = st.builds(
    Word,
    place=st.none(),
    proof=st.sampled_from([*NOTHING, Proof.IN_DOUBT, Proof.RECEIVED, Proof.IN_PROCESS]),
    stale=st.booleans(),
    wait_minutes=st.sampled_from([0, 1, 31, 200]),
    then_send=st.booleans(),
)


@dataclass
class Belief:
    """What a careful clerk knows of one reference, by money alone; written without a look at the state table."""

    credited: bool = False
    returned: bool = False
    refused: bool = False
    over: bool = False  # a line that alone never arrived
    frozen: bool = False
    credit_host: str | None = None
    return_host: str | None = None
    may_travel: bool = False  # since the last transmission the bank said that it has nothing, and no more than that
    sent_at: dt.datetime | None = None

    def hear(self, word: Word) -> None:
        closed = self.refused or self.over
        fee = word.amount_fen not in (None, 10_000)
        if word.proof is Proof.CREDITED:
            twice = self.credited and None not in (word.host, self.credit_host) and word.host != self.credit_host
            if closed or fee or twice:
                self.frozen = True
            elif not self.credited:
                self.credited, self.credit_host = True, word.host
        elif word.proof is Proof.RETURNED:
            twice = self.returned and None not in (word.host, self.return_host) and word.host != self.return_host
            if closed or fee or twice:
                self.frozen = True
            elif not self.returned:
                self.credited = self.returned = True
                self.return_host = word.host
        elif word.proof is Proof.REJECTED:
            if self.credited:
                self.frozen = True
            elif not closed:
                self.refused = True
        elif word.proof is Proof.IN_PROCESS and self.over:
            self.frozen = True


@dataclass
class Clerk:
    """Plays words to the gateway and keeps a model beside it."""

    gateway: Gateway
    batch_id: str
    batch_no: int = 0
    beliefs: dict[str, Belief] = field(default_factory=dict)
    submissions: dict[str, str] = field(default_factory=dict)
    seen: int = 0

    async def begin(self, answer: kit.Script) -> None:
        lines = [kit.line(n) for n in (1, 2, 3)]
        self.gateway.bank.sent.clear()
        object.__setattr__(self.gateway.clock, "at", kit.START)
        async with self.gateway.store.engine.connection() as connection:  # what earlier examples left stays where it is
            await connection.execute("UPDATE submissions SET due_at = 'infinity'")
        self.gateway.bank.submits = answer
        period = f"P{self.batch_id[1:]}"
        await self.gateway.intake.take_batch(*self.gateway.signed_parts(lines, self.batch_id, period=period)[0])
        await self.gateway.fund("300.00", self.batch_id, f"F-{self.batch_id}")
        await self.gateway.judge()
        self.batch_no = (await self.gateway.store.reads.find_batches(self.batch_id))[0]["batch_no"]
        self.gateway.bank.submits = answer
        await self.send()

    async def send(self) -> None:
        """Let everything travel that may, and hold each transmission against what the clerk knows."""
        await self.gateway.send()
        for rendered in self.gateway.bank.sent[self.seen :]:
            for reference in rendered.references:
                belief = self.beliefs.get(reference)
                if belief is not None:
                    assert belief.may_travel, "sent again although the bank may have it"
                    assert not any((belief.credited, belief.refused, belief.over, belief.frozen))
                fresh = self.beliefs.setdefault(reference, Belief())
                fresh.may_travel, fresh.sent_at = False, self.gateway.clock.now()
                self.submissions[reference] = rendered.submission
        self.seen = len(self.gateway.bank.sent)

    async def hear(self, word: Word) -> None:
        now = self.gateway.clock.now() + dt.timedelta(minutes=word.wait_minutes)
        object.__setattr__(self.gateway.clock, "at", now)
        references = list(self.beliefs)
        reference = None if word.place is None else references[word.place % len(references)]
        submission = self.submissions[reference or references[-1]]
        asked_at = kit.START if word.stale else now
        said = Evidence(
            word.proof,
            reference=reference,
            submission="DF20261124SOMEBODYELSES" if word.misnamed else submission,
            amount_fen=word.amount_fen,
            host_reference=word.host,
        )
        heard = Heard("rcc_file", now, asked_at, SETTLING, deferred_until=now)
        await self.gateway.store.evidence.record(heard, [said])
        if word.misnamed:
            return
        self._learn(word, reference, submission, asked_at)
        if word.proof not in NOTHING:
            before = await self.books()
            await self.gateway.store.evidence.record(heard, [said])
            assert await self.books() == before, "the same again is nothing new"

    def _learn(self, word: Word, reference: str | None, submission: str, asked_at: dt.datetime) -> None:
        concerned = [r for r, s in self.submissions.items() if s == submission]
        if reference is not None:
            self.beliefs[reference].hear(word)
        for one in concerned:
            belief = self.beliefs[one]
            if word.proof not in NOTHING:
                belief.may_travel = False
            elif reference is None and belief.sent_at is not None and asked_at >= belief.sent_at:
                settled = asked_at >= belief.sent_at + dt.timedelta(seconds=SETTLING)
                belief.may_travel = belief.may_travel or word.proof is not Proof.ABSENT or settled

    async def books(self) -> tuple[Any, ...]:
        async with self.gateway.store.engine.connection() as connection:
            row = await connection.fetchrow(
                "SELECT history_seq, changed_at, (SELECT count(*) FROM outbox), (SELECT count(*) FROM evidence),"
                " (SELECT count(*) FROM notices), (SELECT count(*) FROM attempts) FROM batches WHERE batch_no = $1",
                self.batch_no,
            )
        return tuple(row or ())

    async def receipts(self) -> list[dict[str, Any]]:
        async with self.gateway.store.engine.connection() as connection:
            rows = await connection.fetch("SELECT value FROM outbox WHERE topic = 'receipts' ORDER BY outbox_id")
        bodies = [json.loads(row["value"]) for row in rows]
        return [one for body in bodies if body["batch_id"] == self.batch_id for one in body["receipts"]]

    async def compare(self) -> None:
        """The receipts say what the clerk knows, each attempt once; the identity closes; conflicts are the frozen."""
        receipts = await self.receipts()
        final = Counter((r["line"], r["attempt"]) for r in receipts if r["outcome"] != "returned")
        assert all(count == 1 for count in final.values()), final
        told: dict[str, list[tuple[str, str | None]]] = {}
        for one in receipts:
            told.setdefault(one["reference"], []).append((one["outcome"], one["reason"]))
        for reference, outcomes in told.items():
            if outcomes == [("failed", "NOT_EXECUTED")]:
                self.beliefs[reference].over = True
        for reference, belief in self.beliefs.items():
            expected = [
                outcome
                for outcome, held in (
                    ("credited", belief.credited),
                    ("returned", belief.returned),
                    ("failed", belief.refused or belief.over),
                )
                if held
            ]
            assert [outcome for outcome, _ in told.get(reference, [])] == expected
        buckets = await self.gateway.buckets(self.batch_no)
        assert sum(buckets.values()) == 3
        lines = {r["reference"]: r["line"] for r in receipts}
        frozen = [r for r, b in self.beliefs.items() if b.frozen]
        unknown = {r for r in frozen if r not in lines}
        assert len({lines[r] for r in frozen if r in lines}) <= buckets.get("conflict", 0) <= len(frozen)
        assert bool(frozen) == ("conflict" in buckets), unknown


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    words=st.lists(st.one_of(LINE_WORDS, WHOLE_WORDS), min_size=1, max_size=12),
    answer=st.sampled_from([kit.received, kit.hang_up]),
)
async def test_whatever_a_bank_says_the_books_agree_with_a_careful_clerk(
    gateway: Gateway, words: list[Word], answer: kit.Script
) -> None:
    """Any stream: one final receipt an attempt, no second transmission in doubt, repeats are nothing, it all closes."""
    clerk = Clerk(gateway, f"B{next(_BATCHES)}")
    await clerk.begin(answer)
    for word in words:
        await clerk.hear(word)
        await clerk.compare()
        if word.then_send:
            await clerk.send()
    await clerk.send()
    await clerk.compare()


async def test_another_bank_s_reference_is_nobody_s(gateway: Gateway) -> None:
    """Evidence is matched by bank and reference: one bank cannot credit another's attempt, nor name its submission."""
    await gateway.pay(1)
    (sent,) = gateway.bank.sent
    now = gateway.clock.now()
    foreign = [
        Evidence(Proof.CREDITED, reference=sent.references[0], amount_fen=10_000),
        Evidence(Proof.REJECTED, submission=sent.submission),
        Evidence(Proof.NOT_TAKEN, submission=sent.submission),
    ]
    recorded = await gateway.store.evidence.record(Heard("json_https", now, now, deferred_until=now), foreign)
    assert (recorded.settled, sum(recorded.effects.values())) == (0, 3)
    assert {effect for _, effect in recorded.effects} == {"unmatched"}
    assert await gateway.buckets() == {"in_flight": 1}
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM evidence WHERE effect = 'UNMATCHED'") == 3


async def test_the_right_line_under_another_submission_s_name_moves_nothing(gateway: Gateway) -> None:
    """An answer that names another submission than the line's is not about what it claims; kept, not applied."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1, submission="DF20261124SOMEBODYELSES"))
    assert await gateway.buckets() == {"in_flight": 1}
    assert await gateway.outcomes() == []
    kept = await gateway.store.reads.evidence((1 << 20) + 1)
    assert [(row["effect"], row["proof"]) for row in kept] == [("UNMATCHED", "CREDITED")]


async def test_a_word_about_the_whole_submission_is_a_word_about_its_lines(gateway: Gateway) -> None:
    """Credited as a whole: every line the bank has not spoken of by itself has its receipt; the others keep theirs."""
    await gateway.pay(3)
    await gateway.answer(rejected(gateway, 2))
    await gateway.answer({"proof": "CREDITED", "submission": gateway.bank.sent[0].submission})
    assert await gateway.buckets() == {"credited": 2, "failed": 1}
    assert (await gateway.store.reads.submissions(1))[0]["state"] == "CLOSED"


async def test_a_bank_that_has_what_was_never_sent_freezes_all_of_it(gateway: Gateway) -> None:
    """A submission that is only rendered and that the bank claims to have: nothing of it may travel."""
    await gateway.batch([kit.line(1), kit.line(2)])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.cut_and_render()
    (submission,) = await gateway.store.reads.submissions(1)
    await gateway.answer({"proof": "RECEIVED", "submission": submission["reference"]})
    gateway.clock.forward(hours=1)
    await gateway.send()
    assert gateway.bank.sent == []
    assert await gateway.buckets() == {"conflict": 2}


async def test_frozen_lines_stay_and_the_others_of_their_submission_travel(gateway: Gateway) -> None:
    """A conflict about one unsent line holds that line alone: the other one is paid, in new bytes without it."""
    await gateway.pay(2)
    await gateway.answer(rejected(gateway, 1), rejected(gateway, 2))
    late = credited(gateway, 1)
    for number in (1, 2):
        await gateway.order("REISSUE", f"O-{number}", number, 1)
    gateway.clock.forward(minutes=11)
    await gateway.cut_and_render()
    await gateway.answer(late)
    for _ in range(3):
        await gateway.send()
    assert [len(rendered.references) for rendered in gateway.bank.sent] == [2, 1]
    assert str(kit.line(1)["account"]).encode() not in gateway.bank.sent[1].payload
    assert await gateway.buckets() == {"conflict": 1, "in_flight": 1}


async def test_received_of_one_line_is_no_payment_and_no_fault(gateway: Gateway) -> None:
    """A bank may acknowledge line by line: that line is being worked on, whatever the submission waits for."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    await gateway.answer({"proof": "RECEIVED", "reference": gateway.reference_of(1)})
    assert await gateway.buckets() == {"in_flight": 1, "in_doubt": 1}
    assert await gateway.outcomes() == []


async def test_credit_and_return_in_one_answer_are_both_told(gateway: Gateway) -> None:
    """Booked and back in the same file: two receipts in order, a notice and its correction, one outcome row."""
    await gateway.pay(1)
    back = {**credited(gateway, 1, host_reference="R"), "proof": "RETURNED", "reason": Reason.ACCOUNT_FROZEN.value}
    await gateway.answer(credited(gateway, 1), back)
    assert await gateway.outcomes() == [(1, 1, "credited", None), (1, 1, "returned", "ACCOUNT_FROZEN")]
    (attempt,) = await gateway.store.reads.attempts((1 << 20) + 1)
    assert (attempt["state"], attempt["live"]) == ("RETURNED", False)
    assert (attempt["host_reference"], attempt["return_host_reference"]) == ("H1", "R")
    kinds = [call["kind"] for call in await gateway.store.notices.claim(gateway.clock.now(), 10)]
    assert kinds == ["ARRIVAL", "CORRECTION"]


@pytest.mark.parametrize(
    ("proof", "said", "reason"),
    [
        ("REJECTED", "UNKNOWN", "UNKNOWN"),
        ("RETURNED", "UNKNOWN", "RETURNED_AFTER_CREDIT"),
        ("RETURNED", "ACCOUNT_FROZEN", "ACCOUNT_FROZEN"),
    ],
)
async def test_the_books_keep_the_banks_reason_or_the_plainest_there_is(
    gateway: Gateway, proof: str, said: str, reason: str
) -> None:
    """A refusal for an unknown reason stays unknown; of money that came back it is known that it came back."""
    await gateway.pay(1)
    word = {**credited(gateway, 1, host_reference="R"), "proof": proof, "reason": said}
    await gateway.answer(*([credited(gateway, 1)] if proof == "RETURNED" else []), word)
    (attempt,) = await gateway.store.reads.attempts((1 << 20) + 1)
    assert (attempt["state"], attempt["reason"]) == (proof, reason)


async def test_a_second_booking_is_a_conflict_and_the_first_read_again_is_not(gateway: Gateway) -> None:
    """The same host reference is the same booking; another one is a second payment, and somebody is called."""
    await gateway.pay(1)
    await gateway.answer(credited(gateway, 1))
    await gateway.answer(credited(gateway, 1), credited(gateway, 1, host_reference=None))
    assert await gateway.buckets() == {"credited": 1}
    await gateway.answer(credited(gateway, 1, host_reference="H2"))
    assert await gateway.buckets() == {"conflict": 1}
    assert len(await gateway.outcomes()) == 1


async def test_two_processes_that_hear_the_same_at_once_tell_it_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks are taken in one order, so answers about several batches, in any order, neither deadlock nor double."""
    for name in ("B-1", "B-2"):
        lines = [kit.line(n) for n in range(1, 21)]
        await gateway.intake.take_batch(*gateway.signed_parts(lines, name, period=name)[0])
        await gateway.fund("2000.00", name, f"F-{name}")
    await gateway.judge()
    await gateway.send()
    monkeypatch.setattr(evidence_module, "lost_race", lambda error: False)  # a deadlock would be tried again quietly
    references = gateway.bank.references()
    now = gateway.clock.now()
    words = [Evidence(Proof.CREDITED, reference=r, amount_fen=10_000, host_reference=r[-4:]) for r in references]
    words += [Evidence(Proof.REJECTED, reference="NOBODY" + str(n)) for n in range(5)]
    books = [EvidenceBook(gateway.store.engine) for _ in range(4)]
    orders = [words, words[::-1], words[5:] + words[:5], words[::2] + words[1::2]]
    heard = Heard("rcc_file", now, now)
    recorded = await asyncio.gather(*(book.record(heard, order) for book, order in zip(books, orders, strict=True)))
    assert sum(one.settled for one in recorded) == 40
    assert len(await gateway.outcomes()) == len(set(await gateway.outcomes())) * 2 == 40
    for batch_no in (1, 2):
        assert await gateway.buckets(batch_no) == {"credited": 20}


async def test_batches_are_locked_in_the_order_of_their_numbers(gateway: Gateway) -> None:
    """Asked for in any order: whoever waits for a later batch holds the earlier ones, so nobody waits in a circle."""
    for name in ("B-1", "B-2", "B-3"):
        await gateway.intake.take_batch(*gateway.signed_parts([kit.line(1)], name, period=name)[0])
    engine = gateway.store.engine

    async def lock() -> None:
        async with engine.transaction() as connection:
            await Ledger.lock(connection, [3, 2, 1, 2])

    async with engine.transaction() as holder:
        await holder.execute("SELECT 1 FROM batches WHERE batch_no = 2 FOR NO KEY UPDATE")
        waiting = asyncio.create_task(lock())
        async with asyncio.timeout(30), engine.connection() as watch:
            while not await watch.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.02)
            free = "SELECT batch_no FROM batches ORDER BY batch_no FOR NO KEY UPDATE SKIP LOCKED"
            assert [row["batch_no"] for row in await watch.fetch(free)] == [3]
    await waiting


async def test_one_live_attempt_a_payout_is_kept_by_the_schema(gateway: Gateway) -> None:
    """Whatever the program did, the database refuses a second live attempt and an amount that is none."""
    await gateway.pay(1)
    second = (
        "INSERT INTO attempts (submission_id, seq, payout_id, attempt_no, bank, reference, amount_fen)"
        " VALUES (1, 9, $1, 2, 'rcc_file', 'OTHER', $2)"
    )
    async with gateway.store.engine.connection() as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(second, (1 << 20) + 1, 10_000)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(second, (1 << 20) + 2, 0)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE attempts SET state = 'REJECTED'")
