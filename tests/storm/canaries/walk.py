"""One world at DEBUG whose people are canaries, walked through everything that can happen to them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import resource
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.v1 import Kind
from tests.storm.canaries import places
from tests.storm.canaries.cast import Cast
from tests.storm.canaries.leaks import CARELESS_WORDS
from tests.storm.canaries.letters import LINE_ERRORS, letters
from tests.storm.matrix.troubles import answered
from tests.storm.posting import Posting, Record, write_list
from tests.world.checker.privacy import Hit
from tests.world.faults import Faults
from tests.world.layout import KID
from tests.world.layout_banks import BANKS
from tests.world.plan import HOUR, Plan
from tests.world.processes import Child, ChildError, python_module, run_apart
from tests.world.report import read_receipts
from tests.world.run import Run
from tests.world.world import World

LISTS: Final = ("659999-CANARY-0001", "659999-CANARY-0002")
ISSUER: Final = "659999-finance"
PATIENCE_SECONDS: Final = 240  # for what must come; a machine may be busy
HIT_SECONDS: Final = 60  # within which a build that leaks has to be seen


@dataclass
class Walked:
    """What was seen on the way, so that a path which nobody walked is not taken for a clean one."""

    refusals: Counter[str] = field(default_factory=Counter)  # of messages, by reason
    refused_lines: set[str] = field(default_factory=set)  # reasons
    outcomes: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)  # that bit, at the banks
    quarantined: int = 0
    messages: int = 0  # SMS that reached the centre
    lives: int = 0
    tracebacks: int = 0
    started: int = 0  # lives that were not killed on their way up
    debug_lines: int = 0  # one in each of these, see `leaks.speaks`
    records: int = 0  # on the topics
    misused: int = 0  # commands that did not understand what was asked of them
    core_limits: set[str] = field(default_factory=set)


class CanaryWorld(World):
    """A world whose gateway says all it can, may dump core, and has a directory of its own for temporary files."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        temporary = plan.directory / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        self.environment["TMPDIR"] = str(temporary)

    def start(self) -> None:
        with dumps_wanted():
            super().start()

    def _child(self, name: str, argv: list[str]) -> Child:
        speaks = python_module("tests.storm.canaries.leaks", "speaks")  # or a level that is not in force goes unseen
        return super()._child(name, [*speaks, *argv[3:]] if name == "gateway" else argv)

    def set_build(self, build: str) -> None:
        """Which build the next ``start_gateway`` starts, with log files of its own."""
        argv = python_module("tests.storm.canaries.leaks", build, "run", "--config", self.config)
        self.children["gateway"] = self._child(f"gateway-{build}", argv)


@contextlib.contextmanager
def dumps_wanted() -> Iterator[None]:
    """Start children as an operator would who collects core dumps."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def canary_plan(
    directory: Path, cast: Cast, *, lines: int, faults: Faults, seed: int, protocol: str, best: bool
) -> Plan:
    """Two lists: one to be paid whose last lines are wrong, and a smaller one that is recalled."""
    finance = directory / "lists"
    wrong = [*LINE_ERRORS.values()]
    files = [write_list(finance, LISTS[0], cast.items(lines, wrong)), write_list(finance, LISTS[1], cast.items(4))]
    lists = [{"list": str(listed), "header": str(header)} for listed, header in files]
    lists[1]["after_seconds"] = 2 * HOUR  # type: ignore[assignment]
    return Plan(
        directory=directory,
        lists=tuple(lists),
        seed=seed,
        broker="best" if best else "embedded",
        faults=faults,
        habits={"cancel_rate": 2_000, "reverify_seconds": [HOUR, 2 * HOUR]},
        gateway={"log": {"level": "DEBUG"}},
        sms_protocol=protocol,
    )


@dataclass
class Walk:
    """The way through one world that has started."""

    world: CanaryWorld
    cast: Cast
    seen: Walked = field(default_factory=Walked)

    def __post_init__(self) -> None:
        self.post = Posting(self.world)

    def go(self, *, kills: tuple[float, ...], rest_seconds: float, thorough: bool) -> Walked:  # never money
        """Everything but the broken builds; the world stays up."""
        world = self.world
        bad = list(letters(self.cast, self.post))
        self.post.send(bad)
        self._recall()
        run = Run(world, kill_at=kills, limit_seconds=rest_seconds, await_notices=False)
        asyncio.run(run.to_rest())
        self._wait("each bad record is refused", lambda: self._answered(bad))
        self._wait("somebody is paid", lambda: bool(self._outcomes()["credited"]))
        self._wait("every wrong line is refused", lambda: self._refused_lines() >= set(LINE_ERRORS))
        places.keep_pages(world, self.cast, "up")
        self._outages()
        self.seen.misused += places.keep_commands(world, self._commands(thorough), "up")
        self._crash()
        self._look(run)
        return self.seen

    def hits(self) -> list[Hit]:
        """The scan of everything, with what is still in memory written down first."""
        places.checkpoint(self.world)
        self.seen.records = places.keep_topics(self.world)
        return places.scan(self.world.directory, self.cast.values)

    # --- What happens ------------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        """The second list, by the operator's command; and orders about the first one with people's data in them."""
        key = ("--key", str(self.world.directory / "finance.pem"), "--kid", KID, "--document", "1", "--issuer", ISSUER)
        details = self.world.directory / "lists" / "details.json"
        details.write_text(json.dumps(self.cast.person(), ensure_ascii=False))
        wrong = details.with_name("wrong.json")
        wrong.write_text(json.dumps({"id_no": [self.cast.person()["id_no"]], self.cast.person()["name"]: 1}))
        reissue = ("reissue", LISTS[0], "1", "--attempt", "1", *key, "--details")
        table = self.world.directory / "lists" / f"{LISTS[0]}.csv"
        header = ("--header", str(table.with_suffix(".json")), *key[:4])
        torn = table.with_name("torn.csv")
        torn.write_bytes(table.read_bytes().replace(",银行卡".encode(), b"", 3))
        self.seen.misused += places.keep_commands(
            self.world,
            [
                ("recall", LISTS[1], *key),
                (*reissue, str(details)),
                (*reissue, str(wrong)),
                ("publish", str(torn), *header),
                ("bindings", "load", str(table)),
            ],
            "orders",
        )

    def _outages(self) -> None:
        """Without the database, then without Kafka: steps fail and say so."""
        world = self.world
        world.postgres.kill()
        time.sleep(0.5)
        places.keep_pages(world, self.cast, "without-database")
        world.postgres.start()
        world.broker.down()
        time.sleep(0.5)
        world.broker.up()
        world.wait_for_gateway(PATIENCE_SECONDS)

    def _crash(self) -> None:
        """The end of a process that would leave its memory behind."""
        gateway = self.world.children["gateway"]
        self.seen.core_limits.add(places.keep_process(self.world, "gateway"))
        gateway.kill()
        with dumps_wanted():
            gateway.start()
        self.world.wait_for_gateway(PATIENCE_SECONDS)
        self.seen.core_limits.add(places.keep_process(self.world, "gateway-again"))

    def _commands(self, thorough: bool) -> list[tuple[str, ...]]:
        """Commands that look at the books or at the configuration: one of each, or all of them at everything."""
        few = [("show", LISTS[0], "--verify"), ("show", "1-1"), ("failures",), ("differences", "--settled")]
        if not thorough:
            return few
        more = [("show", LISTS[1], "--verify"), ("check",), ("reseal", "--count"), ("resume", *BANKS)]
        return [*few, *more, *(("show", f"{batch}-{line}") for batch in (1, 2) for line in (2, 3, 4))]

    # --- Broken builds -----------------------------------------------------------------------------------------------

    def leak(self, build: str, below: str) -> list[Hit]:
        """Run another build for a moment, on people of its own; what the scan finds of them."""
        world = self.world
        for name in ("desk", "gateway"):  # the desk knows its own lists only
            world.children[name].stop()
        theirs = Cast(count=self.cast.count)
        items = theirs.items(2, [LINE_ERRORS["AMOUNT_INVALID"]])
        one = theirs.person()
        number = canonical_number(one)
        self.cast.count = theirs.count
        world.set_build(build)
        world.start_gateway()
        world.wait_for_gateway(PATIENCE_SECONDS)
        self.post.send(
            [*self.post.list(f"659999-{build.upper().replace('_', '-')}", items), self.post.signed(Kind.BATCH, number)]
        )
        if not below:  # nothing is to be found: but what was to be stopped has to have happened
            said = world.children["gateway"].output
            self._wait("the line is written", lambda: CARELESS_WORDS.encode() in said.read_bytes(), desk=False)
        deadline = time.monotonic() + HIT_SECONDS
        while True:
            if below == "postgres":
                places.checkpoint(world)
            found = places.scan(world.directory, theirs.values, below=(below,) if below else ())
            if found or not below or time.monotonic() > deadline:
                return found
            time.sleep(0.5)

    # --- Looking -----------------------------------------------------------------------------------------------------

    def _wait(self, what: str, happened: Callable[[], bool], *, desk: bool = True) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            for name, child in self.world.everybody().items():
                if not child.running and (desk or name != "desk"):
                    raise ChildError(f"{name} ended with status {child.returncode}: {child.last_words()}")
            if time.monotonic() > deadline:
                raise ChildError(f"not within {PATIENCE_SECONDS} s: {what}")
            time.sleep(0.2)

    def _answered(self, bad: list[Record]) -> bool:
        digests = [hashlib.sha256(record.raw).hexdigest() for record in bad]
        return answered(self.world.directory, digests) == len(digests)

    def _outcomes(self) -> Counter[str]:
        path = self.world.directory / "desk" / "receipts.jsonl"
        return read_receipts(path).outcomes if path.exists() else Counter()

    def _refused_lines(self) -> set[str]:
        path = self.world.directory / "desk" / "receipts.jsonl"
        return set(read_receipts(path).refused.values()) if path.exists() else set()

    def _look(self, run: Run) -> None:
        world, seen = self.world, self.seen
        status = world.desk_status()
        seen.refusals, seen.orders = Counter(status["refusals"]), Counter(status["orders"])
        seen.outcomes, seen.refused_lines = self._outcomes(), self._refused_lines()
        seen.lives = world.children["gateway"].lives
        for bank in BANKS:
            seen.faults.update(
                dict(_rows(world.directory / bank / "ledger.sqlite", "fault, count(*) FROM faults GROUP BY 1"))
            )
        seen.messages = int(_rows(world.directory / "sms" / "ledger.sqlite", "count(*), 0 FROM messages")[0][0])
        seen.quarantined = run_apart(_quarantined(world.postgres.dsn("payout")))
        said = b"".join(path.read_bytes() for path in world.logs.glob("gateway*"))
        seen.tracebacks, seen.debug_lines = said.count(b'"frames"'), said.count(b'"level": "debug"')
        seen.started = said.count(b'"event": "started"')


def canonical_number(one: dict[str, str]) -> bytes:
    """A message whose ID number is a number: pydantic's error would quote it."""
    return json.dumps({"schema": "payout.batch-part/v1", "items": [{"id_no": int(one["account"])}]}).encode()


def _rows(ledger: Path, query: str) -> list[tuple[str, int]]:
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        return list(database.execute(f"SELECT {query}"))


async def _quarantined(dsn: str) -> int:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM artefacts WHERE quarantined IS NOT NULL"))
    finally:
        await connection.close()
