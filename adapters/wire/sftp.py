"""SFTP to a bank over asyncssh: a pinned host key, a bound on every call, and a publish whose rename is the crossing.

Theory of operation
-------------------

``SftpTransport`` keeps one SSH connection (a *link*). Each ``SftpWire`` conversation has an SFTP session of its own on
it, new or left idle by an earlier one. A link on which a call has timed out, or which has died, is lent to nobody any
more: the next conversation opens a fresh one, those still running on the old one finish, and the last of them aborts
it. So a hanging download never pulls down a payment under way beside it.

A call that does not answer in time is *left*, not awaited: asyncssh closes remote handles in its ``finally`` clauses,
and a bank that hangs would hang those too. What was left ends when its link is aborted.

Nothing the bank says is trusted with a path. Directory entries whose names are not plain are dropped, every path that
goes out is checked segment by segment, and sizes are capped before and while reading. Errors carry our own words
and the class of the failure, never text from the other side.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import asyncssh

from adapters.contract import Artefact
from adapters.wire.ssh import (
    HostKeyRefused,
    Link,
    SftpError,
    SftpMissing,
    SftpRefused,
    SftpSettings,
    SftpTimedOut,
    SftpTooLarge,
    SftpUnreachable,
    SftpUnsupported,
    connect,
)

__all__ = [
    "Entry",
    "HostKeyRefused",
    "SftpError",
    "SftpMissing",
    "SftpRefused",
    "SftpSettings",
    "SftpTimedOut",
    "SftpTooLarge",
    "SftpTransport",
    "SftpUnreachable",
    "SftpWire",
    "Staged",
]

T = TypeVar("T")

# One segment of a path: begins with a letter or a digit, so it is never hidden, never "." and never "..".
_SEGMENT: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}").fullmatch
_BLOCK_BYTES: Final = 131_072  # at most what one request reads or writes; below the 256 KiB that OpenSSH takes


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory as the server lists it. ``mtime`` is the server's clock, whole seconds; 0 when not given."""

    name: str
    size: int
    mtime: int
    is_file: bool
    is_directory: bool


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes that lie complete and synced under a temporary name, where no bank looks."""

    temporary: str
    target: str
    size: int


class SftpWire:
    """One conversation. ``crossed`` turns true in ``release`` and nowhere else; paths are relative to the root."""

    def __init__(self, link: Link, session: asyncssh.SFTPClient, settings: SftpSettings) -> None:
        self._link = link
        self._session = session
        self._settings = settings
        self._crossed = False
        self._artefacts: list[Artefact] = []

    @property
    def crossed(self) -> bool:
        return self._crossed

    @property
    def artefacts(self) -> list[Artefact]:
        return list(self._artefacts)

    def keep(self, artefact: Artefact) -> None:
        """Add to ``artefacts`` what the adapter put together itself."""
        self._artefacts.append(artefact)

    async def ping(self) -> None:
        """Ask for the root's attributes; raises SftpError when that cannot be had."""
        await self._call("ping", self._session.stat(self._settings.root.encode("ascii")))

    async def entries(self, path: str = "") -> list[Entry]:
        """What a directory holds, without the names that are not plain. SftpMissing when there is no such directory."""
        return await self._call("list", self._list(self._remote(path) if path else self._settings.root.encode("ascii")))

    async def size(self, path: str) -> int | None:
        """A file's size, or None when there is no such file."""
        try:
            attributes = await self._call("stat", self._session.stat(self._remote(path)))
        except SftpMissing:
            return None
        return attributes.size

    async def read(self, path: str, limit_bytes: int, *, keep: bool = True) -> bytes | None:
        """A whole file, or None when there is none; SftpTooLarge beyond the limit. ``keep`` adds it to ``artefacts``.

        Say ``keep=False`` where the bytes go on at once to somebody who stores them: a poll must not hold every file.
        """
        try:
            content = await self._call("read", self._read(self._remote(path), limit_bytes))
        except SftpMissing:
            return None
        if keep:
            self._artefacts.append(Artefact.of(path, content))
        return content

    async def stage(self, path: str, content: bytes) -> Staged:
        """Upload beside ``path`` under a temporary name, sync it, check its size. The bank cannot act on it yet."""
        temporary = f"{path}.{secrets.token_hex(4)}.part"
        try:
            await self._call("upload", self._write(self._remote(temporary), content))
        except SftpMissing:
            await self.make_directory(path.rpartition("/")[0])
            await self._call("upload", self._write(self._remote(temporary), content))
        await self._expect_size(temporary, len(content))
        return Staged(temporary, path, len(content))

    async def release(self, staged: Staged, *, may_be_taken: bool = False) -> None:
        """Give staged bytes their name. From the rename on the bank may act; the size is checked again afterwards.

        ``may_be_taken``: this name is what the bank waits for, so it may be gone again before its size can be asked.
        """
        if self._link.connection.is_closed():
            raise SftpUnreachable("the connection was lost before the rename")
        self._crossed = True
        await self._rename(staged.temporary, staged.target)
        await self._expect_size(staged.target, staged.size, may_be_missing=may_be_taken)

    async def archive(self, source: str, target: str) -> bool:
        """Move a file the bank is done with; False when it is not there (any more). Not a crossing: nothing is sent."""
        try:
            await self._rename(source, target)
        except SftpMissing:
            if await self.size(source) is None:
                return False
            await self.make_directory(target.rpartition("/")[0])
            await self._rename(source, target)
        return True

    async def make_directory(self, path: str) -> None:
        """Make one directory; one that is there already is fine."""
        try:
            await self._call("mkdir", self._session.mkdir(self._remote(path)))
        except SftpRefused:
            if not await self._call("stat", self._session.isdir(self._remote(path))):
                raise

    def _remote(self, path: str) -> bytes:
        if not all(_SEGMENT(segment) for segment in path.split("/")):
            raise ValueError("a remote path has a segment that is not plain")
        return f"{self._settings.root.rstrip('/')}/{path}".encode("ascii")

    async def _expect_size(self, path: str, expected: int, *, may_be_missing: bool = False) -> None:
        found = await self.size(path)
        if found != expected and not (found is None and may_be_missing):
            raise SftpError(f"the file has {found} bytes at the bank and {expected} here")

    async def _rename(self, source: str, target: str) -> None:
        old, new = self._remote(source), self._remote(target)
        try:
            await self._call("rename", self._session.posix_rename(old, new))
        except SftpUnsupported:
            # Plain SFTP 3 refuses to rename onto a name in use.
            if await self.size(target) is not None:
                await self._call("remove", self._session.remove(new))
            await self._call("rename", self._session.rename(old, new))

    async def _list(self, path: bytes) -> list[Entry]:
        found: list[Entry] = []
        seen = 0
        async with aclosing(cast(AsyncGenerator[asyncssh.SFTPName, None], self._session.scandir(path))) as names:
            async for item in names:
                seen += 1
                if seen > self._settings.max_directory_entries:
                    raise SftpTooLarge("a directory has more entries than the bound")
                name = cast(bytes, item.filename).decode("ascii", "replace")
                kind = item.attrs.type
                if _SEGMENT(name) and kind in (asyncssh.FILEXFER_TYPE_REGULAR, asyncssh.FILEXFER_TYPE_DIRECTORY):
                    is_file = kind == asyncssh.FILEXFER_TYPE_REGULAR
                    found.append(Entry(name, item.attrs.size or 0, int(item.attrs.mtime or 0), is_file, not is_file))
        return found

    async def _read(self, path: bytes, limit_bytes: int) -> bytes:
        # block_size=0: one request per call. asyncssh's parallel reader fills holes with zeros and spawns tasks.
        file = await self._session.open(path, asyncssh.FXF_READ, encoding=None, block_size=0)
        try:
            if ((await file.stat()).size or 0) > limit_bytes:
                raise SftpTooLarge("a file is larger than the bound")
            content = bytearray()
            while block := cast(bytes, await file.read(_BLOCK_BYTES, len(content))):
                content += block
                if len(content) > limit_bytes:
                    raise SftpTooLarge("a file is larger than the bound")
            return bytes(content)
        finally:
            await file.close()

    async def _write(self, path: bytes, content: bytes) -> None:
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL
        file = await self._session.open(path, flags, encoding=None, block_size=0)
        try:
            for start in range(0, len(content), _BLOCK_BYTES):
                await file.write(content[start : start + _BLOCK_BYTES], start)
            with suppress(asyncssh.SFTPOpUnsupported):  # without fsync@openssh.com its own disk discipline has to do
                await file.fsync()
        finally:
            await file.close()

    async def _call(self, what: str, call: Awaitable[T]) -> T:
        return await self._link.call(what, call, self._settings.call_timeout_seconds)


class SftpTransport:
    """Lends wires over one connection, opened when first needed and opened again when it is no longer usable."""

    def __init__(self, settings: SftpSettings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._link: Link | None = None
        self._closed = False

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[SftpWire]:
        """A conversation. SftpUnreachable or SftpTimedOut from entering it means that nothing at all was sent."""
        link = await self._usable_link()
        link.users += 1
        try:
            session = await link.session(self._settings.call_timeout_seconds)
            try:
                yield SftpWire(link, session, self._settings)
            finally:
                link.idle.append(session)
        finally:
            link.users -= 1
            if link is not self._link or not link.usable:
                self._drop(link)

    async def close(self) -> None:
        """End the sessions and the connection; what a bank does not let go in time is cut."""
        self._closed = True
        async with self._opening:
            link, self._link = self._link, None
        if link is None:
            return
        link.connection.close()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                await link.connection.wait_closed()
        except TimeoutError:
            link.connection.abort()

    async def _usable_link(self) -> Link:
        async with self._opening:
            if self._closed:
                raise SftpUnreachable("the transport is closed")
            if self._link is not None and not self._link.usable:
                self._drop(self._link)
            if self._link is None:
                self._link = await connect(self._settings)
            return self._link

    def _drop(self, link: Link) -> None:
        if link is self._link:
            self._link = None
        if link.users == 0:
            link.connection.abort()
