"""iso20022 over real SFTP: sending once, and asking what became of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from adapters.banks.iso20022 import PROFILE
from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.iso20022.settings import Iso20022Settings
from adapters.contract import Proof, Reason, Rendered
from adapters.wire.sftp import SftpError, SftpTransport, SftpWire
from tests.adapters.iso20022_kit import FIRST, MSG, SAMPLES, SECOND, heads, lines_of, reason, report, tx
from tests.adapters.rcc_file_kit import ABSENT, DOUBT, RECEIVED, REFUSED, put
from tests.adapters.sftp_kit import Bank, Files

IN, OUT = "in/20261124", "out/20261124"
FILE = f"{MSG}.xml"
ANSWER = f"pain002_{MSG}_01.xml"
TAKEN = report(group="ACTC")
NO_FUNDS = report(group="RJCT", reasons=reason("AM04"))
KNOWN = report(group="RJCT", reasons=reason("AM05"))
ALL_REJECTED = report(group="RJCT", reasons=reason("AC04"))
ONE_BAD = report(tx(FIRST), tx(SECOND, "RJCT", "BE01"), group="RJCT")
RESULT = (SAMPLES / "pain.002.001.10.xml").read_bytes()
ASKED: list[tuple[Proof, Reason | None]] = [(Proof.IN_DOUBT, None)]
CLOSED = [(Proof.REJECTED, Reason.ACCOUNT_CLOSED)]


async def test_submit_uploads_the_sample(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """The document arrives as in the sample by one rename, and the evidence is receipt, never a credit."""
    assert heads(await iso.submit(iso_rendered, iso_wire)) == RECEIVED
    assert iso_wire.crossed
    assert [path.name for path in (bank.root / IN).iterdir()] == [FILE]
    assert (bank.root / IN / FILE).read_bytes() == (SAMPLES / "pain.001.001.09.xml").read_bytes()
    assert [Path(path).name for path in bank.done("rename")] == [FILE]
    assert [Path(path).suffix for path in bank.done("create")] == [".part", ".part"]  # the first made the directory


async def test_submit_to_a_quick_bank(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """A bank that takes the file away the moment it stands has received it; that is no failure."""

    async def take(files: Files, path: bytes) -> None:
        (bank.root / IN / "taken").mkdir()
        (bank.root / IN / FILE).rename(bank.root / IN / "taken" / FILE)

    bank.afterwards["rename"] = take
    assert heads(await iso.submit(iso_rendered, iso_wire)) == RECEIVED


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (f"{IN}/{FILE}", b"x", RECEIVED),
        (f"{IN}/taken/{FILE}", b"x", RECEIVED),
        (f"{IN}/refused/{FILE}", b"x", DOUBT),
        (f"{OUT}/{ANSWER}", TAKEN, RECEIVED),
        (f"{OUT}/{ANSWER}", KNOWN, ASKED),
        (f"{OUT}/{ANSWER}", TAKEN[:-1], DOUBT),
        (f"{OUT}/{ANSWER}", ALL_REJECTED, CLOSED),
        (f"{OUT}/done/{ANSWER}", TAKEN, RECEIVED),
        (f"{OUT}/done/{ANSWER}", RESULT, RECEIVED),
        (f"{OUT}/done/{ANSWER}", KNOWN, ASKED),
        (f"{OUT}/done/{ANSWER}", ALL_REJECTED, CLOSED),
        ("out/20261201/pain002_DF202611240004_09.xml", RESULT, RECEIVED),
    ],
)
async def test_submit_looks_first(
    bank: Bank,
    iso: Iso20022Adapter,
    iso_wire: SftpWire,
    iso_rendered: Rendered,
    path: str,
    content: bytes,
    expected: list[tuple[Proof, Reason | None]],
) -> None:
    """A MsgId of which the bank shows any sign, in the inbox or in our archive, is not sent, whoever asks for it."""
    put(bank, path, content)
    assert heads(await iso.submit(iso_rendered, iso_wire)) == expected
    assert not iso_wire.crossed
    assert bank.done("create") == []


async def test_submit_sends_nothing_after_a_refusal_line_by_line(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """A file that was refused for one line does not go again: its good lines travel in another one."""
    put(bank, f"{IN}/refused/{FILE}", b"x")
    put(bank, f"{OUT}/{ANSWER}", ONE_BAD)
    evidence = await iso.submit(iso_rendered, iso_wire)
    assert heads(evidence) == []
    assert [proof for _, proof, _ in lines_of(evidence)] == [Proof.NOT_TAKEN, Proof.REJECTED]
    assert not iso_wire.crossed


async def test_submit_again_after_a_refusal(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """An old refusal leaves the inbox before the same file goes up again: it must not answer for the new one."""
    put(bank, f"{OUT}/{ANSWER}", NO_FUNDS)
    put(bank, f"{IN}/refused/{FILE}", iso_rendered.payload)
    assert heads(await iso.submit(iso_rendered, iso_wire)) == RECEIVED
    renamed = [path.rpartition("/")[2] for path in bank.done("rename")]
    assert list(dict.fromkeys(renamed)) == [ANSWER, FILE]
    assert (bank.root / OUT / "done" / ANSWER).exists()


async def test_submit_refuses_other_bytes_and_another_name(
    iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """Bytes that do not have the digest fixed at rendering, or a file not named for them, are not sent."""
    for changes in (
        {"payload": iso_rendered.payload + b" "},
        {"remote_name": "in/20261124/DF202611240005.xml"},
        {"remote_name": f"in/20261124/{MSG}.txt"},
    ):
        with pytest.raises(ValueError):
            await iso.submit(dataclasses.replace(iso_rendered, **changes), iso_wire)
    assert not iso_wire.crossed


async def test_lost_at_the_rename_is_crossed_and_found(
    bank: Bank, iso_settings: Iso20022Settings, iso: Iso20022Adapter, iso_rendered: Rendered
) -> None:
    """Cut right after the rename the wire is crossed; asking finds the file, and it is not sent again."""
    transport: SftpTransport = PROFILE.transport(iso_settings)
    bank.afterwards["rename"] = bank.drop
    async with transport.wire() as wire:
        with pytest.raises(SftpError):
            await iso.submit(iso_rendered, wire)
        assert wire.crossed
    bank.afterwards.clear()
    async with transport.wire() as wire:
        assert heads(await iso.probe(iso_rendered, wire)) == RECEIVED
        assert heads(await iso.submit(iso_rendered, wire)) == RECEIVED
        assert not wire.crossed
    await transport.close()


async def test_lost_before_the_rename_is_not_sent(
    bank: Bank, iso_settings: Iso20022Settings, iso: Iso20022Adapter, iso_rendered: Rendered
) -> None:
    """Cut during the upload nothing was sent: what lies there has a name on which the bank does not act."""
    transport: SftpTransport = PROFILE.transport(iso_settings)
    bank.faults["fsync"] = bank.drop
    async with transport.wire() as wire:
        with pytest.raises(SftpError):
            await iso.submit(iso_rendered, wire)
        assert not wire.crossed
    bank.faults.clear()
    assert [path.suffix for path in (bank.root / IN).iterdir()] == [".part"]
    async with transport.wire() as wire:
        assert heads(await iso.probe(iso_rendered, wire)) == ABSENT
    await transport.close()


# --- probe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ABSENT),
        ({f"{IN}/{FILE}.12345678.part": b"x"}, ABSENT),
        ({f"{IN}/DF202611240005.xml": b"x"}, ABSENT),
        ({f"{IN}/{FILE}": b"x"}, RECEIVED),
        ({f"{IN}/taken/{FILE}": b"x"}, RECEIVED),
        ({f"{IN}/refused/{FILE}": b"x"}, DOUBT),
        ({f"{IN}/refused/{FILE}": b"x", f"{OUT}/{ANSWER}": NO_FUNDS}, REFUSED),
        ({f"{OUT}/{ANSWER}": NO_FUNDS}, REFUSED),
        ({f"{OUT}/{ANSWER}": NO_FUNDS[:-2]}, DOUBT),
        ({f"{OUT}/{ANSWER}": TAKEN}, RECEIVED),
        ({f"out/20261123/{ANSWER}": TAKEN}, RECEIVED),
        ({f"out/20261122/{ANSWER}": TAKEN}, ABSENT),
        ({f"{OUT}/{ANSWER}": KNOWN}, ASKED),
        ({f"{OUT}/{ANSWER}": ALL_REJECTED}, CLOSED),
        ({f"{IN}/refused/{FILE}": b"x", f"{OUT}/{ANSWER}": ALL_REJECTED}, CLOSED),
        ({f"{IN}/taken/{FILE}": b"x", f"{OUT}/{ANSWER}": NO_FUNDS}, RECEIVED),
        ({f"{IN}/refused/{FILE}": b"x", f"{OUT}/done/{ANSWER}": NO_FUNDS}, ABSENT),
        ({f"{OUT}/done/{ANSWER}": NO_FUNDS}, ABSENT),
        ({f"{OUT}/done/{ANSWER}": TAKEN, f"{OUT}/pain002_{MSG}_02.xml": NO_FUNDS}, RECEIVED),
        ({f"{OUT}/done/{ANSWER}": b"x"}, DOUBT),
        ({f"{OUT}/{ANSWER.replace('0004', '0005')}": b"x"}, ABSENT),
        ({f"{OUT}/camt054_20261124_000001.xml": b"x", f"{OUT}/camt053_20261124.xml": b"x"}, ABSENT),
    ],
)
async def test_probe_reads_the_directories(
    bank: Bank,
    iso: Iso20022Adapter,
    iso_wire: SftpWire,
    iso_rendered: Rendered,
    files: dict[str, bytes],
    expected: list[tuple[Proof, Reason | None]],
) -> None:
    """Absence is said only when nothing anywhere speaks of the MsgId; a refusal only when it is of the last sending."""
    for path, content in files.items():
        put(bank, path, content)
    assert heads(await iso.probe(iso_rendered, iso_wire)) == expected
    assert not iso_wire.crossed
    assert (bank.done("create"), bank.done("rename")) == ([], [])


async def test_probe_asks_in_the_order_in_which_files_move(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """Upload, taken/, refused/, inbox, archive: a file that moves on while we look is seen at one of its places."""
    (bank.root / OUT / "done").mkdir(parents=True)
    await iso.probe(iso_rendered, iso_wire)
    asked = [path for what, path in bank.log if what in ("stat", "list")]
    places = [f"/{IN}/{FILE}", f"/{IN}/taken/{FILE}", f"/{IN}/refused/{FILE}", f"/{OUT}", f"/{OUT}/done"]
    assert [path for path in asked if path in places] == places


@pytest.mark.parametrize("place", ["out/20261125", "out/20261125/done"])
async def test_probe_gives_the_lines_it_finds(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered, place: str
) -> None:
    """Results are evidence wherever they lie, collected and archived ones too, and their artefacts are kept."""
    put(bank, f"{IN}/taken/{FILE}", b"x")
    put(bank, f"{place}/{ANSWER}", RESULT)
    evidence = await iso.probe(iso_rendered, iso_wire)
    assert heads(evidence) == RECEIVED
    assert lines_of(evidence) == [(FIRST, Proof.CREDITED, None), (SECOND, Proof.REJECTED, Reason.ACCOUNT_CLOSED)]
    assert {each.artefact for each in evidence if each.reference} == {kept.sha256 for kept in iso_wire.artefacts}


async def test_probe_sees_a_result_that_is_archived_meanwhile(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """A result that somebody archives between the listing of the inbox and the reading of it is still found."""
    found = put(bank, f"{OUT}/{ANSWER}", RESULT)
    (bank.root / OUT / "done").mkdir()

    async def archive(files: Files, path: bytes) -> None:
        if found.exists():
            found.rename(bank.root / OUT / "done" / ANSWER)

    bank.faults["open"] = archive
    evidence = await iso.probe(iso_rendered, iso_wire)
    assert [proof for _, proof, _ in lines_of(evidence)] == [Proof.CREDITED, Proof.REJECTED]
    assert Proof.IN_DOUBT not in [each.proof for each in evidence]


async def test_an_answer_that_vanishes_while_we_look_is_doubt(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """An answer that was listed and is nowhere when it is read is a trace of the submission: not absent, not sent."""
    found = put(bank, f"{OUT}/{ANSWER}", RESULT)

    async def remove(files: Files, path: bytes) -> None:
        found.unlink(missing_ok=True)

    bank.faults["open"] = remove
    assert heads(await iso.probe(iso_rendered, iso_wire)) == DOUBT


async def test_probe_passes_on_a_refusal_line_by_line(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered
) -> None:
    """Of a file refused for one line nothing is said to be received: the lines say all, in the archive too."""
    put(bank, f"{IN}/refused/{FILE}", b"x")
    for place in (OUT, f"{OUT}/done"):
        put(bank, f"{place}/{ANSWER}", ONE_BAD)
        evidence = await iso.probe(iso_rendered, iso_wire)
        assert heads(evidence) == []
        assert lines_of(evidence)[0] == (FIRST, Proof.NOT_TAKEN, Reason.NOT_EXECUTED)
        (bank.root / place / ANSWER).unlink()
