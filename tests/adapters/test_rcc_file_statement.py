"""The day's statement of rcc_file: collected, read as a whole, and evidence of every credit and return in it."""

from __future__ import annotations

import datetime as dt

import pytest

from adapters.banks.rcc_file.bank import RccFileAdapter
from adapters.contract import Artefact, Booking, GivesStatements, Proof, Reason, Unreadable
from adapters.wire.sftp import SftpWire
from tests.adapters.rcc_file_kit import BATCH, STEM, all_at_once, make_adapter, put, put_result, sample_artefact, sm3
from tests.adapters.sftp_kit import Bank

NAME = "DZ_402XJ0001_20261125.txt"
CREDIT = "D|000001|REF1|6299990000000000012|123456|C|20261125|H1|DF202611240001"
RETURN = "D|000002|REF2|6299990000000000038|60000|R|20261125|H9|DF202611230007"


def stated(*rows: str, head: str | None = None, trailer: str | None = None) -> bytes:
    """A statement as the bank would write it; ``head`` and ``trailer`` replace what its lines add up to."""
    fields = [row.split("|") for row in rows]
    total = sum(int(f[4]) if f[5] == "C" else -int(f[4]) for f in fields)
    body = f"H|1.0|402XJ0001|20261125|{head or f'{len(rows)}|{total}'}\r\n" + "".join(row + "\r\n" for row in rows)
    written = body.encode("gb18030")
    return written + f"T|{trailer or f'{len(rows)}|{total}'}|{sm3(written)}\r\n".encode()


def artefact(content: bytes, name: str = f"20261125/{NAME}") -> Artefact:
    return Artefact.of(name, f"{len(content)}|{sm3(content)}".encode() + b"\r\n" + content)


def test_statement_is_read() -> None:
    """Every entry is there with booking, amount, day, host reference and batch; nothing else is said to be complete."""
    bank = make_adapter()
    assert isinstance(bank, GivesStatements)
    statement = bank.statement(artefact(stated(CREDIT, RETURN)))
    assert statement is not None
    assert (statement.day, statement.debit_account) == (dt.date(2026, 11, 25), None)
    assert statement.artefact == artefact(stated(CREDIT, RETURN)).sha256
    assert [(e.booking, e.reference, e.amount_fen, e.host_reference, e.submission) for e in statement.entries] == [
        (Booking.CREDIT, "REF1", 123456, "H1", "DF202611240001"),
        (Booking.RETURN, "REF2", 60000, "H9", "DF202611230007"),
    ]


def test_entries_are_proof() -> None:
    """A credit in the statement proves that the payee has the money, a return that it came back, to the fen."""
    read = list(make_adapter().parse(artefact(stated(CREDIT, RETURN))))
    day = dt.date(2026, 11, 25)
    assert [(e.proof, e.reason, e.reference, e.amount_fen, e.host_reference, e.post_date) for e in read] == [
        (Proof.CREDITED, None, "REF1", 123456, "H1", day),
        (Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT, "REF2", 60000, "H9", day),
    ]
    assert [e.submission for e in read] == ["DF202611240001", "DF202611230007"]
    assert {e.artefact for e in read} == {artefact(stated(CREDIT, RETURN)).sha256}


def test_a_day_of_returns_is_below_zero() -> None:
    """The total is credits minus returns: a day on which only returns came is negative, and read."""
    statement = make_adapter().statement(artefact(stated(RETURN)))
    assert statement is not None
    assert [e.booking for e in statement.entries] == [Booking.RETURN]


def test_other_files_are_no_statement() -> None:
    """A result and an acknowledgement are no statement, and neither is a stranger's."""
    bank = make_adapter()
    assert bank.statement(sample_artefact("01")) is None
    assert bank.statement(Artefact.of(f"20261124/{STEM}.ack", b"")) is None
    assert bank.statement(artefact(stated(CREDIT), "20261125/DZ_402XJ0002_20261125.txt")) is None


@pytest.mark.parametrize(
    "content",
    [
        stated(CREDIT, head="2|123456"),
        stated(CREDIT, head="1|123457"),
        stated(CREDIT, trailer="1|123457"),
        stated(CREDIT, trailer="2|123456"),
        stated(CREDIT, RETURN, head="2|183456"),  # returns added instead of taken away
        stated(CREDIT).replace(b"20261125|1|", b"20261124|1|"),
        stated(CREDIT.replace("|C|", "|D|")),
        stated(CREDIT.replace("|H1|", "||")),
        stated(CREDIT.replace("20261125", "20261131")),
        stated(CREDIT + "|more"),
        stated(CREDIT).replace(b"REF1", b"REF2"),
        b"",
    ],
)
def test_statement_that_does_not_add_up_is_unreadable(content: bytes) -> None:
    """Wrong counts, totals, digest, day or fields: no entry of it counts, as statement and as evidence."""
    for read in (make_adapter().statement, make_adapter().parse):
        with pytest.raises(Unreadable):
            read(artefact(content))


def test_truncated_statement_yields_nothing() -> None:
    """A statement cut at any byte is unreadable, even with an .ok that fits the rest."""
    content = stated(CREDIT, RETURN)
    for length in range(len(content)):
        with pytest.raises(Unreadable):
            make_adapter().parse(artefact(content[:length]))


def test_statement_of_another_day_than_its_name_is_unreadable() -> None:
    """A statement speaks for the day its file name says, and that day must exist."""
    for name in ("20261125/DZ_402XJ0001_20261124.txt", "20261125/DZ_402XJ0001_20261131.txt"):
        with pytest.raises(Unreadable):
            make_adapter().statement(artefact(stated(CREDIT), name))


async def test_statement_is_collected_and_archived(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """The statement comes with its .ok like a result, once, and both go to done/ when it is settled."""
    put(bank, f"down/20261125/{NAME}", stated(CREDIT))
    assert [pair async for pair in adapter.collect(wire, "")] == []  # without its .ok it does not exist
    put_result(bank, f"down/20261125/{NAME}", stated(CREDIT))
    all_at_once(bank)
    ((found, cursor),) = [pair async for pair in adapter.collect(wire, "")]
    assert found.name == f"20261125/{NAME}"
    assert [e.proof for e in adapter.parse(found)] == [Proof.CREDITED]
    assert [e.submission for e in adapter.parse(found)] == [BATCH]
    await adapter.settle(found, wire)
    day = bank.root / "down/20261125"
    assert sorted(path.name for path in (day / "done").iterdir()) == [NAME, f"{NAME}.ok"]
    assert [pair async for pair in adapter.collect(wire, cursor)] == []
