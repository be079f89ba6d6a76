"""The world of a cell: where it is asked for with a second gateway, a clock to bend, and a disk that fills."""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg

from tests.bench.processes import tree
from tests.world.plan import Plan
from tests.world.postgres import SERVER_USER
from tests.world.processes import Child, ChildError, free_port, python_module
from tests.world.world import World, merged

SECOND = "gateway2"
DISK_BYTES = 768 * 1024 * 1024
_WRITE_LIMIT_BYTES = 64 * 1024  # where no disk can be mounted: no file may be written beyond this place
HANGS_SECONDS = 30  # since its start: it has little to replay
_CHUNK_BYTES = 1024 * 1024
_ROOM_BYTES = 96 * _CHUNK_BYTES  # more than the database writes in some seconds
_RETRY_SECONDS = 0.1


class Disk:
    """Where the database writes. A small file system that is filled to its last byte, or, where mounting is not
    allowed, a limit of the kernel on the size of every file that the server writes."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.mounted = False
        self._ballast = data.parent / "ballast"

    @property
    def kind(self) -> str:
        return "a full tmpfs" if self.mounted else "RLIMIT_FSIZE (no right to mount)"

    def mount(self) -> None:
        """Before the cluster is made."""
        if os.geteuid() != 0 or shutil.which("mount") is None:
            return
        self.data.mkdir(parents=True, exist_ok=True)
        user = pwd.getpwnam(SERVER_USER)
        options = f"size={DISK_BYTES},mode=0700,uid={user.pw_uid},gid={user.pw_gid}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "payout-storm", str(self.data)], capture_output=True, check=False
        )
        self.mounted = done.returncode == 0
        self._ballast = self.data / "ballast"

    def narrow(self) -> None:
        """Leave so little room that the rest is filled in a moment: what is claimed is SENDING in another."""
        if self.mounted:
            _, _, free = shutil.disk_usage(self.data)
            with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
                for _ in range(max(0, free - _ROOM_BYTES) // _CHUNK_BYTES):
                    file.write(bytes(_CHUNK_BYTES))

    def fill(self, postmaster: int) -> None:
        if not self.mounted:
            self._limit(postmaster, _WRITE_LIMIT_BYTES)
            return
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:  # the last write says that it is full
            while True:
                file.write(bytes(_CHUNK_BYTES))
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def release(self, postmaster: int) -> None:
        if not self.mounted:
            self._limit(postmaster, resource.RLIM_INFINITY)
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.data)], capture_output=True, check=False)
            self.mounted = False

    @staticmethod
    def _limit(postmaster: int, size: int) -> None:
        for pid in tree(postmaster):
            with suppress(OSError, ValueError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Street(World):
    """A world whose gateways can be another build (`bug`, `slow`), on another clock (`bends`), one or two, on a small
    disk."""

    def __init__(
        self,
        plan: Plan,
        *,
        instances: int = 1,
        bends: bool = False,
        bug: str = "",
        disk: bool = False,
        slow: bool = False,
    ):
        super().__init__(plan)
        self.instances = instances
        self.clock_file = plan.directory / "clock" if bends else None
        self.bug = bug
        self.refused = plan.directory / "sending.refused"  # by a slow build: each SENDING that was not committed
        self.slow = slow
        self.hung = 0  # how often the database had to be killed, because it neither came back nor ended
        self.disk = Disk(self.postgres.data) if disk else None
        self.second_port = free_port()

    def start(self) -> None:
        if self.disk is not None:
            self.disk.mount()
        super().start()

    def stop(self) -> None:
        if SECOND in self.children:
            self.children[SECOND].stop()
        super().stop()

    def leave(self) -> None:
        """When nobody looks at the directory any more."""
        if self.disk is not None:
            self.disk.unmount()

    def start_second(self) -> None:
        config = self.directory / "gateway2.toml"
        own: dict[str, dict[str, Any]] = {"gateway": {"instance": SECOND}, "http": {"port": self.second_port}}
        config.write_text(merged(self.config.read_text(), own))
        argv = [sys.executable, "-m", "gateway", "run", "--config", str(config)]
        self.children[SECOND] = self._child(SECOND, argv)
        self.children[SECOND].start()

    def gateways(self) -> dict[str, tuple[Child, int]]:
        """Every instance with the port of its HTTP side."""
        found = {"gateway": (self.children["gateway"], self.ports.gateway)}
        if SECOND in self.children:
            found[SECOND] = (self.children[SECOND], self.second_port)
        return found

    def _child(self, name: str, argv: list[str]) -> Child:
        other = [] if self.clock_file is None else ["--clock", str(self.clock_file)]
        other += ["--bug", self.bug] if self.bug else []
        other += ["--slow", str(self.refused)] if self.slow else []
        if name in ("gateway", SECOND) and other:
            argv = [*python_module("tests.storm.matrix.build", *other), "--", *argv[argv.index("run") :]]
        return super()._child(name, argv)

    # --- What they stand on ------------------------------------------------------------------------------------------

    async def database_answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.postgres.dsn(), timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        with suppress(Exception):
            await connection.close(timeout=2)
        return True

    def refusals(self) -> list[str]:
        """By what the commits of SENDING of a slow build have failed so far."""
        return self.refused.read_text().split() if self.refused.exists() else []

    async def revive_database(self, seconds: int = 180) -> None:
        """Start the server until it answers: an earlier life's memory may be in use. One that hangs is killed with all
        its processes, as a supervisor would (seen: a startup process that met the full disk and neither went on nor
        ended). ChildError if it never does."""
        child: Any = self.postgres.child
        now = asyncio.get_running_loop().time
        deadline, started = now() + seconds, now()
        while not await self.database_answers():
            if child.running and now() - started > HANGS_SECONDS:
                self.hung += 1
                for pid in tree(child.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                child.kill()
            if not child.running:
                child.start()
                started = now()
            if now() > deadline:
                raise ChildError(f"postgres does not come back: {child.last_words()}")
            await asyncio.sleep(_RETRY_SECONDS)
