"""iso20022 over real SFTP: collecting reports, notifications and statements, and archiving what is done."""

from __future__ import annotations

import pytest

from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.iso20022.settings import Iso20022Settings
from adapters.contract import Artefact, Proof, Rendered, Unreadable
from adapters.wire.sftp import SftpWire
from tests.adapters.iso20022_kit import (
    FIRST,
    MSG,
    account_day,
    balance,
    came_back,
    notification,
    paid,
    report,
    statement,
    tx,
)
from tests.adapters.rcc_file_kit import OLD, all_at_once, put
from tests.adapters.sftp_kit import Bank

RESULT = report(tx(FIRST, "ACCC", host="H1"))
RETURN = notification(came_back(FIRST))
STATED = statement(account_day(paid(FIRST), balances=balance("OPBD", "600.00") + balance("CLBD", "0.00")))
DAY = "out/20261125"
ACK_NAME, RESULT_NAME = f"pain002_{MSG}_01.xml", f"pain002_{MSG}_02.xml"


async def collected(iso: Iso20022Adapter, wire: SftpWire, cursor: str) -> tuple[list[Artefact], str]:
    given = [pair async for pair in iso.collect(wire, cursor)]
    return [artefact for artefact, _ in given], given[-1][1] if given else cursor


def names(artefacts: list[Artefact]) -> list[str]:
    return [artefact.name for artefact in artefacts]


async def test_collect_gives_each_file_once_oldest_first(bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire) -> None:
    """Reports, notifications and statements come once, in the order of writing; nothing else comes at all."""
    put(bank, f"{DAY}/camt054_20261125_000001.xml", RETURN, OLD + 50)
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT, OLD + 20)
    put(bank, f"out/20261124/{ACK_NAME}", report(group="ACTC"), OLD)
    put(bank, "out/20261126/camt053_20261125.xml", STATED, OLD + 90)
    for stranger in ("x.xml", f"{RESULT_NAME}.part", f"pain002_{MSG}.xml", "camt052_20261125.xml", f"{RESULT_NAME}.ok"):
        put(bank, f"{DAY}/{stranger}", RESULT)
    found, cursor = await collected(iso, iso_wire, "")
    assert names(found) == [
        f"20261124/{ACK_NAME}",
        f"20261125/{RESULT_NAME}",
        "20261125/camt054_20261125_000001.xml",
        "20261126/camt053_20261125.xml",
    ]
    assert [e.proof for a in found for e in iso.parse(a)] == [Proof.RECEIVED, Proof.CREDITED, Proof.RETURNED]
    assert [iso.statement(a) is not None for a in found] == [False, False, False, True]
    assert await collected(iso, iso_wire, cursor) == ([], cursor)
    assert iso_wire.artefacts == []


async def test_collect_notices_a_file_rewritten_in_the_same_second(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire
) -> None:
    """A file corrected under the same name, with the same size in the same second, is a new artefact."""
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT)
    all_at_once(bank, area="out")
    (first,), cursor = await collected(iso, iso_wire, "")
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT.replace(b"ACCC", b"ACSP"))
    all_at_once(bank, area="out")
    (second,), cursor = await collected(iso, iso_wire, cursor)
    assert first.sha256 != second.sha256
    assert (await collected(iso, iso_wire, cursor))[0] == []


async def test_a_truncated_file_is_given_and_its_correction_too(
    bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire
) -> None:
    """A file that cannot be read is given, so that its refusal is known, hides no other, and so is what follows it."""
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT[:-20])
    put(bank, f"{DAY}/camt054_20261125_000001.xml", RETURN, OLD + 1)
    (broken, sound), cursor = await collected(iso, iso_wire, "")
    with pytest.raises(Unreadable):
        iso.parse(broken)
    assert [e.proof for e in iso.parse(sound)] == [Proof.RETURNED]
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT)
    (mended,), _ = await collected(iso, iso_wire, cursor)
    assert [e.proof for e in iso.parse(mended)] == [Proof.CREDITED]


async def test_collect_marks_an_oversize_file_unreadable(
    bank: Bank, iso_settings: Iso20022Settings, iso_wire: SftpWire
) -> None:
    """A file beyond the bound is not downloaded; what is given in its place is unreadable."""
    iso = Iso20022Adapter("iso", iso_settings.model_copy(update={"max_answer_bytes": 1_024}))
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT + b" " * 1_024)
    (found,), _ = await collected(iso, iso_wire, "")
    assert len(found.content) < 100
    with pytest.raises(Unreadable):
        iso.parse(found)


async def test_settle_archives_and_may_be_repeated(bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire) -> None:
    """A settled file lies in done/, is collected no more, and settling again changes nothing."""
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT)
    put(bank, f"{DAY}/camt054_20261125_000001.xml", RETURN)
    found, cursor = await collected(iso, iso_wire, "")
    for artefact in found * 2:
        await iso.settle(artefact, iso_wire)
    day = bank.root / DAY
    assert sorted(path.name for path in day.iterdir()) == ["done"]
    assert sorted(path.name for path in (day / "done").iterdir()) == ["camt054_20261125_000001.xml", RESULT_NAME]
    assert await collected(iso, iso_wire, "") == ([], "")
    assert (await collected(iso, iso_wire, cursor))[0] == []
    assert not iso_wire.crossed


async def test_settle_leaves_what_the_bank_has_rewritten(bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire) -> None:
    """A file rewritten since it was collected stays where it is, to be collected again."""
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT)
    (found,), cursor = await collected(iso, iso_wire, "")
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT.replace(b"H1", b"H2"), OLD + 1)
    await iso.settle(found, iso_wire)
    assert len((await collected(iso, iso_wire, cursor))[0]) == 1


@pytest.mark.parametrize("name", [f"../{RESULT_NAME}", f"20261125/../{RESULT_NAME}", "20261125/x.xml", RESULT_NAME])
async def test_settle_moves_nothing_but_answers(iso: Iso20022Adapter, iso_wire: SftpWire, name: str) -> None:
    """An artefact whose name is not one of this inbox moves nothing."""
    with pytest.raises(ValueError):
        await iso.settle(Artefact.of(name, RESULT), iso_wire)


async def test_hostile_names_hide_nothing(bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire) -> None:
    """Names with ../ and directories from the far future are neither opened nor in the way."""
    (bank.root / "out/99991231").mkdir()
    put(bank, f"{DAY}/{RESULT_NAME}", RESULT)
    bank.hostile_names = [f"../{RESULT_NAME}".encode(), b"..", f"{RESULT_NAME}\x00".encode()]
    found, _ = await collected(iso, iso_wire, "")
    assert names(found) == [f"20261125/{RESULT_NAME}"]
    assert all(".." not in path for _, path in bank.log)


async def test_ping_and_cancel(bank: Bank, iso: Iso20022Adapter, iso_wire: SftpWire, iso_rendered: Rendered) -> None:
    """Ping touches nothing but the root; a file cannot be taken back, and the adapter says so."""
    await iso.ping(iso_wire)
    assert {what for what, _ in bank.log} <= {"stat"}
    with pytest.raises(NotImplementedError):
        await iso.cancel(iso_rendered, iso_wire)
