"""A bank that takes back its own word: nothing travels twice because of it, and no repetition undoes the doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from adapters.contract import AnswerKind, Evidence, Proof, Reason, Rendered
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_payment import credited, rejected


@pytest.fixture
async def files(database: str) -> AsyncIterator[Gateway]:
    """A gateway whose bank answers by files alone."""
    async with kit.open_gateway(database, answers=frozenset({AnswerKind.FILE})) as opened:
        yield opened


def whole(gateway: Gateway, proof: str, **more: str) -> dict[str, Any]:
    """A word about the first submission as a whole."""
    return {"proof": proof, "submission": gateway.bank.sent[0].submission, **more}


def funds_short(gateway: Gateway) -> dict[str, Any]:
    return whole(gateway, "NOT_TAKEN", reason="FUNDS_SHORT", code="F007")


def saying(said: list[Evidence], rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
    return said


async def sent_again(gateway: Gateway) -> int:
    """How often something travelled, an hour on."""
    gateway.clock.forward(hours=1)
    await gateway.send()
    return len(gateway.bank.sent)


async def taken_the_second_time(gateway: Gateway) -> None:
    """Refused for lack of funds, topped up, sent again, and acknowledged by the bank itself."""
    await gateway.answer(funds_short(gateway))
    assert await sent_again(gateway) == 2
    await gateway.answer(whole(gateway, "RECEIVED", code="0000"))
    gateway.clock.forward(minutes=1)


@pytest.mark.parametrize("new_bytes", [False, True])
async def test_a_refusal_after_the_acknowledgement_sends_nothing_again(files: Gateway, new_bytes: bool) -> None:
    """Published again or written anew, once or twice: a cancellation cannot free its lines."""
    await files.pay(3)
    await taken_the_second_time(files)
    for number in range(2):
        word = whole(files, "NOT_TAKEN", reason="FUNDS_SHORT", code=f"F{number}")
        await files.answer(word if new_bytes else funds_short(files))
        assert await files.buckets() == ({"in_doubt": 3} if new_bytes else {"in_flight": 3})
    await files.order("CANCEL", "O-1", 1, 1)
    assert await sent_again(files) == 2


async def test_what_was_acknowledged_and_refused_in_one_breath_travels_no_more(files: Gateway) -> None:
    """Both words in one file, the acknowledgement first: the second cannot undo what the first proved."""
    await files.pay(2)
    await files.answer(whole(files, "RECEIVED"), whole(files, "NOT_TAKEN", reason="FUNDS_SHORT", code="F0"))
    assert await sent_again(files) == 1
    assert await files.buckets() == {"in_doubt": 2}


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_an_acknowledgement_counts_however_often_one_file_says_it(files: Gateway, times: int) -> None:
    """Received, said twice and thrice in one recording: a refusal afterwards is doubt, and nothing travels again."""
    await files.pay(2)
    await files.answer(*(whole(files, "RECEIVED", code=str(number)) for number in range(times)))
    await files.answer(funds_short(files))
    assert await sent_again(files) == 1
    assert await files.buckets() == {"in_doubt": 2}


async def test_nobody_is_told_cancelled_whose_file_the_bank_has(files: Gateway) -> None:
    """A recall after the bank's "received", and its old refusal again, cancels nothing."""
    await files.pay(2)
    await taken_the_second_time(files)
    await files.answer(whole(files, "NOT_TAKEN", reason="FUNDS_SHORT", code="anew"))
    await files.order("RECALL", "O-9", None, None)
    assert [outcome for _, _, outcome, _ in await files.outcomes()] == []


async def test_an_old_refusal_published_again_is_no_answer_to_the_second_transmission(files: Gateway) -> None:
    """Known by its digest, also before the bank has acknowledged anything: it neither sends nor settles."""
    await files.pay(2)
    await files.answer(funds_short(files))
    assert await sent_again(files) == 2
    files.clock.forward(minutes=1)
    await files.answer(funds_short(files))
    assert await files.buckets() == {"in_flight": 2}
    assert await sent_again(files) == 2
    await files.answer(*(credited(files, seq) for seq in (1, 2)))
    assert await files.buckets() == {"credited": 2}


async def test_a_second_true_refusal_sends_a_third_time(files: Gateway) -> None:
    """Still short after the top-up, said in a file of its own before any acknowledgement: the same bytes later."""
    await files.pay(1)
    await files.answer(funds_short(files))
    assert await sent_again(files) == 2
    await files.answer({**funds_short(files), "host_reference": "another file"})
    assert await files.buckets() == {"queued": 1}
    assert await sent_again(files) == 3


async def test_a_file_that_was_taken_is_not_refused_for_its_format(files: Gateway) -> None:
    """In process, then "wrong format", then a restart: no line travels under another name beside it."""
    await files.pay(2)
    await files.answer(whole(files, "IN_PROCESS"))
    await files.answer(whole(files, "NOT_TAKEN", reason="FORMAT"))
    assert await files.buckets() == {"in_doubt": 2}
    await files.store.pauses.resume(["rcc_file"])
    assert await sent_again(files) == 1


@pytest.mark.parametrize("proof", ["NOT_TAKEN", "ABSENT"])
@pytest.mark.parametrize("before", ["SUBMITTED", "ACCEPTED"])
async def test_the_doubt_of_a_line_outlives_the_same_words_again(gateway: Gateway, proof: str, before: str) -> None:
    """A line in process by the bank's own word, then "not taken" or "absent", thrice: doubt, until its outcome."""
    await gateway.pay(2)
    if before == "ACCEPTED":
        await gateway.answer(whole(gateway, "IN_PROCESS"))
    one = gateway.reference_of(1)
    await gateway.answer({"proof": "IN_PROCESS", "reference": one})
    for number in range(3):
        gateway.clock.forward(hours=1)
        said = [Evidence(Proof(proof), reference=one, reason=Reason.FUNDS_SHORT, code=str(number))]
        gateway.bank.probes = partial(saying, said)
        gateway.clock.forward(hours=1)
        await gateway.verify.probe(gateway.entry)
        assert await gateway.buckets() == {"in_doubt": 1, "in_flight": 1}
    assert await sent_again(gateway) == 1
    await gateway.answer(credited(gateway, 1))
    assert await gateway.buckets() == {"credited": 1, "in_flight": 1}


async def test_the_word_is_remembered_while_a_person_is_awaited(gateway: Gateway) -> None:
    """Held, then "in process", then "not taken": that is no leave to try the line anew."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    one = gateway.reference_of(1)
    gateway.clock.forward(days=12)
    await gateway.verify.watch_time(gateway.entry)
    await gateway.answer({"proof": "IN_PROCESS", "reference": one})
    await gateway.answer({"proof": "NOT_TAKEN", "reference": one, "reason": "FUNDS_SHORT"})
    assert await gateway.buckets() == {"in_doubt": 2}


async def test_a_file_of_which_a_line_was_credited_with_another_amount_is_at_the_bank(gateway: Gateway) -> None:
    """That credit moves no line, and still tells who has the file: "never had it" afterwards sends nothing again."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    await gateway.answer(credited(gateway, 1, amount_fen=9_999))
    gateway.bank.probes = partial(saying, [Evidence(Proof.ABSENT)])
    gateway.clock.forward(hours=1)
    await gateway.verify.probe(gateway.entry)
    assert await gateway.buckets() == {"conflict": 1, "in_doubt": 1}
    assert await sent_again(gateway) == 1


async def test_funds_that_run_out_in_the_middle_are_said_of_the_line_not_of_the_file(gateway: Gateway) -> None:
    """The file in process, one line not taken: tried anew at once, and the same answer again changes nothing."""
    await gateway.pay(2)
    await gateway.answer(whole(gateway, "IN_PROCESS"))
    word = {"proof": "NOT_TAKEN", "reference": gateway.reference_of(1), "reason": "FUNDS_SHORT", "code": "3008"}
    for _ in range(2):
        await gateway.answer(word)
        assert await gateway.buckets() == {"queued": 1, "in_flight": 1}


def absent(gateway: Gateway, seq: int) -> dict[str, Any]:
    return {"proof": "ABSENT", "reference": gateway.reference_of(seq)}


async def test_a_published_never_received_needs_a_file_that_answers_for_the_others(gateway: Gateway) -> None:
    """Alone and before the settling time it closes nothing; beside the outcome of another line it is the last word."""
    await gateway.pay(2)
    await gateway.answer(absent(gateway, 1))
    assert await gateway.buckets() == {"in_flight": 2}
    await gateway.answer(absent(gateway, 1), credited(gateway, 2))
    assert await gateway.buckets() == {"credited": 1, "queued": 1}


async def test_never_received_in_a_file_read_right_after_the_second_transmission_closes_nothing(
    gateway: Gateway,
) -> None:
    """Which transmission such a file speaks of, only the settling time tells."""
    refused = [Evidence(Proof.NOT_TAKEN, reason=Reason.FUNDS_SHORT)]
    gateway.bank.submits = lambda rendered, wire: refused
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    assert await sent_again(gateway) == 2
    await gateway.answer(absent(gateway, 1), credited(gateway, 2))
    assert await gateway.buckets() == {"credited": 1, "in_flight": 1}


async def test_a_line_that_was_in_process_is_not_absent_in_a_file(gateway: Gateway) -> None:
    """In process by the bank's own word, then "never received" in its result file: doubt, no new attempt."""
    await gateway.pay(2)
    await gateway.answer({"proof": "IN_PROCESS", "reference": gateway.reference_of(1)})
    gateway.clock.forward(hours=1)
    await gateway.answer(absent(gateway, 1), credited(gateway, 2))
    assert await gateway.buckets() == {"credited": 1, "in_doubt": 1}


async def test_what_a_bank_said_of_one_line_it_said_of_no_other(gateway: Gateway) -> None:
    """A file in process as a whole, and "in process" about one line in two: that line alone is affirmed by it."""
    await gateway.pay(2)
    await gateway.answer(whole(gateway, "IN_PROCESS"))
    await gateway.answer({"proof": "IN_PROCESS", "reference": gateway.reference_of(1)})
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT affirmed FROM attempts ORDER BY payout_id")
    assert [row["affirmed"] for row in rows] == [True, False]


@pytest.mark.parametrize("word", [rejected, credited])
async def test_a_file_with_a_line_the_bank_spoke_of_never_travels_again(gateway: Gateway, word: Any) -> None:
    """Even if the books called it deferred, by whatever mistake: SENDING itself looks at the lines once more."""
    await gateway.pay(2)
    await gateway.answer(word(gateway, 1))
    async with gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE submissions SET state = 'DEFERRED', due_at = sent_at")
    assert await sent_again(gateway) == 1


@pytest.mark.parametrize("proof", ["RECEIVED", "IN_PROCESS", "CREDITED"])
async def test_a_bank_that_has_what_it_refused_stops_the_new_file(gateway: Gateway, proof: str) -> None:
    """Refused for its format and retired, then "I have it": its lines do not travel in the new file, restart or not."""
    refused = [Evidence(Proof.NOT_TAKEN, reason=Reason.FORMAT)]
    gateway.bank.submits = lambda rendered, wire: refused
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    for _ in range(2):
        await gateway.answer(whole(gateway, proof))
        assert await gateway.buckets() == {"conflict": 2}
    await gateway.store.pauses.resume(["rcc_file"])
    assert await sent_again(gateway) == 1


async def test_a_bank_that_has_what_was_cancelled_is_a_contradiction(files: Gateway) -> None:
    """Not taken, one line cancelled, the other moved on, then "received" of the old file: both wait for people."""
    await files.pay(2)
    await files.answer(funds_short(files))
    await files.order("CANCEL", "O-1", 1, 1)
    await files.answer(whole(files, "RECEIVED", code="0000"))
    assert await files.buckets() == {"conflict": 2}
    assert await sent_again(files) == 1


async def pay_as_a_new_file(gateway: Gateway) -> None:
    """Two lines whose first file was refused for its format, and is retired; the bank has the second one."""
    refused = [Evidence(Proof.NOT_TAKEN, reason=Reason.FORMAT)]
    gateway.bank.submits = lambda rendered, wire: refused
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    await gateway.store.pauses.resume(["rcc_file"])
    assert await sent_again(gateway) == 2


async def test_a_credit_under_the_retired_file_of_what_its_successor_paid_is_money_twice(gateway: Gateway) -> None:
    """Refused for its format, paid as a new file, and then a credit under the old name: that line waits for people."""
    await pay_as_a_new_file(gateway)
    await gateway.answer(*(credited(gateway, seq) for seq in (1, 2)))
    assert await gateway.buckets() == {"credited": 2}
    await gateway.answer(credited(gateway, 1, submission=gateway.bank.sent[0].submission, host_reference="H-OLD"))
    assert await gateway.buckets() == {"conflict": 1, "credited": 1}
    async with gateway.store.engine.connection() as connection:
        kept = await connection.fetch("SELECT effect, reference, host_reference FROM evidence")
    assert [tuple(row) for row in kept] == [("CONFLICT", gateway.reference_of(1), "H-OLD")]


async def test_a_refusal_under_the_retired_file_stops_nothing_of_its_successor(gateway: Gateway) -> None:
    """Refused for its format, under way as a new file: "refused" under the old name is kept, and freezes nobody."""
    await pay_as_a_new_file(gateway)
    await gateway.answer(rejected(gateway, 1) | {"submission": gateway.bank.sent[0].submission})
    assert await gateway.buckets() == {"in_flight": 2}
    async with gateway.store.engine.connection() as connection:
        assert await connection.fetchval("SELECT effect FROM evidence") == "UNMATCHED"
