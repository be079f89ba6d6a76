"""``xml_tcp`` sending: once, a question before every further time, and no answer believed that is none."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.contract import Evidence, Proof, Reason
from adapters.wire.tcp import AnswerLost, AnswerUnusable, NotReached
from tests.adapters.pki_kit import Authority
from tests.adapters.xml_tcp_kit import (
    BATCH,
    DATA,
    KEY,
    REFS,
    Reply,
    World,
    adapter,
    framed,
    item,
    listing,
    mac,
    rendered,
    settings,
    world,
)

CANARY = "629999CANARY"


@pytest.fixture
async def met(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as met:
        yield met


async def answered(met: World, reply: Reply) -> Evidence:
    met.bank.says("DF1001", reply)
    async with met.transport.wire() as wire:
        (evidence,) = await met.adapter.submit(rendered(met.adapter), wire)
        assert wire.crossed
        if wire.artefacts:
            assert evidence.artefact == wire.artefacts[-1].sha256
    assert (evidence.submission, evidence.reference) == (BATCH, None)
    assert met.bank.trades == ["DF1001"]  # once, whatever it said
    return evidence


async def again(met: World, transmission: int = 2) -> list[Evidence]:
    async with met.transport.wire() as wire:
        evidence = await met.adapter.submit(dataclasses.replace(rendered(met.adapter), transmission=transmission), wire)
        assert wire.crossed == ("DF1001" in met.bank.trades)
    return evidence


async def test_the_very_bytes_travel(met: World) -> None:
    """The persisted bytes travel in one frame, and 0000 means that the bank has them, not that anybody is paid."""
    evidence = await answered(met, Reply("0000", text="受理成功"))
    assert (evidence.proof, evidence.code, evidence.text) == (Proof.RECEIVED, "0000", "受理成功")
    (seen,) = met.bank.seen
    assert seen.payload == rendered(met.adapter).payload
    assert f"<MAC>{mac(seen.body)}</MAC>".encode() in seen.payload


async def test_sample_reply_is_understood(tmp_path: Path, met: World) -> None:
    """The bank's sample reply, with our number in it, is what the manual says: received."""
    sample = (DATA / "DF1001_reply.bin").read_bytes()[8:]
    ours = sample.replace(b"<REQSEQ>2026112400000017<", b"<REQSEQ>202611240002<")
    assert (await answered(met, Reply(raw=ours))).proof is Proof.RECEIVED


@pytest.mark.parametrize(
    ("code", "proof", "reason"),
    [
        ("0000", Proof.RECEIVED, None),
        ("1000", Proof.NOT_TAKEN, Reason.FORMAT),
        ("1001", Proof.NOT_TAKEN, Reason.FORMAT),
        ("3058", Proof.NOT_TAKEN, Reason.SIGNATURE),
        ("3008", Proof.NOT_TAKEN, Reason.FUNDS_SHORT),
        ("3051", Proof.IN_DOUBT, None),
        ("2000", Proof.IN_DOUBT, Reason.BANK_BUSY),
        ("2007", Proof.IN_DOUBT, Reason.BANK_BUSY),
        # Not in the manual's list for a submission: nobody knows what the bank did.
        ("1002", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("3018", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("9999", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("CICS", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("7777", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("000０", Proof.IN_DOUBT, Reason.UNKNOWN),
    ],
)
async def test_what_a_package_code_proves(met: World, code: str, proof: Proof, reason: Reason | None) -> None:
    """Each code of the manual proves what it says, and any other is doubt."""
    evidence = await answered(met, Reply(code))
    assert (evidence.proof, evidence.reason) == (proof, reason)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply("1000", number="202611240003"), "WRONG_NUMBER"),
        (Reply("1000", trade="DF1002"), "WRONG_TRADE"),
        (Reply("1000", mac=""), "UNREADABLE"),
        (Reply("1000", mac="0" * 64), "UNREADABLE"),
        (Reply("1000", mac=mac(b"<BODY/>").upper()), "UNREADABLE"),
        (Reply("1000", key=KEY[:-1]), "UNREADABLE"),
        (Reply("1000", encoding="utf-8"), "UNREADABLE"),
        (Reply("1000", encoding="gb18030"), "UNREADABLE"),
        (Reply("1000", encoding="utf-8", declared="GBK", text="䶮㛃"), "UNREADABLE"),
        (Reply("1000", body="<BODY><A/>"), "UNREADABLE"),
        (Reply("1000", body="<BODY/><BODY/>"), "UNREADABLE"),
        (Reply("1000", body="<BODY><!-- x --></BODY>"), "UNREADABLE"),
        (Reply("1000", text="&e;"), "UNREADABLE"),
        (Reply("1000", text=f"<A>{CANARY}</A>"), "UNREADABLE"),
        (Reply("1000</RETCODE><RETCODE>0000"), "UNREADABLE"),
        (Reply(raw=b"ERROR: " + CANARY.encode()), "UNREADABLE"),
        (Reply(raw=b"x"), "UNREADABLE"),
        (Reply(unframed=b"ERROR: " + CANARY.encode()), "BAD_HEADER"),
        (Reply(unframed=b"00000000"), "BAD_HEADER"),
        (Reply(unframed=b"99999999" + CANARY.encode()), "OVERSIZE"),
    ],
)
async def test_what_is_no_answer_is_doubt(met: World, reply: Reply, code: str) -> None:
    """A refusal under another number, with a wrong or no MAC, in another form or encoding, refuses nothing."""
    evidence = await answered(met, reply)
    assert (evidence.proof, evidence.reason, evidence.code) == (Proof.IN_DOUBT, Reason.UNKNOWN, code)
    assert CANARY not in repr(evidence)


DOCTYPES = (
    '<!DOCTYPE BANK [<!ENTITY a "ha">]>',
    '<!DOCTYPE BANK SYSTEM "file:///etc/hostname">',
    '<!doctype BANK [<!ENTITY a "&b;&b;"><!ENTITY b "&c;&c;"><!ENTITY c "x">]>',
)


@pytest.mark.parametrize("doctype", DOCTYPES)
async def test_a_dtd_is_never_read(met: World, doctype: str) -> None:
    """A document with a DTD is refused before any parser sees it, though number, code and MAC are right."""
    good = Reply("1000").payload
    met.bank.says("DF1001", lambda seen: Reply(raw=good(seen).replace(b"<BANK>", doctype.encode() + b"<BANK>")))
    async with met.transport.wire() as wire:
        (evidence,) = await met.adapter.submit(rendered(met.adapter), wire)
    assert (evidence.proof, evidence.code) == (Proof.IN_DOUBT, "UNREADABLE")


@pytest.mark.parametrize("reply", [Reply(hang_up=True), Reply(cut=5), Reply(cut=100), Reply(stall=True)])
async def test_lost_answer_is_raised_as_crossed(tmp_path: Path, reply: Reply) -> None:
    """No answer, half an answer or silence: the fault goes through, the wire has crossed, nothing is sent again."""
    async with world(tmp_path, tcp={"silence_timeout_milliseconds": 200}) as met:
        met.bank.says("DF1001", reply)
        async with met.transport.wire() as wire:
            with pytest.raises(AnswerLost) as caught:
                await met.adapter.submit(rendered(met.adapter), wire)
            assert wire.crossed
        assert met.bank.trades == ["DF1001"]
        assert "ACC" not in "".join(traceback.format_exception(caught.value))


async def test_nobody_listening_is_not_crossed(tmp_path: Path) -> None:
    """A port that refuses: nothing left this machine, and the wire says so."""
    async with world(tmp_path) as met:
        pass  # the server is gone, the transport is not yet
    closed = type(met.transport)(met.transport.settings)
    async with closed.wire() as wire:
        with pytest.raises(NotReached):
            await met.adapter.submit(rendered(met.adapter), wire)
        assert not wire.crossed


async def test_changed_bytes_are_not_sent(met: World) -> None:
    """Bytes that are not those of the rendering stay here."""
    met.bank.says("DF1001", Reply())
    sent = rendered(met.adapter)
    async with met.transport.wire() as wire:
        with pytest.raises(ValueError, match="not those that were rendered"):
            await met.adapter.submit(dataclasses.replace(sent, payload=sent.payload + b" "), wire)
        assert not wire.crossed
    assert met.bank.seen == []


async def test_resend_needs_not_found(met: World) -> None:
    """A second transmission is preceded by a question; after 1002 the same bytes travel, marked as a resend."""
    met.bank.says("DF1002", Reply("1002"))
    met.bank.says("DF1001", Reply())
    (evidence,) = await again(met)
    assert evidence.proof is Proof.RECEIVED
    assert met.bank.trades == ["DF1002", "DF1001"]
    question, sent = met.bank.seen
    assert question["BATCHNO"] == BATCH
    assert question.connection != sent.connection  # what may pay has a connection of its own
    first = rendered(met.adapter).payload
    assert sent.payload == first.replace(b"<RESEND>N</RESEND>", b"<RESEND>Y</RESEND>")
    assert sent["REQSEQ"] == "202611240002" != question["REQSEQ"]


@pytest.mark.parametrize("transmission", [0, 2, 3, 17])
@pytest.mark.parametrize(
    ("reply", "proof", "code"),
    [
        (listing(item(1), item(2), item(3)), Proof.RECEIVED, "0000"),
        (listing(item(1), item(2, "1"), item(3)), Proof.IN_PROCESS, "0000"),
        (listing(item(1)), Proof.IN_DOUBT, "LINES_DIFFER"),
        (listing(item(1), batch="DF202611240003"), Proof.IN_DOUBT, "UNREADABLE"),
        (Reply("0000"), Proof.IN_DOUBT, "UNREADABLE"),
        (Reply("2007"), Proof.IN_DOUBT, "2007"),
        (Reply("1000"), Proof.IN_DOUBT, "1000"),
        (Reply("3058"), Proof.IN_DOUBT, "3058"),
        (Reply("9999"), Proof.IN_DOUBT, "9999"),
        (Reply(""), Proof.IN_DOUBT, ""),
        (Reply("100２"), Proof.IN_DOUBT, "MALFORMED"),
    ],
)
async def test_any_other_answer_forbids_the_resend(
    met: World, reply: Reply, proof: Proof, code: str, transmission: int
) -> None:
    """Whatever the bank says but "not found" is handed on as evidence, and nothing is sent."""
    met.bank.says("DF1002", reply)
    evidence = await again(met, transmission)
    assert (evidence[0].proof, evidence[0].code, evidence[0].reference) == (proof, code, None)
    assert met.bank.trades == ["DF1002"]


async def test_the_question_before_a_resend_also_tells_the_lines(met: World) -> None:
    """When the bank turns out to have paid, its word about each line is not thrown away."""
    met.bank.says("DF1002", listing(item(1), item(2, "3", "3018"), item(3, "9")))
    _, *lines = await again(met)
    assert [(one.reference, one.proof) for one in lines] == [
        (REFS[0], Proof.CREDITED),
        (REFS[1], Proof.REJECTED),
        (REFS[2], Proof.IN_DOUBT),
    ]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(hang_up=True),
        Reply(cut=100),
        Reply(stall=True),
        Reply("1002", mac="0" * 64),
        Reply("1002", mac=""),
        Reply("1002", number="1"),
        Reply("1002", trade="DF1001"),
        Reply(unframed=b"1002 NOT FOUND"),
    ],
)
async def test_unanswered_question_leaves_nothing_sent(tmp_path: Path, reply: Reply) -> None:
    """Without an answer to the question nothing is sent, the fault goes through, and the wire has not crossed."""
    async with world(tmp_path, tcp={"silence_timeout_milliseconds": 200}) as met:
        met.bank.says("DF1002", reply)
        async with met.transport.wire() as wire:
            with pytest.raises((AnswerLost, AnswerUnusable)):
                await met.adapter.submit(dataclasses.replace(rendered(met.adapter), transmission=2), wire)
            assert not wire.crossed
        assert met.bank.trades == ["DF1002"]


@pytest.mark.parametrize("framing", ["digits8", "spaces8", "flag1_6"])
@pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
async def test_every_framing_and_encoding_pays_and_asks(tmp_path: Path, framing: str, encoding: str) -> None:
    """Framing and encoding are configuration: the same conversation works in each."""
    async with world(tmp_path, tcp={"framing": framing}, encoding=encoding) as met:
        met.bank.says("DF1001", Reply(encoding=encoding))
        met.bank.says("DF1002", Reply("1002", encoding=encoding))
        met.bank.says("DF9999", Reply(encoding=encoding))
        assert [one.proof for one in await again(met)] == [Proof.RECEIVED]
        async with met.transport.wire() as wire:
            await met.adapter.ping(wire)
            assert not wire.crossed
        assert met.bank.seen[1].payload.startswith(f'<?xml version="1.0" encoding="{encoding.upper()}"?>'.encode())
        assert met.bank.trades == ["DF1002", "DF1001", "DF9999"]


async def test_mutual_tls_below_the_frames(tmp_path: Path) -> None:
    """With TLS files both sides prove who they are; a bank with a stranger's certificate is sent nothing."""
    authority, stranger = Authority(tmp_path, "bank-ca"), Authority(tmp_path, "stranger-ca")
    authority.issue("gateway", client=True)
    files = {
        "ca_file": "bank-ca.pem",
        "certificate_file": "bank-ca-gateway.pem",
        "private_key_file": "bank-ca-gateway.key",
    }
    good = authority.server_context(authority.issue("localhost"))
    async with world(tmp_path, tls=good, tcp={"tls": files}) as met:
        met.bank.says("DF1001", Reply())
        assert (await answered(met, Reply())).proof is Proof.RECEIVED
    bad = stranger.server_context(stranger.issue("localhost"))
    async with world(tmp_path, tls=bad, tcp={"tls": files}) as met, met.transport.wire() as wire:
        with pytest.raises(NotReached, match="CERTIFICATE"):
            await met.adapter.submit(rendered(met.adapter), wire)
        assert not wire.crossed
        assert met.bank.seen == []


async def test_ping_believes_only_0000(met: World) -> None:
    """A heartbeat that says anything else is a fault."""
    met.bank.says("DF9999", Reply("9999"))
    async with met.transport.wire() as wire:
        with pytest.raises(AnswerUnusable, match="CODE_9999"):
            await met.adapter.ping(wire)


async def test_what_is_declared(tmp_path: Path) -> None:
    """The capabilities claim what the manual promises and no more; limits and intervals are the agreement's."""
    can = adapter(tmp_path).capabilities()
    assert (can.max_lines, can.reference_length, can.encoding) == (500, 26, "gbk")
    claimed = (can.idempotent_by_reference, can.can_cancel, can.callback_is_proof, can.refuses_whole_file)
    assert not any(claimed)
    assert can.answers_carry_amounts
    agreed = settings(tmp_path).model_fields_set - {"probe_interval_milliseconds"}
    plain = {name: value for name, value in settings(tmp_path) if name in agreed}
    defaults = type(settings(tmp_path))(**plain)
    assert (defaults.submit_interval_milliseconds, defaults.probe_interval_milliseconds) == (1_000, 2_000)
    with pytest.raises(NotImplementedError):
        await adapter(tmp_path).cancel(rendered(adapter(tmp_path)), None)  # type: ignore[arg-type]


def test_frame_of_the_kit_is_the_samples() -> None:
    """The counterpart frames and seals as the bank's samples do, so that it may stand for the bank."""
    for name in ("DF1001_request", "DF1001_reply", "DF1002_reply_mixed"):
        sample = (DATA / f"{name}.bin").read_bytes()
        assert framed(sample[8:]) == sample
        body = sample[sample.index(b"<BODY") : sample.index(b"</BANK>")]
        assert f"<MAC>{mac(body)}</MAC>".encode() in sample
