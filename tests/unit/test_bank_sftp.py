"""The simulated file bank as a process: real SFTP, faults of the connection, and kill -9."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.bank import hand
from tests.bank.process import BankProcess, until

Make = Callable[..., BankProcess]
GONE = (asyncssh.Error, ConnectionError, TimeoutError)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[BankProcess] = []

    def one(**settings: Any) -> BankProcess:
        made.append(BankProcess(tmp_path / str(len(made)), "rcc_file", hang_real_seconds=1, **settings))
        return made[-1]

    yield one
    for bank in made:
        bank.child.kill()


async def _upload(bank: BankProcess, batch: str, data: bytes, **login: Any) -> None:
    """Write as the manual says: temporary name, rename, then the same for the `.ok`."""
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{bank.port} {bank.ready['host_key']}\n")
    login = {"username": "gateway", "password": "gateway", "client_keys": None, **login}
    async with (
        asyncssh.connect("127.0.0.1", bank.port, known_hosts=known, agent_path=None, **login) as connection,
        connection.start_sftp_client() as sftp,
    ):
        name = f"/up/20261124/{hand.file_name(batch)}"
        for path, content in ((name, data), (name + ".ok", hand.ok(data))):
            async with sftp.open(path + ".tmp", "wb") as file:
                await file.write(content)
            await sftp.posix_rename(path + ".tmp", path)


def _paid(bank: BankProcess) -> int:
    return int(bank.column("SELECT count(*) FROM credits")[0])


async def test_a_file_travels_and_its_results_come_back(make: Make) -> None:
    """Over real SFTP, by key: uploaded, acknowledged, paid, answered; what the gateway reads is logged."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode().strip()
    bank = make(rcc_file={"authorized_keys": [public], "password": ""})
    await bank.start()
    await _upload(bank, "DF1", hand.batch_file("DF1", hand.payments(3)), client_keys=[key], password=None)
    (result,) = await until(lambda: list((bank.disk / "sftp" / "down").glob("*/*.res.ok")))
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{bank.port} {bank.ready['host_key']}\n")
    options: dict[str, Any] = {"username": "gateway", "client_keys": [key], "known_hosts": known, "agent_path": None}
    async with (
        asyncssh.connect("127.0.0.1", bank.port, **options) as connection,
        connection.start_sftp_client() as sftp,
    ):
        day = f"/down/{result.parent.name}"
        assert result.name in await sftp.listdir(day)
        async with sftp.open(f"{day}/{result.stem}", "rb") as file:
            content: Any = await file.read()
            assert content.startswith(b"H|1.0|402XJ0001|DF1|00|")
    read = f"{result.parent.name}/{result.stem}"
    assert bank.column("SELECT detail FROM deliveries WHERE how = 'read'") == [read]
    assert _paid(bank) == 3
    assert bank.child.stop() == 0


async def test_strangers_do_not_get_in(make: Make) -> None:
    """A wrong password and an unknown key are refused."""
    bank = make(rcc_file={"authorized_keys": []})
    await bank.start()
    for login in ({"password": "wrong"}, {"client_keys": [asyncssh.generate_private_key("ssh-ed25519")]}):
        with pytest.raises(asyncssh.PermissionDenied):
            await _upload(bank, "DF1", b"", **{"password": None, **login})


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        ("drop_after_accept", True),
        ("timeout_after_accept", True),
        ("drop_before_accept", False),
        ("timeout_before_accept", False),
        ("drop_after_txt", False),
    ],
)
async def test_each_fault_of_the_connection_fires_and_is_logged(make: Make, fault: str, taken: bool) -> None:
    """The upload breaks off in either case; only afterwards was the file taken. The second transmission passes."""
    bank = make(programme={"submissions": {"*": [fault]}})
    await bank.start()
    data = hand.batch_file("DF1", hand.payments(1))
    with pytest.raises(GONE):
        await _upload(bank, "DF1", data)
    assert bank.rows("SELECT fault, batch FROM faults") == [(fault, "DF1")]
    if taken:
        await until(lambda: _paid(bank) == 1)
        assert bank.column("SELECT fault FROM submissions") == [fault]
        return
    assert not bank.rows("SELECT * FROM submissions")
    folder = bank.disk / "sftp" / "up" / "20261124"
    assert (folder / hand.file_name("DF1")).exists()
    assert not (folder / f"{hand.file_name('DF1')}.ok").exists()
    await _upload(bank, "DF1", data)
    await until(lambda: _paid(bank) == 1)
    assert bank.column("SELECT transmission FROM submissions") == [2]


async def test_a_reading_can_be_cut_and_a_listing_can_lie(make: Make) -> None:
    """Query faults drop the connection at the opening; a hostile listing shows a name that climbs."""
    bank = make(programme={"rates": {"query_drop": 10_000}, "results": {"*": ["hostile_names"]}})
    await bank.start()
    await _upload(bank, "DF1", hand.batch_file("DF1", hand.payments(1)))
    (result,) = await until(lambda: list((bank.disk / "sftp" / "down").glob("*/*.res")))
    day = f"/down/{result.parent.name}"
    with pytest.raises(GONE):
        async with (
            asyncssh.connect(
                "127.0.0.1", bank.port, username="gateway", password="gateway", known_hosts=None, client_keys=None
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            names = await sftp.listdir(day)
            async with sftp.open(f"{day}/{result.name}", "rb") as file:
                await file.read()
    assert any(str(name).startswith("../") for name in names)
    assert sorted(bank.column("SELECT fault FROM faults")) == ["hostile_names", "query_drop"]


async def test_kill_9_loses_and_repeats_nothing(make: Make) -> None:
    """Killed at random moments under load, the bank pays every file that it acknowledged exactly once."""
    bank = make(synchronous="FULL", processing_seconds=120)
    await bank.start()
    host_key = bank.ready["host_key"]
    for number in range(1, 7):
        batch = hand.batch_number(number)
        try:
            await _upload(bank, batch, hand.batch_file(batch, hand.payments(300, start=number * 1000)))
        except GONE:
            pytest.fail("the bank was up")
        await asyncio.sleep(0.03 * number)
        bank.child.kill()
        await bank.start()
    assert bank.ready["host_key"] == host_key
    await until(lambda: _paid(bank) >= 6 * 300)
    await asyncio.sleep(0.5)
    assert bank.rows("SELECT count(*), count(DISTINCT reference), sum(amount_fen) FROM credits") == [
        (1800, 1800, 1800 * 12_345)
    ]
    assert bank.column("SELECT count(*) FROM submissions") == [6]
    await until(lambda: len(list((bank.disk / "sftp" / "down").glob("*/*.res.ok"))) == 6)
    assert len(list((bank.disk / "sftp" / "down").glob("*/*.ack"))) == 6


async def test_the_programme_changes_while_it_runs(make: Make) -> None:
    """control.json replaces the programme and tops funds up, once per id, also across a restart."""
    bank = make(balance_fen=0)
    await bank.start()
    control = bank.disk / "control.json"
    unfinished = bank.disk / "control.tmp"
    unfinished.write_text('{"programme": {"rates": {"reject": 10000}}, "top_up_fen": {"first": 12345}}')
    unfinished.replace(control)
    await until(lambda: bank.column("SELECT balance_fen FROM balance") == [12_345])
    bank.child.kill()
    await bank.start()
    await _upload(bank, "DF1", hand.batch_file("DF1", hand.payments(1)))
    assert await until(lambda: bank.column("SELECT fault FROM faults")) == ["reject"]
    assert bank.column("SELECT delta_fen FROM balance") == [12_345, -12_345, 12_345]


async def test_a_bad_configuration_is_named_and_personal_data_is_not_printed(make: Make) -> None:
    """Standard output holds the ready line only; a wrong key ends the process with its name on standard error."""
    bank = make()
    await bank.start()
    await _upload(bank, "DF1", hand.batch_file("DF1", hand.payments(1)))
    await until(lambda: _paid(bank) == 1)
    assert bank.child.stop() == 0
    assert bank.child.output.read_bytes().count(b"\n") == 1
    assert bank.child.errors.read_bytes() == b""
    with pytest.raises(Exception, match="unknown keys sede"):
        await bank.start(sede=3)
