"""Children of a test world: ready when they say so, ended by their own id, gone when we are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.world.processes import PROJECT, Child, ChildError, free_port

READY = 'print(\'{"ready": true, "port": 7}\', flush=True)'


def child(directory: Path, code: str) -> Child:
    return Child("child", [sys.executable, "-c", code], directory)


def test_ready_line_is_returned_and_a_new_life_is_not_ready_by_the_old_line(tmp_path: Path) -> None:
    """A child is ready only by the line of its own life, never by one an earlier life left in the file."""
    marker = tmp_path / "second"
    one = child(
        tmp_path,
        f"import pathlib, time\nif pathlib.Path({str(marker)!r}).exists(): time.sleep(60)\n{READY}\ntime.sleep(60)",
    )
    one.start()
    assert one.wait_ready(20)["port"] == 7
    one.kill()
    marker.touch()
    one.start()
    time.sleep(0.2)
    assert one.answer() is None
    assert one.lives == 2
    one.kill()


def test_a_child_that_dies_early_is_named_with_its_last_words(tmp_path: Path) -> None:
    """A failed start says which child, its status and the end of its standard error."""
    one = child(tmp_path, "import sys; sys.exit('no such bank')")
    one.start()
    with pytest.raises(ChildError, match=r"child ended with status 1: no such bank"):
        one.wait_ready(20)


def test_stop_insists_when_the_child_ignores_the_request(tmp_path: Path) -> None:
    """A child that ignores SIGTERM is killed after the grace period."""
    one = child(
        tmp_path, f"import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}\ntime.sleep(60)"
    )
    one.start()
    one.wait_ready(20)
    assert one.stop(grace=0.3) == -signal.SIGKILL
    assert not one.running


def test_a_child_is_not_started_twice(tmp_path: Path) -> None:
    """Starting a running child is an error, not a second process."""
    one = child(tmp_path, "import time; time.sleep(60)")
    one.start()
    with pytest.raises(ChildError, match="already running"):
        one.start()
    one.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL of the test run leaves no orphan behind."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.world.processes import Child\n"
        f"c = Child('grandchild', [sys.executable, '-c', 'import time; time.sleep(60)'], Path({str(tmp_path)!r}))\n"
        "c.start()\nprint(c.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=PROJECT) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        parent.kill()
    for _ in range(200):
        try:
            state = Path(f"/proc/{grandchild}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # dead; whoever adopted it has not reaped it yet
            return
        time.sleep(0.02)
    os.kill(grandchild, signal.SIGKILL)
    pytest.fail("the grandchild outlived its parent")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ports are reserved by a name in Linux's kernel")
def test_a_port_is_given_once_and_never_by_chance_to_a_connection() -> None:
    """Two worlds side by side never get the same, nor does the kernel hand one out while its listener is dead."""
    program = "from tests.world.processes import free_port; print([free_port() for _ in range(300)])"
    told = [sys.executable, "-c", program]
    ours = [free_port() for _ in range(300)]
    theirs = json.loads(subprocess.run(told, cwd=PROJECT, capture_output=True, text=True, check=True).stdout)
    assert len({*ours, *theirs}) == 600
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(*ours, *theirs) < first
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ours[0]))
