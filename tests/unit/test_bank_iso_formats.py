"""The ISO 20022 bank's own reader and writer, against the samples and against the published structures."""

from __future__ import annotations

import importlib.resources
import io
import re
from pathlib import Path

import pytest
from lxml import etree

from tests.bank import hand, hand_iso, iso_write
from tests.bank.file_desk import Refused
from tests.bank.iso_read import parse_batch
from tests.bank.iso_write import AccountDay, Booking, StatusRow
from tests.unit.iso_kit import offences

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "iso20022"
PAIN_001 = (SAMPLES / "pain.001.001.09.xml").read_bytes()
WEDNESDAY_NINE_MS = 1_795_568_400_000  # 2026-11-25T09:00:00+08:00
DAY_MS = 86_400_000
BOOKING = Booking("DF1", "REF1", 60_000, "20261125", "H20261125000001")
BACK = Booking("DF1", "REF2", 12_345, "20261125", "H20261125000002", "AC04", "账户已销户")
PAID = b"<TxSts>ACCC</TxSts><AcctSvcrRef>H1</AcctSvcrRef>"
PAID_BACKWARDS = b"<AcctSvcrRef>H1</AcctSvcrRef><TxSts>ACCC</TxSts>"
FILES = {
    "acknowledgement": iso_write.status_report("BK1", WEDNESDAY_NINE_MS, "DF1", 2, "ACTC"),
    "refusal": iso_write.status_report("BK1", WEDNESDAY_NINE_MS, "DF1", None, "RJCT", code="FF01"),
    "whole-file refusal": iso_write.status_report(
        "BK1",
        WEDNESDAY_NINE_MS,
        "DF1",
        2,
        "RJCT",
        [StatusRow("DF1-000001", "REF1", "RJCT", "AC04", "账户已销户"), StatusRow("DF1-000002", "REF2", "")],
    ),
    "report": iso_write.status_report(
        "BK1",
        WEDNESDAY_NINE_MS,
        "DF1",
        3,
        "PART",
        [
            StatusRow("DF1-000001", "REF1", "ACCC", host_ref="H1"),
            StatusRow("", "REF2", "PDNG", "NARR", "可疑交易"),
            StatusRow("DF1-000003", "REF3", "RJCT", "raw code", "<交易失败>"),
        ],
    ),
    "notice": iso_write.return_notice("BK1", WEDNESDAY_NINE_MS, hand.DEBIT, [BACK, BACK]),
    "statement": iso_write.statement(
        "BK1",
        WEDNESDAY_NINE_MS,
        "20261125",
        [AccountDay(hand.DEBIT, -5, [[BOOKING, BOOKING], [BOOKING]], [BACK], [777]), AccountDay("6", 0, [], [], [])],
    ),
}


def test_the_sample_is_read_to_the_last_field() -> None:
    """The bank reads the sample payment initiation."""
    file = parse_batch(PAIN_001)
    assert (file.message, file.debit_account, file.member) == ("DF202611240004", hand.DEBIT, "402881000015")
    assert (file.day.isoformat(), file.total_fen) == ("2026-11-24", 120_000)
    assert [item.name for item in file.items] == ["古丽娜尔·阿卜杜热合曼", "阿依古丽·买买提"]
    assert file.items[0][:3] == (1, "01JDF7DEFGHJKMNPQRSTVWXY01", "6299990000000000038")
    assert [item.amount_fen for item in file.items] == [60_000, 60_000]
    assert {(item.programme, item.period) for item in file.items} == {("XJ-NY-04", "2026")}


def test_what_the_hand_writes_is_read_and_valid() -> None:
    """The hand-played gateway's file keeps the published schema, and the bank reads what was meant."""
    lines = [hand.Payment(1, 1, "张珅"), hand.Payment(2, 99_999_999), hand.Payment(3, 100)]
    body = hand_iso.pain001("DF1", lines)
    file = parse_batch(body)
    assert [(item.reference, item.account, item.name, item.id_no, item.amount_fen) for item in file.items] == [
        (line.reference, line.account, line.name, line.id_no, line.fen) for line in lines
    ]
    published = importlib.resources.files("sepaxml").joinpath("schemas/pain.001.001.09.xsd").read_bytes()
    schema = etree.XMLSchema(etree.parse(io.BytesIO(published)))
    schema.assertValid(etree.fromstring(body))
    assert offences(body) == offences(PAIN_001) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pain.001.001.09", "pain.001.001.03"),
        ("<NbOfTxs>2</NbOfTxs><CtrlSum>1200.00</CtrlSum><InitgPty>", "<NbOfTxs>3</NbOfTxs><InitgPty>"),
        ("<NbOfTxs>2</NbOfTxs>", "<NbOfTxs>3</NbOfTxs>"),
        ("<NbOfTxs>2</NbOfTxs><CtrlSum>1200.00</CtrlSum><PmtTpInf>", "<NbOfTxs>2</NbOfTxs><PmtTpInf>"),
        ("<CtrlSum>1200.00</CtrlSum><PmtTpInf>", "<CtrlSum>1200.01</CtrlSum><PmtTpInf>"),
        ("<CtrlSum>1200.00</CtrlSum><InitgPty>", "<CtrlSum>1199.99</CtrlSum><InitgPty>"),
        ("<CtrlSum>1200.00</CtrlSum>", "<CtrlSum>1200.000</CtrlSum>"),
        ("<MsgId>DF202611240004</MsgId>", "<MsgId>df-1</MsgId>"),
        ("<MsgId>DF202611240004</MsgId>", "<MsgId>" + "D" * 36 + "</MsgId>"),
        ("T10:20:00+08:00", "T10:20:00"),
        ("DF202611240004-1<", "DF202611240004-2<"),
        ("<PmtMtd>TRF<", "<PmtMtd>CHK<"),
        ("<BtchBookg>true<", "<BtchBookg>false<"),
        ("<Cd>GOVT</Cd></CtgyPurp>", "<Cd>SALA</Cd></CtgyPurp>"),
        ("<Dt>2026-11-24</Dt>", "<Dt>2026-13-24</Dt>"),
        ("<Ccy>CNY</Ccy>", "<Ccy>USD</Ccy>"),
        ("<MmbId>402881000015<", "<MmbId>40288100001<"),
        ("<MmbId>403881000017<", "<MmbId>40388100001X<"),
        ("<Cd>CNAPS</Cd>", "<Cd>CHIPS</Cd>"),
        ("<ChrgBr>DEBT</ChrgBr>", "<ChrgBr>SHAR</ChrgBr>"),
        ("<ChrgBr>DEBT</ChrgBr>", ""),
        ("-000002</InstrId>", "-000003</InstrId>"),
        ("TVWXY02</EndToEndId>", "TVWXY01</EndToEndId>"),
        ("TVWXY02</EndToEndId>", "TVWXY-2</EndToEndId>"),
        ("TVWXY02</EndToEndId>", "TVWXY02" + "0" * 10 + "</EndToEndId>"),
        ('Ccy="CNY">600.00', 'Ccy="USD">600.00'),
        ('<InstdAmt Ccy="CNY">', "<InstdAmt>"),
        (">600.00<", ">600.0<"),
        (">600.00<", ">600<"),
        (">600.00<", ">+600.00<"),
        (">600.00<", ">\u0666\u0660\u0660.\u0660\u0660<"),
        (">600.00<", ">0600.00<"),
        ("<Nm>阿依古丽·买买提</Nm>", "<Nm></Nm>"),
        ("<Nm>阿依古丽·买买提</Nm>", "<Nm> 阿依古丽</Nm>"),
        ("<Nm>阿依古丽·买买提</Nm>", "<Nm>" + "阿" * 141 + "</Nm>"),
        ("<Nm>阿依古丽·买买提</Nm>", "<Nm>阿依\n古丽</Nm>"),
        ("<Cd>NIDN</Cd>", "<Cd>CCPT</Cd>"),
        ("<Id>6299990000000000012</Id>", "<Id>62999900-12</Id>"),
        ("<Id>6299990000000000012</Id>", "<Id>" + "6" * 35 + "</Id>"),
        ("<Ustrd>XJ-NY-04 草原生态保护补助奖励 2026</Ustrd>", "<Ustrd>XJ-NY-04</Ustrd>"),
        ("草原生态保护补助奖励", "草" * 140),
        ("<CdtTrfTxInf>", "<CdtTrfTxInf><SplmtryData/>"),
        ("</CstmrCdtTrfInitn>", "x</CstmrCdtTrfInitn>"),
        ("<GrpHdr>", '<GrpHdr a="1">'),
        ('encoding="UTF-8"', 'encoding="GBK"'),
        ("<Document", "<?x y?><Document"),
        ("<Document", "<!DOCTYPE Document><Document"),
        ("<Document", '<!DOCTYPE Document [<!ENTITY e "x">]><Document'),
        ("</Document>", "</Document><Document/>"),
    ],
)
def test_a_file_with_one_fault_is_refused(old: str, new: str) -> None:
    """Namespace, totals at both levels, forms, lengths, constants, order: each slip is a refusal for format."""
    text = PAIN_001.decode()
    assert old in text
    with pytest.raises(Refused, match="FF01"):
        parse_batch(text.replace(old, new, 1).encode())


def test_an_amount_of_nothing_is_refused() -> None:
    """Nought adds up like any number, and is no payment."""
    with pytest.raises(Refused):
        parse_batch(hand_iso.pain001("DF1", [hand.Payment(1, 0)]))
    with pytest.raises(Refused):
        parse_batch(hand_iso.pain001("DF1", []))


def test_a_file_cut_anywhere_is_refused() -> None:
    """There is no seal: the end of the document is what tells a whole file."""
    for length in range(0, len(PAIN_001), 7):
        with pytest.raises(Refused):
            parse_batch(PAIN_001[:length])


def test_deep_nesting_is_refused() -> None:
    """Elements within elements end the reading before they fill the memory."""
    with pytest.raises(Refused):
        parse_batch(PAIN_001.replace(b"<Nm>", b"<Nm>" * 100_000, 1))


def test_the_samples_are_written_byte_for_byte() -> None:
    """Status report and return notice come out as the samples stand."""
    rows = [
        StatusRow("DF202611240004-000001", "01JDF7DEFGHJKMNPQRSTVWXY01", "ACCC", host_ref="H20261125000101"),
        StatusRow("DF202611240004-000002", "01JDF7DEFGHJKMNPQRSTVWXY02", "RJCT", *iso_write.REASONS["ACCOUNT_CLOSED"]),
    ]
    report = iso_write.status_report("BK20261125000031", WEDNESDAY_NINE_MS, "DF202611240004", 2, "PART", rows)
    assert report == (SAMPLES / "pain.002.001.10.xml").read_bytes()
    back = Booking(
        "DF202611240004",
        "01JDF7DEFGHJKMNPQRSTVWXY01",
        60_000,
        "20261127",
        "H20261127000009",
        *iso_write.REASONS["ACCOUNT_CLOSED"],
    )
    notice = iso_write.return_notice("BK20261127000007", WEDNESDAY_NINE_MS + 2 * DAY_MS, hand.DEBIT, [back])
    assert notice == (SAMPLES / "camt.054.001.08.return.xml").read_bytes()


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_keeps_the_published_structure(kind: str) -> None:
    """Names, order, lengths, patterns and required elements are those of the published messages."""
    assert offences(FILES[kind]) == []


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("report", b"<StsId>1</StsId>", b"<StsNo>1</StsNo>"),
        ("report", b"<OrgnlMsgId>DF1</OrgnlMsgId>", b""),
        ("report", b"<GrpSts>PART</GrpSts>", b"<GrpSts>PARTLY</GrpSts>"),
        ("report", b"<OrgnlNbOfTxs>3<", b"<OrgnlNbOfTxs>x<"),
        ("report", PAID, PAID_BACKWARDS),
        ("notice", b"<CdtDbtInd>CRDT", b"<CdtDbtInd>NONE"),
        ("statement", b'Ccy="CNY">0.05', b'Ccy="CNY">0.0500001'),
        ("statement", b"<BookgDt><Dt>2026-11-25<", b"<BookgDt><Dt>20261125<"),
    ],
)
def test_a_file_that_breaks_the_structure_is_found_out(kind: str, old: bytes, new: bytes) -> None:
    """The witness for the published structure bites: each kind of breach is told."""
    assert old in FILES[kind]
    assert offences(FILES[kind].replace(old, new, 1)) != []


def test_the_bank_does_not_lean_on_its_witness() -> None:
    """The classes that judge its files write none of them, and its reader is not the one that the gateway uses."""
    for path in Path(iso_write.__file__).parent.glob("*.py"):
        assert not re.search(r"(import|from) (pyiso20022|xsdata|sepaxml|lxml)", path.read_text(encoding="utf-8")), (
            path.name
        )


def test_the_twists_of_a_fault_are_what_they_are_called() -> None:
    """A bomb declares nested entities and uses them; another version is the same message under another namespace."""
    for body in FILES.values():
        bomb = iso_write.bombed(body)
        assert bomb.count(b"<!ENTITY") == 9
        assert b"<MsgId>&e8;" in bomb
        other = iso_write.of_another_version(body)
        assert other != body
        assert len(other) == len(body)
        assert offences(other) != offences(body)
