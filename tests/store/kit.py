"""A small gateway in one process for the tests of the books: real store, real steps, a toy bank."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.contract import Artefact
from gateway import reference
from gateway.approval import AUDIENCE, KeyRing, SigningKey, sign
from gateway.banks import Bank
from gateway.clock import SHANGHAI, Clock
from gateway.config import Config
from gateway.dispatch import Dispatch
from gateway.failures import Failures
from gateway.intake import Intake
from gateway.privacy import fresh_key_file, parse_keys
from gateway.receipts import Relay
from gateway.store.batches import Stored
from gateway.store.engine import Engine
from gateway.store.store import Store
from gateway.vault import Vault
from gateway.verify import Verify
from gateway.watch import Watch
from schemas.codec import parse_message
from schemas.money import sum_as_written
from schemas.v1 import Kind
from tests.store.toy import Script, ToyBank, ToyWire, hang_up, received, refuse_connection, short_of_funds

__all__ = [
    "Gateway",
    "HandClock",
    "Script",
    "ToyBank",
    "ToyWire",
    "expire",
    "hang_up",
    "line",
    "open_gateway",
    "received",
    "refuse_connection",
    "short_of_funds",
]

DATA = Path(__file__).parents[1] / "data"
START = dt.datetime(2026, 11, 24, 10, 0, tzinfo=SHANGHAI)
ISSUER = "659999-finance"
BATCH = "659999-XJ-NY-01-2026-0001"
BANK_NO = "402881000015"
# No lease ends by itself in a test: a crowded machine stands still for longer than any lease that a test could wait
# out, and a gateway that stood still sends nothing. Where a lease has to be over, ``expire`` ends it.
PATIENT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class HandClock(Clock):
    """A clock that a test moves by hand."""

    at: dt.datetime = START

    def now(self) -> dt.datetime:
        return self.at

    def forward(self, **span: int) -> None:
        object.__setattr__(self, "at", self.at + dt.timedelta(**span))


def line(number: int, **fields: str) -> dict[str, Any]:
    """One valid line of a list; ``fields`` overrides columns."""
    body = f"659999{1950 + number % 50}01{1 + number % 28:02d}{number % 1000:03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
    return {
        "line": number,
        "name": "阿依古丽·买买提",
        "id_no": body + check,
        "phone": f"138{number:08d}",
        "address": "某某县",
        "bank_name": "某某农商银行",
        "bank_no": BANK_NO,
        "account": f"6299990{number:012d}",
        "account_kind": "银行卡",
        "quantity": "1.0",
        "unit": "亩",
        "rate": "1.00",
        "amount": "100.00",
        "remark": "",
        **fields,
    }


def part_body(
    batch_id: str, lines: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]], part: int = 1, parts: int = 1
) -> dict[str, Any]:
    """One part of a list, as it is before it is signed: ``items`` of all its ``lines``."""
    return {
        "schema": "payout.batch-part/v1",
        "issuer": ISSUER,
        "batch_id": batch_id,
        "county": "659999",
        "programme": "XJ-NY-01",
        "period": "2026",
        "document_no": "某某财农〔2026〕18号",
        "issuing_kind": "FINANCE",
        "finance_bureau": ISSUER,
        "line_department": "659999-agriculture",
        "list_received_at": "2026-11-24T10:00:00+08:00",
        "part": part,
        "parts": parts,
        "lines": len(lines),
        "amount": sum_as_written(one["amount"] for one in lines),
        "items": list(items),
    }


def funding_body(amount: str, batch_id: str = BATCH, funding_id: str = "F-1") -> dict[str, Any]:
    """A confirmation of funds, as it is before it is signed."""
    return {
        "schema": "payout.funding/v1",
        "issuer": ISSUER,
        "funding_id": funding_id,
        "batch_id": batch_id,
        "amount": amount,
        "received_at": "2026-11-24T09:30:00+08:00",
    }


def order_body(kind: str, order_id: str, number: int | None, attempt: int | None, **details: str) -> dict[str, Any]:
    """An order about a line of the list, as it is before it is signed."""
    return {
        "schema": "payout.order/v1",
        "issuer": ISSUER,
        "order_id": order_id,
        "kind": kind,
        "batch_id": BATCH,
        "line": number,
        "attempt": attempt,
        "document_no": "某某财农〔2026〕19号",
        "details": details or None,
    }


@dataclass
class Gateway:
    """Store, steps, keys and the toy bank of one test."""

    store: Store
    bank: ToyBank
    clock: HandClock
    vault: Vault
    key: SigningKey
    intake: Intake
    dispatch: Dispatch
    verify: Verify
    failures: Failures
    watch: Watch
    entry: Bank
    config: Config

    def __repr__(self) -> str:
        return "Gateway()"  # keys, DSN and people stay out of a failing test's output

    async def batch(self, lines: Sequence[Mapping[str, Any]], batch_id: str = BATCH, parts: int = 1) -> list[Stored]:
        """Publish a list in ``parts`` parts."""
        return [await self.intake.take_batch(*part) for part in self.signed_parts(lines, batch_id, parts)]

    def signed_parts(
        self, lines: Sequence[Mapping[str, Any]], /, batch_id: str = BATCH, parts: int = 1, **head: Any
    ) -> list[tuple[bytes, bytes]]:
        size = -(-len(lines) // parts)
        messages = []
        for part in range(parts):
            items = lines[part * size : (part + 1) * size]
            body = part_body(batch_id, lines, items, part=part + 1, parts=parts) | head
            messages.append(self.signed(Kind.BATCH, body))
        return messages

    def signed(self, kind: Kind, body: Mapping[str, Any]) -> tuple[bytes, bytes]:
        raw = json.dumps(body, ensure_ascii=False).encode()
        return raw, sign(raw, kind, self.key, "finance-1", AUDIENCE, self.clock.now()).encode()

    async def fund(self, amount: str, batch_id: str = BATCH, funding_id: str = "F-1") -> Stored:
        return await self.intake.take_funding(*self.signed(Kind.FUNDING, funding_body(amount, batch_id, funding_id)))

    async def order(self, kind: str, order_id: str, number: int | None, attempt: int | None, **details: str) -> Stored:
        body = order_body(kind, order_id, number, attempt, **details)
        return await self.failures.take_order(*self.signed(Kind.ORDER, body))

    async def judge(self) -> None:
        while await self.intake.judge_next():
            pass
        await self.intake.start_clocks()

    async def watch_parts(self, hours: int) -> bool:
        """The process looks now and in each of these hours at the lists that wait; whether it gave any up."""
        given_up = await self.intake.refuse_overdue()
        for _ in range(hours):
            self.clock.forward(hours=1)
            given_up |= await self.intake.refuse_overdue()
        return given_up

    def restart_intake(self) -> None:
        """A process that starts now and has seen nothing."""
        tables, ring = tables_of_tests(), approval(self.key)
        self.intake = Intake(self.store, ring, tables, self.vault, self.clock, self.config)

    async def cut(self) -> None:
        while await self.dispatch.plan():
            pass

    async def cut_and_render(self) -> None:
        await self.cut()
        while await self.dispatch.render(self.entry):
            pass

    async def send(self) -> None:
        """Cut, render and send everything that is due."""
        await self.cut_and_render()
        while await self.dispatch.send(self.entry):
            pass

    async def pay(self, count: int, **fields: str) -> None:
        """A funded list of ``count`` lines, sent to the bank."""
        lines = [line(number, **fields) for number in range(1, count + 1)]
        await self.batch(lines)
        await self.fund(f"{count * 100}.00")
        await self.judge()
        await self.send()

    async def answer(self, *evidence: Mapping[str, Any]) -> None:
        """The bank publishes a result file, and it is collected."""
        self.bank.files.append(Artefact.of(f"result-{len(self.bank.files)}", json.dumps(evidence).encode()))
        await self.verify.collect(self.entry)

    async def buckets(self, batch_no: int = 1) -> dict[str, int]:
        """The non-empty buckets of a batch, after checking that its identity closes."""
        count = await self.store.reads.count(batch_no)
        batch = (await self.store.reads.find_batches(str(batch_no)))[0]
        assert count.stray == 0
        assert count.gap(batch["approved_lines"]) == 0
        assert count.gap_fen(batch["approved_fen"]) == 0
        assert await self.store.reads.verify_history(batch_no) is None
        return {bucket: payouts for bucket, payouts in count.payouts.items() if payouts}

    async def published(self, topic: str = "receipts") -> list[dict[str, Any]]:
        """What the outbox holds for a topic, read with the schema; receipts come one by one."""
        rows = []
        for lane in await self.store.outbox.lanes():
            rows += [row for row in await self.store.outbox.waiting(lane, 10_000) if row["topic"] == topic]
        found: list[dict[str, Any]] = []
        for row in sorted(rows, key=lambda r: r["outbox_id"]):
            kind = {"receipts": Kind.RECEIPTS, "batch-reports": Kind.REPORT, "refusals": Kind.REFUSAL}[topic]
            parse_message(kind, bytes(row["value"]))
            body = json.loads(row["value"])
            found += body["receipts"] if topic == "receipts" else [body]
        return found

    async def outcomes(self) -> list[tuple[int, int, str, str | None]]:
        return [(r["line"], r["attempt"], r["outcome"], r["reason"]) for r in await self.published()]

    def reference_of(self, seq: int, submission: int = -1) -> str:
        """The reference of a line (from 1) of what was sent last."""
        return self.bank.sent[submission].references[seq - 1]


async def expire(gateway: Gateway) -> None:
    """The lease of every submission is over, as if its process had stood still."""
    async with gateway.store.engine.connection() as connection:
        await connection.execute("UPDATE submissions SET lease_until = clock_timestamp() - interval '1 second'")


class _NoPublisher:
    async def publish(self, lane: int, records: Sequence[tuple[str, str, bytes]]) -> None:
        return None


def config_of(dsn: str, lease_seconds: int = PATIENT_SECONDS) -> Config:
    return Config.model_validate(
        {
            "base": DATA,
            "database": {"dsn": dsn},
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},
            "files": {
                "approval_keys": "none",
                "privacy_keys": "none",
                "programmes": "programmes.csv",
                "agreements": "agreements.csv",
                "agreements_adapter_column": "adapter_issue_main_job",
                "calendar": "none",
            },
            "banks": {"rcc_file": {"profile": "rcc_file"}},
            "timing": {"lease_seconds": lease_seconds},
        }
    )


def approval(key: SigningKey) -> KeyRing:
    return KeyRing.parse(key_file(key))


def key_file(key: SigningKey) -> bytes:
    """The key ring of the tests as a file."""
    entry = {
        "kid": "finance-1",
        "alg": "EdDSA",
        "issuer": ISSUER,
        "kinds": ["batch", "funding", "order"],
        "public": key.public_jwk(),
        "not_before": "2026-01-01T00:00:00+08:00",
        "not_after": "2027-01-01T00:00:00+08:00",
    }
    return json.dumps({"keys": [entry]}).encode()


def tables_of_tests() -> reference.Reference:
    """Programmes, agreements and the calendar as the tests know them."""
    return reference.load(
        DATA / "programmes.csv",
        DATA / "agreements.csv",
        Path(reference.__file__).parents[1] / "deploy" / "reference" / "calendar.csv",
        "adapter_issue_main_job",
    )


def assemble(
    store: Store,
    bank: ToyBank,
    config: Config,
    tables: reference.Reference,
    clock: HandClock,
    vault: Vault,
    key: SigningKey,
) -> Gateway:
    """The steps of one process over its store."""
    entry = Bank(bank.name, bank, bank, bank.capabilities())
    banks = {bank.name: entry}
    ring = approval(key)
    shared = (tables, vault, clock, config)
    relay = Relay(store, _NoPublisher(), clock)
    return Gateway(
        store=store,
        bank=bank,
        clock=clock,
        vault=vault,
        key=key,
        intake=Intake(store, ring, *shared),
        dispatch=Dispatch(store, banks, *shared),
        verify=Verify(store, banks, vault, clock, config),
        failures=Failures(store, ring, banks, *shared),
        watch=Watch(store, tables.calendar, clock, banks, relay.report),
        entry=entry,
        config=config,
    )


@asynccontextmanager
async def open_gateway(
    dsn: str, *, lease_seconds: int = PATIENT_SECONDS, **capabilities: Any
) -> AsyncIterator[Gateway]:
    """A gateway over a migrated database, at ten in the morning of Tuesday 24 November 2026."""
    config = config_of(dsn, lease_seconds)
    engine = await Engine.open(dsn, max_connections=6)
    store = Store(engine, "test", config.timing.lease_seconds)
    bank = ToyBank(can=capabilities)
    await store.submissions.ensure_banks([bank.name])
    vault, key = Vault.of(parse_keys(fresh_key_file().encode())), SigningKey.generate("EdDSA")
    try:
        yield assemble(store, bank, config, tables_of_tests(), HandClock(), vault, key)
    finally:
        await store.close()
