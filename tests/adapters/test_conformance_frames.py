"""The kit and framed TCP: every framing, encoding and kind of line that a bank may be configured with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.banks.xml_tcp import PROFILE
from adapters.banks.xml_tcp.rehearsal import XmlTcpRehearsal
from adapters.conformance import Kind, Request, Site
from adapters.conformance.case import Verdict
from adapters.conformance.counterpart import Fault, Mishap, Party
from adapters.conformance.keys import Keys
from adapters.conformance.run import check
from adapters.conformance.streams import TcpBank
from adapters.wire.tcp import AnswerUnusable, TcpSettings, TcpTransport
from gateway.cli.adapters import CORE
from tests.adapters.xml_tcp_kit import mac

CASES = ("stranger", "reset-before", "answer-cut", "arrives-as-written", "resend", "late-return", "golden-bytes")
TLS = {"ca_file": "ca.pem", "certificate_file": "gateway.pem", "private_key_file": "gateway.key"}


def configured(framing: str, encoding: str, tls: dict[str, str] | None) -> dict[str, Any]:
    """A bank's section as an operator writes it; address and keys are those of nobody."""
    return {
        "encoding": encoding,
        "channel": "YKT02",
        "corporation": "65999902",
        "mac_key_file": "nowhere.key",
        "debit_accounts": ["6599990000000041"],
        "own_bank_numbers": ["104881000012"],
        "tcp": {"host": "front-end.bank.invalid", "port": 9, "framing": framing, "tls": tls},
    }


@pytest.mark.parametrize("tls", [None, TLS], ids=["private", "tls"])
@pytest.mark.parametrize(("framing", "encoding"), [("digits8", "gb18030"), ("spaces8", "gbk"), ("flag1_6", "gb18030")])
def test_every_configured_line_is_played(framing: str, encoding: str, tls: dict[str, str] | None) -> None:
    """A bank is played as it is configured, framing, encoding and line; only without TLS is there no stranger."""
    report = check(PROFILE, CORE, configured=configured(framing, encoding, tls), only=CASES)
    verdicts = {result.case.id: result.verdict for result in report.results}
    stranger = verdicts.pop("stranger")
    assert report.failed == []
    assert set(verdicts.values()) == {Verdict.PASSED}
    assert stranger is (Verdict.NOT_APPLICABLE if tls is None else Verdict.PASSED)


@pytest.mark.parametrize(
    ("framing", "frame"),
    [
        ("digits8", b"12      x"),
        ("digits8", b"0000000x"),
        ("spaces8", b"00000012"),
        ("spaces8", b"      12"),
        ("flag1_6", b"112    "),
        ("flag1_6", b"0000012"),
        ("flag1_6", b"00     "),
    ],
)
def test_other_header_is_no_frame(tmp_path: Path, framing: str, frame: bytes) -> None:
    """The rehearsed bank reads the header that was agreed, and no other that means the same number."""
    rehearsal = XmlTcpRehearsal()
    rehearsal.settings(Site(tmp_path, 1), configured(framing, "gbk", None))
    with pytest.raises(ValueError, match="header"):
        rehearsal.frame(frame)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"<AMT>1500.00</AMT>", b"<AMT>1500.0</AMT>", "ITEM"),
        (b"<SEQ>2</SEQ>", b"<SEQ>3</SEQ>", "SEQ"),
        (b"<PART>1/1</PART>", b"<PART>1/2</PART>", "BODY"),
        (b"<LIST>", b" <LIST>", "BODY"),
        (b"<REQSEQ>202611240002<", b"<REQSEQ>202611240003<", "REQSEQ"),
        (b"<CORPNO>65999901<", b"<CORPNO>65999909<", "CORPNO"),
        (b'encoding="GBK"', b'encoding="GB18030"', "encoding"),
    ],
)
def test_rehearsed_bank_reads_strictly(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    """What is not written as in the manual is not read, whatever a parser would make of it; nor is a wrong MAC."""
    rehearsal = XmlTcpRehearsal()
    rehearsal.settings(Site(tmp_path, 1), {})
    good = rehearsal.golden().payload
    assert rehearsal.read(request(rehearsal, good)) is not None
    with pytest.raises(ValueError, match="MAC"):
        rehearsal.read(request(rehearsal, good.replace(b"<AMT>1500.00</AMT>", b"<AMT>1500.01</AMT>", 1)))
    with pytest.raises(ValueError, match=words):
        rehearsal.read(request(rehearsal, sealed(good.replace(old, new, 1))))


def request(rehearsal: XmlTcpRehearsal, payload: bytes) -> Request:
    return Request(Kind.TCP, "", "", {}, rehearsal.framed(payload))


def sealed(payload: bytes) -> bytes:
    """The same document under a MAC that is right."""
    start, end = payload.index(b"<BODY"), payload.index(b"</BANK>")
    place = payload.index(b"<MAC>") + len(b"<MAC>")
    return payload[:place] + mac(payload[start:end]).encode() + payload[place + 64 :]


async def test_one_answer_of_several_goes_wrong(tmp_path: Path) -> None:
    """A fault spares so many questions, hits so many, and is counted only where it hit: on a line without TLS."""
    rehearsal = XmlTcpRehearsal()
    bank = TcpBank(rehearsal, private=True)
    bank.mishap = Mishap(Fault.WRONG_ENCODING, Party.QUESTION, spares=1, hits=1)
    await bank.start(Keys(tmp_path), stranger=False)
    section = rehearsal.settings(Site(tmp_path, bank.port), configured("spaces8", "gbk", None))
    transport = TcpTransport(TcpSettings.model_validate(section["tcp"]))
    adapter = PROFILE.adapter("bank", PROFILE.settings.model_validate(section))
    outcomes = []
    for _ in range(3):
        async with transport.wire() as wire:
            try:
                await adapter.ping(wire)
                outcomes.append("answered")
            except AnswerUnusable:
                outcomes.append("unusable")
    await transport.close()
    await asyncio.wait_for(bank.stop(), 5)
    assert outcomes == ["answered", "unusable", "answered"]
    assert (bank.mishap.fired, bank.record.questions) == (1, 3)
    assert bank.record.contacts == len(outcomes) - 1  # the first connection was kept, and given up when it went wrong
