"""``xml_tcp`` asking: what the bank's word about a batch and its lines proves, and what it does not."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.contract import Artefact, Evidence, Proof, Reason, Unreadable
from adapters.wire.tcp import AnswerLost, AnswerUnusable, NotReached
from tests.adapters.xml_tcp_kit import (
    AT,
    BATCH,
    DATA,
    REFS,
    SUBMISSION,
    Reply,
    Seen,
    World,
    adapter,
    item,
    line,
    listing,
    rendered,
    world,
    xml,
)

GOOD = item(1) + item(2) + item(3)


@pytest.fixture
async def met(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as met:
        met.bank.says("DF1003", Reply("2000"))
        yield met


async def probed(met: World) -> list[Evidence]:
    async with met.transport.wire() as wire:
        evidence = await met.adapter.probe(rendered(met.adapter), wire)
        assert not wire.crossed
    assert "DF1001" not in met.bank.trades
    digests = {artefact.sha256 for artefact in wire.artefacts}
    assert {one.artefact for one in evidence} <= digests
    assert {one.submission for one in evidence} == {BATCH}
    return evidence


async def judged(met: World, text: str) -> Evidence:
    """What one item proves, the other two being credited."""
    met.bank.says("DF1002", listing(text, item(2), item(3)))
    whole, *lines = await probed(met)
    return next((one for one in lines if one.reference == REFS[0]), whole)


async def test_sample_is_read_as_the_manual_says(met: World) -> None:
    """The bank's mixed sample: one line paid, one unknown, one rejected because the account is closed."""
    sample = (DATA / "DF1002_reply_mixed.bin").read_bytes()[8:]
    met.bank.says(
        "DF1002", lambda seen: Reply(raw=sample.replace(b">2026112400000018<", f">{seen['REQSEQ']}<".encode()))
    )
    whole, *lines = await probed(met)
    assert (whole.proof, whole.code) == (Proof.RECEIVED, "0000")
    told = [(one.reference, one.proof, one.reason, one.code, one.amount_fen) for one in lines]
    assert told == [
        (REFS[0], Proof.CREDITED, None, "0000", 150_000),
        (REFS[1], Proof.IN_DOUBT, Reason.UNKNOWN, "9999", 150_000),
        (REFS[2], Proof.REJECTED, Reason.ACCOUNT_CLOSED, "3018", 150_000),
    ]
    assert (lines[0].host_reference, lines[0].post_date) == ("H1", dt.date(2026, 11, 24))


async def test_not_found_is_absent(met: World) -> None:
    """1002 for the batch is the bank's word that it never had it; the core waits for the settling time."""
    met.bank.says("DF1002", Reply("1002"))
    (evidence,) = await probed(met)
    assert (evidence.proof, evidence.reference, evidence.code) == (Proof.ABSENT, None, "1002")


@pytest.mark.parametrize(
    ("code", "proof", "reason"),
    [
        ("3004", Proof.REJECTED, Reason.ACCOUNT_NOT_FOUND),
        ("3030", Proof.REJECTED, Reason.ACCOUNT_NOT_FOUND),
        ("3031", Proof.REJECTED, Reason.NAME_MISMATCH),
        ("3063", Proof.REJECTED, Reason.ID_MISMATCH),
        ("3039", Proof.REJECTED, Reason.ACCOUNT_CLOSED),
        ("3017", Proof.REJECTED, Reason.ACCOUNT_FROZEN),
        ("3057", Proof.REJECTED, Reason.ACCOUNT_DORMANT),
        ("3010", Proof.REJECTED, Reason.CARD_LOST_OR_EXPIRED),
        ("3037", Proof.REJECTED, Reason.SSCARD_NOT_ACTIVATED),
        ("3055", Proof.REJECTED, Reason.ACCOUNT_CLASS_LIMIT),
        ("3097", Proof.REJECTED, Reason.ACCOUNT_TYPE),
        ("3099", Proof.REJECTED, Reason.BANK_CODE_INVALID),
        ("3040", Proof.REJECTED, Reason.AMOUNT),
        ("3051", Proof.IN_DOUBT, Reason.DUPLICATE),
        ("3008", Proof.NOT_TAKEN, Reason.FUNDS_SHORT),
        ("1000", Proof.NOT_TAKEN, Reason.FORMAT),
        ("1001", Proof.NOT_TAKEN, Reason.FORMAT),
        ("3058", Proof.NOT_TAKEN, Reason.SIGNATURE),
        ("1002", Proof.ABSENT, Reason.NOT_EXECUTED),
        # What contradicts "failed", or is in no table, is doubt.
        ("0000", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("3056", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("3999", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("9999", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("CICS", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("3018 ", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("３０１８", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("4711", Proof.IN_DOUBT, Reason.UNKNOWN),
    ],
)
async def test_what_a_failed_line_proves(met: World, code: str, proof: Proof, reason: Reason) -> None:
    """Status 3 proves what the table of reasons says of the code, and nothing where the table is silent."""
    evidence = await judged(met, item(1, "3", code))
    assert (evidence.reference, evidence.proof, evidence.reason) == (REFS[0], proof, reason)


@pytest.mark.parametrize("code", ["2000", "2007", "3028"])
async def test_a_busy_line_is_in_process(met: World, code: str) -> None:
    """A line that fails only because the bank is busy has not failed: the batch is in process."""
    evidence = await judged(met, item(1, "3", code))
    assert (evidence.proof, evidence.reference) == (Proof.IN_PROCESS, None)


@pytest.mark.parametrize("code", ["2000", "2007"])
@pytest.mark.parametrize(("status", "proof"), [("0", Proof.RECEIVED), ("1", Proof.IN_PROCESS)])
async def test_waiting_lines_are_one_word_about_the_whole(met: World, status: str, proof: Proof, code: str) -> None:
    """Lines that only wait are told once, for the whole, and nobody is paid by that."""
    evidence = await judged(met, item(1, status, code))
    assert (evidence.proof, evidence.reference) == (proof, None)


@pytest.mark.parametrize(
    "text",
    [
        item(1, "2", POSTDATE=""),
        item(1, "2", HOSTREF=""),
        item(1, "2", POSTDATE="20261341"),
        item(1, "2", POSTDATE="２０２６１１２４"),
        item(1, "2", HOSTREF="H 1"),
        item(1, "2", "3018"),
        item(1, "2", ""),
        item(1, "2", "2000"),
        item(1, "0", "0000"),
        item(1, "0", "3018"),
        item(1, "0", ""),
        item(1, "1", "0000"),
        item(1, "1", "3018"),
        item(1, "9", "0000"),
        item(1, "9", "3018"),
        item(1, "9", "1002"),
        item(1, "9", "CICS"),
        item(1, "9", ""),
        item(1, "", "0000"),
        item(1, "4", "0000"),
        item(1, "22", "0000"),
    ],
)
async def test_status_and_code_that_disagree_are_doubt(met: World, text: str) -> None:
    """A credit without a booking, a waiting line that failed, a status of no manual: nobody can say, so nobody does."""
    evidence = await judged(met, text)
    assert (evidence.reference, evidence.proof, evidence.reason) == (REFS[0], Proof.IN_DOUBT, Reason.UNKNOWN)
    assert (evidence.host_reference, evidence.post_date) == (None, None)


@pytest.mark.parametrize(("amount", "fen"), [("1500.01", 150_001), ("1499.00", 149_900), ("0.00", 0)])
async def test_amounts_are_passed_on_as_the_bank_says_them(met: World, amount: str, fen: int) -> None:
    """A fee taken or a fen too much is for the core to judge: the adapter hands it on unchanged."""
    evidence = await judged(met, item(1, AMT=amount))
    assert (evidence.proof, evidence.amount_fen) == (Proof.CREDITED, fen)


@pytest.mark.parametrize(
    "text",
    [
        item(1, AMT="1500"),
        item(1, AMT="1,500.00"),
        item(1, AMT="-1500.00"),
        item(1, AMT="１５００.００"),
        item(1, AMT=""),
        item(1, REF=""),
        item(1, REF="ref"),
    ],
)
async def test_one_bad_item_spoils_the_list(met: World, text: str) -> None:
    """Nothing is believed of a list that cannot be read in one place; the lines are asked about one by one instead."""
    met.bank.says("DF1002", listing(item(2), text, item(3)))
    met.bank.says("DF1003", lambda seen: listing(item(int(seen["REF"][-2:]))))
    whole, *lines = await probed(met)
    assert (whole.proof, whole.code) == (Proof.IN_DOUBT, "UNREADABLE")
    assert [one.proof for one in lines] == [Proof.CREDITED] * 3


@pytest.mark.parametrize(
    "text",
    [
        item(1, MSG="</MSG><MSG>"),
        item(1, MSG="<A>b</A>"),
        "<THING/>",
        "text",
        item(1).replace("<ITEM>", '<ITEM A="1">'),
        item(1).replace("</ITEM>", "text</ITEM>"),
        item(1) + "<![CDATA[ ]]>",
        item(1) + "<?x y?>",
        item(1, MSG="&undefined;"),
        item(1, MSG="&#0;"),
        "<LIST/>",
        "</LIST><LIST>",
        "</LIST><MAC>" + "0" * 64 + "</MAC><LIST>",
        "<A>" * 400 + "</A>" * 400,
    ],
)
async def test_another_shape_is_no_document_of_this_bank(met: World, text: str) -> None:
    """Fields twice, fields in fields, attributes, stray text or markup: no answer, though the MAC is right."""
    met.bank.says("DF1002", listing(item(2), text, item(3)))
    with pytest.raises(AnswerUnusable, match="UNREADABLE"):
        await probed(met)


@pytest.mark.parametrize(
    ("single", "proof"),
    [
        (listing(item(3)), Proof.CREDITED),
        (listing(item(3, "3", "3018")), Proof.REJECTED),
        (listing(item(3, "3", "1002")), Proof.ABSENT),
        (Reply("1002"), Proof.ABSENT),
    ],
)
async def test_a_line_left_out_is_asked_about(met: World, single: Reply, proof: Proof) -> None:
    """A line that the list leaves out is asked about alone, and the answer counts as if it had stood in the list."""
    met.bank.says("DF1002", listing(item(1), item(2)))
    met.bank.says("DF1003", single)
    whole, *lines = await probed(met)
    assert whole.proof is Proof.RECEIVED
    assert (lines[-1].reference, lines[-1].proof) == (REFS[2], proof)
    question = met.bank.seen[-1]
    assert (question["BATCHNO"], question["REF"]) == (BATCH, REFS[2])


@pytest.mark.parametrize(
    "single",
    [
        Reply("2000"),
        Reply("9999"),
        Reply(""),
        Reply("0000"),
        listing(),
        listing(item(2)),
        listing(item(3), item(3)),
        listing(item(3), batch="DF1"),
        Reply(hang_up=True),
        Reply("1002", mac="0" * 64),
    ],
)
async def test_a_line_nobody_answers_for_stays_in_doubt(met: World, single: Reply) -> None:
    """No answer, or one about something else, about a line left out: the batch is in doubt, no line is closed by it."""
    met.bank.says("DF1002", listing(item(1), item(2)))
    met.bank.says("DF1003", single)
    whole, *lines = await probed(met)
    assert (whole.proof, whole.code) == (Proof.IN_DOUBT, "LINES_DIFFER")
    assert [one.reference for one in lines] == list(REFS[:2])


@pytest.mark.parametrize(
    "items",
    [
        (item(1), item(2), item(4)),  # ours under another name?
        (item(1), item(2), item(2)),
        (item(1), item(2), item(3), item(4)),
    ],
)
async def test_a_stranger_in_the_list_makes_absence_worthless(met: World, items: tuple[str, ...]) -> None:
    """Where the list names a stranger or a line twice, "not found" of another line closes nothing."""
    met.bank.says("DF1002", listing(*items))
    met.bank.says("DF1003", Reply("1002"))
    whole, *lines = await probed(met)
    assert (whole.proof, whole.code) == (Proof.IN_DOUBT, "LINES_DIFFER")
    assert Proof.ABSENT not in {one.proof for one in lines}
    assert sum(one.proof is Proof.CREDITED for one in lines) == len(items)


async def test_a_line_told_twice_is_never_closed_unpaid(met: World) -> None:
    """Paid and rejected in one list: the credit stays a credit, the rejection becomes doubt."""
    met.bank.says("DF1002", listing(item(1), item(2), item(3), item(1, "3", "3018")))
    _, *lines = await probed(met)
    told = {(one.reference, one.proof, one.code) for one in lines if one.reference == REFS[0]}
    assert told == {(REFS[0], Proof.CREDITED, "0000"), (REFS[0], Proof.IN_DOUBT, "CONTRADICTION")}


async def test_two_bookings_of_one_line_are_both_told(met: World) -> None:
    """If the bank says that it paid twice, the core hears both bookings."""
    met.bank.says("DF1002", listing(GOOD, item(1, HOSTREF="H9")))
    _, *lines = await probed(met)
    assert [one.host_reference for one in lines if one.reference == REFS[0]] == ["H1", "H9"]


@pytest.mark.parametrize("code", ["9999", "CICS", "", "1000", "4711"])
async def test_an_unknown_code_asks_the_lines_and_closes_none(met: World, code: str) -> None:
    """A code that says nothing of the batch is doubt; single lines may still be paid, but none is absent by it."""
    met.bank.says("DF1002", Reply(code))

    def single(seen: Seen) -> Reply:
        return listing(item(1)) if seen["REF"] == REFS[0] else Reply("1002")

    met.bank.says("DF1003", single)
    whole, *lines = await probed(met)
    assert (whole.proof, whole.code) == (Proof.IN_DOUBT, code)
    assert [(one.reference, one.proof) for one in lines] == [(REFS[0], Proof.CREDITED)]


@pytest.mark.parametrize("code", ["2000", "2007", "3028"])
async def test_a_busy_bank_is_not_asked_any_further(met: World, code: str) -> None:
    """Busy is no answer about the batch, and no reason to put more questions."""
    met.bank.says("DF1002", Reply(code))
    (evidence,) = await probed(met)
    assert (evidence.proof, evidence.reason) == (Proof.IN_DOUBT, Reason.BANK_BUSY)
    assert met.bank.trades == ["DF1002"]


async def test_single_questions_are_bounded_and_reach_every_line(tmp_path: Path) -> None:
    """A list that leaves out everything costs a bounded number of questions a time, and no line is left for ever."""
    async with world(tmp_path, lines_asked_singly=5) as met:
        met.bank.says("DF1002", listing())
        met.bank.says("DF1003", Reply("2000"))
        many = met.adapter.render(SUBMISSION, [line(n) for n in range(1, 21)], AT)
        for _ in range(40):
            async with met.transport.wire() as wire:
                await met.adapter.probe(many, wire)
        asked = [seen["REF"] for seen in met.bank.seen if seen["TRCODE"] == "DF1003"]
        assert len(asked) == 200
        assert set(asked) == set(many.references)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(hang_up=True),
        Reply(cut=200),
        Reply("1002", mac="0" * 64),
        Reply("1002", mac=""),
        Reply("1002", number="90000000000000000000"),
        Reply("1002", trade="DF1003"),
        Reply(unframed=b"SYSTEM ERROR"),
        Reply(raw=b"<html/>"),
    ],
)
async def test_no_answer_is_raised(met: World, reply: Reply) -> None:
    """What answers nothing teaches nothing: the fault goes through, with none of the bank's bytes in it."""
    met.bank.says("DF1002", reply)
    with pytest.raises((AnswerLost, AnswerUnusable)) as caught:
        await probed(met)
    assert caught.value.args[0].isupper()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_questions_share_a_connection_and_no_number(met: World) -> None:
    """Questions travel over one kept connection, each with a number never used before, longer than a submission's."""
    met.bank.says("DF1002", listing(GOOD))
    for _ in range(20):
        await probed(met)
    assert met.bank.connections == 1
    numbers = [seen["REQSEQ"] for seen in met.bank.seen]
    assert len(set(numbers)) == 20
    assert {len(number) for number in numbers} == {20}


async def test_a_closed_connection_is_replaced_with_a_new_question(met: World) -> None:
    """When the bank closes the connection after an answer, the next question goes over a new one and is answered."""
    met.bank.says("DF1002", dataclasses.replace(listing(GOOD), close_after=True))
    for _ in range(3):
        assert (await probed(met))[0].proof is Proof.RECEIVED
    assert met.bank.connections == 3


async def test_a_connection_closed_under_a_question_is_no_silence(met: World) -> None:
    """A kept connection that ends as the question arrives: it is put once more, with another number, and no more."""
    met.bank.says("DF1002", listing(GOOD), Reply(hang_up=True), listing(GOOD), Reply(hang_up=True))
    await probed(met)
    assert (await probed(met))[0].proof is Proof.RECEIVED
    assert len({seen["REQSEQ"] for seen in met.bank.seen}) == 3
    with pytest.raises(AnswerLost):
        await probed(met)
    assert len(met.bank.seen) == 5


async def test_an_answer_given_twice_answers_once(met: World) -> None:
    """A second copy of an answer is not taken for the answer to the next question."""
    met.bank.says("DF1002", dataclasses.replace(listing(GOOD), twice=True), Reply("1002"))
    assert (await probed(met))[0].proof is Proof.RECEIVED
    assert (await probed(met))[0].proof is Proof.ABSENT


async def test_texts_show_no_numbers(met: World) -> None:
    """The bank's words are kept without account numbers, control characters and excess."""
    evidence = await judged(met, item(1, "3", "3031", MSG="户名不符 6299990000000000012 \u3000" + "长" * 200))
    assert "6299990" not in evidence.text
    assert evidence.text.startswith("户名不符 *")
    assert len(evidence.text) <= 120


def test_a_kept_reply_is_read_again(tmp_path: Path) -> None:
    """A stored DF1002 reply still proves its lines, with its MAC checked; anything else yields nothing."""
    bank = adapter(tmp_path)
    sample = (DATA / "DF1002_reply_mixed.bin").read_bytes()[8:]
    kept = Artefact.of("x", sample)
    assert [one.proof for one in bank.parse(kept)] == [Proof.CREDITED, Proof.IN_DOUBT, Proof.REJECTED]
    assert {one.artefact for one in bank.parse(kept)} == {kept.sha256}
    assert bank.statement(kept) is None
    other = (DATA / "DF1001_reply.bin").read_bytes()[8:]
    for content in (other, sample.replace(b"1500.00", b"1500.01"), b"", b"<?xml", sample[:-1], xml(A="b").encode()):
        with pytest.raises(Unreadable):
            list(bank.parse(Artefact.of("x", content)))


def test_a_reply_cut_or_changed_anywhere_yields_nothing(tmp_path: Path) -> None:
    """A reply cut at any byte, or with any byte of its BODY changed, is not read at all."""
    bank = adapter(tmp_path)
    sample = (DATA / "DF1002_reply_mixed.bin").read_bytes()[8:]
    body = range(sample.index(b"<BODY"), sample.index(b"</BANK>"))
    spoilt = [sample[:end] for end in range(len(sample))]
    spoilt += [sample[:at] + bytes([sample[at] ^ 1]) + sample[at + 1 :] for at in body]
    for content in spoilt:
        with pytest.raises(Unreadable) as caught:
            list(bank.parse(Artefact.of("x", content)))
        assert caught.value.__context__ is None


async def test_nobody_listening_is_raised(met: World) -> None:
    """A bank that cannot be reached was not asked."""
    await met.transport.close()
    with pytest.raises(NotReached):
        await probed(met)
