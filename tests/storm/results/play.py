"""Two lists at one bank, all that the bank wrote about them, and the books after every way of delivering it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.contract import Artefact, CallbackRefused
from adapters.wire.folders import sealed, unsealed
from gateway import log, reference
from gateway.approval import SigningKey
from gateway.privacy import fresh_key_file, parse_keys
from gateway.states import State, effective
from gateway.store.engine import Engine
from gateway.store.store import Store
from gateway.vault import Vault
from tests.bank import hand
from tests.store import kit
from tests.store.kit import Gateway
from tests.storm.contents import contents
from tests.storm.model.books import FINAL, KNOWN_AFTER
from tests.storm.results.rigs import CALLBACK, JsonRig, Rig

PLANS: Final = (
    "accept",
    "reject:ACCOUNT_CLOSED",
    "credit_then_return:7200:ACCOUNT_CLOSED",
    "settle_late:3600",
    "accept",
)
LISTS: Final = ("659999-R-0001", "659999-R-0002")
_AT_ONCE: Final = 25  # files of one collection, which is limited in time
_FILED: Final = ("artefacts", "banks", "leases")  # where an artefact may leave a trace that is no row of the books


def programme() -> dict[str, Any]:
    """What the bank does with each of the lines, the same in both lists."""
    accounts = {kit.line(n)["account"]: [PLANS[(n - 1) % len(PLANS)]] for n in range(1, 2 * len(PLANS) + 1)}
    return {"accounts": accounts}


@asynccontextmanager
async def opened(dsn: str, rig: Rig) -> AsyncIterator[Gateway]:
    """The real store and steps over a rig's adapter."""
    config = kit.config_of(dsn)
    engine = await Engine.open(dsn, max_connections=6)
    store = Store(engine, "test", config.timing.lease_seconds)
    await store.submissions.ensure_banks([rig.profile])
    vault, key = Vault.of(parse_keys(fresh_key_file().encode())), SigningKey.generate("EdDSA")
    calendar = Path(reference.__file__).parents[1] / "deploy" / "reference" / "calendar.csv"
    tables = reference.load(kit.DATA / "programmes.csv", kit.DATA / "agreements.csv", calendar, "adapter_issue_banks")
    try:
        yield kit.assemble(store, rig.adapter, config, tables, kit.HandClock(), vault, key)
    finally:
        await store.close()


@dataclass
class Told:
    """What the operator can see of what was delivered: refusals by name and digest, with their reasons."""

    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    lines: io.StringIO = field(default_factory=io.StringIO)

    def logged(self, event: str) -> list[dict[str, Any]]:
        found = (json.loads(line) for line in self.lines.getvalue().splitlines())
        return [line for line in found if line["event"] == event]


Known = dict[str, tuple[Any, ...]]  # by reference: the state, and the facts behind it


class Play:
    """One bank and one gateway; ``sound`` is all that the bank wrote, in its order."""

    def __init__(self, rig: Rig, gateway: Gateway) -> None:
        self.rig, self.gateway = rig, gateway
        self.sound: list[Artefact] = []
        self.told = Told()

    async def pay(self) -> None:
        """Two lists travel, and the bank goes through with them while the gateway hears nothing."""
        log.configure("INFO", self.told.lines)
        count = len(PLANS)
        for number, batch_id in enumerate(LISTS):
            numbers = range(number * count + 1, (number + 1) * count + 1)
            lines = [{**kit.line(n, bank_no=self.rig.bank_no), "line": at} for at, n in enumerate(numbers, start=1)]
            await self.gateway.batch(lines, batch_id)
            await self.gateway.fund(f"{100 * count}.00", batch_id, f"F-{number}")
        await self.gateway.judge()
        await self.gateway.send()
        for seconds in (60, 3_600, 7_200, 2 * 86_400):
            self.rig.held.wait(seconds)
            self.gateway.clock.forward(seconds=seconds)
            written = await self.rig.written()
            known = {(one.name, one.sha256) for one in self.sound}
            self.sound += [one for one in written if (one.name, one.sha256) not in known]

    async def deliver(self, artefacts: Iterable[Artefact]) -> None:
        """Collected, or called back; what is refused at the door is noted with its reason."""
        arriving = list(artefacts)
        if isinstance(self.rig, JsonRig):
            for one in arriving:
                await self._call_back(self.rig, one)
            return
        for start in range(0, len(arriving), _AT_ONCE):
            self.rig.files += arriving[start : start + _AT_ONCE]
            await self.gateway.verify.collect(self.gateway.entry)
        self.told.reasons |= await self._quarantined()

    async def _call_back(self, rig: JsonRig, artefact: Artefact) -> None:
        body = artefact.content
        try:
            await self.gateway.verify.callback(self.gateway.entry, "POST", CALLBACK, rig.headers(body), body)
        except CallbackRefused as refused:
            self.told.reasons[artefact.name, artefact.sha256] = refused.reason

    async def _quarantined(self) -> dict[tuple[str, str], str]:
        """What lies aside, each with a reason, and with the bytes themselves for whoever may open them."""
        async with self.gateway.store.engine.connection() as connection:
            rows = await connection.fetch(
                "SELECT name, encode(digest, 'hex') AS digest, quarantined, sealed FROM artefacts"
                " WHERE quarantined IS NOT NULL"
            )
        for row in rows:
            content = self.gateway.vault.unseal(bytes(row["sealed"]), "artefacts", self.rig.profile, row["digest"])
            assert Artefact.of(row["name"], content).sha256 == row["digest"]
        return {(row["name"], row["digest"]): row["quarantined"] for row in rows}

    async def books(self) -> dict[str, str]:
        """All tables in which a line of an answer could leave a trace."""
        return await contents(self.gateway, *_FILED)

    async def states(self) -> Known:
        """Of each attempt what is known: state, host reference, post date, the return's host reference."""
        async with self.gateway.store.engine.connection() as connection:
            rows = await connection.fetch(
                "SELECT a.reference, a.state, s.state AS shared, a.host_reference, a.post_date, a.return_host_reference"
                " FROM attempts a JOIN submissions s USING (submission_id)"
            )
        found: Known = {}
        for name, own, shared, *facts in rows:
            state = effective(State(own) if own else None, State.__members__.get(shared, State.VOID))
            found[name] = (state, *facts)
        return found

    def disagreements(self, states: Known) -> list[str]:
        """References of which the books say something else than the bank's own ledger."""
        net = self.rig.truth()
        credited = {name for name, (state, *_) in states.items() if state is State.CREDITED}
        settled = {name for name, (state, *_) in states.items() if state in FINAL}
        return sorted((credited ^ {name for name, count in net.items() if count}) | (set(net) - settled))


def regressions(before: Known, after: Known) -> list[str]:
    """References of which something was known and is not any more."""
    lost = []
    for name, (state, *facts) in before.items():
        now, *facts_now = after[name]
        forgotten = any(old is not None and new != old for old, new in zip(facts, facts_now, strict=True))
        if (state in FINAL and now not in KNOWN_AFTER.get(state, {state})) or forgotten:
            lost.append(name)
    return lost


def cut(artefact: Artefact, step: int) -> Iterator[Artefact]:
    """An artefact cut at every ``step``-th byte; a sealed file under a seal that fits what is left of it, too."""
    content = artefact.content
    for length in range(0, len(content), step):
        if content[length:].strip():  # the last line end of an XML document may be missing
            yield Artefact.of(artefact.name, content[:length])
    if artefact.name.endswith((".res", ".txt")):
        _, file = unsealed(content)
        for length in range(0, len(file), step):
            yield Artefact.of(artefact.name, sealed(hand.ok(file[:length]), file[:length]))


def renamed(artefact: Artefact, others: Sequence[Artefact]) -> Iterator[Artefact]:
    """The content of a file under the name of one that is about something else."""
    for other in others:
        if other.sha256 != artefact.sha256 and other.name != artefact.name and "DF" in artefact.name:
            yield Artefact.of(other.name, artefact.content)
