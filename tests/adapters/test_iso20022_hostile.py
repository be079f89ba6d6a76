"""Hostile XML towards iso20022: entities, declarations, bombs, depth, encodings. Refused as a whole, at once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import Unreadable
from tests.adapters.iso20022_kit import (
    FIRST,
    PAIN,
    account_day,
    balance,
    came_back,
    document,
    make_adapter,
    notice_file,
    notification,
    paid,
    report,
    statement,
    statement_file,
    status_file,
    tx,
)

GOOD = report(tx(FIRST, "ACCC", host="H1"))
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def declared(subset: str, value: str = "ACCC") -> bytes:
    """A good report behind a document type declaration."""
    body = GOOD.removeprefix(HEAD).decode().replace("ACCC", value)
    return HEAD + f"<!DOCTYPE Document {subset}>{body}".encode()


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    "content",
    [
        declared("[]"),
        declared('SYSTEM "http://127.0.0.1:1/x.dtd"'),
        declared('[<!ENTITY x "ACCC">]', "&x;"),
        declared('[<!ENTITY x SYSTEM "file:///etc/hostname">]', "&x;"),
        declared('[<!ENTITY % x SYSTEM "http://127.0.0.1:1/x"> %x;]'),
        declared(f'[<!ENTITY a0 "ACCC">{LAUGHS}]', "&a11;"),
        declared(f'[<!ENTITY q "{"x" * 10_000}">]', "&q;" * 1_000),
        GOOD.replace(b"ACCC", b"&x;"),
        GOOD.replace(b"ACCC", b"&nbsp;"),
        GOOD.replace(b"ACCC", b"AC&#0;CC"),
        GOOD.replace(b"ACCC", b"AC\x00CC"),
        GOOD.replace(b"ACCC", b"AC\xff\xfeCC"),
        GOOD.decode().encode("utf-16"),
        GOOD.replace(b"UTF-8", b"UTF-16").decode().encode("utf-16"),
        GOOD.replace(b"UTF-8", b"UTF-7"),
        GOOD.replace(b"UTF-8", b"GB18030"),
        GOOD.replace(b"UTF-8", b"IBM037"),
        GOOD + GOOD,
        GOOD + b"more",
        b"more" + GOOD,
        b"",
        b"\n",
        b"more than 67108864 bytes",
        document(PAIN, ""),
        document(PAIN, "<CstmrPmtStsRpt/>"),
        document(PAIN, "<CstmrPmtStsRpt/><CstmrPmtStsRpt/>"),
        document(PAIN, "<a>" * 200 + "</a>" * 200),
        document(PAIN, "<a>" * 100_000),
        GOOD.replace(b"<GrpHdr>", b'<GrpHdr a="1" a="2">'),
        GOOD.replace(b"<TxSts>", b"<x:TxSts>").replace(b"</TxSts>", b"</x:TxSts>"),
    ],
)
def test_hostile_documents_yield_nothing(content: bytes) -> None:
    """No declaration, no entity, no second encoding, no depth: nothing of such a document is read."""
    with pytest.raises(Unreadable) as caught:
        make_adapter().parse(status_file(content))
    assert caught.value.__context__ is None


def test_the_document_itself_is_read() -> None:
    """What the cases above disturb is sound before it is disturbed, with a byte order mark and without a head too."""
    for content in (GOOD, b"\xef\xbb\xbf" + GOOD, GOOD.removeprefix(HEAD)):
        assert len(list(make_adapter().parse(status_file(content)))) == 1


def test_depth_is_bounded() -> None:
    """An element that is deeper than any message needs makes the document unreadable, wherever it stands."""
    for depth, readable in ((20, True), (100, False)):
        more = b"<SplmtryData>" * depth + b"</SplmtryData>" * depth
        content = GOOD.replace(b"</CstmrPmtStsRpt>", more + b"</CstmrPmtStsRpt>")
        if readable:
            assert len(list(make_adapter().parse(status_file(content)))) == 1
            continue
        with pytest.raises(Unreadable):
            make_adapter().parse(status_file(content))


def test_the_network_and_the_disk_are_not_touched(tmp_path: Path) -> None:
    """An entity that names a file does not bring its content into any evidence or error."""
    secret = tmp_path / "secret"
    secret.write_text("ACCC", encoding="ascii")
    content = declared(f'[<!ENTITY x SYSTEM "{secret.as_uri()}">]', "&x;")
    with pytest.raises(Unreadable, match="declaration"):
        make_adapter().parse(status_file(content))


def test_an_oversize_document_is_not_parsed() -> None:
    """A document beyond the bound is refused by its size, before the parser has taken memory for it."""
    bank = make_adapter(max_answer_bytes=2_000)
    content = report(*(tx(f"REF{n}", "PDNG") for n in range(50_000)))
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="larger"):
            bank.parse(status_file(content))
        assert tracemalloc.get_traced_memory()[1] < len(content)
    finally:
        tracemalloc.stop()
    assert len(list(bank.parse(status_file(GOOD)))) == 1


SOUND = (
    status_file(GOOD),
    notice_file(notification(came_back(FIRST))),
    statement_file(statement(account_day(paid(FIRST), balances=balance("OPBD", "600.00") + balance("CLBD", "0.00")))),
)


@settings(deadline=None)  # what is promised is the answer, not the time on a busy machine
@given(st.sampled_from(SOUND), st.data())
def test_disturbed_documents_are_read_or_unreadable(sound: object, data: st.DataObject) -> None:
    """However a document is disturbed, it is evidence or Unreadable, never another error, and quotes no account."""
    assert isinstance(sound, type(SOUND[0]))
    content = bytearray(sound.content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 30))
        content[at : at + length] = data.draw(st.binary(max_size=8) | st.sampled_from([b"<", b">", b"&", b"-1", b"</"]))
    disturbed = type(sound).of(sound.name, bytes(content))
    said = ""
    try:
        list(make_adapter().parse(disturbed))
        make_adapter().statement(disturbed)
    except Unreadable as refused:
        said = str(refused)
    assert "629999" not in said
