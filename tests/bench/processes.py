"""What processes cost: CPU seconds and peak memory of a process and its children, read from the kernel's own books."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and all its descendants that are still there."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants, with what their ended children used."""
    total = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(fields[index]) for index in (11, 12, 13, 14))
    return total / _TICKS


def peak_megabytes(pid: int) -> float:
    """The most memory a process ever held (resident), in MB."""
    return _megabytes(pid, "VmHWM:")


def resident_megabytes(pid: int) -> float:
    """The memory a process holds now (resident), in MB."""
    return _megabytes(pid, "VmRSS:")


def _megabytes(pid: int, title: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(title):
            return int(line.split()[1]) / 1024
    raise ValueError(f"the kernel says nothing about {title} of this process")
