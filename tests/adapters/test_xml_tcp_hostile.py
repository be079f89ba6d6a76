"""``xml_tcp`` against documents made to hurt: bombs, entities, and thousands of spoilt ones whose MAC is right."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from adapters.banks.xml_tcp import XmlTcpBank
from adapters.banks.xml_tcp.wire import Envelope
from adapters.contract import Artefact, Proof, Unreadable
from tests.adapters.xml_tcp_kit import DATA, KEY, adapter, mac

SAMPLE = (DATA / "DF1002_reply_mixed.bin").read_bytes()[8:]
SPOILT = 4_000
SPLINTERS = (
    *(b"<", b">", b"&", b"&lt;", b"&#60;", b"&#x0;", b"</", b"/>", b"<!--", b"<![CDATA[", b"<?x?>", b"]]>"),
    *(b"<ITEM>", b"</ITEM>", b"<LIST>", b"</LIST>", b"<REF>", b"<A xmlns='x'>", b" a='b'", b"\x00", b"\xff", b"\x81"),
    *(
        b"2",
        b"3018",
        b"0000",
        b"-",
        b"1e9",
        b"\xa3\xb1",
        b"\xa1\xa4",
        b"\n",
        b"\t",
        b"",
        b"<MAC>" + b"0" * 64 + b"</MAC>",
    ),
)


@pytest.fixture
def bank(tmp_path: Path) -> XmlTcpBank:
    return adapter(tmp_path)


@pytest.fixture
def envelope() -> Envelope:
    return Envelope("gbk", "1.0", "YKT01", "65999901", KEY)


def sealed(body: bytes, before: bytes = b"") -> bytes:
    """The sample with another BODY, its MAC made right, and something between declaration and document."""
    start = SAMPLE.index(b"<BODY")
    document = SAMPLE[:start] + body + b"</BANK>"
    old = SAMPLE[SAMPLE.index(b"<MAC>") + 5 :][:64]
    return document.replace(old, mac(body).encode()).replace(b"<BANK>", before + b"<BANK>", 1)


def test_spoilt_documents_are_read_or_refused(bank: XmlTcpBank) -> None:
    """Of thousands of spoilt lists with a right MAC each is read, or Unreadable; nothing else is ever raised.

    A credit is only read where amount, date and host reference stand in the bytes as the bank would write them.
    """
    dice = random.Random(20261124)
    body = SAMPLE[SAMPLE.index(b"<BODY") : SAMPLE.index(b"</BANK>")]
    read = 0
    for _ in range(SPOILT):
        spoilt = bytearray(body)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(b"<BODY>"), len(spoilt) - len(b"</BODY>"))
            spoilt[at : at + dice.choice((0, 0, 1, 4, 40))] = dice.choice(SPLINTERS)
        try:
            found = list(bank.parse(Artefact.of("x", sealed(bytes(spoilt)))))
        except Unreadable:
            continue
        read += 1
        for one in found:
            if one.proof is Proof.CREDITED:
                assert one.post_date is not None
                assert one.amount_fen is not None
                assert (one.host_reference or "").encode() in spoilt
    assert SPOILT // 50 < read < SPOILT  # the test has seen both


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
BOMBS = {
    "billion laughs": (f'<!DOCTYPE BANK [<!ENTITY a0 "ha">{LAUGHS}]>'.encode(), b"<BODY><A>&a9;</A></BODY>"),
    "external entity": (b'<!DOCTYPE BANK [<!ENTITY x SYSTEM "file:///etc/hostname">]>', b"<BODY><A>&x;</A></BODY>"),
    "parameter entity": (b'<!DOCTYPE BANK [<!ENTITY % x SYSTEM "http://127.0.0.1:9/"> %x;]>', b"<BODY/>"),
    "lower case": (b"<!doctype BANK []>", b"<BODY/>"),
    "stylesheet": (b'<?xml-stylesheet href="http://127.0.0.1:9/x"?>', b"<BODY/>"),
    "second declaration": (b'<?xml version="1.0" encoding="UTF-8"?>', b"<BODY/>"),
    "undeclared entity": (b"", b"<BODY><A>&x;</A></BODY>"),
    "deep": (b"", b"<BODY>" + b"<A>" * 100_000 + b"</A>" * 100_000 + b"</BODY>"),
    "wide": (b"", b"<BODY><LIST>" + b"<ITEM/>" * 100_000 + b"</LIST></BODY>"),
    "one long text": (b"", b"<BODY><A>" + b"x" * 900_000 + b"</A></BODY>"),
    "many attributes": (b"", b"<BODY><A " + b" ".join(b"a%d='1'" % n for n in range(50_000)) + b"/></BODY>"),
    "namespaces": (b"", b"<BODY><x:A xmlns:x='y'>1</x:A></BODY>"),
    "larger than the bound": (b"", b"<BODY><A>" + b"x" * 1_048_576 + b"</A></BODY>"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_prove_nothing(bank: XmlTcpBank, name: str) -> None:
    """Entities, DTDs, depth, width and size beyond the bound yield nothing, and nothing of them is fetched."""
    before, body = BOMBS[name]
    with pytest.raises(Unreadable):
        list(bank.parse(Artefact.of("x", sealed(body, before))))


def test_the_mac_is_over_the_body_that_is_read(envelope: Envelope) -> None:
    """Two BODYs, a MAC in the BODY, or the words of one inside a text, cannot make another BODY be believed."""
    good = SAMPLE[SAMPLE.index(b"<BODY") : SAMPLE.index(b"</BANK>")]
    assert envelope.read(sealed(good), len(SAMPLE)).body["BATCHNO"] == "DF202611240002"
    swapped = good.replace(b"DF202611240002", b"DF202611240009")
    whole = sealed(good)
    for spoilt in (
        whole.replace(b"<HEAD>", swapped + b"<HEAD>"),
        whole.replace(b"</BANK>", swapped + b"</BANK>"),
        whole.replace(b"<HEAD>", b"<HEAD>" + swapped),
        whole.replace(good, swapped + good),
        whole.replace(good, b"<BODYX/>" + good),
        whole.replace(good, swapped).replace(b"<RETMSG>", b"<RETMSG>" + good),
        whole.replace(b"</HEAD>", b"<MAC>" + mac(swapped).encode() + b"</MAC></HEAD>"),
        whole.replace(good, swapped.replace(b"<LIST>", b"<MAC>" + mac(swapped).encode() + b"</MAC><LIST>")),
        whole + whole,
        whole + b" x",
        b"\xef\xbb\xbf" + whole,
    ):
        assert spoilt != whole
        with pytest.raises(Unreadable):
            envelope.read(spoilt, 2 * len(spoilt))
