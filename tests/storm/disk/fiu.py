"""Lets the reads, writes and syncs of a real program fail while it runs: libfiu, as Debian's `fiu-utils` brings it.

`fiu-run` lays a library between the program and the C library, and `fiu-ctrl` tells each process of it, through a named
pipe of its own, which calls are to fail from now on, with which error and how often. A process inherits the state of
the one that forked it, so that a backend that is born during a spell fails like those before it. Only calls that a
file alone knows are asked for (`pread`, `pwrite`, `fsync`, `fdatasync`): plain `read` and `write` also serve the pipes
between PostgreSQL's processes and its log, which is the witness here and stays readable. A call that fails is never
made: a write leaves nothing behind, and a failed sync loses nothing of what was written before, as on a disk it may.

Two things are in PostgreSQL's way, and are answered here. libfiu 1.1 forgot to hide a function of its own that
PostgreSQL has as well (`hash_create`), and would call PostgreSQL's: a copy of the library runs instead, with the mark
that it looks for its names in itself first (DT_SYMBOLIC). And libfiu listens in a thread, to which the kernel could
hand the signals that the main thread waits for: all are blocked before it is born, and PostgreSQL opens its own again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Final

from tests.bench.processes import tree
from tests.world.processes import ChildError

WRITES: Final = ("posix/io/rw/pwrite", "posix/io/rw/pwritev")
READS: Final = ("posix/io/rw/pread", "posix/io/rw/preadv")
SYNCS: Final = ("posix/io/sync/fsync", "posix/io/sync/fdatasync")
_LIBRARY: Final = "fiu_posix_preload.so"
ANSWER_SECONDS: Final = 10
_LOOK_SECONDS: Final = 0.02
_ELF64_LITTLE: Final = b"\x7fELF\x02\x01"
_PT_DYNAMIC, _DT_NULL, _DT_SYMBOLIC = 2, 0, 16


@cache
def missing() -> str:
    """Why no call can be made to fail here; "" when it can be."""
    absent = [name for name in ("fiu-run", "fiu-ctrl") if shutil.which(name) is None]
    if absent:
        return f"{' and '.join(absent)} (fiu-utils) not installed"
    tried = subprocess.run(["env", "--block-signal", "fiu-run", "-x", "-f", "", "true"], check=False)
    return "" if tried.returncode == 0 else "fiu-run does not work here"


class Faults:
    """The switch, for ``program`` where it runs under ``prefix``, and for all processes below it."""

    def __init__(self, directory: Path, program: str) -> None:
        directory.mkdir(parents=True)
        self._pipes, self._program = directory / "pipe", program
        _copy_libraries(directory)
        fiu_run = ("fiu-run", "-l", str(directory), "-x", "-f", str(self._pipes))
        self.prefix = ["env", "--block-signal", *fiu_run]

    def on(self, root: int, points: tuple[str, ...], error: int, probability: float) -> None:  # never money
        """From now on each of these calls fails with ``error``, always or with this probability."""
        often = "enable" if probability >= 1 else "enable_random"
        chance = "" if probability >= 1 else f",probability={probability}"
        self._tell(root, [f"{often} name={point},failinfo={error}{chance}" for point in points])

    def off(self, root: int, points: tuple[str, ...]) -> None:
        self._tell(root, [f"disable name={point}" for point in points])

    def _tell(self, root: int, commands: list[str]) -> None:
        """The root first, so that whoever is born meanwhile inherits it; then everybody who is there.

        Nobody is told before he is the program itself: what runs under the prefix until then forgets it.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        while _name(root) not in ("", self._program) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        self._tell_each([root], commands)
        self._tell_each(tree(root)[1:], commands)

    def _tell_each(self, pids: list[int], commands: list[str]) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while deaf := self._deaf(pids, commands):
            if time.monotonic() > deadline:
                raise ChildError(f"not told which calls fail: {deaf}")
            pids = list(deaf)  # one that was just born has no pipe yet
            time.sleep(_LOOK_SECONDS)

    def _deaf(self, pids: list[int], commands: list[str]) -> dict[int, bytes]:
        """Tell them, all at once; who is alive and was not told, and what `fiu-ctrl` says of it."""
        words = [word for command in commands for word in ("-c", command)]
        asked = {
            pid: subprocess.Popen(
                ["fiu-ctrl", "-f", str(self._pipes), *words, str(pid)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for pid in pids
        }
        return {pid: said for pid, telling in asked.items() if (said := _answer(telling, pid)) and _name(pid)}


def _answer(telling: subprocess.Popen[bytes], pid: int) -> bytes:
    """What `fiu-ctrl` says: nothing where all went well, or where a call did not fail that shall not fail any more."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while telling.poll() is None:
        if not _name(pid) or time.monotonic() > deadline:  # nobody reads any more: it would wait for ever
            os.killpg(telling.pid, signal.SIGKILL)  # itself, and the `cat` by which it waits
            telling.wait()
            return b"no answer"
        time.sleep(_LOOK_SECONDS)
    said, _ = telling.communicate()
    return b"".join(line for line in said.splitlines() if b"'disable " not in line)


def _name(pid: int) -> str:
    """The name of a process; "" for one that is no more."""
    try:
        front, _, back = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return ""
    return "" if back.split()[0] in "ZX" else front.partition("(")[2]


def _copy_libraries(directory: Path) -> None:
    """Beside each other, where `fiu-run -l` looks for them; the one with the name in common keeps to its own."""
    said = subprocess.run(["fiu-run", "-n", "-x", "true"], capture_output=True, text=True, check=True).stdout
    for path in map(Path, re.findall(r"/\S+\.so\b", said)):
        raw = path.read_bytes()
        (directory / path.name).write_bytes(_symbolic(raw) if path.name == _LIBRARY else raw)
    if not (directory / _LIBRARY).exists():
        raise ChildError(f"fiu-run does not say where {_LIBRARY} is: {said}")


def _symbolic(raw: bytes) -> bytes:
    """The same shared library with DT_SYMBOLIC, in the room that linkers leave at the end of the dynamic section."""
    if not raw.startswith(_ELF64_LITTLE):
        raise ChildError("this libfiu is no 64-bit library of a little-endian machine")
    image = bytearray(raw)
    (headers,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    for place in range(headers, headers + size * count, size):
        (kind,) = struct.unpack_from("<I", image, place)
        offset, length = (struct.unpack_from("<Q", image, place + at)[0] for at in (8, 32))
        if kind == _PT_DYNAMIC:
            tags = [struct.unpack_from("<Q", image, at)[0] for at in range(offset, offset + length, 16)]
            end = tags.index(_DT_NULL)
            if end + 1 < len(tags):  # one of them has to stay: it ends the section
                struct.pack_into("<QQ", image, offset + end * 16, _DT_SYMBOLIC, 0)
                return bytes(image)
    raise ChildError("this libfiu has no room for one more mark in its dynamic section")
