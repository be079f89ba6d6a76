"""The model's world: one PostgreSQL, two processes of the real gateway over it, and the bank whose ledger is the truth.

Everything is synchronous from outside: the state machine says what happens next, and it has happened when the call
returns. Time is a clock moved by hand; a lease runs out when the machine says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from gateway import dispatch, verify
from gateway.approval import SigningKey
from gateway.privacy import fresh_key_file, parse_keys
from gateway.store.store import Store
from gateway.vault import Vault
from tests.store import kit
from tests.store.kit import Gateway, HandClock
from tests.storm.model.backends import until_gone
from tests.storm.model.bank import Answer, TruthBank
from tests.storm.model.books import Books
from tests.storm.model.life import CountedEngine, Ended, Life, Mishap, task_factory

LEASE_SECONDS = 600  # longer than any example: leases end by ``leases_pass`` alone
TABLES = [
    *("batches", "batch_parts", "fundings", "refused_lines", "payouts", "submissions", "attempts", "evidence"),
    *("artefacts", "callback_events", "banks", "orders", "account_bindings", "notices", "outbox", "history", "leases"),
    *("statements", "statement_entries", "statement_differences", "moved_lines", "notice_parts"),
]
# The history's trigger would refuse; it is in force again before anything else happens.
RESET = "; ".join(
    (
        "ALTER TABLE history DISABLE TRIGGER USER",
        *(f"DELETE FROM {table}" for table in TABLES),
        "ALTER TABLE history ENABLE TRIGGER USER",
    )
)
LEASES_PASS = """
UPDATE submissions SET lease_until = lease_until - interval '1 day' WHERE lease_until IS NOT NULL;
UPDATE leases SET lease_until = lease_until - interval '1 day'
"""

Work = Callable[[Gateway], Coroutine[Any, Any, Any]]


@dataclass
class Process:
    """One process: its life and its steps."""

    life: Life
    gateway: Gateway


class World:
    """Lives as long as the test; ``begin`` starts an example."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_task_factory(task_factory)
        self._patches = pytest.MonkeyPatch()
        self._tables = kit.tables_of_tests()
        self._vault = Vault.of(parse_keys(fresh_key_file().encode()))
        self._key = SigningKey.generate("EdDSA")
        self._uptime_seconds = 0
        self._owners = 0
        self.processes: list[Process] = []
        self.clock = HandClock()
        self.bank = TruthBank()
        self.batch_no = 0
        config = kit.config_of(dsn)
        timing = config.timing.model_copy(update={"lease_seconds": LEASE_SECONDS})
        self._config = config.model_copy(update={"timing": timing})
        # One call at a time in a process, so that its n-th await is the same when an example is replayed.
        self._patches.setattr(dispatch, "SENT_AT_ONCE", 1)
        self._patches.setattr(verify, "PROBED_AT_ONCE", 1)
        self._patches.setattr(dispatch, "_uptime_seconds", lambda: self._uptime_seconds)
        self._witness: asyncpg.Connection = self.do(asyncpg.connect(dsn))

    def do(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return self._runner.run(run())

    def close(self) -> None:
        for process in self.processes:
            self.do(process.life.end())
        self.do(self._witness.close())
        self._patches.undo()
        self._runner.close()

    @contextmanager
    def without_triggers(self, table: str) -> Iterator[None]:
        """For a while the schema does not stop what is wrong with a row of ``table``."""
        self.do(self._witness.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        try:
            yield
        finally:
            self.do(self._witness.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER"))

    # -- examples

    def begin(self, lines: int, max_lines: int, *, callback_is_proof: bool) -> None:
        """Empty books, an idle bank, two processes, and a funded list of ``lines`` lines."""
        for process in self.processes:
            if process.life.still:
                self.do(process.life.end())
        self.do(self._witness.execute(RESET))
        self.clock = HandClock()
        self.bank = TruthBank(
            clock=self.clock, can={"max_lines": max_lines, "callback_is_proof": callback_is_proof}, name="rcc_file"
        )
        engines = [p.life.engine for p in self.processes if not p.life.dead]
        self.processes = [self._process(engines.pop() if engines else None) for _ in range(2)]
        self.do(self._publish_list(self.processes[0].gateway, lines))

    async def _publish_list(self, gateway: Gateway, lines: int) -> None:
        await gateway.batch([kit.line(number) for number in range(1, lines + 1)])
        await gateway.fund(f"{lines * 100}.00")
        await gateway.judge()
        self.batch_no = (await gateway.store.reads.find_batches(""))[0]["batch_no"]

    def _process(self, engine: CountedEngine | None = None) -> Process:
        engine = engine or self.do(CountedEngine.connect(self._dsn))
        self._owners += 1
        store = Store(engine, f"process-{self._owners}", LEASE_SECONDS)
        self.do(store.submissions.ensure_banks([self.bank.name]))
        self.do(store.pauses.resume([self.bank.name]))  # who starts a process again here has mended what was refused
        gateway = kit.assemble(store, self.bank, self._config, self._tables, self.clock, self._vault, self._key)
        return Process(Life(engine), gateway)

    # -- steps

    def act(self, who: int, work: Work, mishap: Mishap | None = None) -> Ended:
        """One process does one piece of work; a process that stood still goes on first. A dead one is replaced."""
        process = self.processes[who]
        if process.life.still:
            self.go_on(who)
            process = self.processes[who]
        ended: Ended = self.do(process.life.run(work(process.gateway), mishap))
        if ended is Ended.DEAD:
            self._replace(who)
        elif ended is Ended.FAILED:
            self.do(self._until_backends_are_gone())
        if mishap is not None and mishap.leases_pass and ended is not Ended.DONE:
            self.leases_pass()
        return ended

    def go_on(self, who: int) -> None:
        """A process that stood still finishes what it was at."""
        if self.processes[who].life.still:
            self.do(self.processes[who].life.go_on())

    def restart(self, who: int) -> None:
        """kill -9 between two pieces of work, or while it stands still, and a fresh process."""
        self.do(self.processes[who].life.end())
        self._replace(who)

    def _replace(self, who: int) -> None:
        self.do(self._until_backends_are_gone())
        self.processes[who] = self._process()

    async def _until_backends_are_gone(self) -> None:
        await until_gone(self._witness, [p.life.engine for p in self.processes if not p.life.dead])

    def leases_pass(self) -> None:
        """Real time passes: whoever holds a claim has lost it."""
        self._uptime_seconds += LEASE_SECONDS + 1
        self.do(self._witness.execute(LEASES_PASS))

    def read(self) -> Books:
        """The books as they stand; the bank is told what is frozen, to see what travels nevertheless."""
        books: Books = self.do(Books.read(self._witness, self.batch_no))
        self.bank.frozen = books.frozen
        self.bank.sending = {row["reference"] for row in books.submissions.values() if row["state"] == "SENDING"}
        return books

    # -- the end

    def come_to_rest(self, rounds: int = 18) -> Books:
        """Quiet: nothing is lost any more, the bank decides and publishes everything, and time passes: more than three
        days, after which people are called for what a bank had and then denied."""
        for who in range(2):
            self.go_on(who)
            self.do(self.processes[who].gateway.store.pauses.resume([self.bank.name]))
        self.bank.answer, self.bank.asked = Answer.RECEIVED, "truth"
        books = self.read()
        for number in range(rounds):
            self.leases_pass()
            self.act(0, _everything)
            for _ in range(len(self.bank.items)):
                self.bank.decide(0, "credit", {})
            self.bank.publish()
            self.act(1, lambda gateway: gateway.verify.collect(gateway.entry))
            books = self.read()
            if books.at_rest and not self.bank.violations:
                break
            self.clock.forward(minutes=35 * (number + 1))
        return books


async def _everything(gateway: Gateway) -> None:
    await gateway.verify.doubt_abandoned()
    await gateway.verify.watch_time(gateway.entry)
    await gateway.send()
    while await gateway.verify.probe(gateway.entry):
        pass
