"""A gateway that crashes leaves no image of its memory behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world.processes import PROJECT

CRASH = """
import os, resource, sys
from gateway.app import leave_no_dump
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))  # as under an operator who collects dumps
if sys.argv[1] == "gateway":
    leave_no_dump()
print(*resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.chdir(sys.argv[2])
os.abort()
"""


@pytest.mark.parametrize("who", ["gateway", "nobody"])
def test_a_crash_writes_no_core_file(tmp_path: Path, who: str) -> None:
    """Whatever limit the process was started under, it is one byte at most before any key is read."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH, who, str(tmp_path)], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    limits = [int(limit) for limit in done.stdout.split()]
    assert done.returncode == -signal.SIGABRT
    if who == "gateway":
        assert limits in ([0, 0], [1, 1])
        assert list(tmp_path.iterdir()) == []
    elif 0 in limits:
        pytest.skip("this machine lets nobody write a dump")
    else:
        assert limits != [1, 1]
