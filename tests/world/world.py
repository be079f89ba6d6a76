"""A whole world as processes: PostgreSQL, Kafka, four banks, an SMS centre, a finance desk, and one gateway or more.

Used alike by the demonstration, the journeys and the benchmark. Children are started on the main thread and
ended by their own ids; what is measured is measured from outside: receipts, the banks' ledgers, `/metrics`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import aiohttp

from tests.bank import outlook
from tests.world import layout
from tests.world.broker import EMBEDDED_LIMITS, Broker, EmbeddedBroker, select_broker
from tests.world.kept import RECORD
from tests.world.layout_banks import BANKS
from tests.world.logins import prepare_books
from tests.world.plan import Plan
from tests.world.postgres import EmbeddedPostgres
from tests.world.processes import PROJECT, Child, ChildError, birth, python_module, run_apart

BYTES_IN_FLIGHT = EMBEDDED_LIMITS.bytes_kept * 3 // 4
READY_SECONDS = 60
COMMAND_SECONDS = 120
_SHANGHAI = dt.timezone(dt.timedelta(hours=8))
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.e+-]+|\+Inf|NaN)$")


class World:
    """Started in order, stopped in reverse. ``with World(plan) as world`` does both."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.directory = plan.directory
        self.config = plan.directory / "gateway.toml"
        self.sealer = plan.directory / "sealer.toml"  # the same, with the login that seals
        self.logs = plan.directory / "logs"
        self.environment: dict[str, str] = {}
        self.postgres = EmbeddedPostgres(plan.directory / "postgres", outlives_parent=plan.outlives)
        self.broker: Broker = (
            select_broker(plan.directory / "kafka", outlives_parent=plan.outlives)
            if plan.broker == "best"
            else EmbeddedBroker(plan.directory / "kafka", outlives_parent=plan.outlives)
        )
        self.ports = layout.Addresses.on_loopback()
        self.children: dict[str, Child] = {}
        self.epoch = 0.0

    def __enter__(self) -> World:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def now(self) -> dt.datetime:
        """Business time, in Shanghai."""
        passed = dt.timedelta(seconds=(time.time() - self.epoch) * self.plan.scale)
        return (dt.datetime.fromisoformat(self.plan.start) + passed).astimezone(_SHANGHAI)

    # --- Starting and stopping ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything up and ready; the desk, and with it the run, starts last."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_record()  # from its first moment a directory says that it is in use
        self.postgres.start()
        self.broker.start()
        self._configure()
        self.prepare_database()
        self.epoch = time.time() + 1  # a second to start in, so that the run begins at the hour it says
        self.environment["GATEWAY_CLOCK"] = f"{self.plan.start}@{self.plan.scale}@{self.epoch}"
        for bank in BANKS:
            self._add(bank, "tests.bank", self.directory / bank / "bank.json")
        self._add("sms", "tests.world.sms_centre", self.directory / "sms" / "sms_centre.json")
        self._add("desk", "tests.world.desk", self.directory / "desk.json")
        self.children["gateway"] = self._child(
            "gateway", [sys.executable, "-m", "gateway", "run", "--config", str(self.config)]
        )
        for name in (*BANKS, "sms", "gateway"):
            self.children[name].start()
        for name in (*BANKS, "sms"):
            self.children[name].wait_ready(READY_SECONDS)
        self.wait_for_gateway()
        self.children["desk"].start()
        self.children["desk"].wait_ready(READY_SECONDS)
        self._write_record()

    def prepare_database(self) -> None:
        prepare_books(self.postgres, self.directory)
        sealer = merged(self.config.read_text(), {"database": {"dsn_file": "sealer_dsn"}})
        self.sealer.write_text(sealer)

    def _write_record(self) -> None:
        (self.directory / RECORD).write_text(json.dumps(self.addresses(), indent=2) + "\n")

    def stop(self) -> None:
        """Gently: the desk first, the gateway with its time to finish, the banks, then what they stood on."""
        for name in ("desk", "gateway", "sms", *BANKS):
            if name in self.children:
                self.children[name].stop()
        self.broker.stop()
        self.postgres.stop()

    def _add(self, name: str, module: str, config: Path) -> None:
        self.children[name] = self._child(name, python_module(module, "--config", config))

    def _child(self, name: str, argv: list[str]) -> Child:
        return Child(name, argv, self.logs, environment=self.environment, outlives_parent=self.plan.outlives)

    def kill_gateway(self) -> None:
        """SIGKILL: whatever it was doing stays half done."""
        self.children["gateway"].kill()

    def start_gateway(self) -> None:
        self.children["gateway"].start()

    def command(self, *arguments: str, faults: bool = False, config: Path | None = None) -> str:
        """Run ``gateway ARGUMENTS --config`` to its end; what it said. ChildError if it failed (unless ``faults``)."""
        done = subprocess.run(
            [*python_module("gateway"), *arguments, "--config", str(config or self.config)],
            capture_output=True,
            text=True,
            check=False,
            cwd=PROJECT,
            env={**os.environ, **self.environment},
            timeout=COMMAND_SECONDS,
        )
        if done.returncode and not faults:
            raise ChildError(f"gateway {arguments[0]} ended with status {done.returncode}: {done.stderr[-500:]}")
        return done.stdout + done.stderr

    def resume_banks(self) -> None:
        """As an operator who has mended whatever a bank refused."""
        self.command("resume", *BANKS)

    def wait_for_gateway(self, timeout: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + timeout
        while run_apart(self.get("/ready")) is None:
            child = self.children["gateway"]
            if not child.running:
                raise ChildError(f"the gateway ended with status {child.returncode}: {child.last_words()}")
            if time.monotonic() > deadline:
                raise ChildError(f"the gateway is not ready after {timeout:g} s: {child.last_words()}")
            time.sleep(0.05)

    # --- Configuration -----------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        """Keys, certificates and configurations as the compose street has them, then what this plan changes."""
        at = dataclasses.replace(self.ports, kafka=self.broker.bootstrap)
        nothing_wrong = layout.Programmes({}, {})
        layout.lay_out(self.directory, at, nothing_wrong, self.plan.seed, self.plan.sms_protocol)
        for bank in BANKS:
            path = self.directory / bank / "bank.json"
            settings = json.loads(path.read_text())
            settings |= {"directory": str(path.parent), "hang_real_seconds": self.plan.hang_real_seconds}
            settings |= {"settling_seconds": self.plan.settling_seconds, "programme": self.plan.programme(bank)}
            settings |= {**self.plan.bank, **self.plan.profiles.get(bank, {})}
            path.write_text(json.dumps(settings, indent=2))
        centre = self.directory / "sms" / "sms_centre.json"
        settings = json.loads(centre.read_text())
        settings |= {"directory": str(centre.parent), "rates": dict(self.plan.faults.sms)}
        settings |= {"hang_real_seconds": self.plan.hang_real_seconds}
        centre.write_text(json.dumps(settings, indent=2))
        ours = self.broker.kind in ("embedded", "jvm")  # others may not let a member be given up so soon
        kafka = {"kafka": {"session_timeout_seconds": 3 if ours else 6}}
        self.config.write_text(merged(merged(self.config.read_text(), kafka), self.plan.sections()))
        self._configure_desk()

    def _configure_desk(self) -> None:
        inputs = self.directory / "desk" / "inputs"
        inputs.mkdir(parents=True, exist_ok=True)
        for name in ("agreements.csv", "programmes.csv"):
            shutil.copyfile(self.directory / name, inputs / name)
        shutil.copyfile(self.directory / "approval_keys.json", inputs / "keys.json")
        issuer = json.loads((self.directory / "approval_keys.json").read_text())["keys"][0]["issuer"]
        desk = {
            "directory": str(self.directory / "desk"),
            "bootstrap": self.broker.bootstrap,
            "issuer": issuer,
            "key_file": str(self.directory / "finance.pem"),
            "kid": layout.KID,
            "lists": [dict(one) for one in self.plan.lists],
            "habits": {"seed": self.plan.seed, **self.plan.habits},
            "hostile": self.plan.hostile,
            "repeat_rate": self.plan.repeat_rate,
            "bytes_in_flight": BYTES_IN_FLIGHT if self.broker.limits.bytes_kept else 0,
        }
        (self.directory / "desk.json").write_text(json.dumps(desk, indent=2))

    def addresses(self) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "config": str(self.config),
            "gateway": f"http://127.0.0.1:{self.ports.gateway}",
            "metrics": f"http://127.0.0.1:{self.ports.gateway}/metrics",
            "kafka": self.broker.bootstrap,
            "broker": self.broker.kind,
            "postgres": f"127.0.0.1:{self.postgres.port}",
            "dsn_file": str(self.directory / "dsn"),  # the DSN itself carries a password
            "banks": ", ".join(f"{bank} 127.0.0.1:{getattr(self.ports, bank)}" for bank in BANKS),
            "sms_centre": f"http://127.0.0.1:{self.ports.sms}",
            "clock": self.environment.get("GATEWAY_CLOCK", ""),
            "processes": {
                "run": {"pid": os.getpid(), "birth": birth(os.getpid())},
                **{
                    name: {"pid": child.pid, "birth": birth(child.pid)}
                    for name, child in self.everybody().items()
                    if child.running
                },
            },
        }

    def everybody(self) -> dict[str, Child]:
        found = dict(self.children)
        child = getattr(self.broker, "child", None)
        if isinstance(child, Child):
            found["kafka"] = child
        if self.postgres.child is not None:
            found["postgres"] = self.postgres.child
        return found

    # --- Looking from outside ----------------------------------------------------------------------------------------

    async def ask(self, path: str) -> tuple[int, str] | None:
        """The status and the body of the gateway's answer; None where it gives none."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(f"http://127.0.0.1:{self.ports.gateway}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (OSError, TimeoutError, aiohttp.ClientError):
            return None

    async def get(self, path: str) -> str | None:
        """The gateway's answer when it is 200, else None."""
        answer = await self.ask(path)
        return answer[1] if answer is not None and answer[0] == 200 else None

    async def status(self, path: str) -> int | None:
        """The status of the gateway's answer; None where it gives none, which is no status at all."""
        answer = await self.ask(path)
        return None if answer is None else answer[0]

    async def metrics(self) -> dict[str, dict[str, float]]:
        """``{name: {labels: value}}`` of what the gateway exposes; empty while it is away."""
        return parse_metrics(await self.get("/metrics") or "")

    def desk_status(self) -> dict[str, Any]:
        path = self.directory / "desk" / "status.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def outlooks(self) -> dict[str, dict[str, int]]:
        """What each bank has planned and not yet done."""
        return {bank: outlook.read(self.directory / bank) for bank in BANKS}

    def unread(self) -> int:
        """Days of banks of files whose statements the gateway has not read yet, and credits that no bank has told."""
        places = [self.directory / bank for bank in BANKS]
        return sum(outlook.unread_days(place) + outlook.untold_credits(place) for place in places)


def parse_metrics(page: str) -> dict[str, dict[str, float]]:
    """Prometheus' text format as ``{name: {labels: value}}``; samples, never money to be paid."""
    found: dict[str, dict[str, float]] = {}
    for line in page.splitlines():
        match = _SAMPLE.match(line)
        if match:
            found.setdefault(match[1], {})[match[2] or ""] = float(match[3])  # a sample, never money
    return found


def merged(text: str, sections: dict[str, dict[str, Any]]) -> str:
    """A TOML document with ``sections`` (by dotted name) laid over it."""
    document = tomllib.loads(text)
    for name, values in sections.items():
        place = document
        for part in name.split("."):
            place = place.setdefault(part, {})
        place.update(values)
    return "\n".join(_toml(document, ""))


def _toml(table: dict[str, Any], name: str) -> list[str]:
    lines = [f"[{name}]"] if name else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", *_toml(value, f"{name}.{key}" if name else key)]
    return lines
