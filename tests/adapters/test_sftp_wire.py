"""The SFTP transport against a real server in the same loop: the crossing, the pinned key, the bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
from pydantic import ValidationError

from adapters.wire.sftp import (
    HostKeyRefused,
    SftpError,
    SftpMissing,
    SftpRefused,
    SftpSettings,
    SftpTimedOut,
    SftpTooLarge,
    SftpTransport,
    SftpUnreachable,
    SftpWire,
)
from tests.adapters.sftp_kit import PASSWORD, USER, Bank, Files, new_bank, serving

DAY = "up/20261124"


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    async with serving(new_bank(tmp_path)) as bank:
        yield bank


@pytest.fixture
async def transport(bank: Bank) -> AsyncIterator[SftpTransport]:
    transport = SftpTransport(bank.settings())
    yield transport
    await transport.close()


async def publish(wire: SftpWire, content: bytes = b"content") -> None:
    staged = await wire.stage(f"{DAY}/X.txt", content)
    await wire.release(staged)


async def lost(wire: SftpWire) -> None:
    """Returns once this side has noticed that the connection is gone."""
    with pytest.raises(SftpUnreachable):
        for _ in range(1_000):
            await wire.ping()


async def test_published_whole(bank: Bank, transport: SftpTransport) -> None:
    """A published file appears complete under its name, synced before the rename, and no temporary name is left."""
    content = bytes(range(256)) * 2_000
    async with transport.wire() as wire:
        staged = await wire.stage(f"{DAY}/X.txt", content)
        before = wire.crossed, (bank.root / DAY / "X.txt").exists()
        await wire.release(staged)
        assert (before, wire.crossed) == ((False, False), True)
    assert (bank.root / DAY / "X.txt").read_bytes() == content
    assert [path.name for path in (bank.root / DAY).iterdir()] == ["X.txt"]
    events = [what for what, _ in bank.log]
    assert events.index("create") < events.index("fsync") < events.index("rename")


async def test_crossed_is_set_before_the_rename_leaves(bank: Bank, transport: SftpTransport) -> None:
    """At the moment at which the bank sees the rename, the wire already says that the line was crossed."""
    (bank.root / DAY).mkdir()
    seen: list[bool] = []
    async with transport.wire() as wire:

        async def look(files: Files, path: bytes) -> None:
            seen.append(wire.crossed)

        bank.faults["create"] = bank.faults["rename"] = look
        await publish(wire)
    assert seen == [False, True]


async def test_unreachable_is_not_crossed(tmp_path: Path) -> None:
    """A bank that refuses the connection yields no wire at all: nothing was sent."""
    bank = new_bank(tmp_path)
    async with serving(bank):
        settings = bank.settings()
    transport = SftpTransport(settings)
    with pytest.raises(SftpUnreachable):
        async with transport.wire():
            pytest.fail("a wire without a connection")
    await transport.close()


async def test_changed_host_key_is_refused_before_anything_is_sent(bank: Bank, tmp_path: Path) -> None:
    """A server with another key than the pinned one gets neither the user's name, nor the password, nor a byte."""
    settings = bank.settings()
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "known_hosts").write_text(bank.known_hosts(stranger), encoding="ascii")
    transport = SftpTransport(settings)
    with pytest.raises(HostKeyRefused):
        async with transport.wire():
            pytest.fail("a wire to a stranger")
    assert bank.connections == 1
    assert (bank.logins, bank.log) == ([], [])
    await transport.close()


async def test_empty_known_hosts_trusts_nobody(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty pin file is no leave to look at the user's own known_hosts, which asyncssh would."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "known_hosts").write_text(bank.known_hosts(bank.host_key), encoding="ascii")
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "known_hosts").write_text("", encoding="ascii")
    transport = SftpTransport(bank.settings())
    with pytest.raises(SftpUnreachable):
        async with transport.wire():
            pytest.fail("a wire to an unpinned host")
    assert bank.logins == []
    await transport.close()


async def test_key_authentication(bank: Bank, tmp_path: Path) -> None:
    """A private key from a file opens the session where the configuration names one instead of a password."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "client")
    key.write_public_key(tmp_path / "client.pub")
    transport = SftpTransport(bank.settings(password_file=None, private_key_file=tmp_path / "client"))
    async with transport.wire() as wire:
        await wire.ping()
    await transport.close()


async def test_wrong_password_is_unreachable_and_says_nothing_of_it(bank: Bank, tmp_path: Path) -> None:
    """A refused login is an error without the password in it."""
    settings = bank.settings()
    (tmp_path / "password").write_text("another-canary", encoding="utf-8")
    transport = SftpTransport(settings)
    with pytest.raises(SftpUnreachable) as caught:
        async with transport.wire():
            pytest.fail("a wire without a login")
    assert "canary" not in str(caught.value)
    assert PASSWORD not in repr(settings)
    await transport.close()


@pytest.mark.parametrize("moment", ["create", "fsync", "stat"])
async def test_drop_before_the_rename_is_not_crossed(bank: Bank, transport: SftpTransport, moment: str) -> None:
    """A connection lost while uploading leaves the wire uncrossed, and no file under its name."""
    (bank.root / DAY).mkdir()
    bank.faults[moment] = bank.drop
    async with transport.wire() as wire:
        with pytest.raises(SftpError):
            await publish(wire)
        assert not wire.crossed
    assert not (bank.root / DAY / "X.txt").exists()


async def test_connection_known_lost_before_the_rename_is_not_crossed(bank: Bank, transport: SftpTransport) -> None:
    """When the loss is known before the rename, no rename was sent and the wire says so."""
    async with transport.wire() as wire:
        staged = await wire.stage(f"{DAY}/X.txt", b"content")
        for connection in bank.open_connections:
            connection.abort()
        await lost(wire)
        with pytest.raises(SftpUnreachable):
            await wire.release(staged)
        assert not wire.crossed


@pytest.mark.parametrize("side", ["faults", "afterwards"])
async def test_drop_at_the_rename_is_crossed(bank: Bank, transport: SftpTransport, side: str) -> None:
    """A connection lost at the rename, before or after the bank did it, is crossed: nobody here can tell."""
    getattr(bank, side)["rename"] = bank.drop
    async with transport.wire() as wire:
        with pytest.raises(SftpUnreachable):
            await publish(wire)
        assert wire.crossed
    assert (bank.root / DAY / "X.txt").exists() == (side == "afterwards")


async def test_rename_refused_is_crossed_and_quotes_nothing(bank: Bank, transport: SftpTransport) -> None:
    """A refused rename is an error after the crossing, in our words: the bank's text may hold personal data."""
    bank.faults["rename"] = bank.refuse
    async with transport.wire() as wire:
        with pytest.raises(SftpRefused) as caught:
            await publish(wire)
        assert wire.crossed
    assert "659999" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_short_file_at_the_bank_is_an_error(bank: Bank, transport: SftpTransport) -> None:
    """A file that has another size at the bank than here is noticed: before the rename uncrossed, after it crossed."""

    async def truncate(files: Files, path: bytes) -> None:
        for file in (bank.root / DAY).iterdir():
            file.write_bytes(b"c")

    bank.afterwards["rename"] = truncate
    async with transport.wire() as wire:
        with pytest.raises(SftpError, match="1 bytes at the bank and 7 here"):
            await publish(wire)
        assert wire.crossed
    bank.afterwards = {"fsync": truncate}
    async with transport.wire() as wire:
        with pytest.raises(SftpError, match="1 bytes at the bank and 7 here"):
            await publish(wire)
        assert not wire.crossed


async def test_server_without_extensions(bank: Bank, transport: SftpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fsync and posix-rename a file is still published, also over an older one of the same name."""
    monkeypatch.setattr(asyncssh.sftp.SFTPServerHandler, "_extensions", [])
    async with transport.wire() as wire:
        await publish(wire, b"first")
        await publish(wire, b"second")
    assert (bank.root / DAY / "X.txt").read_bytes() == b"second"
    assert bank.done("rename") == []
    assert len(bank.done("plain rename")) == 2


async def test_call_without_an_answer_ends_and_harms_no_other(bank: Bank) -> None:
    """A call that hangs ends within its bound; a conversation beside it finishes; the next one has a new connection."""
    (bank.root / "down" / "X").write_bytes(b"x")
    bank.faults["open"] = bank.hang
    transport = SftpTransport(bank.settings(call_timeout_seconds=1))
    async with transport.wire() as wire:
        await wire.ping()  # leaves an idle session, which only one of the two may take
    async with transport.wire() as beside:
        async with transport.wire() as wire:
            with pytest.raises(SftpTimedOut):
                await wire.read("down/X", 10)
        await publish(beside)
        assert bank.connections == 1
    async with transport.wire() as wire:
        await wire.ping()
    assert bank.connections == 2
    await transport.close()


async def test_cancelled_call_does_not_wait_for_the_bank(bank: Bank, transport: SftpTransport) -> None:
    """Cancelling a conversation at a hanging bank returns at once, instead of closing handles there."""
    (bank.root / "down" / "X").write_bytes(b"x")
    bank.faults["open"] = bank.hang

    async def converse() -> None:
        async with transport.wire() as wire:
            await wire.read("down/X", 10)

    task = asyncio.create_task(converse())
    while not bank.done("open"):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_connection_is_reused_and_opened_again_when_dead(tmp_path: Path) -> None:
    """Conversations share one connection; after the bank's restart the next one opens another by itself."""
    bank = new_bank(tmp_path)
    async with serving(bank):
        transport = SftpTransport(bank.settings())
        for _ in range(3):
            async with transport.wire() as wire:
                await wire.ping()
        assert bank.connections == 1
    async with serving(bank):
        while True:
            try:
                async with transport.wire() as wire:
                    await wire.ping()
                break
            except SftpUnreachable:  # the old connection's end may be noticed only when it is used
                continue
        assert bank.connections == 2
        await transport.close()


async def test_oversize_file_is_refused(bank: Bank, transport: SftpTransport) -> None:
    """A file beyond the bound is refused by its size, and by its length when the bank lies about the size."""
    (bank.root / "down" / "X").write_bytes(b"x" * 1_001)
    async with transport.wire() as wire:
        assert await wire.read("down/X", 1_001) == b"x" * 1_001
        with pytest.raises(SftpTooLarge):
            await wire.read("down/X", 1_000)
        assert [artefact.name for artefact in wire.artefacts] == ["down/X"]


async def test_growing_file_is_refused(bank: Bank, transport: SftpTransport) -> None:
    """A file that is larger than it said is cut off at the bound, not read to its end."""
    path = bank.root / "down" / "X"
    path.write_bytes(b"x")

    async def grow(files: Files, _: bytes) -> None:
        path.write_bytes(b"x" * 1_000_000)

    bank.afterwards["fstat"] = grow
    async with transport.wire() as wire:
        with pytest.raises(SftpTooLarge):
            await wire.read("down/X", 1_000)


async def test_hostile_names_are_not_listed(bank: Bank, transport: SftpTransport) -> None:
    """Names that lead elsewhere, hide, or are no text never leave the wire; the plain ones beside them do."""
    (bank.root / "down" / "good.res").write_bytes(b"x")
    (bank.root / "down" / "link.res").symlink_to("/etc/passwd")
    bank.hostile_names = [
        b"../evil.res",
        b"..",
        b".hidden",
        b"a/b",
        b"\xff\xfe",
        b"a\x00b",
        b"a\nb",
        b"-rf",
        b"x" * 200,
    ]
    async with transport.wire() as wire:
        assert [entry.name for entry in await wire.entries("down")] == ["good.res"]


@pytest.mark.parametrize(
    "path", ["../x", "down/../../x", "/etc/passwd", "down//x", "", "down/.", "down/x\n", "down/名"]
)
async def test_hostile_paths_are_not_sent(bank: Bank, transport: SftpTransport, path: str) -> None:
    """A path with a segment that is not plain is refused here, whoever asks for it."""
    async with transport.wire() as wire:
        before = list(bank.log)
        with pytest.raises(ValueError, match="not plain"):
            await wire.read(path, 10)
        with pytest.raises(ValueError, match="not plain"):
            await wire.stage(path, b"x")
        assert bank.log == before


async def test_endless_directory_is_cut_off(bank: Bank) -> None:
    """A directory with more entries than the bound is refused instead of read for ever."""
    bank.hostile_names = [b"n%d" % number for number in range(50)]
    transport = SftpTransport(bank.settings(max_directory_entries=20))
    async with transport.wire() as wire:
        with pytest.raises(SftpTooLarge):
            await wire.entries("down")
    await transport.close()


async def test_absent_things_are_told_apart(bank: Bank, transport: SftpTransport) -> None:
    """A missing file is None, a missing directory an error: an empty listing must not be made up."""
    async with transport.wire() as wire:
        assert await wire.read("down/none", 10) is None
        assert await wire.size("down/none") is None
        with pytest.raises(SftpMissing):
            await wire.entries("down/none")
        assert wire.artefacts == []


async def test_archive_is_repeatable_and_no_crossing(bank: Bank, transport: SftpTransport) -> None:
    """Archiving makes the directory it needs, may be done again, and does not count as sending."""
    (bank.root / "down" / "X").write_bytes(b"x")
    async with transport.wire() as wire:
        assert await wire.archive("down/X", "down/done/X")
        assert not await wire.archive("down/X", "down/done/X")
        assert not wire.crossed
    assert (bank.root / "down" / "done" / "X").read_bytes() == b"x"


async def test_unkept_reading_is_no_artefact(bank: Bank, transport: SftpTransport) -> None:
    """What is read is kept as evidence of the conversation, unless the reader says that it goes elsewhere."""
    (bank.root / "down" / "X").write_bytes(b"x")
    async with transport.wire() as wire:
        await wire.read("down/X", 10, keep=False)
        assert wire.artefacts == []
        await wire.read("down/X", 10)
        assert [(a.name, a.content) for a in wire.artefacts] == [("down/X", b"x")]


async def test_closed_transport_lends_nothing(bank: Bank) -> None:
    """After close there is no connection left and no new one is opened."""
    transport = SftpTransport(bank.settings())
    async with transport.wire() as wire:
        await wire.ping()
    await transport.close()
    await transport.close()
    with pytest.raises(SftpUnreachable):
        async with transport.wire():
            pytest.fail("a wire after close")
    assert bank.connections == 1


def test_settings_name_one_credential(tmp_path: Path) -> None:
    """Settings take exactly one credential, know no other fields, and find relative files from their base."""
    base = {"host": "bank.example", "username": USER, "known_hosts_file": "pins"}
    given = SftpSettings.model_validate(base | {"password_file": "password"}, context={"base": tmp_path})
    assert (given.password_file, given.known_hosts_file) == (tmp_path / "password", tmp_path / "pins")
    for wrong in ({}, {"password_file": "a", "private_key_file": "b"}, {"password_file": "a", "verify": False}):
        with pytest.raises(ValidationError):
            SftpSettings.model_validate(base | wrong)
    with pytest.raises(ValidationError):
        SftpSettings.model_validate(base | {"password_file": "a", "root": "/files/../etc"})
