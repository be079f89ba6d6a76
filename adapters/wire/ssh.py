"""One SSH connection to a bank: who it must be, how we log in, and a bound on every call made over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import asyncssh
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

T = TypeVar("T")

_ConfiguredPath = Annotated[Path, Field(description="relative paths start from the configuration file's directory")]


class SftpError(Exception):
    """The conversation failed. Whether the bank could act on it is the wire's ``crossed``, not this error's class."""


class SftpUnreachable(SftpError):
    """No session: the bank could not be reached, refused us, or the connection is gone."""


class HostKeyRefused(SftpUnreachable):
    """The server's key is not the pinned one. Nothing was sent, not even the user's name."""


class SftpTimedOut(SftpError):
    """A call got no answer within its bound."""


class SftpMissing(SftpError):
    """No such file or directory."""


class SftpRefused(SftpError):
    """The server answered a call with an error."""


class SftpUnsupported(SftpRefused):
    """The server does not know this operation and has not done it."""


class SftpTooLarge(SftpError):
    """A file or a directory is larger than the bound given for it."""


class SftpSettings(BaseModel):
    """How to reach a bank's SFTP server. Exactly one of ``password_file`` and ``private_key_file`` is given.

    ``known_hosts_file`` (OpenSSH format) pins the server's key; there is no other source of trust and no first use.
    Relative paths start from the ``base`` of pydantic's validation context, where one is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=22, ge=1, le=65_535)
    username: str = Field(min_length=1, max_length=64)
    password_file: _ConfiguredPath | None = None
    private_key_file: _ConfiguredPath | None = None
    known_hosts_file: _ConfiguredPath
    root: str = Field(default="/", pattern=r"^/(?:[0-9A-Za-z][0-9A-Za-z._-]*/?)*$")
    connect_timeout_seconds: int = Field(default=20, ge=1, le=300)
    call_timeout_seconds: int = Field(default=60, ge=1, le=600)
    keepalive_seconds: int = Field(default=15, ge=1, le=600)
    max_directory_entries: int = Field(default=20_000, ge=10, le=1_000_000)

    @field_validator("password_file", "private_key_file", "known_hosts_file")
    @classmethod
    def _from_base(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        base = (info.context or {}).get("base")
        return path if path is None or base is None else Path(base) / path

    @model_validator(mode="after")
    def _one_credential(self) -> SftpSettings:
        if (self.password_file is None) == (self.private_key_file is None):
            raise ValueError("give either password_file or private_key_file")
        return self


@dataclass(slots=True, eq=False)
class Link:
    """A connection and the sessions on it. ``users`` conversations hold it; once ``broken`` it is lent to no more."""

    connection: asyncssh.SSHClientConnection
    idle: list[asyncssh.SFTPClient] = field(default_factory=list)
    users: int = 0
    broken: bool = False
    left: set[asyncio.Task[Any]] = field(default_factory=set)  # calls that nobody awaits any more

    @property
    def usable(self) -> bool:
        return not self.broken and not self.connection.is_closed()

    async def session(self, bound_seconds: int) -> asyncssh.SFTPClient:
        """A session of its own for each conversation: servers work through one session's calls strictly in turn."""
        if self.idle:
            return self.idle.pop()
        # Names stay bytes (no encoding): one that is no UTF-8 must not spoil a listing.
        return await self.call("open a session", self.connection.start_sftp_client(path_encoding=None), bound_seconds)

    async def call(self, what: str, call: Awaitable[T], bound_seconds: int) -> T:
        """Await one call within its bound and turn every failure into ours. A late answer finds nobody waiting."""
        task = asyncio.ensure_future(call)
        try:
            done, _ = await asyncio.wait({task}, timeout=bound_seconds)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if not done:
            self._leave(task)
            raise SftpTimedOut(f"{what}: no answer within {bound_seconds} s")
        try:
            return task.result()
        except SftpError:
            raise
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            raise SftpMissing(f"{what}: no such file") from None
        except asyncssh.SFTPOpUnsupported:
            raise SftpUnsupported(f"{what}: not supported by the server") from None
        except (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, asyncssh.DisconnectError, OSError) as error:
            self.broken = True
            raise SftpUnreachable(f"{what}: {type(error).__name__}") from None
        except asyncssh.SFTPError as error:
            raise SftpRefused(f"{what}: {type(error).__name__}") from None
        except Exception as error:
            # Whatever a hostile answer makes of the library, it is a failed call and a link not to be used again.
            self.broken = True
            raise SftpError(f"{what}: {type(error).__name__}") from None

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self.broken = True
        self.left.add(task)
        task.add_done_callback(self._ended)
        task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.left.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that the loop does not report it


async def connect(settings: SftpSettings) -> Link:
    """A new connection to the pinned host and to no other; SftpUnreachable otherwise."""
    try:
        async with asyncio.timeout(settings.connect_timeout_seconds):
            options = await asyncio.to_thread(_credentials, settings)
            connection = await asyncssh.connect(
                settings.host,
                settings.port,
                username=settings.username,
                config=None,  # no ~/.ssh/config
                agent_path=None,  # no agent
                gss_kex=False,
                gss_auth=False,
                host_based_auth=False,
                kbdint_auth=False,
                x509_trusted_certs=None,  # else ~/.ssh/ca-bundle.crt would vouch for a host
                x509_trusted_cert_paths=[],
                disable_trivial_auth=True,
                compression_algs=None,
                connect_timeout=settings.connect_timeout_seconds,
                login_timeout=settings.connect_timeout_seconds,
                keepalive_interval=settings.keepalive_seconds,
                keepalive_count_max=3,
                **options,
            )
    except asyncssh.HostKeyNotVerifiable:
        raise HostKeyRefused("the server's host key is not the pinned one") from None
    except Exception as error:
        raise SftpUnreachable(f"connect: {type(error).__name__}") from None
    return Link(connection)


def _credentials(settings: SftpSettings) -> dict[str, Any]:
    """Read at every connect, so that a rotated key or password needs no restart. Runs in a thread: files block."""
    # An object and not a name or bytes: asyncssh takes an *empty* value as leave to read ~/.ssh/known_hosts.
    pinned = asyncssh.import_known_hosts(settings.known_hosts_file.read_text(encoding="ascii"))
    options: dict[str, Any] = {"known_hosts": pinned, "client_keys": None}
    if settings.private_key_file is not None:
        options["client_keys"] = [asyncssh.read_private_key(settings.private_key_file)]
        options |= {"preferred_auth": ["publickey"], "password_auth": False}
    if settings.password_file is not None:
        options["password"] = settings.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        options |= {"preferred_auth": ["password"], "public_key_auth": False}
    return options
