"""A bank's SFTP server inside the test's own event loop, with the faults a test asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from adapters.wire.sftp import SftpSettings

USER, PASSWORD = "gateway", "canary-password"

Fault = Callable[["Files", bytes], Awaitable[None]]


class Files(asyncssh.SFTPServer):
    """Serves one directory. ``faults`` run before an operation, ``afterwards`` after it: drop, hang, refuse."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], bank: Bank) -> None:
        super().__init__(channel, chroot=bytes(bank.root))
        self.bank = bank

    async def _around(self, what: str, path: bytes, act: Callable[[], Any]) -> Any:
        self.bank.log.append((what, path.decode("utf-8", "replace")))
        if what in self.bank.faults:
            await self.bank.faults[what](self, path)
        result = act()
        if what in self.bank.afterwards:
            await self.bank.afterwards[what](self, path)
        return result

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        what = "create" if pflags & asyncssh.FXF_CREAT else "open"
        return await self._around(what, path, lambda: super(Files, self).open(path, pflags, attrs))

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._around("rename", newpath, lambda: super(Files, self).posix_rename(oldpath, newpath))

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._around("plain rename", newpath, lambda: super(Files, self).rename(oldpath, newpath))

    async def fsync(self, file_obj: object) -> None:
        await self._around("fsync", b"", lambda: super(Files, self).fsync(file_obj))

    async def stat(self, path: bytes) -> Any:
        return await self._around("stat", path, lambda: super(Files, self).stat(path))

    async def fstat(self, file_obj: object) -> Any:
        return await self._around("fstat", b"", lambda: super(Files, self).fstat(file_obj))

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        self.bank.log.append(("list", path.decode("utf-8", "replace")))
        async for entry in super().scandir(path):
            yield entry
        for name in self.bank.hostile_names:
            yield asyncssh.SFTPName(name, attrs=asyncssh.SFTPAttrs(size=3, permissions=0o100644, mtime=1, atime=1))


@dataclass
class Bank:
    """Where it listens, what it serves, what it was asked, and what goes wrong."""

    root: Path
    folder: Path
    host_key: asyncssh.SSHKey
    port: int = 0
    connections: int = 0
    open_connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    afterwards: dict[str, Fault] = field(default_factory=dict)
    hostile_names: list[bytes] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def settings(self, **changes: Any) -> SftpSettings:
        password, known_hosts = self.folder / "password", self.folder / "known_hosts"
        password.write_text(PASSWORD + "\n", encoding="utf-8")
        if not known_hosts.exists():
            known_hosts.write_text(self.known_hosts(self.host_key), encoding="ascii")
        given: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "username": USER,
            "password_file": password,
            "known_hosts_file": known_hosts,
            "connect_timeout_seconds": 5,
            "call_timeout_seconds": 5,
        }
        return SftpSettings.model_validate(given | changes)

    def known_hosts(self, key: asyncssh.SSHKey) -> str:
        return f"[127.0.0.1]:{self.port} {key.export_public_key().decode('ascii')}"

    def done(self, what: str) -> list[str]:
        return [path for event, path in self.log if event == what]

    async def hang(self, files: Files, path: bytes) -> None:
        await self.released.wait()

    async def drop(self, files: Files, path: bytes) -> None:
        files.connection.abort()
        await self.released.wait()

    async def refuse(self, files: Files, path: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("a text of the bank's that names 659999198001010021")


class _Door(asyncssh.SSHServer):
    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.bank.connections += 1
        self.bank.open_connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        self.bank.logins.append(username)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)

    def public_key_auth_supported(self) -> bool:
        return (self.bank.folder / "client.pub").exists()

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key == asyncssh.read_public_key(self.bank.folder / "client.pub")


def new_bank(folder: Path) -> Bank:
    root = folder / "bank"
    (root / "up").mkdir(parents=True)
    (root / "down").mkdir()
    return Bank(root, folder, asyncssh.generate_private_key("ssh-ed25519"))


@asynccontextmanager
async def serving(bank: Bank, host_key: asyncssh.SSHKey | None = None) -> AsyncIterator[Bank]:
    """The bank listens (on the same port again, when it has listened before)."""
    server = await asyncssh.listen(
        "127.0.0.1",
        bank.port,
        server_factory=lambda: _Door(bank),
        server_host_keys=[host_key or bank.host_key],
        sftp_factory=lambda channel: Files(channel, bank),
        reuse_address=True,
    )
    bank.port = server.get_port()
    try:
        yield bank
    finally:
        bank.released.set()
        server.close()
        for connection in bank.open_connections:
            connection.abort()
        await server.wait_closed()
