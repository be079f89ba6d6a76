"""A file bank's SFTP server: real SSH, one user, the bank's tree as root, and faults at the renames and openings."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, cast

import asyncssh

from tests.bank.book import Book
from tests.bank.file_desk import FileDesk
from tests.bank.restore import UNSEEN

WRITING_FLAGS = asyncssh.FXF_WRITE | asyncssh.FXF_APPEND | asyncssh.FXF_CREAT


def host_key(path: Path) -> asyncssh.SSHKey:
    """The bank's host key, generated once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(path)
    return asyncssh.read_private_key(path)


def _absolute(path: bytes) -> str:
    """A client's path from the root of the tree; leading slashes go first, for two of them would survive."""
    return posixpath.normpath("/" + path.decode().lstrip("/"))


class _Login(asyncssh.SSHServer):
    """One user, by key or by password."""

    def __init__(self, desk: FileDesk) -> None:
        self._access = desk.access
        self._keys = [asyncssh.import_public_key(key) for key in desk.access.authorized_keys]

    def password_auth_supported(self) -> bool:
        return bool(self._access.password)

    def validate_password(self, username: str, password: str) -> bool:
        return username == self._access.user and password == self._access.password

    def public_key_auth_supported(self) -> bool:
        return bool(self._keys)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._access.user and key in self._keys


class _Files(asyncssh.SFTPServer):
    """The tree as the gateway sees it, with the faults that a transport can have."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], desk: FileDesk, queries: dict[str, int]) -> None:
        super().__init__(chan, chroot=str(desk.tree.root).encode())
        self._desk = desk
        self._book: Book = desk.book
        self._queries = queries
        self._inbox, self._outbox = (f"/{side.name}/" for side in (desk.tree.inbox, desk.tree.outbox))

    # -- writing: the renames are what the bank acts on

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        fault = self._fault_of(newpath)
        await self._before(fault)
        super().rename(oldpath, newpath)
        await self._after(newpath, fault)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        fault = self._fault_of(newpath)
        await self._before(fault)
        super().posix_rename(oldpath, newpath)
        await self._after(newpath, fault)

    def _fault_of(self, newpath: bytes) -> str:
        """The fault that bites at this rename, logged; "" for none."""
        path = _absolute(newpath)
        if not path.startswith(self._inbox):
            return ""
        name = posixpath.basename(path)
        batch, complete = self._desk.transmits(name)
        if not batch:
            return ""
        fault = self._book.programme.submission(batch, self._book.transmissions.get(batch, 0) + 1) or ""
        transport = fault.startswith(("timeout_", "drop_"))
        if not transport or complete == (fault == "drop_after_txt"):
            return ""
        if fault in UNSEEN:
            self._book.transmissions[batch] = self._book.transmissions.get(batch, 0) + 1
        self._book.fault(fault, batch, detail=name)
        self._book.commit()
        return fault

    async def _before(self, fault: str) -> None:
        if fault in ("timeout_before_accept", "drop_before_accept"):
            await self._break_off(fault)

    async def _after(self, newpath: bytes, fault: str) -> None:
        if self._desk.transmits(posixpath.basename(_absolute(newpath)))[1]:
            self._desk.arrived.set()
        if fault:
            await self._break_off(fault)

    async def _break_off(self, fault: str) -> None:
        """Drop the connection, at once or after hanging; nothing is answered."""
        if "timeout" in fault:
            await asyncio.sleep(self._book.config.hang_real_seconds)
        self.connection.abort()
        raise asyncssh.SFTPConnectionLost("")

    # -- reading

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        name = _absolute(path)
        if name.startswith(self._outbox) and not pflags & WRITING_FLAGS:
            self._queries[name] = nth = self._queries.get(name, 0) + 1
            fault = self._book.programme.query(name, nth)
            if fault is not None:
                self._book.fault(fault, detail=name)
                self._book.commit()
                await self._break_off(fault)
        return super().open(path, pflags, attrs)

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        data = cast(bytes, super().read(file_obj, offset, size))
        path = Path(getattr(file_obj, "name", b"").decode())
        name = f"{path.parent.name}/{path.name}"
        number = self._desk.tree.artefacts.get(name)
        ours = number is not None and data and self._desk.tree.outbox in path.parents
        if ours and offset + len(data) >= os.fstat(cast(BinaryIO, file_obj).fileno()).st_size:
            # Durable before the last bytes leave: whoever acts on them was told, whatever becomes of this bank.
            self._book.delivered(cast(int, number), "read", name)
            self._book.commit()
        return data

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        async for entry in super().scandir(path):
            yield entry
        if self._desk.tree.hostile_listings and self._outbox[1:].encode() in path:
            self._desk.tree.hostile_listings -= 1
            for name in self._desk.hostile_names:
                attributes = asyncssh.SFTPAttrs(type=asyncssh.FILEXFER_TYPE_REGULAR, size=10)
                yield asyncssh.SFTPName(name.encode(), attrs=attributes)


async def serve(desk: FileDesk) -> tuple[asyncssh.SSHAcceptor, int, str]:
    """Listen; returns the server, its port and the public host key."""
    config = desk.book.config
    key = host_key(config.path(desk.access.host_key))
    queries: dict[str, int] = {}
    server = await asyncssh.listen(
        config.host,
        config.port,
        server_factory=lambda: _Login(desk),
        sftp_factory=lambda chan: _Files(chan, desk, queries),
        server_host_keys=[key],
        allow_scp=False,
        agent_forwarding=False,
        line_editor=False,
        keepalive_interval=0,
    )
    public = key.export_public_key().decode().split()
    return server, server.get_port(), " ".join(public[:2])
