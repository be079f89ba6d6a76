"""Silence and "not found": what a bank's manual makes of each, and whom it lets be asked, sent to again, or called."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from adapters.contract import AnswerKind, Evidence, NotFound, Proof, Rendered
from gateway.store.hearing import Heard
from gateway.store.submissions import Submissions
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_fencing import state
from tests.store.test_payment import credited

ACKNOWLEDGEMENT = 1800
FILES_ALONE = frozenset({AnswerKind.FILE})
ASKED = frozenset({AnswerKind.POLL, AnswerKind.FILE})


async def pass_time(gateway: Gateway, **span: int) -> bool:
    gateway.clock.forward(**span)
    return await gateway.verify.watch_time(gateway.entry)


def listen(gateway: Gateway, *evidence: Evidence) -> list[dt.datetime]:
    """Questions are answered with this; when each was asked."""
    asked: list[dt.datetime] = []

    def answer(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        asked.append(gateway.clock.now())
        return list(evidence)

    gateway.bank.probes = answer
    return asked


# --- deadlines


async def test_our_own_upload_is_no_acknowledgement(database: str) -> None:
    """A bank that answers by files is silent until its file comes: past the due time its submission is in doubt."""
    async with kit.open_gateway(database, answers=FILES_ALONE) as gateway:
        await gateway.pay(2)
        assert not await pass_time(gateway, seconds=ACKNOWLEDGEMENT - 1)
        assert await gateway.buckets() == {"in_flight": 2}
        asked = listen(gateway)
        assert await pass_time(gateway, seconds=1)
        assert await gateway.buckets() == {"in_doubt": 2}
        assert await gateway.verify.probe(gateway.entry)
        assert len(asked) == 1
        await gateway.send()
        assert len(gateway.bank.sent) == 1


@pytest.mark.parametrize("word", ["acknowledgement", "one line in process", "one line credited"])
async def test_any_word_of_the_bank_itself_ends_the_wait_for_its_acknowledgement(database: str, word: str) -> None:
    """The acknowledgement moves nothing, and counts; so does what the bank says of a line."""
    async with kit.open_gateway(database, answers=FILES_ALONE) as gateway:
        await gateway.pay(2)
        words: dict[str, dict[str, Any]] = {
            "acknowledgement": {"proof": "RECEIVED", "submission": gateway.bank.sent[0].submission},
            "one line in process": {"proof": "IN_PROCESS", "reference": gateway.reference_of(1)},
            "one line credited": credited(gateway, 1),
        }
        await gateway.answer(words[word])
        assert not await pass_time(gateway, hours=23)
        assert await pass_time(gateway, hours=1)  # the result is due then
        assert (await gateway.buckets())["in_doubt"] >= 1


@pytest.mark.parametrize("lines", [1, 2])
async def test_a_bank_whose_result_file_names_some_lines_is_not_silent(database: str, lines: int) -> None:
    """One line or two of three in one file: the wait for the acknowledgement is over, the third line is in flight."""
    async with kit.open_gateway(database, answers=FILES_ALONE) as gateway:
        await gateway.pay(3)
        await gateway.answer(*(credited(gateway, line) for line in range(1, lines + 1)))
        assert not await pass_time(gateway, seconds=ACKNOWLEDGEMENT)
        assert await gateway.buckets() == {"credited": lines, "in_flight": 3 - lines}


async def test_a_bank_that_is_called_acknowledges_by_its_reply(gateway: Gateway) -> None:
    """Where the call itself is answered, "received" is the bank's word: only the result can be overdue."""
    await gateway.pay(1)
    assert not await pass_time(gateway, hours=23, minutes=59)
    assert await pass_time(gateway, minutes=1)


async def test_a_file_that_is_still_seen_where_we_put_it_gets_time_again(database: str) -> None:
    """Asked because it was silent, the bank shows our file waiting: it is asked again later, not at once."""
    async with kit.open_gateway(database, answers=FILES_ALONE) as gateway:
        await gateway.pay(1)
        asked = listen(gateway, Evidence(Proof.RECEIVED))
        assert await pass_time(gateway, seconds=ACKNOWLEDGEMENT)
        for _ in range(5):
            await gateway.verify.probe(gateway.entry)
            await gateway.verify.watch_time(gateway.entry)
        assert (len(asked), await gateway.buckets()) == (1, {"in_flight": 1})
        assert not await pass_time(gateway, seconds=ACKNOWLEDGEMENT - 1)
        assert await pass_time(gateway, seconds=1)
        await gateway.verify.probe(gateway.entry)
        assert not await pass_time(gateway, seconds=2 * ACKNOWLEDGEMENT - 1)
        assert await pass_time(gateway, seconds=1)


async def test_a_second_transmission_waits_for_its_own_acknowledgement(database: str) -> None:
    """The clock of the acknowledgement starts with each transmission anew."""
    async with kit.open_gateway(database, answers=FILES_ALONE) as gateway:
        gateway.bank.submits = kit.refuse_connection
        await gateway.pay(1)
        gateway.bank.submits = kit.received
        gateway.clock.forward(seconds=ACKNOWLEDGEMENT)
        await gateway.send()
        assert not await pass_time(gateway, seconds=ACKNOWLEDGEMENT - 1)
        assert await pass_time(gateway, seconds=1)


async def test_silence_after_doubt_does_not_outlast_the_time_to_hold(database: str) -> None:
    """Time is given again and again, but not beyond the hour at which people are called."""
    async with kit.open_gateway(database, answers=FILES_ALONE, acknowledgement_due_seconds=60_000) as gateway:
        await gateway.pay(1)
        listen(gateway, Evidence(Proof.RECEIVED))
        assert await pass_time(gateway, seconds=60_000)
        await gateway.verify.probe(gateway.entry)
        gateway.clock.forward(days=3)
        await gateway.verify.watch_time(gateway.entry)
        await gateway.verify.watch_time(gateway.entry)
        assert await state(gateway) == "HELD"


# --- what "not found" is worth


async def doubt_then_absent(gateway: Gateway, **later: int) -> None:
    """In doubt since a moment; asked ``later``, the bank says that it never had it; then everything due is sent."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    listen(gateway, Evidence(Proof.ABSENT))
    gateway.clock.forward(**later)
    await gateway.verify.probe(gateway.entry)
    listen(gateway)
    gateway.clock.forward(minutes=10)
    await gateway.send()


@pytest.mark.parametrize(("seconds", "sent"), [(1799, 1), (1800, 2)])
async def test_authoritative_absence_counts_from_the_last_second_of_settling(
    gateway: Gateway, seconds: int, sent: int
) -> None:
    """A second before the settling time the answer is worth nothing; from it on the same bytes may travel."""
    await doubt_then_absent(gateway, seconds=seconds)
    assert len(gateway.bank.sent) == sent
    assert len({rendered.sha256 for rendered in gateway.bank.sent}) == 1


async def test_the_settling_time_runs_from_the_end_of_the_call(gateway: Gateway) -> None:
    """A call that lasted an hour may have delivered its bytes in its last second: the hour does not count."""

    def slow(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        gateway.clock.forward(hours=1)
        return kit.hang_up(rendered, wire)

    gateway.bank.submits = slow
    await gateway.pay(1)
    gateway.bank.submits = kit.received
    listen(gateway, Evidence(Proof.ABSENT))
    for minutes, sent in ((29, 1), (1, 2)):
        gateway.clock.forward(minutes=minutes)
        await gateway.store.submissions.ask_now("rcc_file", [gateway.bank.sent[0].submission], gateway.clock.now())
        await gateway.verify.probe(gateway.entry)
        await sql(gateway, "UPDATE submissions SET due_at = sent_at")
        await gateway.send()
        assert len(gateway.bank.sent) == sent


async def sql(gateway: Gateway, text: str) -> None:
    async with gateway.store.engine.connection() as connection:
        await connection.execute(text)


@pytest.mark.parametrize("not_found", [NotFound.MEANINGLESS, NotFound.NO_QUERY])
@pytest.mark.parametrize("reference", ["whole", "line"])
async def test_where_not_found_proves_nothing_nothing_travels_again(
    database: str, not_found: NotFound, reference: str
) -> None:
    """Neither an answer nor a file that says "not found", of the whole or of a line, permits a second transmission."""
    async with kit.open_gateway(database, not_found=not_found) as gateway:
        await doubt_then_absent(gateway, days=1)
        said = (
            {"submission": gateway.bank.sent[0].submission}
            if reference == "whole"
            else {"reference": gateway.reference_of(1)}
        )
        await gateway.answer({"proof": "ABSENT", **said})
        for _ in range(3):
            gateway.clock.forward(hours=6)
            await gateway.send()
        assert len(gateway.bank.sent) == 1
        assert await gateway.buckets() == {"in_doubt": 2}


async def test_a_bank_without_a_query_is_never_asked_and_people_are_called_in_time(database: str) -> None:
    """No question at all; doubt is HELD before the limit, and a file or a statement ends it."""
    async with kit.open_gateway(database, not_found=NotFound.NO_QUERY) as gateway:
        gateway.bank.submits = kit.hang_up
        await gateway.pay(2)
        asked = listen(gateway, Evidence(Proof.ABSENT))
        for _ in range(6):
            gateway.clock.forward(hours=12)
            await gateway.verify.probe(gateway.entry)
            await gateway.verify.watch_time(gateway.entry)
        assert await gateway.buckets() == {"in_doubt": 2}
        assert await pass_time(gateway, hours=4)
        assert (await gateway.store.reads.count(1)).held == {"rcc_file": 2}
        assert asked == []
        await gateway.answer(credited(gateway, 1), credited(gateway, 2))
        assert await gateway.buckets() == {"credited": 2}


# --- how answers come


async def questions(gateway: Gateway, **span: int) -> int:
    asked = listen(gateway)
    gateway.clock.forward(**span)
    await gateway.verify.probe(gateway.entry)
    return len(asked)


async def test_a_polled_bank_is_asked_early_also_where_it_publishes_files(database: str) -> None:
    """POLL: a minute, five, fifteen, whatever is collected besides. Files alone: when the acknowledgement is due."""
    async with kit.open_gateway(database, answers=ASKED) as gateway:
        await gateway.pay(1)
        assert [await questions(gateway, minutes=minutes) for minutes in (1, 4, 1, 14, 1)] == [1, 0, 1, 0, 1]
        await gateway.answer(credited(gateway, 1))
        assert await gateway.buckets() == {"credited": 1}


async def test_a_bank_of_files_alone_is_asked_when_its_acknowledgement_is_due(database: str) -> None:
    """Its answers are collected: a question before they are due would only cost."""
    async with kit.open_gateway(database, answers=FILES_ALONE) as gateway:
        await gateway.pay(1)
        assert [await questions(gateway, minutes=minutes) for minutes in (1, 28, 1)] == [0, 0, 1]


@pytest.mark.parametrize(("answers", "asked"), [(ASKED, 0), (frozenset({AnswerKind.POLL}), 1)])
async def test_returns_are_asked_for_only_where_no_file_brings_them(
    database: str, answers: frozenset[AnswerKind], asked: int
) -> None:
    """A paid submission is watched daily; a bank that publishes its returns is not asked for them."""
    async with kit.open_gateway(database, answers=answers) as gateway:
        await gateway.pay(1)
        listen(gateway, Evidence(Proof.CREDITED, reference=gateway.reference_of(1), amount_fen=10_000))
        gateway.clock.forward(minutes=1)
        await gateway.verify.probe(gateway.entry)
        assert await gateway.buckets() == {"credited": 1}
        assert [await questions(gateway, days=2), await questions(gateway, days=2)] == [asked, asked]


async def test_only_a_bank_with_files_is_collected_from(database: str) -> None:
    """Without FILE nothing is fetched, whatever lies there."""
    async with kit.open_gateway(database, answers=frozenset({AnswerKind.POLL})) as gateway:
        await gateway.pay(1)
        await gateway.answer(credited(gateway, 1))
        assert await gateway.buckets() == {"in_flight": 1}


async def test_a_line_in_process_of_a_doubtful_submission_does_not_wait_for_ever(gateway: Gateway) -> None:
    """The file in doubt, one line "in process", then silence: the line is doubted, and held before the limit."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 1), {"proof": "IN_PROCESS", "reference": gateway.reference_of(2)})
    gateway.clock.forward(days=2)
    assert await gateway.verify.watch_time(gateway.entry)
    assert await gateway.buckets() == {"credited": 1, "in_doubt": 1}
    assert not await gateway.verify.watch_time(gateway.entry)
    gateway.clock.forward(days=10)
    assert await gateway.verify.watch_time(gateway.entry)
    async with gateway.store.engine.connection() as connection:
        states = await connection.fetch("SELECT state FROM attempts ORDER BY seq")
    assert [row["state"] for row in states] == ["CREDITED", "HELD"]


async def test_returns_are_watched_for_from_the_last_thing_that_a_bank_said(gateway: Gateway) -> None:
    """Whoever is paid late is returned late: the watch is set at each transmission, and news only ever moves it on."""
    await gateway.pay(2)
    until = [await _watched(gateway)]
    for days, line in ((5, 1), (0, 2)):
        gateway.clock.forward(days=days)
        await gateway.answer(credited(gateway, line))
        until.append(await _watched(gateway))
    assert [after - before for before, after in itertools.pairwise(until)] == [dt.timedelta(days=5), dt.timedelta()]


async def _watched(gateway: Gateway) -> dt.datetime:
    async with gateway.store.engine.connection() as connection:
        found = await connection.fetchval("SELECT watch_until FROM submissions")
    assert isinstance(found, dt.datetime)
    return found


async def in_process_of_a_doubtful_file(gateway: Gateway) -> None:
    """Two lines whose file is in doubt, and the bank says that it is working on the second."""
    gateway.bank.submits = kit.hang_up
    await gateway.pay(2)
    await gateway.answer({"proof": "IN_PROCESS", "reference": gateway.reference_of(2)})
    assert await gateway.buckets() == {"in_doubt": 1, "in_flight": 1}


async def test_a_line_in_process_is_doubted_at_the_second_at_which_its_result_is_due(gateway: Gateway) -> None:
    """Not a minute before: until then the bank has not been silent. And what was doubted by itself is no news."""
    await in_process_of_a_doubtful_file(gateway)
    assert not await pass_time(gateway, hours=23, minutes=59)
    assert await pass_time(gateway, minutes=1)
    assert await gateway.buckets() == {"in_doubt": 2}
    assert not await pass_time(gateway, minutes=1)


@pytest.mark.parametrize(("due", "again"), [(24, "as long"), (48, "held"), (240, "as long")])
async def test_a_line_in_process_gets_its_time_again_but_not_beyond_the_hour_to_hold(
    database: str, due: int, again: str
) -> None:
    """Doubted, and the bank has as long again; not beyond the call for people, unless they were called before."""
    async with kit.open_gateway(database, result_due_seconds=due * 3600) as gateway:
        await in_process_of_a_doubtful_file(gateway)
        assert await pass_time(gateway, hours=due)
        async with gateway.store.engine.connection() as connection:
            (row,) = await connection.fetch("SELECT silent_at, hold_at FROM submissions")
        as_long = gateway.clock.now() + dt.timedelta(hours=due)
        assert row["silent_at"] == {"as long": as_long, "held": row["hold_at"]}[again]
        assert row["silent_at"] <= as_long


async def test_a_file_in_doubt_of_which_no_line_is_in_process_is_no_news_when_its_result_is_due(
    gateway: Gateway,
) -> None:
    """It is in doubt already and being asked about; that another file has a line in process changes nothing."""
    await in_process_of_a_doubtful_file(gateway)
    await gateway.batch([kit.line(9) | {"line": 1}], "B-2")
    await gateway.fund("100.00", "B-2", "F-2")
    await gateway.judge()
    await gateway.send()
    await gateway.verify.watch_time(gateway.entry)
    assert await pass_time(gateway, hours=24)
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT batch_no FROM history WHERE event = 'SILENT_LINES'")
    assert [row["batch_no"] for row in rows] == [1]


async def test_a_line_in_process_of_a_held_file_is_held_when_its_own_time_is_over(database: str) -> None:
    """People were called about the file before the result of that line was due: they are called about it, too."""
    async with kit.open_gateway(database, result_due_seconds=10 * 86_400) as gateway:
        await in_process_of_a_doubtful_file(gateway)
        assert await pass_time(gateway, days=5)
        assert (await gateway.store.reads.count(1)).held == {"rcc_file": 1}
        assert await gateway.buckets() == {"in_doubt": 1, "in_flight": 1}
        assert await pass_time(gateway, days=5)
        assert (await gateway.store.reads.count(1)).held == {"rcc_file": 2}


async def test_a_file_that_turns_out_to_be_at_the_bank_is_asked_about_at_once(gateway: Gateway) -> None:
    """Thought unsent, and the bank's result credits one of its lines: of the others nobody knows, and nobody waits."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(2)
    async with gateway.store.engine.connection() as connection:
        reference = await connection.fetchval("SELECT reference FROM attempts ORDER BY seq")
    await gateway.answer({"proof": "CREDITED", "reference": reference, "amount_fen": 10_000})
    assert await gateway.buckets() == {"credited": 1, "in_doubt": 1}
    assert await questions(gateway, seconds=0) == 1


async def test_a_file_thought_unsent_whose_lines_are_all_credited_is_watched_for_returns(database: str) -> None:
    """It closes at one stroke, without ever having been asked about: what comes back has to be heard of."""
    async with kit.open_gateway(database, answers=frozenset({AnswerKind.POLL})) as gateway:
        gateway.bank.submits = kit.refuse_connection
        await gateway.pay(1)
        async with gateway.store.engine.connection() as connection:
            reference = await connection.fetchval("SELECT reference FROM attempts")
        now = gateway.clock.now()
        credit = Evidence(Proof.CREDITED, reference=reference, amount_fen=10_000)
        await gateway.store.evidence.record(Heard(gateway.bank.name, now, now), [credit])  # it called back
        assert await gateway.buckets() == {"credited": 1}
        assert await questions(gateway, seconds=0) == 1


async def test_what_is_credited_at_once_is_watched_for_returns_also_after_a_crash(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credited in the answer to the transmission, and the process dies before it plans a question: it is asked."""

    def credit(rendered: Rendered, wire: kit.ToyWire) -> list[Evidence]:
        wire.crossed = True
        return [Evidence(Proof.CREDITED, reference=name, amount_fen=10_000) for name in rendered.references]

    async def die(self: Submissions, *_: Any) -> None:
        raise RuntimeError("killed")

    async with kit.open_gateway(database, answers=frozenset({AnswerKind.POLL})) as gateway:
        gateway.bank.submits = credit
        with monkeypatch.context() as patched:
            patched.setattr(Submissions, "schedule_first", die)
            with pytest.raises(RuntimeError, match="killed"):
                await gateway.pay(1)
        await kit.expire(gateway)
        assert await gateway.buckets() == {"credited": 1}
        assert await questions(gateway, days=1) == 1
