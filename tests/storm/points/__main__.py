"""A gateway that dies at its points, and the supervisor that starts it again: one process for the world, many lives.

    python -m tests.storm.points DIRECTORY MODE CONTROL gateway.toml

MODE: ``points`` dies once at every point; ``cells`` once in every cell; ``double`` once more in every cell that
recovery from a death passes; with a slash, such as ``cells/dispatch.,receipts.``, only at points that begin so;
``repeatedly`` dies eight times there. CONTROL: ``none``, or a broken build of ``broken.py``. Each life is forked from
a process that has imported everything and opened nothing, so that a restart costs no import. The diary,
``DIRECTORY/diary.jsonl``, says who died where and who came back when.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.storm.points import runtime, weave

FIRST, SECOND = runtime.FIRST, runtime.SECOND
REPEATEDLY = 8
ARMED = "armed"
SHARED = (
    "gateway.app",
    *(f"adapters.banks.{profile}.bank" for profile in ("rcc_file", "json_https", "xml_tcp", "iso20022")),
)


def read_diary(directory: Path) -> list[dict[str, Any]]:
    path = directory / "diary.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def sentence(directory: Path, mode: str) -> Callable[[str, str], str | None]:
    """Where the next life has to die: in a cell in which nobody has died yet, in the order that is due now."""
    kind, _, prefixes = mode.partition("/")
    chosen = tuple(prefixes.split(","))  # of nothing: one empty prefix, with which every point begins
    deaths = [line for line in read_diary(directory) if "died" in line]
    done = {(line["order"], line["died"], _cell(kind, line["bank"])) for line in deaths}
    after_first = kind == "double" and bool(deaths) and deaths[-1]["order"] == FIRST
    born = time.monotonic()
    armed = directory / ARMED  # made when the world stands: until then a gateway has to come up for once

    def due(point: str, bank: str) -> str | None:
        if not point.startswith(chosen) or not armed.exists():
            return None
        if kind == "repeatedly":
            return FIRST if len(deaths) < REPEATEDLY else None
        order = SECOND if after_first and time.monotonic() - born < runtime.RECOVERY_SECONDS else FIRST
        return order if (order, point, _cell(kind, bank)) not in done else None

    return due


def _cell(kind: str, bank: str) -> str:
    return "" if kind == "points" else bank


def live(directory: Path, mode: str, life: int, config: Path) -> int:
    """One life of the gateway, in the child; its status."""
    from gateway.app import App, main
    from gateway.config import load
    from gateway.loop import Loop

    reaper = runtime.Reaper(directory / "diary.jsonl", life, sentence(directory, mode))
    run_step, set_fault = Loop._run, App._fault
    ready = False

    async def run_named(self: Loop, name: str, step: Any, idle: float) -> None:  # never money
        runtime.BANK.set(name.partition(" ")[2] or "-")
        await run_step(self, name, step, idle)

    def fault_noted(self: App, component: str, reason: str | None) -> None:
        nonlocal ready
        set_fault(self, component, reason)
        if not ready and not any(self.readiness().values()):
            ready = True
            reaper.note(ready=True)

    Loop._run, App._fault = run_named, fault_noted  # type: ignore[assignment,method-assign]
    runtime.appoint(reaper)
    reaper.note(born=True)
    return main(load(config))


def supervise(directory: Path, mode: str, config: Path) -> int:
    """Start lives until one ends by itself; its status. SIGTERM is passed on."""
    child = 0
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        if child:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    life = 0
    while not stopping:
        life += 1
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            die_with_supervisor()
            status = 1
            try:
                status = live(directory, mode, life, config)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            return os.waitstatus_to_exitcode(status)
    return 0


def die_with_supervisor() -> None:
    from tests.world.processes import die_with_parent

    if (bind := die_with_parent()) is not None:
        bind()


def run(argv: list[str]) -> int:
    directory, mode, control, config = argv
    weave.install()
    for name in SHARED:  # woven now, and shared by all lives
        importlib.import_module(name)
    importlib.import_module("gateway.store.engine").sql("durability_settings")  # reads and keeps all queries

    if control != "none":
        from tests.storm.points import broken

        broken.plant(control)
    return supervise(Path(directory), mode, Path(config))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
