"""Runs a program under strace and reads what it wrote: calls in the order in which the kernel began and ended them.

A call's bytes are those that really moved (its return value), not those asked for. ``began`` and ``ended`` are
line numbers of the trace: one tracer writes it for all threads and processes below it, so they are one order for all.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(r"^(?P<pid>[0-9]+)\s+(?P<rest>.*)$")
_RESUMED: Final = re.compile(r"^<\.\.\. [a-z0-9_]+ resumed>(?P<rest>.*)$")
_CALL: Final = re.compile(r"^(?P<name>[a-z0-9_]+)\((?P<arguments>.*)\)\s+= (?P<result>-?[0-9]+|\?)")
_SOCKET: Final = re.compile(r"^[0-9]+<TCP(?:v6)?:\[(?P<ours>[^\]]*?)(?:->(?P<theirs>[^\]]*(?:\]:[0-9]+)?))?\]>")
_FILE: Final = re.compile(r"^[0-9]+<(?P<path>[^>]*)>")
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED: Final = " <unfinished ...>"
LONGEST_STRING: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: on which socket (``socket``: "ours->theirs") or file (``path``), and the bytes that moved."""

    pid: int
    name: str
    began: int
    ended: int
    result: int
    socket: str
    path: str
    data: bytes

    @property
    def peer_port(self) -> int:
        """The port of the other end of a connected socket; 0 for everything else."""
        port = self.socket.rpartition("->")[2].rpartition(":")[2]
        return int(port) if "->" in self.socket and port.isascii() and port.isdecimal() else 0


@cache
def missing() -> str:
    """Why nothing can be traced here; "" when it can be."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-D", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this machine does not allow tracing (ptrace)"


def traced(output: Path, *calls: str) -> list[str]:
    """The prefix of a command line under which ``calls`` are written to ``output``.

    The tracer is a grandchild (-D), so that the process keeps its parent, its id and its signals.
    """
    bounds = ["-xx", "-yy", "-s", str(LONGEST_STRING)]
    return [
        "strace",
        "-f",
        "-D",
        "--seccomp-bpf",  # the calls that nobody asked for run at full speed
        "-qq",
        *bounds,
        "-e",
        f"trace={','.join(calls)}",
        "-e",
        "signal=none",
        "-o",
        str(output),
    ]


def read(output: Path) -> Iterator[Call]:
    """The finished calls of a trace, in the order in which they ended."""
    open_calls: dict[int, tuple[int, str]] = {}
    with output.open(encoding="ascii", errors="replace") as lines:
        for number, line in enumerate(lines):
            match = _LINE.match(line.rstrip("\n"))
            if match is None:
                continue
            pid, text = int(match["pid"]), match["rest"]
            began = number
            if text.endswith(_UNFINISHED):
                open_calls[pid] = (number, text.removesuffix(_UNFINISHED))
                continue
            if (resumed := _RESUMED.match(text)) is not None and pid in open_calls:
                began, head = open_calls.pop(pid)
                text = head + resumed["rest"]
            call = _call(pid, began, number, text)
            if call is not None:
                yield call


def _call(pid: int, began: int, ended: int, text: str) -> Call | None:
    match = _CALL.match(text)
    if match is None or match["result"] == "?":
        return None
    arguments, result = match["arguments"], int(match["result"])
    socket, file = _SOCKET.match(arguments), _FILE.match(arguments)
    data = (
        b"".join(bytes.fromhex(part.replace("\\x", "")) for part in _STRING.findall(arguments)) if result > 0 else b""
    )
    return Call(
        pid=pid,
        name=match["name"],
        began=began,
        ended=ended,
        result=result,
        socket=f"{socket['ours']}->{socket['theirs']}" if socket and socket["theirs"] else "",
        path=_plain(file["path"]) if file and not socket else "",
        data=data[:result],
    )


def _plain(path: str) -> str:
    if not path.startswith("\\x"):
        return path
    return bytes.fromhex("".join(re.findall(r"\\x([0-9a-f]{2})", path))).decode("utf-8", "replace")
