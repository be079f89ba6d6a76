"""rcc_file over real SFTP: collecting everything that is new, cheaply and often, and archiving what is done."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import asyncssh
import pytest

from adapters.banks.rcc_file.bank import RccFileAdapter, RccFileSettings
from adapters.contract import Artefact, Proof, Rendered, Unreadable
from adapters.wire.sftp import SftpRefused, SftpWire
from tests.adapters.rcc_file_kit import (
    ACK,
    FIRST,
    NO_FUNDS,
    OLD,
    STEM,
    TAKEN,
    all_at_once,
    put,
    put_result,
    result,
    row,
)
from tests.adapters.sftp_kit import Bank, Files


async def collected(adapter: RccFileAdapter, wire: SftpWire, cursor: str) -> tuple[list[Artefact], str]:
    given = [pair async for pair in adapter.collect(wire, cursor)]
    return [artefact for artefact, _ in given], given[-1][1] if given else cursor


def names(artefacts: list[Artefact]) -> list[str]:
    return [artefact.name for artefact in artefacts]


SOUND = result(row(1, 100, "S", "0000"))


async def test_collect_gives_each_answer_once_oldest_first(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """Acknowledgements, and results whose .ok is there, come once, in the order in which the bank wrote them."""
    put_result(bank, f"down/20261125/{FIRST}", SOUND, mtime=OLD + 50)
    put(bank, f"down/20261125/{STEM}.02.res", SOUND)
    put(bank, f"down/20261124/{ACK}", TAKEN)
    put_result(bank, f"down/20261125/{STEM}.03.res", SOUND, mtime=OLD + 20)
    put_result(bank, "down/20261125/DF_402XJ0002_DF202611240001_00.01.res", SOUND)
    put_result(bank, "down/20261125/DZ_402XJ0002_20261124.txt", b"a stranger's statement")
    found, cursor = await collected(adapter, wire, "")
    assert names(found) == [f"20261124/{ACK}", f"20261125/{STEM}.03.res", f"20261125/{FIRST}"]
    assert [e.proof for a in found for e in adapter.parse(a)] == [Proof.RECEIVED, Proof.CREDITED, Proof.CREDITED]
    assert await collected(adapter, wire, cursor) == ([], cursor)
    assert wire.artefacts == []


async def test_collect_from_an_older_cursor_gives_the_rest_again(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire
) -> None:
    """What was not committed is given again: each artefact's cursor stands for itself and those before it."""
    for day in range(20, 29):
        put_result(bank, f"down/202611{day}/{FIRST}", SOUND)
    cursors = [cursor async for _, cursor in adapter.collect(wire, "")]
    assert len(cursors) == 7  # the horizon of five days and the days around midnight
    for position, cursor in enumerate(cursors):
        found, _ = await collected(adapter, wire, cursor)
        assert len(found) == len(cursors) - position - 1
    fresh = RccFileAdapter("rcc", adapter._settings)
    assert (await collected(fresh, wire, cursors[-1]))[0] == []


async def test_collect_notices_a_file_rewritten_in_the_same_second(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire
) -> None:
    """A file corrected under the same name, with the same size in the same second, is a new artefact."""
    put_result(bank, f"down/20261125/{FIRST}", SOUND)
    put(bank, f"down/20261125/{ACK}", NO_FUNDS)
    all_at_once(bank)
    first, cursor = await collected(adapter, wire, "")
    put_result(bank, f"down/20261125/{FIRST}", SOUND.replace(b"REF1", b"REF2"))
    put(bank, f"down/20261125/{ACK}", NO_FUNDS.replace(b"F007", b"0000"))
    all_at_once(bank)
    second, cursor = await collected(adapter, wire, cursor)
    assert sorted(names(second)) == sorted(names(first))
    assert {a.sha256 for a in first}.isdisjoint({a.sha256 for a in second})
    assert (await collected(adapter, wire, cursor))[0] == []


async def test_collect_quarantines_a_truncated_result_and_gives_the_sound_one_later(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire
) -> None:
    """A result that disagrees with its .ok is given, so that its refusal is known; its correction is given too."""
    put_result(bank, f"down/20261125/{FIRST}", SOUND[:-1], ok_of=SOUND)
    (broken,), cursor = await collected(adapter, wire, "")
    with pytest.raises(Unreadable):
        adapter.parse(broken)
    assert await collected(adapter, wire, cursor) == ([], cursor)
    await adapter.settle(broken, wire)  # must not archive what is still being written
    put(bank, f"down/20261125/{FIRST}", SOUND)
    (sound,), _ = await collected(adapter, wire, cursor)
    assert [e.proof for e in adapter.parse(sound)] == [Proof.CREDITED]


async def test_collect_goes_on_past_a_file_that_cannot_be_read(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire
) -> None:
    """One file that the server will not open hides no other, and is given when it can be read."""
    put(bank, f"down/20261124/{ACK}", TAKEN)
    put_result(bank, f"down/20261125/{FIRST}", SOUND)

    async def forbid(files: Files, path: bytes) -> None:
        if path.endswith(b".ack"):
            raise asyncssh.SFTPPermissionDenied("no")

    bank.faults["open"] = forbid
    found, cursor = await collected(adapter, wire, "")
    assert names(found) == [f"20261125/{FIRST}"]
    with pytest.raises(SftpRefused):  # nothing new but a failure: that is no quiet inbox
        await collected(adapter, wire, cursor)
    bank.faults.clear()
    assert names((await collected(adapter, wire, cursor))[0]) == [f"20261124/{ACK}"]


async def test_collect_marks_an_oversize_file_unreadable(bank: Bank, settings: RccFileSettings, wire: SftpWire) -> None:
    """A result or acknowledgement beyond the bound is not downloaded; what is given in its place is unreadable."""
    adapter = RccFileAdapter("rcc", settings.model_copy(update={"max_result_bytes": 1_024}))
    put_result(bank, f"down/20261125/{FIRST}", SOUND * 20)
    put(bank, f"down/20261125/{ACK}", TAKEN * 500)
    found, cursor = await collected(adapter, wire, "")
    assert sorted(names(found)) == [f"20261125/{FIRST}", f"20261125/{ACK}"]
    for artefact in found:
        assert len(artefact.content) < 1_024
        with pytest.raises(Unreadable):
            adapter.parse(artefact)
    assert (await collected(adapter, wire, cursor))[0] == []


async def test_collect_is_cheap_and_still_finds_what_comes_late(
    bank: Bank, adapter: RccFileAdapter, wire: SftpWire
) -> None:
    """A quiet poll lists few directories and reads little; a late file in an old directory is found all the same."""
    for day in range(20, 27):
        put(bank, f"down/202611{day}/{ACK}", TAKEN)
        os.utime(bank.root / f"down/202611{day}", (OLD, OLD))
    put(bank, "down/20261126/recent", b"", OLD + 100)
    found, cursor = await collected(adapter, wire, "")
    assert len(found) == 7
    bank.log.clear()
    assert (await collected(adapter, wire, cursor))[0] == []
    assert len(bank.done("list")) == 1 + 3 + 1
    assert len(bank.done("open")) <= 7
    bank.log.clear()
    put_result(bank, f"down/20261120/{FIRST}", SOUND)
    found, cursor = await collected(adapter, wire, cursor)
    assert names(found) == [f"20261120/{FIRST}"]
    # Rewritten in place without a new time of the directory: its turn comes.
    put_result(bank, f"down/20261121/{STEM}.09.res", SOUND)
    os.utime(bank.root / "down/20261121", (OLD, OLD))
    late = [names((await collected(adapter, wire, cursor))[0]) for _ in range(4)]
    assert [f"20261121/{STEM}.09.res"] in late


async def test_collect_reads_nothing_old_again(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """A file that stays in the inbox is not read at every poll once it is too old to change unnoticed."""
    put(bank, f"down/20261126/{ACK}", TAKEN)
    put_result(bank, f"down/20261126/{FIRST}", SOUND, mtime=OLD + 100)
    all_at_once(bank, OLD + 100)
    _, cursor = await collected(adapter, wire, "")
    bank.log.clear()
    assert (await collected(adapter, wire, cursor))[0] == []
    assert [Path(path).name for path in bank.done("open")] == [f"{FIRST}.ok"]


async def test_collect_is_not_blinded_by_hostile_names(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """Directories from the far future, files where directories belong and names with ../ hide nothing."""
    (bank.root / "down/99991231").mkdir()
    put(bank, "down/20261130", b"a file")
    put(bank, f"down/20261124/{ACK}", TAKEN)
    bank.hostile_names = [f"../{ACK}".encode(), f"../../{FIRST}".encode(), b"..", b"20261199"]
    found, cursor = await collected(adapter, wire, "")
    assert names(found) == [f"20261124/{ACK}"]
    assert "99991231" not in cursor
    assert all(".." not in path for _, path in bank.log)
    assert not any("20261130" in path for path in bank.done("list"))


async def test_cursor_stays_small(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """What has left the inbox has left the cursor: it names files that are there, not all there ever were."""
    cursor = ""
    for number in range(1, 40):
        put_result(bank, f"down/20261125/{STEM}.{number:02d}.res", SOUND)
        (found,), cursor = await collected(adapter, wire, cursor)
        await adapter.settle(found, wire)
    assert len(cursor) < 100


async def test_settle_archives_and_may_be_repeated(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """A settled artefact lies in done/ with its .ok, is collected no more, and settling again changes nothing."""
    put_result(bank, f"down/20261125/{FIRST}", SOUND)
    put(bank, f"down/20261125/{ACK}", TAKEN)
    found, cursor = await collected(adapter, wire, "")
    for artefact in found * 2:
        await adapter.settle(artefact, wire)
    day = bank.root / "down/20261125"
    assert sorted(p.name for p in day.iterdir()) == ["done"]
    assert sorted(p.name for p in (day / "done").iterdir()) == sorted([FIRST, f"{FIRST}.ok", ACK])
    assert await collected(adapter, wire, "") == ([], "")
    assert (await collected(adapter, wire, cursor))[0] == []
    assert not wire.crossed


async def test_settle_leaves_what_the_bank_has_rewritten(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """A file rewritten since it was collected stays where it is, to be collected again."""
    put_result(bank, f"down/20261125/{FIRST}", SOUND)
    put(bank, f"down/20261125/{ACK}", NO_FUNDS)
    found, cursor = await collected(adapter, wire, "")
    put_result(bank, f"down/20261125/{FIRST}", SOUND.replace(b"REF1", b"REF2"), mtime=OLD + 1)
    put(bank, f"down/20261125/{ACK}", TAKEN, mtime=OLD + 1)
    for artefact in found:
        await adapter.settle(artefact, wire)
    assert len((await collected(adapter, wire, cursor))[0]) == 2


async def test_settle_leaves_what_the_bank_is_rewriting(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """A result that has another size by now is being rewritten, though its .ok is still the old one: it stays."""
    put_result(bank, f"down/20261125/{FIRST}", SOUND)
    (found,), _ = await collected(adapter, wire, "")
    put(bank, f"down/20261125/{FIRST}", SOUND[:50])
    await adapter.settle(found, wire)
    assert (bank.root / "down/20261125" / FIRST).exists()


async def test_settle_cut_in_the_middle_is_completed(bank: Bank, adapter: RccFileAdapter, wire: SftpWire) -> None:
    """Cut between the two renames, the rest is moved when it is settled again, and nothing is collected meanwhile."""
    put_result(bank, f"down/20261125/{FIRST}", SOUND)
    (found,), _ = await collected(adapter, wire, "")
    done = bank.root / "down/20261125/done"
    done.mkdir()
    (bank.root / "down/20261125" / FIRST).rename(done / FIRST)
    assert (await collected(adapter, wire, ""))[0] == []
    await adapter.settle(found, wire)
    assert sorted(p.name for p in done.iterdir()) == [FIRST, f"{FIRST}.ok"]


@pytest.mark.parametrize("name", [f"../{ACK}", f"20261125/../{ACK}", "20261125/x.txt", f"20261125/{ACK}/x", ACK])
async def test_settle_moves_nothing_but_answers(adapter: RccFileAdapter, wire: SftpWire, name: str) -> None:
    """An artefact whose name is not one of this inbox moves nothing."""
    with pytest.raises(ValueError):
        await adapter.settle(Artefact.of(name, TAKEN), wire)


async def test_ping_and_cancel(bank: Bank, adapter: RccFileAdapter, wire: SftpWire, rendered: Rendered) -> None:
    """Ping touches nothing but the root; a file cannot be taken back, and the adapter says so."""
    await adapter.ping(wire)
    assert {what for what, _ in bank.log} <= {"stat"}
    with pytest.raises(NotImplementedError):
        await adapter.cancel(rendered, wire)
    assert hashlib.sha256(rendered.payload).hexdigest() == rendered.sha256
