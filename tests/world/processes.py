"""Child processes of a test world: started in their own session, watched through files, ended by process id only.

Standard output goes to ``<name>.out`` and standard error to ``<name>.err`` in the world's directory, never into a pipe:
a child cannot block on a reader that was killed, and the personal-data scan reads the same files afterwards. A child
says that it is ready with one JSON line that holds ``"ready": true`` and whatever addresses it chose.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PROJECT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02

_PORTS = range(20_000, 32_000)

_running: set[Child] = set()
_reserved: list[socket.socket] = []


class ChildError(RuntimeError):
    """A child ended before it was ready, or stayed silent too long."""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on, which no other world is given before this process ends.

    Taken from below the range of outgoing connections, so that none of those sits on it while whoever listens there is
    dead. ChildError when all are taken.
    """
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if _reserve(port):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
                probe.bind((host, port))
                return port
    raise ChildError(f"no port from {_PORTS.start} to {_PORTS.stop} is free")


def _reserve(port: int) -> bool:
    """A name in the kernel that exists once, and for as long as this process does. Elsewhere than on Linux: no such."""
    if not sys.platform.startswith("linux"):
        return True
    name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name.bind(f"\0payout-gateway-port-{port}")
    except OSError:
        name.close()
        return False
    _reserved.append(name)
    return True


def die_with_parent() -> Callable[[], None] | None:
    """A ``preexec_fn`` that ties the child's life to ours on Linux: even after SIGKILL no orphan keeps a port.

    The kernel watches the *thread* that forked, so children are started on the main thread.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # resolved before the fork: the child may only make the call

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return set_signal


class Child:
    """One process of the world. ``start`` after its end begins a new life with the same command and log files."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: Path = PROJECT,
        outlives_parent: bool = False,
    ) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.directory = directory
        self.environment = dict(environment or {})
        self.working_directory = working_directory
        self.outlives_parent = outlives_parent
        self.lives = 0
        self.output = directory / f"{name}.out"
        self.errors = directory / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None
        self._output_start = 0

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ChildError(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the process; returns at once. Raises when an earlier life is still running."""
        if self.running:
            raise ChildError(f"{self.name} is already running")
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output, self.errors.open("ab") as errors:
            self._output_start = output.tell()
            self._process = subprocess.Popen(  # the child outlives this call by design
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=self.working_directory,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
                start_new_session=True,
                preexec_fn=None if self.outlives_parent else die_with_parent(),
            )
        self.lives += 1
        _running.add(self)

    def answer(self) -> dict[str, Any] | None:
        """The ready line of this life, if it has been printed completely."""
        with self.output.open("rb") as output:
            output.seek(self._output_start)
            for line in output:
                if line.startswith(b"{") and line.endswith(b"\n") and b'"ready"' in line:
                    ready: dict[str, Any] = json.loads(line)
                    if ready.get("ready") is True:
                        return ready
        return None

    def _answer_or_failure(self, deadline: float, timeout: float) -> dict[str, Any] | None:
        answer = self.answer()
        if answer is None and not self.running:
            raise ChildError(f"{self.name} ended with status {self.returncode}: {self.last_words()}")
        if answer is None and time.monotonic() > deadline:
            raise ChildError(f"{self.name} was not ready after {timeout:g} s: {self.last_words()}")
        return answer

    def wait_ready(self, timeout: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while (answer := self._answer_or_failure(deadline, timeout)) is None:
            time.sleep(_POLL_SECONDS)
        return answer

    async def ready(self, timeout: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while (answer := self._answer_or_failure(deadline, timeout)) is None:
            await asyncio.sleep(_POLL_SECONDS)
        return answer

    def last_words(self, lines: int = 5) -> str:
        """The end of standard error, for a failure message; the processes themselves keep personal data out of it."""
        if not self.errors.exists():
            return "(no standard error)"
        text = self.errors.read_bytes()[-8192:].decode("utf-8", "replace")
        return " / ".join(text.splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL and reap: the crash of a test."""
        if self._process is not None:
            if self.running:
                self._process.kill()
            self._process.wait()
        _running.discard(self)

    def stop(self, grace: float = 20, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask to end, insist after ``grace`` seconds; returns the exit status."""
        if self._process is None:
            return 0
        self.send(number)
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _running.discard(self)
        return self._process.returncode


def birth(pid: int) -> str:
    """What tells a process from a later one under the same id: the moment it began. "" when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        alive = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return "" if Path("/proc/self/stat").exists() else alive.stdout.strip()
    return "" if fields[0] == "Z" else fields[19]


def python_module(module: str, *arguments: str | Path) -> list[str]:
    """The command line of one of our own modules in this interpreter."""
    return [sys.executable, "-m", module, *(str(argument) for argument in arguments)]


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code, whatever loop the calling thread may own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@atexit.register
def stop_everything() -> None:
    """End what is still running when the test run or the demo ends, last started first."""
    for child in sorted(_running, key=lambda each: each.pid, reverse=True):
        if not child.outlives_parent:
            child.stop(grace=5)
