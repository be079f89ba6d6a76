"""rcc_file over real SFTP: sending once, and asking what became of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.banks.rcc_file import PROFILE
from adapters.banks.rcc_file.bank import RccFileAdapter, RccFileSettings
from adapters.contract import Proof, Reason, Rendered
from adapters.wire.sftp import SftpError, SftpTransport, SftpWire
from tests.adapters.rcc_file_kit import (
    ABSENT,
    ACK,
    DOUBT,
    FIRST,
    NO_FUNDS,
    RECEIVED,
    REFUSED,
    SAMPLES,
    STEM,
    TAKEN,
    UP,
    heads,
    put,
    put_result,
)
from tests.adapters.sftp_kit import Bank, Files


async def test_submit_uploads_the_sample(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered
) -> None:
    """The file and its .ok arrive as in the samples, the .ok last, and the evidence is receipt, never a credit."""
    assert heads(await adapter.submit(rendered, wire)) == RECEIVED
    assert wire.crossed
    for name in (f"{STEM}.txt", f"{STEM}.txt.ok"):
        assert (bank.root / UP / name).read_bytes() == (SAMPLES / name).read_bytes()
    assert len(list((bank.root / UP).iterdir())) == 2
    assert [Path(path).name for path in bank.done("rename")] == [f"{STEM}.txt", f"{STEM}.txt.ok"]


async def test_submit_to_a_quick_bank(bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered) -> None:
    """A bank that takes both files away the moment the .ok stands has received them; that is no failure."""

    async def take(files: Files, path: bytes) -> None:
        if path.endswith(b".ok"):
            (bank.root / UP / "taken").mkdir()
            for name in (f"{STEM}.txt", f"{STEM}.txt.ok"):
                (bank.root / UP / name).rename(bank.root / UP / "taken" / name)

    bank.afterwards["rename"] = take
    assert heads(await adapter.submit(rendered, wire)) == RECEIVED


async def test_submit_notices_a_file_that_is_not_there(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered
) -> None:
    """A batch file that is gone or short before its .ok went up stops the sending: nobody has asked for it yet."""

    async def lose(files: Files, path: bytes) -> None:
        (bank.root / UP / f"{STEM}.txt").unlink()

    bank.afterwards["rename"] = lose
    with pytest.raises(SftpError):
        await adapter.submit(rendered, wire)
    assert [path.rpartition("/")[2] for path in bank.done("rename")] == [f"{STEM}.txt"]


@pytest.mark.parametrize(
    "sign",
    [f"{UP}/{STEM}.txt.ok", f"{UP}/taken/{STEM}.txt", f"{UP}/taken/{STEM}.txt.ok", f"down/20261125/{ACK}"],
)
async def test_submit_sends_nothing_that_the_bank_has(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered, sign: str
) -> None:
    """Whoever asks for it: a batch of which the bank shows a sign is not uploaded again."""
    put(bank, sign, TAKEN)
    assert heads(await adapter.submit(rendered, wire)) == RECEIVED
    assert not wire.crossed
    assert (bank.done("create"), bank.done("rename")) == ([], [])


async def test_submit_sends_nothing_while_an_answer_is_unclear(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered
) -> None:
    """An acknowledgement that cannot be read stops the sending: it may say "taken"."""
    put(bank, f"down/20261124/{ACK}", TAKEN[:-1])
    assert heads(await adapter.submit(rendered, wire)) == DOUBT
    assert not wire.crossed


async def test_submit_after_a_refusal_archives_the_old_acknowledgement_first(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered
) -> None:
    """An old refusal is out of the inbox before the same file goes up again: it must not answer for the new one."""
    put(bank, f"down/20261124/{ACK}", NO_FUNDS)
    put(bank, f"{UP}/refused/{STEM}.txt", rendered.payload)
    assert heads(await adapter.submit(rendered, wire)) == RECEIVED
    renamed = [path.rpartition("/")[2] for path in bank.done("rename")]
    assert list(dict.fromkeys(renamed)) == [ACK, f"{STEM}.txt", f"{STEM}.txt.ok"]
    assert not (bank.root / "down/20261124" / ACK).exists()


async def test_submit_refuses_other_bytes(adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered) -> None:
    """Bytes that do not have the digest fixed at rendering are not sent."""
    changed = Rendered(
        rendered.submission,
        rendered.payload + b" ",
        rendered.sha256,
        rendered.remote_name,
        rendered.references,
        rendered.total_fen,
        rendered.rendered_at,
    )
    with pytest.raises(ValueError):
        await adapter.submit(changed, wire)
    assert not wire.crossed


async def test_cut_between_file_and_ok_is_absent_and_can_be_completed(
    bank: Bank, settings: RccFileSettings, adapter: RccFileAdapter, rendered: Rendered
) -> None:
    """Cut after the first rename the wire is crossed; but without its .ok no file exists, and the same bytes may go."""
    transport: SftpTransport = PROFILE.transport(settings)
    bank.afterwards["rename"] = bank.drop
    async with transport.wire() as wire:
        with pytest.raises(SftpError):
            await adapter.submit(rendered, wire)
        assert wire.crossed
    bank.afterwards.clear()
    assert [path.name for path in (bank.root / UP).glob("*.txt*") if path.suffix != ".part"] == [f"{STEM}.txt"]
    async with transport.wire() as wire:
        assert heads(await adapter.probe(rendered, wire)) == ABSENT
        assert heads(await adapter.submit(rendered, wire)) == RECEIVED
        assert heads(await adapter.probe(rendered, wire)) == RECEIVED
    await transport.close()
    assert (bank.root / UP / f"{STEM}.txt").read_bytes() == rendered.payload


# --- probe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ABSENT),
        ({f"{UP}/{STEM}.txt": b"x"}, ABSENT),
        ({f"{UP}/{STEM}.txt.12345678.part": b"x"}, ABSENT),
        ({f"{UP}/{STEM}.txt.ok": b"x"}, RECEIVED),
        ({f"{UP}/taken/{STEM}.txt": b"x"}, RECEIVED),
        ({f"{UP}/refused/{STEM}.txt": b"x"}, DOUBT),
        ({f"{UP}/refused/{STEM}.txt": b"x", f"down/20261124/{ACK}": NO_FUNDS}, REFUSED),
        ({f"down/20261124/{ACK}": NO_FUNDS}, REFUSED),
        ({f"down/20261124/{ACK}": NO_FUNDS[:-2]}, DOUBT),
        ({f"down/20261124/{ACK}": TAKEN}, RECEIVED),
        ({f"down/20261123/{ACK}": TAKEN}, RECEIVED),
        ({f"down/20261122/{ACK}": TAKEN}, ABSENT),
        ({f"down/20261124/{ACK}": TAKEN.replace(b"0000", b"F003")}, RECEIVED),
        ({f"down/20261124/{ACK}": TAKEN.replace(b"0000", b"F099")}, DOUBT),
        ({f"{UP}/taken/{STEM}.txt": b"x", f"down/20261124/{ACK}": NO_FUNDS}, RECEIVED),
        ({f"{UP}/refused/{STEM}.txt": b"x", f"down/20261124/done/{ACK}": NO_FUNDS}, ABSENT),
        ({f"down/20261124/done/{ACK}": NO_FUNDS}, ABSENT),
        ({f"down/20261124/done/{ACK}": TAKEN}, RECEIVED),
        ({f"down/20261124/{FIRST}": b"x"}, DOUBT),
        ({f"down/20261124/done/{FIRST}": b"x"}, DOUBT),
        ({f"down/20261124/{FIRST.replace('0001_00', '0002_00')}": b"x"}, ABSENT),
    ],
)
async def test_probe_reads_the_directories(
    bank: Bank,
    adapter: RccFileAdapter,
    wire: SftpWire,
    rendered: Rendered,
    files: dict[str, bytes],
    expected: list[tuple[Proof, Reason | None]],
) -> None:
    """Absence is said only when nothing anywhere speaks of the batch; a refusal only when it is of the last sending."""
    for path, content in files.items():
        put(bank, path, content)
    assert heads(await adapter.probe(rendered, wire)) == expected
    assert not wire.crossed
    assert (bank.done("create"), bank.done("rename")) == ([], [])


@pytest.mark.parametrize("place", ["down/20261125", "down/20261125/done"])
async def test_probe_gives_the_lines_it_finds(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered, place: str
) -> None:
    """Results of the batch are evidence wherever they lie, and the artefacts they came from are kept on the wire."""
    for part in ("01", "02"):
        for name in (f"{STEM}.{part}.res", f"{STEM}.{part}.res.ok"):
            put(bank, f"{place}/{name}", (SAMPLES / name).read_bytes())
    evidence = await adapter.probe(rendered, wire)
    assert heads(evidence) == RECEIVED
    proofs = [each.proof for each in evidence if each.reference is not None]
    assert proofs == [Proof.CREDITED, Proof.REJECTED, Proof.CREDITED, Proof.RETURNED]
    assert {each.artefact for each in evidence if each.reference} == {kept.sha256 for kept in wire.artefacts}


async def test_probe_believes_no_truncated_result(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered
) -> None:
    """A result that does not agree with its .ok gives no line, and no absence either."""
    content = (SAMPLES / FIRST).read_bytes()
    put_result(bank, f"down/20261125/{FIRST}", content[:-40], ok_of=content)
    evidence = await adapter.probe(rendered, wire)
    assert heads(evidence) == DOUBT
    assert len(evidence) == 1
    assert len(wire.artefacts) == 1
