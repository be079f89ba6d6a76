"""The rehearsed bank of ISO 20022 files: reads as the sample is, and writes what the published messages allow."""

from __future__ import annotations

import pytest

from adapters.banks.iso20022.rehearsal import Iso20022Rehearsal
from adapters.conformance import Files, Kind, Occasion, Received, Request, Said, Told
from tests.unit.iso_kit import offences

PATH = "in/20261124/DF202611240004.xml"
OCCASIONS = (Occasion.CREDITED, Occasion.RETURNED, Occasion.REJECTED, Occasion.IN_PROCESS, Occasion.SUSPICIOUS)


def upload(content: bytes | None = None, path: str = PATH) -> Request:
    payload = Iso20022Rehearsal().golden().payload if content is None else content
    return Request(Kind.SFTP, "RENAME", path, {}, payload)


def received() -> Received:
    read = Iso20022Rehearsal().read(upload())
    assert read is not None
    return read


def told(occasion: Occasion, *occasions: Occasion) -> dict[str, bytes]:
    """What the bank writes; the second line has the second occasion, as its second booking."""
    submission = received()
    lines = tuple(
        Said(line, number, said, line.amount_fen, booking=number)
        for number, (line, said) in enumerate(zip(submission.lines, occasions, strict=False), start=1)
    )
    files = Iso20022Rehearsal().answer(Told(occasion, submission, lines, serial=2, arrived=upload()))
    assert isinstance(files, Files)
    return dict(files.write)


def test_sample_is_read_field_by_field() -> None:
    """The sample's count, total and lines are read as they stand; a file of another kind is no submission."""
    read, golden = received(), Iso20022Rehearsal().golden()
    assert (read.reference, read.count, read.total_fen) == ("DF202611240004", 2, 120_000)
    assert [(line.reference, line.name, line.account, line.id_no, line.amount_fen) for line in read.lines] == [
        (line.reference, line.name.reveal(), line.account.reveal(), line.id_no.reveal(), line.amount_fen)
        for line in golden.lines
    ]
    assert Iso20022Rehearsal().read(upload(path=f"{PATH}.tmp")) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<ChrgBr>DEBT<", b"<ChrgBr>SHAR<"),
        (b"<CtrlSum>1200.00<", b"<CtrlSum>1200.000<"),
        (b'Ccy="CNY">600.00<', b'Ccy="CNY">600<'),
        (b"-000002</InstrId>", b"-000003</InstrId>"),
        (b"<BtchBookg>true</BtchBookg>", b""),
        (b"<PmtMtd>", b" <PmtMtd>"),
        (b"</Document>", b"<!-- --></Document>"),
        (b"<Dt>2026-11-24</Dt>", b"<Dt>2026-11-25</Dt>"),
        ("<Cdtr><Nm>古".encode(), "<Cdtr><Nm> 古".encode()),
        ("古".encode(), b"&#21476;"),
    ],
)
def test_rehearsed_bank_reads_strictly(old: bytes, new: bytes) -> None:
    """What is not written as in the sample is not read, whatever a parser would make of it."""
    good = Iso20022Rehearsal().golden().payload
    assert old in good
    with pytest.raises(ValueError, match=r"sample|blank"):
        Iso20022Rehearsal().read(upload(good.replace(old, new, 1)))


@pytest.mark.parametrize("path", ["in/20261125/DF202611240004.xml", "in/20261124/DF202611240005.xml"])
def test_file_under_another_name_is_not_read(path: str) -> None:
    """The name says message and day, and the bank holds the file against it."""
    with pytest.raises(ValueError, match="not named"):
        Iso20022Rehearsal().read(upload(path=path))


@pytest.mark.parametrize("first", OCCASIONS)
@pytest.mark.parametrize("second", OCCASIONS)
def test_what_is_rehearsed_keeps_the_published_structure(first: Occasion, second: Occasion) -> None:
    """Reports, notifications and statements are messages that an independent library reads without a fault."""
    for name, content in told(Occasion.RESULTS, first, second).items():
        assert offences(content) == [], name
    for content in told(Occasion.TAKEN).values():
        assert offences(content) == []


def test_credit_stands_in_report_and_statement() -> None:
    """A report says that a line is credited, the statement which amount and when; a return has both and a notice."""
    files = told(Occasion.RESULTS, Occasion.CREDITED, Occasion.RETURNED)
    assert sorted(files) == [
        "out/20261124/pain002_DF202611240004_02.xml",
        "out/20261125/camt053_20261124.xml",
        "out/20261125/camt054_20261125_000002.xml",
        "out/20261126/camt053_20261125.xml",
    ]
    assert b"600.00" not in files["out/20261124/pain002_DF202611240004_02.xml"]
    assert files["out/20261125/camt053_20261124.xml"].count(b'<Amt Ccy="CNY">600.00</Amt>') == 2
    assert b"<RtrInf>" in files["out/20261126/camt053_20261125.xml"]
