"""A gateway that crashes leaves no image of its memory behind, and no library of it the keys of its TLS sessions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.hardening import leave_no_session_keys
from gateway.store.engine import Engine
from tests.adapters.pki_kit import Authority
from tests.storm.hostile_peer import peer
from tests.world.processes import PROJECT

CRASH = """
import os, resource, sys
from gateway.hardening import leave_no_dump
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))  # as under an operator who collects dumps
if sys.argv[1] == "gateway":
    leave_no_dump()
print(*resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.chdir(sys.argv[2])
os.abort()
"""
# A command up to where it would read its configuration, the first thing that leads to a key.
COMMAND = """
import os, resource, sys
from gateway import __main__, config
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
def reached(path):
    print("SSLKEYLOGFILE" in os.environ, *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
    os._exit(0)
config.load = reached
__main__.main([*sys.argv[1:], "--config", "gateway.toml"])
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


@pytest.mark.parametrize("command", ["run", "reseal", "migrate", "show 1", "check"])
def test_every_command_is_hardened_before_it_reads_anything(tmp_path: Path, command: str) -> None:
    """Not `run` alone: whoever seals again, looks up or prepares holds keys and people's details as well."""
    environment = {**os.environ, "SSLKEYLOGFILE": str(tmp_path / "session.keys")}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *command.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
        env=environment,
    )
    logs_keys, *limits = done.stdout.split()
    assert logs_keys == "False", done.stderr
    assert limits in (["0", "0"], ["1", "1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hardened", [True, False])
async def test_the_keys_of_a_session_with_the_database_are_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hardened: bool
) -> None:
    """asyncpg writes them to wherever SSLKEYLOGFILE points; without the hardening it does so here, too."""
    keys = tmp_path / "session.keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    if hardened:
        leave_no_session_keys()
        leave_no_session_keys()  # nothing is left to take away, which is no fault
    authority = Authority(tmp_path, "authority")
    async with peer("itself", authority, tmp_path, starts_tls=True) as right:
        dsn = f"postgresql://u:p@localhost:{right.port}/x?sslmode=verify-full&sslrootcert={authority.file}"
        with pytest.raises(Exception):  # noqa: B017 - it answers nothing, so every call ends badly
            await Engine.open(dsn, max_connections=1)
        assert right.told
    assert keys.exists() is not hardened
    assert hardened or b"TRAFFIC_SECRET" in keys.read_bytes()
