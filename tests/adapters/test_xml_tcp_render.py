"""``xml_tcp`` writing: the sample byte for byte, and names that arrive whole or are refused."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from adapters.banks.xml_tcp import XmlTcpBank
from adapters.banks.xml_tcp.wire import Envelope, batch_body, resent
from adapters.contract import Line, Reason
from schemas.masked import AccountNumber, IdNumber, PersonName
from tests.adapters.xml_tcp_kit import (
    ACCOUNT,
    AT,
    BATCH,
    DATA,
    KEY,
    SAMPLE_LINES,
    SUBMISSION,
    adapter,
    framed,
    line,
    mac,
    rendered,
    settings,
)

SAMPLE = (DATA / "DF1001_request.bin").read_bytes()
HOSTILE_NAMES = 10_000
DISPUTED = "\u1e3f\u9fb4\u9fbb\ufe10\ufe19\U00020087\U00020089\U000200cc\U000215d7\U0002298f\U000241fe"


@pytest.fixture
def bank(tmp_path: Path) -> XmlTcpBank:
    return adapter(tmp_path)


def test_sample_is_reproduced_byte_for_byte() -> None:
    """The writer gives the bank's own sample, MAC and header included, from the inputs that the sample shows."""
    envelope = Envelope("gbk", "1.0", "YKT01", "65999901", KEY)
    body = batch_body(SUBMISSION, SAMPLE_LINES, "gbk", ["104881000012"])
    payload = envelope.document("DF1001", "2026112400000017", AT, body)
    assert framed(payload) == SAMPLE


def test_render_is_the_sample_with_our_number(bank: XmlTcpBank) -> None:
    """What the adapter renders differs from the sample in REQSEQ alone, which follows from the batch number."""
    payload = rendered(bank).payload
    assert payload.replace(b"<REQSEQ>202611240002</REQSEQ>", b"<REQSEQ>2026112400000017</REQSEQ>") == SAMPLE[8:]


def test_rendering_is_pure_and_summed_up(bank: XmlTcpBank) -> None:
    """Equal arguments give equal bytes, and what is said beside the bytes is true of them."""
    first, second = rendered(bank), rendered(bank)
    assert first == second
    assert first.submission == BATCH
    assert first.references == tuple(one.reference for one in SAMPLE_LINES)
    assert (first.total_fen, first.rendered_at, first.transmission) == (450_000, AT, 1)


def test_resend_changes_one_letter(bank: XmlTcpBank) -> None:
    """A second transmission is the same bytes but for RESEND, so number, BODY and MAC are the same."""
    payload = rendered(bank).payload
    again = resent(payload)
    assert again.replace(b"<RESEND>Y</RESEND>", b"<RESEND>N</RESEND>") == payload
    assert again != payload
    for strange in (b"", again, payload.replace(b"<BODY", b"<RESEND>N</RESEND><BODY"), b"<RESEND>N</RESEND>"):
        with pytest.raises(ValueError, match="no submission of ours"):
            resent(strange)


def test_a_name_that_looks_like_markup_stays_in_its_field(bank: XmlTcpBank) -> None:
    """A name full of markup is text to another parser, and leaves RESEND, MAC and the number of BODYs alone."""
    name = "张<BODY>&lt;</ACCNAME><RESEND>N</RESEND>"
    payload = resent(bank.render(SUBMISSION, [line(1, name)], AT).payload)
    assert read_name(payload, "gbk") == name
    assert payload.count(b"<BODY") == 1
    body = payload[payload.index(b"<BODY") : payload.index(b"</BANK>")]
    assert f"<MAC>{mac(body)}</MAC>".encode() in payload


def read_name(payload: bytes, encoding: str) -> str:
    """The name of the only line, by another parser."""
    text = payload.decode(encoding)
    found = ElementTree.fromstring(text[text.index("?>") + 2 :]).find(".//ACCNAME")
    assert found is not None
    return found.text or ""


def hostile_names(seed: int) -> list[str]:
    """Names over everything that has ever gone wrong: markup, control, private use, torn, rare and disputed letters."""
    dice = random.Random(seed)
    common = "张王李阿依古丽买提热·娜尔卜杜 "
    rare = "珅瑋獆䶮㛃𠅤𬭼㒰龴﨑"
    nasty = "<>&'\"]|`?\\%;\x00\x1f\x7f\x85\r\n\t\u2028\u2029\ufeff\u200b\u202e\ud800\udfff\ue000\uf8ff\U000f0000\uffff"
    pools = (common, rare, nasty, DISPUTED, "€¥£‰·•‧∙⋅・･—―～〜", "&amp;&#10;<![CDATA[]]><!DOCTYPE x><BODY/>")
    names = []
    for _ in range(HOSTILE_NAMES):
        size = dice.choice((1, 2, 3, 4, 8, 12, 25, 50, 51, 100))
        if dice.random() < 0.2:
            names.append("".join(chr(dice.randrange(0x110000)) for _ in range(size)))
        else:
            pool = common * 3 + "".join(dice.sample(pools, 2))
            names.append("".join(dice.choice(pool) for _ in range(size)))
    return names


@pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
def test_hostile_names_arrive_whole_or_are_refused(tmp_path: Path, encoding: str) -> None:
    """Of 10,000 hostile names another parser reads exactly what was written, or the line was refused beforehand."""
    bank = adapter(tmp_path, encoding=encoding)
    arrived = 0
    for name in hostile_names(20261124):
        one = line(1, name)
        reason = bank.refuse(one)
        if reason is None:
            assert read_name(bank.render(SUBMISSION, [one], AT).payload, encoding) == name
            arrived += 1
        else:
            assert reason is Reason.NAME_NOT_ENCODABLE
            with pytest.raises(ValueError, match=r"^line 1 cannot be written: NAME_NOT_ENCODABLE$"):
                bank.render(SUBMISSION, [one], AT)
    assert HOSTILE_NAMES // 20 < arrived < HOSTILE_NAMES  # the test has seen both


@pytest.mark.parametrize(
    ("name", "gbk", "gb18030"),
    [
        ("阿依古丽·买买提", True, True),
        ("张珅", True, True),
        ("䶮", False, True),
        ("㛃", False, True),
        ("𠅤", False, True),
        ("李\ue000", False, False),
        ("李\ud842", False, False),
        ("李\n", False, False),
        ("李\u0085", False, False),
        ("李\uffff", False, False),
        ("", False, False),
        ("李" * 50, True, True),
        ("李" * 51, False, False),
        *((f"李{letter}", False, False) for letter in DISPUTED),
    ],
)
def test_what_an_encoding_cannot_hold_is_refused(tmp_path: Path, name: str, gbk: bool, gb18030: bool) -> None:
    """GBK lacks letters that GB18030 has; private, torn, control and disputed ones go nowhere, and nothing is cut."""
    for encoding, fits in (("gbk", gbk), ("gb18030", gb18030)):
        expected = None if fits else Reason.NAME_NOT_ENCODABLE
        assert adapter(tmp_path, encoding=encoding).refuse(line(1, name)) is expected


@pytest.mark.parametrize("field", ["debit_name", "purpose"])
def test_head_that_cannot_be_encoded_is_refused(bank: XmlTcpBank, field: str) -> None:
    """A debit name or purpose that GBK cannot hold stops the rendering, and the error does not quote it."""
    change: dict[str, Any] = {field: "䶮某"}
    submission = dataclasses.replace(SUBMISSION, **change)
    with pytest.raises(ValueError, match="encoding cannot hold it") as caught:
        bank.render(submission, SAMPLE_LINES, AT)
    assert "䶮" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"amount_fen": 0}, Reason.AMOUNT),
        ({"amount_fen": 10**13}, Reason.AMOUNT),
        ({"reference": "01jdf"}, Reason.FORMAT),
        ({"reference": "0" * 27}, Reason.FORMAT),
        ({"id_type": "1"}, Reason.FORMAT),
        ({"id_no": IdNumber("٦59999198001010021")}, Reason.FORMAT),
        ({"account": AccountNumber("62-99")}, Reason.FORMAT),
        ({"account": AccountNumber("")}, Reason.FORMAT),
        ({"bank_no": "10488100001"}, Reason.FORMAT),
        ({"name": "䶮", "amount_fen": 0}, Reason.NAME_NOT_ENCODABLE),
    ],
)
def test_other_fields_have_their_reasons(bank: XmlTcpBank, change: dict[str, Any], reason: Reason) -> None:
    """Every field has its own bound; whose fault it is decides the reason."""
    assert bank.refuse(line(1, **change)) is reason


def test_only_another_banks_account_carries_a_bank_number(tmp_path: Path) -> None:
    """BANKNO stands beside accounts that another bank keeps, and nowhere when no own numbers are configured."""
    own, other = line(1), line(2, bank_no="403881000017")
    told = adapter(tmp_path, own_bank_numbers=["104881000012"]).render(SUBMISSION, [own, other], AT).payload
    assert re.findall(rb"<BANKNO>([0-9]+)</BANKNO></ITEM>", told) == [b"403881000017"]
    assert b"BANKNO" not in adapter(tmp_path).render(SUBMISSION, [own, other], AT).payload


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bank: bank.render(SUBMISSION, [], AT),
        lambda bank: bank.render(SUBMISSION, [line(1), line(1)], AT),
        lambda bank: bank.render(SUBMISSION, [line(n) for n in range(1, 6)], AT),
        lambda bank: bank.render(SUBMISSION, [line(1, amount_fen=1_000_001)], AT),
        lambda bank: bank.render(SUBMISSION, SAMPLE_LINES, AT.replace(tzinfo=None)),
    ],
)
def test_what_the_agreement_forbids_is_not_rendered(tmp_path: Path, spoil: Any) -> None:
    """No lines, a reference twice, too many lines, too much money, a time without offset: nothing is written."""
    with pytest.raises(ValueError):
        spoil(adapter(tmp_path, max_lines=4, max_total_fen=1_000_000))


def test_frames_that_no_header_can_say_are_not_rendered(tmp_path: Path) -> None:
    """The bound of the frame and of its header is the bound of a submission, and is declared as such."""
    small = adapter(tmp_path, tcp={"max_frame_bytes": 1_024})
    assert small.capabilities().max_bytes == 1_024
    with pytest.raises(ValueError, match="more bytes"):
        rendered(small)
    assert adapter(tmp_path, tcp={"framing": "flag1_6"}).capabilities().max_bytes == 999_999


@pytest.mark.parametrize("reference", ["DF", "202611240002", "DFA2", "DF2026112400000000001", "DF٢"])
def test_a_submission_needs_the_number_it_travels_under(bank: XmlTcpBank, reference: str) -> None:
    """REQSEQ is the batch number's digits: a reference that has none is no reference here."""
    submission = dataclasses.replace(SUBMISSION, reference=reference)
    with pytest.raises(ValueError, match="DF and 1 to 18 digits"):
        bank.render(submission, SAMPLE_LINES, AT)


def test_key_never_shows(tmp_path: Path, bank: XmlTcpBank) -> None:
    """The MAC key is in no representation of what holds it; one too short to be a key is refused without its text."""
    envelope = Envelope("gbk", "1.0", "YKT01", "65999901", KEY)
    assert KEY.decode() not in repr(envelope) + repr(settings(tmp_path)) + repr(bank)
    short = settings(tmp_path)
    (tmp_path / "mac.key").write_bytes(b"canary\n")
    with pytest.raises(ValueError, match="at least 16 bytes") as caught:
        XmlTcpBank.from_settings("bank_b", short)
    assert "canary" not in str(caught.value)


def test_fiscal_accounts_are_not_printed(tmp_path: Path) -> None:
    """The accounts whose statements are read show in no representation of the settings that name them."""
    agreed = settings(tmp_path)
    assert agreed.debit_accounts == (ACCOUNT,)
    assert ACCOUNT not in repr(agreed) + str(agreed)


def test_largest_submission_fits_its_frame(tmp_path: Path) -> None:
    """Five hundred lines of the longest fields fit the default frame under every framing."""
    worst = [
        Line(
            reference=f"{n:026d}",
            name=PersonName("&" * 100),
            id_type="01",
            id_no=IdNumber("659999198001010021"),
            account=AccountNumber("9" * 32),
            account_kind="CARD",
            bank_no="403881000017",
            amount_fen=10**12,
            programme="XJ-ZF-02",
            purpose="边民补助",
            period="2026",
        )
        for n in range(500)
    ]
    bank = adapter(tmp_path, tcp={"framing": "flag1_6"}, own_bank_numbers=["104881000012"])
    assert len(bank.render(SUBMISSION, worst, AT).references) == 500
