"""The simulated ISO 20022 bank as a process: real SFTP, faults of the connection, and kill -9."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.bank import hand, hand_iso
from tests.bank.process import BankProcess, until

Make = Callable[..., BankProcess]
GONE = (asyncssh.Error, ConnectionError, TimeoutError)
IN = "/in/20261124"


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[BankProcess] = []

    def one(**settings: Any) -> BankProcess:
        made.append(BankProcess(tmp_path / str(len(made)), "iso20022", hang_real_seconds=1, **settings))
        return made[-1]

    yield one
    for bank in made:
        bank.child.kill()


@asynccontextmanager
async def _sftp(bank: BankProcess) -> AsyncIterator[asyncssh.SFTPClient]:
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{bank.port} {bank.ready['host_key']}\n")
    login: dict[str, Any] = {"username": "gateway", "password": "gateway", "client_keys": None, "agent_path": None}
    async with (
        asyncssh.connect("127.0.0.1", bank.port, known_hosts=known, **login) as connection,
        connection.start_sftp_client() as sftp,
    ):
        yield sftp


async def _upload(bank: BankProcess, batch: str, data: bytes) -> None:
    """Write as the manual says: a temporary name, then the one rename."""
    async with _sftp(bank) as sftp:
        async with sftp.open(f"{IN}/{batch}.tmp", "wb") as file:
            await file.write(data)
        await sftp.posix_rename(f"{IN}/{batch}.tmp", f"{IN}/{batch}.xml")


def _paid(bank: BankProcess) -> int:
    return int(bank.column("SELECT count(*) FROM credits")[0])


def _out(bank: BankProcess, pattern: str = "*.xml") -> list[Path]:
    return sorted((bank.disk / "sftp" / "out").glob(f"*/{pattern}"))


async def test_a_file_travels_and_its_reports_come_back(make: Make) -> None:
    """Over real SFTP: uploaded, acknowledged, paid, reported; what is read is logged, and may be moved to done/."""
    bank = make()
    await bank.start()
    await _upload(bank, "DF1", hand_iso.pain001("DF1", hand.payments(3)))
    (report,) = await until(lambda: _out(bank, "pain002_DF1_02.xml"))
    folder = f"/out/{report.parent.name}"
    async with _sftp(bank) as sftp:
        assert {"pain002_DF1_01.xml", report.name} <= set(await sftp.listdir(folder))
        async with sftp.open(f"{folder}/{report.name}", "rb") as file:
            content: Any = await file.read()
        assert content.count(b"<TxSts>ACCC</TxSts>") == 3
        await sftp.mkdir(f"{folder}/done")
        await sftp.rename(f"{folder}/{report.name}", f"{folder}/done/{report.name}")
    read = f"{report.parent.name}/{report.name}"
    assert bank.column("SELECT detail FROM deliveries WHERE how = 'read'") == [read]
    assert _paid(bank) == 3
    assert bank.child.stop() == 0
    assert bank.child.output.read_bytes().count(b"\n") == 1
    assert bank.child.errors.read_bytes() == b""


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        ("drop_after_accept", True),
        ("timeout_after_accept", True),
        ("drop_before_accept", False),
        ("timeout_before_accept", False),
    ],
)
async def test_each_fault_of_the_connection_fires_and_is_logged(make: Make, fault: str, taken: bool) -> None:
    """The rename breaks off in either case; only afterwards was the file taken. The second transmission passes."""
    bank = make(programme={"submissions": {"*": [fault]}})
    await bank.start()
    data = hand_iso.pain001("DF1", hand.payments(1))
    with pytest.raises(GONE):
        await _upload(bank, "DF1", data)
    assert bank.rows("SELECT fault, batch, detail FROM faults") == [(fault, "DF1", "DF1.xml")]
    if taken:
        await until(lambda: _paid(bank) == 1)
        assert bank.column("SELECT fault FROM submissions") == [fault]
        return
    assert not bank.rows("SELECT * FROM submissions")
    assert (bank.disk / f"sftp{IN}" / "DF1.tmp").exists()
    await _upload(bank, "DF1", data)
    await until(lambda: _paid(bank) == 1)
    assert bank.column("SELECT transmission FROM submissions") == [2]


async def test_a_fault_of_another_profile_does_not_bite(make: Make) -> None:
    """There is no `.txt` here whose rename could break off."""
    bank = make(programme={"submissions": {"*": ["drop_after_txt"]}, "results": {"*": ["callback_lost"]}})
    await bank.start()
    await _upload(bank, "DF1", hand_iso.pain001("DF1", hand.payments(1)))
    await until(lambda: _out(bank, "pain002_DF1_02.xml"))
    assert not bank.rows("SELECT * FROM faults")


@pytest.mark.parametrize("fault", ["query_drop", "query_timeout"])
async def test_a_reading_can_be_cut_and_a_listing_can_lie(make: Make, fault: str) -> None:
    """Query faults break off at the opening; a hostile listing shows names that climb."""
    bank = make(programme={"rates": {fault: 10_000}, "results": {"*": ["hostile_names"]}})
    await bank.start()
    await _upload(bank, "DF1", hand_iso.pain001("DF1", hand.payments(1)))
    (report,) = await until(lambda: _out(bank, "pain002_DF1_02.xml"))
    folder = f"/out/{report.parent.name}"
    names: list[Any] = []
    with pytest.raises(GONE):
        async with _sftp(bank) as sftp:
            names += await sftp.listdir(folder)
            async with sftp.open(f"{folder}/{report.name}", "rb") as file:
                await file.read()
    assert [name for name in names if name.startswith("../")] == [
        "../pain002_EVIL_01.xml",
        "../../camt053_20261124.xml",
    ]
    assert sorted(bank.column("SELECT fault FROM faults")) == ["hostile_names", fault]
    assert not bank.rows("SELECT * FROM deliveries WHERE how = 'read'")


async def test_kill_9_loses_and_repeats_nothing(make: Make) -> None:
    """Killed at random moments under load, the bank pays every file that it acknowledged exactly once."""
    bank = make(synchronous="FULL", processing_seconds=120)
    await bank.start()
    for number in range(1, 7):
        batch = hand.batch_number(number)
        await _upload(bank, batch, hand_iso.pain001(batch, hand.payments(300, start=number * 1000)))
        await asyncio.sleep(0.03 * number)
        bank.child.kill()
        await bank.start()
    await until(lambda: _paid(bank) >= 6 * 300)
    await asyncio.sleep(0.5)
    assert bank.rows("SELECT count(*), count(DISTINCT reference), sum(amount_fen) FROM credits") == [
        (1800, 1800, 1800 * 12_345)
    ]
    assert bank.column("SELECT count(*) FROM submissions") == [6]
    await until(lambda: len(_out(bank, "pain002_*_02.xml")) == 6)
    assert len(_out(bank, "pain002_*_01.xml")) == 6
