"""What runs leave behind: ends the processes of a kept one, and removes the directories of those that are over.

Standard library only: `make clean` calls it with any Python, also when the virtualenv is gone already.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.world.processes import PROJECT, birth

RECORD = "world.json"
LATEST = "latest"
IN_ORDER = ("desk", "gateway", "sms", "rcc_file", "json_https", "xml_tcp", "iso20022", "kafka", "postgres")
END_SECONDS = 20


def read_record(directory: Path) -> dict[str, dict[str, Any]] | None:
    """The processes of a run by name, as it wrote them down; None where there is no such record."""
    try:
        processes = json.loads((directory / RECORD).read_text(encoding="utf-8"))["processes"]
        return {name: {"pid": int(one["pid"]), "birth": str(one["birth"])} for name, one in processes.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def lives(process: dict[str, Any]) -> bool:
    """Whether it is still the process that was written down, and not a later one under the same id."""
    return bool(process["birth"]) and birth(process["pid"]) == process["birth"]


def stop(directory: Path) -> int:
    """End the processes of a kept run by their ids, each only while it is still the process that was started."""
    known = read_record(directory)
    if known is None:
        print(f"demo: {directory} is no directory of a run: it has no readable {RECORD}", file=sys.stderr)
        return 1
    running = [name for name in IN_ORDER if name in known and lives(known[name])]
    if not running:
        print(f"nothing of {directory} runs any more")
    ended = [_end(name, known[name]) for name in running]
    return 0 if all(ended) else 1


def _end(name: str, process: dict[str, Any]) -> bool:
    os.kill(process["pid"], signal.SIGINT if name == "postgres" else signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while lives(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    print(f"{name} does not end" if lives(process) else f"{name} ended", flush=True)
    return not lives(process)


def remove_finished(parent: Path) -> list[str]:
    """Remove the runs below ``parent`` of which nothing runs any more; what was left alone, and why."""
    left: list[str] = []
    for directory in sorted(path for path in parent.glob("*-[0-9]*") if path.is_dir() and not path.is_symlink()):
        known = read_record(directory)
        if known is None:
            left.append(f"{directory} stays: it does not say whether it still runs")
        elif any(map(lives, known.values())):
            left.append(f"{directory} stays: it runs; end it with --stop")
        else:
            shutil.rmtree(directory)
    latest = parent / LATEST
    if latest.is_symlink() and not latest.exists():
        latest.unlink()
    return left


if __name__ == "__main__":
    for line in remove_finished(PROJECT / ".demo"):
        print(line)
