"""The kit's bank of files: an SFTP server over a directory, which can fail at the rename that pays.

A rename is a submission when the rehearsal reads one in the file that is renamed. Everything that the adapter changes
is written down, so that a question that changes something is seen.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import asyncssh

from adapters.conformance.counterpart import Desk, Fault, Mishap, Party, Record, Script
from adapters.conformance.keys import Keys
from adapters.conformance.rehearsal import Files, Kind, Rehearsal, RehearsesFiles, Request


class FileBank:
    """A tree, who may enter it, and what goes wrong in it."""

    def __init__(self, rehearsal: Rehearsal, root: Path) -> None:
        self.record = Record()
        self.mishap = Mishap()
        self.script = Script()
        self.root = root
        self.desk = Desk(rehearsal, self.record)
        self.over = asyncio.Event()
        self.connections: list[asyncssh.SSHServerConnection] = []
        self._server: asyncssh.SSHAcceptor | None = None
        self._directories = rehearsal.directories if isinstance(rehearsal, RehearsesFiles) else ()

    async def start(self, keys: Keys, *, stranger: bool) -> None:
        self.root.mkdir(parents=True)
        for path in self._directories:
            self.at(path).mkdir(parents=True, exist_ok=True)
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Door(self, keys),
            server_host_keys=[keys.strange_host_key if stranger else keys.host_key],
            sftp_factory=lambda channel: _Files(channel, self),
        )

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("not listening")
        return self._server.get_port()

    async def stop(self) -> None:
        self.over.set()
        if self._server is not None:
            self._server.close()
            for connection in self.connections:
                connection.abort()
            await self._server.wait_closed()

    def speak(self) -> None:
        """Have the rehearsal say what the script holds, and do it in the tree. CannotSay goes through."""
        self.script.serial += 1
        said = self.desk.answer(self.script, None, Party.QUESTION)
        if not isinstance(said, Files):
            raise TypeError("a rehearsal of Kind.SFTP answers with Files")
        for path in said.remove:
            self.at(path).unlink()
        for old, new in said.move.items():
            self.at(new).parent.mkdir(parents=True, exist_ok=True)
            self.at(old).rename(self.at(new))
        for path, content in said.write.items():
            self.at(path).parent.mkdir(parents=True, exist_ok=True)
            self.at(path).write_bytes(content)

    def at(self, path: str) -> Path:
        inside = PurePosixPath(path)
        if inside.is_absolute() or ".." in inside.parts:
            raise ValueError("a path in the bank's tree is relative")
        return self.root / inside

    def clear(self) -> None:
        for file in [file for file in self.root.rglob("*") if file.is_file()]:
            file.unlink()

    def snapshot(self) -> dict[str, bytes]:
        """Every file with its content, by relative path."""
        return {
            file.relative_to(self.root).as_posix(): file.read_bytes()
            for file in sorted(self.root.rglob("*"))
            if file.is_file()
        }


class _Door(asyncssh.SSHServer):
    def __init__(self, bank: FileBank, keys: Keys) -> None:
        self._bank = bank
        self._keys = keys

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._bank.record.contacts += 1
        self._bank.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return self._keys.may_enter(username, password)


class _Files(asyncssh.SFTPServer):
    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], bank: FileBank) -> None:
        super().__init__(channel, chroot=str(bank.root).encode())
        self._bank = bank

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if pflags & (asyncssh.FXF_CREAT | asyncssh.FXF_WRITE | asyncssh.FXF_TRUNC):
            self._changes("write", path)
        else:
            await self._asked()
        return super().open(path, pflags, attrs)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._renamed(oldpath, newpath)
        super().posix_rename(oldpath, newpath)
        await self._after(newpath)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._renamed(oldpath, newpath)
        super().rename(oldpath, newpath)
        await self._after(newpath)

    def remove(self, path: bytes) -> None:
        self._changes("remove", path)
        super().remove(path)

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        self._changes("mkdir", path)
        super().mkdir(path, attrs)

    async def stat(self, path: bytes) -> Any:
        await self._asked()
        return super().stat(path)

    async def scandir(self, path: bytes) -> Any:
        await self._asked()
        async for entry in super().scandir(path):
            yield entry

    def _changes(self, what: str, path: bytes) -> None:
        self._bank.record.changes.append(f"{what} {self._relative(path)}")

    def _relative(self, path: bytes) -> str:
        return path.decode("utf-8", "replace").lstrip("/")

    def _request(self, content_of: bytes, path: bytes) -> Request:
        content = b""
        with suppress(OSError, ValueError):
            content = self._bank.at(self._relative(content_of)).read_bytes()
        return Request(Kind.SFTP, "RENAME", self._relative(path), {}, content)

    async def _asked(self) -> None:
        self._bank.record.questions += 1
        if self._bank.mishap.fires(Party.QUESTION, Fault.SILENCE):
            await self._bank.over.wait()
        if self._bank.mishap.fires(Party.QUESTION, Fault.RESET_BEFORE_TAKING, Fault.RESET_AFTER_TAKING):
            await self._break()
        if self._bank.mishap.fires(Party.QUESTION, Fault.DENIED):
            raise asyncssh.SFTPPermissionDenied("denied")

    async def _renamed(self, old: bytes, new: bytes) -> None:
        self._changes("rename", new)
        if self._bank.mishap.fires(Party.RENAME, Fault.RESET_BEFORE_TAKING):
            await self._break()
        if self._bank.mishap.fires(Party.RENAME, Fault.DENIED):
            raise asyncssh.SFTPPermissionDenied("denied")
        party, _ = self._bank.desk.party(self._request(old, new))
        if party is Party.SUBMISSION and self._bank.mishap.fires(party, Fault.RESET_BEFORE_TAKING):
            await self._break()

    async def _after(self, new: bytes) -> None:
        request = self._request(new, new)
        party, received = self._bank.desk.party(request)
        if party is Party.SUBMISSION:
            self._bank.desk.take(request, received)
        if self._bank.mishap.fires(Party.RENAME, Fault.RESET_AFTER_TAKING):
            await self._break()
        if party is not Party.SUBMISSION:
            return
        if self._bank.mishap.fires(party, Fault.SILENCE):
            await self._bank.over.wait()
        if self._bank.mishap.fires(party, Fault.RESET_AFTER_TAKING):
            await self._break()

    async def _break(self) -> None:
        for connection in self._bank.connections:
            connection.abort()
        await self._bank.over.wait()
